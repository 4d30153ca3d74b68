"""Being told: on_throttle of one throttler, and hooks of the whole process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

import redisopt
from redisopt import ThrottleTimeout
from redisopt.events import Event, Granted, Hook, Refused
from tests.clock import ServerClock
from tests.faces import Face
from tests.lines import join

Make = Callable[..., Face]


# --- on_throttle


def test_on_throttle_hears_of_refusals_and_waits_with_the_length_of_the_line(
    make_throttler: Make, clock: ServerClock
) -> None:
    """Not of what is granted at once; who waits counts itself."""
    heard: list[int] = []
    throttler = make_throttler(rates=["2/s"], on_throttle=heard.append)
    throttler.try_acquire()
    throttler.acquire()
    assert heard == []
    throttler.try_acquire()
    join(throttler)
    join(throttler)
    throttler.try_acquire()

    assert heard == [0, 1, 2, 2]


def test_a_callback_that_ends_the_process_leaves_nothing_charged(make_throttler: Make, clock: ServerClock) -> None:
    """The caller never learns of what it was granted."""

    def end(_: int) -> None:
        raise SystemExit

    throttler = make_throttler(rates=["1/s"], on_throttle=end)
    throttler.acquire()
    with pytest.raises(SystemExit):
        throttler.acquire()

    assert throttler.metrics().queue_length == 0
    clock.advance(1.001)
    assert throttler.try_acquire()


def test_on_throttle_hears_of_a_timeout(make_throttler: Make, clock: ServerClock) -> None:
    """It is a refusal."""
    heard: list[int] = []
    throttler = make_throttler(rates=["1/s"], on_throttle=heard.append)
    throttler.acquire()
    with pytest.raises(ThrottleTimeout):
        throttler.acquire(timeout=0.5)

    assert heard == [0]


def test_on_throttle_does_not_hear_of_a_peek(make_throttler: Make, clock: ServerClock) -> None:
    """Nobody was throttled."""
    heard: list[int] = []
    throttler = make_throttler(rates=["1/s"], on_throttle=heard.append)
    throttler.acquire()
    throttler.peek()

    assert heard == []


def test_an_on_throttle_that_raises_changes_nothing(
    make_throttler: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the caller gets its permit."""

    def on_throttle(queue_size: int) -> None:
        raise RuntimeError("a mistake in the callback")

    throttler = make_throttler(rates=["1/s"], on_throttle=on_throttle)
    throttler.acquire()
    with caplog.at_level(logging.ERROR, "redisopt"):
        assert throttler.acquire().waited == 1.001

    assert "a mistake in the callback" in caplog.text


# --- hooks


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    """What a hook hears during the test, of decisions alone."""
    events: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, Granted | Refused):
            events.append(event)

    redisopt.add_hook(listen)
    yield events
    redisopt.remove_hook(listen)


def test_a_hook_hears_of_what_was_granted_at_once(make_throttler: Make, clock: ServerClock, heard: list[Event]) -> None:
    """With no wait."""
    make_throttler("github", rates=["5/s"]).try_acquire(cost=3, key="user:1")

    assert heard == [Granted("github", "user:1", 3, 0.0, 0)]


def test_a_hook_hears_of_who_waits_and_how_long(make_throttler: Make, clock: ServerClock, heard: list[Event]) -> None:
    """When the wait begins."""
    throttler = make_throttler("github", rates=["5/s"])
    throttler.acquire(cost=5)
    clock.advance(0.25)
    join(throttler, cost=2)

    assert heard[1:] == [Granted("github", "", 2, 0.751, 1)]


def test_a_hook_hears_of_refusals_and_why(make_throttler: Make, clock: ServerClock, heard: list[Event]) -> None:
    """Of try_acquire, and of a wait that would be too long."""
    throttler = make_throttler("github", rates=["5/s", "6/min"])
    throttler.try_acquire(cost=5)
    throttler.try_acquire(cost=1)
    with pytest.raises(ThrottleTimeout):
        throttler.acquire(cost=2, timeout=1)

    assert heard[1:] == [Refused("github", "", 1, "5/s", 1.001, 0), Refused("github", "", 2, "6/min", 60.001, 0)]


def test_a_hook_hears_of_a_part_as_it_was_granted(make_throttler: Make, clock: ServerClock, heard: list[Event]) -> None:
    """Not of what was asked."""
    make_throttler("github", rates=["20/s", "5/min"]).try_acquire(cost=3)
    make_throttler("github", rates=["20/s", "5/min"]).try_acquire(cost=5, minimum=1)

    assert heard[1:] == [Granted("github", "", 2, 0.0, 0)]


def test_a_hook_hears_nothing_of_a_peek(make_throttler: Make, clock: ServerClock, heard: list[Event]) -> None:
    """Nothing was decided."""
    make_throttler(rates=["5/s"]).peek()

    assert heard == []


def test_a_hook_that_raises_changes_nothing_for_callers_and_other_hooks(
    make_throttler: Make, clock: ServerClock, heard: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""

    def broken(event: Event) -> None:
        raise RuntimeError("a mistake in the hook")

    redisopt.add_hook(broken)
    try:
        with caplog.at_level(logging.ERROR, "redisopt"):
            assert make_throttler(rates=["5/s"]).try_acquire().allowed
    finally:
        redisopt.remove_hook(broken)

    assert len(heard) == 1
    assert "a mistake in the hook" in caplog.text


def test_a_hook_that_was_removed_hears_nothing_more(make_throttler: Make, clock: ServerClock) -> None:
    """And cannot be removed again. A bound method is another object each time that it is asked for."""
    listener = Listener()
    redisopt.add_hook(listener.listen)
    redisopt.remove_hook(listener.listen)
    make_throttler(rates=["5/s"]).try_acquire()

    assert listener.heard == []
    with pytest.raises(ValueError, match="not registered"):
        redisopt.remove_hook(listener.listen)


def test_no_hook_is_lost_where_another_thread_removes_one() -> None:
    """While that one looks for its own: each time that it compares two, a thread adds one more."""
    adding: list[threading.Thread] = []
    added: list[Hook] = []

    def own(event: Event) -> None:
        """What is removed."""

    class Slow:
        """Compares itself for as long as it takes to add a hook, or longer than that would take."""

        def __call__(self, event: Event) -> None:
            pass

        def __eq__(self, other: object) -> bool:
            if other is own:
                added.append(Listener().listen)
                adding.append(threading.Thread(target=redisopt.add_hook, args=(added[-1],)))
                adding[-1].start()
                adding[-1].join(0.3)
            return self is other

        __hash__ = object.__hash__

    slow = Slow()
    redisopt.add_hook(slow)
    redisopt.add_hook(own)
    redisopt.remove_hook(own)
    for thread in adding:
        thread.join()
    assert added
    for hook in (*added, slow):
        redisopt.remove_hook(hook)  # it raises where it is not there


class Listener:
    """Whose method is a hook."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def listen(self, event: Event) -> None:
        """Take note."""
        self.heard.append(event)
