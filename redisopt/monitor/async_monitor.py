"""`AsyncPerformanceMonitor`: the twin of `PerformanceMonitor` for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis.asyncio

from redisopt.faces import AsyncFace
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.measuring import Measuring
from redisopt.monitor.plans import MonitorPlans, attach
from redisopt.monitor.report import Breach, MonitorMetrics, PerformanceReport
from redisopt.monitor.slots import Window
from redisopt.runner import AsyncRunner


class AsyncPerformanceMonitor(Measuring, AsyncFace[MonitorConfig]):
    """How often operations run, how long they take and how often they fail, over a whole fleet; see `PerformanceMonitor`.

    Measuring is local: `measure`, `profile`, `measured` and `track` are not awaited, and blocks may be entered with ``with`` as
    well as with ``async with``. A task of each event loop that measures flushes what the whole process has measured; what is
    measured in threads without an event loop goes along with that.

    >>> monitor = AsyncPerformanceMonitor(client, "api")
    >>> async with monitor.measure("charge_card"):
    ...     await charge()
    >>> (await monitor.report("charge_card")).p95

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, on_threshold, fields: as `PerformanceMonitor`. Made outside of an event loop, it looks at thresholds from the
            first measurement or flush in one.

    Raises:
        ValueError, pydantic.ValidationError: as `PerformanceMonitor`.
    """

    _plans: MonitorPlans

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: MonitorConfig | None = None,
        *,
        on_threshold: Callable[[Breach], object] | None = None,
        **fields: Any,
    ) -> None:
        self._plans = MonitorPlans(name, MonitorConfig.given(config, fields), on_threshold, awaited=True)
        self._runner = AsyncRunner(client, self.config.command_timeout)
        attach(self._plans, self._runner)

    async def report(
        self,
        name: str,
        window: Window | float = "minute",
        *,
        local: bool = False,
        labels: Mapping[str, str | float] | None = None,
    ) -> PerformanceReport:
        """See `PerformanceMonitor.report`."""
        return await self._runner.run(self._plans.report(name, window, labels, local=local))

    async def names(self) -> list[str]:
        """See `PerformanceMonitor.names`."""
        return await self._runner.run(self._plans.names())

    async def flush(self) -> None:
        """See `PerformanceMonitor.flush`."""
        await self._runner.run(self._plans.flush())

    async def metrics(self) -> MonitorMetrics:
        """See `PerformanceMonitor.metrics`."""
        return await self._runner.run(self._plans.metrics())

    async def aclose(self) -> None:
        """See `PerformanceMonitor.close`."""
        try:
            await self._runner.run(self._plans.close())
        finally:
            await self._runner.aclose()
