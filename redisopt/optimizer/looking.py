"""Looking at an optimizer, as a plan."""

from __future__ import annotations

from typing import Any

from redisopt.commands import Plan, invoke
from redisopt.optimizer.metrics import OptimizerMetrics
from redisopt.optimizer.operations import Operations
from redisopt.optimizer.parts import Parts
from redisopt.optimizer.plans import MEASURED


def metrics_of(parts: Parts, operations: Operations) -> Plan[OptimizerMetrics]:
    """How all parts stand."""

    def of(part: Any) -> Plan[Any]:
        return None if part is None else (yield from invoke(part.metrics))

    def of_each(what: str) -> Plan[dict[str, Any]]:
        found = {}
        for name, part in operations.having(what).items():
            found[name] = yield from of(part)
        return found

    return OptimizerMetrics(
        batching=(yield from of_each("batcher")),
        closures=None if parts.grouping is None else parts.grouping.metrics,
        throttling=(yield from of(parts.throttler)),
        debouncing=(yield from of(parts.debouncer)),
        debounced=(yield from of_each("debouncer")),
        caching=(yield from of(parts.cache)),
        breaking=(yield from of(parts.breaker)),
        retrying=(yield from of(parts.retry)),
        performance=None if parts.monitor is None else (yield from invoke(parts.monitor.report, MEASURED)),
    )
