"""Workers: a shift (see `shifts`) in the background, in threads or in tasks, and its graceful end.

A stop takes nothing more, waits for what is under way, up to a bound, and then gives that back: somebody else can have it at
once, and does not have to wait until a lease is over.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from redisopt import events
from redisopt.background import now
from redisopt.commands import Plan
from redisopt.driving import TO_END
from redisopt.errors import RedisOptError
from redisopt.identity import process_id
from redisopt.runner import AsyncRunner, Runner
from redisopt.shifts import Job, Shift, Source

WORKS_ALREADY = "the worker works already: make another one, or stop it first"

_TO_HEAR = 0.1
"""Seconds that who takes jobs has at least to hear that it is to stop: a grace may be none at all."""


class Worker:
    """Does in threads what a source has to do. Enter it, or `start` and `stop` it.

    Args:
        runner: performs the plans.
        source: what there is to do.
        name: of the threads.
        concurrency: jobs at once, each in a thread; these stay for as long as the worker. One job at a time is done in the thread
            that takes it, which saves a hand-over.
        grace: seconds that a stop waits for jobs under way before it gives them back. A thread cannot be interrupted: the
            handler goes on, and what it did is refused at its end.
    """

    def __init__(self, runner: Runner, source: Source, name: str, *, concurrency: int, grace: float) -> None:
        self._runner = runner
        self._source = source
        self._name = name
        self._concurrency = concurrency
        self._grace = grace
        self._process = ""
        self._told: float | None = None  # when to take nothing more

    def start(self) -> Self:
        """Work in the background from now on.

        Raises:
            ValueError: it works already.
        """
        if self.is_working:
            raise ValueError(WORKS_ALREADY)
        self._told = None
        self._shift = Shift(self._concurrency)
        self._shift.wake = self._runner.wake
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        alone = self._concurrency == 1
        self._shift.start = self._do if alone else self._queue.put
        self._threads = [
            threading.Thread(target=self._take_turns, name=f"{self._name}-{number}", daemon=True)
            for number in range(0 if alone else self._concurrency)
        ]
        self._taker = threading.Thread(target=self._take, name=self._name, daemon=True)
        try:
            self._process = process_id()
            for thread in (self._taker, *self._threads):
                thread.start()
        except BaseException:  # also Ctrl-C: whoever has no worker stops none
            self.stop()
            raise
        return self

    @property
    def is_working(self) -> bool:
        """Whether it was started in this process, and not stopped."""
        return self._process == process_id()

    def stop_taking(self) -> None:
        """Take nothing more. A `stop` that follows waits until `grace` seconds after this."""
        if self.is_working and self._told is None:
            self._told = now()
            self._shift.stop()

    def stop(self, *, wait: bool = True) -> None:
        """Take nothing more, wait for what is under way for at most `grace` seconds, and give the rest back.

        When called from a job of its own, it does not wait for that one, which is given back and runs again: a handler that
        wants the worker to end sets the event of `run(stop)` instead. Where Ctrl-C ends the wait, the rest is given back as well.

        Args:
            wait: False gives back at once what is under way.
        """
        if not self.is_working:
            return
        self.stop_taking()
        told = now() if self._told is None else self._told
        self._process = ""
        try:
            self._join(told, self._grace if wait else 0.0)
        finally:
            try:
                for job in self._shift.jobs:
                    with suppress(RedisOptError):  # then it is given back when its lease is over
                        self._runner.run(job.give_back())
            finally:
                self._end()

    def _join(self, told: float, grace: float) -> None:
        """Wait for the threads; for the one that takes a moment at least, in which it can hear that it is to stop."""
        until = told + grace
        _join(self._taker, max(until, told + _TO_HEAR))
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            _join(thread, until)

    def _end(self) -> None:
        """What there is to do for the last time, when it has stopped."""

    def _take(self) -> None:
        self._runner.run(self._shift.work(self._source))

    def _take_turns(self) -> None:
        while (job := self._queue.get()) is not None:
            self._do(job)

    def _do(self, job: Job) -> None:
        try:
            self._runner.run(job.perform())
        except BaseException:  # a worker that ends with a job would say that it works
            events.logger.exception("a worker could not say what became of its job: it will be done again")
        finally:
            self._shift.ended(job)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


def _join(thread: threading.Thread, until: float) -> None:
    """Wait for a thread, unless it is this one, or could not be started."""
    if thread is not threading.current_thread() and thread.ident is not None:
        thread.join(max(0.0, until - now()))


class AsyncWorker:
    """As `Worker`, in tasks of the running event loop. What outlives `grace` is cancelled, and gives its work back."""

    def __init__(self, runner: AsyncRunner, source: Source, name: str, *, concurrency: int, grace: float) -> None:
        self._runner = runner
        self._source = source
        self._name = name
        self._concurrency = concurrency
        self._grace = grace
        self._taker: asyncio.Task[None] | None = None
        self._told: float | None = None

    async def start(self) -> Self:
        """As `Worker.start`."""
        if self.is_working:
            raise ValueError(WORKS_ALREADY)
        self._process = process_id()
        self._told = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._shift = Shift(self._concurrency)
        self._shift.wake = self._runner.wake
        self._shift.start = self._start
        self._taker = asyncio.create_task(self._runner.run(self._shift.work(self._source)), name=self._name)
        return self

    @property
    def is_working(self) -> bool:
        """As `Worker.is_working`: also not where its event loop has ended."""
        taker = self._taker
        return (
            taker is not None and self._process == process_id() and not (taker.done() or taker.get_loop().is_closed())
        )

    def stop_taking(self) -> None:
        """As `Worker.stop_taking`; called in an event loop."""
        taker = self._taker
        if taker is None or self._process != process_id() or self._told is not None:
            return
        self._told = now()
        loop = taker.get_loop()
        if loop is asyncio.get_running_loop():
            self._shift.stop()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self._shift.stop)

    async def stop(self, *, caller: asyncio.Task[Any] | None = None) -> None:
        """As `Worker.stop`. A worker of another event loop is told to take nothing more, and not waited for.

        Args:
            caller: a task that is not waited for, where that is another one than the current one.
        """
        if self._taker is None or self._process != process_id():
            return
        self.stop_taking()
        told = now() if self._told is None else self._told
        taker, self._taker = self._taker, None
        loop = taker.get_loop()
        try:
            if loop is asyncio.get_running_loop():
                await self._stop(taker, told, {asyncio.current_task(), caller})
        finally:
            if not loop.is_closed():
                await self._end()

    async def _stop(self, taker: asyncio.Task[None], told: float, callers: set[asyncio.Task[Any] | None]) -> None:
        until = told + self._grace
        try:
            await asyncio.wait([taker], timeout=max(0.0, max(until, told + _TO_HEAR) - now()))
            others = [task for task in self._tasks if task not in callers]
            if others:
                await asyncio.wait(others, timeout=max(0.0, until - now()))
        finally:
            left = [task for task in (taker, *self._tasks) if task not in callers and not task.done()]
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=TO_END)
            for job in self._shift.jobs:  # of handlers that do not heed their cancellation
                with suppress(RedisOptError):
                    await self._runner.run(job.give_back())

    async def _end(self) -> None:
        """As `Worker._end`."""

    def _start(self, job: Job) -> None:
        task = asyncio.create_task(self._do(job), name=f"{self._name}-job")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, job: Job) -> None:
        plan: Plan[object] = job.perform()
        try:
            await self._runner.run(plan)
        except Exception:
            events.logger.exception("a worker could not say what became of its job: it will be done again")
        finally:
            self._shift.ended(job)

    async def __aenter__(self) -> Self:
        """Start it."""
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()
