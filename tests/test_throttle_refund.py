"""Giving back: a refund of what was not used, and the settlement of an estimate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from tests.clock import ServerClock
from tests.faces import Face
from tests.lines import join, logs
from tests.servers import RunningServer

Make = Callable[..., Face]


def left(throttler: Face) -> list[int]:
    """What each limit has left."""
    return [limit.remaining for limit in throttler.peek().limits]


# --- refund


def test_a_refund_returns_the_cost_to_every_rate(make_throttler: Make, clock: ServerClock) -> None:
    """As if the call had never been."""
    throttler = make_throttler(rates=["10/s", "50/min"])
    throttler.try_acquire(cost=2)
    permit = throttler.try_acquire(cost=3).permit
    assert throttler.refund(permit) is True

    assert left(throttler) == [8, 48]


def test_a_part_can_be_refunded_and_then_the_rest(make_throttler: Make, clock: ServerClock) -> None:
    """The permit knows how much is left of it."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=6).permit
    throttler.refund(permit, 2)
    assert (permit.left, left(throttler)) == (4, [6])
    throttler.refund(permit)

    assert (permit.left, left(throttler)) == (0, [10])


def test_a_second_refund_returns_false_and_nothing_more(make_throttler: Make, clock: ServerClock) -> None:
    """Others' use is not given back with it."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=3).permit
    throttler.try_acquire(cost=3)
    assert [throttler.refund(permit), throttler.refund(permit), throttler.refund(permit, 1)] == [True, False, False]

    assert left(throttler) == [7]


def test_a_refund_of_more_than_is_left_of_the_permit_is_an_error(make_throttler: Make, clock: ServerClock) -> None:
    """And changes nothing."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=5).permit
    throttler.refund(permit, 2)
    with pytest.raises(ValueError, match="cost must be a whole number from 1 to 3"):
        throttler.refund(permit, 4)

    assert (permit.left, left(throttler)) == (3, [7])


def test_a_refund_after_the_period_changes_nothing(make_throttler: Make, clock: ServerClock) -> None:
    """What it would give back is back already; the shorter rate has forgotten it, the longer one has not."""
    throttler = make_throttler(rates=["4/s", "8/min"])
    permit = throttler.try_acquire(cost=3).permit
    clock.advance(1.5)
    throttler.try_acquire(cost=2)
    throttler.refund(permit)

    assert left(throttler) == [2, 6]


def test_a_refund_of_uses_in_one_slot_returns_each_once(make_throttler: Make, clock: ServerClock) -> None:
    """Slots add up uses; only what was refunded is taken out."""
    throttler = make_throttler(rates=["10/s"], precision=0.1)
    permits = [throttler.try_acquire(cost=cost).permit for cost in (1, 2, 4)]
    throttler.refund(permits[1])

    assert left(throttler) == [5]


def test_a_refunded_use_does_not_come_back_a_second_time(make_throttler: Make, clock: ServerClock) -> None:
    """When its period is over there is nothing left of it to pass."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=4).permit
    clock.at(0.5)
    throttler.try_acquire(cost=5)
    throttler.refund(permit)
    clock.at(1.2)

    assert left(throttler) == [5]


def test_what_was_refunded_can_be_had_at_once(make_throttler: Make, clock: ServerClock) -> None:
    """And the wait is that for the uses that stand."""
    throttler = make_throttler(rates=["4/s"])
    throttler.try_acquire(cost=2)
    clock.advance(0.25)
    permit = throttler.try_acquire(cost=2).permit
    throttler.refund(permit)
    assert throttler.try_acquire(cost=2).allowed

    assert throttler.try_acquire(cost=2).retry_after == 0.751


def test_a_refund_of_the_only_use_leaves_an_unused_limiter(make_throttler: Make, clock: ServerClock) -> None:
    """Nothing is to come back, and the next use counts as the first."""
    throttler = make_throttler(rates=["4/s"])
    throttler.refund(throttler.try_acquire(cost=2).permit)
    assert throttler.peek().reset_after == 0.0
    clock.advance(0.25)

    assert throttler.try_acquire().remaining == 3


def test_waiters_keep_their_times_when_a_use_before_them_is_refunded(make_throttler: Make, clock: ServerClock) -> None:
    """Who comes after them may gain by it, never go before them."""
    throttler = make_throttler(rates=["2/s"])
    permit = throttler.try_acquire(cost=2).permit
    waiting = join(throttler, cost=2)
    throttler.refund(permit)

    assert not throttler.try_acquire().allowed
    assert join(throttler).granted_at >= waiting.granted_at


def test_no_window_holds_too_much_after_a_refund_behind_a_line(make_throttler: Make, clock: ServerClock) -> None:
    """The use is passed for the waiters' sake already: to refund it must not make room twice."""
    throttler = make_throttler(rates=["2/s"])
    permit = throttler.try_acquire(cost=2).permit
    waiting = [join(throttler), join(throttler)]
    throttler.refund(permit)
    clock.at(1.001)
    later = [throttler.acquire().time_ms for _ in range(4)]
    times = [permit.time_ms for permit in waiting] + later

    assert max(sum(time - 1000 < other <= time for other in times) for time in times) <= 2


