"""What a throttle answers: `Decision`, the state of its limits, and its metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from redisopt.monitor.report import PerformanceReport
from redisopt.throttle.rate import Rate

P = TypeVar("P")

_new = tuple.__new__


class LimitState(NamedTuple):
    """One of several limits, as it stood at a decision.

    Attributes:
        name: ``"10/s"``, ``"burst"`` or ``"concurrency"``.
        limit: cost per period; of concurrency, slots.
        remaining: cost that this limit alone would still grant now; 0 while somebody waits.
        reset_after: seconds until all that is in use is back.
    """

    name: str
    limit: int
    remaining: int
    reset_after: float


class Decision(NamedTuple, Generic[P]):
    """The answer to "may I?"; true in a boolean context when allowed.

    Attributes:
        allowed: whether the cost was granted (of a peek: would be). In shadow always; then `reason` says what would have refused.
        limit: the limit of the tightest rate: the one with the least remaining.
        remaining: cost that could still be had at once; 0 while somebody waits.
        retry_after: seconds until the asked cost would fit; 0.0 when allowed.
        reset_after: seconds until all that is in use is back.
        reason: what refused: ``"10/s"``, ``"burst"``, ``"cooldown"``, ``"concurrency"``, ``"paused"`` or ``"queue"``; None when
            allowed. Where Redis is away and `on_unavailable` decides, ``"unavailable"`` in either case; then the rest is what
            this process knows.
        queue_size: how many wait in the whole fleet.
        permit: what was granted, to refund or settle; None when refused, and of a peek.
        limits: each limit by itself.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float
    reason: str | None
    queue_size: int
    permit: P | None
    limits: tuple[LimitState, ...]

    def __bool__(self) -> bool:
        """Whether it was allowed."""
        return self.allowed

    def granting(self, permit: P) -> Decision[P]:
        """The same, with `permit`."""
        allowed, limit, remaining, retry_after, reset_after, reason, queue_size, _, limits = self
        granting = (allowed, limit, remaining, retry_after, reset_after, reason, queue_size, permit, limits)
        return _new(Decision, granting)  # quicker than a call of the class

    def headers(self, name: str = "default") -> dict[str, str]:
        """What to send of it with a response of your own server: RateLimit-Policy, RateLimit, and Retry-After when refused.

        They are those of draft-ietf-httpapi-ratelimit-headers, from 08 on: ``"default";q=10;w=1`` and
        ``"default";r=9;t=1``, times in whole seconds, rounded up. What they count is cost.

        Args:
            name: of the policy, in printable ASCII. Of several limits, each has its own added: ``"default:10/s"``.

        Raises:
            ValueError: the name is empty, or has other characters.
        """
        if not isinstance(name, str) or not name or not (name.isascii() and name.isprintable()):
            raise ValueError(f"name must be printable ASCII characters, at least one, not {name!r}")
        policies, states = [], []
        for limit in self.limits:
            text = f"{name}:{limit.name}" if len(self.limits) > 1 else name
            quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            window = _window(limit.name)
            # A window is optional, and a whole number: one of 500 ms cannot be told.
            policies.append(
                f"{quoted};q={limit.limit}" + (f";w={window:.0f}" if window and window.is_integer() else "")
            )
            # A Retry-After is not to come before the end of a `t`, the draft asks.
            reset_after = limit.reset_after if self.allowed else min(limit.reset_after, self.retry_after)
            states.append(f"{quoted};r={limit.remaining};t={math.ceil(reset_after)}")
        headers = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
        if not self.allowed:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return headers


def _window(limit: str) -> float | None:
    """The seconds within which a limit counts; None of one that does not."""
    if limit == "concurrency":
        return None
    return 1.0 if limit == "burst" else Rate.parse(limit).period


@dataclass(frozen=True, slots=True)
class Outage:
    """Redis is away, and what a throttle does meanwhile.

    Attributes:
        seconds: for which it has lasted, from when the call began that found out.
        reason: what that call ended with.
        policy: what decides: the config's `on_unavailable`.
        allowed: calls that this throttler has granted without Redis since it last had an answer from it.
        denied: calls that it has refused so.
    """

    seconds: float
    reason: str
    policy: str
    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class ThrottleMetrics:
    """A limiter as the whole fleet sees it.

    Attributes:
        active_operations: slots of `max_concurrent` that are leased; 0 without it.
        queue_length: callers that wait for their time.
        operations_per_second: cost granted in the last second (where all periods are shorter: in the longest, scaled).
        is_cooling: whether a burst's cooldown is on.
        limits: each limit by itself.
        conflicts: how many other limits this process has seen other processes use the name with.
        shadowed: calls that were let through and would have been refused, where the limits are only measured (`shadow`).
        performance: of the functions that `execute` and the decorator called in the fleet's last minute, where the throttler
            has a monitor; of all keys together.
    """

    active_operations: int
    queue_length: int
    operations_per_second: int
    is_cooling: bool
    limits: tuple[LimitState, ...]
    conflicts: int = 0
    shadowed: int = 0
    performance: PerformanceReport | None = None
