"""Callers of `map` that work as well: where nobody does in their process, one worker for all of them, until the last one ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from redisopt.batch.worker import AsyncBatchWorker, BatchWorker
from redisopt.identity import process_id


class Helping:
    """The maps of one batcher that are under way, for threads. Enter it for each of them.

    Args:
        others_work: whether other workers of the batcher work.
        make: a worker.
    """

    def __init__(self, others_work: Callable[[], bool], make: Callable[[], BatchWorker]) -> None:
        self._others_work = others_work
        self._make = make
        self._begin()

    def _begin(self) -> None:
        self._process, self._lock = process_id(), threading.Lock()
        self._maps = 0
        self.worker: BatchWorker | None = None

    def look(self) -> None:
        """Work, if there is a map under way and nobody works."""
        with self._lock:
            if self._maps and self.worker is None and not self._others_work():
                self.worker = self._make().start()

    def __enter__(self) -> None:
        """A map begins."""
        if self._process != process_id():  # a forked child has none of its parent's threads
            self._begin()
        with self._lock:
            self._maps += 1
        try:
            self.look()
        except BaseException:
            with self._lock:
                self._maps -= 1
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It ends."""
        over = None
        with self._lock:
            self._maps -= 1
            if not self._maps:
                over, self.worker = self.worker, None
        if over is not None:
            over.stop()


class AsyncHelping:
    """As `Helping`, for the tasks of one event loop."""

    def __init__(self, others_work: Callable[[], bool], make: Callable[[], AsyncBatchWorker]) -> None:
        self._others_work = others_work
        self._make = make
        self._maps = 0
        self.worker: AsyncBatchWorker | None = None

    async def look(self) -> None:
        """As `Helping.look`."""
        if self._maps and self.worker is None and not self._others_work():
            self.worker = self._make()
            try:
                await self.worker.start()
            except BaseException:
                self.worker = None
                raise

    async def __aenter__(self) -> None:
        """As `Helping.__enter__`."""
        self._maps += 1
        try:
            await self.look()
        except BaseException:
            self._maps -= 1
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `Helping.__exit__`."""
        self._maps -= 1
        if not self._maps:
            over, self.worker = self.worker, None
            if over is not None:
                await over.stop()
