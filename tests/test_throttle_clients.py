"""Clients of all kinds, shared by several throttlers, closed and used again."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import fakeredis
import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

import redisopt
from redisopt import AsyncThrottler, Throttler
from tests.faces import Face
from tests.lines import stored
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., Face]

CLIENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decoding": {"decode_responses": True},
    "decoding latin": {"decode_responses": True, "encoding": "latin-1"},
    "resp2": {"protocol": 2},
    "resp3": {"protocol": 3},
    "resp3 decoding": {"protocol": 3, "decode_responses": True},
    "timeouts": {"socket_timeout": 5.0, "socket_connect_timeout": 1.0},
    "health checks": {"health_check_interval": 1},
    "named": {"client_name": "web"},
    "one connection": {"max_connections": 1},
    "single connection": {"single_connection_client": True},
}
RETRYING: dict[str, Any] = {"retry_on_error": [redis.ConnectionError, redis.TimeoutError]}


def use(url: str, **arguments: Any) -> list[Any]:
    """What a sync client of this kind is told by every method."""
    with redis.Redis.from_url(url, **arguments) as client, Throttler(client, "test", rates=["2/200ms"]) as throttler:
        permit = throttler.acquire(key="ключ")
        throttler.try_acquire(key="ключ")
        refused = throttler.try_acquire(key="ключ")
        waited = throttler.acquire(key="ключ").waited > 0
        peeked, metrics = throttler.peek("ключ"), throttler.metrics("ключ")
        facts = [refused.reason, waited, peeked.limit, metrics.queue_length, permit.settle(3), permit.refund()]
        throttler.reset("ключ")
        return [*facts, throttler.peek("ключ").remaining]


async def use_async(url: str, **arguments: Any) -> list[Any]:
    """What an async client of this kind is told by every method."""
    async with (
        redis.asyncio.Redis.from_url(url, **arguments) as client,
        AsyncThrottler(client, "test", rates=["2/200ms"]) as throttler,
    ):
        permit = await throttler.acquire(key="ключ")
        await throttler.try_acquire(key="ключ")
        refused = await throttler.try_acquire(key="ключ")
        waited = (await throttler.acquire(key="ключ")).waited > 0
        peeked, metrics = await throttler.peek("ключ"), await throttler.metrics("ключ")
        facts = [
            refused.reason,
            waited,
            peeked.limit,
            metrics.queue_length,
            await permit.settle(3),
            await permit.refund(),
        ]
        await throttler.reset("ключ")
        return [*facts, (await throttler.peek("ключ")).remaining]


def connections_of(client: redis.Redis) -> set[str]:
    """The ids of all connections that the server has."""
    return {connection["id"] for connection in client.client_list()}


EXPECTED = ["2/200ms", True, 2, 0, True, False, 2]


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_sync_client_of_any_kind_will_do(server: RunningServer, client: redis.Redis, kind: str) -> None:
    """The answers do not depend on how it decodes, talks or pools."""
    assert use(server.url, **CLIENTS[kind]) == EXPECTED


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_async_client_of_any_kind_will_do(server: RunningServer, client: redis.Redis, kind: str) -> None:
    """The answers do not depend on how it decodes, talks or pools."""
    assert await use_async(server.url, **CLIENTS[kind]) == EXPECTED


def test_a_sync_client_with_retries_of_its_own_will_do(server: RunningServer, client: redis.Redis) -> None:
    """They are not used for our calls."""
    assert use(server.url, retry=Retry(ExponentialBackoff(), 3), **RETRYING) == EXPECTED


async def test_an_async_client_with_retries_of_its_own_will_do(server: RunningServer, client: redis.Redis) -> None:
    """They are not used for our calls."""
    assert await use_async(server.url, retry=AsyncRetry(ExponentialBackoff(), 3), **RETRYING) == EXPECTED


def test_a_blocking_pool_of_one_serves_many_threads(server: RunningServer, client: redis.Redis) -> None:
    """No call fails for want of a pooled connection."""
    pool = redis.BlockingConnectionPool.from_url(server.url, max_connections=1, timeout=1)
    with (
        redis.Redis(connection_pool=pool) as small,
        Throttler(small, "test", rates=["100/min"], command_timeout=20) as throttler,
    ):
        with ThreadPoolExecutor(16) as threads:
            decisions = list(threads.map(lambda _: throttler.try_acquire(), range(120)))

        assert sum(decision.allowed for decision in decisions) == 100
    pool.disconnect()


def test_a_fakeredis_client_will_do() -> None:
    """For unit tests of users' own code."""
    with Throttler(fakeredis.FakeRedis(), "test", rates=["2/min"]) as throttler:
        assert [bool(throttler.try_acquire()) for _ in range(3)] == [True, True, False]


async def test_an_async_fakeredis_client_will_do() -> None:
    """Also for more tasks at once than calls may be under way."""
    async with (
        fakeredis.FakeAsyncRedis() as fake,
        AsyncThrottler(fake, "test", rates=["60/min"], command_timeout=20) as throttler,
    ):
        decisions = await asyncio.gather(*(throttler.try_acquire() for _ in range(100)))
        assert sum(decision.allowed for decision in decisions) == 60


