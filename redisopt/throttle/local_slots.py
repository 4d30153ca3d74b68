"""Slots of this process alone: how many permits it holds at once, for when Redis is away.

As in Redis, callers who wait are served in the order of asking, and a permit that nobody refers to any more frees its slots.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any


class LocalSlots:
    """Who holds slots of each key, and who waits for some. Thread-safe."""

    def __init__(self, wake: Callable[[str], object]) -> None:
        """`wake` is called with the permit id of a waiter who has been given his slots, and may fail to reach him."""
        self._wake = wake
        self._lock = threading.Lock()
        # A permit may be collected in the middle of any call, with any lock held: it is only noted here.
        self._collected: deque[tuple[str, str]] = deque()
        self._held: dict[str, dict[str, int]] = {}
        self._line: dict[str, dict[str, int]] = {}
        self._slots: dict[str, int] = {}

    def take(self, key: str, permit: str, weight: int, slots: int) -> bool:
        """Whether `permit` has its slots, out of so many; if not, it stands in line: ask again, or `leave`."""
        self._let_go()
        with self._lock:
            self._slots[key] = slots
            if permit not in self._held.get(key, {}):
                self._line.setdefault(key, {}).setdefault(permit, weight)
            self._serve(key)
            return permit in self._held.get(key, {})

    def leave(self, key: str, permit: str) -> bool:
        """Give back what `permit` holds, or its place in line. False when it has neither."""
        self._let_go()
        return self._leave(key, permit)

    def _leave(self, key: str, permit: str) -> bool:
        with self._lock:
            left = [places.pop(permit, None) for places in (self._held.get(key, {}), self._line.get(key, {}))]
            self._serve(key)
            if not self._held.get(key) and not self._line.get(key):
                for each in (self._held, self._line, self._slots):
                    each.pop(key, None)
            return left != [None, None]

    def leave_with(self, key: str, permit: Any) -> None:
        """Leave when nobody refers to `permit` any more: with the next call, or when a waiter looks again."""
        weakref.finalize(permit, self._collected.append, (key, permit.id)).atexit = False

    def _let_go(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._leave(*self._collected.popleft())

    def free(self, key: str, slots: int) -> int:
        """How many of so many slots nobody holds."""
        return max(0, slots - sum(self._held.get(key, {}).values()))

    def waiting(self, key: str) -> int:
        """How many callers wait."""
        return len(self._line.get(key, ()))

    def _serve(self, key: str) -> None:
        line, held = self._line.get(key, {}), self._held.setdefault(key, {})
        while line:
            permit, weight = next(iter(line.items()))
            if weight > self.free(key, self._slots.get(key, 0)):
                return
            held[permit] = line.pop(permit)
            with contextlib.suppress(RuntimeError):  # another event loop's: it looks again by itself
                self._wake(permit)
