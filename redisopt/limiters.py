"""The limiter that something else may be joined with, as far as it needs to know one: a `Throttler` or an `AsyncThrottler` will do."""

from __future__ import annotations

from typing import Any, Protocol


class Limiter(Protocol):
    """Whoever grants permits: whatever is for asyncio awaits what its methods return."""

    def acquire(self, cost: int = 1, key: str = "", *, timeout: float | None = None) -> Any:
        """Wait for a permit, which has `refund`, `settle` and `release`; raises `Throttled` where it would take longer."""


def checked_limiter(limiter: Any, field: str, *, awaited: bool) -> None:
    """Refuse what grants no permits, or whose permits nobody would await.

    Args:
        limiter: what the user gave; None for none.
        field: its name for the message.
        awaited: whether what its methods return is awaited.

    Raises:
        ValueError: naming the field.
    """
    if limiter is None:
        return
    if not callable(getattr(limiter, "acquire", None)):
        raise ValueError(f"{field} must have an acquire method, as a Throttler has, not {limiter!r}")
    if awaited != hasattr(limiter, "aclose"):
        wanted = "an AsyncThrottler" if awaited else "a Throttler"
        raise ValueError(f"{field} must be {wanted}, not {type(limiter).__name__}")
