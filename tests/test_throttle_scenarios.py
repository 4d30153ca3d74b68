"""What the test suites of other rate limiters demand, asked of this one. Each docstring names the suite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from redisopt import CostExceedsLimit, Rate
from tests.clock import ServerClock
from tests.faces import Face
from tests.lines import shared, stored

Make = Callable[..., Face]


def test_the_eleventh_of_ten_per_two_seconds_is_refused(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 1: limits, test_moving_window."""
    throttler = make_throttler(rates=["10/2s"])
    for seconds in (0, 0.1, 0.2, 0.3, 0.5, 1.8, 1.85, 1.9, 1.95, 1.99):
        clock.at(seconds)
        assert throttler.try_acquire().allowed

    assert not throttler.try_acquire().allowed


def test_costs_slide_out_of_the_window_as_they_came_in(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 2: limits, test_moving_window_multiple_cost."""
    throttler = make_throttler(rates=["10/2s"])
    with pytest.raises(CostExceedsLimit):
        throttler.try_acquire(cost=11)
    assert throttler.try_acquire(cost=5).allowed
    clock.at(1.8)
    assert [throttler.try_acquire().allowed for _ in range(4)] == [True] * 4
    assert not throttler.peek(cost=2).allowed
    assert not throttler.try_acquire(cost=2).allowed
    assert throttler.try_acquire(cost=1).allowed
    clock.at(2.001)
    assert [throttler.try_acquire().allowed for _ in range(5)] == [True] * 5

    assert throttler.peek().remaining == 0
    assert not throttler.try_acquire(cost=2).allowed


def test_the_wait_is_counted_from_the_oldest_use(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 3: limits, test_moving_window_stats."""
    throttler = make_throttler(rates=["2/min"])
    for seconds in (0, 1):
        clock.at(seconds)
        assert throttler.try_acquire().allowed
    clock.at(2)
    decision = throttler.try_acquire()

    assert (decision.allowed, decision.remaining, decision.retry_after) == (False, 0, 58.001)


def test_a_limit_of_a_million_takes_one_cost_of_nearly_all(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 4: limits, test_moving_window_huge_cost. Slots are of 2 ms here."""
    throttler = make_throttler(rates=["1000000/2s"])
    assert throttler.try_acquire().remaining == 999_999
    clock.at(1)
    assert throttler.try_acquire(cost=999_999).remaining == 0
    clock.at(2.001)
    assert throttler.peek().remaining == 0
    clock.at(2.002)
    assert throttler.peek().remaining == 1
    throttler.reset()

    assert throttler.peek().remaining == 1_000_000


def test_a_reset_makes_room(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 5: limits, test_moving_window_varying_cost."""
    throttler = make_throttler(rates=["5/min"])
    assert throttler.try_acquire(cost=5).allowed
    assert not throttler.try_acquire(cost=2).allowed
    throttler.reset()

    assert throttler.try_acquire().allowed


def test_the_window_slides_and_does_not_jump(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 7: redisson, testAcquisitionInterval."""
    throttler = make_throttler(rates=["2/5s"])
    for seconds in (0, 4, 5.05):
        clock.at(seconds)
        assert throttler.try_acquire().allowed

    assert not throttler.try_acquire().allowed


def test_two_rates_are_both_used_up_as_early_as_both_allow(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 10: PyrateLimiter, test_bucket_all 01."""
    throttler = make_throttler(rates=["30/s", "50/2s"])
    granted = [throttler.acquire().granted_at for _ in range(101)]
    after = [round(at - granted[0], 2) for at in granted]  # what need not wait is logged a millisecond later

    assert after == [0.0] * 30 + [1.0] * 20 + [2.0] * 30 + [3.0] * 20 + [4.0]


def test_a_refused_weight_is_not_recorded(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 10: PyrateLimiter, test_bucket_all 02."""
    throttler = make_throttler(rates=["20/s"])
    assert throttler.try_acquire(cost=11).allowed
    assert not throttler.try_acquire(cost=20).allowed

    assert throttler.try_acquire(cost=9).remaining == 0
    assert not throttler.try_acquire().allowed


@pytest.mark.parametrize("weight", [1, 2, 3])
def test_the_wait_of_any_weight_is_exact(make_throttler: Make, clock: ServerClock, weight: int) -> None:
    """Scenario 11: PyrateLimiter, test_bucket_waiting; to the millisecond where that suite allows 20."""
    throttler = make_throttler(rates=["3/500ms"])
    for seconds in (0, 0.1, 0.2):
        clock.at(seconds)
        assert throttler.try_acquire().allowed
    wait = throttler.try_acquire(cost=weight).retry_after
    assert wait == pytest.approx([0.301, 0.401, 0.501][weight - 1])
    clock.advance(wait - 0.001)
    assert not throttler.try_acquire(cost=weight).allowed
    clock.advance(0.001)

    assert throttler.try_acquire(cost=weight).allowed


def test_a_caller_that_sleeps_the_wait_is_let_in(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 12: PyrateLimiter, test_waiting_clears_inclusive_lower_bound."""
    throttler = make_throttler(rates=["1/100ms"])
    clock.at(1)
    assert throttler.try_acquire().allowed
    wait = throttler.try_acquire().retry_after
    assert wait > 0
    clock.advance(wait)

    assert throttler.try_acquire().allowed


def test_asking_what_is_left_is_free(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 14: throttled-py, SLIDING_WINDOW_LIMIT_CASES. To peek is what its cost 0 does."""
    throttler = make_throttler(rates=["5/min"])
    assert throttler.peek().remaining == 5
    assert throttler.try_acquire(cost=1).remaining == 4
    assert throttler.try_acquire(cost=4).remaining == 0
    refused = throttler.try_acquire(cost=4)
    assert (refused.allowed, refused.remaining) == (False, 0)
    assert throttler.peek().remaining == 0
    clock.at(60.001)

    assert throttler.peek(cost=5).allowed


def test_asking_for_more_than_is_left_takes_nothing(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 15: gubernator, TestTokenBucketRequestMoreThanAvailable. Slots are of 60 ms here."""
    throttler = make_throttler(rates=["2000/min"])
    asked = [1000, 1500, 500, 400, 100, 1]
    answers = [(decision.allowed, decision.remaining) for decision in map(throttler.try_acquire, asked)]

    assert answers == [(True, 1000), (False, 1000), (True, 500), (True, 100), (True, 0), (False, 0)]


def test_another_limit_changes_what_remains_by_the_difference(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 16: gubernator, TestChangeLimit. Processes are restarted one by one with a new limit."""
    limits = [100, 100, 10, 10, 200]
    remaining = [make_throttler(rates=[f"{limit}/min"]).try_acquire().remaining for limit in limits]

    assert remaining == [99, 98, 7, 6, 195]


def test_a_higher_limit_adds_to_what_is_left(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 17: redisson, testUpdateRateHigherRate."""
    assert make_throttler(rates=["10/5s"]).try_acquire(cost=4).allowed

    assert make_throttler(rates=["20/5s"]).peek().remaining == 16


def test_a_limit_below_what_is_used_leaves_nothing(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 17: redisson, testUpdateRateNewValueNegative."""
    assert make_throttler(rates=["10/5s"]).try_acquire(cost=8).allowed
    decision = make_throttler(rates=["5/5s"]).try_acquire()

    assert (decision.allowed, decision.remaining) == (False, 0)


def test_a_shorter_period_forgets_what_is_older(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 17: redisson, testUpdateRateDropsExpired."""
    assert make_throttler(rates=["10/5s"]).try_acquire(cost=10).allowed
    clock.at(1.1)

    assert make_throttler(rates=["10/s"]).peek().remaining == 10


def test_a_refunded_part_can_be_had_again(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 18: upstash, negative-rate.test.ts."""
    throttler = make_throttler(rates=["10/10s"])
    permit = throttler.try_acquire(cost=10).permit
    assert throttler.refund(permit, 3)

    assert throttler.peek().remaining == 3


def test_a_refund_never_lifts_what_is_left_above_the_limit(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 18: redisson, testRelease."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=3).permit
    clock.at(1.001)
    throttler.refund(permit)

    assert throttler.peek().remaining == 10
    assert throttler.try_acquire(cost=10).allowed
    assert not throttler.try_acquire().allowed


def test_a_negative_refund_is_an_error(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 18: redisson, testRelease."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=3).permit

    with pytest.raises(ValueError, match="cost"):
        throttler.refund(permit, -1)


def test_each_answer_says_what_remains(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 19: redis_rate, TestAllow."""
    throttler = make_throttler(rates=["10/s"])

    assert [throttler.try_acquire(cost=cost).remaining for cost in (1, 2, 7)] == [9, 7, 0]
    with pytest.raises(CostExceedsLimit):
        throttler.try_acquire(cost=1000)


def test_at_most_so_much_grants_what_there_is(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 19: redis_rate, TestAllowAtMost."""
    throttler = make_throttler(rates=["10/s"])
    throttler.try_acquire(cost=3)
    decision = throttler.try_acquire(cost=10, minimum=1)

    assert (decision.permit.cost, decision.remaining) == (7, 0)


def test_a_peek_creates_nothing(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """Scenario 19: redis_rate, AllowN(0)."""
    assert make_throttler(rates=["10/s"]).peek().remaining == 10

    assert stored(client) == {}


def test_after_a_burst_calls_are_spaced(make_throttler: Make, clock: ServerClock) -> None:
    """Scenario 20: redis-cell, it_rates_limits."""
    throttler = make_throttler(rates=["10/10s"], max_burst_size=4, cooldown_period=2.0)
    granted = [throttler.acquire().granted_at for _ in range(11)]
    after = [round(at - granted[0], 2) for at in granted]  # what need not wait is logged a millisecond later

    assert after == [0.0] * 4 + [2.0] * 4 + [4.0] * 2 + [10.0]


def test_a_request_for_more_than_is_left_learns_when_to_come_back(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """Scenario 20: redis-cell, it_rates_limits."""
    throttler = make_throttler(rates=["10/10s"])
    throttler.try_acquire(cost=8)
    clock.at(7.001)
    before = shared(client)
    decision = throttler.try_acquire(cost=3)

    assert (decision.allowed, decision.remaining, decision.retry_after) == (False, 2, 3.0)
    assert shared(client) == before


def test_a_rate_of_zero_is_a_clear_error() -> None:
    """Scenario 20: redis-cell, it_rates_limits."""
    with pytest.raises(ValueError, match="limit must be a whole number from 1"):
        Rate(0, 1.0)
