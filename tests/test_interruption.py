"""Callers that go away in the middle of a call: what they may have been granted is taken back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import Any

import pytest
import redis

import redisopt
from redisopt import keys
from redisopt.clients import connect_async
from redisopt.scripts import script
from tests.outages import HASTY, PLENTY, charged, make_client
from tests.proxy import Delayed, Fate, Proxy, Words, call_id, is_script
from tests.servers import RunningServer

pytest_plugins = ["tests.outage_fixtures"]


async def cancel(task: asyncio.Task[Any], times: int, dice: random.Random) -> None:
    """Cancel a task, and again so soon that it is still busy with the first."""
    for _ in range(times):
        task.cancel()
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("connected", [True, False])
def test_a_task_cancelled_at_any_moment_leaves_no_charge(
    client: redis.Redis, proxy: Proxy, times: int, connected: bool
) -> None:
    """Before its call, while it is sent or answered, when it is granted: charged is what was given, and no more."""
    dice = random.Random(times)
    given = 0

    async def take(throttler: redisopt.AsyncThrottler) -> None:
        nonlocal given
        await throttler.acquire()
        given += 1

    async def take_or_not(throttler: redisopt.AsyncThrottler) -> None:
        task = asyncio.create_task(take(throttler))
        if dice.random() < 0.2:
            await task
        else:
            await asyncio.sleep(dice.random() * 0.1)
            await cancel(task, times, dice)

    async def storm() -> None:
        one = redisopt.AsyncThrottler(connect_async(proxy.url), "test", **PLENTY)
        await asyncio.gather(*(take(one) for _ in range(40)))
        others = [redisopt.AsyncThrottler(connect_async(proxy.url), "test", **PLENTY) for _ in range(50)]
        with proxy.during(lambda words: Delayed(0.01) if not connected or is_script(words) else Fate.PASS):
            await asyncio.gather(*map(take_or_not, [one] * 100 if connected else others))
        await asyncio.gather(*(throttler.aclose() for throttler in [one, *others]))

    asyncio.run(storm())
    assert given >= 41
    assert charged(client) == given


@pytest.mark.parametrize("times", [1, 2])
def test_waiters_that_are_cancelled_give_their_places_back(
    server: RunningServer, client: redis.Redis, times: int
) -> None:
    """In any order, and however often: the line is empty, and the logs hold what was granted."""
    dice = random.Random(times)

    async def crowd() -> None:
        async with (
            connect_async(server.url) as own,
            redisopt.AsyncThrottler(own, "test", **PLENTY | {"rates": ["50/h"]}) as throttler,
        ):
            tasks = [asyncio.create_task(take(throttler)) for _ in range(90)]
            while (await throttler.metrics()).queue_length < 40:
                await asyncio.sleep(0.01)
            waiting = [task for task in tasks if not task.done()]
            dice.shuffle(waiting)
            await asyncio.gather(*(cancel(task, times, dice) for task in waiting))
            assert (await throttler.metrics()).queue_length == 0

    async def take(throttler: redisopt.AsyncThrottler) -> None:
        await throttler.acquire()

    asyncio.run(crowd())
    assert charged(client) == 50
    assert client.exists(f"{keys.tag('throttle', 'test')}holes") == 0


@pytest.mark.parametrize(
    ("minimum", "taken_back_by"),
    [pytest.param(None, "throttle_refund", id="together"), pytest.param(1, "throttle_undo", id="alone")],
)
def test_a_cancelled_call_is_taken_back_although_the_network_fails_once_more(
    client: redis.Redis, proxy: Proxy, minimum: int | None, taken_back_by: str
) -> None:
    """What takes it back is as safe to repeat as the call, so it is sent again as well.

    Whether the call travels with others or alone, which a minimum makes it do.
    """
    taking_back = []

    def fate(words: Words) -> Fate | Delayed:
        if words[:2] != [b"EVALSHA", script(taken_back_by).sha.encode()]:
            return Delayed(0.1)
        taking_back.append(words)
        return Fate.CUT_REQUEST if len(taking_back) == 1 else Fate.PASS

    async def interrupted() -> None:
        async with connect_async(proxy.url) as own, redisopt.AsyncThrottler(own, "test", **PLENTY) as throttler:
            await throttler.try_acquire()
            with proxy.during(fate):
                task = asyncio.create_task(throttler.try_acquire(minimum=minimum))
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(interrupted())
    assert len(taking_back) >= 1
    assert charged(client) == 1


def test_a_caller_that_is_interrupted_in_a_call_is_not_charged(client: redis.Redis, proxy: Proxy) -> None:
    """Ctrl-C while the reply is under way: the charge is taken back before the exception goes on."""
    calls: list[tuple[bytes, bytes]] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def strike(words: Words) -> Fate | Delayed:
        if not is_script(words) or call_id(words) in calls:
            return Fate.PASS
        calls.append(call_id(words))
        os.kill(os.getpid(), signal.SIGUSR1)
        return Delayed(0.1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with redisopt.Throttler(make_client("sync", "ours", proxy.url), "test", **PLENTY) as throttler:
            throttler.try_acquire()
            with proxy.during(strike), pytest.raises(KeyboardInterrupt):
                throttler.try_acquire()
            assert charged(client) == 1
            assert throttler.try_acquire()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_reply_that_has_come_is_read_however_long_the_event_loop_was_blocked(
    client: redis.Redis, proxy: Proxy
) -> None:
    """A handler that computes for longer than `command_timeout` does not make Redis unavailable."""

    async def block() -> bool:
        async with connect_async(proxy.url) as own, redisopt.AsyncThrottler(own, "test", **HASTY) as throttler:
            await throttler.try_acquire()
            task = asyncio.create_task(throttler.try_acquire())
            await asyncio.sleep(0.05)
            time.sleep(0.7)
            return bool(await task)

    with proxy.during(lambda words: Delayed(0.2) if is_script(words) else Fate.PASS):
        assert asyncio.run(block())
    assert charged(client) == 2
