"""Places that were given up, and charges and resets while others wait: what they leave for whoever comes next."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.clock import START_MS, ServerClock
from tests.crowds import most_within
from tests.faces import Face
from tests.fragile import Lateness
from tests.lines import join, stored

Make = Callable[..., Face]


def seconds(permit: Any) -> float:
    """When a permit was granted, from the start."""
    return round(float(permit.granted_at) - START_MS / 1000, 3)


def test_what_was_charged_while_others_waited_delays_nobody_once_they_have_left(
    make_throttler: Make, clock: ServerClock
) -> None:
    """It stands at its own time, not at the end of the line that was."""
    throttler = make_throttler(rates=["2/s"])
    first = throttler.try_acquire().permit
    line = [join(throttler) for _ in range(40)]
    throttler.settle(first, 2)
    for permit in line:
        throttler.refund(permit)

    assert [seconds(throttler.acquire()) for _ in range(4)] == [1.001, 1.002, 2.001, 2.002]


@pytest.mark.parametrize("waiters", [0, 3])
def test_a_charge_counts_like_any_other_use(make_throttler: Make, clock: ServerClock, waiters: int) -> None:
    """Whether or not others wait."""
    throttler = make_throttler(rates=["4/10s"])
    permit = throttler.try_acquire().permit
    line = [join(throttler, 4) for _ in range(waiters)]
    throttler.settle(permit, 3)
    for waiting in line:
        throttler.refund(waiting)

    assert throttler.peek().remaining == 1
    clock.advance(10.001)
    assert throttler.peek().remaining == 4


@pytest.mark.parametrize("waiters", [0, 2])
def test_a_charge_that_completes_a_burst_starts_the_cooldown(
    make_throttler: Make, clock: ServerClock, waiters: int
) -> None:
    """As a grant would."""
    throttler = make_throttler(rates=["100/min"], max_burst_size=4, cooldown_period=3)
    permit = throttler.try_acquire().permit
    line = [join(throttler, 4) for _ in range(waiters)]
    throttler.settle(permit, 4)
    for waiting in reversed(line):
        throttler.refund(waiting)

    peeked = throttler.peek()
    assert (peeked.reason, peeked.retry_after) == ("cooldown", 3.001)


def test_a_permit_of_before_a_reset_gives_back_nothing_of_after(make_throttler: Make, clock: ServerClock) -> None:
    """Not even one that waited for a time after it."""
    throttler = make_throttler(rates=["5/10s"])
    used = throttler.try_acquire(cost=5).permit
    waiting = join(throttler)
    throttler.reset()
    assert throttler.try_acquire(cost=5)
    throttler.refund(used)
    clock.advance(9.5)
    throttler.refund(waiting)
    assert not throttler.try_acquire()
    clock.advance(0.505)
    throttler.refund(waiting)

    assert throttler.try_acquire(cost=5)
    assert not throttler.try_acquire()


def test_a_place_given_up_can_be_had_when_another_config_has_come(make_throttler: Make, clock: ServerClock) -> None:
    """Its arrival must not make the places that were given up go."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    line = [join(throttler) for _ in range(3)]
    make_throttler(rates=["1/s", "50/min"]).peek()
    throttler.refund(line[0])

    assert seconds(join(throttler)) == seconds(line[0])


def test_a_place_that_nobody_took_is_erased_also_by_who_is_refused_a_share(
    make_throttler: Make, clock: ServerClock
) -> None:
    """Else the sums would go on to hold it after it is gone from the log."""
    throttler = make_throttler(rates=["100/s"])
    throttler.try_acquire(cost=50)
    clock.at(0.1)
    throttler.try_acquire(cost=50)
    given_up = join(throttler, 50)
    assert seconds(join(throttler)) == 1.101
    throttler.refund(given_up)
    clock.at(1.05)
    assert not make_throttler(rates=["100/s"], prefetch=0.1).try_acquire().allowed
    clock.at(1.2)

    assert throttler.peek().remaining == 99