def test_the_database_of_the_client_is_used(server: RunningServer, client: redis.Redis) -> None:
    """Nothing lands in another."""
    url = f"{server.url}{'&' if '?' in server.url else '?'}{urlencode({'db': 3})}"
    with redis.from_url(url) as other, Throttler(other, "test", rates=["2/s"]) as throttler:
        throttler.try_acquire()

        assert (stored(client), len(stored(other))) == ({}, 1)
        other.flushdb()


# --- closing


def test_a_closed_throttler_can_be_used_again(make_throttler: Make) -> None:
    """It makes its connections anew."""
    throttler = make_throttler(rates=["5/min"])
    throttler.try_acquire()
    for remaining in (3, 2):
        throttler.real.close() if throttler.kind == "sync" else throttler.wait_for(throttler.real.aclose())
        assert throttler.try_acquire().remaining == remaining


def test_to_close_leaves_no_connection_open(server: RunningServer, client: redis.Redis) -> None:
    """Of those that the throttler made."""
    before = connections_of(client)
    throttler = Throttler(client, "test", rates=["5/min"])
    client.ping()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: throttler.try_acquire(), range(8)))
    assert connections_of(client) - before
    throttler.close()

    wait_until(lambda: not connections_of(client) - before)


async def test_to_close_an_async_throttler_leaves_no_connection_open(
    server: RunningServer, client: redis.Redis
) -> None:
    """Of those that the throttler made."""
    client.ping()
    before = connections_of(client)
    async with redis.asyncio.from_url(server.url) as async_client:
        throttler = AsyncThrottler(async_client, "test", rates=["5/min"], command_timeout=20)
        await asyncio.gather(*(throttler.try_acquire() for _ in range(8)))
        assert connections_of(client) - before
        await throttler.aclose()

        await asyncio.to_thread(wait_until, lambda: not connections_of(client) - before)


def test_a_client_that_nobody_uses_any_more_is_collected(server: RunningServer, client: redis.Redis) -> None:
    """What we keep for it does not keep it."""
    own = redis.from_url(server.url)
    throttler = Throttler(own, "test", rates=["5/min"])
    throttler.try_acquire()
    throttler.close()
    gone = weakref.ref(own)
    del own, throttler
    gc.collect()

    assert gone() is None


def test_to_close_a_throttler_leaves_its_client_open(server: RunningServer, client: redis.Redis) -> None:
    """It is the user's."""
    with Throttler(client, "test", rates=["5/min"]) as throttler:
        throttler.try_acquire()

    assert client.ping()


def test_the_with_block_gives_the_throttler_itself(client: redis.Redis) -> None:
    """So that it can be made right there."""
    throttler = Throttler(client, "test", rates=["5/min"])
    with throttler as entered:
        assert entered is throttler


async def test_the_async_with_block_gives_the_throttler_itself(server: RunningServer) -> None:
    """So that it can be made right there."""
    async with redis.asyncio.from_url(server.url) as async_client:
        throttler = AsyncThrottler(async_client, "test", rates=["5/min"])
        async with throttler as entered:
            assert entered is throttler


@pytest.mark.parametrize("times", [1, 3])
def test_to_close_one_throttler_of_a_client_leaves_the_other_working(client: redis.Redis, times: int) -> None:
    """Also when it is closed more than once: the connections of the other stay."""
    first, second = (Throttler(client, name, rates=["5/min"]) for name in ("first", "second"))
    first.try_acquire()
    second.try_acquire()
    connections = connections_of(client)
    for _ in range(times):
        first.close()

    assert second.try_acquire().remaining == 3
    assert connections_of(client) == connections
    second.close()


async def test_to_close_one_async_throttler_of_a_client_leaves_the_other_working(
    server: RunningServer, client: redis.Redis
) -> None:
    """Its connections stay."""
    async with redis.asyncio.from_url(server.url) as async_client:
        first, second = (AsyncThrottler(async_client, name, rates=["5/min"]) for name in ("first", "second"))
        await first.try_acquire()
        await second.try_acquire()
        connections = connections_of(client)
        await first.aclose()

        assert (await second.try_acquire()).remaining == 3
        assert connections_of(client) == connections
        await second.aclose()


def test_an_async_throttler_can_be_used_in_one_loop_after_another(server: RunningServer, client: redis.Redis) -> None:
    """As in scripts that call asyncio.run several times."""
    async_client = redis.asyncio.from_url(server.url)
    throttler = AsyncThrottler(async_client, "test", rates=["5/min"])

    async def use_once() -> int:
        remaining = (await throttler.try_acquire()).remaining
        await throttler.aclose()
        await async_client.aclose()
        return remaining

    assert [asyncio.run(use_once()) for _ in range(3)] == [4, 3, 2]


def test_a_throttler_says_what_it_was_made_with(client: redis.Redis) -> None:
    """Its name and its config."""
    config = redisopt.ThrottleConfig(rates=("5/min",))  # type: ignore[arg-type] # text is read as a rate
    with Throttler(client, "github", config) as throttler:
        assert (throttler.name, throttler.config) == ("github", config)
