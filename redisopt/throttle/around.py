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
        let_go: the plan that releases it.
        watched: goes around what is done under it.
    """

    def __init__(
        self,
        acquire: Callable[..., Any],
        timeout: float | None,
        let_go: Callable[[Any], Plan[None]],
        watched: Callable[[Callable[[], Plan[Any]]], Plan[Any]],
    ) -> None:
        self._acquire = acquire
        self._timeout = timeout
        self._let_go = let_go
        self._watched = watched

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Wait for a permit, perform `inner`, and release it."""
        left, timeout = time_left(), self._timeout
        if left is not None:  # else whoever gave up would keep its place in the line
            timeout = left if timeout is None else min(timeout, left)
        permit = yield Invoke(self._acquire, (), {"timeout": timeout})
        return (yield from holding(lambda: self._watched(inner), lambda: self._let_go(permit)))


def holding(inner: Callable[[], Plan[Any]], let_go: Callable[[], Plan[None]]) -> Plan[Any]:
    """Perform `inner`, and `let_go` after it, however it ends."""
    try:
        result = yield from inner()
    except GeneratorExit:
        raise
    except BaseException:
        yield from let_go()
        raise
    yield from let_go()
    return result
