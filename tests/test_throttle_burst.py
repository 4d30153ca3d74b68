"""Burst and cooldown: at most so much within one second, and after that a pause."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redisopt import LimitState
from tests.clock import START_MS, ServerClock
from tests.faces import Face
from tests.lines import interrupt, join

Make = Callable[..., Face]


def seconds_of_grants(throttler: Face, count: int) -> list[float]:
    """When each of `count` waiting callers was let in, in seconds from the start."""
    return [round(throttler.acquire().granted_at - START_MS / 1000, 2) for _ in range(count)]


def test_a_burst_is_all_that_one_second_holds(make_throttler: Make, clock: ServerClock) -> None:
    """Without a cooldown it is a rate of one second."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=3)

    assert seconds_of_grants(throttler, 7) == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0]


def test_a_burst_alone_is_a_limit(make_throttler: Make, clock: ServerClock) -> None:
    """No rates are needed beside it."""
    throttler = make_throttler(max_burst_size=2, cooldown_period=3.0)

    assert seconds_of_grants(throttler, 5) == [0.0, 0.0, 3.0, 3.0, 6.0]


def test_nothing_is_granted_in_the_cooldown_after_a_burst(make_throttler: Make, clock: ServerClock) -> None:
    """Not a millisecond before its end, and right at its end."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=3, cooldown_period=5.0)
    throttler.try_acquire(cost=3)
    clock.at(5.0)
    assert not throttler.try_acquire().allowed
    clock.at(5.001)

    assert throttler.try_acquire().allowed


def test_a_cooldown_starts_at_the_grant_that_completes_the_burst(make_throttler: Make, clock: ServerClock) -> None:
    """Not at its first."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=3, cooldown_period=5.0)
    for seconds in (0, 0.4, 0.8):
        clock.at(seconds)
        assert throttler.try_acquire().allowed
    refused = throttler.try_acquire()

    assert (refused.reason, refused.retry_after) == ("cooldown", 5.001)


def test_less_than_a_burst_starts_no_cooldown(make_throttler: Make, clock: ServerClock) -> None:
    """Two, and two more when the first are a second old."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=3, cooldown_period=5.0)
    for seconds in (0, 1.001, 2.002, 3.003):
        clock.at(seconds)
        assert throttler.try_acquire(cost=2).allowed


def test_what_would_exceed_the_burst_is_refused_for_it(make_throttler: Make, clock: ServerClock) -> None:
    """It waits for the second to pass, not for a cooldown."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=3, cooldown_period=5.0)
    throttler.try_acquire(cost=2)
    clock.advance(0.2)
    refused = throttler.try_acquire(cost=2)

    assert (refused.reason, refused.retry_after, refused.limit, refused.remaining) == ("burst", 0.801, 3, 1)


def test_the_burst_is_one_of_the_limits_told(make_throttler: Make, clock: ServerClock) -> None:
    """Under its own name."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=3, cooldown_period=5.0)

    assert throttler.try_acquire(cost=2).limits == (
        LimitState("100/min", 100, 98, 60.001),
        LimitState("burst", 3, 1, 1.001),
    )


def test_a_rate_of_one_second_and_a_burst_hold_together(make_throttler: Make, clock: ServerClock) -> None:
    """They count the same second."""
    throttler = make_throttler(rates=["10/s"], max_burst_size=4, cooldown_period=0.25)

    assert [limit.remaining for limit in throttler.try_acquire(cost=3).limits] == [7, 1]
    assert seconds_of_grants(throttler, 6) == [0.0, 1.0, 1.0, 1.0, 1.0, 2.0]


def test_a_cooldown_shorter_than_a_second_does_not_end_the_burst_early(
    make_throttler: Make, clock: ServerClock
) -> None:
    """The burst's second is still not over."""
    throttler = make_throttler(max_burst_size=2, cooldown_period=0.5)
    throttler.try_acquire(cost=2)
    clock.advance(0.1)
    refused = throttler.try_acquire()

    assert (refused.reason, refused.retry_after) == ("burst", 0.901)


