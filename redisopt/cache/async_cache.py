"""`AsyncCache`: the twin of `Cache` for asyncio."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar, overload

import redis.asyncio

from redisopt.cache.config import CacheConfig
from redisopt.cache.outcome import CacheEntry, CacheMetrics
from redisopt.cache.plans import CachePlans, CachePolicy, calling
from redisopt.cache.terms import Key, Tags, Terms
from redisopt.faces import AsyncFace
from redisopt.functions import check_function
from redisopt.policies import Bound, Policy
from redisopt.runner import AsyncRunner

P = ParamSpec("P")
R = TypeVar("R")


class AsyncCache(AsyncFace[CacheConfig]):
    """Values that take long to compute, kept for the whole fleet, and computed by one process at a time; see `Cache`.

    >>> cache = AsyncCache(client, "geo", ttl=300, stale_for=3600)
    >>> await cache.get_or_compute("ulm", locate, "Ulm")

    A task that is cancelled while it computes gives its lease back: one of those that wait computes next.

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, fields: as `Cache`.

    Raises:
        ValueError, pydantic.ValidationError: as `Cache`.
    """

    _plans: CachePlans

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: CacheConfig | None = None,
        **fields: Any,
    ) -> None:
        config = CacheConfig.given(config, fields)
        self._plans = CachePlans(name, config, clustered=isinstance(client, redis.asyncio.RedisCluster))
        self._runner = AsyncRunner(client, config.command_timeout)
        self._plans.attach(self._runner)

    # --- values

    async def get_or_compute(
        self,
        key: str,
        function: Callable[..., Awaitable[R]],
        /,
        *args: Any,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        timeout: float | None = None,
        **kwargs: Any,
    ) -> R:
        """See `Cache.get_or_compute`; of a coroutine function."""
        check_function(function, "function", awaited=True, instead="a Cache")
        value: R = await self._runner.run(
            self._plans.get_or_compute(key, calling(function, args, kwargs), ttl, tags, timeout)
        )
        return value

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, *, key: Key = None, ttl: float | None = None, tags: Tags = (), timeout: float | None = None
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        key: Key = None,
        ttl: float | None = None,
        tags: Tags = (),
        timeout: float | None = None,
    ) -> Callable[..., Any]:
        """Decorate a coroutine function; see `Cache.__call__`."""
        decorate = functools.partial(self._decorate, Terms(key, ttl, tags, timeout))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=True, instead="a Cache")
        self._plans.check_terms(terms, function)

        @functools.wraps(function)
        async def cached(*args: Any, **kwargs: Any) -> Any:
            return await self._runner.run(self._plans.call(terms, function, args, kwargs))

        return cached

    def policy(
        self, key: str, *, ttl: float | None = None, tags: Sequence[str] = (), timeout: float | None = None
    ) -> Policy:
        """See `Cache.policy`."""
        return Bound(CachePolicy(self._plans, Terms(key, ttl, tags, timeout)), self._runner)

    async def get(self, key: str, default: Any = None) -> Any:
        """See `Cache.get`."""
        return await self._runner.run(self._plans.get(key, default))

    async def set(self, key: str, value: Any, *, ttl: float | None = None, tags: Sequence[str] = ()) -> None:
        """See `Cache.set`."""
        await self._runner.run(self._plans.set(key, value, ttl, tags))

    async def delete(self, key: str) -> bool:
        """See `Cache.delete`."""
        return await self._runner.run(self._plans.delete(key))

    async def invalidate(self, tag: str) -> None:
        """See `Cache.invalidate`."""
        await self._runner.run(self._plans.invalidate(tag))

    # --- looking

    async def peek(self, key: str) -> CacheEntry:
        """See `Cache.peek`."""
        return await self._runner.run(self._plans.peek(key))

    async def metrics(self) -> CacheMetrics:
        """See `Cache.metrics`."""
        return await self._runner.run(self._plans.metrics())

    # --- the end

    async def aclose(self) -> None:
        """See `Cache.close`. What is being refreshed in this event loop is cancelled, and waited for no longer than two seconds."""
        try:
            await self._runner.run(self._plans.end())
        finally:
            await self._runner.aclose()
