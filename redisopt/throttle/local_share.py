"""What this process may have of a limiter while Redis is away: its last known share, as plans.

The share is one part of as many as there were processes when that was last asked (see `fleet`). What Redis granted this
process before counts as well, so that none of its windows holds more than the share because Redis went away in the middle of
it. A call gets its slots first, if it needs some, and then its place in the windows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from redisopt import events
from redisopt.commands import Plan, Wait
from redisopt.config import milliseconds
from redisopt.throttle.asking import Asking
from redisopt.throttle.decision import LimitState
from redisopt.throttle.fleet import Fleet
from redisopt.throttle.grant import Grant
from redisopt.throttle.keeping import Keeping
from redisopt.throttle.local_limiter import Answer, Limit, LocalLimiter, Place
from redisopt.throttle.local_slots import LocalSlots

_LOOK_EVERY = 0.5  # seconds, of who waits for a slot: a lease that Redis granted may have been released meanwhile


class Wish(NamedTuple):
    """What a call wants: `cost`, now at least `least` of it, and `weight` slots, within `timeout` seconds (None: some time)."""

    key: str
    cost: int
    least: int
    weight: int
    timeout: float | None

    @property
    def ends(self) -> float:
        """When its time is up, if it begins now, by this process's monotonic clock."""
        return time.monotonic() + (math.inf if self.timeout is None else self.timeout)


class LocalShare:
    """The share of one process in one limiter, over all keys. Thread-safe; of this process alone, not of its forked children."""

    def __init__(self, asking: Asking, keeping: Keeping, on_throttle: Callable[[int], object] | None) -> None:
        self._asking = asking
        self._keeping = keeping
        self._on_throttle = on_throttle
        self._fleet = Fleet(asking)
        self._slots = LocalSlots(self._wake)
        self._lay_out()

    def _lay_out(self) -> None:
        self._layout = self._asking.layouts.own
        limits = [Limit(name, limit, period, slot) for name, limit, _, period, slot in self._layout.limits]
        self._limiter = LocalLimiter(tuple(limits), milliseconds(self._asking.config.cooldown_period))

    def _enter(self) -> None:
        if self._layout is not self._asking.layouts.own:
            self._lay_out()  # the fleet was told other limits

    def _wake(self, permit: str) -> None:
        self._keeping.wake(permit)

    # --- while Redis is there

    def count_fleet(self, key: str) -> Plan[None]:
        """Learn how many processes share `key`, unless that was done lately."""
        return self._fleet.count(key)

    def note(self, key: str, cost: int) -> None:
        """Redis has granted so much."""
        self._enter()
        self._limiter.note(key, cost, _now_ms())

    # --- while it is not

    def take(self, permit: str, wish: Wish, ends: float) -> Plan[Answer]:
        """Take what is wished for, before `ends`. A caller that has to wait for its place is to do so itself."""
        self._enter()
        key = wish.key
        stood = False
        share = self._share(key)
        if share and wish.weight:
            if wish.weight > share:
                return self._with_slots(key, share, Answer(None, None, "", 0, ()))
            found = yield from self._take_slots(permit, wish, share, ends)
            if found is None:
                return self._with_slots(key, share, Answer(None, None, "concurrency", 0, ()))
            stood = found
        patience_ms = max(0.0, ends - time.monotonic()) * 1000
        answer = self._limiter.take(key, wish.cost, wish.least, patience_ms, self._fleet.size(key), _now_ms())
        if answer.place is None:
            self._slots.leave(key, permit)
        elif stood or not answer.wait_ms:
            answer = answer._replace(waits_for="concurrency" if stood else "")
        return self._with_slots(key, share, answer) if share else answer

    def hold(self, grant: Grant) -> None:
        """The caller has what it took; its slots are free again when nobody refers to it any more."""
        if self._layout.slots:
            self._slots.leave_with(grant.key, grant)

    def release(self, grant: Grant) -> bool:
        """The work is done. Whether it held slots."""
        return self._slots.leave(grant.key, grant.id)

    def give_back(self, permit: str, key: str, place: Place) -> None:
        """The caller was interrupted, and has not got what it took."""
        self._limiter.give_back(key, place)
        self._slots.leave(key, permit)

    def _share(self, key: str) -> int:
        """How many slots; 0 for a limiter that has none."""
        return max(1, self._layout.slots // self._fleet.size(key)) if self._layout.slots else 0

    def _take_slots(self, permit: str, wish: Wish, share: int, ends: float) -> Plan[bool | None]:
        """Whether it had to wait for them; None when they were not to be had in time."""
        key, stood = wish.key, False
        try:
            while not self._slots.take(key, permit, wish.weight, self._ours(key, share)):
                left = ends - time.monotonic()
                if left <= 0:
                    self._slots.leave(key, permit)
                    return None
                if not stood and self._on_throttle is not None:
                    events.notify(self._on_throttle, self._slots.waiting(key))
                stood = True
                yield Wait(permit, min(left, _LOOK_EVERY), heard=False)
        except BaseException:
            self._slots.leave(key, permit)
            raise
        return stood

    def _ours(self, key: str, share: int) -> int:
        """The slots that no lease of ours has. Of leases that Redis granted, each counts as one: more is not known here."""
        return share - self._keeping.count_held(key)

    def _with_slots(self, key: str, share: int, answer: Answer) -> Answer:
        states = answer.states or self._limiter.states(key, self._fleet.size(key), _now_ms())
        slots = LimitState("concurrency", share, self._slots.free(key, self._ours(key, share)), 0.0)
        queue_size = answer.queue_size + self._slots.waiting(key)
        return answer._replace(queue_size=queue_size, states=(*states, slots))


def _now_ms() -> int:
    return int(time.monotonic() * 1000)