def test_a_permit_of_a_key_is_refunded_to_that_key(make_throttler: Make, clock: ServerClock) -> None:
    """The permit knows its key."""
    throttler = make_throttler(rates=["5/s"])
    permit = throttler.try_acquire(cost=2, key="a").permit
    throttler.try_acquire(cost=2, key="b")
    throttler.refund(permit)

    assert [throttler.peek(key).remaining for key in ("a", "b")] == [5, 3]


def test_a_refund_reaches_the_logs_of_other_configs(make_throttler: Make, clock: ServerClock) -> None:
    """What came back can be had by all."""
    wide = make_throttler(rates=["10/min"])
    wide.try_acquire()
    narrow = make_throttler(rates=["5/s"])
    permit = narrow.try_acquire(cost=4).permit
    assert wide.peek().remaining == 5
    narrow.refund(permit)

    assert wide.peek().remaining == 9


def test_a_refund_finds_its_use_in_slots_that_another_config_cut(make_throttler: Make, clock: ServerClock) -> None:
    """One process logs in slots of 100 ms, the other in slots of 1 ms; the period is the same."""
    make_throttler(rates=["10/s"], precision=0.1).try_acquire(cost=2)
    clock.advance(0.01)
    fine = make_throttler(rates=["10/s"])
    permit = fine.try_acquire(cost=3).permit
    fine.refund(permit)

    assert left(fine) == [8]


def test_a_refund_finds_its_use_in_the_slot_of_a_process_with_other_periods(
    make_throttler: Make, clock: ServerClock
) -> None:
    """Which logs in slots of 60 ms for the one with a minute."""
    wide = make_throttler(rates=["10/min"])
    wide.try_acquire()
    make_throttler(rates=["5/s"]).try_acquire()
    clock.advance(0.005)
    wide.refund(wide.try_acquire(cost=3).permit)

    assert wide.peek().remaining == 8


def test_a_refund_after_a_reset_returns_nothing(make_throttler: Make, clock: ServerClock) -> None:
    """What was granted before is forgotten; uses since then stand."""
    throttler = make_throttler(rates=["5/s"])
    permit = throttler.try_acquire(cost=3).permit
    throttler.reset()
    clock.advance(0.1)
    throttler.try_acquire(cost=2)
    throttler.refund(permit)

    assert left(throttler) == [3]


