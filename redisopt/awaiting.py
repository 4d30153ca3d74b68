"""Waiting for an outcome that some other process will bring about.

Whoever waits asks, and then waits for word under the outcome's name (see `wakes`). Word is a hint: without any it asks again
once a second. Of those of one process that wait for one outcome, who has it passes the word on: one may have asked a moment
before the word came, and begun to wait a moment after.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from redisopt.background import now
from redisopt.commands import Plan, Wait
from redisopt.errors import ResultTimeout, Unavailable
from redisopt.identity import process_id

R = TypeVar("R")

ASK_EVERY = 1.0
"""Seconds: what a lost word costs at most."""

_OUTAGE = 10.0  # seconds for which who waits bears that Redis cannot be asked


@dataclass(frozen=True, slots=True)
class NotYet:
    """There is no outcome yet; ask again within `seconds` at the latest."""

    seconds: float = ASK_EVERY


class Awaiting:
    """The waits of one object.

    Attributes:
        wake: called with a name, to end the waits for it.
    """

    def __init__(self) -> None:
        self.wake: Callable[[str], object] = lambda _: None
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()

    def outcome(
        self, name: str, look: Callable[[], Plan[R | NotYet]], timeout: float | None, *, heard: bool = True
    ) -> Plan[R]:
        """What `look` finds, as soon as it finds anything. Word comes from Redis, or without `heard` from this process alone.

        Raises:
            ResultTimeout: nothing within `timeout` seconds; None waits for as long as it takes.
            Unavailable: Redis could not be asked for 10 s, or until the timeout.
        """
        until = inf if timeout is None else now() + timeout
        self._enter(name)
        try:
            away_since: float | None = None
            while True:
                try:
                    found = yield from look()
                    away_since = None
                except Unavailable:
                    away_since = now() if away_since is None else away_since
                    if now() - away_since > _OUTAGE or now() >= until:
                        raise
                    found = NotYet()
                if not isinstance(found, NotYet):
                    return found
                left = until - now()
                if left <= 0:
                    raise ResultTimeout(f"{name} has no outcome after {timeout} s")
                yield Wait(name, max(0.0, min(left, found.seconds, ASK_EVERY)), heard=heard)
        finally:
            if self._leave(name):
                self.wake(name)

    def _enter(self, name: str) -> None:
        if self._process != process_id():
            self._begin()
        with self._lock:
            self._waiting[name] += 1

    def _leave(self, name: str) -> bool:
        """Wait no more; whether others still do."""
        with self._lock:
            self._waiting[name] -= 1
            if self._waiting[name] > 0:
                return True
            del self._waiting[name]
            return False
