"""A monitor on real servers: what is measured is reported, by minutes and hours, with labels, and told of when it is too much."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.monitor.slots import HOURS, MINUTES
from redisopt.testing import ServerClock
from tests.monitor_faces import QUIET, MonitorFace
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., MonitorFace]
TAG = "redisopt:v1:{monitor:test}:"
NOTHING = redisopt.PerformanceReport(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_a_report_says_what_was_measured(make_monitor: Make) -> None:
    monitor = make_monitor()
    for number in range(1, 101):
        monitor.track("op", number / 1000, error=ValueError("no") if number > 90 else None)
    report = monitor.report("op")

    assert (report.count, report.errors, report.min, report.max) == (100, 10, 0.001, 0.1)
    assert report.mean == pytest.approx(0.0505)
    assert report.p50 == pytest.approx(0.050, rel=0.011)
    assert report.p99 == pytest.approx(0.099, rel=0.011)
    assert 100 / 120 <= report.rate <= 100 / 60
    assert report.p50 <= report.p90 <= report.p95 <= report.p99 <= report.max
    assert monitor.report("op", local=True).p95 == report.p95


def test_one_hung_run_does_not_spoil_the_quantiles_of_short_ones(make_monitor: Make) -> None:
    """Also when Redis has packed them, and this process."""
    monitor = make_monitor()
    for _ in range(20):
        for _ in range(500):
            monitor.real.track("op", 50e-6)
        monitor.real.track("op", 100.0)
        monitor.flush()
    for local in (False, True):
        report = monitor.report("op", local=local)
        assert report.p50 == pytest.approx(50e-6, rel=0.01)
        assert report.max == 100.0


def test_of_what_was_never_measured_all_is_0(make_monitor: Make) -> None:
    monitor = make_monitor()

    assert monitor.report("op") == monitor.report("op", "day", local=True) == NOTHING
    assert monitor.names() == []


def test_a_report_is_of_all_monitors_of_the_name_and_a_local_one_of_its_own(make_monitor: Make) -> None:
    one, other, stranger = make_monitor(), make_monitor(), make_monitor("stranger")
    one.track("op", 1.0)
    other.track("op", 3.0)
    stranger.track("op", 5.0)
    other.flush()

    assert one.report("op").mean == 2.0
    assert one.report("op", local=True).mean == 1.0
    assert one.names() == ["op"]


def test_blocks_and_functions_are_measured(make_monitor: Make) -> None:
    monitor = make_monitor()
    real: redisopt.PerformanceMonitor = monitor.real

    @real.measured("function", region="eu")
    def function(number: int) -> int:
        with real.measure("block") as measured:
            time.sleep(0.02)
        assert measured.seconds >= 0.02
        return 10 // number

    assert function(5) == 2
    with pytest.raises(ZeroDivisionError):
        function(0)

    assert monitor.report("block").min >= 0.02
    assert (monitor.report("function").count, monitor.report("function").errors) == (2, 1)
    assert monitor.report("function", labels={"region": "eu"}).count == 2


def test_blocks_may_be_entered_with_async_with_and_coroutines_are_measured_to_their_end(make_monitor: Make) -> None:
    monitor: redisopt.AsyncPerformanceMonitor = make_monitor().real

    @monitor.measured("function")
    async def function() -> None:
        async with monitor.measure("block"):
            await asyncio.sleep(0.02)

    async def be_cancelled() -> None:
        await function()
        task = asyncio.create_task(function())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(be_cancelled())
    counts = [monitor._plans.tracking.tallies(name, None, 0, 60)[0].count for name in ("block", "function")]

    assert counts == [1, 1], "what is cancelled is no measurement"


def test_labels_are_told_apart_and_reported_together(make_monitor: Make) -> None:
    monitor = make_monitor()
    for region, number in (("eu", 1), ("us", 2), ("e;u=%", 3)):
        for _ in range(number):
            monitor.track("op", 0.1, labels={"region": region, "tier": 1})
            monitor.track("op", 0.1, labels={"tier": 1, "region": region})
    monitor.track("op", 0.1)

    assert monitor.report("op").count == monitor.report("op", local=True).count == 13
    assert [monitor.report("op", labels={"region": region, "tier": "1"}).count for region in ("eu", "us", "e;u=%")] == [
        2,
        4,
        6,
    ]
    assert monitor.report("op", labels={}).count == monitor.report("op", labels={}, local=True).count == 1
    assert monitor.names() == ["op"]
    assert monitor.metrics().names == 4


def test_a_report_does_not_look_at_names_that_are_not_asked_for(make_monitor: Make, client: redis.Redis) -> None:
    monitor = make_monitor()
    for number in range(300):
        monitor.real.track(f"op{number}", 0.1)
    monitor.real.track("op1", 0.1, labels={"region": "eu"})
    monitor.real.track("op10", 0.1, labels={"region": "eu"})
    monitor.flush()
    client.delete(f"{TAG}names")
    assert monitor.report("op1").count == 2
    assert monitor.report("op1", labels={}).count == 1
    assert monitor.report("op1", labels={"region": "eu"}).count == 1
    assert monitor.report("never").count == 0
    assert client.zrange(f"{TAG}labels:op1", 0, -1) == [b"op1;region=eu"]
    assert 0 < client.pttl(f"{TAG}labels:op1") <= 25 * 3_600_000 + 120_000


def test_labels_that_are_equal_and_read_differently_are_told_apart(make_monitor: Make) -> None:
    monitor = make_monitor()
    for value in (True, 1, 1.0):
        for _ in range(2):
            monitor.track("op", 0.1, labels={"tier": value})
    for text in ("True", "1", "1.0"):
        assert monitor.report("op", labels={"tier": text}).count == 2


def test_what_is_dropped_is_not_said_to_be_folded(make_monitor: Make) -> None:
    monitor = make_monitor(max_names=1)
    monitor.track("a", 0.1)
    monitor.track("a", 0.1, labels={"region": "eu"})
    monitor.flush()
    metrics = monitor.metrics()
    assert (metrics.folded, metrics.dropped) == (0, 1)
    assert monitor.report("a").count == 1


def test_label_sets_beyond_the_bound_count_as_other(make_monitor: Make) -> None:
    monitor = make_monitor(max_label_sets=2)
    for user in range(10):
        monitor.track("op", 0.1, labels={"user": user})
    monitor.track("op", 0.1, labels={"user": 1})
    metrics = monitor.metrics()

    assert monitor.report("op").count == 11
    assert metrics.folded == 8
    assert monitor.report("op", labels={"user": 1}).count == 2
    assert monitor.report("op", labels={"user": 5}).count == 0
    assert monitor.metrics().names == 3


def test_names_beyond_the_bound_of_the_fleet_are_dropped_or_folded_and_counted(make_monitor: Make) -> None:
    first, second = make_monitor(max_names=2), make_monitor(max_names=2)
    first.track("a", 0.1)
    first.track("b", 0.1)
    first.flush()
    second.track("c", 0.1)
    second.track("b", 0.1, labels={"region": "eu"})
    second.track("a", 0.1)
    second.flush()
    second.flush()
    second.track("b", 0.1, labels={"region": "eu"})
    second.flush()

    assert first.names() == ["a", "b"]
    assert first.report("a").count == 2
    assert second.metrics().dropped == 3
    assert second.metrics().pending == 0


def test_names_beyond_the_bound_of_a_process_are_dropped_and_counted(make_monitor: Make) -> None:
    monitor = make_monitor(max_names=10)
    for number in range(1000):
        monitor.track(f"op {number}", 0.1)
    monitor.flush()
    metrics = monitor.metrics()

    assert (metrics.names, metrics.dropped, metrics.flushed) == (10, 990, 10)
    assert len(monitor.real._plans.tracking._series) <= 40


def test_names_that_are_not_measured_any_more_make_room(
    make_monitor: Make, clock: ServerClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the process and in the fleet, after a day."""
    minute = [0]
    monkeypatch.setattr("redisopt.monitor.plans._minute", lambda: minute[0])
    monitor = make_monitor(max_names=3, max_label_sets=2)
    for day in range(3):
        for user in (1, 2):
            monitor.track("op", 0.1, labels={"day": day, "user": user})
        monitor.flush()
        clock.advance(86_400 + 7200)
        minute[0] += 26 * 60
        monitor.flush()
    monitor.track("op", 0.1, labels={"day": 3})
    monitor.flush()

    assert (monitor.metrics().folded, monitor.metrics().dropped, monitor.metrics().names) == (0, 0, 1)
    assert len(monitor.real._plans.tracking._members) == 1


