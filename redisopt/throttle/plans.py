"""Every decision of a throttle, as plans: nothing here touches a socket or a clock.

A decision is one script call. Its reply says what was granted, for when, and how long to wait; so a caller that waits
sleeps once, and its place in the line is its grant. Where another process uses the same name with other periods, the
script says so before it changes anything, and the plan registers both (see `throttle_register`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

from redisopt import events, keys
from redisopt.commands import Arg, Command, Invoke, Plan, Sleep, call
from redisopt.config import milliseconds
from redisopt.errors import ConfigConflict, CostExceedsLimit, StateLost, ThrottleTimeout
from redisopt.identity import next_permit_id
from redisopt.throttle.config import BURST_PERIOD_MS, SLOTS, ThrottleConfig
from redisopt.throttle.decision import Decision, LimitState, ThrottleMetrics
from redisopt.throttle.grant import Grant

G = TypeVar("G", bound=Grant)
R = TypeVar("R")

_FOR_EVER = -1
_LOG_ONLY = -1
_GRANTED = ord("1")


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A script's answer that other periods are on record than were declared."""

    periods: tuple[int, ...]


@dataclass(slots=True)
class Verdict:
    """The reply of a deciding script, in its own units (see lua/include/describe.lua)."""

    granted: bool
    time_ms: int
    cost: int
    used: list[int]
    wait_ms: int = 0
    queue_size: int = 0
    reason: int = 0
    cooling_ms: int = 0
    reset_ms: list[int] | None = None

    @classmethod
    def parse(cls, reply: Any) -> Verdict | Unregistered:
        """Read the line of numbers."""
        if isinstance(reply, str):
            reply = reply.encode()
        if reply[0] not in b"01":
            return _unregistered(reply)
        granted = reply[0] == _GRANTED
        bar = reply.find(b"|")
        if bar < 0:
            _, time_ms, cost, *used = map(int, reply.split())
            return cls(granted, time_ms, cost, used)
        _, time_ms, cost, *used = map(int, reply[:bar].split())
        wait_ms, queue_size, reason, cooling_ms, *reset_ms = map(int, reply[bar + 1 :].split())
        return cls(granted, time_ms, cost, used, wait_ms, queue_size, reason, cooling_ms, reset_ms)


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
        self._on_throttle = on_throttle
        self._max_cost = config.max_cost
        self._own = _logs(config)
        self._others: tuple[int, ...] = ()  # periods on record of processes with another config
        self._describe_logs()

    # --- decisions

    def try_acquire(self, make_permit: Callable[..., G], cost: int, key: str, minimum: int | None) -> Plan[Decision[G]]:
        """Take `cost` now, or at least `minimum` of it, or nothing."""
        least = cost if minimum is None else minimum
        self._check_cost(cost)
        if least is not cost and not (isinstance(least, int) and 1 <= least <= cost):
            raise ValueError(f"minimum must be a whole number from 1 to cost {cost}, not {minimum!r}")
        permit_id = next_permit_id()
        verdict = yield from self._acquire((permit_id, cost, least, 0), key)
        permit = None
        if verdict.granted:
            permit = make_permit(permit_id, key, verdict.cost, verdict.time_ms)
        return self._decision(verdict, permit)

    def acquire(self, make_permit: Callable[..., G], cost: int, key: str, timeout: float | None) -> Plan[G]:
        """Take `cost` at the earliest time, in the order of asking, and wait for that time."""
        self._check_cost(cost)
        patience = _patience(timeout)
        permit_id = next_permit_id()
        verdict = yield from self._acquire((permit_id, cost, cost, patience), key)
        if not verdict.granted:
            retry_after, reason = verdict.wait_ms / 1000, self._reason(verdict)
            raise ThrottleTimeout(
                f"throttle {self.name!r} would grant {cost} in {retry_after:.3f} s ({reason}), longer than timeout={timeout}",
                retry_after=retry_after,
                reason=reason,
            )
        permit = make_permit(permit_id, key, cost, verdict.time_ms, verdict.wait_ms / 1000)
        if verdict.wait_ms:
            try:
                yield Sleep(verdict.wait_ms / 1000)
            except BaseException:
                yield from self.give_back(permit, cost)
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
        yield from self.acquire(make_permit, cost, key, how.timeout)
        return (yield Invoke(function, args, kwargs))

    def peek(self, cost: int, key: str) -> Plan[Decision[Any]]:
        """What `try_acquire` would say."""
        self._check_cost(cost)
        verdict = yield from self._ask("throttle_peek", key, (cost,), Verdict.parse)
        verdict.granted = verdict.wait_ms == 0
        return self._decision(verdict, None)

    def metrics(self, key: str) -> Plan[ThrottleMetrics]:
        """How the limiter stands."""
        verdict = yield from self._ask("throttle_peek", key, (1,), Verdict.parse)
        states = self._states(verdict)
        return ThrottleMetrics(verdict.queue_size, verdict.cost, verdict.cooling_ms > 0, states)

    # --- giving back

    def give_back(self, grant: Grant, cost: int) -> Plan[int]:
        """Give back `cost` of a grant; returns what came back."""
        return (yield from self._ask("throttle_refund", grant.key, (grant.id, grant.time_ms, cost), _cost, once=True))

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
        verdict = yield from self._ask("throttle_acquire", key, args, Verdict.parse, once=True, undo="throttle_undo")
        if verdict.wait_ms or events.listening():
            self._tell(verdict, args[1], key)
        return verdict

    def _ask(
        self,
        script: str,
        key: str,
        args: tuple[Any, ...],
        parse: Callable[[Any], R | Unregistered],
        *,
        once: bool = False,
        undo: str | None = None,
    ) -> Plan[R]:
        """Call a script, and again after registering when other periods are on record."""
        for _ in range(5):
            reply = yield Command(script, self._keys(key), args, parse, self._constants, once, undo)
            if not isinstance(reply, Unregistered):
                return cast("R", reply)
            yield from self._register(key, reply.periods)
        raise ConfigConflict(
            f"throttle {self.name!r}: the periods on record changed at every try: do processes restart in a loop?"
        )

    def _register(self, key: str, on_record: tuple[int, ...]) -> Plan[None]:
        own = {period for period, _, _ in self._own}
        self._others = tuple(sorted(set(on_record) - own))
        self._describe_logs()
        if own.issubset(on_record):
            return
        state = self._keys(key)[0]
        logs = [(period, precision) for period, precision, _ in [*self._own, *self._logs_of_others()]]
        names = [f"{state[: -len('state')]}log:{period}" for period, _ in logs]
        args = [len(self._own)] + [number for log in logs for number in log]
        registered = yield from call(Command("throttle_register", (state, *names), tuple(args), _unregistered))
        self._others = tuple(sorted(set(registered.periods) - own))
        self._describe_logs()

    def _logs_of_others(self) -> list[tuple[int, int, int]]:
        """The logs kept for other configs, in slots that bound them whatever those processes' limits are."""
        return [(period, math.ceil(period / SLOTS), _LOG_ONLY) for period in self._others]

    def _describe_logs(self) -> None:
        """Prepare what every call says of its logs: constant until another config turns up."""
        logs = sorted([*self._own, *self._logs_of_others()])
        self._periods = " ".join(str(period) for period, _, _ in logs)
        config = self.config
        by_period = {period: (index, period, precision) for index, (period, precision, _) in enumerate(logs)}
        self._limits = tuple((name, limit, *by_period[period]) for name, limit, period in _limits(config))
        self._constants: tuple[Arg, ...] = (
            config.max_burst_size or 0,
            milliseconds(config.cooldown_period),
            self._periods,
            *(number for log in logs for number in log),
        )
        periods = tuple(period for period, _, _ in logs)
        self._keys: Callable[[str], tuple[str, ...]] = lru_cache(maxsize=1024)(
            lambda key: _keys(self.name, key, periods)
        )

    # --- reading verdicts

    def _decision(self, verdict: Verdict, permit: G | None) -> Decision[G]:
        states = self._states(verdict)
        tightest = states[0]
        reset_after = tightest.reset_after
        for state in states[1:]:
            if state.remaining < tightest.remaining:
                tightest = state
            reset_after = max(reset_after, state.reset_after)
        remaining = 0 if verdict.queue_size else tightest.remaining
        retry_after, reason = 0.0, None
        if not verdict.granted:
            retry_after, reason = verdict.wait_ms / 1000, self._reason(verdict)
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

    def _states(self, verdict: Verdict) -> tuple[LimitState, ...]:
        used, resets, time_ms = verdict.used, verdict.reset_ms, verdict.time_ms
        states = []
        for name, limit, index, period, precision in self._limits:
            # Granted at once, the open slot is the one of this grant; else the reply says when all is back.
            reset_ms = resets[index] if resets else -(-time_ms // precision) * precision + period - time_ms + 1
            left = limit - used[index]
            states.append(LimitState(name, limit, max(0, left), reset_ms / 1000))
        return tuple(states)

    def _reason(self, verdict: Verdict) -> str:
        if verdict.reason == 0:
            return "queue"
        if verdict.reason < 0:
            return "cooldown"
        return min((limit, name) for name, limit, index, _, _ in self._limits if index == verdict.reason - 1)[1]

    def _tell(self, verdict: Verdict, cost: int, key: str) -> None:
        if verdict.wait_ms and self._on_throttle is not None:
            events.notify(self._on_throttle, verdict.queue_size)
        if verdict.granted:
            events.emit(events.Granted(self.name, key, verdict.cost, verdict.wait_ms / 1000, verdict.queue_size))
        else:
            events.emit(
                events.Refused(self.name, key, cost, self._reason(verdict), verdict.wait_ms / 1000, verdict.queue_size)
            )

    def _check_cost(self, cost: int) -> None:
        if type(cost) is int and 1 <= cost <= self._max_cost:
            return
        if not isinstance(cost, int) or isinstance(cost, bool):
            raise ValueError(f"cost must be a whole number, not {cost!r}")
        if cost < 1:
            raise ValueError(f"cost must be at least 1, not {cost}: peek() asks without charging")
        if cost > self._max_cost:
            name = min((limit, name) for name, limit, *_ in self._limits)[1]
            raise CostExceedsLimit(
                f"cost {cost:,} is above the limit {name} of throttle {self.name!r}, so that no wait could grant it: "
                f"split the work into costs of at most {self._max_cost:,}, or raise the limit"
            )


def config_of(config: ThrottleConfig | None, fields: dict[str, Any]) -> ThrottleConfig:
    """The config that was given whole or as fields.

    Raises:
        ValueError: it was given both ways, or is not a ThrottleConfig.
        pydantic.ValidationError: a field is unknown or out of range.
    """
    if config is None:
        return ThrottleConfig(**fields)
    if not isinstance(config, ThrottleConfig):
        raise ValueError(
            f"config must be a ThrottleConfig, not {type(config).__name__}: give fields as keywords, such as rates=['10/s']"
        )
    if fields:
        raise ValueError(
            f"config and the fields {', '.join(fields)} were both given: use config.model_copy(update=...) or one of them"
        )
    return config


def _limits(config: ThrottleConfig) -> tuple[tuple[str, int, int], ...]:
    """Each limit: its name, its cost, and the period of the log that counts for it."""
    margin = milliseconds(config.margin)
    limits = [(str(rate), rate.limit, rate.period_ms + margin) for rate in config.rates]
    if config.max_burst_size is not None:
        limits.append(("burst", config.max_burst_size, BURST_PERIOD_MS))
    return tuple(limits)


def _logs(config: ThrottleConfig) -> tuple[tuple[int, int, int], ...]:
    """Each log: its period, its precision and the smallest limit on it. A burst shares the log of a rate of one second."""
    by_period: dict[int, tuple[int, int]] = {}
    for _, limit, period in _limits(config):
        precision = config.precision_ms(limit, period)
        finest, smallest = by_period.get(period, (precision, limit))
        by_period[period] = (min(precision, finest), min(limit, smallest))
    return tuple((period, precision, limit) for period, (precision, limit) in sorted(by_period.items()))


def _keys(name: str, key: str, periods: tuple[int, ...]) -> tuple[str, ...]:
    tag = keys.tag("throttle", name, keys.checked_key(key))
    return (f"{tag}state", f"{tag}waiting", f"{tag}holes", *(f"{tag}log:{period}" for period in periods))


def _patience(timeout: float | None) -> int:
    if timeout is None:
        return _FOR_EVER
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout must be seconds, at least 0, or None to wait for ever, not {timeout!r}")
    return _FOR_EVER if math.isinf(timeout) else int(timeout * 1000)


def _cost(reply: Any) -> int | Unregistered:
    if isinstance(reply, int):
        return reply
    return int(reply) if reply.isdigit() else _unregistered(reply)


def _unregistered(reply: bytes | str) -> Unregistered:
    text = reply.decode() if isinstance(reply, bytes) else reply
    if not text.startswith("register") and not text[:1].isdigit():
        raise StateLost(f"a script answered {text!r}: has another process this one's lane?")
    return Unregistered(tuple(int(period) for period in text.removeprefix("register").split()))
