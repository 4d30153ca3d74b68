"""Many calls at once in one process: any number shares one client, its few connections and its few lanes."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

import pytest
import redis
import redis.asyncio

import redisopt
from tests.clock import ServerClock
from tests.faces import Face
from tests.fleet import LIMIT, PLENTY, at_millisecond, charged, in_threads, lanes
from tests.outages import in_time, stopped
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize("options", [{}, {"max_connections": 4}])
def test_any_number_of_tasks_share_one_async_client(
    server: RunningServer, client: redis.Redis, options: dict[str, int]
) -> None:
    """256 at once never run out of connections, whatever the client's pool allows, and are granted in the order of asking."""

    async def acquire_all() -> list[int]:
        async with (
            redis.asyncio.from_url(server.url, **options) as own,
            redisopt.AsyncThrottler(own, "fleet", **PLENTY) as throttler,
        ):
            permits = [
                permit for _ in range(4) for permit in await asyncio.gather(*(throttler.acquire() for _ in range(256)))
            ]
            return [at_millisecond(permit) for permit in permits]

    times = asyncio.run(acquire_all())
    with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        assert len(times) == 1024 == charged(throttler)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncio's word on a loop that ends with connections open
def test_one_async_throttler_serves_one_event_loop_after_another(server: RunningServer, client: redis.Redis) -> None:
    """As in a program that calls asyncio.run for each job; what the earlier loops had connected is closed."""
    throttler = redisopt.AsyncThrottler(redis.asyncio.from_url(server.url), "fleet", **PLENTY)

    async def call(last: bool) -> int:
        await asyncio.gather(*[throttler.acquire() for _ in range(8)])
        used = LIMIT - (await throttler.peek()).remaining
        if last:
            await throttler.aclose()
        return used

    before = client.info("clients")["connected_clients"]
    assert [asyncio.run(call(last)) for last in (False, False, True)] == [8, 16, 24]
    gc.collect()
    wait_until(lambda: client.info("clients")["connected_clients"] <= before)


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_client_has_as_many_lanes_as_calls_under_way(server: RunningServer, client: redis.Redis, kind: str) -> None:
    """After 10,000 calls, not 10,000: what a limiter remembers of its callers does not grow with what they do."""

    def call_in_thread(throttler: redisopt.Throttler) -> None:
        for _ in range(1250):
            throttler.try_acquire()

    async def call_in_tasks() -> None:
        async def call(throttler: redisopt.AsyncThrottler) -> None:
            for _ in range(50):
                await throttler.try_acquire()

        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncThrottler(own, "fleet", **PLENTY) as throttler,
        ):
            await asyncio.gather(*(call(throttler) for _ in range(200)))

    if kind == "threads":
        with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
            in_threads([lambda: call_in_thread(throttler)] * 8)
    else:
        asyncio.run(call_in_tasks())
    with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        assert charged(throttler) == 10_000
    assert 1 <= len(lanes(client)) <= {"threads": 8, "tasks": 32}[kind]


def test_lanes_of_clients_that_are_gone_go_away(
    make_throttler: Callable[..., Face], client: redis.Redis, clock: ServerClock
) -> None:
    """After a minute of silence newcomers sweep them out, a few at a time."""
    for _ in range(60):
        make_throttler("fleet", **PLENTY).try_acquire()
    clock.advance(61)
    newcomers = 20
    for _ in range(newcomers):
        make_throttler("fleet", **PLENTY).try_acquire()
    assert len(lanes(client)) <= newcomers + 10


# --- turns


def test_a_server_that_is_silent_fails_a_crowd_as_soon_as_a_single_call(
    server: RunningServer, client: redis.Redis
) -> None:
    """Whoever waits for a turn gives up with those that have one, and most have sent nothing."""

    async def crowd() -> list[object]:
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncThrottler(own, "fleet", rates=["1000/h"]) as throttler,
        ):
            await throttler.try_acquire()
            with stopped(server), in_time():
                found: list[object] = await asyncio.gather(
                    *(throttler.try_acquire() for _ in range(512)), return_exceptions=True
                )
                return found

    results = asyncio.run(crowd())
    assert {type(result) for result in results} == {redisopt.Unavailable}


def test_a_burst_that_takes_longer_than_the_command_timeout_is_served(
    server: RunningServer, client: redis.Redis
) -> None:
    """The server answers all the time: 10,000 tasks whose calls cannot travel together, with the default of 0.5 s."""

    async def crowd() -> float:
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncThrottler(own, "fleet", rates=[f"{LIMIT}/h"]) as throttler,
        ):
            started = time.monotonic()
            await asyncio.gather(*(throttler.try_acquire(minimum=1) for _ in range(10_000)))
            return time.monotonic() - started

    assert asyncio.run(crowd()) > 0.5
    with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        assert charged(throttler) == 10_000


def test_giving_back_does_not_wait_behind_a_crowd(server: RunningServer, client: redis.Redis) -> None:
    """A waiter is cancelled while many others stand in line for a turn: it is done before them."""

    async def crowd() -> int:
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncThrottler(own, "fleet", rates=["1/h"], command_timeout=20) as throttler,
        ):
            await throttler.acquire()
            waiter = asyncio.create_task(throttler.acquire())
            while (await throttler.metrics()).queue_length < 1:
                await asyncio.sleep(0.005)
            others = [asyncio.create_task(throttler.peek()) for _ in range(2000)]
            await asyncio.sleep(0)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            done = sum(other.done() for other in others)
            await asyncio.gather(*others)
            assert (await throttler.metrics()).queue_length == 0
            return done

    assert asyncio.run(crowd()) < 500
