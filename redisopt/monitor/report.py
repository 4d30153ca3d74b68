"""What a monitor gives: the report of a name, its own metrics, and word of a threshold."""

from __future__ import annotations

from dataclasses import dataclass, fields

from redisopt.monitor.sketch import Tally


@dataclass(frozen=True, slots=True)
class PerformanceReport:
    """How an operation did in a window; all 0 where it did not run. Durations in seconds.

    Attributes:
        count: how often it ran. Exact.
        errors: how often it failed, of these. Exact.
        rate: runs per second, over the time that the window covers.
        min, mean, max: of the durations; exact to a microsecond.
        p50, p90, p95, p99: quantiles of the durations, within 1 %.
    """

    count: int
    errors: int
    rate: float
    min: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


FIELDS = tuple(field.name for field in fields(PerformanceReport))


def report_of(tally: Tally, seconds: float) -> PerformanceReport:
    """The report of what ran within so many seconds."""
    count = tally.count
    return PerformanceReport(
        count=count,
        errors=tally.errors,
        rate=count / seconds if count else 0.0,
        min=tally.min if count else 0.0,
        mean=tally.sum / count if count else 0.0,
        p50=tally.quantile(0.5),
        p90=tally.quantile(0.9),
        p95=tally.quantile(0.95),
        p99=tally.quantile(0.99),
        max=tally.max,
    )


@dataclass(frozen=True, slots=True)
class Breach:
    """A figure of the last minute went above its threshold, or came back.

    Attributes:
        name: of the operation.
        field: of its report, such as "p95".
        limit: the threshold.
        value: what the field is.
        recovered: whether it is not above the limit any more.
    """

    name: str
    field: str
    limit: float
    value: float
    recovered: bool


@dataclass(frozen=True, slots=True)
class MonitorMetrics:
    """How a monitor itself does. All but `names` is of this process, since the monitor was made.

    Attributes:
        names: that the fleet measures, each label set counted.
        pending: measurements that are not in Redis yet.
        flushed: measurements that are.
        folded: measurements whose labels were one set too many, so that they count as "other".
        dropped: measurements that were lost, since there are `max_names` names already.
        failed: flushes that Redis did not take; what they carried is kept, and sent again.
        breached: the thresholds that are breached now, as this process has last seen.
    """

    names: int
    pending: int
    flushed: int
    folded: int
    dropped: int
    failed: int
    breached: tuple[str, ...]
