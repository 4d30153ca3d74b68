"""Workers in the background, in threads or in tasks: started, and stopped without losing anything."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Self

from redisopt import events
from redisopt.errors import RedisOptError

if TYPE_CHECKING:
    from types import TracebackType

    from redisopt.batch.working import Slot, Working
    from redisopt.runner import AsyncRunner, Runner

STOP_TIMEOUT = 5.0
"""Seconds that a worker which stops waits for what it runs, by default."""


class BatchWorker:
    """Threads that claim and run batches. A context manager, which starts and stops them; made by `Batcher.worker`."""

    def __init__(self, runner: Runner, working: Working, name: str) -> None:
        self._runner = runner
        self._working = working
        self._name = name
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to work, in daemon threads."""
        self._threads = [
            threading.Thread(target=self._work, args=(slot,), name=f"redisopt-work-{self._name}", daemon=True)
            for slot in self._working.slots
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, slot: Slot) -> None:
        try:
            self._runner.run(self._working.work(slot))
        except RedisOptError as error:
            events.logger.debug("a worker of %r ended with %s", self._name, error)

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """Claim nothing more, wait for what runs, and give back what is not finished then: others run it at once.

        Args:
            timeout: seconds to wait for handlers that run.

        Returns:
            Whether all handlers have ended. One that has not goes on in its thread, and its results are refused.
        """
        self._working.stop()
        for slot in self._working.slots:
            self._runner.wake(slot.id)
        until = time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        self._runner.run(self._working.give_back())
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def works(self) -> bool:
        """Whether any of its threads runs."""
        return any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        """Begin to work."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


class AsyncBatchWorker:
    """Tasks that claim and run batches: the twin of `BatchWorker`, made by `AsyncBatcher.worker`."""

    def __init__(self, runner: AsyncRunner, working: Working, name: str) -> None:
        self._runner = runner
        self._working = working
        self._name = name
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work, in tasks of the running event loop."""
        self._tasks = [
            asyncio.create_task(self._runner.run(self._working.work(slot)), name=f"redisopt-work-{self._name}")
            for slot in self._working.slots
        ]

    async def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """See `BatchWorker.stop`; handlers that have not ended in time are cancelled."""
        self._working.stop()
        for slot in self._working.slots:
            self._runner.wake(slot.id)
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                events.logger.debug("a worker of %r ended with %s", self._name, task.exception())
        return not late

    @property
    def works(self) -> bool:
        """Whether any of its tasks runs."""
        return any(not task.done() for task in self._tasks)

    async def __aenter__(self) -> Self:
        """Begin to work."""
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()