def test_threads_that_refund_one_permit_return_it_once(server: RunningServer, client: redis.Redis) -> None:
    """One of them gives it back, the others are told that nothing is left."""
    with redisopt.Throttler(client, "test", rates=["10/min"], command_timeout=20) as throttler:
        throttler.try_acquire(cost=4)
        permit = throttler.acquire(cost=3)
        answers: list[bool] = []
        threads = [threading.Thread(target=lambda: answers.append(permit.refund())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(answers) == [False] * 7 + [True]
        assert throttler.peek().remaining == 6


# --- settle


def test_to_settle_for_less_returns_the_rest(make_throttler: Make, clock: ServerClock) -> None:
    """The estimate was too high."""
    throttler = make_throttler(rates=["10/s", "50/min"])
    permit = throttler.try_acquire(cost=8).permit
    assert throttler.settle(permit, 3) is True

    assert left(throttler) == [7, 47]


def test_to_settle_for_nothing_returns_all(make_throttler: Make, clock: ServerClock) -> None:
    """It was free after all."""
    throttler = make_throttler(rates=["10/s"])
    throttler.settle(throttler.try_acquire(cost=8).permit, 0)

    assert left(throttler) == [10]


def test_to_settle_for_more_charges_the_difference(make_throttler: Make, clock: ServerClock) -> None:
    """The estimate was too low."""
    throttler = make_throttler(rates=["10/s", "50/min"])
    throttler.settle(throttler.try_acquire(cost=2).permit, 7)

    assert left(throttler) == [3, 43]


def test_to_settle_above_the_limit_delays_who_comes_next(make_throttler: Make, clock: ServerClock) -> None:
    """A debt: the first use and 3 of the excess must be back before 10 fit again, all the excess before one more does."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=8).permit
    clock.advance(0.25)
    throttler.settle(permit, 20)
    decision = throttler.try_acquire()

    assert (decision.allowed, decision.remaining, decision.retry_after) == (False, 0, 1.001)


def test_to_settle_for_the_estimate_asks_nothing_of_redis(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """It was right."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=8).permit
    before = logs(client)
    client.config_resetstat()
    assert throttler.settle(permit, 8) is True

    assert not [name for name in client.info("commandstats") if "eval" in name]
    assert logs(client) == before


def test_a_second_settlement_returns_false_and_changes_nothing(make_throttler: Make, clock: ServerClock) -> None:
    """Whatever it says."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=5).permit
    assert [throttler.settle(permit, 4), throttler.settle(permit, 1), throttler.settle(permit, 9)] == [
        True,
        False,
        False,
    ]
    assert left(throttler) == [6]


def test_after_a_settlement_nothing_can_be_refunded(make_throttler: Make, clock: ServerClock) -> None:
    """The account is closed."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=5).permit
    throttler.settle(permit, 4)
    assert throttler.refund(permit) is False

    assert left(throttler) == [6]


def test_a_settlement_after_a_refund_counts_what_was_refunded(make_throttler: Make, clock: ServerClock) -> None:
    """5 estimated, 3 refunded; it was 4 after all."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=5).permit
    throttler.refund(permit, 3)
    throttler.settle(permit, 4)

    assert left(throttler) == [6]


def test_a_debt_is_over_after_the_period(make_throttler: Make, clock: ServerClock) -> None:
    """However large it was."""
    throttler = make_throttler(rates=["10/s"])
    throttler.settle(throttler.try_acquire(cost=5).permit, 1000)
    clock.advance(1.001)

    assert left(throttler) == [10]


@pytest.mark.parametrize("actual", [10**12, 10**14, 10**18, 10**400])
def test_an_absurd_settlement_does_not_break_the_limiter(make_throttler: Make, clock: ServerClock, actual: int) -> None:
    """It is refused as a bad argument, or it is a debt like any other."""
    throttler = make_throttler(rates=["10/s"])
    permit = throttler.try_acquire(cost=5).permit
    _settle_or_refuse(throttler, permit, actual)
    assert throttler.peek().allowed in (True, False)
    clock.advance(1.001)

    assert throttler.try_acquire().remaining == 9


def test_a_settlement_while_others_wait_leaves_them_their_times(make_throttler: Make, clock: ServerClock) -> None:
    """It delays who comes after them."""
    throttler = make_throttler(rates=["4/s"])
    permit = throttler.try_acquire(cost=4).permit
    waiting = join(throttler, cost=2)
    throttler.settle(permit, 6)
    later = join(throttler, cost=3)

    assert waiting.waited == 1.001
    assert later.granted_at > waiting.granted_at


def _settle_or_refuse(throttler: Face, permit: Any, actual: int) -> None:
    try:
        throttler.settle(permit, actual)
    except ValueError as error:
        assert "actual" in str(error)  # noqa: PT017 - to be refused is one of two good answers
