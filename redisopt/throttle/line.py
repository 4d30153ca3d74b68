"""Taking turns, as plans: the line that callers wait in, the leases they hold, and the beat that keeps both.

A caller that cannot be granted a place ahead stands in the line, and waits for word (see `wakes`) or for the time that the
script named to whoever is first. Then it comes for what it was granted. Nothing is held by a message alone: who does not
come within 300 ms is passed over, and has its turn when it asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from redisopt import events
from redisopt.background import now
from redisopt.commands import Plan, Wait
from redisopt.errors import RedisOptError, Unavailable
from redisopt.identity import process_id
from redisopt.throttle.asking import Asking
from redisopt.throttle.grant import Grant
from redisopt.throttle.keeping import Keeping
from redisopt.throttle.layout import Gone, Verdict, coming_reader, cost_reader, line_reader
from redisopt.throttle.prefetch import Share

_LONGEST_DOZE = 5.0  # seconds between asking, of those who are not first and hear nothing
MAX_RENEWED = 500
"""Leases that one beat renews in one script call."""


class Place(NamedTuple):
    """What a caller asks for. A tuple, since one is built for every call.

    Attributes:
        permit: id.
        key, cost, weight, priority: as `Throttler.acquire`.
        until: by this process's monotonic clock; inf to wait for ever.
    """

    permit: str
    key: str
    cost: int
    weight: int
    priority: int
    until: float

    @property
    def patience_ms(self) -> int:
        """What is left of the time it would wait; -1 for ever."""
        return -1 if self.until == inf else max(1, round((self.until - now()) * 1000))


class Line:
    """The plans of those who take turns at one limiter."""

    def __init__(self, asking: Asking, keeping: Keeping) -> None:
        self._asking = asking
        self.keeping = keeping

    def stand(self, place: Place, verdict: Verdict, enter: Callable[[Place], Plan[Verdict]]) -> Plan[Verdict]:
        """Wait in the line, where `verdict` says that we stand; returns one that grants, or refuses since time is up.

        `enter` asks for a place anew: the limiter was reset, or we were thought dead.
        """
        self.keeping.wait(place.key, place.permit)
        try:
            while verdict.waits:
                yield from doze(place.permit, verdict.wait_ms / 1000, place.until, self._asking.control)
                asked = now()
                leaves = int(asked >= place.until)
                coming: Plan[Verdict | Gone] = self._asking.ask(
                    "throttle_collect", place.key, (place.permit, leaves), coming_reader, cost=place.cost, once=True
                )
                came = yield from coming
                if isinstance(came, Gone):
                    verdict = yield from enter(place)
                else:
                    verdict = came
                    verdict.asked = asked
        except GeneratorExit:
            raise
        except BaseException:
            yield from self.end(place.key, place.permit, back=True)
            raise
        finally:
            self.keeping.wait_no_more(place.key, place.permit)
        return verdict

    def end(self, key: str, permit: str, *, back: bool) -> Plan[None]:
        """Leave the line, or end the lease, after an interruption. That goes on, whatever becomes of this."""
        try:
            yield from self._asking.ask("throttle_release", key, (permit, int(back)), cost_reader, once=True)
        except RedisOptError as error:
            self.keeping.owe(key, permit, back=back)
            events.logger.warning("an interrupted call could not give back its place yet: %s", error)

    def release(self, grant: Grant, *, back: bool = False) -> Plan[bool]:
        """End the lease of `grant`; with `back`, its cost goes back to the limits too. False when it held none any more.

        Raises:
            Unavailable: the lease goes on; it is ended once Redis answers again, at the latest when nobody renews it.
        """
        if not grant.is_ours:
            return False
        self.keeping.drop(grant)
        try:
            freed = yield from self._asking.ask(
                "throttle_release", grant.key, (grant.id, int(back)), cost_reader, once=True
            )
        except GeneratorExit:
            raise
        except RedisOptError:
            self.keeping.owe(grant.key, grant.id, back=back)
            raise
        except BaseException:
            yield from self.end(grant.key, grant.id, back=back)  # it may not have been sent
            raise
        return bool(freed)

    def end_share(self, key: str, share: Share) -> Plan[None]:
        """Give back what is left of a share that is over."""
        left = share.end()
        self.keeping.shares.ended(key, share, left)
        if left:
            yield from self._asking.ask(
                "throttle_refund",
                key,
                (f"{share.id}.share", share.time_ms, share.asked_ms, left),
                cost_reader,
                once=True,
            )

    # --- in the background

    def keep(self) -> Plan[None]:
        """Beat for as long as there is something to keep."""
        keeping = self.keeping
        return keeping.beat(lambda: keeping.pause(self._asking.config.lease_ttl), keeping.to_beat, self._beat)

    def _beat(self, key: str) -> Plan[None]:
        keeping = self.keeping
        try:
            for share in keeping.over(key):
                yield from self.end_share(key, share)
            for permit, back in keeping.owed(key):
                yield from self._asking.ask("throttle_release", key, (permit, int(back)), cost_reader, once=True)
                keeping.paid(key, permit)
            grants = keeping.held(key)
            for start in range(0, max(1, len(grants)), MAX_RENEWED):
                yield from self._renew(key, grants[start : start + MAX_RENEWED])
        except RedisOptError as error:
            events.logger.debug("a beat failed: %s", error)
            if isinstance(error, Unavailable) and self._asking.given.on_unavailable != "raise":
                for permit in keeping.waiting(key):
                    keeping.wake(permit)  # what becomes of it without Redis is decided when it asks
        for grant in keeping.held(key):
            if grant.lost:
                keeping.lose(grant)

    def _renew(self, key: str, grants: list[Grant]) -> Plan[None]:
        if not grants and not self.keeping.waiting(key):
            return
        asked = now()
        ids = " ".join(grant.id for grant in grants)
        line = yield from self._asking.ask("throttle_beat", key, (process_id(), ids), line_reader)
        renewed, heard, *granted = line.split(" ")
        for grant, is_renewed in zip(grants, renewed, strict=False):
            if is_renewed == "1":
                grant.good_until = asked + self._asking.config.lease_ttl
            else:
                self.keeping.lose(grant)
        for permit in self.keeping.waiting(key) if heard == "silent" else granted:
            self.keeping.wake(permit)


def doze(permit: str, seconds: float, until: float, channel: str) -> Plan[None]:
    """Wait in the line: for word, for `seconds` (0 where the script named no time), or until the time is up."""
    asks = now() + (seconds or _LONGEST_DOZE)
    while (left := min(asks, until) - now()) > 0:
        message = yield Wait(permit, left, channel)
        if message is None or not message.isdigit():
            return
        asks = now() + int(message) / 1000
