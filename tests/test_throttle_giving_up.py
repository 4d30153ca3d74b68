"""Callers that give up while they wait: nobody loses a place by it, and what they had is not lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from redisopt import ThrottleTimeout
from tests.clock import START_MS, ServerClock
from tests.faces import Face
from tests.lines import interrupt, join, line, logs, stored

Make = Callable[..., Face]


def places(throttler: Face, count: int, cost: int = 1, key: str = "") -> list[float]:
    """The times that `count` more callers are given, in seconds from the start."""
    return [round(join(throttler, cost, key).granted_at - START_MS / 1000, 3) for _ in range(count)]


# --- the last in line


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_the_last_in_line_leaves_as_if_it_had_never_been(
    make_throttler: Make, clock: ServerClock, client: redis.Redis, interruption: type[BaseException]
) -> None:
    """The logs are what they were."""
    throttler = make_throttler(rates=["2/s", "10/min"])
    throttler.try_acquire(cost=2)
    join(throttler)
    before = logs(client), line(client)
    clock.advance(0.3)
    interrupt(throttler, interruption)

    assert (logs(client), line(client)) == before


def test_the_only_one_in_line_leaves_as_if_it_had_never_been(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """There is no line any more."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2)
    before = logs(client)
    interrupt(throttler, KeyboardInterrupt)

    assert (logs(client), line(client)) == (before, [])


@pytest.mark.parametrize("cost", [1, 2, 3, 4])
def test_those_who_come_later_are_served_as_without_the_one_that_left(
    make_throttler: Make, clock: ServerClock, cost: int
) -> None:
    """Side by side with a key where it never was, over two rates and several uses."""
    throttler = make_throttler(rates=["4/s", "9/5s"])
    for key in ("left", "never"):
        for seconds in (0, 0.25, 0.5):
            clock.at(seconds)
            throttler.try_acquire(key=key)
        join(throttler, 2, key)
    clock.at(0.75)
    interrupt(throttler, KeyboardInterrupt, cost=cost, key="left")

    assert places(throttler, 8, key="left") == places(throttler, 8, key="never")


def test_what_remains_is_told_right_after_the_last_in_line_left(make_throttler: Make, clock: ServerClock) -> None:
    """A use that was passed for its sake counts again until its own time is over, and no longer."""
    throttler = make_throttler(rates=["3/s"])
    throttler.try_acquire()
    clock.at(0.25)
    throttler.try_acquire()
    interrupt(throttler, KeyboardInterrupt, cost=2)
    assert throttler.peek().remaining == 1
    clock.at(1.001)

    assert throttler.try_acquire().remaining == 1


def test_when_the_last_leaves_the_holes_before_it_go_too(make_throttler: Make, clock: ServerClock) -> None:
    """The line then ends at the last one who still waits."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler) for _ in range(4)]
    for permit in (waiting[1], waiting[2], waiting[3]):
        throttler.refund(permit)

    assert places(throttler, 2) == [2.001, 3.001]


def test_when_all_leave_nothing_is_left_of_the_line(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """In whatever order."""
    throttler = make_throttler(rates=["2/s", "5/10s"])
    throttler.try_acquire(cost=2)
    before = logs(client)
    waiting = [join(throttler) for _ in range(6)]
    for number in (2, 0, 5, 3, 1, 4):
        throttler.refund(waiting[number])

    assert (logs(client), line(client), throttler.metrics().queue_length) == (before, [], 0)


# --- in the middle


def test_the_next_caller_gets_the_place_that_was_given_up(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """At its time; those behind keep theirs, and the logs do not change."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler) for _ in range(3)]
    before = logs(client), line(client)
    throttler.refund(waiting[1])
    assert join(throttler).granted_at == waiting[1].granted_at

    assert (logs(client), line(client)) == before
    assert places(throttler, 1) == [4.001]


def test_places_given_up_are_taken_from_the_first_on(make_throttler: Make, clock: ServerClock) -> None:
    """And once each."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler) for _ in range(5)]
    for number in (3, 1):
        throttler.refund(waiting[number])

    assert places(throttler, 3) == [2.001, 4.001, 6.001]


def test_a_large_place_serves_several_small_callers(make_throttler: Make, clock: ServerClock) -> None:
    """What is left of it stays to be had."""
    throttler = make_throttler(rates=["3/s"])
    throttler.try_acquire(cost=3)
    large = join(throttler, cost=3)
    join(throttler, cost=3)
    throttler.refund(large)

    assert places(throttler, 4) == [1.001, 1.001, 1.001, 3.001]


def test_a_place_is_no_use_to_who_needs_more(make_throttler: Make, clock: ServerClock) -> None:
    """It goes to the end, and who needs less may come and take it."""
    throttler = make_throttler(rates=["3/s"])
    throttler.try_acquire(cost=3)
    small = join(throttler, cost=1)
    join(throttler, cost=3)
    throttler.refund(small)

    assert places(throttler, 1, cost=2) == [3.001]
    assert places(throttler, 1, cost=1) == [1.001]


def test_who_will_not_wait_that_long_does_not_get_the_place(make_throttler: Make, clock: ServerClock) -> None:
    """Its timeout counts as always."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler) for _ in range(3)]
    throttler.refund(waiting[1])
    with pytest.raises(ThrottleTimeout):
        throttler.acquire(timeout=2)

    assert throttler.acquire(timeout=2.5).granted_at == waiting[1].granted_at


