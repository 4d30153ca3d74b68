"""Copies of values in this process, which save asking Redis: bounded in number, in bytes, and in age by `local_ttl`.

Whoever changes a value says so on the cache's channel, and every process drops its copy. Such word is a hint: one that is lost costs
`local_ttl` at most; and where it is known that some may have been lost, no copy is used any more without asking. Word may come while a reply with the old value is under way; so a reply becomes a copy only where no
word came since it was asked for. A copy outlives its `local_ttl` for as long as its value would be served, for when Redis is away.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import NamedTuple

from redisopt.background import Background, now
from redisopt.cache.config import CacheConfig
from redisopt.cache.layout import Layout, Place
from redisopt.commands import Plan, Wait

_IDLE = 10.0  # seconds without a call, and without a copy that is good, after which nobody listens
_LISTEN = 1.0


class Copy(NamedTuple):
    """A value. Seconds by this process's monotonic clock.

    Attributes:
        payload: its bytes: every caller gets a value of its own.
        fence: of the value.
        tags: encoded.
        since: when it was kept.
        good_until: it may be used without asking.
        ends: it may be used where nobody can be asked.
    """

    payload: bytes
    fence: int
    tags: frozenset[str]
    since: float
    good_until: float
    ends: float


class Reading:
    """A value is being asked for, and may become a copy.

    Attributes:
        key: whose value, as messages name it.
        floor: a value with a lower fence is over, as was heard meanwhile.
        tags: that were invalidated meanwhile.
    """

    __slots__ = ("floor", "key", "tags")

    def __init__(self, key: str) -> None:
        self.key = key
        self.floor: float = 0
        self.tags: set[str] = set()


class _Nothing:
    """Copies are shared by all places."""

    def inherit(self, other: _Nothing, /) -> None:
        """There is nothing to inherit."""


class Copies(Background[_Nothing]):
    """The copies of one cache in this process. Thread-safe; a forked child begins with none."""

    def __init__(self, config: CacheConfig, layout: Layout) -> None:
        self._ttl, self._size, self._bytes = config.local_ttl, config.local_size, config.local_bytes
        self._channel = layout.channel
        super().__init__(_Nothing)

    def _begin(self) -> None:
        super()._begin()
        self._copies: OrderedDict[str, Copy] = OrderedDict()
        self._held = 0  # bytes
        self._readings: set[Reading] = set()
        self._used = self._missed = -inf

    def get(self, place: Place, *, away: bool = False) -> Copy | None:
        """The copy that may be used; with `away`, where Redis cannot be asked."""
        if not self._ttl:
            return None
        self._enter()
        with self._lock:
            copy = self._copies.get(place.message)
            if copy is None or now() >= (copy.ends if away else copy.good_until):
                return None
            if not away and copy.since <= self._missed:
                return None
            self._copies.move_to_end(place.message)
            if not away:
                self._used = now()
                self._here()
                self._run()
            return copy

    def begin(self, place: Place) -> Reading | None:
        """A value is about to be asked for; to be followed by `end`. None where there are no copies."""
        if not self._ttl:
            return None
        self._enter()
        reading = Reading(place.message)
        with self._lock:
            self._readings.add(reading)
            self._used = now()
            self._here()
            self._run()
        return reading

    def end(self, reading: Reading | None) -> None:
        """It was asked for."""
        if reading is not None:
            self._enter()
            with self._lock:
                self._readings.discard(reading)

    def put(
        self, reading: Reading | None, payload: bytes, fence: int, tags: frozenset[str], fresh: float, ends: float
    ) -> None:
        """Keep a copy of a value that is fresh for `fresh` seconds, and of use to anybody for `ends` seconds."""
        if reading is None:
            return
        self._enter()
        with self._lock:
            if reading not in self._readings or fence < reading.floor or tags & reading.tags:
                return
            before = self._copies.get(reading.key)
            if before is not None and before.fence > fence:
                return
            self._remove(reading.key)
            if len(payload) > self._bytes:
                return
            self._used = at = now()
            self._copies[reading.key] = Copy(payload, fence, tags, at, at + min(fresh, self._ttl), at + ends)
            self._held += len(payload)
            while len(self._copies) > self._size or self._held > self._bytes:
                self._remove(next(iter(self._copies)))

    def _remove(self, key: str) -> None:
        copy = self._copies.pop(key, None)
        if copy is not None:
            self._held -= len(copy.payload)

    # --- what is over

    def drop(self, place: Place) -> None:
        """A value was changed by this process."""
        if self._ttl:
            self.hear(f"{place.message}inf")

    def hear(self, messages: str) -> None:
        """Word has come: ``key=<key>=<fence>`` or ``tag=<tag>``; anything else is reason to trust none."""
        self._enter()
        with self._lock:
            for message in messages.split():
                what, _, fence = message.rpartition("=")
                if message.startswith("key="):
                    self._drop_below(f"{what}=", float(fence))
                elif message.startswith("tag="):
                    self._drop_tag(message.removeprefix("tag="))
                else:
                    self._missed = now()
                    self._readings.clear()  # what is under way becomes no copy

    def _drop_below(self, key: str, fence: float) -> None:
        copy = self._copies.get(key)
        if copy is not None and copy.fence < fence:
            self._remove(key)
        for reading in self._readings:
            if reading.key == key:
                reading.floor = max(reading.floor, fence)

    def _drop_tag(self, tag: str) -> None:
        for key in [key for key, copy in self._copies.items() if tag in copy.tags]:
            self._remove(key)
        for reading in self._readings:
            reading.tags.add(tag)

    # --- listening

    def stop(self) -> None:
        """Listen no more, until there is a call again."""
        if self._ttl:
            self._used = -inf
            self.wake(self.id)

    def keep(self) -> Plan[None]:
        """What runs in the background while there are copies: to hear of changes."""
        try:
            while True:
                messages = yield Wait(self.id, _LISTEN, self._channel, attentive=True)
                if messages is not None:
                    self.hear(messages)
                with self._lock:
                    if now() > self._used + max(self._ttl, _IDLE):
                        self._rest()
                        break
            yield Wait(self.id, 0.0, heard=False)  # attentive no more
        except BaseException:
            self.stopped()
            raise
