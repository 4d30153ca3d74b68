"""The limiter that a batcher may be joined with, as far as it needs to know one: a `Throttler` or an `AsyncThrottler` will do."""

from __future__ import annotations

from typing import Any, Literal, Protocol

LimitBy = Literal["batch", "items"]
"""What a batch costs: 1, or as much as it has items."""


class Limiter(Protocol):
    """Whoever grants permits: the async batcher awaits what its methods return."""

    def acquire(self, cost: int = 1, key: str = "", *, timeout: float | None = None) -> Any:
        """Wait for a permit, which has `refund`, `settle` and `release`; raises `Throttled` where it would take longer."""


def checked_limiter(limiter: Any, limit_by: Any, *, awaited: bool) -> None:
    """Refuse what grants no permits, or whose permits nobody would await.

    Raises:
        ValueError: naming the field.
    """
    if limit_by not in ("batch", "items"):
        raise ValueError(f"limit_by must be 'batch' or 'items', not {limit_by!r}")
    if limiter is None:
        return
    if not callable(getattr(limiter, "acquire", None)):
        raise ValueError(f"limiter must be a throttler, not {limiter!r}")
    if awaited != hasattr(limiter, "aclose"):
        wanted = "an AsyncThrottler" if awaited else "a Throttler"
        raise ValueError(f"limiter must be {wanted}, not {type(limiter).__name__}")
