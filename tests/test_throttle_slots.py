"""Margin and precision: what lengthens a period, and the slots that bound a log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tests.clock import START_MS, ServerClock
from tests.faces import Face
from tests.lines import stored

Make = Callable[..., Face]


def test_a_margin_lengthens_every_period(make_throttler: Make, clock: ServerClock) -> None:
    """By as much."""
    throttler = make_throttler(rates=["2/s", "3/10s"], margin=0.25)
    granted = [round(throttler.acquire().granted_at - START_MS / 1000, 2) for _ in range(4)]

    assert granted == [0.0, 0.0, 1.25, 10.25]


def test_a_margin_does_not_change_the_names_of_limits(make_throttler: Make, clock: ServerClock) -> None:
    """They are the ones that were configured."""
    throttler = make_throttler(rates=["1/s"], margin=0.25)
    throttler.try_acquire()

    assert throttler.try_acquire().reason == "1/s"


@pytest.mark.parametrize("offset_ms", [0, 1, 49, 50, 98, 99])
def test_with_slots_a_grant_is_never_early_and_at_most_a_slot_late(
    make_throttler: Make, clock: ServerClock, offset_ms: int
) -> None:
    """Wherever in a slot of 100 ms the use is."""
    throttler = make_throttler(rates=["1/s"], precision=0.1)
    clock.advance(offset_ms / 1000)
    used_at = throttler.try_acquire().permit.granted_at
    late_by = round(throttler.acquire().granted_at - used_at - 1.0, 3)

    assert 0.0 <= late_by < 0.1


def test_with_slots_no_window_holds_too_much(make_throttler: Make, clock: ServerClock) -> None:
    """Uses one by one, 30 ms apart, over slots of 70 ms."""
    throttler = make_throttler(rates=["7/s"], precision=0.07)
    granted = []
    for _ in range(150):
        clock.advance(0.03)
        decision = throttler.try_acquire()
        if decision:
            granted.append(decision.permit.time_ms)

    assert max(sum(time - 1000 < other <= time for other in granted) for time in granted) == 7


def test_with_slots_waiters_are_served_a_slot_late_at_most(make_throttler: Make, clock: ServerClock) -> None:
    """Thirty in line on 3 per second with slots of 0.1 s: ten waits of a second each and a slot at most."""
    throttler = make_throttler(rates=["3/s"], precision=0.1)
    granted = [throttler.acquire().time_ms for _ in range(33)]

    assert all(granted[i + 9] - granted[i] >= 3000 for i in range(24))
    assert granted[-1] - granted[0] <= 10 * 1100


def test_slots_bound_the_log_of_a_large_limit(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """A thousand by default, however many uses there are."""
    throttler = make_throttler(rates=["1000000/10s"])
    for _ in range(1200):
        clock.advance(0.01)
        throttler.try_acquire()
    (log,) = [key for key in stored(client) if ":log:" in key]

    assert client.llen(log) <= 1000
