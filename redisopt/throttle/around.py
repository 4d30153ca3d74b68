"""A permit for the time of a call: of a function, or of whatever a policy goes around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redisopt.commands import Invoke, Plan


class ThrottlePolicy:
    """What goes on around a call that needs a permit.

    Args:
        acquire: waits for the permit; the method of a throttler.
    """

    def __init__(self, acquire: Callable[[], Any]) -> None:
        self._acquire = acquire

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Wait for a permit, perform `inner`, and release it."""
        permit = yield Invoke(self._acquire)
        return (yield from holding(inner, lambda: _let_go(permit)))


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


def _let_go(permit: Any) -> Plan[None]:
    yield Invoke(permit.let_go, final=True)
