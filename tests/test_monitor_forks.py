"""What a forked child knows of its parent's monitor: nothing of its breaches, and of its profiles only the one that it is in."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis

import redisopt
from redisopt import spans
from redisopt.identity import process_id
from tests.fleet import fork_each
from tests.monitor_faces import QUIET
from tests.waiting import wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]


def test_a_forked_child_is_told_of_a_breach_that_its_parent_knows_of(client: redis.Redis) -> None:
    """As each process is: also of its end."""
    told: list[redisopt.Breach] = []
    monitor = redisopt.PerformanceMonitor(
        client, "test", thresholds={"op.count": 0}, on_threshold=told.append, **QUIET | {"flush_interval": 0.05}
    )
    monitor.track("op", 0.1)
    wait_until(lambda: told, timeout=20)
    assert monitor.metrics().breached == ("op.count",)
    del told[:]

    def be_a_child(results: Any) -> None:
        assert monitor.metrics().breached == ()
        monitor.flush()
        wait_until(lambda: told, timeout=20)
        assert monitor.metrics().breached == ("op.count",)
        results.send((process_id(), [f"{breach.name}.{breach.field} {breach.recovered}" for breach in told]))

    heard: list[str] = []
    fork_each([be_a_child] * 2, heard)
    assert heard == ["op.count False"] * 2
    assert not told
    monitor.close()


def test_a_forked_child_times_no_calls_for_profiles_of_its_parents_threads(client: redis.Redis) -> None:
    monitor = redisopt.PerformanceMonitor(client, "test", **QUIET)
    entered, over = threading.Event(), threading.Event()

    def profile() -> None:
        with monitor.profile("op"):
            entered.set()
            over.wait(30)

    def be_a_child(results: Any) -> None:
        before = spans.profiled
        with monitor.profile("op"):
            within = spans.profiled
        results.send((process_id(), [f"{before} {within} {spans.profiled}"]))

    thread = threading.Thread(target=profile)
    thread.start()
    assert entered.wait(10)
    counts: list[str] = []
    fork_each([be_a_child], counts)
    over.set()
    thread.join()
    assert counts == ["0 1 0"]
    assert spans.profiled == 0
    monitor.close()


def test_a_forked_child_goes_on_with_the_profile_that_it_was_forked_in(client: redis.Redis) -> None:
    monitor = redisopt.PerformanceMonitor(client, "test", **QUIET)
    counts: list[str] = []
    with monitor.profile("ended"):
        pass
    with monitor.profile("outer") as outer, monitor.profile("inner") as inner:

        def be_a_child(results: Any) -> None:
            before = spans.profiled
            monitor.report("op")
            assert inner.redis > 0
            inner.__exit__(None, None, None)
            between = spans.profiled
            outer.__exit__(None, None, None)
            results.send((process_id(), [f"{before} {between} {spans.profiled}"]))

        fork_each([be_a_child], counts)
        assert spans.profiled == 2
    assert counts == ["2 1 0"]
    assert spans.profiled == 0
    monitor.close()