def test_a_flush_between_the_opening_of_a_name_and_its_first_count_loses_nothing(
    make_monitor: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = make_monitor()
    tracking = monitor.real._plans.tracking
    find = tracking._find

    def find_and_flush(*args: Any) -> Any:
        series = find(*args)
        monitor.flush()
        return series

    monkeypatch.setattr(tracking, "_find", find_and_flush)
    monitor.real.track("op", 0.1, labels={"region": "eu"})

    assert monitor.report("op").count == 1


def test_a_thousand_names_go_in_one_script_call(make_monitor: Make, client: redis.Redis) -> None:
    monitor = make_monitor(max_names=1500)
    monitor.track("warm", 0.1)
    monitor.flush()
    client.config_resetstat()
    for number in range(1000):
        monitor.real.track(f"op {number}", 0.1)
    monitor.flush()
    calls: Any = client.info("commandstats")

    assert calls["cmdstat_evalsha"]["calls"] == 1
    assert monitor.metrics().names == 1001


# --- by the minute and the hour


def test_minutes_that_are_over_are_packed_a_few_at_a_time(
    make_monitor: Make, client: redis.Redis, clock: ServerClock
) -> None:
    monitor = make_monitor(flush_interval=5)
    for minute in range(2):
        clock.at(60 * minute)
        for number in range(200):
            for _ in range(50):
                monitor.real.track(f"op{number}", 0.1 * (1 + number / 7))
        client.config_resetstat()
        monitor.flush()
    calls: Any = client.info("commandstats")
    assert 2 <= calls["cmdstat_evalsha"]["calls"] <= 8

    def still_open() -> int:
        return sum(client.llen(f"{TAG}hours:op{number}") == 0 for number in range(200))

    left = [still_open()]
    for _ in range(5):
        for number in range(200):
            monitor.real.track(f"op{number}", 0.1)
        monitor.flush()
        left.append(still_open())
    assert left[0] >= 150
    assert left[-1] == 0
    assert monitor.report("op199", "hour").count == 105


def test_minutes_and_hours_roll_over(make_monitor: Make, clock: ServerClock) -> None:
    """One operation a minute for a day and an hour: each window has its own, and no list grows beyond its bound."""
    monitor = make_monitor()
    for _ in range(25 * 60):
        monitor.real.track("op", 0.1)
        monitor.flush()
        clock.advance(60)
    clock.advance(-60)
    reports = [monitor.report("op", window).count for window in ("minute", 600, "hour", 7200, "day")]

    assert reports[:3] == [2, 11, 61]
    assert 120 <= reports[3] <= 180
    assert 1440 <= reports[4] <= 1500
    client = monitor.client if monitor.kind == "sync" else clock._client
    assert client.llen(f"{TAG}minutes:op") == MINUTES
    assert client.llen(f"{TAG}hours:op") == HOURS
    clock.advance(86_400 + 3600)
    assert monitor.report("op", "day") == NOTHING


def test_every_measurement_is_in_the_day_whatever_minute_it_is(make_monitor: Make, clock: ServerClock) -> None:
    """None is counted twice, nor missed, while minutes are added to their hours."""
    monitor = make_monitor()
    for done in range(1, 130):
        monitor.real.track("op", 0.1 * done)
        monitor.real.track("pause", 0.1)
        report = monitor.report("op", "day")
        assert (report.count, report.max) == (done, pytest.approx(0.1 * done))
        clock.advance(37)
    assert monitor.report("pause", "day").count == 129


def test_a_name_that_pauses_for_hours_loses_nothing(make_monitor: Make, clock: ServerClock) -> None:
    monitor = make_monitor()
    for pause in (30, 3 * 3600, 3700, 61, 5 * 3600):
        monitor.real.track("op", 0.1)
        monitor.flush()
        clock.advance(pause)
    monitor.real.track("op", 0.1)

    assert monitor.report("op", "day").count == 6
    assert monitor.report("op", "hour").count == 1


def test_a_clock_that_is_set_back_goes_on_from_where_it_was(make_monitor: Make, clock: ServerClock) -> None:
    monitor = make_monitor()
    monitor.real.track("op", 0.1)
    monitor.flush()
    clock.advance(-7200)
    monitor.real.track("op", 0.1)

    assert monitor.report("op").count == 2
    clock.advance(180)
    assert monitor.report("op").count == 0
    assert monitor.report("op", "hour").count == 2


def test_many_flushes_in_a_minute_stay_small(make_monitor: Make, clock: ServerClock) -> None:
    """Packs are appended, and made one when they have become long."""
    monitor = make_monitor()
    for number in range(300):
        for wide in range(20):
            monitor.real.track("op", 0.001 * 1.3**wide * (1 + number / 1000))
        monitor.flush()
    head = clock._client.lindex(f"{TAG}minutes:op", 0)

    assert len(head) < 3000  # type: ignore[arg-type]
    assert monitor.report("op").count == 6000
    assert monitor.report("op").p50 == monitor.report("op", local=True).p50


def test_what_stands_in_redis_is_readable_and_ends(make_monitor: Make, client: redis.Redis) -> None:
    monitor = make_monitor()
    monitor.track("charge card", 0.25, labels={"region": "eu"})
    monitor.track("charge card", 0.5, error=True, labels={"region": "eu"})
    monitor.flush()
    raw: Any = client.lindex(f"{TAG}minutes:charge%20card;region=eu", 0)
    slot, count, errors, total, least, most, state = raw.split(b"\n")[0].decode().split()

    assert (count, errors, total, least, most, state) == ("2", "1", "0.75", "0.25", "0.5", "open")
    assert abs(int(slot) - time.time() / 60) < 2
    assert monitor.names() == ["charge card"]
    assert all(0 < client.pttl(key) < 26 * 3_600_000 for key in client.scan_iter())


def test_a_slot_that_something_else_has_overwritten_is_named(make_monitor: Make, client: redis.Redis) -> None:
    monitor = make_monitor()
    monitor.track("op", 0.1)
    monitor.flush()
    client.lset(f"{TAG}minutes:op", 0, "not a slot")
    with pytest.raises(redisopt.StateLost, match="overwritten"):
        monitor.report("op")
    monitor.track("op", 0.1)
    monitor.flush()  # it begins anew


# --- in the background


@pytest.mark.long
def test_what_is_measured_is_flushed_in_the_background(make_monitor: Make) -> None:
    monitor, watcher = make_monitor(flush_interval=0.1), make_monitor()
    monitor.track("op", 0.1)
    wait_until(lambda: watcher.report("op").count == 1)
    time.sleep(2)  # it rests by now
    monitor.track("op", 0.1)
    wait_until(lambda: watcher.report("op").count == 2)


def test_close_flushes_and_ends_what_runs(make_monitor: Make, server: RunningServer) -> None:
    monitor, watcher = MonitorFace("sync", server.url, "closing", flush_interval=5), make_monitor("closing")
    monitor.track("op", 0.1)
    monitor.close()

    assert watcher.report("op").count == 1
    wait_until(lambda: not any(thread.name == "redisopt-monitor-closing" for thread in threading.enumerate()), 10)


def test_many_threads_lose_nothing(make_monitor: Make) -> None:
    monitor = make_monitor(flush_interval=0.05)

    def work() -> None:
        for number in range(5000):
            monitor.real.track("op", 0.001 * (number % 10 + 1), labels={"n": number % 3})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert monitor.report("op").count == 20_000


def test_a_monitor_that_is_used_in_one_event_loop_after_another_goes_on(
    server: RunningServer, client: redis.Redis
) -> None:
    """And what threads without one measure goes along."""
    theirs = redis.asyncio.from_url(server.url)
    monitor = redisopt.AsyncPerformanceMonitor(theirs, "test", flush_interval=0.05, command_timeout=10)
    watcher = redisopt.PerformanceMonitor(client, "test", **QUIET)

    async def work(expected: int) -> None:
        monitor.track("op", 0.1)
        while (await asyncio.to_thread(watcher.report, "op")).count < expected:
            await asyncio.sleep(0.05)

    monitor.track("op", 0.1)  # outside of every loop
    for number in range(2):
        asyncio.run(work(number + 2))

    async def end() -> None:
        await monitor.aclose()
        await theirs.aclose()

    asyncio.run(end())
    watcher.close()


# --- thresholds


def test_a_breach_is_told_once_and_so_is_its_end(make_monitor: Make, clock: ServerClock) -> None:
    told: list[redisopt.Breach] = []
    monitor = make_monitor(flush_interval=0.05, thresholds={"op.p95": 0.5, "op.errors": 1}, on_threshold=told.append)
    monitor.track("op", 0.1)
    time.sleep(0.3)
    assert told == []
    monitor.track("op", 0.8)
    wait_until(lambda: told)
    time.sleep(0.3)
    assert told == [redisopt.Breach("op", "p95", 0.5, told[0].value, recovered=False)]
    assert told[0].value == pytest.approx(0.8, rel=0.01)
    assert monitor.metrics().breached == ("op.p95",)
    clock.advance(180)
    wait_until(lambda: len(told) == 2)
    assert told[1] == redisopt.Breach("op", "p95", 0.5, 0.0, recovered=True)
    assert monitor.metrics().breached == ()


@pytest.mark.parametrize("into", ["redisopt", "mine"])
def test_a_breach_is_an_event_and_is_logged_once(
    make_monitor: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture, into: str
) -> None:
    """By its level: a warning, and where it is over no more than news."""
    caplog.set_level(logging.INFO, "redisopt")
    caplog.set_level(logging.INFO, "mine")
    heard: list[Any] = []

    def hear(event: Any) -> None:
        if isinstance(event, redisopt.events.ThresholdCrossed):
            heard.append(event)

    redisopt.add_hook(hear)
    logs = redisopt.log_events(logging.getLogger(into))
    monitor = make_monitor(flush_interval=0.05, thresholds={"op.max": 0.5})
    try:
        monitor.track("op", 0.8)
        wait_until(lambda: heard)
        clock.advance(180)
        monitor.track("other", 0.8)
        wait_until(lambda: len(heard) == 2)
    finally:
        redisopt.remove_hook(hear)
        logs.stop()
    first, second = heard
    assert first == redisopt.events.ThresholdCrossed("test", "op", "max", 0.5, 0.8, recovered=False)
    assert second.recovered
    records = [each for each in caplog.records if each.name == into and "op" in each.message and "max" in each.message]
    assert [record.levelno for record in records] == [logging.WARNING, logging.INFO]
    assert [record.__dict__["redisopt"]["recovered"] for record in records] == [False, True]


def test_a_callback_that_raises_changes_nothing(make_monitor: Make, caplog: pytest.LogCaptureFixture) -> None:
    told: list[redisopt.Breach] = []

    def raises(breach: redisopt.Breach) -> None:
        told.append(breach)
        raise RuntimeError("no")

    monitor, watcher = (
        make_monitor(flush_interval=0.05, thresholds={"op.max": 0.5}, on_threshold=raises),
        make_monitor(),
    )
    monitor.track("op", 0.8)
    wait_until(lambda: told)
    monitor.track("op", 0.8)
    wait_until(lambda: watcher.report("op").count == 2)

    assert len(told) == 1
    assert "raised" in caplog.text


# --- bad calls


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", None, 1e10])
def test_what_is_no_duration_is_refused(make_monitor: Make, seconds: Any) -> None:
    with pytest.raises(ValueError, match="seconds"):
        make_monitor().track("op", seconds)


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("", None, "name is empty"),
        (7, None, "name must be a str"),
        ([], None, "name must be a str"),
        ("a" * 2000, None, "name"),
        ("op", "eu", "labels must be a mapping"),
        ("op", {"region": None}, "labels: 'region'"),
        ("op", {"region": ""}, "labels: 'region'"),
        ("op", {"region": []}, "labels: 'region'"),
        ("op", {"": "eu"}, "labels: a name is empty"),
        ("op", {"other": "eu"}, "labels: 'other'"),
        ("op", {f"l{number}": "x" for number in range(9)}, "labels must be at most 8"),
        ("op", {"region": "x" * 2000}, "name with its labels"),
    ],
)
def test_a_bad_name_or_label_is_refused_by_its_field(make_monitor: Make, name: Any, labels: Any, message: str) -> None:
    monitor = make_monitor()
    with pytest.raises(ValueError, match=message):
        monitor.track(name, 0.1, None, labels)
    with pytest.raises(ValueError, match=message):
        monitor.report(name, labels=labels)


