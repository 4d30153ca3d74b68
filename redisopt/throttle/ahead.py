"""Granting from memory, as plans: shares that a busy process takes ahead (see `prefetch`)."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from redisopt import events
from redisopt.background import now
from redisopt.commands import Plan
from redisopt.config import milliseconds
from redisopt.identity import next_permit_id
from redisopt.throttle.asking import Asking
from redisopt.throttle.deciding import Deciding
from redisopt.throttle.decision import Decision
from redisopt.throttle.grant import Grant
from redisopt.throttle.keeping import Keeping
from redisopt.throttle.layout import Gone, Verdict, taken_reader
from redisopt.throttle.prefetch import Share

G = TypeVar("G", bound=Grant)


class Ahead(Generic[G]):
    """Decides for one limiter from what was taken ahead."""

    def __init__(self, asking: Asking, keeping: Keeping, deciding: Deciding[G]) -> None:
        self._asking = asking
        self._keeping = keeping
        self._deciding = deciding

    def from_share(self, cost: int, key: str) -> Decision[G] | None:
        """The decision on a call that is granted from a share; None when there is none that bears it."""
        share = self._keeping.shares.current(key)
        number = share.take(cost) if share is not None and now() < share.until else 0
        if share is None or not number:
            return None
        permit = self._deciding.make_permit(f"{share.id}.{number}", key, cost, share.time_ms)
        permit.share = share
        if events.listening():
            events.emit(events.Granted(self._asking.name, key, cost, 0.0, 0))
        return share.decision.granting(permit)

    def fetch(self, cost: int, key: str) -> Plan[bool]:
        """Take a share ahead; False where that is not to be had. One at a time for each key."""
        prefetch = self._asking.config.prefetch
        shares = self._keeping.shares
        size = shares.wanted(key, cost, self._asking.most_ahead)
        share_id, ahead_ms = next_permit_id(), milliseconds(prefetch)
        asked = now()
        args = (share_id, size, cost, ahead_ms)
        taken: Plan[Verdict | Gone] = self._asking.ask(
            "throttle_prefetch", key, args, taken_reader, cost=cost, once=True
        )
        verdict = yield from taken
        if isinstance(verdict, Gone) or not verdict.granted:
            return False
        decision: Decision[Any] = self._deciding.decision(verdict, None)
        asked_ms = verdict.time_ms - ahead_ms + 1  # from the millisecond after, as every use now
        share = Share(share_id, verdict.cost, asked + prefetch, verdict.time_ms, asked_ms, decision)
        shares.keep(key, share)
        self._keeping.end_in_time(key, share)
        return True
