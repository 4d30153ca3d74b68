"""The fleet is told other limits while callers wait: whoever can never be granted learns so, and nobody else is held up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import keys
from tests.faces import Face
from tests.servers import RunningServer
from tests.turns import TERMS, part
from tests.waiting import wait_until

Make = Callable[..., Face]

CASES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"rates": ["10/5s"]}, {"cost": 8}, {"rates": ["5/5s"]}),
    ({"rates": ["10/5s"]}, {"cost": 8}, {"max_burst_size": 5}),
    ({"rates": ["10/5s"]}, {"cost": 8}, {"rates": ["10/5s", "5/6s"]}),
    ({"rates": ["10/5s"]}, {"cost": 8, "priority": 3}, {"rates": ["5/5s"]}),
    ({"rates": ["10/5s"], "max_concurrent": 2}, {"cost": 8}, {"rates": ["5/5s"]}),
    ({"max_concurrent": 5}, {"weight": 4}, {"max_concurrent": 3}),
]


def occupy(throttler: redisopt.Throttler) -> Any:
    """Take all there is."""
    config = throttler.config
    return throttler.acquire(10 if config.rates else 1, weight=config.max_concurrent or 1)


@pytest.mark.parametrize(("terms", "wanted", "told"), CASES)
def test_a_waiter_that_can_never_be_granted_learns_so(
    server: RunningServer, client: redis.Redis, terms: Any, wanted: Any, told: Any
) -> None:
    """And those behind it are served."""
    name = f"told {CASES.index((terms, wanted, told))}"  # no other test's connection listens to it still
    first = redisopt.Throttler(client, name, **TERMS | terms)
    held = occupy(first)
    outcome: list[Any] = []

    def wait(**wish: Any) -> None:
        try:
            outcome.append(second.acquire(timeout=20, **wish))
        except redisopt.RedisOptError as error:
            outcome.append(error)

    second = redisopt.Throttler(redis.from_url(server.url), name, **TERMS | terms)
    waiter = threading.Thread(target=wait, kwargs=wanted)
    waiter.start()
    wait_until(lambda: first.metrics().queue_length == 1)
    channel = f"{keys.tag('throttle', name)}control"
    heard: Any = client
    wait_until(lambda: heard.pubsub_numsub(channel)[0][1] == (2 if "max_concurrent" in terms else 1))
    first.update(**told)
    waiter.join(15)
    assert [type(each) for each in outcome] == [redisopt.CostExceedsLimit]

    outcome.clear()
    behind = threading.Thread(target=wait)
    behind.start()
    held.release()
    behind.join(15)
    assert [type(each) for each in outcome] == [redisopt.Permit]
    outcome[0].release()
    assert part(client, "line", limiter=name) == {}
    state = f"{keys.tag('throttle', name)}state"
    assert client.pttl(state) < 10 * 3_600_000
    first.close()
    second.close()


async def test_of_a_crowd_only_those_learn_it(server: RunningServer, client: redis.Redis) -> None:
    """The calls of many tasks travel together; one of them costs too much by now."""
    async with (
        redis.asyncio.from_url(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["10/h"], **TERMS) as throttler,
    ):
        await throttler.try_acquire()
        with redisopt.Throttler(client, "test", rates=["10/h"], **TERMS) as other:
            other.update(rates=["5/h"])
        results = await asyncio.gather(*(throttler.try_acquire(cost) for cost in (1, 8, 1)), return_exceptions=True)
        assert [type(result) for result in results] == [
            redisopt.Decision,
            redisopt.CostExceedsLimit,
            redisopt.Decision,
        ]
        assert (await throttler.peek()).remaining == 2


def test_what_is_joined_learns_it_too(server: RunningServer, client: redis.Redis) -> None:
    first = redisopt.Throttler(client, "first", rates=["10/5s"], **TERMS)
    second = redisopt.Throttler(client, "second", rates=["10/5s"], **TERMS)
    first.acquire(10)
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(redisopt.acquire_all([second.request(), first.request(8)], timeout=20))
        except redisopt.RedisOptError as error:
            outcome.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_until(lambda: first.metrics().queue_length == 1)
    with redisopt.Throttler(redis.from_url(server.url), "first", rates=["10/5s"], **TERMS) as other:
        other.update(rates=["5/5s"])
    waiter.join(15)
    assert [type(each) for each in outcome] == [redisopt.CostExceedsLimit]
    assert second.peek().remaining == 10
    assert part(client, "line", limiter="first") == {}
    first.close()
    second.close()


# --- what is not ours


@pytest.mark.parametrize("field", ["seen", "periods", "offset", "log:1000", "expires"])
def test_a_state_that_is_not_ours_is_named_and_reset(make_throttler: Make, client: redis.Redis, field: str) -> None:
    throttler = make_throttler(rates=["10/s"], on_unavailable="allow")
    assert throttler.try_acquire()
    client.hset(f"{keys.tag('throttle', 'test')}state", field, "garbage")
    time.sleep(0.002)
    with pytest.raises(redisopt.StateLost, match="reset"):
        throttler.try_acquire()
    throttler.reset()
    assert throttler.try_acquire().remaining == 9


def test_what_the_fleet_was_told_is_reset_where_it_is_not_ours(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(rates=["10/s"])
    client.set(f"{keys.tag('throttle', 'test')}control", "not ours")
    with pytest.raises(redisopt.StateLost, match="reset"):
        throttler.try_acquire()
    throttler.reset()
    assert throttler.try_acquire()


# --- what is known of a lease


def test_a_release_that_frees_nothing_says_that_the_lease_was_lost(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(max_concurrent=1)
    permit = throttler.acquire()
    throttler.reset()
    assert not throttler.release(permit)
    assert permit.lost
    with pytest.raises(redisopt.PermitLost):
        permit.ensure_held()


def test_what_was_released_is_not_held(make_throttler: Make) -> None:
    throttler = make_throttler(max_concurrent=1)
    permit = throttler.acquire()
    permit.ensure_held()
    throttler.close()
    with pytest.raises(redisopt.PermitLost, match="was released"):
        permit.ensure_held()


def test_a_permit_that_is_dropped_is_told_of(
    make_throttler: Make, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """``if pool.try_acquire(): work()`` holds the lease for lease_ttl alone."""
    throttler = make_throttler(max_concurrent=1, lease_ttl=0.3)
    assert throttler.try_acquire()
    until = time.monotonic() + 5
    while "dropped without a release" not in caplog.text and time.monotonic() < until:
        throttler.peek()  # which lets an event loop run
    assert "dropped without a release" in caplog.text
