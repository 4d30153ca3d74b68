"""The two faces of a monitor behind one, so that a test is written once and runs on both."""

from __future__ import annotations

from typing import Any

from tests.live_faces import LiveFace

QUIET: Any = {"flush_interval": 3600, "command_timeout": 10.0}  # flushes by hand; the machine may be busy


class MonitorFace(LiveFace):
    """A monitor, sync or async, called synchronously."""

    def __init__(self, kind: str, url: str, name: str = "test", **fields: Any) -> None:
        super().__init__(kind, url, "PerformanceMonitor", name, **QUIET | fields)

    def track(self, *args: Any, **kwargs: Any) -> None:
        """Count in the event loop, where there is one."""
        if self.loop is None:
            self.real.track(*args, **kwargs)
        else:
            self.do(_tracked, self.real, args, kwargs)


async def _tracked(monitor: Any, args: Any, kwargs: Any) -> None:
    monitor.track(*args, **kwargs)
