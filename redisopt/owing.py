"""What is to be given back in Redis as soon as that can be told again.

A call whose reply did not come may have taken something: a lease, which nobody uses and everybody waits for. Whoever made it knows how
to give that back. It is done in the background once Redis answers, or forgotten when the lease would have ended by itself.
"""

from __future__ import annotations

from typing import Any, Self

from redisopt import events
from redisopt.background import Background, now
from redisopt.commands import Command, Plan, call
from redisopt.errors import RedisOptError, Unavailable

EVERY = 0.25
"""Seconds between two tries. While Redis is known to be away, one costs nothing."""


class _Owed(dict[Command[Any], float]):
    """What is owed by one event loop, or by all threads, and until when."""

    def inherit(self, other: Self, /) -> None:
        """What another event loop owed that is closed."""
        self.update(other)


class Owing(Background[_Owed]):
    """What one object owes. Thread-safe; a forked child owes nothing of its parent's.

    Attach it to a runner before anything is owed, with the plan of `keep`.
    """

    def __init__(self) -> None:
        super().__init__(_Owed)

    def owe(self, command: Command[Any], seconds: float) -> None:
        """Have a script called, which is safe to repeat, as soon as that works, within so many seconds."""
        self._enter()
        with self._lock:
            self._here()[command] = now() + seconds
            self._run()

    def end(self) -> None:
        """Whoever owes is closed: what is left ends by itself."""
        self._enter()
        with self._lock:
            for kept in self._kept.values():
                kept.clear()
        self.wake(self.id)

    def keep(self) -> Plan[None]:
        """What runs in the background while anything is owed."""
        return self.beat(lambda: EVERY, self._left, self._pay)

    def _left(self) -> list[list[tuple[Command[Any], float]]]:
        """All that is owed, as one thing to do."""
        self._enter()
        with self._lock:
            owed = self._here()
            for command in [command for command, until in owed.items() if until < now()]:
                del owed[command]
            if not owed:
                self._rest()
                return []
            return [list(owed.items())]

    def _pay(self, owed: list[tuple[Command[Any], float]]) -> Plan[None]:
        for command, until in owed:
            if until < now():
                continue
            try:
                yield from call(command)
            except Unavailable as error:
                if error.sent:
                    return  # it took all its time, and so would the others
                continue  # that cost nothing, and on a Cluster another node may be there
            except RedisOptError as error:
                events.logger.debug("%s failed: what it would give back ends by itself: %s", command.script, error)
            with self._lock:
                self._here().pop(command, None)
