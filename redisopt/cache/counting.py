"""Counts of what a cache did, for the whole fleet, at next to no cost: each process adds its own up and hands them in now and then."""

from __future__ import annotations

from collections import Counter

from redisopt import events
from redisopt.background import Background, now
from redisopt.cache.asking import Asking
from redisopt.cache.outcome import COUNTS, CacheMetrics
from redisopt.commands import Plan, Wait, call
from redisopt.errors import RedisOptError, Unavailable

FLUSH_EVERY = 2.0
"""Seconds after which a process hands in what it has counted."""

# Seconds for which who asks for the counts waits for what is just being handed in, and after which it looks again.
_PATIENCE, _LOOK = 1.0, 0.002


class _Counts(Counter[str]):
    """What was counted in one place."""

    def inherit(self, other: _Counts, /) -> None:
        """What was counted in an event loop that is closed."""
        self.update(other)


class Counting(Background[_Counts]):
    """What this process has counted and not handed in. Thread-safe; a forked child begins at nothing."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        super().__init__(_Counts)

    def note(self, name: str) -> None:
        """Count one."""
        self._enter()
        with self._lock:
            self._here()[name] += 1
            self._run()

    def keep(self) -> Plan[None]:
        """What runs in the background while there is something to hand in."""
        return self.beat(lambda: FLUSH_EVERY, self._places, self._hand_in)

    def _begin(self) -> None:
        super()._begin()
        self._sending = 0

    def metrics(self) -> Plan[CacheMetrics]:
        """What the fleet has counted, all of this process included."""
        yield from self._sent()
        return (yield from self._flush())

    def finish(self) -> Plan[None]:
        """Hand in what was counted, if anything: this is the end."""
        yield from self._sent()
        if self._places():
            yield from self._hand_in(None)
        with self._lock:
            self._here().clear()  # where Redis is away: nobody is to go on for it

    def _sent(self) -> Plan[None]:
        """Wait for what is just being handed in."""
        self._enter()
        until = now() + _PATIENCE
        while self._sending and now() < until:
            yield Wait(f"{self.id}:sent", _LOOK, heard=False)

    def _flush(self) -> Plan[CacheMetrics]:
        """Hand in what was counted here; what the fleet has counted."""
        self._enter()
        with self._lock:
            here = self._here()
            taken = Counter(here)
            here.clear()
            self._sending += 1
        try:
            return CacheMetrics(*(yield from call(self._asking.count(taken, COUNTS))))
        except Unavailable as error:
            if not error.sent:  # else it may have been counted
                with self._lock:
                    self._here().update(taken)
            raise
        finally:
            with self._lock:
                self._sending -= 1

    def _places(self) -> list[None]:
        self._enter()
        with self._lock:
            if self._here():
                return [None]
            self._rest()
            return []

    def _hand_in(self, _: None) -> Plan[None]:
        try:
            yield from self._flush()
        except RedisOptError as error:
            events.logger.debug("cache %r: counts could not be handed in: %s", self._asking.name, error)
