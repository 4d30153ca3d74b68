"""A monitor of many processes: a million durations of eight of them, one that is killed, one that forks, and two that are told."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from typing import Any

import pytest
import redis

import redisopt
from tests.fleet import FLEET, fork_each, run_fleet, wait_for_all
from tests.monitor_faces import QUIET, MonitorFace
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

PROCESSES, EACH = 8, 125_000


def durations(seed: int) -> list[float]:
    """Those of one process: lognormal over two decades, each process slower than the one before."""
    chosen = random.Random(seed)
    return [chosen.lognormvariate(-3 + seed / 10, 0.9) for _ in range(EACH)]


def measure(url: str, kind: str, seed: int) -> int:
    """Measure them, flushed in the background meanwhile and at the end."""
    monitor = MonitorFace(kind, url, flush_interval=0.2, command_timeout=20.0)
    wait_for_all()
    for number, seconds in enumerate(durations(seed)):
        if number % 1000 == 0:
            monitor.track("op", seconds, error=True)  # within the event loop, so that it flushes
        else:
            monitor.real.track("op", seconds)
    monitor.close()
    return os.getpid()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_quantiles_of_a_million_durations_of_eight_processes_are_within_one_percent(
    kind: str, server: RunningServer, client: redis.Redis
) -> None:
    assert len(set(run_fleet(measure, *[(server.url, kind, seed) for seed in range(PROCESSES)]))) == PROCESSES
    everything = sorted(seconds for seed in range(PROCESSES) for seconds in durations(seed))
    with redisopt.PerformanceMonitor(client, "test", **QUIET) as monitor:
        report = monitor.report("op", "hour")

    assert report.count == PROCESSES * EACH
    assert report.errors == PROCESSES * EACH // 1000
    assert report.min == pytest.approx(everything[0], abs=1e-6)
    assert report.max == pytest.approx(everything[-1], abs=1e-6)
    assert report.mean == pytest.approx(math.fsum(everything) / len(everything), rel=1e-6)
    for q, estimate in ((0.5, report.p50), (0.9, report.p90), (0.95, report.p95), (0.99, report.p99)):
        exact = everything[math.ceil(q * len(everything)) - 1]
        assert abs(estimate / exact - 1) <= 0.01


def measure_on(url: str, kind: str, told: Any) -> None:
    """Measure a hundred a second or so, and say how many, until killed."""
    monitor = MonitorFace(kind, url, flush_interval=0.5)
    count = 0
    while True:
        monitor.track("op", 0.01)
        count += 1
        told.send((time.monotonic(), count))
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_process_that_is_killed_costs_at_most_its_last_interval(
    kind: str, server: RunningServer, client: redis.Redis
) -> None:
    here, told = FLEET.Pipe(duplex=False)
    process = FLEET.Process(target=measure_on, args=(server.url, kind, told), daemon=True)
    process.start()
    told.close()
    assert here.poll(30)
    time.sleep(3)
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    measured = []
    while True:
        try:
            measured.append(here.recv())
        except EOFError:
            break
    last = measured[-1][0]
    with redisopt.PerformanceMonitor(client, "test", **QUIET) as monitor:
        count = monitor.report("op", "hour").count

    # The interval, and what a busy machine may add to it.
    assert [number for at, number in measured if at <= last - 1.5][-1] <= count <= measured[-1][1] + 1
    assert count >= 50


def watch(url: str, kind: str) -> list[redisopt.Breach]:
    """Be told of breaches, of what the first of the processes measures."""
    told: list[redisopt.Breach] = []
    monitor = MonitorFace(
        kind, url, flush_interval=0.1, thresholds={"op.p95": 0.5, "op.count": 1e9}, on_threshold=told.append
    )
    wait_for_all()
    with redis.from_url(url) as client:
        if client.incr("redisopt-test:first", 1) == 1:
            client.expire("redisopt-test:first", 60)
            for _ in range(10):
                monitor.track("op", 0.8)
        wait_until(lambda: told, 20)
        time.sleep(0.5)
        assert len(told) == 1
        wait_for_all()
        if client.incr("redisopt-test:first", 1) == 3:  # the last minute is better than it was, by far
            for _ in range(1000):
                monitor.track("op", 0.1)
        wait_until(lambda: len(told) == 2, 20)
        time.sleep(0.5)
    monitor.close()
    return told


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_each_of_two_processes_is_told_once_of_a_breach_and_once_of_its_end(
    kind: str, server: RunningServer, client: redis.Redis
) -> None:
    for told in run_fleet(watch, (server.url, kind), (server.url, kind)):
        breach, end = told
        assert (breach.name, breach.field, breach.limit, breach.recovered) == ("op", "p95", 0.5, False)
        assert breach.value == pytest.approx(0.8, rel=0.01)
        assert end.recovered
        assert end.value == pytest.approx(0.1, rel=0.01)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12 and later warn of it; this is the test of it
def test_a_forked_child_flushes_what_it_measures_and_nothing_of_its_parents(
    server: RunningServer, client: redis.Redis
) -> None:
    """Also while the parent measures and flushes."""
    monitor = redisopt.PerformanceMonitor(client, "test", **QUIET | {"flush_interval": 0.05})
    monitor.track("parent", 0.1)
    monitor.flush()
    for _ in range(100):
        monitor.track("parent", 0.1)

    def be_a_child(results: Any) -> None:
        monitor.track("child", 0.2)
        local = monitor.report("parent", local=True).count
        monitor.flush()
        monitor.close()
        results.send((str(os.getpid()), [str(local)]))

    seen: list[str] = []
    fork_each([be_a_child] * 4, seen)

    assert seen == ["0"] * 4
    assert monitor.report("child").count == 4
    assert monitor.report("parent").count == 101
    monitor.close()
