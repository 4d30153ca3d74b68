"""A monitor whose Redis loses replies, is away, or is full: what was measured is kept, and counts once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redisopt
from redisopt.monitor.plans import MonitorPlans
from redisopt.testing import ServerClock
from tests.fragile import FragileServer
from tests.monitor_faces import QUIET, MonitorFace
from tests.proxy import Fate, Proxy, first_copies, is_script
from tests.servers import RunningServer
from tests.waiting import wait_until


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def watcher(client: redis.Redis) -> Iterator[redisopt.PerformanceMonitor]:
    """Sees what Redis has."""
    with redisopt.PerformanceMonitor(client, "test", **QUIET) as monitor:
        yield monitor


@pytest.mark.parametrize("fate", [fate for fate in Fate if fate is not Fate.PASS], ids=lambda fate: fate.name)
def test_a_flush_that_is_sent_again_counts_once(
    kind: str, fate: Fate, server: RunningServer, watcher: redisopt.PerformanceMonitor
) -> None:
    with Proxy(server.url) as proxy:
        monitor = MonitorFace(kind, proxy.url)
        for number in range(5):
            monitor.track("op", 0.1)
            with proxy.during(first_copies(fate)):
                monitor.flush()
            assert watcher.report("op").count == number + 1
        proxy.deliver_strays()
        assert watcher.report("op").count == 5
        monitor.close()


def test_a_flush_whose_replies_are_all_lost_is_kept_and_counts_once(
    kind: str, server: RunningServer, watcher: redisopt.PerformanceMonitor
) -> None:
    """Redis has it, and the process does not know: it is sent again under its number, with what came later apart from it."""
    with Proxy(server.url) as proxy:
        monitor = MonitorFace(kind, proxy.url, command_timeout=1.0)
        monitor.track("warm", 0.1)
        monitor.flush()  # the server knows the script
        monitor.track("op", 0.1)
        with proxy.during(lambda words: Fate.CUT_REPLY if is_script(words) else Fate.PASS):
            with pytest.raises(redisopt.Unavailable):
                monitor.flush()
            monitor.track("op", 0.3)
            with pytest.raises(redisopt.Unavailable):
                monitor.flush()
        assert watcher.report("op").count == 1
        wait_until(lambda: flushed(monitor), 20)
        assert watcher.report("op").count == 2
        assert watcher.report("op").mean == pytest.approx(0.2)
        assert monitor.metrics().failed >= 2
        monitor.close()


def flushed(monitor: MonitorFace) -> bool:
    """Whether Redis takes it: it may be known to be away for a moment longer."""
    try:
        monitor.flush()
    except redisopt.Unavailable:
        return False
    return True


def test_two_flushes_at_once_of_one_process_count_once(server: RunningServer, client: redis.Redis) -> None:
    """Both send the same part under the same number: whoever comes second is answered from memory."""
    monitor = redisopt.PerformanceMonitor(client, "test", flush_interval=3600)
    monitor.track("op", 0.1)
    plans: MonitorPlans = monitor._plans
    plans.tracking.hand_out(0)
    part = plans.tracking.part()
    assert part is not None
    for _ in range(2):
        command = plans.asking.flush(plans.tracking.lane, part)

        def send(command: Any = command) -> Any:
            return (yield command)

        plans.tracking.done(part, monitor._runner.run(send()).refused)
    monitor.track("op", 0.1)
    monitor.flush()
    assert monitor._runner.run(send()) == ([], []), "a number below the latest is stale"

    assert monitor.report("op").count == 2
    assert plans.tracking.flushed == 2
    monitor.close()


def test_a_flush_that_is_sent_again_much_later_counts_once(
    server: RunningServer, client: redis.Redis, clock: ServerClock
) -> None:
    """For an hour, although others flush meanwhile, whose lanes come and go."""
    monitor = redisopt.PerformanceMonitor(client, "test", **QUIET)
    monitor.track("op", 0.1)
    plans: MonitorPlans = monitor._plans
    plans.tracking.hand_out(0)
    part = plans.tracking.part()
    assert part is not None
    command = plans.asking.flush(plans.tracking.lane, part)

    def send() -> Any:
        return (yield command)

    monitor._runner.run(send())
    for _ in range(50):
        clock.advance(60)
        with redisopt.PerformanceMonitor(client, "test", **QUIET) as other:
            other.track("other", 0.1)
    monitor._runner.run(send())

    assert monitor.report("op", "day").count == 1
    for _ in range(90):
        clock.advance(60)
        with redisopt.PerformanceMonitor(client, "test", **QUIET) as other:
            other.track("other", 0.1)
    state: Any = client.hkeys("redisopt:v1:{monitor:test}:state")
    assert sum(field.startswith(b"lane:") for field in state) <= 70
    monitor.close()


@pytest.mark.fleet
@pytest.mark.parametrize("way", ["killed", "hung", "unreachable"])
def test_what_is_measured_while_redis_is_away_is_flushed_when_it_is_back(kind: str, way: str) -> None:
    """Neither track nor a block raises, and memory is that of the names, however long it takes."""
    with FragileServer() as fragile:
        monitor = MonitorFace(kind, fragile.url, flush_interval=0.1, command_timeout=0.5)
        monitor.track("op", 0.1)
        wait_until(lambda: monitor.metrics().pending == 0)
        with fragile.away(way):
            began = time.monotonic()
            for _ in range(200):
                for _ in range(10):
                    monitor.real.track("op", 0.2)
                with monitor.real.measure("block"):
                    time.sleep(0.005)
            assert time.monotonic() - began < 10
            with pytest.raises(redisopt.Unavailable):
                monitor.report("op")
            assert monitor.report("op", local=True).count == 2001
            assert len(monitor.real._plans.tracking._queue) <= 1
        monitor.track("op", 0.2)  # what is measured in the event loop wakes its task
        wait_until(lambda: monitor.real._plans.tracking.pending == 0, 20)
        count = monitor.report("op").count
        block = monitor.report("block").count
        monitor.close()

    # A server that was killed has forgotten what it had.
    assert count in ((2001, 2002) if way == "killed" else (2002,))
    assert block == 200


def test_a_monitor_that_is_closed_while_redis_is_away_says_what_it_lost(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FragileServer() as fragile:
        monitor = MonitorFace(kind, fragile.url, command_timeout=0.3)
        monitor.track("op", 0.1)
        with fragile.away("killed"):
            monitor.close()

    assert "closed with 1 measurements unflushed" in caplog.text


def test_a_full_server_takes_nothing_of_a_flush_and_all_of_it_later(
    kind: str, server: RunningServer, client: redis.Redis
) -> None:
    monitor = MonitorFace(kind, server.url, command_timeout=1.0)
    monitor.track("first", 0.1)
    monitor.flush()
    monitor.track("op", 0.1)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redisopt.Unavailable):
            monitor.flush()
        assert client.exists("redisopt:v1:{monitor:test}:minutes:op") == 0
        assert monitor.report("first").count == 1
        assert monitor.names() == ["first"]
        assert monitor.report("op", local=True).count == 1
    finally:
        client.config_set("maxmemory", 0)
    wait_until(lambda: flushed(monitor), 20)

    assert monitor.report("op").count == 1
    monitor.close()
