"""A permit for the time of a call: of a function, or of whatever a policy goes around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redisopt.commands import Invoke, Plan
from redisopt.driving import time_left


class ThrottlePolicy:
    """What goes on around a call that needs a permit.

    Args:
        acquire: waits for the permit, for `timeout` seconds; the method of a throttler.
        timeout: of who asks; nobody waits longer than for the call as a whole.
        under: performs a plan under the permit, and releases that.
    """

    def __init__(
        self,
        acquire: Callable[..., Any],
        timeout: float | None,
        under: Callable[[Any, Callable[[], Plan[Any]]], Plan[Any]],
    ) -> None:
        self._acquire = acquire
        self._timeout = timeout
        self._under = under

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Wait for a permit, perform `inner`, and release it."""
        left, timeout = time_left(), self._timeout
        if left is not None:  # else whoever gave up would keep its place in the line
            timeout = left if timeout is None else min(timeout, left)
        permit = yield Invoke(self._acquire, (), {"timeout": timeout})
        return (yield from self._under(permit, inner))