def test_no_key_is_ever_given_a_time_to_live_that_is_over(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """The places given up lie in a key of their own, and outlive the registration of another config."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    line = [join(throttler) for _ in range(3)]
    throttler.refund(line[0])
    make_throttler(rates=["1/s", "50/min"]).peek()
    throttler.refund(line[1])

    assert len(next(value for key, value in stored(client).items() if key.endswith(":holes"))) == 2


@pytest.mark.long
@pytest.mark.parametrize("waiters", [3000])
def test_thousands_who_leave_at_once_hold_nobody_up(make_throttler: Make, clock: ServerClock, waiters: int) -> None:
    """First the first, which leaves holes; the last then takes them all out. No single call takes long for it."""
    throttler = make_throttler(rates=["1/s", "9999/h"], command_timeout=5)
    throttler.try_acquire()
    line = [join(throttler) for _ in range(waiters)]
    slowest = 0.0
    with Lateness() as late:
        for permit in line:
            begun = time.perf_counter()
            throttler.refund(permit)
            slowest = max(slowest, time.perf_counter() - begun)

    # A server stops for this long; it was 0.7 s when each was looked for from the end of the line.
    assert slowest < 0.25 + 4 * late.seconds


def test_one_who_still_waits_keeps_nobody_from_what_others_gave_up(make_throttler: Make, clock: ServerClock) -> None:
    """On 1/s, 60 in line, the first 59 leave: the next call is granted now, one by one, and the last when it was told."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    line = [join(throttler) for _ in range(60)]
    for permit in line[:-1]:
        throttler.refund(permit)
    clock.at(30.2)

    assert throttler.try_acquire()
    assert not throttler.try_acquire()
    assert seconds(join(throttler)) == 32.001
    clock.at(60.1)
    assert not throttler.try_acquire()


def test_what_is_taken_before_its_time_is_within_the_limit(make_throttler: Make, clock: ServerClock) -> None:
    """Against every window that there is, whoever asks and leaves, at every moment."""
    throttler = make_throttler(rates=["3/s", "9/5s"])
    times: list[int] = []
    for turn in range(40):
        line = [join(throttler, 1 + turn % 2) for _ in range(4)]
        for place in (1, 0, 2):
            throttler.refund(line[place])
        times += [line[3].time_ms] * line[3].cost
        for cost in (1, 2):
            if decision := throttler.try_acquire(cost=cost):
                times += [decision.permit.time_ms] * cost
        clock.advance(0.37)
    times.sort()

    assert most_within(times, 1000) == 3
    assert 8 <= most_within(times, 5000) <= 9


def test_a_place_given_up_is_not_taken_in_the_own_cooldown(make_throttler: Make, clock: ServerClock) -> None:
    """It was given by a process without one."""
    plain = make_throttler(rates=["5/s"])
    careful = make_throttler(rates=["5/s"], max_burst_size=5, cooldown_period=10)
    careful.try_acquire(cost=5)
    line = [join(plain) for _ in range(3)]
    plain.refund(line[0])

    assert seconds(careful.acquire()) >= 10.001


def test_periods_that_nobody_uses_any_more_leave_the_record(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """A rate was taken out of the config: the processes that still have it are gone."""
    make_throttler(rates=["9/s", "90/2s"]).try_acquire()
    throttler = make_throttler(rates=["9/s"])
    for _ in range(400):
        throttler.try_acquire()
        clock.advance(1)

    state = next(value for key, value in stored(client).items() if key.endswith(":state"))
    assert state[b"periods"] == b"1000"
    assert b"log:2000" not in state


def test_periods_that_are_in_use_stay_on_record(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """Both processes go on, one of them seldom."""
    throttler = make_throttler(rates=["9/s"])
    other = make_throttler(rates=["9/s", "90/2s"])
    for _ in range(10):
        other.try_acquire()
        for _ in range(40):
            throttler.try_acquire()
            clock.advance(1)
        state = next(value for key, value in stored(client).items() if key.endswith(":state"))
        assert state[b"periods"] == b"1000 2000"


def test_lanes_that_have_fallen_silent_are_swept_by_one_that_has_not(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """Nobody new needs to come."""
    for _ in range(8):
        make_throttler(rates=["99999/min"]).try_acquire()
    throttler = make_throttler(rates=["99999/min"])
    for _ in range(520):
        throttler.try_acquire()
        clock.advance(0.25)

    state = next(value for key, value in stored(client).items() if key.endswith(":state"))
    assert sum(field.startswith(b"lane:") for field in state) == 1
