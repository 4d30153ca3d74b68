"""Every decision of a throttle, as plans: nothing here touches a socket or a clock.

A decision is one script call. Its reply says what was granted, for when, and how long to wait; so a caller that waits
sleeps once, and its place in the line is its grant. Where another process uses the same name with other periods, the
script says so before it changes anything, and the plan registers both (see `throttle_register`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from redisopt import events, keys
from redisopt.commands import Command, Invoke, Plan, Sleep, call
from redisopt.errors import ConfigConflict, CostExceedsLimit, RedisOptError, ThrottleTimeout
from redisopt.functions import check_function
from redisopt.identity import next_permit_id
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.decision import Decision, ThrottleMetrics
from redisopt.throttle.grant import Grant
from redisopt.throttle.layout import Layout, Layouts, Unregistered, Verdict, read_cost, unregistered
from redisopt.throttle.outage import OutagePolicy
from redisopt.throttle.rate import MAX_LIMIT

G = TypeVar("G", bound=Grant)
R = TypeVar("R")

_FOR_EVER = -1
_LONGEST_WAIT = 1e9  # seconds; a timeout beyond it is none


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a function is called: what `acquire` takes, or how to find it in the function's arguments."""

    cost: int | Callable[..., int] = 1
    key: str | Callable[..., str] = ""
    timeout: float | None = None


PLAIN = Terms()


