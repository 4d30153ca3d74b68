"""Waiting for outcomes, as plans: one stream for each adder, and of those who wait one that reads for all.

Whoever waits first reads, and hands the others theirs; when it has its own, another one goes on. So an adder that waits for
nothing costs nothing, a thousand that wait cost one call for each settled batch, and no thread stands between the outcome
and who waits for it. Messages are hints: once a second without one the reader looks, also by id, so that nobody waits for an
outcome that was lost on the way.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from redisopt.awaiting import Awaiting, NotYet
from redisopt.background import now
from redisopt.commands import Plan, Wait, call
from redisopt.errors import RedisOptError, ResultTimeout
from redisopt.identity import next_permit_id, process_id

if TYPE_CHECKING:
    from redisopt.batch.asking import Asking
    from redisopt.batch.replies import Reading

LOOK_EVERY = 1.0
"""Seconds that a lost hint costs at most."""

LOOKED_AT = 500
"""Items that are looked at by id at once."""

_HEARD = 5.0
"""Seconds for which messages are heard, and kept for us, after a wait."""

_numbers = itertools.count(1)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Wakes(Protocol):
    """A runner, as far as an inbox needs to know it."""

    def wake(self, permit: str) -> None:
        """End the `Wait` of this permit."""


class Expected:
    """An item that somebody here may wait for.

    Attributes:
        id: as it stands in Redis.
        outcome: once it is known; b"" where it is forgotten.
        waiters: the permits of the waits for it.
        added: whether it is known to have been added.
    """

    __slots__ = ("__weakref__", "added", "id", "outcome", "waiters")

    def __init__(self, item_id: str) -> None:
        self.id = item_id
        self.outcome: bytes | None = None
        self.waiters: list[str] = []
        self.added = False


class Inbox:
    """What comes for one adder: a process, or one event loop of it. Thread-safe.

    Attributes:
        adder: its name in Redis.
        prefix: of the ids that it makes.
        last_gone: the latest entry of the stream of those gone when it was made.
    """

    def __init__(self, asking: Asking, wakes: Wakes, last_gone: str, loop: asyncio.AbstractEventLoop | None) -> None:
        self._asking = asking
        self._wakes = wakes
        self.adder = next_permit_id()
        self.prefix = self.adder.replace(":", ".") + "."
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._expected: weakref.WeakValueDictionary[str, Expected] = weakref.WeakValueDictionary()
        self._waiting: dict[str, Expected] = {}
        self._reads = False
        self._more = False
        self._heard = -math.inf
        self.last_gone = last_gone
        self._last, self._last_gone = "0-0", last_gone
        self._process = process_id()
        self._loop = None if loop is None else weakref.ref(loop)

    def next_id(self) -> str:
        """An id for an item, that no other has."""
        return f"{self.prefix}{next(self._ids)}"

    def is_here(self) -> bool:
        """Whether it is of this process, and of this event loop where it is of one."""
        return self._process == process_id() and (self._loop is None or self._loop() is _running_loop())

    def expect(self, items: Iterable[Expected]) -> dict[str, Expected]:
        """Keep the outcomes of items, from now on, for as long as somebody refers to them.

        Returns, by id, items that are to be referred to instead of these, since they are expected already.
        """
        expected, others = self._expected, {}
        with self._lock:
            for item in items:
                known = expected.get(item.id)
                if known is None:
                    expected[item.id] = item
                else:
                    others[item.id] = known
        return others

    def listens(self) -> None:
        """No message is missed from now on."""
        self._heard = now()

    def wait(self, item: Expected, until: float) -> Plan[bytes]:
        """The outcome of an item that was expected before it was added.

        Raises:
            ResultTimeout: there is none at `until`, by this process's monotonic clock.
            Unavailable: nor could Redis be asked.
        """
        permit = f"{item.id}/{next(_numbers)}"
        with self._lock:
            item.waiters.append(permit)
            self._waiting[permit] = item
        try:
            while item.outcome is None:
                left = until - now()
                if left <= 0:
                    raise ResultTimeout(f"item {item.id!r} has no outcome yet: fetch it later by its id")
                if self._take_turn():
                    try:
                        yield from self._read_until(item, until)
                    finally:
                        self._reads = False
                else:
                    yield Wait(permit, min(left, LOOK_EVERY), heard=False)
        finally:
            self._leave(item, permit)
        return item.outcome

    def _take_turn(self) -> bool:
        """Be the one that reads, unless another one does."""
        with self._lock:
            if self._reads:
                return False
            self._reads = True
            return True

    def _leave(self, item: Expected, permit: str) -> None:
        with self._lock:
            item.waiters.remove(permit)
            del self._waiting[permit]
            other = None if self._reads else next(iter(self._waiting), None)
        if other is not None:
            self._wakes.wake(other)  # to read in our place

    def _read_until(self, item: Expected, until: float) -> Plan[None]:
        failure: RedisOptError | None = None
        self._more = self._more or now() - self._heard > _HEARD  # what came meanwhile was told to nobody
        while item.outcome is None:
            left = until - now()
            if left <= 0:
                if failure is not None:
                    raise failure
                return
            heard = self._more or (yield Wait(self.adder, min(left, LOOK_EVERY), self._asking.gone))
            self._heard = now()
            try:
                self._more = yield from self._read()
                if heard is None and item.outcome is None:
                    yield from self._look()
            except RedisOptError as error:
                failure, self._more = error, False
                yield Wait(f"{self.adder}/away", min(max(0.0, until - now()), LOOK_EVERY / 4), heard=False)
            else:
                failure = None

    def _read(self) -> Plan[bool]:
        """Take what has come; whether there is more at once."""
        reading: Reading = yield from call(self._asking.read(self.adder, self._last, self._last_gone))
        self._last, self._last_gone = reading.last, reading.last_gone
        for item_id, outcome in reading.outcomes.items():
            self._deliver(item_id, outcome)
        return reading.more

    def _look(self) -> Plan[None]:
        """No word has come: look by id at what is waited for, the longest wait first, and at what may be."""
        with self._lock:
            waiting = list(self._waiting.items())[:LOOKED_AT]
            for permit, item in waiting:  # the next look is at others
                del self._waiting[permit]
                self._waiting[permit] = item
            others = [item.id for item in itertools.islice(self._expected.values(), LOOKED_AT) if item.added]
        ids = list(dict.fromkeys([*(item.id for _, item in waiting), *others]))[:LOOKED_AT]
        yield from look_by_id(self._asking, ids, self._deliver)

    def _deliver(self, item_id: str, outcome: bytes) -> None:
        with self._lock:
            item = self._expected.pop(item_id, None)
            if item is None:
                return
            item.outcome = outcome
            waiters = list(item.waiters)
        for permit in waiters:
            self._wakes.wake(permit)


def look_by_id(asking: Asking, ids: Sequence[str], ended: Callable[[str, bytes], object]) -> Plan[None]:
    """Ask what became of items, and tell `ended` of each that has ended; b"" for one that is forgotten, or was never there."""
    while ids:
        found = yield from call(asking.fetch(ids))
        for item_id, outcome in zip(ids, found, strict=False):
            if outcome not in (b"waits", b"runs"):
                ended(item_id, b"" if outcome == b"unknown" else outcome)
        ids = ids[len(found) :]


class Fetching:
    """The outcomes of items that others may have added: nobody tells us of them, so they are asked for."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.awaiting = Awaiting()

    def fetch(self, item_id: str, timeout: float) -> Plan[bytes]:
        """The outcome of an item, b"" where it is forgotten or was never there: soon asked for again, later twice a second.

        Raises:
            ResultTimeout: there is none after `timeout` seconds.
            Unavailable: Redis could not be asked.
        """
        pauses = itertools.accumulate(
            itertools.repeat(1.5), lambda pause, grows: min(0.5, pause * grows), initial=0.005
        )

        def look() -> Plan[bytes | NotYet]:
            outcome: bytes = (yield from call(self._asking.fetch([item_id])))[0]
            if outcome in (b"waits", b"runs"):
                return NotYet(next(pauses))
            return b"" if outcome == b"unknown" else outcome

        return self.awaiting.outcome(f"item {item_id}", look, timeout)
