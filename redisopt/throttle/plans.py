"""Every decision of a throttle, as plans: nothing here touches a socket or a clock.

A decision is one script call. Its reply says what was granted, for when, and how long to wait; so a caller that waits
sleeps once, and its place in the line is its grant. Where another process uses the same name with other periods, the
script says so before it changes anything, and the plan registers both (see `throttle_register`).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redisopt import events, keys
from redisopt.background import now
from redisopt.commands import Command, Invoke, Listen, Plan, Sleep, Wait, call
from redisopt.config import milliseconds
from redisopt.errors import (
    ConfigConflict,
    CostExceedsLimit,
    QueueFull,
    RedisOptError,
    Throttled,
    ThrottleTimeout,
    Unavailable,
)
from redisopt.functions import check_function
from redisopt.identity import next_permit_id
from redisopt.throttle.asking import Asking
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.decision import Decision, ThrottleMetrics
from redisopt.throttle.grant import Grant
from redisopt.throttle.keeping import Keeping
from redisopt.throttle.layout import Elsewhere, Gone, Layout, Verdict, read_cost
from redisopt.throttle.line import Line, Place
from redisopt.throttle.many import Outcomes, Solo, Wish, acquire_many
from redisopt.throttle.outage import OutagePolicy
from redisopt.throttle.prefetch import Share
from redisopt.throttle.rate import MAX_LIMIT
from redisopt.throttle.telling import Telling

G = TypeVar("G", bound=Grant)
MAX_PRIORITY = 1000
"""The highest of `acquire`; its negative is the lowest."""

_FOR_EVER = -1
_DEAF_MS = 100  # a shorter wait is not worth listening for what the fleet is told meanwhile
_LONGEST_WAIT = 1e9  # seconds; a timeout beyond it is none


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a function is called: what `acquire` takes, or how to find it in the function's arguments."""

    cost: int | Callable[..., int] = 1
    key: str | Callable[..., str] = ""
    timeout: float | None = None
    weight: int = 1
    priority: int = 0

    def of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, str]:
        """The cost and the key of a call with these arguments."""
        cost = self.cost(*args, **kwargs) if callable(self.cost) else self.cost
        key = self.key(*args, **kwargs) if callable(self.key) else self.key
        return cost, key


PLAIN = Terms()


