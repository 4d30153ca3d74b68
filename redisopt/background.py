"""One plan in the background, while there is something to do: started when there is, over when there is not.

One for each object that keeps something alive in Redis, not one for each thing that it keeps: a process that holds a thousand
leases renews them in one thread or task. A forked child starts without any.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import TypeVar

from redisopt.commands import Plan, Wait
from redisopt.identity import process_id

T = TypeVar("T")

_numbers = itertools.count(1)


class Background:
    """When to run in the background, for whoever keeps something. Thread-safe.

    Attributes:
        start: called when there is something to do and nothing runs.
        wake: called with an id, to end a wait of this process.
        id: under which the background plan waits for its next beat.
    """

    def __init__(self) -> None:
        self.start: Callable[[], object] = _nothing
        self.wake: Callable[[str], object] = _nothing
        self.id = f"beat:{next(_numbers)}"
        self._begin()

    def _begin(self) -> None:
        """Be without anything to do, as at first, and in a forked child."""
        self._process = process_id()
        self._lock = threading.RLock()
        self._runs = False

    def _enter(self) -> None:
        if self._process != process_id():
            self._begin()  # a forked child: the lock may be held by a thread that is not here

    def _run(self) -> None:
        """There is something to do. Call with the lock held."""
        if not self._runs:
            self._runs = True
            self.start()

    def _rest(self) -> None:
        """There is nothing to do: the plan ends. Call with the lock held."""
        self._runs = False

    def stopped(self) -> None:
        """Nothing runs any more, whatever there is to do."""
        self._runs = False

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
