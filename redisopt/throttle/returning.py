"""Giving back, as plans: what becomes of a grant once its holder has used it, or has not."""

from __future__ import annotations

from typing import Any

from redisopt import events
from redisopt.background import now
from redisopt.commands import Plan
from redisopt.errors import RedisOptError
from redisopt.throttle.asking import Asking
from redisopt.throttle.grant import Grant
from redisopt.throttle.layout import cost_reader
from redisopt.throttle.line import Line
from redisopt.throttle.outage import OutagePolicy
from redisopt.throttle.rate import MAX_LIMIT


class Returning:
    """The plans with which the grants of one limiter come back."""

    def __init__(self, asking: Asking, line: Line, outage_policy: OutagePolicy[Any]) -> None:
        self._asking = asking
        self._line = line
        self._outage_policy = outage_policy

    def release(self, grant: Grant) -> Plan[bool]:
        """The work is done: a lease ends. Of rates nothing comes back by that, so without one no script is called."""
        if not grant.charged:
            return self._outage_policy.release(grant)
        if not grant.mark_released():
            return False
        return (yield from self._line.release(grant)) if grant.is_lease else True

    def let_go(self, grant: Grant) -> Plan[None]:
        """Release at the end of a block. The work is done, so that Redis is away is logged and changes nothing."""
        try:
            yield from self.release(grant)
        except RedisOptError as error:
            events.logger.warning("throttle %r: a lease could not be released yet: %s", self._asking.name, error)

    def refund(self, grant: Grant, cost: int | None) -> Plan[bool]:
        """Give back what was not used."""
        returned = grant.take_out(cost)
        if not returned:
            return False
        if grant.share is not None and grant.share.put_back(returned, now()):
            return True
        yield from self._give_back(grant, returned)
        return True

    def settle(self, grant: Grant, actual: int) -> Plan[bool]:
        """Replace the estimate by what was used."""
        if not isinstance(actual, int) or isinstance(actual, bool) or actual < 0:
            raise ValueError(f"actual must be a whole number, at least 0, not {actual!r}")
        if actual > MAX_LIMIT:
            raise ValueError(f"actual must be at most {MAX_LIMIT:,}: was it counted in another unit?")
        if not grant.mark_settled():
            return False
        excess = actual - grant.left
        if excess < 0:
            yield from self._give_back(grant, -excess)
        elif excess > 0:
            yield from self._asking.ask("throttle_charge", grant.key, (excess,), cost_reader, once=True)
        return True

    def put_back(self, grant: Grant) -> Plan[None]:
        """Give back all that was granted, unused."""
        if grant.is_lease:
            yield from self._line.release(grant, back=True)
        else:
            yield from self._give_back(grant, grant.cost)

    def abandon(self, grant: Grant) -> Plan[None]:
        """Give back what an interrupted caller was granted. The interruption goes on, whatever becomes of this."""
        try:
            yield from self.put_back(grant)
        except RedisOptError as error:
            events.logger.warning(
                "throttle %r: an interrupted call could not give back its place: %s", self._asking.name, error
            )

    def _give_back(self, grant: Grant, cost: int) -> Plan[None]:
        args = (grant.id, grant.time_ms, grant.asked_ms, cost)
        yield from self._asking.ask("throttle_refund", grant.key, args, cost_reader, once=True)
