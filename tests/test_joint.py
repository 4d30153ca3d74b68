"""Several limiters at once: all or nothing, with the one that refuses named."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from tests.faces import Face
from tests.fleet import SOAK, run_fleet, wait_for_all
from tests.servers import RunningServer
from tests.turns import NOTHING, TERMS, left_over, part
from tests.waiting import wait_until

Make = Callable[..., Face]


def take(face: Face, requests: list[Any], timeout: float | None = 0) -> Any:
    """acquire_all, or its twin."""
    if face.kind == "sync":
        return redisopt.acquire_all(requests, timeout)
    return face.wait_for(redisopt.async_acquire_all(requests, timeout))


@pytest.fixture
def three(server: RunningServer, client: redis.Redis, make_throttler: Make) -> list[Face]:
    """Limiters of one client: a rate, a rate with other periods, and leases."""
    first = make_throttler("rate", rates=["3/min"])
    faces = [first]
    kind = redisopt.Throttler if first.kind == "sync" else redisopt.AsyncThrottler
    for name, fields in (("cost", {"rates": ["100/h", "50/d"]}), ("slots", {"max_concurrent": 1})):
        face = object.__new__(Face)
        face.kind, face._loop, face.client = first.kind, first._loop, first.client
        face.real = kind(first.client, name, **TERMS | fields)
        faces.append(face)
    return faces


def requests_of(faces: list[Face], *, cost: int = 10, key: str = "") -> list[Any]:
    rate, costs, slots = (face.real for face in faces)
    return [rate.request(key=key), costs.request(cost), slots.request()]


def test_all_are_granted_together(three: list[Face], client: redis.Redis) -> None:
    permit = take(three[0], requests_of(three, key="u"))
    assert [part.cost for part in permit.parts] == [1, 10, 1]
    assert permit.cost == 12
    assert three[0].peek("u").remaining == 2
    assert three[1].peek().remaining == 40
    assert three[2].metrics().active_operations == 1
    assert three[0].wait_for(permit.release()) is True
    assert three[2].metrics().active_operations == 0
    assert three[0].wait_for(permit.refund()) is True
    assert [three[0].peek("u").remaining, three[1].peek().remaining] == [3, 50]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(0, "rate: 3/min"), (1, "cost: 50/d"), (2, "slots: concurrency")],
    ids=["rate", "cost", "slots"],
)
def test_refused_by_one_charged_by_none(three: list[Face], spoil: int, reason: str) -> None:
    held = three[spoil].try_acquire(cost=[3, 50, 1][spoil]).permit
    before = [face.peek().limits[0].remaining for face in three]
    with pytest.raises(redisopt.ThrottleTimeout) as refused:
        take(three[0], requests_of(three))
    assert refused.value.reason == reason
    assert refused.value.retry_after > 0
    assert [face.peek().limits[0].remaining for face in three] == before
    assert held is not None


def test_each_part_is_settled_by_itself(three: list[Face]) -> None:
    permit = take(three[0], requests_of(three))
    assert three[0].wait_for(permit.settle(1, 4, 1))
    assert three[1].peek().remaining == 46
    with pytest.raises(ValueError, match="actual must be 3 numbers"):
        three[0].wait_for(permit.settle(1))
    three[0].wait_for(permit.release())


def test_a_limiter_that_is_named_twice_is_charged_the_sum(three: list[Face]) -> None:
    rate = three[0].real
    permit = take(three[0], [rate.request(), rate.request(2)])
    assert permit.cost == 3
    assert three[0].peek().remaining == 0
    with pytest.raises(redisopt.CostExceedsLimit):
        take(three[0], [rate.request(2), rate.request(2)])


def test_it_waits_for_whoever_refuses(three: list[Face], client: redis.Redis) -> None:
    """In the line of that limiter; the others are free meanwhile."""
    slots = redisopt.Throttler(client, "slots", max_concurrent=1, **TERMS)
    held = slots.acquire()
    timer = threading.Timer(0.3, held.release)
    timer.start()
    started = time.monotonic()
    permit = take(three[0], requests_of(three), timeout=5)
    assert 0.25 < time.monotonic() - started < 4
    assert three[0].peek().remaining == 2
    three[0].wait_for(permit.release())
    timer.join()
    slots.close()


def test_a_wait_that_ends_leaves_nothing(three: list[Face], client: redis.Redis) -> None:
    held = three[2].acquire()
    with pytest.raises(redisopt.ThrottleTimeout, match="slots: concurrency"):
        take(three[0], requests_of(three), timeout=0.15)
    assert part(client, "line", limiter="slots") == {}
    assert three[0].peek().remaining == 3
    three[2].release(held)


async def test_a_cancelled_wait_leaves_nothing(server: RunningServer, client: redis.Redis) -> None:
    async with redisopt.connect_async(server.url) as own:
        rate = redisopt.AsyncThrottler(own, "rate", rates=["5/min"], **TERMS)
        slots = redisopt.AsyncThrottler(own, "test", max_concurrent=1, **TERMS)
        held = await slots.acquire()
        waiting = [
            asyncio.create_task(redisopt.async_acquire_all([rate.request(), slots.request()])) for _ in range(20)
        ]
        while not part(client, "line"):
            await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await held.release()
        assert left_over(client) == NOTHING
        assert (await rate.peek()).remaining == 5
        await rate.aclose()
        await slots.aclose()


def test_bad_requests_are_refused(three: list[Face], client: redis.Redis) -> None:
    rate = three[0].real
    other = redisopt.Throttler(redis.Redis(), "other", rates=["1/s"])
    for requests in ([], [3], ["rate"], [rate.request()] * 2 + [None]):
        with pytest.raises(ValueError, match="requests"):
            take(three[0], requests)
    if three[0].kind == "sync":
        with pytest.raises(ValueError, match="same client"):
            take(three[0], [rate.request(), other.request()])
    with pytest.raises(redisopt.CostExceedsLimit):
        rate.request(4)
    with pytest.raises(ValueError, match="key"):
        rate.request(key=3)


def contend(url: str, number: int, tries: int) -> tuple[int, int]:
    """Try for a rate and a lease of two limiters; returns how often both were granted, and how often not."""
    client = redisopt.connect(url)
    rate = redisopt.Throttler(client, "rate", rates=["1000000/h"], **TERMS)
    scarce = redisopt.Throttler(client, "scarce", rates=["150/s"], max_concurrent=2, **TERMS)
    rate.peek()
    granted = refused = 0
    wait_for_all()
    for turn in range(tries):
        requests = [rate.request(), scarce.request()]
        try:
            with redisopt.acquire_all(requests if (turn + number) % 2 else requests[::-1], timeout=0):
                granted += 1
        except redisopt.ThrottleTimeout:
            refused += 1
    rate.close()
    scarce.close()
    return granted, refused


def test_under_contention_each_counts_what_was_granted(server: RunningServer, client: redis.Redis) -> None:
    """10,000 tries by eight processes when there is time: both limiters' own counts say what the callers say."""
    tries = 10_000 if SOAK else 2_000
    results = run_fleet(contend, *[(server.url, number, tries // 8) for number in range(8)])
    granted, refused = (sum(column) for column in zip(*results, strict=True))
    rate = redisopt.Throttler(client, "rate", rates=["1000000/h"], **TERMS)

    assert granted + refused == tries // 8 * 8
    assert 0 < granted < tries
    assert 1_000_000 - rate.peek().remaining == granted
    wait_until(lambda: part(client, "state", limiter="scarce")["in_use"] == "0")
