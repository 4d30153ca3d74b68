"""What a throttle answers: `Decision`, the state of its limits, and its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

P = TypeVar("P")


class LimitState(NamedTuple):
    """One of several limits, as it stood at a decision.

    Attributes:
        name: ``"10/s"``, or ``"burst"``.
        limit: cost per period.
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
        allowed: whether the cost was granted (of a peek: would be).
        limit: the limit of the tightest rate: the one with the least remaining.
        remaining: cost that could still be had at once; 0 while somebody waits.
        retry_after: seconds until the asked cost would fit; 0.0 when allowed.
        reset_after: seconds until all that is in use is back.
        reason: what refused: ``"10/s"``, ``"burst"``, ``"cooldown"`` or ``"queue"``; None when allowed. Where Redis is away
            and `on_unavailable` decides, ``"unavailable"`` in either case; then the rest is what this process knows.
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


@dataclass(frozen=True, slots=True)
class Outage:
    """Redis is away, and what a throttle does meanwhile.

    Attributes:
        since: seconds ago that it began, which is when the call began that found out.
        reason: what that call ended with.
        policy: what decides: the config's `on_unavailable`.
        allowed: calls that this throttler has granted without Redis since it last had an answer from it.
        denied: calls that it has refused so.
    """

    since: float
    reason: str
    policy: str
    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class ThrottleMetrics:
    """A limiter as the whole fleet sees it.

    Attributes:
        queue_length: callers that wait for their time.
        operations_per_second: cost granted in the last second (where all periods are shorter: in the longest, scaled).
        is_cooling: whether a burst's cooldown is on.
        limits: each limit by itself.
    """

    queue_length: int
    operations_per_second: int
    is_cooling: bool
    limits: tuple[LimitState, ...]
