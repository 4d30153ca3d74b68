"""How an optimizer stands."""

from __future__ import annotations

from typing import NamedTuple

from redisopt.batch.telling import BatchMetrics
from redisopt.breaker.state import CircuitMetrics
from redisopt.cache.outcome import CacheMetrics
from redisopt.debounce.outcome import DebounceMetrics
from redisopt.monitor.report import PerformanceReport
from redisopt.optimizer.grouping import ClosureMetrics
from redisopt.retry.budget import RetryMetrics
from redisopt.throttle.decision import ThrottleMetrics


class OptimizerMetrics(NamedTuple):
    """How the parts of an optimizer stand, over the whole fleet; None for those that it has not.

    Attributes:
        batching: by operation.
        closures: batches of closures, of this process alone.
        throttling: the limits.
        debouncing: of closures.
        debounced: of operations, by name.
        caching: the cache.
        breaking: the breaker.
        retrying: the budget of retries.
        performance: of all calls in the last minute, where there is a monitor.
    """

    batching: dict[str, BatchMetrics]
    closures: ClosureMetrics | None
    throttling: ThrottleMetrics | None
    debouncing: DebounceMetrics | None
    debounced: dict[str, DebounceMetrics]
    caching: CacheMetrics | None
    breaking: CircuitMetrics | None
    retrying: RetryMetrics | None
    performance: PerformanceReport | None
