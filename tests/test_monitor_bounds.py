"""Names that are too many: what is forgotten makes room, and what the fleet refuses is counted once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.slots import MINUTE
from redisopt.monitor.tracking import FORGOTTEN, Tracking
from tests.monitor_faces import MonitorFace

Make = Callable[..., MonitorFace]


def flush(tracking: Tracking, minute: int, refused: tuple[int, ...] = ()) -> None:
    """Have Redis take all but these of each part."""
    tracking.hand_out(minute)
    while (part := tracking.part()) is not None:
        tracking.done(part, refused)


def test_labelled_names_that_are_forgotten_make_room_for_no_more_than_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each name with label sets may have one more, its "other": those of long ago do not raise the bound for good."""
    minute = [1_000_000]
    monkeypatch.setattr("redisopt.monitor.tracking.now", lambda: float(minute[0] * MINUTE))
    tracking = Tracking(MonitorConfig(max_names=20, max_label_sets=2), lambda: True)
    for day in range(10):
        for job in range(8):
            for region in ("eu", "us"):
                tracking.track(f"job {day} {job}", 0.1, labels={"region": region})
        flush(tracking, minute[0])
        minute[0] += FORGOTTEN + 1
        flush(tracking, minute[0])
    assert not tracking._members
    assert not tracking._sets
    for number in range(100):
        tracking.track(f"op {number}", 0.1)
    assert len(tracking._members) == 20
    assert tracking.dropped == 80


@pytest.mark.parametrize("flushes", [0, 1, 2, 3])
def test_what_the_fleet_refuses_counts_once_here_as_well(make_monitor: Make, flushes: int) -> None:
    """As itself until that is known, then as "other", for which there is room."""
    first, second = make_monitor(max_names=2, max_label_sets=1), make_monitor(max_names=2)
    for region in ("eu", "us"):
        first.track("op", 0.1, labels={"region": region})
    first.flush()
    second.track("op", 0.2, labels={"region": "eu"})
    for _ in range(9):
        second.track("op", 0.1, True, labels={"region": "asia"})
    for _ in range(flushes):
        second.flush()
    second.track("op", 0.3, labels={"region": "asia"})

    report = second.report("op", "hour", local=True)
    assert (report.count, report.errors, report.max) == (11, 9, 0.3)
    assert second.report("op", "day", local=True).count == 11
    assert second.report("op", local=True, labels={"region": "asia"}).count == (0 if flushes else 10)
    assert second.report("op").count == 13
    second.flush()
    metrics = second.metrics()
    assert (metrics.flushed, metrics.pending, metrics.dropped, metrics.folded) == (11, 0, 0, 10)


def test_what_the_fleet_has_no_room_for_even_as_other_is_dropped_and_not_folded(make_monitor: Make) -> None:
    first, second = make_monitor(max_names=2), make_monitor(max_names=2)
    first.track("a", 0.1)
    first.track("b", 0.1)
    first.flush()
    for _ in range(3):
        second.track("op", 0.1, labels={"region": "asia"})
        second.track("c", 0.1)
        second.flush()
    second.flush()
    second.flush()
    metrics = second.metrics()
    assert (metrics.flushed, metrics.pending, metrics.dropped, metrics.folded) == (0, 0, 6, 0)
    assert second.report("op", local=True).count == 3
    assert second.report("c", local=True).count == 3


def test_what_waits_for_redis_is_in_the_report_of_here() -> None:
    tracking = Tracking(MonitorConfig(), lambda: True)
    minute = 1000
    for handed_out in (minute - 90, minute):
        tracking.track("op", 0.1)
        tracking.hand_out(handed_out)
    tracking.track("op", 0.1)

    def count(seconds: int) -> int:
        return sum(tally.count for tally in tracking.tallies("op", None, minute * MINUTE - seconds, seconds))

    assert (count(60), count(7200)) == (2, 3)
    part = tracking.part()
    assert part is not None
    tracking.done(part, [])
    assert (count(60), count(7200)) == (2, 3)
    flush(tracking, minute)
    assert (count(60), count(7200)) == (2, 3)
