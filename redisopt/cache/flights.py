"""What callers of one process share: who wants a key that another one here is just getting waits for that one.

So however many threads or tasks want a key, Redis is asked once; and where Redis is away, the value is computed once at a time. Threads share
with threads, tasks with those of their event loop.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, NamedTuple

from redisopt.awaiting import Awaiting, NotYet
from redisopt.background import Performer, now
from redisopt.commands import Plan
from redisopt.identity import process_id

_numbers = itertools.count(1)


class Outcome(NamedTuple):
    """What became of a key.

    Attributes:
        payload: the value's bytes, of which each caller makes its own.
        value: the value itself, for the one who computed it; for all where there are no bytes.
        own: whether `value` is for the one who got this, who then needs no bytes.
        error: why there is no value.
        shared: whether it is for those who wait, too; else they are to look for themselves.
    """

    payload: bytes | None = None
    value: Any = None
    own: bool = False
    error: BaseException | None = None
    shared: bool = True


class _Leader:
    """Whose flight it is: only the plan that performs it refers to it, so that it is gone when that is."""

    __slots__ = ("__weakref__",)


class Flight:
    """Somebody is getting a key."""

    __slots__ = ("_hangs_from", "_until", "followed", "key", "leader", "name", "outcome", "over")

    def __init__(self, key: tuple[object, str], leader: _Leader, until: float) -> None:
        self._until = until
        self._hangs_from = inf
        self.key = key
        self.name = f"{key[1]}#{next(_numbers)}"
        self.leader = weakref.ref(leader)
        self.followed = False
        self.over = False
        self.outcome: Outcome | None = None

    @property
    def left(self) -> float:
        """Seconds for which its leader may still wait for another process: it may have waited in this one before."""
        return max(0.0, self._until - now())

    def computes(self, longest: float) -> None:
        """Its leader calls the function now, which hangs where it takes longer than `longest` seconds."""
        self._hangs_from = now() + longest

    @property
    def is_hung(self) -> bool:
        """Whether nobody is to wait for it any more, whether or not it has a lease that is renewed no more."""
        return not self.over and now() >= self._hangs_from

    @property
    def is_lost(self) -> bool:
        """Whether its leader is gone without a word: an interruption can come at any instant, also where it was cleaning up."""
        return not self.over and self.leader() is None


class Flights:
    """The keys that callers of this process are getting. Thread-safe; a forked child begins with none.

    Without a lock, which an interruption at the wrong instant would leave held: each step is one operation of a dict.
    """

    def __init__(self) -> None:
        self._awaiting = Awaiting()
        self._place: Callable[[], object] = lambda: None
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._flights: dict[tuple[object, str], Flight] = {}

    def _of_process(self) -> dict[tuple[object, str], Flight]:
        if self._process != process_id():
            self._begin()
        return self._flights

    def attach(self, performer: Performer) -> None:
        """Have `performer` wake who waits."""
        self._awaiting.wake = performer.wake
        self._place = performer.place

    def share(self, name: str, get: Callable[[Flight], Plan[Outcome]], timeout: float) -> Plan[tuple[Outcome, bool]]:
        """What `get` gives, performed by one caller at a time; and whether this caller was the one.

        Raises:
            ResultTimeout: it takes another one longer than `timeout` seconds.
            Whatever `get` raises, to who performed it. (Of those that wait, the next one performs it then.)
        """
        until = now() + timeout
        leader = _Leader()
        while True:
            flight = self._enter(name, leader, until)
            if flight.leader() is leader:
                try:
                    flight.outcome = yield from get(flight)
                    return flight.outcome, True
                finally:
                    self._end(flight)
            outcome: Outcome = yield from self._awaiting.outcome(
                flight.name, partial(_look, flight), max(0.0, until - now()), heard=False
            )
            if outcome.shared:
                return outcome, False

    def forget(self, name: str) -> None:
        """Whoever comes from now on is not to share what is being got: the key was changed."""
        flights = self._of_process()
        for key in [key for key in list(flights) if key[1] == name]:
            flights.pop(key, None)

    def forget_all(self) -> None:
        """As `forget`, of every key."""
        self._of_process().clear()

    def _enter(self, name: str, leader: _Leader, until: float) -> Flight:
        key = (self._place(), name)
        flights = self._of_process()
        while True:
            flight = flights.setdefault(key, Flight(key, leader, until))
            if not flight.is_lost and not flight.is_hung:
                break
            if flights.get(key) is flight:
                flights.pop(key, None)
        if flight.leader() is not leader:
            flight.followed = True  # before it looks whether it is over, as its leader looks after it is
        return flight

    def _end(self, flight: Flight) -> None:
        flight.over = True
        flights = self._of_process()
        if flights.get(flight.key) is flight:
            flights.pop(flight.key, None)
        if flight.followed:
            self._awaiting.wake(flight.name)


_AGAIN = Outcome(shared=False)


def _look(flight: Flight) -> Plan[Outcome | NotYet]:
    """What became of it. A plan, since whoever waits looks by a plan."""
    yield from ()
    if flight.is_lost or flight.is_hung:
        return _AGAIN
    if not flight.over:
        return NotYet()
    return flight.outcome or _AGAIN
