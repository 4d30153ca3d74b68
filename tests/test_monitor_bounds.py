"""Names that are too many: what is forgotten makes room, and what the fleet refuses is counted once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.monitor import slots
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.slots import MINUTE, Window
from redisopt.monitor.tracking import FORGOTTEN, Tracking
from tests.monitor_faces import QUIET, MonitorFace
from tests.servers import RunningServer
from tests.waiting import wait_until

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


# --- reports of many label sets


SETS = 230


def measure_many(monitor: MonitorFace) -> None:
    for number in range(SETS):
        monitor.track("op", 0.1, labels={"job": number})
    monitor.track("op", 0.2)
    monitor.track("other", 0.3, labels={"job": 0})
    monitor.flush()


@pytest.mark.parametrize("window", ["minute", "hour", "day"])
def test_a_report_of_many_label_sets_is_read_in_parts(
    make_monitor: Make, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of which is long, and none is left out."""
    monitor = make_monitor(max_label_sets=1000)
    measure_many(monitor)
    asking, commands = monitor.real._plans.asking, []
    real = asking.read

    def read(*args: Any, **kwargs: Any) -> Any:
        commands.append(real(*args, **kwargs))
        parse, command = commands[-1].parse, commands[-1]

        def checked(reply: Any) -> Any:
            reading = parse(reply)
            assert len(reading.found) * sum(slots.wanted(slots.seconds_of(window))) <= 1000
            return reading

        return command._replace(parse=checked)

    monkeypatch.setattr(asking, "read", read)
    report = monitor.report("op", window)
    assert (report.count, report.max) == (SETS + 1, 0.2)
    at_once = {"minute": 100, "hour": 16, "day": 11}[window]
    assert len(commands) == math.ceil((SETS + 1) / at_once)
    del commands[:]
    assert monitor.report("op", window, labels={"job": 7}).count == 1
    assert len(commands) == 1
    assert sorted(monitor.names()) == ["op", "other"]
    assert monitor.metrics().names == SETS + 2


def test_the_event_loop_has_its_turn_between_parts_of_a_report(
    server: RunningServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, seen, real = [0], [], slots.total

    def total(*args: Any) -> Any:
        seen.append(turns[0])
        return real(*args)

    async def turn() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def main() -> None:
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncPerformanceMonitor(own, "test", max_label_sets=1000, **QUIET) as monitor,
        ):
            for number in range(SETS):
                monitor.track("op", 0.1, labels={"job": number})
            await monitor.flush()
            monkeypatch.setattr(slots, "total", total)
            other = asyncio.create_task(turn())
            assert (await monitor.report("op", "hour")).count == SETS
            other.cancel()

    asyncio.run(main())
    assert len(seen) == SETS
    assert len(set(seen)) >= SETS // 16


def test_thresholds_are_of_all_label_sets(make_monitor: Make) -> None:
    told: list[redisopt.Breach] = []
    monitor = make_monitor(
        max_label_sets=1000,
        thresholds={"op.count": SETS, "other.count": 0, "none.count": 0, "op.errors": 1},
        on_threshold=told.append,
        flush_interval=0.1,
    )
    measure_many(monitor)
    wait_until(lambda: len(told) >= 2, timeout=20)
    assert {(breach.name, breach.field, breach.value) for breach in told[:2]} == {
        ("op", "count", SETS + 1),
        ("other", "count", 1),
    }
