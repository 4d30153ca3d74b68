"""`batched`: a function of a list becomes a function of one item, over all processes that call it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import redis
import redis.asyncio

from redisopt.batch.async_batcher import AsyncBatcher
from redisopt.batch.batcher import Batcher
from redisopt.batch.config import BatchConfig
from redisopt.batch.helping import AsyncHelping, Helping
from redisopt.identity import process_id
from redisopt.shifts import check_worker

R = TypeVar("R")


class Batched(Generic[R]):
    """A function of one item. Its first call starts a worker in this process, unless `concurrency` is 0.

    Attributes:
        batcher: that gathers the items.
    """

    def __init__(self, batcher: Batcher, function: Callable[..., Any], concurrency: int) -> None:
        functools.update_wrapper(self, function)
        self.__name__: str = function.__name__
        self.batcher = batcher
        batcher.handler(function)
        if concurrency != 0:
            check_worker(concurrency, 0, 0)
        self._concurrency = concurrency
        self._helping = Helping(lambda: batcher.worker(concurrency), standing=True)

    def __call__(self, item: Any, /, key: str = "", *, timeout: float | None = None) -> R:
        """The result of one item. Raises what `Batcher.call` raises."""
        if self._concurrency:
            self._helping.look()
        return self.batcher.call(item, key, timeout=timeout)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Stop its worker. Calls that wait go on waiting, until a worker elsewhere has their results, or another call starts one here."""
        with self._helping.resting():
            self.batcher.close()


class AsyncBatched(Generic[R]):
    """A coroutine function of one item: the twin of `Batched`. Calls of one event loop travel to Redis together."""

    def __init__(self, batcher: AsyncBatcher, function: Callable[..., Any], concurrency: int) -> None:
        functools.update_wrapper(self, function)
        self.__name__: str = function.__name__
        self.batcher = batcher
        batcher.handler(function)
        if concurrency != 0:
            check_worker(concurrency, 0, 0)
        self._concurrency = concurrency
        self._of_loops: dict[asyncio.AbstractEventLoop, AsyncHelping] = {}
        self._process = process_id()

    async def __call__(self, item: Any, /, key: str = "", *, timeout: float | None = None) -> R:
        """The result of one item. Raises what `AsyncBatcher.call` raises."""
        if self._concurrency:
            await self._helping().look()
        return await self.batcher.call(item, key, timeout=timeout)  # type: ignore[no-any-return]

    def _helping(self) -> AsyncHelping:
        """Of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._process != process_id():
            self._process, self._of_loops = process_id(), {}
        known = self._of_loops.get(loop)
        if known is None:
            self._of_loops = {other: each for other, each in self._of_loops.items() if not other.is_closed()}
            known = AsyncHelping(lambda: self.batcher.worker(self._concurrency), standing=True)
            self._of_loops[loop] = known
        return known

    async def aclose(self) -> None:
        """Stop its worker in the running event loop."""
        with self._helping().resting():
            await self.batcher.aclose()
        self._of_loops.pop(asyncio.get_running_loop(), None)


def batched(
    client: redis.Redis | redis.RedisCluster,
    name: str,
    config: BatchConfig | None = None,
    *,
    concurrency: int = 1,
    **fields: Any,
) -> Callable[[Callable[..., list[R] | dict[str, R]]], Batched[R]]:
    """Decorate a function of a list: it becomes a function of one item, whose calls are gathered over all processes.

    >>> @batched(client, "embed", max_size=64, max_delay=0.05)
    ... def embed(texts):
    ...     return model.encode(texts)
    >>> vector = embed("a text")

    Args:
        client, name, config, fields: as `Batcher`.
        concurrency: batches that this process runs at once, from its first call on; 0 to leave the work to others.

    Raises:
        ValueError, pydantic.ValidationError: as `Batcher`.
    """
    return lambda function: Batched(Batcher(client, name, config, **fields), function, concurrency)


def async_batched(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
    name: str,
    config: BatchConfig | None = None,
    *,
    concurrency: int = 1,
    **fields: Any,
) -> Callable[[Callable[..., Awaitable[list[R] | dict[str, R]]]], AsyncBatched[R]]:
    """Decorate a coroutine function of a list: the twin of `batched`."""
    return lambda function: AsyncBatched(AsyncBatcher(client, name, config, **fields), function, concurrency)
