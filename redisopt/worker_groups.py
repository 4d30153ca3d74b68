"""Several workers that start and stop together: all of them work, or none.

A stop tells all of them at first, so that none takes something new while others are waited for, and their graces run at
the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from redisopt import events
from redisopt.workers import WORKS_ALREADY, AsyncWorker, Worker

W = TypeVar("W", Worker, AsyncWorker)


class _Group(Generic[W]):
    """What both kinds have in common."""

    def __init__(self, workers: Iterable[W]) -> None:
        self._workers: list[W] = list(workers)

    def _check_idle(self) -> None:
        if any(worker.is_working for worker in self._workers):
            raise ValueError(WORKS_ALREADY)

    def stop_taking(self) -> None:
        """Take nothing more. A `stop` that follows waits until their grace after this. Tasks: in their event loop."""
        for worker in self._workers:
            worker.stop_taking()


class WorkerGroup(_Group[Worker]):
    """Workers in threads. Enter it, or `start` and `stop` it."""

    def start(self) -> Self:
        """Work in the background from now on. Where one cannot start, or Ctrl-C comes, those that have are stopped.

        Raises:
            ValueError: it works already.
            ConfigConflict: another process has other triggers for a batch, and `on_conflict` is "raise".
        """
        self._check_idle()
        try:
            for worker in self._workers:
                worker.start()
        except BaseException:
            for error in self._stop():
                events.logger.error("a worker that others were to work with could not stop: %r", error)
            raise
        return self

    def stop(self) -> None:
        """Take nothing more, wait for what is under way for some seconds, the same for all, and give the rest back.

        Each is stopped, whatever the others raise; then the first error is raised. After Ctrl-C what is under way is not
        waited for.
        """
        _raise_first(self._stop())

    def _stop(self) -> list[BaseException]:
        """Stop them; returns what they raised."""
        errors: list[BaseException] = []
        for worker in self._workers:
            try:
                worker.stop_taking()
            except BaseException as error:
                errors.append(error)
        for worker in self._workers:
            try:
                worker.stop(wait=all(isinstance(error, Exception) for error in errors))
            except BaseException as error:
                errors.append(error)
        return errors

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


class AsyncWorkerGroup(_Group[AsyncWorker]):
    """As `WorkerGroup`, in tasks of the running event loop."""

    async def start(self) -> Self:
        """As `WorkerGroup.start`; a task that is cancelled meanwhile stops those that have started."""
        self._check_idle()
        try:
            for worker in self._workers:
                await worker.start()
        except BaseException:
            for error in await self._stop():
                events.logger.error("a worker that others were to work with could not stop: %r", error)
            raise
        return self

    async def stop(self) -> None:
        """As `WorkerGroup.stop`. Cancelled, it cancels what is under way, which is given back."""
        _raise_first(await self._stop())

    async def _stop(self) -> list[BaseException]:
        errors: list[BaseException] = []
        for worker in self._workers:
            try:
                worker.stop_taking()
            except Exception as error:  # such as of an event loop that was closed
                errors.append(error)
        caller: asyncio.Task[Any] | None = asyncio.current_task()
        stops = (worker.stop(caller=caller) for worker in self._workers)
        outcomes = await asyncio.gather(*stops, return_exceptions=True)
        return [*errors, *(outcome for outcome in outcomes if outcome is not None)]

    async def __aenter__(self) -> Self:
        """Start it."""
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()


def _raise_first(errors: list[BaseException]) -> None:
    for error in errors[1:]:
        events.logger.error("another worker of the same group could not stop, either: %r", error)
    if errors:
        raise errors[0]
