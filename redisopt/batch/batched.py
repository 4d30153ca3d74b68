"""`batched`: a function of a list becomes a function of one item, over all processes that call it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import redis
import redis.asyncio

from redisopt.batch.async_batcher import AsyncBatcher
from redisopt.batch.batcher import Batcher
from redisopt.batch.config import BatchConfig
from redisopt.identity import process_id
from redisopt.shifts import check_worker
from redisopt.workers import AsyncWorker, Worker

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
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._process = process_id()

    def __call__(self, item: Any, /, key: str = "", *, timeout: float | None = None) -> R:
        """The result of one item. Raises what `Batcher.call` raises."""
        self._work()
        return self.batcher.call(item, key, timeout=timeout)  # type: ignore[no-any-return]

    def _work(self) -> None:
        if self._process != process_id():  # a forked child has none of its parent's threads
            self._process, self._lock, self._worker = process_id(), threading.Lock(), None
        if self._concurrency and self._worker is None:
            with self._lock:
                if self._worker is None:
                    worker = self.batcher.worker(self._concurrency)
                    worker.start()
                    self._worker = worker

    def close(self) -> None:
        """Stop its worker."""
        self.batcher.close()
        self._worker = None


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
        self._workers: dict[asyncio.AbstractEventLoop, AsyncWorker] = {}
        self._process = process_id()

    async def __call__(self, item: Any, /, key: str = "", *, timeout: float | None = None) -> R:
        """The result of one item. Raises what `AsyncBatcher.call` raises."""
        await self._work()
        return await self.batcher.call(item, key, timeout=timeout)  # type: ignore[no-any-return]

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        if self._process != process_id():
            self._process, self._workers = process_id(), {}
        if self._concurrency and loop not in self._workers:
            self._workers = {other: worker for other, worker in self._workers.items() if not other.is_closed()}
            worker = self._workers[loop] = self.batcher.worker(self._concurrency)
            await worker.start()

    async def aclose(self) -> None:
        """Stop its worker in the running event loop."""
        await self.batcher.aclose()
        self._workers.pop(asyncio.get_running_loop(), None)


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
