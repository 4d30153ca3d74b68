"""Looking on: peek and metrics say how a limiter stands, and change nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from tests.clock import ServerClock
from tests.faces import Face
from tests.lines import join, stored
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., Face]


# --- peek


def test_a_peek_changes_nothing_in_redis(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """Byte for byte: with uses, with a line, and when some uses are over."""
    throttler = make_throttler(rates=["3/s", "10/min"], max_burst_size=3, cooldown_period=2)
    throttler.try_acquire(cost=3)
    join(throttler, cost=2)
    for seconds in (0.5, 1.5, 2.5, 30, 100):
        clock.at(seconds)
        before = stored(client)
        for cost in (1, 2, 3):
            throttler.peek(cost=cost)
        assert stored(client) == before


def test_a_peek_has_no_permit(make_throttler: Make, clock: ServerClock) -> None:
    """Nothing was granted."""
    decision = make_throttler(rates=["3/s"]).peek()

    assert (decision.allowed, decision.permit) == (True, None)


CASES: dict[str, dict[str, Any]] = {
    "one rate": {"rates": ["5/s"]},
    "two rates": {"rates": ["5/s", "8/3s"]},
    "slots": {"rates": ["5/s"], "precision": 0.05},
    "burst and cooldown": {"rates": ["20/10s"], "max_burst_size": 5, "cooldown_period": 2.5},
    "margin": {"rates": ["5/s", "8/3s"], "margin": 0.123},
}


@pytest.mark.parametrize("cost", [1, 2, 4, 5])
@pytest.mark.parametrize("case", CASES)
def test_a_peek_foretells_to_the_millisecond_when_a_cost_fits(
    make_throttler: Make, clock: ServerClock, case: str, cost: int
) -> None:
    """At retry_after it fits; a millisecond before it does not."""
    throttler = make_throttler(**CASES[case])
    for seconds, used in ((0, 2), (0.137, 1), (0.4, 1), (0.77, 1)):
        clock.at(seconds)
        throttler.try_acquire(cost=used)
    clock.at(0.8)
    retry_after = throttler.peek(cost=cost).retry_after
    assert retry_after > 0
    clock.advance(retry_after - 0.001)
    assert not throttler.try_acquire(cost=cost).allowed
    clock.advance(0.001)

    assert throttler.try_acquire(cost=cost).allowed


def test_a_peek_says_what_try_acquire_will_say(make_throttler: Make, clock: ServerClock) -> None:
    """Refused or granted, for any cost, over a while."""
    throttler = make_throttler(rates=["5/s", "12/3s"])
    for step in range(60):
        clock.advance(0.037 + 0.011 * (step % 5))
        cost = 1 + step % 4
        foretold, said = throttler.peek(cost=cost), throttler.try_acquire(cost=cost)

        assert (foretold.allowed, foretold.retry_after, foretold.reason) == (
            said.allowed,
            said.retry_after,
            said.reason,
        )
        assert said.remaining == foretold.remaining - (cost if said else 0)


def test_a_peek_behind_a_line_foretells_the_place_at_its_end(make_throttler: Make, clock: ServerClock) -> None:
    """And says that it is the line, where that is all."""
    throttler = make_throttler(rates=["5/s"])
    throttler.try_acquire(cost=5)
    join(throttler, cost=2)
    decision = throttler.peek(cost=2)

    assert (decision.allowed, decision.reason, decision.retry_after) == (False, "queue", 1.001)
    assert throttler.acquire(cost=2).waited == 1.001


def test_reset_after_is_when_all_is_back(make_throttler: Make, clock: ServerClock) -> None:
    """Not a millisecond earlier."""
    throttler = make_throttler(rates=["5/s", "8/3s"])
    throttler.try_acquire(cost=2)
    clock.at(0.6)
    throttler.try_acquire(cost=2)
    reset_after = throttler.peek().reset_after
    clock.advance(reset_after - 0.001)
    assert throttler.peek().limits[1].remaining < 8
    clock.advance(0.001)

    assert [limit.remaining for limit in throttler.peek().limits] == [5, 8]


# --- metrics


def test_metrics_count_the_cost_of_the_last_second(make_throttler: Make, clock: ServerClock) -> None:
    """Over the fleet; older uses and other keys do not count."""
    throttler = make_throttler(rates=["100/min"])
    for seconds, cost in ((0, 2), (0.5, 3), (0.9, 4)):
        clock.at(seconds)
        throttler.try_acquire(cost=cost)
    throttler.try_acquire(cost=9, key="other")
    clock.at(1.2)

    assert make_throttler(rates=["100/min"]).metrics().operations_per_second == 7


def test_metrics_scale_a_period_below_a_second(make_throttler: Make, clock: ServerClock) -> None:
    """3 in the last half second are 6 per second."""
    throttler = make_throttler(rates=["5/500ms"])
    throttler.try_acquire(cost=3)

    assert throttler.metrics().operations_per_second == 6


def test_metrics_of_a_fresh_limiter_are_zero(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """And to ask for them creates nothing."""
    metrics = make_throttler(rates=["5/s"]).metrics()

    assert (metrics.queue_length, metrics.operations_per_second, metrics.is_cooling) == (0, 0, False)
    assert stored(client) == {}


def test_metrics_list_each_limit_as_a_peek_does(make_throttler: Make, clock: ServerClock) -> None:
    """The same states."""
    throttler = make_throttler(rates=["5/s", "8/min"], max_burst_size=3)
    throttler.try_acquire(cost=2)
    clock.advance(0.25)

    assert throttler.metrics().limits == throttler.peek().limits


def test_those_who_wait_for_later_have_not_been_granted_yet(make_throttler: Make, clock: ServerClock) -> None:
    """operations_per_second counts what happened."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2)
    join(throttler, cost=2)
    join(throttler, cost=2)

    assert throttler.metrics().operations_per_second == 2


def test_metrics_count_threads_that_wait(server: RunningServer, client: redis.Redis) -> None:
    """Until each has been served."""
    with redisopt.Throttler(client, "test", rates=["1/400ms"]) as throttler:
        throttler.acquire()
        threads = [threading.Thread(target=throttler.acquire) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: throttler.metrics().queue_length == 3)
        for thread in threads:
            thread.join()

        assert throttler.metrics().queue_length == 0


async def test_metrics_count_tasks_that_wait(server: RunningServer, client: redis.Redis) -> None:
    """Until each has been served."""
    async with (
        redis.asyncio.from_url(server.url) as async_client,
        redisopt.AsyncThrottler(async_client, "test", rates=["1/400ms"]) as throttler,
    ):
        await throttler.acquire()
        waiting = [asyncio.ensure_future(throttler.acquire()) for _ in range(3)]
        while (await throttler.metrics()).queue_length < 3:
            await asyncio.sleep(0.001)
        await asyncio.gather(*waiting)

        assert (await throttler.metrics()).queue_length == 0
