"""One worker for those who need it: callers of `map` where nobody else works in their process, and functions that are `batched`.

Whoever needs it first starts it. Where that fails, or is cancelled, the next one tries again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from redisopt.batch.worker import AsyncBatchWorker, BatchWorker
from redisopt.identity import process_id


def nobody() -> bool:
    """That no other workers work."""
    return False


class Helping:
    """What needs a worker of one batcher, in threads. Enter it for each map: the last one to end stops the worker.

    Args:
        make: a worker.
        others_work: whether other workers of the batcher work.
        standing: whether it is needed from the first `look` on, and nobody has to enter.

    Attributes:
        worker: that was started.
    """

    def __init__(
        self, make: Callable[[], BatchWorker], others_work: Callable[[], bool] = nobody, *, standing: bool = False
    ) -> None:
        self._make = make
        self._others_work = others_work
        self._standing = standing
        self._begin()

    def _begin(self) -> None:
        self._process, self._lock = process_id(), threading.Lock()
        self._needed = int(self._standing)
        self.worker: BatchWorker | None = None

    @property
    def _works(self) -> bool:
        return self.worker is not None and self.worker.is_working

    def look(self) -> None:
        """Work, if somebody needs it and nobody does so."""
        if self._process != process_id():  # a forked child has none of its parent's threads
            self._begin()
        if self._works:
            return
        with self._lock:
            if self._needed and not self._works and not self._others_work():
                self.worker = self._make().start()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While it is entered nobody needs a worker: what is being closed starts none."""
        with self._lock:
            needed, self._needed = self._needed, 0
        try:
            yield
        finally:
            with self._lock:
                self._needed += needed

    def __enter__(self) -> None:
        """A map begins."""
        if self._process != process_id():
            self._begin()
        with self._lock:
            self._needed += 1
        try:
            self.look()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It ends."""
        over = None
        with self._lock:
            self._needed -= 1
            if not self._needed:
                over, self.worker = self.worker, None
        if over is not None:
            over.stop()


class AsyncHelping:
    """As `Helping`, for the tasks of one event loop."""

    def __init__(
        self, make: Callable[[], AsyncBatchWorker], others_work: Callable[[], bool] = nobody, *, standing: bool = False
    ) -> None:
        self._make = make
        self._others_work = others_work
        self._needed = int(standing)
        self._lock = asyncio.Lock()
        self.worker: AsyncBatchWorker | None = None

    @property
    def _works(self) -> bool:
        return self.worker is not None and self.worker.is_working

    async def look(self) -> None:
        """As `Helping.look`. Who comes while another one starts the worker waits for it, and starts one where that fails."""
        if self._works:
            return
        async with self._lock:
            if self._needed and not self._works and not self._others_work():
                worker = self._make()
                await worker.start()
                self.worker = worker
        await self._end()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """As `Helping.resting`."""
        needed, self._needed = self._needed, 0
        try:
            yield
        finally:
            self._needed += needed

    async def __aenter__(self) -> None:
        """As `Helping.__enter__`."""
        self._needed += 1
        try:
            await self.look()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `Helping.__exit__`."""
        self._needed -= 1
        await self._end()

    async def _end(self) -> None:
        """Stop the worker if nobody needs it any more, as where it was started while the last map ended."""
        if not self._needed:
            over, self.worker = self.worker, None
            if over is not None:
                await over.stop()
