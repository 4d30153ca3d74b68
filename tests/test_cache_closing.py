"""An async cache that is closed while it refreshes values in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

import redisopt
from redisopt.driving import TO_END
from tests.servers import RunningServer


async def begin_refresh(cache: redisopt.AsyncCache, function: Callable[[], Any]) -> None:
    """Have a stale value refreshed by `function`."""
    await cache.set("k", "old", ttl=0.05)
    while not (await cache.peek("k")).stale:
        await asyncio.sleep(0.01)
    assert await cache.get_or_compute("k", function) == "old"


async def test_a_refresh_that_heeds_no_cancellation_does_not_keep_a_cache_from_closing(
    server: RunningServer, client: redis.Redis
) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def compute() -> str:
        begun.set()
        while not end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await end.wait()
        return "new"

    async with redis.asyncio.from_url(server.url) as own:
        cache = redisopt.AsyncCache(own, "c", stale_for=60, early_refresh=0, command_timeout=5)
        await begin_refresh(cache, compute)
        await begun.wait()
        closing = asyncio.create_task(cache.aclose())
        await asyncio.wait([closing], timeout=TO_END + 10)
        is_closed = closing.done()
        end.set()
        await closing
        assert is_closed


async def test_a_refresh_may_close_its_cache(server: RunningServer, client: redis.Redis) -> None:
    over = asyncio.Event()

    async def compute() -> str:
        await cache.aclose()
        over.set()
        return "new"

    async with redis.asyncio.from_url(server.url) as own:
        cache = redisopt.AsyncCache(own, "c", stale_for=60, early_refresh=0, command_timeout=5)
        await begin_refresh(cache, compute)
        await asyncio.wait_for(over.wait(), 20)
        await cache.aclose()
