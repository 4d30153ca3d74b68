"""Refreshing values in the background, a bounded number of them at once."""

from __future__ import annotations

import threading

from redisopt import events
from redisopt.background import NoPerformer, Performer
from redisopt.cache.asking import Asking
from redisopt.cache.computing import Computing, Wish
from redisopt.cache.counting import Counting
from redisopt.cache.key_lease import KeyLease
from redisopt.cache.layout import Place
from redisopt.commands import Plan, Stopped
from redisopt.identity import process_id

MAX_HUNG = 64
"""Refreshes that hang, whose threads cannot be ended, before no more are begun."""


class Refreshing:
    """What this process refreshes. Thread-safe; a forked child begins with nothing.

    One that hangs leaves its place to another value; its own is left to other processes until it is over.
    """

    def __init__(self, asking: Asking, computing: Computing, counting: Counting) -> None:
        self._asking = asking
        self._computing = computing
        self._counting = counting
        self._performer: Performer = NoPerformer()
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._refreshes: set[KeyLease] = set()

    def _enter(self) -> None:
        if self._process != process_id():
            self._begin()  # a forked child: what is being refreshed is its parent's

    def attach(self, performer: Performer) -> None:
        """Have `performer` refresh values in the background."""
        self._performer = performer

    def has_room(self, place: Place) -> bool:
        """Whether this value may be refreshed here, too."""
        self._enter()
        under_way = hung = 0
        for each in list(self._refreshes):
            if each.loop is not None and each.loop.is_closed():
                self._refreshes.discard(each)
            elif not each.is_hung:
                under_way += 1
            elif each.place.name == place.name:
                return False
            else:
                hung += 1
        return under_way < self._asking.config.max_refreshes and hung < MAX_HUNG

    def refresh(self, place: Place, caller: str, wish: Wish, asked: float) -> Plan[None]:
        """Compute a value in the background whose lease the caller has had since `asked`."""
        self._enter()
        lease = KeyLease(
            place, caller, asked + self._asking.config.lease_ttl, refreshes=True, loop=self._performer.place()
        )

        def perform() -> Plan[None]:
            try:
                outcome = yield from self._computing.under(lease, wish, None)
            finally:
                self._refreshes.discard(lease)
            if outcome.error is not None:
                cause = outcome.error.error if isinstance(outcome.error, Stopped) else outcome.error
                events.logger.warning("cache %r: refreshing %r failed", self._asking.name, place.key, exc_info=cause)

        with self._lock:
            has_room = self.has_room(place)
            if has_room:
                self._refreshes.add(lease)
        if not has_room:  # other threads were faster
            yield from self._computing.release(place, caller)
            return
        try:
            lease.interrupt = self._performer.start(perform, f"redisopt-cache-{self._asking.name}-refresh")
        except RuntimeError as error:  # no thread is to be had
            self._refreshes.discard(lease)
            events.logger.warning("cache %r: %r is not refreshed: %s", self._asking.name, place.key, error)
            yield from self._computing.release(place, caller)
            return
        self._counting.note("refreshed")

    def stop(self) -> Plan[None]:
        """Give back what is being refreshed by threads, or in this event loop: others may do it at once."""
        self._enter()
        here = self._performer.place()
        for lease in [each for each in list(self._refreshes) if each.loop is here]:
            yield from self._computing.release(lease.place, lease.caller)