class ThrottlePlans:
    """The plans of one throttle, shared by its sync and its async class."""

    def __init__(self, name: str, config: ThrottleConfig, on_throttle: Callable[[int], object] | None = None) -> None:
        self.name = keys.checked_name(name)
        self.config = config
        if on_throttle is not None:
            check_function(on_throttle, "on_throttle", awaited=False, instead="a plain function that starts a task")
        self._on_throttle = on_throttle
        self._max_cost = config.max_cost
        self._layouts = Layouts(self.name, config)
        self.outage_policy = OutagePolicy(self.name, config, self._layouts.own, on_throttle)

    # --- decisions

    def try_acquire(self, make_permit: Callable[..., G], cost: int, key: str, minimum: int | None) -> Plan[Decision[G]]:
        """Take `cost` now, or at least `minimum` of it, or nothing."""
        asking = self._try_in_redis(make_permit, cost, key, minimum)
        return self.outage_policy.try_acquire(asking, make_permit, cost, key, minimum)

    def acquire(self, make_permit: Callable[..., G], cost: int, key: str, timeout: float | None) -> Plan[G]:
        """Take `cost` at the earliest time, in the order of asking, and wait for that time."""
        asking = self._acquire_in_redis(make_permit, cost, key, timeout)
        return self.outage_policy.acquire(asking, make_permit, cost, key, timeout)

    def _try_in_redis(
        self, make_permit: Callable[..., G], cost: int, key: str, minimum: int | None
    ) -> Plan[Decision[G]]:
        least = cost if minimum is None else minimum
        self._check_cost(cost)
        if least is not cost and (type(least) is not int or not 1 <= least <= cost):
            raise ValueError(f"minimum must be a whole number from 1 to cost {cost}, not {minimum!r}")
        permit_id = next_permit_id()
        verdict = yield from self._acquire((permit_id, cost, least, 0), key)
        permit = None
        if verdict.granted:
            permit = make_permit(permit_id, key, verdict.cost, verdict.time_ms)
        if verdict.wait_ms or events.listening():
            yield from self._tell(verdict, permit, cost, key)
        return self._decision(verdict, permit)

    def _acquire_in_redis(self, make_permit: Callable[..., G], cost: int, key: str, timeout: float | None) -> Plan[G]:
        self._check_cost(cost)
        patience = _patience(timeout)
        permit_id = next_permit_id()
        verdict = yield from self._acquire((permit_id, cost, cost, patience), key)
        permit = None
        if verdict.granted:
            permit = make_permit(permit_id, key, cost, verdict.time_ms, verdict.wait_ms / 1000)
        if verdict.wait_ms or events.listening():
            yield from self._tell(verdict, permit, cost, key)
        if permit is None:
            retry_after, reason = verdict.wait_ms / 1000, verdict.reason
            raise ThrottleTimeout(
                f"throttle {self.name!r} would grant {cost} in {retry_after:.3f} s ({reason}), longer than timeout={timeout}",
                retry_after=retry_after,
                reason=reason,
            )
        if verdict.wait_ms:
            try:
                yield Sleep(verdict.wait_ms / 1000)
            except GeneratorExit:
                raise  # nobody performs a step any more
            except BaseException:
                yield from self._abandon(permit)
                raise
        return permit

    def execute(
        self,
        make_permit: Callable[..., Grant],
        how: Terms,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Plan[Any]:
        """Acquire on `how`'s terms, then call the user's function."""
        cost = how.cost(*args, **kwargs) if callable(how.cost) else how.cost
        key = how.key(*args, **kwargs) if callable(how.key) else how.key
        permit = yield from self.acquire(make_permit, cost, key, how.timeout)
        try:
            return (yield Invoke(function, args, kwargs))
        finally:
            self.release(permit)

    def check_terms(self, how: Terms) -> None:
        """Refuse terms that no call could meet; those that depend on a call's arguments are checked then.

        Raises:
            ValueError: cost, key or timeout.
        """
        if not callable(how.cost):
            self._check_cost(how.cost)
        if not callable(how.key):
            keys.checked_key(how.key)
        _patience(how.timeout)

    def peek(self, cost: int, key: str) -> Plan[Decision[Any]]:
        """What `try_acquire` would say."""
        self._check_cost(cost)
        verdict = yield from self._ask("throttle_peek", key, (cost,), _verdict)
        verdict.granted = verdict.wait_ms == 0
        return self._decision(verdict, None)

    def metrics(self, key: str) -> Plan[ThrottleMetrics]:
        """How the limiter stands."""
        verdict = yield from self._ask("throttle_peek", key, (1,), _verdict)
        return ThrottleMetrics(verdict.queue_size, verdict.cost, verdict.cooling_ms > 0, verdict.states())

    # --- giving back

    def give_back(self, grant: Grant, cost: int) -> Plan[int]:
        """Give back `cost` of a grant; returns what came back."""
        return (
            yield from self._ask(
                "throttle_refund", grant.key, (grant.id, grant.time_ms, grant.asked_ms, cost), _cost, once=True
            )
        )

    def release(self, grant: Grant) -> bool:
        """The work is done. Of rates nothing comes back by that, so no script is called."""
        return grant.mark_released()

    def _abandon(self, grant: Grant) -> Plan[None]:
        """Give back what an interrupted caller was granted. The interruption goes on, whatever becomes of this."""
        try:
            yield from self.give_back(grant, grant.cost)
        except RedisOptError as error:
            events.logger.warning(
                "throttle %r: an interrupted call could not give back its place: %s", self.name, error
            )

    def refund(self, grant: Grant, cost: int | None) -> Plan[bool]:
        """Give back what was not used."""
        returned = grant.take_out(cost)
        if not returned:
            return False
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
            yield from self._ask("throttle_charge", grant.key, (excess,), _cost, once=True)
        return True

    def reset(self, key: str) -> Plan[None]:
        """Forget all that was granted for `key`."""
        yield from self._ask("throttle_reset", key, (), _cost)

    # --- script calls

    def _acquire(self, args: tuple[Any, ...], key: str) -> Plan[Verdict]:
        if self.outage_policy.counts_fleet:
            yield from self.outage_policy.count_fleet(key)
        return (yield from self._ask("throttle_acquire", key, args, _verdict, once=True, undo="throttle_undo"))

    def _ask(
        self,
        script: str,
        key: str,
        args: tuple[Any, ...],
        parse: Callable[[Layout], Callable[[Any], R | Unregistered]],
        *,
        once: bool = False,
        undo: str | None = None,
    ) -> Plan[R]:
        """Call a script, and again after registering when other periods are on record."""
        layout = self._layouts.of(key)
        for _ in range(5):
            reply = yield Command(script, layout.keys(key), args, parse(layout), layout.constants, once, undo)
            if not isinstance(reply, Unregistered):
                return cast("R", reply)
            layout = yield from self._register(key, reply.periods)
        raise ConfigConflict(
            f"throttle {self.name!r}: the periods on record changed at every try: do processes restart in a loop?"
        )

    def _register(self, key: str, on_record: tuple[int, ...]) -> Plan[Layout]:
        """Learn the periods of other configs, and put ours beside them where they are not on record."""
        layout = self._layouts.learn(key, on_record)
        if self._layouts.has(on_record):
            return layout
        state = layout.keys(key)[0]
        logs = [(period, precision) for period, precision, _ in [*layout.own, *layout.others]]
        names = [f"{state.removesuffix('state')}log:{period}" for period, _ in logs]
        args = (len(layout.own), *(number for log in logs for number in log))
        registered = yield from call(Command("throttle_register", (state, *names), args, unregistered))
        return self._layouts.learn(key, registered.periods)

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

    def _tell(self, verdict: Verdict, permit: Grant | None, cost: int, key: str) -> Plan[None]:
        """Tell whoever listens. A callback that ends the process (SystemExit, Ctrl-C) leaves nothing charged."""
        try:
            if verdict.wait_ms and self._on_throttle is not None:
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
        if type(cost) is int and 1 <= cost <= self._max_cost:
            return
        if not isinstance(cost, int) or isinstance(cost, bool):
            raise ValueError(f"cost must be a whole number, not {cost!r}")
        if cost < 1:
            raise ValueError(f"cost must be at least 1, not {cost}: peek() asks without charging")
        if cost > self._max_cost:
            name = min((limit, name) for name, limit, *_ in self._layouts.own.limits)[1]
            raise CostExceedsLimit(
                f"cost {cost:,} is above the limit {name} of throttle {self.name!r}, so that no wait could grant it: "
                f"split the work into costs of at most {self._max_cost:,}, or raise the limit"
            )


def _patience(timeout: float | None) -> int:
    if timeout is None:
        return _FOR_EVER
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout must be seconds, at least 0, or None to wait for ever, not {timeout!r}")
    # To the nearest ms, since retry_after is one: it must do as a timeout.
    return _FOR_EVER if timeout > _LONGEST_WAIT else round(timeout * 1000)


def _verdict(layout: Layout) -> Callable[[Any], Verdict | Unregistered]:
    return layout.read


def _cost(_: Layout) -> Callable[[Any], int | Unregistered]:
    return read_cost
