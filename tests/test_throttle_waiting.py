"""Waiting: a place in the line is given in the call that asks for it, in order, and is as good as its time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from redisopt import ThrottleTimeout
from tests.clock import START_MS, ServerClock
from tests.faces import Face
from tests.lines import join, shared

Make = Callable[..., Face]


def seconds(permit_time: float) -> float:
    """Seconds from the start of the test's clock."""
    return round(permit_time - START_MS / 1000, 3)


def test_who_need_not_wait_does_not(make_throttler: Make, clock: ServerClock) -> None:
    """The permit is granted now."""
    permit = make_throttler(rates=["2/s"]).acquire()

    assert (permit.waited, seconds(permit.granted_at), clock.now_ms) == (0.0, 0.001, START_MS)


def test_who_must_wait_waits_until_the_first_use_is_a_period_old(make_throttler: Make, clock: ServerClock) -> None:
    """Not longer, and the permit says how long it was and for when it is."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2)
    clock.advance(0.3)
    permit = throttler.acquire()

    assert (permit.waited, seconds(permit.granted_at)) == (0.701, 1.001)
    assert clock.now_ms == START_MS + 1001


def test_a_wait_costs_one_call(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """However long it is; and no more when the limiter is known to the client."""
    throttler = make_throttler(rates=["2/min"])
    throttler.try_acquire(cost=2)
    throttler.acquire()  # by now the server knows the script
    client.config_resetstat()
    throttler.acquire()
    calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}

    assert {name: count for name, count in calls.items() if "eval" in name} == {"cmdstat_evalsha": 1}


def test_places_are_given_in_the_order_of_asking(make_throttler: Make, clock: ServerClock) -> None:
    """Over the processes of a fleet, to the millisecond."""
    fleet = [make_throttler(rates=["2/s"]) for _ in range(3)]
    fleet[0].try_acquire(cost=2)
    times = [seconds(join(fleet[number % 3]).granted_at) for number in range(6)]

    assert times == [1.001, 1.001, 2.001, 2.001, 3.001, 3.001]


def test_a_small_cost_does_not_overtake_a_large_one(make_throttler: Make, clock: ServerClock) -> None:
    """Though it would fit earlier."""
    throttler = make_throttler(rates=["5/s"])
    throttler.try_acquire(cost=3)
    clock.advance(0.5)
    throttler.try_acquire(cost=1)
    assert seconds(join(throttler, cost=5).granted_at) == 1.501

    assert seconds(join(throttler, cost=1).granted_at) == 2.501


def test_a_newcomer_does_not_overtake_the_line(make_throttler: Make, clock: ServerClock) -> None:
    """There is room for it now, but somebody waits."""
    throttler = make_throttler(rates=["5/s"])
    throttler.try_acquire(cost=4)
    join(throttler, cost=3)

    assert throttler.try_acquire().reason == "queue"
    assert seconds(join(throttler).granted_at) == 1.001


def test_who_waits_in_one_key_is_not_in_the_way_of_another(make_throttler: Make, clock: ServerClock) -> None:
    """Each key has a line of its own."""
    throttler = make_throttler(rates=["1/min"])
    throttler.try_acquire(key="a")
    join(throttler, key="a")

    assert throttler.acquire(key="b").waited == 0.0


def test_a_waiter_counts_for_every_rate(make_throttler: Make, clock: ServerClock) -> None:
    """Its place is where all of them allow it."""
    throttler = make_throttler(rates=["2/s", "3/10s"])
    times = [seconds(join(throttler).granted_at) for _ in range(6)]

    assert times == [0.001, 0.001, 1.001, 10.001, 10.001, 11.001]


def test_a_line_is_over_when_its_last_time_has_come(make_throttler: Make, clock: ServerClock) -> None:
    """Then callers are judged by the limits alone."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2)
    join(throttler)
    clock.at(1.001)
    decision = throttler.try_acquire()

    assert (decision.allowed, decision.queue_size, decision.remaining) == (True, 0, 0)


# --- timeout


def test_a_wait_longer_than_the_timeout_is_refused_with_all_that_helps(
    make_throttler: Make, clock: ServerClock
) -> None:
    """How long it would be, and why."""
    throttler = make_throttler("github", rates=["2/s"])
    throttler.try_acquire(cost=2)
    with pytest.raises(ThrottleTimeout, match=r"'github'.*1\.001 s.*2/s.*timeout=1") as refused:
        throttler.acquire(timeout=1)

    assert (refused.value.retry_after, refused.value.reason) == (1.001, "2/s")


def test_a_wait_of_exactly_the_timeout_is_waited(make_throttler: Make, clock: ServerClock) -> None:
    """At most so long, says the timeout."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2)

    assert throttler.acquire(timeout=1.001).waited == 1.001


def test_a_refused_wait_takes_no_time(make_throttler: Make, clock: ServerClock) -> None:
    """It is refused at once, not when the timeout is over."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2)
    with pytest.raises(ThrottleTimeout):
        throttler.acquire(timeout=0.9)

    assert clock.now_ms == START_MS


def test_a_refusal_is_answered_in_real_time_at_once(make_throttler: Make) -> None:
    """On the real clock; the fastest of some, as the machine may be busy."""
    throttler = make_throttler(rates=["1/min"])
    throttler.try_acquire()

    def refused_after() -> float:
        started = time.perf_counter()
        with pytest.raises(ThrottleTimeout):
            throttler.acquire(timeout=5)
        return time.perf_counter() - started

    assert min(refused_after() for _ in range(10)) < 0.02


@pytest.mark.parametrize("waiters", [0, 3])
def test_a_refused_wait_leaves_no_trace_in_redis(
    make_throttler: Make, clock: ServerClock, client: redis.Redis, waiters: int
) -> None:
    """Byte for byte, whether or not others wait."""
    throttler = make_throttler(rates=["2/s", "9/min"])
    throttler.try_acquire(cost=2)
    for _ in range(waiters):
        join(throttler)
    clock.advance(0.1)
    before = shared(client)
    with pytest.raises(ThrottleTimeout):
        throttler.acquire(timeout=0.5)

    assert shared(client) == before


def test_a_refused_wait_is_nobodys_delay(make_throttler: Make, clock: ServerClock) -> None:
    """The next caller gets the place that was too late for the one before."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2)
    for _ in range(3):
        with pytest.raises(ThrottleTimeout):
            throttler.acquire(timeout=0.5)

    assert seconds(throttler.acquire().granted_at) == 1.001


def test_without_patience_a_free_place_is_still_taken(make_throttler: Make, clock: ServerClock) -> None:
    """timeout=0 is now or not at all."""
    throttler = make_throttler(rates=["1/s"])
    assert throttler.acquire(timeout=0).waited == 0.0
    with pytest.raises(ThrottleTimeout):
        throttler.acquire(timeout=0)


def test_without_a_timeout_any_wait_is_waited(make_throttler: Make, clock: ServerClock) -> None:
    """A month of it."""
    throttler = make_throttler(rates=["1/30d"])
    throttler.acquire(timeout=None)

    assert throttler.acquire(timeout=None).waited == 30 * 86400 + 0.001


@pytest.mark.parametrize("timeout", [float("inf"), 1e18, 1.7e308])
def test_a_timeout_without_end_waits_for_ever(make_throttler: Make, clock: ServerClock, timeout: float) -> None:
    """However it is written."""
    throttler = make_throttler(rates=["1/s"])
    throttler.acquire()

    assert throttler.acquire(timeout=timeout).waited == 1.001
