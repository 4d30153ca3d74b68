"""`Timeout`: nobody waits longer for what is inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redisopt.commands import Plan, Within

_LONGEST = 86_400.0


class Timeout:
    """What is inside is waited for no longer than `seconds`: then `OperationTimeout` is raised.

    A task's call is cancelled. A thread cannot be interrupted: in sync pipelines what is inside runs in a thread of its own (some
    50 us), which sees the caller's context variables, and runs on there once its time is over; what it gives then is dropped. When
    64 such threads of one pipeline still run, no more calls are begun. So give the operation itself a timeout as well, where its
    library has one.

    Args:
        seconds: above 0, at most a day.

    Raises:
        ValueError: `seconds` is out of range.
    """

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
            raise ValueError(f"timeout must be seconds above 0, at most {_LONGEST:,.0f}, not {seconds!r}")
        self.seconds = float(seconds)

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """`inner`, for so long."""
        return (yield Within(inner, self.seconds))

    def __repr__(self) -> str:
        """How long it is."""
        return f"Timeout({self.seconds:g})"
