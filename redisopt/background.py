"""One plan in the background, while there is something to do: started when there is, over when there is not.

One for each object that keeps something alive in Redis, not one for each thing that it keeps: a process that holds a thousand
leases renews them in one thread, or in one task of each event loop. A forked child starts without any.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from redisopt import events
from redisopt.commands import Plan, Wait
from redisopt.identity import process_id

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_numbers = itertools.count(1)

BEAT = "beat:"
"""What the ids of all that runs in the background begin with."""


class Kept(Protocol):
    """What is kept in one event loop, or by all threads."""

    def inherit(self, other: Self, /) -> None:
        """Keep what another event loop kept that is closed."""


class Performer(Protocol):
    """A runner, as far as what runs in the background needs to know it."""

    def start(self, plan: Callable[[], Plan[object]], name: str) -> Callable[[], object]:
        """Perform a plan in the background. What it gives interrupts that, where it can be: a task, but no thread.

        Raises:
            RuntimeError: it cannot be started.
        """

    def wake(self, permit: str) -> None:
        """End the `Wait` of this permit."""

    def place(self) -> AbstractEventLoop | None:
        """The event loop that it performs in now; None for threads."""


class NoPerformer:
    """What there is until a runner is attached: nothing can be started."""

    def start(self, plan: Callable[[], Plan[object]], name: str) -> Callable[[], object]:
        """Refuse."""
        raise RuntimeError(f"{name}: nobody performs {plan!r} in the background yet")

    def wake(self, permit: str) -> None:
        """Nobody waits."""

    def place(self) -> None:
        """No event loop."""


K = TypeVar("K", bound=Kept)
T = TypeVar("T")


class Background(Generic[K]):
    """When to run in the background, for whoever keeps something: for threads together, of tasks for each event loop apart.

    Thread-safe.

    Attributes:
        id: under which the background plan waits for its next beat.
    """

    def __init__(self, kept: Callable[[], K]) -> None:
        """`kept` makes what is kept in one place, with nothing in it."""
        self._make_kept = kept
        self._start: Callable[[], object] = _nothing
        self._place: Callable[[], AbstractEventLoop | None] = _nothing
        self.wake: Callable[[str], object] = _nothing
        self.id = f"{BEAT}{next(_numbers)}"
        self._begin()

    def attach(self, performer: Performer, plan: Callable[[], Plan[object]], name: str) -> None:
        """Have `performer` perform `plan` in the background, under this name, whenever there is something to do."""
        self._start = lambda: performer.start(plan, name)
        self._place = performer.place
        self.wake = performer.wake

    def _begin(self) -> None:
        """Be without anything to do, as at first, and in a forked child."""
        self._process = process_id()
        self._lock = threading.RLock()
        self._kept: dict[AbstractEventLoop | None, K] = {}
        self._running: set[AbstractEventLoop | None] = set()

    def _enter(self) -> None:
        if self._process != process_id():
            self._begin()  # a forked child: the lock may be held by a thread that is not here

    def _here(self) -> K:
        """What is kept in the running event loop. Call with the lock held."""
        place = self._place()
        kept = self._kept.get(place)
        if kept is None:
            kept = self._kept[place] = self._make_kept()
            for over in [other for other in self._kept if other is not None and other.is_closed()]:
                kept.inherit(self._kept.pop(over))
                self._running.discard(over)
        return kept

    def _run(self, *, sooner: bool = False) -> None:
        """There is something to do; with `sooner`, maybe before the next beat. Call with the lock held."""
        place = self._place()
        if place in self._running:
            if sooner:
                self.wake(self.id)
            return
        try:
            self._start()
        except RuntimeError as error:  # no thread is to be had: the next that there is to do tries again
            events.logger.warning("leases are not renewed, nor places kept: %s", error)
        else:
            self._running.add(place)

    def _rest(self) -> None:
        """There is nothing to do: the plan ends. Call with the lock held."""
        self._running.discard(self._place())

    def stopped(self) -> None:
        """Nothing runs any more, whatever there is to do."""
        with self._lock:
            self._rest()

    def beat(
        self, pause: Callable[[], float], to_beat: Callable[[], Sequence[T]], beat: Callable[[T], Plan[None]]
    ) -> Plan[None]:
        """What runs in the background: `beat` for each of `to_beat`, every `pause` seconds, for as long as there are any.

        `pause` is asked again whenever somebody wakes `id`: the next beat may be due sooner than was thought.
        """
        try:
            due = inf
            while True:
                due = min(due, now() + pause())
                if (yield Wait(self.id, max(0.0, due - now()), heard=False)) is not None:
                    continue
                due = inf
                found = to_beat()
                if not found:
                    return
                for each in found:
                    yield from beat(each)
        except BaseException:
            self.stopped()
            raise


now = time.monotonic
"""Seconds by this process's monotonic clock: by it a holder knows when its lease is over at the latest."""


def _nothing(*_: object) -> None:
    """Nobody is to be told."""
