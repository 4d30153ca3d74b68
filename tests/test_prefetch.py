"""Prefetch: grants from memory, never more than the limits, and what is not used goes back."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import redis

import redisopt
import redisopt.throttle.ahead
from tests.faces import Face
from tests.fleet import FORK, in_threads, run_fleet, wait_for_all
from tests.servers import RunningServer
from tests.turns import TERMS, scripts_run
from tests.waiting import wait_until

Make = Callable[..., Face]
LIMIT, PREFETCH = 400, 0.05


def be_hungry(url: str, kind: str, seconds: float) -> list[float]:
    """Try as fast as it goes; when each grant was decided, by the clock that all processes of a machine share.

    That of the server, for those that it decided: it is on this machine, too.
    """
    last = threading.local()
    ahead: Any = redisopt.throttle.ahead
    real = ahead.now

    def noting() -> float:
        last.now = real()
        return float(last.now)

    ahead.now = noting
    terms: Any = TERMS | {"rates": [f"{LIMIT}/s"], "prefetch": PREFETCH}
    granted: list[float] = []
    ahead = time.time() - time.monotonic()

    def work(throttler: redisopt.Throttler) -> None:
        deadline = real() + seconds
        while real() < deadline:
            decision = throttler.try_acquire()
            if decision and decision.permit is not None and decision.permit.share is not None:
                granted.append(last.now)
            elif decision and decision.permit is not None:
                granted.append(decision.permit.granted_at - ahead)
            else:
                time.sleep(min(0.002, decision.retry_after))

    async def work_async() -> None:
        async with redisopt.connect_async(url) as own, redisopt.AsyncThrottler(own, "test", **terms) as throttler:
            await throttler.peek()
            wait_for_all()

            async def one() -> None:
                deadline = real() + seconds
                while real() < deadline:
                    decision = await throttler.try_acquire()
                    if decision and decision.permit is not None and decision.permit.share is not None:
                        granted.append(last.now)
                    elif decision and decision.permit is not None:
                        granted.append(decision.permit.granted_at - ahead)
                    else:
                        await asyncio.sleep(0.002)

            await asyncio.gather(one(), one())

    if kind == "async":
        asyncio.run(work_async())
    else:
        with redisopt.Throttler(redisopt.connect(url), "test", **terms) as throttler:
            throttler.peek()
            wait_for_all()
            in_threads([lambda: work(throttler)] * 2)
    return granted


def test_a_hungry_fleet_never_exceeds_the_limit_and_uses_nearly_all(server: RunningServer, client: redis.Redis) -> None:
    """Eight processes, threads and tasks: 0 over; under-use at most prefetch/period, and what starts and ends cost."""
    seconds = 4.0
    members = [(server.url, kind, seconds) for kind in ["sync", "async"] * 4]
    times = sorted(chain(*run_fleet(be_hungry, *members)))

    worst = max(index + 1 - bisect_right(times, at - 1.0) for index, at in enumerate(times))
    assert worst <= LIMIT
    steady = [at for at in times if times[0] + 1.0 <= at < times[0] + 3.0 * (1 + PREFETCH)]
    assert len(steady) >= 2 * LIMIT * (1 - 2 * PREFETCH)


def test_a_busy_caller_costs_few_script_calls(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(rates=["100000/s"], prefetch=0.5)
    throttler.try_acquire()
    client.config_resetstat()
    for _ in range(1000):
        assert throttler.try_acquire()
    assert scripts_run(client) <= 15


def test_what_is_not_used_goes_back(make_throttler: Make, client: redis.Redis) -> None:
    """At the end of the share, whoever asks; at close at once."""
    throttler = make_throttler(rates=["1000/h"], prefetch=36.0)
    other = make_throttler(rates=["1000/h"])
    for _ in range(20):
        assert throttler.acquire()
    assert other.peek().remaining < 980
    throttler.close()
    assert other.peek().remaining == 980


def test_a_share_ends_by_itself(server: RunningServer, client: redis.Redis) -> None:
    throttler = redisopt.Throttler(client, "test", rates=["1000/s", "100000/h"], prefetch=0.2, **TERMS)
    for _ in range(7):
        throttler.acquire()
    assert throttler.peek().limits[1].remaining < 100_000 - 7
    wait_until(lambda: throttler.peek().limits[1].remaining == 100_000 - 7, 3)
    throttler.close()


def test_an_interrupted_fetch_gives_back_what_it_took(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reply was not read, so nobody knows of the share."""
    throttler = redisopt.Throttler(client, "test", rates=["3600/h"], prefetch=60, command_timeout=10)
    ahead: Any = redisopt.throttle.ahead
    parse = ahead.taken_reader

    def interrupted(layout: Any) -> Any:
        def read(reply: Any) -> Any:
            parse(layout)(reply)
            raise KeyboardInterrupt

        return read

    monkeypatch.setattr(ahead, "taken_reader", interrupted)
    with pytest.raises(KeyboardInterrupt):
        throttler.try_acquire()
    monkeypatch.undo()
    assert throttler.peek().remaining == 3600
    throttler.close()


def test_a_refund_goes_back_to_the_share(make_throttler: Make) -> None:
    throttler = make_throttler(rates=["1000/h"], prefetch=36.0)
    permits = [throttler.acquire() for _ in range(3)]
    assert permits[2].share is not None
    assert throttler.refund(permits[2]) is True
    assert throttler.refund(permits[2]) is False
    throttler.close()
    assert make_throttler(rates=["1000/h"]).peek().remaining == 998


def test_a_child_does_not_spend_what_its_parent_took(server: RunningServer, client: redis.Redis) -> None:
    throttler = redisopt.Throttler(client, "test", rates=["1000/h"], prefetch=36.0, **TERMS)
    for _ in range(4):
        throttler.acquire()
    here, there = FORK.Pipe()

    def child() -> None:
        permits = [throttler.acquire() for _ in range(10)]
        there.send([permit.id for permit in permits])
        throttler.close()

    process = FORK.Process(target=child)
    process.start()
    assert here.poll(20)
    ids = here.recv()
    process.join(10)
    assert len(set(ids)) == 10
    throttler.close()
    assert redisopt.Throttler(client, "test", rates=["1000/h"], **TERMS).peek().remaining == 986


@pytest.mark.parametrize(
    "fields",
    [{"rates": ["10/s"], "prefetch": 0.05}, {"rates": ["100/s"], "max_concurrent": 5, "prefetch": 0.5}],
    ids=["too small", "leases"],
)
def test_where_it_does_not_pay_each_call_is_decided_by_itself(make_throttler: Make, fields: Any) -> None:
    throttler = make_throttler(**fields)
    permits = [throttler.acquire() for _ in range(5)]
    assert [permit.share for permit in permits] == [None] * 5


def test_a_share_is_not_taken_where_the_limit_is_reached(make_throttler: Make) -> None:
    throttler = make_throttler(rates=["100/h"], prefetch=60.0)
    granted = 0
    while throttler.try_acquire():
        granted += 1
    assert granted == 100
    assert throttler.try_acquire().reason == "100/h"
