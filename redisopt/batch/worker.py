"""Workers of a batcher: as all workers (see `workers`), and at their end they give back what they had asked for without a reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

from redisopt.batch.working import Work
from redisopt.errors import RedisOptError
from redisopt.runner import AsyncRunner, Runner
from redisopt.workers import AsyncWorker, Worker


def _nobody_is_told() -> None:
    """That it has stopped."""


class BatchWorker(Worker):
    """Works in threads.

    Attributes:
        stopped: called when it has stopped.
    """

    def __init__(self, runner: Runner, work: Work, name: str, *, concurrency: int, grace: float) -> None:
        super().__init__(runner, work, name, concurrency=concurrency, grace=grace)
        self._work = work
        self.stopped: Callable[[], None] = _nobody_is_told

    def start(self) -> Self:
        """See `Worker.start`.

        Raises:
            ConfigConflict: another process has other triggers, and `on_conflict` is "raise".
        """
        if not self.is_working:
            self._runner.run(self._work.begin())
        stopped, self.stopped = self.stopped, _nobody_is_told  # one that could not start has not worked
        try:
            return super().start()
        finally:
            self.stopped = stopped

    def _end(self) -> None:
        with suppress(RedisOptError):
            self._runner.run(self._work.end())
        self.stopped()


class AsyncBatchWorker(AsyncWorker):
    """Works in tasks of the running event loop; `stopped` is awaited."""

    def __init__(self, runner: AsyncRunner, work: Work, name: str, *, concurrency: int, grace: float) -> None:
        super().__init__(runner, work, name, concurrency=concurrency, grace=grace)
        self._work = work
        self.stopped: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> Self:
        """See `BatchWorker.start`."""
        if not self.is_working:
            await self._runner.run(self._work.begin())
        stopped, self.stopped = self.stopped, None
        try:
            return await super().start()
        finally:
            self.stopped = stopped

    async def _end(self) -> None:
        with suppress(RedisOptError):
            await self._runner.run(self._work.end())
        if self.stopped is not None:
            await self.stopped()
