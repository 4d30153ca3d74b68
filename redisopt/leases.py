"""Leases on work: who takes work out of Redis holds it for a time, and shows by a beat that it lives.

One beat for each group of leases (of one slot) renews all of them in one script call. Who was not heard of in time has lost
them, and somebody else may do the work: the holder learns so, and its fence is below that of who has the work now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from redisopt import events
from redisopt.background import Background, now
from redisopt.commands import Plan
from redisopt.errors import RedisOptError

MAX_RENEWED = 500
"""Leases that one beat renews in one script call."""


class Lease:
    """A time for which some work is ours.

    Attributes:
        good_until: when it is over unless it is renewed, by this process's monotonic clock.
    """

    __slots__ = ("_lost", "good_until")

    def __init__(self, good_until: float) -> None:
        self.good_until = good_until
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether somebody else may have the work by now. Asks nobody."""
        return self._lost or now() >= self.good_until

    def mark_lost(self) -> bool:
        """Somebody else has it. False when that was known."""
        was_known, self._lost = self._lost, True
        return not was_known


L = TypeVar("L", bound=Lease)


class _Held(dict[str, dict[int, L]]):
    """The leases of each group, by their identity."""

    def inherit(self, other: _Held[L], /) -> None:
        """Those that another event loop held that is closed."""
        for group, held in other.items():
            self.setdefault(group, {}).update(held)


class Leases(Background[_Held[L]], Generic[L]):
    """The leases that one object of this process holds, in groups that are renewed together. Thread-safe.

    Args:
        lease_ttl: seconds that a lease lives unless it is renewed. The beat comes three times as often.
        renew: the plan that renews leases of one group and says of each whether it was.
    """

    def __init__(self, lease_ttl: float, renew: Callable[[str, Sequence[L]], Plan[Sequence[bool]]]) -> None:
        self._lease_ttl = lease_ttl
        self._renew = renew
        super().__init__(_Held)

    def hold(self, group: str, lease: L) -> None:
        """Renew `lease` from now on."""
        self._enter()
        with self._lock:
            self._here().setdefault(group, {})[id(lease)] = lease
            self._run()

    def drop(self, group: str, lease: L) -> None:
        """Renew it no more."""
        self._enter()
        with self._lock:
            for kept in self._kept.values():
                held = kept.get(group, {})
                held.pop(id(lease), None)
                if not held:
                    kept.pop(group, None)

    def held(self, group: str) -> list[L]:
        """The leases of a group. A forked child holds none of its parent's."""
        self._enter()
        with self._lock:
            return list(self._here().get(group, {}).values())

    def keep(self) -> Plan[None]:
        """What runs in the background while anything is held."""
        return self.beat(lambda: self._lease_ttl / 3, self._groups, self._beat)

    def _groups(self) -> list[str]:
        self._enter()
        with self._lock:
            held = self._here()
            if not held:
                self._rest()
            return sorted(held)

    def _beat(self, group: str) -> Plan[None]:
        held = self.held(group)
        for first in range(0, len(held), MAX_RENEWED):
            some = held[first : first + MAX_RENEWED]
            asked = now()
            try:
                renewed = yield from self._renew(group, some)
            except RedisOptError as error:
                events.logger.debug("a beat failed: %s", error)
                continue
            for lease, is_renewed in zip(some, renewed, strict=True):
                if is_renewed:
                    lease.good_until = asked + self._lease_ttl
                elif lease.mark_lost() and lease in self.held(group):
                    lost = events.LeaseLost(repr(lease))
                    events.say(lost, logging.WARNING, "%s: its lease is lost", lost.lease)