@pytest.mark.parametrize("window", ["week", 0, -1, 86_401, True, None, float("nan"), []])
def test_a_bad_window_is_refused(make_monitor: Make, window: Any) -> None:
    with pytest.raises(ValueError, match="window"):
        make_monitor().report("op", window)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"flush_interval": 0}, "flush_interval"),
        ({"max_label_sets": 0}, "max_label_sets"),
        ({"max_names": 100_000}, "max_names"),
        ({"thresholds": {"op": 1}}, "thresholds"),
        ({"thresholds": {"op.p42": 1}}, "p42"),
        ({"thresholds": {".p95": 1}}, "thresholds"),
        ({"thresholds": {"op.p95": float("nan")}}, "thresholds"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_bad_config_is_refused_by_its_field(fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        redisopt.MonitorConfig(**fields)


def test_a_config_comes_from_a_dict_a_file_or_the_environment(tmp_path: Path) -> None:
    wanted = redisopt.MonitorConfig(flush_interval=2, thresholds={"a.b.p95": 0.5, "c.errors": 10})
    file = tmp_path / "config.toml"
    file.write_text('[monitor]\nflush_interval = 2\nthresholds = {"a.b.p95" = 0.5, "c.errors" = 10}\n')
    environ = {"API_FLUSH_INTERVAL": "2", "API_THRESHOLDS": "a.b.p95=0.5, c.errors=10"}

    assert redisopt.MonitorConfig.from_dict(dict(wanted)) == wanted
    assert redisopt.MonitorConfig.from_toml(file, "monitor") == wanted
    assert redisopt.MonitorConfig.from_env("API_", environ) == wanted
    environ["API_THRESHOLDS"] = '{"a.b.p95": 0.5, "c.errors": 10}'
    assert redisopt.MonitorConfig.from_env("API_", environ) == wanted
    for wrong in ("p95", "a.p95", "a.p95=", "a.p95=fast", "=1", "{", "{}}", '{"a.p95": "fast"}'):
        with pytest.raises(ValueError, match="thresholds"):
            redisopt.MonitorConfig.from_env("API_", {"API_THRESHOLDS": wrong})


def test_a_client_or_callback_of_the_wrong_kind_is_refused(client: redis.Redis) -> None:
    async def on_threshold(breach: redisopt.Breach) -> None: ...

    with pytest.raises(ValueError, match="client"):
        redisopt.AsyncPerformanceMonitor(client, "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="on_threshold"):
        redisopt.PerformanceMonitor(client, "test", on_threshold=on_threshold)
    with pytest.raises(ValueError, match="name"):
        redisopt.PerformanceMonitor(client, "a{b}")

    def generates() -> Iterator[int]:
        yield 1

    async def generates_async() -> AsyncIterator[int]:
        yield 1

    monitor = redisopt.PerformanceMonitor(client, "test")
    wrong: Any
    for wrong in (7, generates, generates_async):
        with pytest.raises(ValueError, match="function"):
            monitor.measured("op")(wrong)
    monitor.close()


def test_an_exception_that_is_false_is_an_error(make_monitor: Make) -> None:
    class Errors(Exception):
        """Such as a group that may be empty."""

        def __len__(self) -> int:
            return 0

    monitor = make_monitor()
    for error in (Errors(), True, None, False):
        monitor.track("op", 0.1, error)
    assert monitor.report("op", local=True).errors == 2
    assert monitor.report("op").errors == 2