def test_who_does_not_wait_at_all_does_not_get_the_place(make_throttler: Make, clock: ServerClock) -> None:
    """It is for later."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler), join(throttler)]
    throttler.refund(waiting[0])

    assert not throttler.try_acquire().allowed
    assert join(throttler).granted_at == waiting[0].granted_at


def test_who_took_a_place_may_give_it_up_in_turn(make_throttler: Make, clock: ServerClock) -> None:
    """Again and again."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler) for _ in range(3)]
    throttler.refund(waiting[0])
    for _ in range(3):
        throttler.refund(join(throttler))

    assert places(throttler, 2) == [1.001, 4.001]


def test_a_place_that_nobody_took_is_free_for_all_at_its_time(make_throttler: Make, clock: ServerClock) -> None:
    """A use that never was counts no longer."""
    throttler = make_throttler(rates=["3/s", "10/min"])
    throttler.try_acquire(cost=3)
    given_up = join(throttler, cost=2)
    join(throttler, cost=3)
    throttler.refund(given_up)
    clock.at(3.002)

    assert [limit.remaining for limit in throttler.peek().limits] == [3, 4]


@pytest.mark.parametrize("look", ["peek", "metrics"])
def test_to_look_at_a_place_that_nobody_took_loses_nothing(make_throttler: Make, clock: ServerClock, look: str) -> None:
    """Side by side with a key that nobody looks at."""
    throttler = make_throttler(rates=["3/s", "20/min"])
    for key in ("seen", "unseen"):
        clock.at(0)
        throttler.try_acquire(cost=3, key=key)
        waiting = [join(throttler, 1, key) for _ in range(5)]
        throttler.refund(waiting[1])
        throttler.refund(waiting[3])
        clock.at(2.5)
        if key == "seen":
            getattr(throttler, look)(key)
    clock.at(4)

    assert throttler.try_acquire(key="seen").limits == throttler.try_acquire(key="unseen").limits


def test_no_window_holds_too_much_when_places_change_hands(make_throttler: Make, clock: ServerClock) -> None:
    """A place that is taken is not given back to the limit as well."""
    throttler = make_throttler(rates=["5/s"])
    throttler.try_acquire(cost=5)
    waiting = [join(throttler) for _ in range(15)]
    for number in (1, 4, 7, 8, 14):
        throttler.refund(waiting[number])
    kept = [permit for number, permit in enumerate(waiting) if number not in (1, 4, 7, 8, 14)]
    kept += [join(throttler) for _ in range(15)]
    times = [permit.time_ms for permit in kept]

    assert max(sum(time - 1000 < other <= time for other in times) for time in times) == 5


def test_places_that_nobody_took_are_cleared_away(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """The next call after their time removes them."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler) for _ in range(4)]
    throttler.refund(waiting[0])
    throttler.refund(waiting[2])
    clock.at(10)
    throttler.try_acquire()

    assert not [key for key in stored(client) if key.endswith(":holes")]


def test_a_place_is_judged_by_the_config_of_who_takes_it(make_throttler: Make, clock: ServerClock) -> None:
    """The line allows 4 per second; who wants 1 per second may not have its place among them."""
    throttler, strict = make_throttler(rates=["4/s"]), make_throttler(rates=["1/s"])
    throttler.try_acquire(cost=4)
    waiting = [join(throttler) for _ in range(5)]
    throttler.refund(waiting[1])

    assert join(strict).granted_at >= waiting[4].granted_at + 1


def test_the_length_of_the_line_falls_when_somebody_leaves(make_throttler: Make, clock: ServerClock) -> None:
    """In the middle or at its end."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = [join(throttler) for _ in range(4)]
    lengths = [throttler.metrics().queue_length]
    for number in (1, 3, 0):
        throttler.refund(waiting[number])
        lengths.append(throttler.metrics().queue_length)

    assert lengths == [4, 3, 2, 1]
