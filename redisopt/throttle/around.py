"""A permit for the time of a call: of a function, or of whatever a policy goes around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redisopt.commands import Invoke, Plan


class ThrottlePolicy:
    """What goes on around a call that needs a permit.

    Args:
        acquire: waits for the permit; the method of a throttler.
        let_go: the plan that releases it.
        watched: goes around what is done under it.
    """

    def __init__(
        self,
        acquire: Callable[[], Any],
        let_go: Callable[[Any], Plan[None]],
        watched: Callable[[Callable[[], Plan[Any]]], Plan[Any]],
    ) -> None:
        self._acquire = Invoke(acquire)
        self._let_go = let_go
        self._watched = watched

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Wait for a permit, perform `inner`, and release it."""
        permit = yield self._acquire
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
