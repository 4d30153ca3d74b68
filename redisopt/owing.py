"""What is to be given back in Redis as soon as that can be told again.

A call whose reply did not come may have taken something: a lease, which nobody uses and everybody waits for. Whoever made it knows
what that would be. It is given back in the background once Redis answers, or forgotten when it would have ended by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar

from redisopt import events
from redisopt.background import Background, now
from redisopt.commands import Plan
from redisopt.errors import RedisOptError, Unavailable

EVERY = 0.25
"""Seconds between two tries. While Redis is known to be away, one costs nothing."""

T = TypeVar("T")


class _Owed(Generic[T]):
    """What is owed by one event loop, or by all threads, and until when."""

    def __init__(self) -> None:
        self.until: dict[T, float] = {}

    def inherit(self, other: Self) -> None:
        self.until.update(other.until)


class Owing(Background[_Owed[T]]):
    """What one object owes. Thread-safe; a forked child owes nothing of its parent's.

    Attach it to a runner before anything is owed, with the plan of `keep`.

    Args:
        give_back: the plan that gives one back. Safe to repeat.
    """

    def __init__(self, give_back: Callable[[T], Plan[object]]) -> None:
        self._give_back = give_back
        super().__init__(_Owed[T])

    def owe(self, what: T, until: float) -> None:
        """Give it back as soon as that works, and at the latest by `until`, by this process's monotonic clock."""
        self._enter()
        with self._lock:
            self._here().until[what] = until
            self._run()

    def keep(self) -> Plan[None]:
        """What runs in the background while anything is owed."""
        return self.beat(lambda: EVERY, self._left, self._pay)

    def _left(self) -> list[list[T]]:
        """All that is owed, as one thing to do: where one cannot be given back, the others cannot."""
        self._enter()
        with self._lock:
            owed = self._here().until
            for what in [what for what, until in owed.items() if until < now()]:
                del owed[what]
            if not owed:
                self._rest()
                return []
            return [list(owed)]

    def _pay(self, owed: list[T]) -> Plan[None]:
        for what in owed:
            try:
                yield from self._give_back(what)
            except Unavailable:
                return
            except RedisOptError as error:
                events.logger.debug("%r could not be given back, and ends by itself: %s", what, error)
            with self._lock:
                self._here().until.pop(what, None)
