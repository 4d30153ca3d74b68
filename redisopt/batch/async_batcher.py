"""`AsyncBatcher`: items of many processes, handed out together, for tasks."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import redis.asyncio

from redisopt.batch.adding import given_id, wish
from redisopt.batch.config import BatchConfig, LimitBy
from redisopt.batch.contract import checked_handler
from redisopt.batch.gathering import Gathering
from redisopt.batch.helping import AsyncHelping
from redisopt.batch.inbox import Inbox
from redisopt.batch.outcome import DeadItem
from redisopt.batch.plans import GRACE, BatchPlans
from redisopt.batch.progress import Progress
from redisopt.batch.telling import BatchMetrics
from redisopt.batch.ticket import AsyncBatchTicket
from redisopt.batch.worker import AsyncBatchWorker
from redisopt.faces import AsyncFace
from redisopt.functions import checked_stop
from redisopt.limiters import Limiter
from redisopt.monitor.async_monitor import AsyncPerformanceMonitor
from redisopt.runner import AsyncRunner
from redisopt.worker_groups import AsyncWorkerGroup

H = TypeVar("H", bound=Callable[..., Any])


class AsyncBatcher(AsyncFace[BatchConfig]):
    """Items that any process adds are handed out in batches to whoever works; see `Batcher`.

    Items that tasks of one event loop add at the same time travel together.

    >>> batcher = AsyncBatcher(client, "embed", max_size=64, max_delay=0.05)
    >>> @batcher.handler
    ... async def embed(texts):
    ...     return await model.encode(texts)
    >>> async with batcher.worker(concurrency=2):
    ...     vector = await batcher.call("a text")

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, limit_by, fields: as `Batcher`.
        handler: a coroutine function, as the decorator `handler` takes it.
        limiter: as `Batcher`, but an `AsyncThrottler`.
        monitor: an `AsyncPerformanceMonitor`.

    Raises:
        ValueError, pydantic.ValidationError: as `Batcher`.
    """

    _plans: BatchPlans

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: BatchConfig | None = None,
        *,
        handler: Callable[..., Any] | None = None,
        limiter: Limiter | None = None,
        limit_by: LimitBy = "batch",
        monitor: AsyncPerformanceMonitor | None = None,
        **fields: Any,
    ) -> None:
        given = BatchConfig.given(config, fields)
        checked = None if handler is None else checked_handler(handler, awaited=True)
        self._plans = BatchPlans(name, given, checked, limiter, limit_by, monitor, awaited=True)
        self._runner = AsyncRunner(client, given.command_timeout)
        self._plans.attach(self._runner)
        self._joining: dict[asyncio.AbstractEventLoop, asyncio.Task[Inbox]] = {}
        self._gathering = Gathering(self._runner, self._plans)
        self._workers: weakref.WeakSet[AsyncBatchWorker] = weakref.WeakSet()
        self._of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncHelping] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:
        """What the batches are of."""
        return self._plans.asking.name

    @property
    def config(self) -> BatchConfig:
        """The config that it was made with."""
        return self._plans.config

    # --- adding

    def _ticket(self, item_id: str) -> AsyncBatchTicket:
        return AsyncBatchTicket(self._runner, self._plans, item_id)

    async def add(
        self, item: Any, key: str = "", *, id: str | None = None, priority: int = 0, timeout: float | None = None
    ) -> AsyncBatchTicket:
        """See `Batcher.add`. A task that is cancelled meanwhile may have added it all the same."""
        return await self._add(item, key, id, priority, timeout, listens=False)

    async def _add(
        self, item: Any, key: str, item_id: str | None, priority: int, timeout: float | None, *, listens: bool
    ) -> AsyncBatchTicket:
        loop = asyncio.get_running_loop()
        if timeout is not None and self.config.overflow == "block":  # it would hold up the others
            plan = self._plans.add(self._ticket, [(item, key, item_id, priority)], loop, timeout, listens=listens)
            return (await self._runner.run(plan))[0]
        inbox = await self._inbox(loop)
        stored = inbox.next_id() if item_id is None else given_id(item_id)
        return await self._gathering.add(wish(self.config, item, key, stored, priority), inbox, listens=listens)

    async def _inbox(self, loop: asyncio.AbstractEventLoop) -> Inbox:
        """The first time, many tasks may ask for it at once, and one call is made for all."""
        known = self._plans.known_inbox(loop)
        if known is not None:
            return known
        joining = self._joining.get(loop)
        if joining is None:
            joining = self._joining[loop] = loop.create_task(self._runner.run(self._plans.inbox(loop)))
            joining.add_done_callback(lambda _: self._joining.pop(loop, None))
        return await asyncio.shield(joining)

    async def add_many(
        self,
        items: Iterable[Any],
        key: str | Callable[[Any], str] = "",
        *,
        ids: Sequence[str] | None = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> list[AsyncBatchTicket]:
        """See `Batcher.add_many`."""
        loop = asyncio.get_running_loop()
        return await self._runner.run(self._plans.add_many(self._ticket, items, key, ids, priority, loop, timeout))

    async def call(
        self, item: Any, key: str = "", *, id: str | None = None, priority: int = 0, timeout: float | None = None
    ) -> Any:
        """See `Batcher.call`. A task that is cancelled meanwhile leaves the item to be run."""
        ticket = await self._add(item, key, id, priority, timeout, listens=True)
        return await ticket.result(timeout)

    async def result(self, id: str, timeout: float | None = None) -> Any:
        """See `Batcher.result`."""
        return await self._runner.run(self._plans.result_of(id, timeout))

    async def map(
        self,
        items: Iterable[Any],
        key: str | Callable[[Any], str] = "",
        *,
        priority: int = 0,
        on_progress: Callable[[Progress], object] | None = None,
        run_id: str | None = None,
        ordered: bool = True,
        errors: str = "raise",
        timeout: float | None = None,
    ) -> list[Any]:
        """See `Batcher.map`."""
        loop = asyncio.get_running_loop()
        plan = self._plans.map(items, key, priority, run_id, on_progress, errors, timeout, loop, ordered=ordered)
        if self._plans.handler is None:
            return await self._runner.run(plan)
        async with self._helping():
            return await self._runner.run(plan)

    def _helping(self) -> AsyncHelping:
        """Of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._of_loops:
            self._of_loops[loop] = AsyncHelping(self.worker, self._others_work)
        return self._of_loops[loop]

    def _others_work(self) -> bool:
        helping = [each.worker for each in self._of_loops.values()]
        return any(worker.is_working for worker in list(self._workers) if worker not in helping)

    # --- working

    def handler(self, function: H) -> H:
        """See `Batcher.handler`; a coroutine function.

        Raises:
            ValueError: it cannot be called so, or is no coroutine function; or there is one already.
        """
        self._plans.register(function, awaited=True)
        return function

    def worker(self, concurrency: int = 1, *, grace: float = GRACE) -> AsyncBatchWorker:
        """See `Batcher.worker`: ``async with batcher.worker(): ...``. What outlives `grace` is cancelled."""
        work = self._plans.work(concurrency, grace)
        worker = AsyncBatchWorker(
            self._runner, work, f"redisopt-batch-{self.name}", concurrency=concurrency, grace=grace
        )
        worker.stopped = self._look  # maps that go on need somebody who works
        self._workers.add(worker)
        return worker

    async def _look(self) -> None:
        await self._helping().look()

    @property
    def works(self) -> bool:
        """Whether a worker of this object runs in this process."""
        return any(worker.is_working for worker in list(self._workers))

    async def run(self, stop: asyncio.Event | None = None, *, concurrency: int = 1, grace: float = GRACE) -> None:
        """Work until `stop` is set, or the task is cancelled. Arguments as `worker`.

        Raises:
            ValueError, ConfigConflict: as `worker`; or `stop` is not an event of asyncio.
        """
        event = asyncio.Event() if stop is None else checked_stop(stop, awaited=True)
        async with self.worker(concurrency, grace=grace):
            await event.wait()

    # --- telling and looking

    async def flush(self, key: str | None = None) -> None:
        """See `Batcher.flush`."""
        await self._runner.run(self._plans.telling.flush(key))

    async def pause(self) -> None:
        """See `Batcher.pause`."""
        await self._runner.run(self._plans.telling.pause())

    async def resume(self) -> None:
        """See `Batcher.resume`."""
        await self._runner.run(self._plans.telling.resume())

    async def cancel(self, id: str) -> bool:
        """See `Batcher.cancel`."""
        return await self._runner.run(self._plans.cancel(id))

    async def cancel_key(self, key: str) -> int:
        """See `Batcher.cancel_key`."""
        return await self._runner.run(self._plans.telling.cancel_key(key))

    async def dead(self, count: int = 100, after: int = 0) -> list[DeadItem]:
        """See `Batcher.dead`."""
        return await self._runner.run(self._plans.telling.dead(count, after))

    async def replay(self, ids: Iterable[str] | None = None) -> int:
        """See `Batcher.replay`."""
        return await self._runner.run(self._plans.telling.replay(ids))

    async def metrics(self) -> BatchMetrics:
        """See `Batcher.metrics`."""
        return await self._runner.run(self._plans.telling.metrics())

    # --- the end

    async def aclose(self) -> None:
        """See `Batcher.close`; stops the workers of the running event loop."""
        for worker in list(self._workers):
            worker.stopped = None
        try:
            await AsyncWorkerGroup(self._workers).stop()
        finally:
            await self._runner.aclose()
