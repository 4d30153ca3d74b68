"""How the other primitives have their work measured: in one place for all of them, and for both of their faces.

What they run is counted in a monitor under a name of its kind, with the primitive's name as a label: `throttled_operation` with
`throttler=github`. So all throttlers of a fleet are one report, and each is one as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redisopt.background import now
from redisopt.commands import Invoke, Plan
from redisopt.monitor.async_monitor import AsyncPerformanceMonitor
from redisopt.monitor.monitor import PerformanceMonitor
from redisopt.monitor.report import PerformanceReport

Monitor = PerformanceMonitor | AsyncPerformanceMonitor


class Watch:
    """What one primitive has measured, if anything.

    Args:
        monitor: None measures nothing.
        operation: the name under which runs are counted.
        labels: of this primitive.
        error: a further name, under which those that failed are counted as well.
        awaited: whether the primitive is for asyncio; then the monitor has to be, too.

    Raises:
        ValueError: `monitor` is none, or of the other kind.
    """

    def __init__(
        self, monitor: Monitor | None, operation: str, labels: dict[str, str], error: str = "", *, awaited: bool
    ) -> None:
        kind = AsyncPerformanceMonitor if awaited else PerformanceMonitor
        if monitor is not None and not isinstance(monitor, kind):
            raise ValueError(f"monitor must be {'an' if awaited else 'a'} {kind.__name__}, not {monitor!r}")
        self._monitor = monitor
        self._operation = operation
        self._labels = labels
        self._error = error
        if monitor is not None:
            monitor.measure(operation, **labels)  # a name that is too long for a label is refused now

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Perform `inner`, such as a call of the user's function, and count what that took. What is interrupted is not counted."""
        return inner() if self._monitor is None else self._measured(inner)

    def _measured(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        began = now()
        try:
            result = yield from inner()
        except Exception as error:
            self._track(now() - began, error)
            raise
        self._track(now() - began, None)
        return result

    def _track(self, seconds: float, error: Exception | None) -> None:
        if self._monitor is None:
            return
        self._monitor.track(self._operation, seconds, error, self._labels)
        if error is not None and self._error:
            self._monitor.track(self._error, seconds, error, self._labels)

    def report(self) -> Plan[PerformanceReport | None]:
        """The fleet's last minute; None where nothing is measured."""
        if self._monitor is None:
            return None
        report: PerformanceReport = yield Invoke(self._monitor.report, (self._operation,), {"labels": self._labels})
        return report
