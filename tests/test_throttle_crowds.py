"""The scenarios of other rate limiters that need many callers at once, on real time, by the server's clock."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import redis.asyncio

import redisopt
from tests.crowds import KINDS, PATIENCE, grants, most_within, waits
from tests.servers import RunningServer


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Threads, then tasks."""
    return str(request.param)


def test_of_a_hundred_callers_at_once_exactly_the_limit_passes(
    kind: str, server: RunningServer, client: redis.Redis
) -> None:
    """Scenario 6: limits, tests/integration/test_concurrency.py. A hundred other keys are in use."""
    passed = _threads_that_passed(server.url) if kind == "threads" else asyncio.run(_tasks_that_passed(server.url))

    assert passed == 5


def test_no_window_holds_more_than_the_limit_while_callers_wait(
    kind: str, server: RunningServer, client: redis.Redis
) -> None:
    """Scenario 8: redisson, testConcurrency2, in its stronger form: any trailing second."""
    granted = grants(kind, server.url, 8, enough=200, rates=["18/s"])

    assert most_within(granted, 1000) == 18


def test_hungry_callers_use_all_that_the_limit_allows(kind: str, server: RunningServer, client: redis.Redis) -> None:
    """Scenario 9: redisson, testRateValue, where the limit is used up in 16 of 20 samples.

    Here whenever somebody waits: a place comes when the grant before it by one limit is over, at most one slot late.
    """
    granted = waits(kind, server.url, 50, enough=1000, rates=["300/s"])
    times = [time for time, _ in granted]
    gaps = [time - before for before, (time, waited) in zip(times, granted[300:], strict=False) if waited]

    assert most_within(times, 1000) == 300
    assert len(gaps) > 100, "the callers were not hungry"
    assert {1000, 1001} >= set(gaps)


def test_two_rates_hold_together_while_many_ask(kind: str, server: RunningServer, client: redis.Redis) -> None:
    """Scenario 10: PyrateLimiter, test_postgres_concurrent.py."""
    granted = grants(kind, server.url, 8, seconds=2.5, rates=["3/500ms", "5/s"])

    assert (most_within(granted, 500), most_within(granted, 1000)) == (3, 5)


def test_a_crowd_gets_what_the_run_allows_and_no_less(kind: str, server: RunningServer, client: redis.Redis) -> None:
    """Scenario 13: dramatiq, tests/test_window_rate_limiter.py, with 2 per second over 4 seconds."""
    granted = grants(kind, server.url, 8, seconds=4, rates=["2/s"])

    assert 8 <= len(granted) <= 10
    assert most_within(granted, 1000) == 2


def _threads_that_passed(url: str) -> int:
    with (
        redis.from_url(url) as client,
        redisopt.Throttler(client, "test", rates=["5/min"], command_timeout=PATIENCE) as throttler,
        ThreadPoolExecutor(100) as pool,
    ):
        for number in range(100):
            throttler.try_acquire(key=f"other {number}")
        return sum(decision.allowed for decision in pool.map(lambda _: throttler.try_acquire(), range(100)))


async def _tasks_that_passed(url: str) -> int:
    async with (
        redis.asyncio.from_url(url) as client,
        redisopt.AsyncThrottler(client, "test", rates=["5/min"], command_timeout=PATIENCE) as throttler,
    ):
        for number in range(100):
            await throttler.try_acquire(key=f"other {number}")
        return sum(
            decision.allowed for decision in await asyncio.gather(*(throttler.try_acquire() for _ in range(100)))
        )
