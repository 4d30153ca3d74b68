"""Real interruptions on real time: cancelled tasks, and Ctrl-C in a thread that waits."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
import redisopt.links
from redisopt import AsyncPermit, AsyncThrottler
from tests.lines import line, logs
from tests.servers import RunningServer
from tests.waiting import wait_until


@pytest.fixture
async def throttler(server: RunningServer, client: redis.Redis) -> AsyncIterator[AsyncThrottler]:
    """Two per minute, both in use: whoever comes waits for longer than any test."""
    async with (
        redis.asyncio.from_url(server.url) as async_client,
        AsyncThrottler(async_client, "test", rates=["2/min"], command_timeout=20) as throttler,
    ):
        await throttler.try_acquire(cost=2)
        yield throttler


async def waiter(throttler: AsyncThrottler, length: int, **kwargs: Any) -> asyncio.Task[AsyncPermit]:
    """A task that waits in line, which has `length` callers now."""
    task = asyncio.ensure_future(throttler.acquire(**kwargs))
    while (await throttler.metrics()).queue_length < length:
        assert not task.done()
        await asyncio.sleep(0.001)
    return task


async def cancelled(*tasks: asyncio.Task[AsyncPermit]) -> None:
    """Cancel these tasks one after the other, and see that they end so."""
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- tasks


async def test_a_cancelled_task_at_the_end_of_the_line_leaves_no_trace(
    throttler: AsyncThrottler, client: redis.Redis
) -> None:
    """The logs are what they were, and so is the line."""
    first = await waiter(throttler, 1)
    before = logs(client), line(client)
    await cancelled(await waiter(throttler, 2))

    assert (logs(client), line(client)) == before
    await cancelled(first)


async def test_a_cancelled_task_in_the_middle_leaves_its_place_to_the_next(
    throttler: AsyncThrottler, client: redis.Redis
) -> None:
    """The logs and the times of the line do not change."""
    tasks = [await waiter(throttler, length) for length in (1, 2, 3, 4)]
    before = logs(client), line(client)
    await cancelled(tasks[1])
    assert line(client) != before[1]
    following = await waiter(throttler, 4)

    assert (logs(client), line(client)) == before
    await cancelled(tasks[3], tasks[2], following, tasks[0])


async def test_when_all_tasks_are_cancelled_nothing_is_left_of_the_line(
    throttler: AsyncThrottler, client: redis.Redis
) -> None:
    """All at once, as when a program ends."""
    before = logs(client)
    tasks = [await waiter(throttler, length) for length in range(1, 9)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert (logs(client), line(client)) == (before, [])


@pytest.mark.parametrize("turns", range(16))
async def test_a_task_that_is_cancelled_at_any_moment_leaves_no_trace(
    throttler: AsyncThrottler, client: redis.Redis, turns: int
) -> None:
    """Before its call is sent, while the call is under way, or while it waits."""
    before = logs(client)
    task = asyncio.ensure_future(throttler.acquire())
    for _ in range(turns):
        await asyncio.sleep(0)
    await cancelled(task)

    assert (logs(client), line(client)) == (before, [])


@pytest.mark.parametrize("turns", range(16))
async def test_a_grant_that_is_cancelled_under_way_is_taken_back(
    server: RunningServer, client: redis.Redis, turns: int
) -> None:
    """The caller never learns of it; or the call was over, and the caller has it."""
    async with (
        redis.asyncio.from_url(server.url) as async_client,
        AsyncThrottler(async_client, "test", rates=["10/min"]) as throttler,
    ):
        await throttler.try_acquire()
        task = asyncio.ensure_future(throttler.try_acquire(cost=3))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        charged = 0 if isinstance(result, asyncio.CancelledError) else 3

        assert (await throttler.peek()).remaining == 9 - charged


async def test_a_task_that_is_cancelled_twice_still_gives_its_place_back(
    throttler: AsyncThrottler, client: redis.Redis
) -> None:
    """The second comes while it does so."""
    before = logs(client)
    task = await waiter(throttler, 1)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (logs(client), line(client)) == (before, [])


async def test_a_wait_under_a_timeout_of_asyncio_is_given_back(throttler: AsyncThrottler, client: redis.Redis) -> None:
    """As every other cancellation."""
    before = logs(client)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), throttler.acquire():
            pytest.fail("there was no permit to be had")

    assert (logs(client), line(client)) == (before, [])


async def test_the_failure_of_one_task_gives_back_the_places_of_its_group(
    throttler: AsyncThrottler, client: redis.Redis
) -> None:
    """The group cancels the others."""
    before = logs(client)

    async def fail() -> None:
        while (await throttler.metrics()).queue_length < 3:
            await asyncio.sleep(0.001)
        raise RuntimeError("one failed")

    async def take() -> None:
        await throttler.acquire()

    async def work_together() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(take())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await work_together()

    assert (logs(client), line(client)) == (before, [])


def test_a_loop_that_ends_gives_back_the_places_of_its_tasks(server: RunningServer, client: redis.Redis) -> None:
    """asyncio.run cancels what is left."""
    before = {}

    async def wait_in_line() -> None:
        async with (
            redis.asyncio.from_url(server.url) as async_client,
            AsyncThrottler(async_client, "test", rates=["2/min"], command_timeout=20) as throttler,
        ):
            await throttler.try_acquire(cost=2)
            before.update(logs(client))
            await throttler.acquire()

    async def leave_a_waiter() -> None:
        tasks.append(asyncio.create_task(wait_in_line()))
        while not line(client):
            await asyncio.sleep(0.001)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(leave_a_waiter())

    assert (logs(client), line(client)) == (before, [])


async def test_those_behind_a_cancelled_task_are_served_at_their_times(
    server: RunningServer, client: redis.Redis
) -> None:
    """To the end, on short periods: the next one takes over the place, and all others keep theirs."""
    async with (
        redis.asyncio.from_url(server.url) as async_client,
        AsyncThrottler(async_client, "test", rates=["1/400ms"]) as throttler,
    ):
        start = (await throttler.acquire()).time_ms
        tasks = [await waiter(throttler, length) for length in (1, 2, 3)]
        await cancelled(tasks[1])
        following = await waiter(throttler, 3)
        permits = await asyncio.gather(tasks[0], following, tasks[2])

        assert [permit.time_ms - start for permit in permits] == [400, 800, 1200]


async def test_a_permit_whose_holder_is_cancelled_stays_charged(server: RunningServer, client: redis.Redis) -> None:
    """The work was begun: only a caller that still waits has nothing to pay for."""
    async with (
        redis.asyncio.from_url(server.url) as async_client,
        AsyncThrottler(async_client, "test", rates=["2/min"], command_timeout=20) as throttler,
    ):
        begun = asyncio.Event()

        async def work() -> None:
            async with throttler.acquire():
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert (await throttler.peek()).remaining == 1


# --- threads


@pytest.fixture
def control_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, whatever the test runner has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("control_c")
def test_control_c_gives_the_place_of_a_waiting_thread_back(server: RunningServer, client: redis.Redis) -> None:
    """The signal itself, while the main thread waits."""
    with redisopt.Throttler(client, "test", rates=["2/min"]) as throttler:
        throttler.try_acquire(cost=2)
        before = logs(client)

        def press() -> None:
            wait_until(lambda: throttler.metrics().queue_length == 1)
            os.kill(os.getpid(), signal.SIGINT)

        presser = threading.Thread(target=press)
        presser.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            throttler.acquire()
        presser.join()

        assert (logs(client), line(client)) == (before, [])
        assert time.monotonic() - started < 10


def test_a_grant_whose_reply_was_cut_off_is_taken_back_though_another_config_came_between(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes after the server has granted and before the reply was read; meanwhile the periods on record changed."""
    throttler = redisopt.Throttler(client, "test", rates=["5/min"])
    other = redisopt.Throttler(client, "test", rates=["9/h"])
    throttler.try_acquire()
    send = redisopt.links.Links.send

    def send_and_be_interrupted(*args: Any) -> None:
        monkeypatch.setattr(redisopt.links.Links, "send", send)
        send(*args)
        other.try_acquire()
        raise KeyboardInterrupt

    monkeypatch.setattr(redisopt.links.Links, "send", send_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        throttler.try_acquire(cost=3)

    assert throttler.peek().remaining == 3
    throttler.close()
    other.close()