class ThrottlePlans:
    """The plans of one throttle, shared by its sync and its async class."""

    def __init__(
        self,
        name: str,
        config: ThrottleConfig,
        on_throttle: Callable[[int], object] | None = None,
        on_lost: Callable[[Any], object] | None = None,
        *,
        spread: bool = False,
    ) -> None:
        for field, function in (("on_throttle", on_throttle), ("on_lost", on_lost)):
            if function is not None:
                check_function(function, field, awaited=False, instead="a plain function that starts a task")
        self.name = name
        self._on_throttle = on_throttle
        self._asking = Asking(name, config, spread=spread)
        self.keeping = Keeping(on_lost)
        self.line = Line(self._asking, self.keeping)
        self.telling = Telling(self._asking)
        self.outage_policy = OutagePolicy(self._asking, self.keeping, on_throttle)

    @property
    def config(self) -> ThrottleConfig:
        """The config that holds now."""
        return self._asking.config

    # --- decisions

    def try_acquire(
        self, make_permit: Callable[..., G], cost: int, key: str, minimum: int | None, weight: int = 1
    ) -> Plan[Decision[G]]:
        """Take `cost` now, or at least `minimum` of it, or nothing."""
        least = cost if minimum is None else minimum
        self._check_cost(cost)
        if least is not cost and (type(least) is not int or not 1 <= least <= cost):
            raise ValueError(f"minimum must be a whole number from 1 to cost {cost}, not {minimum!r}")
        if weight != 1:
            self._check_weight(weight)
        place = Place(next_permit_id(), key, cost, weight, 0, 0.0)
        verdict = yield from self._acquire(place, least, 0)
        permit = None
        if verdict.granted:
            permit = self.permit(make_permit, place.permit, key, verdict)
        if verdict.wait_ms or events.listening():
            yield from self._tell(verdict, permit, cost, key)
        return self._decision(verdict, permit)

    def acquire(
        self,
        make_permit: Callable[..., G],
        cost: int,
        key: str,
        timeout: float | None,
        weight: int = 1,
        priority: int = 0,
    ) -> Plan[G]:
        """Take `cost` at the earliest time, in the order of asking, and wait for that time."""
        self._check_cost(cost)
        self._check_weight(weight)
        _check_priority(priority)
        patience_ms = patience(timeout)
        until = now() + patience_ms / 1000 if patience_ms >= 0 else math.inf
        place = Place(next_permit_id(), key, cost, weight, priority, until)
        if self._asking.config.max_concurrent is not None or priority:
            yield Listen(self._asking.control)
        verdict = yield from self._acquire(place, cost, patience_ms)
        return (yield from self._finish(make_permit, place, verdict, timeout))

    def _finish(self, make_permit: Callable[..., G], place: Place, verdict: Verdict, timeout: float | None) -> Plan[G]:
        """Wait for what a first call was granted or has its place in line for."""
        cost, key = place.cost, place.key
        stood = verdict.waits
        if stood:
            if self._on_throttle is not None:
                events.notify(self._on_throttle, verdict.queue_size)
            verdict = yield from self.line.stand(place, verdict, self._enter)
        permit = None
        if verdict.granted:
            permit = self.permit(make_permit, place.permit, key, verdict)
        if verdict.wait_ms or events.listening():
            yield from self._tell(verdict, permit, cost, key, quietly=stood)
        if permit is None:
            raise self._refusal(verdict, cost, timeout)
        if verdict.wait_ms:
            again = yield from self._await_time(permit, place, verdict)
            if again is not None:
                return (yield from self.acquire(make_permit, cost, key, again.left, place.weight, place.priority))
        return permit

    def _await_time(self, permit: Grant, place: Place, verdict: Verdict) -> Plan[_Again | None]:
        """Wait for the time of a place that was given ahead. Not None: the fleet was told something, so ask again."""
        began = now()
        ends = began + verdict.wait_ms / 1000
        version = self._asking.layouts.version
        try:
            if verdict.wait_ms <= _DEAF_MS:
                yield Sleep(verdict.wait_ms / 1000)
                return None
            left = verdict.wait_ms / 1000
            while True:
                message = yield Wait(place.permit, left, self._asking.control)
                if message is None:
                    return None
                if not message.isdigit() and message != "missed":
                    break
                # Nobody listened for a while: it may have been told then.
                if message == "missed" or now() - began > _DEAF_MS / 1000:
                    with contextlib.suppress(Unavailable):  # the place was given, so its time holds
                        yield from self._asking.look()
                    if self._asking.is_paused or self._asking.layouts.version != version:
                        break
                left = max(0.0, ends - now())
            self._asking.look_again()
            yield from self._put_back(permit)
        except GeneratorExit:
            raise  # nobody performs a step any more
        except BaseException:
            yield from self._abandon(permit)
            raise
        return _Again(None if place.until == math.inf else max(0.0, place.until - now()))

    def _refusal(self, verdict: Verdict, cost: int, timeout: float | None) -> Throttled:
        retry_after, reason = verdict.wait_ms / 1000, verdict.reason
        if reason == "queue full":
            return QueueFull(
                f"throttle {self.name!r} has {verdict.queue_size:,} callers waiting, as many as max_queue allows",
                retry_after=retry_after,
                reason=reason,
            )
        return ThrottleTimeout(
            f"throttle {self.name!r} would grant {cost} in {retry_after:.3f} s ({reason}), longer than timeout={timeout}",
            retry_after=retry_after,
            reason=reason,
        )

    def run_with(
        self, permit: Grant, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Plan[Any]:
        """Call the user's function under a permit, and release that."""
        try:
            result = yield Invoke(function, args, kwargs)
        except GeneratorExit:
            raise
        except BaseException:
            yield from self.let_go(permit)
            raise
        yield from self.let_go(permit)
        return result

    def check_terms(self, how: Terms) -> None:
        """Refuse terms that no call could meet; those that depend on a call's arguments are checked then.

        Raises:
            ValueError: cost, key or timeout.
        """
        if not callable(how.cost):
            self._check_cost(how.cost)
        if not callable(how.key):
            keys.checked_key(how.key)
        patience(how.timeout)
        self._check_weight(how.weight)
        _check_priority(how.priority)

    def peek(self, cost: int, key: str) -> Plan[Decision[Any]]:
        """What `try_acquire` would say."""
        self._check_cost(cost)
        verdict = yield from self._asking.ask("throttle_peek", key, (cost,), _verdict, cost=cost)
        verdict.granted = verdict.wait_ms == 0
        return self._decision(verdict, None)

    def metrics(self, key: str) -> Plan[ThrottleMetrics]:
        """How the limiter stands."""
        verdict = yield from self._asking.ask("throttle_peek", key, (1,), _verdict)
        shadowed = 0
        if self.shadows:
            shadowed = yield from call(Command("throttle_tally", (self.layout(key).keys(key)[0],), (0,), int))
        return ThrottleMetrics(
            verdict.in_use,
            verdict.queue_size,
            verdict.cost,
            verdict.cooling_ms > 0,
            verdict.states(),
            len(self._asking.conflicts),
            shadowed,
        )

    # --- giving back

    def give_back(self, grant: Grant, cost: int) -> Plan[int]:
        """Give back `cost` of a grant; returns what came back."""
        return (
            yield from self._asking.ask(
                "throttle_refund", grant.key, (grant.id, grant.time_ms, grant.asked_ms, cost), _cost, once=True
            )
        )

    def release(self, grant: Grant) -> Plan[bool]:
        """The work is done: a lease ends. Of rates nothing comes back by that, so without one no script is called."""
        if not grant.charged:
            return self.outage_policy.release(grant)
        if not grant.mark_released():
            return False
        return (yield from self.line.release(grant)) if grant.is_lease else True

    def let_go(self, grant: Grant) -> Plan[None]:
        """Release at the end of a block. The work is done, so that Redis is away is logged and changes nothing."""
        try:
            yield from self.release(grant)
        except RedisOptError as error:
            events.logger.warning("throttle %r: a lease could not be released yet: %s", self.name, error)

    def _put_back(self, grant: Grant) -> Plan[None]:
        """Give back all that was granted, unused."""
        if grant.is_lease:
            yield from self.line.release(grant, back=True)
        else:
            yield from self.give_back(grant, grant.cost)

    def _abandon(self, grant: Grant) -> Plan[None]:
        """Give back what an interrupted caller was granted. The interruption goes on, whatever becomes of this."""
        try:
            yield from self._put_back(grant)
        except RedisOptError as error:
            events.logger.warning(
                "throttle %r: an interrupted call could not give back its place: %s", self.name, error
            )

    def refund(self, grant: Grant, cost: int | None) -> Plan[bool]:
        """Give back what was not used."""
        returned = grant.take_out(cost)
        if not returned:
            return False
        if grant.share is not None and grant.share.put_back(returned, now()):
            return True
        yield from self.give_back(grant, returned)
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
            yield from self.give_back(grant, -excess)
        elif excess > 0:
            yield from self._asking.ask("throttle_charge", grant.key, (excess,), _cost, once=True)
        return True

    def reset(self, key: str) -> Plan[None]:
        """Forget all that was granted for `key`."""
        yield from self._asking.ask("throttle_reset", key, (), _cost)

    # --- the end

    def close(self) -> Plan[None]:
        """Give back every lease that is held."""
        for key in self.keeping.to_beat():
            for share in self.keeping.over(key, all_of_them=True):
                yield from self.line.end_share(key, share)
            for grant in self.keeping.held(key):
                yield from self.let_go(grant)

    # --- for calls that travel together

    def can_travel(self, cost: int, weight: int, priority: int) -> bool:
        """Whether a call may travel with others: those of leases and priorities are made one by one, and so are bad ones."""
        asking = self._asking
        return (
            type(cost) is int
            and 1 <= cost <= asking.max_cost
            and weight == 1
            and not priority
            and not asking.must_go_alone
        )

    def acquire_many(self, key: str, wishes: Sequence[Wish]) -> Plan[Outcomes | Solo]:
        """Decide on many calls at once."""
        return acquire_many(self._asking, key, wishes)

    def decide(
        self, make_permit: Callable[..., G], outcomes: Outcomes, index: int, wish: Wish, key: str
    ) -> Plan[Decision[G]]:
        """What `try_acquire` answers to one of many calls."""
        verdict = outcomes.verdict_of(index, wish)
        permit = None
        if verdict.granted:
            permit = self.permit(make_permit, outcomes.permit_of(index), key, verdict)
        yield from self._tell(verdict, permit, wish[0], key)
        return self._decision(verdict, permit)

    def decided(
        self, make_permit: Callable[..., G], outcomes: Outcomes, index: int, wish: Wish, key: str
    ) -> Decision[G] | None:
        """As `decide`, for the case that most are: it is granted, and nobody is to be told. None for every other."""
        if outcomes.each is not None or events.listening():
            return None
        if outcomes.shared is None:
            outcomes.shared = self._decision(outcomes.verdict, None)
        permit = make_permit(outcomes.permit_of(index), key, wish[0], outcomes.verdict.time_ms)
        allowed, limit, remaining, retry_after, reset_after, reason, queue_size, _, limits = outcomes.shared
        return Decision(allowed, limit, remaining, retry_after, reset_after, reason, queue_size, permit, limits)

    def await_turn(
        self, make_permit: Callable[..., G], outcomes: Outcomes, index: int, wish: Wish, key: str, timeout: float | None
    ) -> Plan[G]:
        """What `acquire` does with the answer to one of many calls."""
        until = outcomes.asked + wish[1] / 1000 if wish[1] >= 0 else math.inf
        place = Place(outcomes.permit_of(index), key, wish[0], 1, 0, until)
        return (yield from self._finish(make_permit, place, outcomes.verdict_of(index, wish), timeout))

    def give_up(self, outcomes: Outcomes, index: int, wish: Wish, key: str) -> Plan[None]:
        """Give back what one of many calls was granted, whose caller was cancelled."""
        verdict = outcomes.verdict_of(index, wish)
        if verdict.granted:
            yield from self._abandon(self.permit(Grant, outcomes.permit_of(index), key, verdict))

    # --- in shadow

    @property
    def shadows(self) -> bool:
        """Whether the limits are only measured."""
        return self._asking.shadows

    def try_in_shadow(self, make_permit: Callable[..., G], cost: int, key: str, weight: int) -> Plan[Decision[G]]:
        """Decide as `try_acquire`, and allow what is refused: counted, and not charged."""
        name = self._check_shadow_cost(cost)
        if name is None:
            decision = yield from self.try_acquire(make_permit, cost, key, None, weight)
            if decision.allowed or not self.shadows:
                return decision
        else:
            decision = yield from self.peek(1, key)
            decision = decision._replace(reason=name)
        yield from call(Command("throttle_tally", (self.layout(key).keys(key)[0],), (1,), int))
        permit = make_permit(next_permit_id(), key, cost, round(time.time() * 1000))
        permit.mark_uncharged()
        return decision._replace(allowed=True, permit=permit)

    def _check_shadow_cost(self, cost: int) -> str | None:
        """The limit that a cost is above, which in shadow is only counted."""
        try:
            self._check_cost(cost)
        except CostExceedsLimit:
            return self._asking.tightest
        return None

    def acquire_in_shadow(
        self, make_permit: Callable[..., G], cost: int, key: str, timeout: float | None, weight: int, priority: int
    ) -> Plan[G]:
        """As `try_in_shadow`, without a wait."""
        _check_priority(priority)
        patience(timeout)
        decision = yield from self.try_in_shadow(make_permit, cost, key, weight)
        if decision.permit is not None:
            return decision.permit
        return (
            yield from self.acquire(make_permit, cost, key, timeout, weight, priority)
        )  # enforced since a moment ago

    # --- from memory

    @property
    def most_ahead(self) -> int:
        """What a process may take ahead, 0 for nothing."""
        return self._asking.most_ahead

    def from_share(self, make_permit: Callable[..., G], cost: int, key: str) -> Decision[G] | None:
        """The decision on a call that is granted from a share; None when there is none that bears it."""
        share = self.keeping.shares.current(key)
        number = share.take(cost) if share is not None and now() < share.until else 0
        if share is None or not number:
            return None
        permit = make_permit(f"{share.id}.{number}", key, cost, share.time_ms)
        permit.share = share
        if events.listening():
            events.emit(events.Granted(self.name, key, cost, 0.0, 0))
        allowed, limit, remaining, retry_after, reset_after, reason, queue_size, _, limits = share.decision
        return Decision(allowed, limit, remaining, retry_after, reset_after, reason, queue_size, permit, limits)

    def fetch(self, cost: int, key: str) -> Plan[bool]:
        """Take a share ahead; False where that is not to be had. One at a time for each key."""
        config = self._asking.config
        shares = self.keeping.shares
        size = shares.wanted(key, cost, self._asking.most_ahead)
        share_id, ahead_ms = next_permit_id(), milliseconds(config.prefetch)
        asked = now()
        args = (share_id, size, cost, ahead_ms)
        taken: Plan[Verdict | Gone] = self._asking.ask(
            "throttle_prefetch", key, args, _prefetched, cost=cost, once=True
        )
        verdict = yield from taken
        if isinstance(verdict, Gone) or not verdict.granted:
            return False
        decision: Decision[Any] = self._decision(verdict, None)
        asked_ms = verdict.time_ms - ahead_ms + 1  # from the millisecond after, as every use now
        share = Share(share_id, verdict.cost, asked + config.prefetch, verdict.time_ms, asked_ms, decision)
        shares.keep(key, share)
        self.keeping.end_in_time(key, share)
        return True

    # --- for calls that join several limiters

    @property
    def control(self) -> str:
        """The key, and channel, of what the fleet is told."""
        return self._asking.control

    def layout(self, key: str) -> Layout:
        """How the config is laid out for a key, as far as is known."""
        return self._asking.layouts.of(key)

    def go_elsewhere(self, key: str, reply: Elsewhere, cost: int) -> Plan[None]:
        """Do what a script wants done first."""
        yield from self._asking.go(key, reply, cost)

    def check(self, cost: int, weight: int) -> None:
        """Refuse a cost or a weight that can never be granted."""
        self._check_cost(cost)
        self._check_weight(weight)

    # --- script calls

    def _acquire(self, place: Place, least: int, patience_ms: int) -> Plan[Verdict]:
        permit, key, cost, weight, priority, _ = place
        asking = self._asking
        asked = now()
        try:
            verdict = yield from asking.ask(
                "throttle_acquire",
                key,
                (permit, cost, least, patience_ms),
                _verdict,
                cost=cost,
                once=True,
                undo="throttle_undo",
                turn=(weight, priority, asking.queue),
            )
        except Unavailable as error:
            if error.sent and asking.config.max_concurrent is not None:
                self.keeping.owe(key, permit, back=True)  # or a lease that nobody holds would be in others' way
            raise
        verdict.asked = asked
        if verdict.conflict:
            config = asking.config
            asking.note_conflict(verdict.conflict)
            if config.on_conflict == "raise":
                if verdict.granted or verdict.waits:
                    yield from self._undo_conflict(place, verdict)
                raise ConfigConflict(
                    f"throttle {self.name!r} is {config.limits} here and {verdict.conflict} in another process; nothing was charged"
                )
        return verdict

    def _undo_conflict(self, place: Place, verdict: Verdict) -> Plan[None]:
        """Give back what was granted to a call that is not to be made."""
        if verdict.waits or verdict.fence:
            yield from self.line.end(place.key, place.permit, back=True)
        else:
            yield from self._abandon(self.permit(Grant, place.permit, place.key, verdict))

    def _enter(self, place: Place) -> Plan[Verdict]:
        """Ask anew for a place that was lost."""
        return self._acquire(place, place.cost, place.patience_ms)

    def permit(self, make_permit: Callable[..., G], permit_id: str, key: str, verdict: Verdict) -> G:
        """What the caller gets; a lease is kept from now on."""
        if not verdict.fence:
            return make_permit(permit_id, key, verdict.cost, verdict.time_ms, verdict.wait_ms / 1000)
        permit = make_permit(
            permit_id,
            key,
            verdict.cost,
            verdict.time_ms,
            max(0, verdict.time_ms - verdict.since_ms - 1) / 1000,
            verdict.fence,
            verdict.asked + self._asking.config.lease_ttl,
        )
        self.keeping.hold(permit)
        return permit

    # --- what is told

    def _decision(self, verdict: Verdict, permit: G | None) -> Decision[G]:
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

    def _tell(
        self, verdict: Verdict, permit: Grant | None, cost: int, key: str, *, quietly: bool = False
    ) -> Plan[None]:
        """Tell whoever listens. A callback that ends the process (SystemExit, Ctrl-C) leaves nothing charged."""
        try:
            if verdict.wait_ms and self._on_throttle is not None and not quietly:
                events.notify(self._on_throttle, verdict.queue_size)
            wait = verdict.wait_ms / 1000
            if permit is not None:
                events.emit(events.Granted(self.name, key, verdict.cost, wait, verdict.queue_size))
            else:
                events.emit(events.Refused(self.name, key, cost, verdict.reason, wait, verdict.queue_size))
        except BaseException:
            if permit is not None:
                yield from self._abandon(permit)
            raise

    def _check_cost(self, cost: int) -> None:
        if type(cost) is int and 1 <= cost <= self._asking.max_cost:
            return
        if not isinstance(cost, int) or isinstance(cost, bool):
            raise ValueError(f"cost must be a whole number, not {cost!r}")
        if cost < 1:
            raise ValueError(f"cost must be at least 1, not {cost}: peek() asks without charging")
        self._asking.check_cost(cost)

    def _check_weight(self, weight: int) -> None:
        slots = self._asking.config.max_concurrent
        if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
            raise ValueError(f"weight must be a whole number, at least 0, not {weight!r}")
        if slots is not None and weight > slots:
            raise CostExceedsLimit(
                f"weight {weight:,} is above max_concurrent={slots:,} of throttle {self.name!r}, so that no wait could grant it"
            )


@dataclass(frozen=True, slots=True)
class _Again:
    """A place was put back, to ask for another: with `left` seconds of the timeout."""

    left: float | None


def _check_priority(priority: int) -> None:
    if not isinstance(priority, int) or isinstance(priority, bool) or not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise ValueError(
            f"priority must be a whole number from -{MAX_PRIORITY:,} to {MAX_PRIORITY:,}, higher first, not {priority!r}"
        )


def patience(timeout: float | None) -> int:
    """Seconds as the ms that a script is told, -1 for ever.

    Raises:
        ValueError: no number of seconds, at least 0.
    """
    if timeout is None:
        return _FOR_EVER
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout must be seconds, at least 0, or None to wait for ever, not {timeout!r}")
    # To the nearest ms, since retry_after is one: it must do as a timeout.
    return _FOR_EVER if timeout > _LONGEST_WAIT else round(timeout * 1000)


def _verdict(layout: Layout) -> Callable[[Any], Verdict | Elsewhere]:
    return layout.read


def _prefetched(layout: Layout) -> Callable[[Any], Verdict | Gone | Elsewhere]:
    return layout.read_taken


def _cost(_: Layout) -> Callable[[Any], int | Elsewhere]:
    return read_cost
