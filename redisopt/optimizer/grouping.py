"""Closures in batches: those that one process is given in a short time go through what limits them together.

A function cannot go to another process, so these batches are of one process; an operation that is registered by name is batched
over the fleet instead. Each batch has a plan of its own in the background, which waits until the batch is due, takes the permit and
opens the gate; each call then runs its own closure where it was called, and has its own outcome. So a caller that is cancelled
leaves the others alone.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redisopt import events
from redisopt.background import Performer, now
from redisopt.commands import Plan, Wait
from redisopt.errors import Cancelled
from redisopt.holding import when_over
from redisopt.identity import process_id
from redisopt.policies import Fold, Policy

_CLOSED = "the optimizer was closed, or its event loop has ended, before the batch was run"

_LOOK_EVERY = 1.0
"""Seconds after which who waits looks for itself."""

_SAY_AGAIN = 0.05
"""Seconds after which those that have not heard that they may run are told again: word may come between a look and a wait."""

_NOT_BEGUN = 1.0
"""Seconds after which a batch whose plan has not begun by the time that it is due never will: its event loop is ending."""

_numbers = itertools.count(1)


class ClosureMetrics(NamedTuple):
    """How the batches of closures of this process stand.

    Attributes:
        pending: closures that wait for their batch to be due, or for its permit.
        running: closures that run.
        done: closures that have ended, whatever they gave.
        batches: that were begun.
    """

    pending: int
    running: int
    done: int
    batches: int


@dataclass(slots=True)
class _Batch:
    """Closures that go together.

    Attributes:
        id: under which the plan in the background waits; the callers wait under its gate.
        due: when no more join it, by this process's monotonic clock.
        size: closures that have joined.
        left: closures that have not ended.
        started: closures that have begun, or never will.
        begun: whether the plan in the background has.
        is_open: whether they may run.
        error: why they may not.
    """

    id: str
    due: float
    size: int = 1
    left: int = 1
    started: int = 0
    begun: bool = False
    is_open: bool = False
    error: BaseException | None = None
    gate: str = field(init=False)

    def __post_init__(self) -> None:
        self.gate = f"{self.id}:gate"


class Grouping:
    """The batches of one process. Thread-safe.

    Args:
        performer: performs what goes on in the background.
        max_size: closures that make a batch due at once.
        max_delay: seconds after its first closure at which it is due.
    """

    def __init__(self, performer: Performer, max_size: int, max_delay: float) -> None:
        self._performer = performer
        self._max_size = max_size
        self._max_delay = max_delay
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._gathering: dict[Any, _Batch] = {}
        self._pending = self._running = self._done = self._batches = 0

    @property
    def metrics(self) -> ClosureMetrics:
        """How they stand."""
        return ClosureMetrics(self._pending, self._running, self._done, self._batches)

    def policy(self, key: Any, shared: list[Policy]) -> Policy:
        """What goes on around the closures of a key: `shared` goes around each batch of them as a whole."""
        return _Grouped(self, key, shared)

    def run(self, key: Any, shared: list[Policy], inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Perform `inner` together with those of other callers."""
        batch = self._join(key, shared)
        running = False
        try:
            while not batch.is_open and batch.error is None:
                yield Wait(batch.gate, _LOOK_EVERY, heard=False)
                if not batch.begun and now() > batch.due + _NOT_BEGUN:
                    self._give_up(batch)
            if batch.error is not None:
                raise _own_copy(batch.error)
            running = True
            with self._lock:
                self._pending -= 1
                self._running += 1
                batch.started += 1
            result = yield from inner()
        except BaseException as error:
            # What runs on after a timeout still does what the batch has its permit for.
            if not when_over(error, self._performer, lambda: self._leave(batch, running=True)):
                self._leave(batch, running=running)
            raise
        self._leave(batch, running=True)
        return result

    def _join(self, key: Any, shared: list[Policy]) -> _Batch:
        if self._process != process_id():
            self._begin()  # a forked child: its parent's callers are not here
        place = (self._performer.place(), key)
        with self._lock:
            batch = self._gathering.get(place)
            if batch is None:
                batch = self._begin_batch(place, shared)
            else:
                batch.size += 1
                batch.left += 1
            self._pending += 1
            is_full = batch.size >= self._max_size
            if is_full:
                del self._gathering[place]
        if is_full:
            self._performer.wake(batch.id)
        return batch

    def _begin_batch(self, place: Any, shared: list[Policy]) -> _Batch:
        batch = _Batch(f"group:{next(_numbers)}", now() + self._max_delay)
        self._performer.start(lambda: self._conduct(place, batch, shared), "redisopt-group")
        self._gathering[place] = batch
        self._batches += 1
        return batch

    def _leave(self, batch: _Batch, *, running: bool) -> None:
        with self._lock:
            batch.left -= 1
            if not running:
                batch.started += 1
            if running:
                self._running -= 1
                self._done += 1
            else:
                self._pending -= 1
            is_over = batch.left == 0
        if is_over:
            self._performer.wake(batch.id)

    def _give_up(self, batch: _Batch) -> None:
        """Nobody conducts a batch: none of its closures can run, and none is to join it."""
        batch.error = Cancelled(_CLOSED)
        with self._lock:
            self._gathering = {place: other for place, other in self._gathering.items() if other is not batch}

    def _conduct(self, place: Any, batch: _Batch, shared: list[Policy]) -> Plan[None]:
        """What goes on in the background for one batch, until all its closures have ended."""
        batch.begun = True
        try:
            while batch.size < self._max_size and batch.left and now() < batch.due:
                yield Wait(batch.id, min(1.0, max(0.0, batch.due - now())), heard=False)
            with self._lock:
                if self._gathering.get(place) is batch:
                    del self._gathering[place]
            if batch.left:
                yield from Fold(shared).around(lambda: self._open(batch))
        except BaseException as error:
            batch.error = error if isinstance(error, Exception) else Cancelled(_CLOSED)
            if not isinstance(error, Exception):
                raise
            events.logger.debug("a batch of closures could not run: %s", error)
        finally:
            with self._lock:
                if self._gathering.get(place) is batch:
                    del self._gathering[place]
            self._performer.wake(batch.gate)

    def _open(self, batch: _Batch) -> Plan[None]:
        batch.is_open = True
        self._performer.wake(batch.gate)
        while batch.left:
            yield Wait(batch.id, _SAY_AGAIN if batch.started < batch.size else _LOOK_EVERY, heard=False)
            if batch.started < batch.size:
                self._performer.wake(batch.gate)


class _Grouped:
    """Being batched, as a policy."""

    def __init__(self, grouping: Grouping, key: Any, shared: list[Policy]) -> None:
        self._grouping = grouping
        self._key = key
        self._shared = shared

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """`inner`, with those of others."""
        return self._grouping.run(self._key, self._shared, inner)


def _own_copy(error: BaseException) -> BaseException:
    """The error for one of several callers, each with a traceback of its own."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__ or error
    return copied
