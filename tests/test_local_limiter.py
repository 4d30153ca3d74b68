"""The limiter of one process: exact in every trailing window, first come first served, bounded in memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redisopt.throttle.local_limiter import Answer, Limit, LocalLimiter

PER_SECOND = Limit("10/s", 10, 1000, 1)
PER_MINUTE = Limit("15/min", 15, 60_000, 1)
BURST = Limit("burst", 4, 1000, 1)
NOW = 1_000_000


class One:
    """The limiter of one key, at a time that the test moves."""

    def __init__(self, *limits: Limit, cooldown_ms: int = 0, processes: int = 1) -> None:
        self.real = LocalLimiter(limits, cooldown_ms)
        self.now = NOW
        self._processes = processes

    def take(self, cost: int = 1, least: int | None = None, patience_ms: float = 0) -> Answer:
        least = cost if least is None else least
        return self.real.take("", cost, least, patience_ms, self._processes, self.now)

    def wait(self, cost: int = 1) -> int | None:
        """Stand in line; the milliseconds until the place."""
        return self.take(cost, patience_ms=math.inf).wait_ms

    def granted(self, cost: int = 1) -> bool:
        return self.take(cost).place is not None


def test_all_limits_hold_together() -> None:
    """Refused by one, charged by none."""
    one = One(PER_SECOND, PER_MINUTE)
    assert one.granted(10)
    refused = one.take()
    assert (refused.place, refused.waits_for, refused.wait_ms) == (None, "10/s", 1001)
    one.now += 1001
    assert not one.granted(6)
    assert one.granted(5)
    assert one.take().waits_for == "15/min"


def test_a_thread_that_comes_late_with_its_time_takes_nothing_that_was_counted_then() -> None:
    """Another has let go meanwhile of what was over by its own time."""
    one = One(PER_SECOND)
    assert one.granted(10)
    one.now += 1001
    assert one.granted(4)
    one.now -= 50
    late = one.take(6)
    assert late.place is not None
    assert late.place.time_ms == NOW + 1002
    assert not one.granted()


def test_a_limit_is_divided_by_the_number_of_processes() -> None:
    """At least 1 is left; what is above the share is never granted here."""
    one = One(PER_SECOND, processes=4)
    assert one.take(3) == (None, None, "", 0, one.take(3).states)
    assert one.granted(2)
    assert not one.granted()
    crowded = One(PER_SECOND, processes=1000)
    assert crowded.granted()
    assert not crowded.granted()


def test_callers_who_wait_are_served_in_the_order_of_asking() -> None:
    """Whoever comes later waits longer, also for less, and also when there is a hole."""
    one = One(PER_SECOND)
    assert one.granted(6)
    one.now += 300
    assert [one.wait(4), one.wait(6), one.wait(1)] == [0, 701, 1001]
    one.now += 301
    third = one.take(3, patience_ms=math.inf)
    assert third.wait_ms == 700
    assert third.queue_size == 3
    assert not one.granted()


def test_a_wait_beyond_the_patience_takes_nothing() -> None:
    """And says how long it would be."""
    one = One(PER_SECOND)
    assert one.granted(10)
    refused = one.take(patience_ms=1000)
    assert (refused.place, refused.wait_ms, refused.queue_size) == (None, 1001, 0)
    one.now += 1001
    assert one.granted(10)


def test_who_gives_up_leaves_room_for_the_next() -> None:
    """Those behind keep their places."""
    one = One(PER_SECOND)
    one.take(10)
    first, second = (one.take(10, patience_ms=math.inf).place for _ in range(2))
    assert first is not None
    assert second is not None
    one.real.give_back("", second)
    assert one.wait(10) == second.time_ms - NOW
    one.real.give_back("", first)
    one.now = first.time_ms
    assert not one.granted(), "who waits is not overtaken"
    one.now = second.time_ms + 1000
    assert one.granted(10)


def test_content_with_less() -> None:
    """As much as there is."""
    one = One(PER_SECOND)
    one.take(7)
    answer = one.take(8, least=2)
    assert answer.place is not None
    assert answer.place.cost == 3
    assert one.take(8, least=2).place is None


def test_a_burst_starts_a_cooldown_once_it_is_reached() -> None:
    """One that somebody waits for begins with his place, and not at all when he gives up."""
    one = One(Limit("100/h", 100, 3_600_000, 1000), BURST, cooldown_ms=5000)
    assert one.granted(3)
    assert one.granted(1)
    refused = one.take()
    assert (refused.waits_for, refused.wait_ms) == ("cooldown", 5001)
    one.now += 5001
    assert one.granted(3)
    reaches_it = one.take(4, patience_ms=math.inf)
    assert reaches_it.place is not None
    assert reaches_it.wait_ms == 1001
    behind = one.take()
    assert (behind.waits_for, behind.wait_ms) == ("cooldown", 6001)
    one.real.give_back("", reaches_it.place)
    assert one.take(2).waits_for == "burst"


def test_what_redis_granted_counts_until_its_period_is_over() -> None:
    """Even where it is more than the share."""
    one = One(PER_SECOND, processes=5)
    one.real.note("", 9, one.now)
    assert not one.granted()
    one.now += 1001
    assert one.granted(2)


def test_a_key_that_is_idle_is_forgotten() -> None:
    """Not one that has something in use, however many there are."""
    limiter = LocalLimiter((PER_MINUTE,), 0)
    for number in range(3000):
        limiter.note(f"old {number}", 1, NOW)
    for number in range(3000):
        limiter.note(f"new {number}", 1, NOW + 60_001)
    assert sum(key.startswith("new") for key in limiter._windows) == 3000
    assert sum(key.startswith("old") for key in limiter._windows) == 0


def test_a_window_is_small_whatever_the_limit() -> None:
    """An entry a slot."""
    limiter = LocalLimiter((Limit("1000000/h", 1_000_000, 3_600_000, 3600),), 0)
    for call in range(20_000):
        limiter.note("", 1, NOW + call * 180)
    assert len(limiter._windows[""]._windows[0]._slots) <= 1001


calls = st.lists(
    st.tuples(
        st.integers(0, 400),  # ms until it comes
        st.integers(1, 6),  # cost
        st.sampled_from([0.0, 300.0, math.inf]),  # patience
        st.booleans(),  # whether it gives up if it has to wait
    ),
    max_size=60,
)


@pytest.mark.parametrize("slot_ms", [1, 50])
@given(calls=calls)
def test_no_trailing_window_ever_holds_more_than_its_limit(slot_ms: int, calls: list[Any]) -> None:
    """And nobody is overtaken, and in slots of 1 ms nobody waits without need."""
    limits = Limit("8/s", 8, 1000, slot_ms), Limit("12/3s", 12, 3000, slot_ms)
    one = One(*limits)
    used: list[tuple[int, int]] = []
    latest = 0
    for pause, cost, patience, gives_up in calls:
        one.now += pause
        answer = one.take(cost, patience_ms=patience)
        place, wait = answer.place, answer.wait_ms
        assert wait is not None
        if place is None:
            assert wait > patience
            continue
        assert place.time_ms >= latest
        if wait and gives_up:
            one.real.give_back("", place)
            continue
        if slot_ms == 1 and wait > 1:
            before = place.time_ms - 1
            assert before < latest or any(
                sum(each for time, each in used if before - limit.period_ms < time <= before) + cost > limit.limit
                for limit in limits
            )
        latest = place.time_ms
        used.append((place.time_ms, cost))
    for limit in limits:
        for end, _ in used:
            assert sum(cost for time, cost in used if end - limit.period_ms < time <= end) <= limit.limit
