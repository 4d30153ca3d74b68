"""The rest that may be done to a cache, as plans: set, delete, invalidate, peek, metrics."""

from __future__ import annotations

from typing import Any

from redisopt.cache.asking import Asking
from redisopt.cache.checking import Checking
from redisopt.cache.computing import Computing
from redisopt.cache.copies import Copies
from redisopt.cache.counting import Counting
from redisopt.cache.flights import Flights
from redisopt.cache.layout import Place
from redisopt.cache.outcome import CacheEntry, CacheMetrics
from redisopt.cache.replies import shown
from redisopt.commands import Plan, call


class Controlling:
    """The plans of those who change and look."""

    def __init__(
        self,
        asking: Asking,
        computing: Computing,
        checking: Checking,
        counting: Counting,
        copies: Copies,
        flights: Flights,
    ) -> None:
        self._asking = asking
        self._computing = computing
        self._checking = checking
        self._counting = counting
        self._copies = copies
        self._flights = flights

    def set(self, place: Place, value: Any, ttl: float, tags: tuple[str, ...]) -> Plan[None]:
        """Keep a value, in place of whatever is there or is being computed."""
        payload = self._asking.config.encoded(value)
        lives = self._computing.lives(ttl, value)
        if lives is None:  # a negative answer that is not to be kept
            yield from self.delete(place)
            return
        versions = (yield from call(self._asking.versions(tags, keep=True))) if tags else {}
        reading = self._copies.begin(place)
        try:
            fence = yield from call(self._asking.put(place, payload, lives, versions))
            self._copies.hear(f"{place.message}{fence}")
            self._copies.put(reading, payload, fence, frozenset(versions), lives[0] / 1000, max(lives) / 1000)
        except BaseException:
            self._copies.drop(place)  # it may have been set
            raise
        finally:
            self._flights.forget(place.name)
            self._copies.end(reading)

    def delete(self, place: Place) -> Plan[bool]:
        """Forget a key. Whether there was a value."""
        try:
            return (yield from call(self._asking.delete(place)))
        finally:
            self._copies.drop(place)  # also where the reply was lost
            self._flights.forget(place.name)

    def invalidate(self, tag: str) -> Plan[None]:
        """Have no value hold that was computed under this tag before."""
        try:
            yield from call(self._asking.invalidate(tag))
        finally:
            self._copies.hear(f"tag={tag}")
            self._flights.forget_all()

    def peek(self, place: Place) -> Plan[CacheEntry]:
        """How a key stands."""
        peeked = yield from call(self._asking.peek(place))
        found = peeked.found
        if found is not None and not (yield from self._checking.holds(found)):
            found = None
        under_way = (peeked.computed_by, peeked.computing_for, peeked.failure, peeked.retry_after)
        if found is None:
            return CacheEntry(False, 0, 0.0, 0.0, False, 0.0, 0.0, (), *under_way)  # noqa: FBT003 - fields of a tuple
        return CacheEntry(
            True,  # noqa: FBT003
            peeked.size,
            found.age,
            found.fresh_for,
            not found.fresh_for,
            found.ends_in,
            peeked.took,
            tuple(map(shown, found.tags)),
            *under_way,
        )

    def metrics(self) -> Plan[CacheMetrics]:
        """What the fleet has counted."""
        return self._counting.metrics()