def test_no_second_ever_holds_more_than_the_burst(make_throttler: Make, clock: ServerClock) -> None:
    """Whatever the spacing of calls."""
    throttler = make_throttler(rates=["40/10s"], max_burst_size=5, cooldown_period=0.3)
    granted = []
    for step in range(400):
        clock.advance((0.013, 0.2, 0.001, 0.09)[step % 4])
        if decision := throttler.try_acquire():
            granted.append(decision.permit.time_ms)

    assert max(sum(time - 1000 < other <= time for other in granted) for time in granted) == 5


def test_waiters_are_served_through_cooldowns(make_throttler: Make, clock: ServerClock) -> None:
    """Each burst of waiters starts the next one; the line knows all times beforehand."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=2, cooldown_period=3.0)
    times = [round(join(throttler).granted_at - START_MS / 1000, 3) for _ in range(7)]

    assert times == [0.001, 0.001, 3.001, 3.001, 6.001, 6.001, 9.001]


def test_a_wait_through_a_cooldown_is_refused_at_once_when_too_long(make_throttler: Make, clock: ServerClock) -> None:
    """The timeout counts all of it."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=2, cooldown_period=3.0)
    throttler.try_acquire(cost=2)
    refused = throttler.peek()

    assert (refused.reason, refused.retry_after, refused.queue_size) == ("cooldown", 3.001, 0)
    assert round(throttler.acquire(timeout=3.001).waited, 3) == 3.001


@pytest.mark.parametrize(("seconds", "cooling"), [(0, True), (3.0, True), (3.001, False)])
def test_metrics_say_whether_a_cooldown_is_on(
    make_throttler: Make, clock: ServerClock, seconds: float, cooling: bool
) -> None:
    """Until its last millisecond."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=2, cooldown_period=3.0)
    throttler.try_acquire(cost=2)
    clock.at(seconds)

    assert throttler.metrics().is_cooling is cooling


def test_metrics_do_not_call_a_cooldown_to_come_a_cooldown(make_throttler: Make, clock: ServerClock) -> None:
    """Two wait for a rate; the cooldown after them is ten seconds away."""
    throttler = make_throttler(rates=["2/10s"], max_burst_size=2, cooldown_period=1.0)
    throttler.try_acquire(cost=2)
    join(throttler)
    join(throttler)
    clock.at(5)

    assert throttler.metrics().is_cooling is False


def test_a_process_that_knows_no_burst_leaves_the_cooldown_of_others_alone(
    make_throttler: Make, clock: ServerClock
) -> None:
    """Each call is judged by its own config."""
    careful = make_throttler(rates=["10/s"], max_burst_size=2, cooldown_period=5.0)
    careful.try_acquire(cost=2)
    clock.advance(2)
    assert make_throttler(rates=["10/s"]).try_acquire().allowed
    decision = careful.try_acquire()

    assert (decision.allowed, decision.reason) == (False, "cooldown")


def test_grants_to_a_process_that_knows_no_burst_count_towards_it(make_throttler: Make, clock: ServerClock) -> None:
    """What was granted within one second is what counts, whoever got it."""
    careful = make_throttler(rates=["10/s"], max_burst_size=2, cooldown_period=5.0)
    make_throttler(rates=["10/s"]).try_acquire(cost=2)
    refused = careful.try_acquire()

    assert (refused.allowed, refused.reason) == (False, "burst")


def test_a_waiter_that_is_interrupted_takes_its_cooldown_with_it(make_throttler: Make, clock: ServerClock) -> None:
    """It would have completed a second burst; as it never came, nobody waits for the cooldown after that."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=2, cooldown_period=5.0)
    throttler.try_acquire(cost=2)
    interrupt(throttler, KeyboardInterrupt, cost=2)

    assert throttler.peek().retry_after == 5.001


def test_a_reset_ends_the_cooldown(make_throttler: Make, clock: ServerClock) -> None:
    """Limits start anew."""
    throttler = make_throttler(max_burst_size=2, cooldown_period=5.0)
    throttler.try_acquire(cost=2)
    throttler.reset()

    assert throttler.try_acquire().allowed


def test_each_key_has_a_cooldown_of_its_own(make_throttler: Make, clock: ServerClock) -> None:
    """As it has limits of its own."""
    throttler = make_throttler(max_burst_size=2, cooldown_period=5.0)
    throttler.try_acquire(cost=2, key="a")

    assert throttler.try_acquire(key="b").allowed
