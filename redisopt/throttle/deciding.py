"""How one limiter decides on a call, as plans.

A decision is one script call. Its reply says what was granted, for when, and how long to wait; so a caller that waits
sleeps once, and its place in the line is its grant.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from redisopt import events
from redisopt.background import now
from redisopt.commands import Listen, Plan, Sleep, Wait
from redisopt.errors import QueueFull, Throttled, ThrottleTimeout, Unavailable
from redisopt.identity import next_permit_id
from redisopt.throttle.asking import Asking
from redisopt.throttle.decision import Decision
from redisopt.throttle.grant import Grant
from redisopt.throttle.keeping import Keeping
from redisopt.throttle.layout import Verdict, verdict_reader
from redisopt.throttle.line import Line, Place
from redisopt.throttle.returning import Returning
from redisopt.throttle.terms import check_cost, check_priority, check_weight, patience

G = TypeVar("G", bound=Grant)

_DEAF_MS = 100  # a shorter wait is not worth listening for what the fleet is told meanwhile


class Deciding(Generic[G]):
    """The plans that decide on one call.

    Attributes:
        make_permit: makes the caller's permit, of the arguments of a `Grant` from the id on.
    """

    make_permit: Callable[..., G]

    def __init__(
        self,
        asking: Asking,
        keeping: Keeping,
        line: Line,
        returning: Returning,
        on_throttle: Callable[[int], object] | None,
    ) -> None:
        self._asking = asking
        self._keeping = keeping
        self._line = line
        self._returning = returning
        self._on_throttle = on_throttle

    def try_acquire(self, cost: int, key: str, minimum: int | None, weight: int = 1) -> Plan[Decision[G]]:
        """Take `cost` now, or at least `minimum` of it, or nothing."""
        least = cost if minimum is None else minimum
        check_cost(self._asking, cost)
        if least is not cost and (type(least) is not int or not 1 <= least <= cost):
            raise ValueError(f"minimum must be a whole number from 1 to cost {cost}, not {minimum!r}")
        if weight != 1 or type(weight) is not int:
            check_weight(self._asking, weight)
        place = Place(next_permit_id(), key, cost, weight, 0, 0.0)
        verdict = yield from self._ask(place, least, 0)
        permit = self.permit(place.permit, key, verdict) if verdict.granted else None
        if verdict.wait_ms or events.listening():
            yield from self.tell(verdict, permit, cost, key)
        return self.decision(verdict, permit)

    def acquire(self, cost: int, key: str, timeout: float | None, weight: int = 1, priority: int = 0) -> Plan[G]:
        """Take `cost` at the earliest time, in the order of asking, and wait for that time."""
        check_cost(self._asking, cost)
        check_weight(self._asking, weight)
        check_priority(priority)
        patience_ms = patience(timeout)
        until = now() + patience_ms / 1000 if patience_ms >= 0 else inf
        place = Place(next_permit_id(), key, cost, weight, priority, until)
        verdict = yield from self._enter(place, patience_ms)
        return (yield from self.await_turn(place, verdict, timeout))

    # --- what comes of a verdict

    def await_turn(self, place: Place, verdict: Verdict, timeout: float | None) -> Plan[G]:
        """Wait for what a first call was granted, or has its place in line for; for another where the fleet is told something."""
        while True:
            stood = verdict.waits
            if stood:
                verdict = yield from self._line.stand(place, verdict, self._ask_again, self._on_throttle)
            permit = self.permit(place.permit, place.key, verdict) if verdict.granted else None
            if verdict.wait_ms or events.listening():
                yield from self.tell(verdict, permit, place.cost, place.key, quietly=stood)
            if permit is None:
                raise self._refusal(verdict, place.cost, timeout)
            if not verdict.wait_ms or (yield from self._await_time(permit, place, verdict)):
                return permit
            place = place._replace(permit=next_permit_id())
            verdict = yield from self._enter(place, place.patience_ms)

    def permit(self, permit_id: str, key: str, verdict: Verdict) -> G:
        """What the caller gets; a lease is kept from now on."""
        if not verdict.fence:
            return self.make_permit(permit_id, key, verdict.cost, verdict.time_ms, verdict.wait_ms / 1000)
        permit = self.make_permit(
            permit_id,
            key,
            verdict.cost,
            verdict.time_ms,
            max(0, verdict.time_ms - verdict.since_ms - 1) / 1000,
            verdict.fence,
            verdict.asked + self._asking.config.lease_ttl,
        )
        self._keeping.hold(permit)
        return permit

    def decision(self, verdict: Verdict, permit: G | None) -> Decision[G]:
        """What `try_acquire` answers."""
        states = verdict.states()
        tightest = states[0]
        reset_after = tightest.reset_after
        for state in states[1:]:
            if state.remaining < tightest.remaining:
                tightest = state
            reset_after = max(reset_after, state.reset_after)
        remaining = 0 if verdict.queue_size else tightest.remaining
        retry_after, reason = 0.0, None
        if not verdict.granted:
            retry_after, reason = verdict.wait_ms / 1000, verdict.reason
        # By position: names would cost a fifth of what a decision costs here.
        return Decision(
            verdict.granted,
            tightest.limit,
            remaining,
            retry_after,
            reset_after,
            reason,
            verdict.queue_size,
            permit,
            states,
        )

    def tell(self, verdict: Verdict, permit: Grant | None, cost: int, key: str, *, quietly: bool = False) -> Plan[None]:
        """Tell whoever listens. A callback that ends the process (SystemExit, Ctrl-C) leaves nothing charged."""
        name = self._asking.name
        try:
            if verdict.wait_ms and self._on_throttle is not None and not quietly:
                events.notify(self._on_throttle, verdict.queue_size)
            wait = verdict.wait_ms / 1000
            if permit is not None:
                events.emit(events.Granted(name, key, verdict.cost, wait, verdict.queue_size))
            else:
                events.emit(events.Refused(name, key, cost, verdict.reason, wait, verdict.queue_size))
        except BaseException:
            if permit is not None:
                yield from self._returning.abandon(permit)
            raise

    def _await_time(self, permit: G, place: Place, verdict: Verdict) -> Plan[bool]:
        """Wait for the time of a place that was given ahead. False where it was put back, since the fleet was told something."""
        began = now()
        left = verdict.wait_ms / 1000
        ends = began + left
        version = self._asking.layouts.version
        try:
            if verdict.wait_ms <= _DEAF_MS:
                yield Sleep(left)
                return True
            while True:
                # Attentive: what is told between two waits ends the second one at once.
                heard = yield Wait(place.permit, left, self._asking.control, attentive=True)
                if heard is None:
                    yield Wait(place.permit, 0.0, heard=False)  # attentive no more
                    return True
                messages = heard.split()
                if not all(message.isdigit() or message == "missed" for message in messages):
                    break
                # Nobody listened for a while: it may have been told then.
                if "missed" in messages or now() - began > _DEAF_MS / 1000:
                    with contextlib.suppress(Unavailable):  # the place was given, so its time holds
                        yield from self._asking.look()
                    if self._asking.is_paused or self._asking.layouts.version != version:
                        break
                left = ends - now()
                if left <= 0:
                    yield Wait(place.permit, 0.0, heard=False)
                    return True
            self._asking.look_again()
            yield from self._returning.put_back(permit)
            yield Wait(place.permit, 0.0, heard=False)
        except GeneratorExit:
            raise  # nobody performs a step any more
        except BaseException:
            yield from self._returning.abandon(permit)
            yield Wait(place.permit, 0.0, heard=False)
            raise
        return False

    def _refusal(self, verdict: Verdict, cost: int, timeout: float | None) -> Throttled:
        name, retry_after, reason = self._asking.name, verdict.wait_ms / 1000, verdict.reason
        if reason == "queue full":
            return QueueFull(
                f"throttle {name!r} has {verdict.queue_size:,} callers waiting, as many as max_queue allows",
                retry_after=retry_after,
                reason=reason,
            )
        return ThrottleTimeout(
            f"throttle {name!r} would grant {cost} in {retry_after:.3f} s ({reason}), longer than timeout={timeout}",
            retry_after=retry_after,
            reason=reason,
        )

    # --- the script call

    def _enter(self, place: Place, patience_ms: int) -> Plan[Verdict]:
        """Ask for a place; where there may be word for it at once, listen first."""
        if self._asking.config.max_concurrent is not None or place.priority:
            yield Listen(self._asking.control)
        return (yield from self._ask(place, place.cost, patience_ms))

    def _ask(self, place: Place, least: int, patience_ms: int) -> Plan[Verdict]:
        permit, key, cost, weight, priority, _ = place
        asking = self._asking
        if cost > asking.max_cost or weight > 1:
            asking.check_within(cost, weight)  # the fleet may have been told other limits since it was checked
        if asking.conflicts_until > 0 and now() < asking.conflicts_until:
            raise asking.conflict_error(asking.conflict)
        asked = now()
        try:
            verdict = yield from asking.ask(
                "throttle_acquire",
                key,
                (permit, cost, least, patience_ms),
                verdict_reader,
                cost=cost,
                weight=weight,
                once=True,
                undo="throttle_undo",
                turn=(weight, priority, asking.queue),
            )
        except Unavailable as error:
            if error.sent and (asking.config.max_concurrent is not None or patience_ms):
                self._line.owe(key, permit, back=True)  # or what nobody holds, or waits for, would be in others' way
            raise
        verdict.asked = asked
        if verdict.conflict:
            asking.note_conflict(verdict.conflict)
            if asking.config.on_conflict == "raise":
                if verdict.granted or verdict.waits:
                    yield from self._undo_conflict(place, verdict)
                raise asking.conflict_error(verdict.conflict)
        return verdict

    def _undo_conflict(self, place: Place, verdict: Verdict) -> Plan[None]:
        """Give back what was granted to a call that is not to be made."""
        if verdict.waits or verdict.fence:
            yield from self._line.end(place.key, place.permit, back=True)
        else:
            yield from self._returning.abandon(self.permit(place.permit, place.key, verdict))

    def _ask_again(self, place: Place) -> Plan[Verdict]:
        """Ask anew for a place in line that was lost."""
        return self._ask(place, place.cost, place.patience_ms)
