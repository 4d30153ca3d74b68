"""`PerformanceMonitor`: how long operations take, over a whole fleet; for threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis

from redisopt.faces import Face
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.measuring import Measuring
from redisopt.monitor.plans import MonitorPlans, attach
from redisopt.monitor.report import Breach, MonitorMetrics, PerformanceReport
from redisopt.monitor.slots import Window
from redisopt.runner import Runner


class PerformanceMonitor(Measuring, Face[MonitorConfig]):
    """How often operations run, how long they take and how often they fail, over all processes that use the same name.

    >>> monitor = PerformanceMonitor(client, "api", thresholds={"charge_card.p95": 0.5}, on_threshold=alert)
    >>> with monitor.measure("charge_card"):
    ...     charge()
    >>> monitor.report("charge_card").p95

    Measuring is local and takes about a microsecond. A daemon thread adds what was measured to Redis every `flush_interval`, in one
    script call for each thousand names, where it counts in the minute of the server's clock in which it arrives; in the half minute
    after each minute a few calls more, of eight names each, pack what is over. There it stays by the minute for an hour and by the hour for a day. Counts are exact, sums, smallest and largest to a microsecond;
    quantiles are within 1 %, of whatever is merged. While Redis is away, measurements are kept and merged, in memory that is
    bounded by the names; a name takes 10 to 45 KB in Redis, by how often it runs and how widely its durations spread; a process that dies loses those of its last interval. Thread-safe, and safe to use in a forked child.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what is monitored; the same in all processes that share it. No braces or control characters.
        config: a `MonitorConfig`; or give its fields as keywords.
        on_threshold: called with a `Breach` when a figure of the fleet's last minute goes above its threshold, once, and once when
            it is back. In the background, after a flush; then one script call more for each hundred label sets is made
            each `flush_interval`, as long as the monitor is open.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name is not allowed.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    _plans: MonitorPlans

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: MonitorConfig | None = None,
        *,
        on_threshold: Callable[[Breach], object] | None = None,
        **fields: Any,
    ) -> None:
        self._plans = MonitorPlans(name, MonitorConfig.given(config, fields), on_threshold, awaited=False)
        self._runner = Runner(client, self.config.command_timeout)
        attach(self._plans, self._runner)

    def report(
        self,
        name: str,
        window: Window | float = "minute",
        *,
        local: bool = False,
        labels: Mapping[str, str | float] | None = None,
    ) -> PerformanceReport:
        """How an operation did in the last minute, hour or day, over the fleet. Flushes first, then reads.

        One script call reads a minute of 100 label sets, an hour of 16, or a day of 11: no call keeps the server for longer
        than about a millisecond, and asyncio has its turn after each.

        A window begins with a whole minute of the server's clock, one longer than an hour with a whole hour: so "minute" covers
        60 to 120 seconds. What other processes have not flushed yet is not in it. An hour or a day of one label set takes this
        process about 10 ms to add up.

        Args:
            name: of the operation.
            window: "minute", "hour", "day", or seconds up to a day.
            local: only what this process has measured. No script call; minutes are then those of its monotonic clock.
            labels: only what was measured with exactly these labels, {} for none; None for all together.

        Raises:
            ValueError: an argument is wrong.
            Unavailable: Redis did not answer within `command_timeout`.
        """
        return self._runner.run(self._plans.report(name, window, labels, local=local))

    def names(self) -> list[str]:
        """The names that the fleet has measured in the last day, sorted, without labels. Flushes first, then one script call.

        Raises:
            Unavailable: as `report`.
        """
        return self._runner.run(self._plans.names())

    def flush(self) -> None:
        """Have Redis know all that this process has measured until now. A script call for each thousand names.

        After the turn of a minute there are some more, that pack what is over: of eight names each, and spread over the flushes of half
        a minute.

        Raises:
            Unavailable: as `report`; what was measured is kept.
        """
        self._runner.run(self._plans.flush())

    def metrics(self) -> MonitorMetrics:
        """How the monitor itself does: what is pending, flushed, folded and dropped. One script call.

        Raises:
            Unavailable: as `report`.
        """
        return self._runner.run(self._plans.metrics())

    def close(self) -> None:
        """Flush, end what goes on in the background, and close the connections unless another primitive uses them.

        What cannot be flushed is lost, and logged. The client stays open. What is measured afterwards is flushed by hand alone.
        """
        try:
            self._runner.run(self._plans.close())
        finally:
            self._runner.close()
