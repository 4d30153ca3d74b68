"""What the other primitives have measured: their metrics carry a report of the fleet's last minute, sync and async."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.commands import Plan, Sleep, sleep
from redisopt.runner import AsyncRunner
from tests.kinds import Kind
from tests.live_faces import LoopThread
from tests.servers import RunningServer

PATIENT: Any = {"command_timeout": 10.0}


def work(seconds: float) -> float:
    """What is measured."""
    if seconds < 0:
        raise ValueError("no")
    time.sleep(seconds)
    return seconds


async def work_async(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("no")
    await asyncio.sleep(seconds)
    return seconds


def test_a_throttler_reports_what_its_functions_took(server: RunningServer, client: redis.Redis) -> None:
    with redisopt.PerformanceMonitor(client, "api", flush_interval=3600, **PATIENT) as monitor:
        github = redisopt.Throttler(client, "github", rates=["1000/s"], monitor=monitor, **PATIENT)
        other = redisopt.Throttler(client, "other", rates=["1000/s"], monitor=monitor, **PATIENT)
        assert github.execute(work, 0.02) == 0.02
        assert github(work)(0.03) == 0.03
        with pytest.raises(ValueError, match="no"):
            github.execute(work, -1)
        other.execute(work, 0.01)
        check(github.metrics().performance, 3, 1)
        check(other.metrics().performance, 1, 0)
        assert monitor.report("throttled_operation").count == 4
        assert monitor.report("throttled_operation", labels={"throttler": "other"}).count == 1
        for each in (github, other):
            each.close()


def check(report: redisopt.PerformanceReport | None, count: int, errors: int) -> None:
    """There is a report, of so many."""
    assert isinstance(report, redisopt.PerformanceReport)
    assert (report.count, report.errors) == (count, errors)
    assert 0.01 <= report.max < 2


async def test_an_async_throttler_does(server: RunningServer, client: redis.Redis) -> None:
    async with (
        redis.asyncio.from_url(server.url) as mine,
        redisopt.AsyncPerformanceMonitor(mine, "api", flush_interval=3600, **PATIENT) as monitor,
        redisopt.AsyncThrottler(mine, "github", rates=["1000/s"], monitor=monitor, **PATIENT) as throttler,
    ):
        assert await throttler.execute(work_async, 0.02) == 0.02
        assert await throttler(work_async)(0.03) == 0.03
        with pytest.raises(ValueError, match="no"):
            await throttler.execute(work_async, -1)
        check((await throttler.metrics()).performance, 3, 1)
        assert (await monitor.report("throttled_operation")).count == 3


def test_a_debouncer_reports_its_runs_and_counts_those_that_failed(server: RunningServer, client: redis.Redis) -> None:
    monitor = redisopt.PerformanceMonitor(client, "api", flush_interval=3600, **PATIENT)
    with redisopt.Debouncer(client, "d", wait=0.01, max_attempts=1, monitor=monitor, **PATIENT) as debouncer:
        debouncer.handler(work)
        with debouncer.worker():
            debouncer.submit(0.02, key="a").result(timeout=10)
            with pytest.raises(redisopt.RunFailed):
                debouncer.submit(-1, key="b").result(timeout=10)
        assert debouncer.execute(work, 0.03) == 0.03
        check(debouncer.metrics().performance, 3, 1)
    assert monitor.report("debounce_error", labels={"debouncer": "d"}).count == 1
    monitor.close()


async def test_an_async_debouncer_does(server: RunningServer, client: redis.Redis) -> None:
    async with (
        redis.asyncio.from_url(server.url) as mine,
        redisopt.AsyncPerformanceMonitor(mine, "api", flush_interval=3600, **PATIENT) as monitor,
        redisopt.AsyncDebouncer(mine, "d", wait=0.01, max_attempts=1, monitor=monitor, **PATIENT) as debouncer,
    ):
        debouncer.handler(work_async)
        async with debouncer.worker():
            await (await debouncer.submit(0.02, key="a")).result(timeout=10)
            with pytest.raises(redisopt.RunFailed):
                await (await debouncer.submit(-1, key="b")).result(timeout=10)
        assert await debouncer.execute(work_async, 0.03) == 0.03
        check((await debouncer.metrics()).performance, 3, 1)
        assert (await monitor.report("debounce_error")).count == 1


def test_a_batcher_reports_its_handlers_calls(server: RunningServer, client: redis.Redis) -> None:
    monitor = redisopt.PerformanceMonitor(client, "api", flush_interval=3600, **PATIENT)
    fields: Any = {"max_size": 3, "max_delay": 0.05, "max_attempts": 1, "isolate": False, **PATIENT}
    with redisopt.Batcher(client, "b", monitor=monitor, **fields) as batcher:
        batcher.handler(lambda items: [work(item) for item in items])
        with batcher.worker():
            assert batcher.map([0.01] * 3) == [0.01] * 3
            with pytest.raises(redisopt.BatchItemFailed):
                batcher.call(-1)
        check(batcher.metrics().performance, 2, 1)
    assert monitor.report("batched_operation", labels={"batcher": "b"}).count == 2
    monitor.close()


async def test_an_async_batcher_does(server: RunningServer, client: redis.Redis) -> None:
    async def handle(items: list[float]) -> list[float]:
        return [await work_async(item) for item in items]

    fields: Any = {"max_size": 3, "max_delay": 0.05, "max_attempts": 1, "isolate": False, **PATIENT}
    async with (
        redis.asyncio.from_url(server.url) as mine,
        redisopt.AsyncPerformanceMonitor(mine, "api", flush_interval=3600, **PATIENT) as monitor,
        redisopt.AsyncBatcher(mine, "b", handler=handle, monitor=monitor, **fields) as batcher,
    ):
        async with batcher.worker():
            assert await batcher.map([0.01] * 3) == [0.01] * 3
            with pytest.raises(redisopt.BatchItemFailed):
                await batcher.call(-1)
        check((await batcher.metrics()).performance, 2, 1)


def test_without_a_monitor_there_is_no_report(server: RunningServer, client: redis.Redis) -> None:
    with (
        redisopt.Throttler(client, "t", rates=["10/s"]) as throttler,
        redisopt.Debouncer(client, "d") as debouncer,
        redisopt.Batcher(client, "b") as batcher,
    ):
        assert [each.metrics().performance for each in (throttler, debouncer, batcher)] == [None] * 3


def test_a_monitor_of_the_other_kind_is_refused(client: redis.Redis) -> None:
    awaited: Any = redis.asyncio.Redis()
    theirs: Any = redisopt.AsyncPerformanceMonitor(awaited, "api")
    ours: Any = redisopt.PerformanceMonitor(client, "api")
    makers: list[Callable[[], Any]] = [
        lambda: redisopt.Throttler(client, "t", rates=["10/s"], monitor=theirs),
        lambda: redisopt.Debouncer(client, "d", monitor=theirs),
        lambda: redisopt.Batcher(client, "b", monitor=theirs),
        lambda: redisopt.AsyncThrottler(awaited, "t", rates=["10/s"], monitor=ours),
        lambda: redisopt.AsyncDebouncer(awaited, "d", monitor=ours),
        lambda: redisopt.AsyncBatcher(awaited, "b", monitor=ours),
    ]
    for make in makers:
        with pytest.raises(ValueError, match="monitor must be"):
            make()
    ours.close()


# --- where the time goes


def test_a_profile_parts_waiting_from_redis_and_the_operation(server: RunningServer, client: redis.Redis) -> None:
    monitor = redisopt.PerformanceMonitor(client, "api", flush_interval=3600, **PATIENT)
    throttler = redisopt.Throttler(client, "slow", rates=["1/300ms"], **PATIENT)
    throttler.try_acquire()
    with monitor.profile("op", region="eu") as profile:
        throttler.execute(work, 0.1)

    assert profile.wait >= 0.15
    assert 0 < profile.redis < profile.wait
    assert 0.1 <= profile.operation < 0.2 + profile.redis
    assert profile.seconds == pytest.approx(profile.wait + profile.redis + profile.operation)
    assert monitor.report("op.wait").max == pytest.approx(profile.wait, abs=1e-6)
    assert monitor.report("op.redis", labels={"region": "eu"}).count == 1
    assert monitor.report("op.operation").count == monitor.report("op").count == 1
    with pytest.raises(ValueError, match="no"), monitor.profile("failing"):
        work(-1)
    assert monitor.report("failing").errors == 1
    for each in (throttler, monitor):
        each.close()


async def test_a_profile_of_one_task_has_nothing_of_the_others(server: RunningServer, client: redis.Redis) -> None:
    """Also where their calls travel together, and where it starts what goes on in the background for all."""
    async with (
        redis.asyncio.from_url(server.url) as mine,
        redisopt.AsyncPerformanceMonitor(mine, "api", flush_interval=3600, **PATIENT) as monitor,
        redisopt.AsyncThrottler(mine, "slow", rates=["1/300ms"], **PATIENT) as throttler,
    ):
        await throttler.try_acquire()
        async with monitor.profile("outer") as outer, monitor.profile("op") as profile:
            await throttler.execute(work_async, 0.05)
        with monitor.profile("quick") as quick:
            other = asyncio.create_task(throttler.execute(work_async, 0.05))
            await work_async(0.01)
        await other

        assert profile.wait >= 0.15
        assert 0 < profile.redis < profile.wait
        assert 0.05 <= profile.operation < 0.3
        assert outer.wait == profile.wait
        assert quick.seconds < 0.1
        assert (await monitor.report("op.wait")).count == 1


class Slow:
    """A policy that waits before it begins."""

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        yield Sleep(0.05)
        return (yield from inner())


def test_a_profile_sees_what_goes_on_inside_a_timeout(twin: Kind) -> None:
    """Also where that has a thread of its own."""
    monitor = twin.make("PerformanceMonitor", "api", flush_interval=3600, **PATIENT)
    breaker = twin.make("CircuitBreaker", "api", **PATIENT)
    pipeline = twin.make("Pipeline", [redisopt.Timeout(60), redisopt.Timeout(50), Slow(), breaker])
    act = twin.function(lambda: None)

    async def profile() -> Any:
        async with monitor.profile("op") as profile:
            await pipeline.execute(act)
        return profile

    if twin.name == "async":
        found = twin.do(profile)
    else:
        with monitor.profile("op") as found:
            pipeline.execute(act)
    assert found.wait >= 0.049  # clocks differ
    assert 0 < found.redis < found.seconds


async def test_a_profile_sees_what_an_interrupted_call_gives_back(server: RunningServer, client: redis.Redis) -> None:
    async with redis.asyncio.from_url(server.url) as mine, redisopt.AsyncPerformanceMonitor(mine, "api") as monitor:
        with monitor.profile("op") as profile:
            await AsyncRunner(mine, 5.0).finish(sleep(0.01))
        assert profile.wait >= 0.009


def test_nobody_profiles_once_it_is_over(client: redis.Redis) -> None:
    from redisopt import spans

    loop = LoopThread()
    loop.close()
    assert spans.profiled == 0
