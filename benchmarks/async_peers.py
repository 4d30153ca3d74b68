"""The peers' async sides, each set up for the same limit on the same server, with a pool that waits rather than fails."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio

from benchmarks.peers import LIMIT

Ask = Callable[[], Awaitable[Any]]
_CONNECTIONS = 64


async def async_peers(url: str) -> dict[str, Ask]:
    """A coroutine function per peer that asks for one permit; those not installed are left out."""
    found: dict[str, Ask] = {}
    if importlib.util.find_spec("limits"):
        found["limits, moving window"] = _limits(_pool(url))
    if importlib.util.find_spec("pyrate_limiter"):
        found["PyrateLimiter, RedisBucket"] = await _pyrate(_pool(url))
    if importlib.util.find_spec("throttled"):
        found["throttled-py, sliding window"] = _throttled(_pool(url))
    return found


def _pool(url: str) -> redis.asyncio.ConnectionPool:
    return redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS)


def _limits(pool: redis.asyncio.ConnectionPool) -> Ask:
    limits: Any = importlib.import_module("limits")
    storages: Any = importlib.import_module("limits.aio.storage")
    strategies: Any = importlib.import_module("limits.aio.strategies")
    storage = storages.RedisStorage("async+redis://localhost:6379", implementation="redispy", connection_pool=pool)
    window = strategies.MovingWindowRateLimiter(storage)
    item = limits.parse(f"{LIMIT} per second")
    return lambda: window.hit(item, "key")


async def _pyrate(pool: redis.asyncio.ConnectionPool) -> Ask:
    pyrate_limiter: Any = importlib.import_module("pyrate_limiter")
    bucket = await pyrate_limiter.RedisBucket.init(
        [pyrate_limiter.Rate(100_000, pyrate_limiter.Duration.SECOND)],
        redis.asyncio.Redis(connection_pool=pool),
        "pyrate",
    )
    limiter = pyrate_limiter.Limiter(bucket)
    return lambda: limiter.try_acquire_async("key", blocking=False)


def _throttled(pool: redis.asyncio.ConnectionPool) -> Ask:
    throttled: Any = importlib.import_module("throttled.asyncio")
    # Its store takes TCP addresses only, so its client is put in.
    store = throttled.RedisStore(server="redis://localhost:6379")
    store._backend._client = redis.asyncio.Redis(connection_pool=pool)
    throttle = throttled.Throttled(
        using="sliding_window", quota=throttled.per_sec(LIMIT), store=store, key="key", timeout=-1
    )
    ask: Ask = throttle.limit
    return ask
