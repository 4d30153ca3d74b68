"""Limits in shadow, as plans: decided and counted as ever, and enforced on nobody."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

from redisopt.commands import Command, Plan, call
from redisopt.errors import CostExceedsLimit
from redisopt.identity import next_permit_id
from redisopt.throttle.asking import Asking
from redisopt.throttle.deciding import Deciding
from redisopt.throttle.decision import Decision
from redisopt.throttle.grant import Grant
from redisopt.throttle.terms import check_cost, check_priority, patience

G = TypeVar("G", bound=Grant)


class Shadow(Generic[G]):
    """The plans of a limiter whose limits are only measured."""

    def __init__(self, asking: Asking, deciding: Deciding[G]) -> None:
        self._asking = asking
        self._deciding = deciding

    def try_acquire(self, cost: int, key: str, minimum: int | None, weight: int) -> Plan[Decision[G]]:
        """Decide as ever, and allow what is refused: counted, and not charged."""
        if self._is_within(cost):
            decision = yield from self._deciding.try_acquire(cost, key, minimum, weight)
            if decision.allowed or not self._asking.shadows:
                return decision
        else:
            verdict = yield from self._asking.peek(1, key)
            decision = self._deciding.decision(verdict, None)._replace(reason=self._asking.tightest)
        yield from self.count(key, more=1)
        permit = self._deciding.make_permit(next_permit_id(), key, cost, round(time.time() * 1000))
        permit.mark_uncharged()
        return decision._replace(allowed=True, permit=permit)

    def acquire(self, cost: int, key: str, timeout: float | None, weight: int, priority: int) -> Plan[G]:
        """As `try_acquire`: nobody waits."""
        check_priority(priority)
        patience(timeout)
        decision = yield from self.try_acquire(cost, key, None, weight)
        if decision.permit is not None:
            return decision.permit
        # They are enforced since a moment ago.
        return (yield from self._deciding.acquire(cost, key, timeout, weight, priority))

    def count(self, key: str, *, more: int = 0) -> Plan[int]:
        """How many calls were let through that would have been refused; `more` are added."""
        state = self._asking.layouts.of(key).keys(key)[0]
        return (yield from call(Command("throttle_tally", (state,), (more,), int)))

    def _is_within(self, cost: int) -> bool:
        try:
            check_cost(self._asking, cost)
        except CostExceedsLimit:
            return False
        return True
