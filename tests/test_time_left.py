"""Whose a deadline is: the plan's that is performed within it, and not that of what the plan begins beside itself."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import threading
from collections.abc import Generator
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import Timeout
from redisopt.commands import Invoke, Plan, Sleep, Within
from redisopt.driving import drive_async, drive_within_async, time_left
from tests.kinds import Kind
from tests.servers import RunningServer
from tests.waiting import wait_until

LONG = 600.0


def test_what_is_inside_a_timeout_has_its_time(twin: Kind) -> None:
    """The innermost and shortest one, until it is over."""
    pipeline = twin.make("Pipeline", [Timeout(LONG)])
    inner = twin.make("Pipeline", [Timeout(LONG / 2), Timeout(LONG)])
    assert LONG / 2 < twin.do(pipeline.execute, twin.function(time_left)) <= LONG
    assert LONG / 4 < twin.do(inner.execute, twin.function(time_left)) <= LONG / 2
    assert time_left() is None


def test_a_thread_begun_inside_a_timeout_has_none(twin: Kind) -> None:
    """Not even where it sees the context, as some libraries and some builds of Python have it."""
    found: list[float | None] = []

    def begin() -> float | None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: found.append(time_left()),))
        thread.start()
        thread.join()
        return time_left()

    assert twin.do(twin.make("Pipeline", [Timeout(LONG)]).execute, twin.function(begin)) is not None
    assert found == [None]


def test_an_event_loop_inside_a_timeout_of_a_thread_has_its_time(client: redis.Redis) -> None:
    """It is all in the thread that is waited for."""

    async def ask() -> float | None:
        return time_left()

    with redisopt.Pipeline(client, [Timeout(LONG)]) as pipeline:
        assert pipeline.execute(lambda: asyncio.run(ask())) is not None


def test_a_task_begun_inside_a_timeout_has_none_but_its_own(server: RunningServer, client: redis.Redis) -> None:
    async def main() -> None:
        async with redis.asyncio.from_url(server.url) as own:
            short, long = (redisopt.AsyncPipeline(own, [Timeout(seconds)]) for seconds in (LONG / 4, LONG))
            over = asyncio.Event()

            async def ask() -> float | None:
                return time_left()

            async def ask_later() -> tuple[Any, Any, Any]:
                at_once = time_left()
                await over.wait()
                return at_once, time_left(), await long.execute(ask)

            async def begin() -> asyncio.Task[Any]:
                task = asyncio.create_task(ask_later())
                await asyncio.sleep(0)
                assert time_left() is not None
                return task

            task = await short.execute(begin)
            over.set()
            at_once, later, within = await task
            assert at_once is None
            assert later is None
            assert within > LONG / 2

    asyncio.run(main())


def test_a_plan_that_gives_back_what_it_holds_has_the_time_that_was_left() -> None:
    """Its steps are performed in tasks then, which no further cancellation reaches."""
    found: list[float | None] = []

    def plan() -> Plan[None]:
        try:
            yield Sleep(LONG)
        finally:
            yield Invoke(lambda: found.append(time_left()))

    async def perform(step: Any, _interrupted: bool) -> None:
        if isinstance(step, Within):
            await drive_within_async(step, perform)
        elif isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        else:
            step.function()

    def outer() -> Plan[None]:
        yield Within(plan, LONG)

    async def main() -> None:
        task = asyncio.create_task(drive_async(outer(), perform))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(found) == 1
    assert found[0] is not None


def test_what_is_closed_in_another_context_ends_without_a_word() -> None:
    def plan() -> Generator[Any, Any, None]:
        yield Sleep(LONG)

    async def perform(step: Any, _interrupted: bool) -> None:
        await asyncio.sleep(step.seconds)

    async def main() -> None:
        begun = drive_within_async(Within(plan, LONG), perform)
        begun.send(None)
        contextvars.Context().run(begun.close)

    asyncio.run(main())
    gc.collect()


# --- what goes on behind a call


def test_a_stale_value_is_refreshed_without_the_timeout_of_who_found_it(twin: Kind) -> None:
    """Here a limit makes the refresh take longer than anybody would wait for it."""
    cache = twin.make("Cache", "values", ttl=0.05, ttl_jitter=0.0, early_refresh=0.0, stale_for=LONG)
    throttler = twin.make("Throttler", "api", rates=["1/s"])
    pipeline = twin.make("Pipeline", [Timeout(0.5), cache.policy("k"), throttler])
    numbers = itertools.count(1)
    compute = twin.function(lambda: next(numbers))
    assert twin.do(pipeline.execute, compute) == 1

    def is_refreshed() -> bool:
        twin.do(twin.pause(0.01))  # of tasks too the loop has to run
        return bool(twin.do(cache.get, "k") == 2)

    wait_until(lambda: twin.do(cache.peek, "k").stale)
    assert twin.do(pipeline.execute, compute) == 1
    wait_until(is_refreshed, 20)


def test_who_is_batched_with_others_has_not_their_timeout(twin: Kind) -> None:
    """A batch is limited in the background, for all that are in it."""
    batching = {"max_size": 2, "max_delay": 30}
    optimizer = twin.make("Optimizer", "api", throttling={"rates": ["1/s"]}, batching=batching)
    hurried = twin.make("Pipeline", [Timeout(0.2)])
    twin.do(optimizer.throttler.acquire)
    act = twin.function(lambda: "done")

    def optimize() -> Any:
        return optimizer.optimize(act, batch=True, throttle=True)

    def optimize_in_a_hurry() -> None:
        with contextlib.suppress(redisopt.OperationTimeout):
            hurried.execute(optimize)

    async def both() -> Any:
        return (await asyncio.gather(hurried.execute(optimize), optimize(), return_exceptions=True))[1]

    if twin.name == "async":
        assert twin.do(both) == "done"
        return
    thread = threading.Thread(target=optimize_in_a_hurry)
    thread.start()
    assert optimize() == "done"
    thread.join()
