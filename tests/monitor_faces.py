"""The two faces of a monitor behind one, so that a test is written once and runs on both."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio

import redisopt
from tests.batches import LoopThread

QUIET: Any = {"flush_interval": 3600, "command_timeout": 10.0}  # flushes by hand; the machine may be busy


class MonitorFace:
    """A monitor, sync or async, called synchronously. The async one lives in an event loop in a thread of its own."""

    def __init__(self, kind: str, url: str, name: str = "test", **fields: Any) -> None:
        self.kind = kind
        self._loop = LoopThread() if kind == "async" else None
        fields = QUIET | fields
        if self._loop is None:
            self.client: Any = redis.from_url(url)
            self.real: Any = redisopt.PerformanceMonitor(self.client, name, **fields)
        else:
            self.client = redis.asyncio.from_url(url)
            self.real = self._loop.do(_made(self.client, name, fields))

    def track(self, *args: Any, **kwargs: Any) -> None:
        """Count in the event loop, where there is one."""
        if self._loop is None:
            self.real.track(*args, **kwargs)
            return

        async def track() -> None:
            self.real.track(*args, **kwargs)

        self._loop.do(track())

    def do(self, awaitable: Any) -> Any:
        """What it gives, awaited where the face is async."""
        return awaitable if self._loop is None else self._loop.do(awaitable)

    def __getattr__(self, method: str) -> Any:
        return lambda *args, **kwargs: self.do(getattr(self.real, method)(*args, **kwargs))

    def close(self) -> None:
        """Close it and its client."""
        if self._loop is None:
            self.real.close()
            self.client.close()
        else:
            self._loop.do(self.real.aclose())
            self._loop.do(self.client.aclose())
            self._loop.close()


async def _made(client: Any, name: str, fields: Any) -> redisopt.AsyncPerformanceMonitor:
    return redisopt.AsyncPerformanceMonitor(client, name, **fields)
