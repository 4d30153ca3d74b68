"""What a caller may ask for: the bounds of cost, weight, priority and timeout, checked before Redis is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redisopt import keys
from redisopt.throttle.asking import Asking

MAX_PRIORITY = 1000
"""The highest of `acquire`; its negative is the lowest."""

_FOR_EVER = -1
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

    def check(self, asking: Asking) -> None:
        """Refuse terms that no call could meet; those that depend on a call's arguments are checked then.

        Raises:
            ValueError: cost, key, timeout, weight or priority.
        """
        if not callable(self.cost):
            check_cost(asking, self.cost)
        if not callable(self.key):
            keys.checked_key(self.key)
        patience(self.timeout)
        check_weight(asking, self.weight)
        check_priority(self.priority)


PLAIN = Terms()


def check_cost(asking: Asking, cost: int) -> None:
    """Refuse a cost that is none, or can never be granted.

    Raises:
        ValueError: it is no whole number, or below 1.
        CostExceedsLimit: it is above a limit.
    """
    if type(cost) is int and 1 <= cost <= asking.max_cost:
        return
    if not isinstance(cost, int) or isinstance(cost, bool):
        raise ValueError(f"cost must be a whole number, not {cost!r}")
    if cost < 1:
        raise ValueError(f"cost must be at least 1, not {cost}: peek() asks without charging")
    asking.check_within(cost)


def check_weight(asking: Asking, weight: int) -> None:
    """Refuse a weight that is none, or that no number of free slots would do for.

    Raises:
        ValueError: it is no whole number, or below 0.
        CostExceedsLimit: it is above `max_concurrent`.
    """
    if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
        raise ValueError(f"weight must be a whole number, at least 0, not {weight!r}")
    asking.check_within(0, weight)


def check_priority(priority: int) -> None:
    """Refuse what is no priority.

    Raises:
        ValueError: it is no whole number, or out of range.
    """
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
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout != timeout or timeout < 0:  # noqa: PLR0124 - NaN
        raise ValueError(f"timeout must be seconds, at least 0, or None to wait for ever, not {timeout!r}")
    # To the nearest ms, since retry_after is one: it must do as a timeout.
    return _FOR_EVER if timeout > _LONGEST_WAIT else round(timeout * 1000)
