"""A batcher of either kind behind one face; workers and adders as processes; and what they note of their runs.

`BatchFace` has `Batcher`'s methods; over an `AsyncBatcher` it runs each in an event loop that lives in a thread of its own, so
that workers go on between the calls of a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import redis
import redis.asyncio

import redisopt
from redisopt.identity import process_id
from tests.fleet import FLEET
from tests.live_faces import LoopThread
from tests.waiting import wait_until

PATIENT: Any = {"command_timeout": 10.0}  # the machine may be busy, and that is not what is tested here
RUNS = "redisopt-test:runs"


class BatchFace:
    """A batcher, sync or async, called synchronously. A handler is a plain function, for both kinds."""

    def __init__(self, kind: str, url: str, name: str, handler: Any = None, **fields: Any) -> None:
        self.kind = kind
        self._loop = LoopThread() if kind == "async" else None
        limiter = fields.pop("throttle", None)
        if kind == "sync":
            self.client: Any = redis.from_url(url)
            made = limiter and redisopt.Throttler(self.client, name, **limiter)
            self.real: Any = redisopt.Batcher(
                self.client, name, handler=handler, limiter=made or None, **PATIENT | fields
            )
        else:
            self.client = redis.asyncio.from_url(url)
            made = limiter and redisopt.AsyncThrottler(self.client, name, **limiter)
            self.real = redisopt.AsyncBatcher(
                self.client, name, handler=awaited(handler), limiter=made or None, **PATIENT | fields
            )

    def wait_for(self, result: Any, timeout: float | None = 60) -> Any:
        """The value of what a method gave, awaited where the face is async."""
        return result if self._loop is None else self._loop.do(result, timeout)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.wait_for(getattr(self.real, method)(*args, **kwargs))

    def result(self, ticket: Any, timeout: float | None = 10) -> Any:
        """What an item gave."""
        if isinstance(ticket, str):
            return self.wait_for(self.real.result(ticket, timeout))
        return self.wait_for(ticket.result(timeout))

    @contextlib.contextmanager
    def worker(self, concurrency: int = 1, grace: float = 5.0) -> Iterator[Any]:
        worker = self.real.worker(concurrency, grace=grace)
        self._call(worker.start)
        try:
            yield worker
        finally:
            self._call(worker.stop)

    def _call(self, function: Callable[[], Any]) -> None:
        if self._loop is None:
            function()
            return

        async def call() -> None:
            await function()

        self._loop.do(call())

    def close(self) -> None:
        if self._loop is None:
            self.real.close()
            self.client.close()
        else:
            self._loop.do(self.real.aclose())
            self._loop.do(self.client.aclose())
            self._loop.close()


def awaited(handler: Any) -> Any:
    """A plain handler as a coroutine function."""
    if handler is None:
        return None

    async def handle(items: Any, run: Any) -> Any:
        from redisopt.batch.contract import checked_handler

        return checked_handler(handler, awaited=False)(items, run)

    return handle


class Run(NamedTuple):
    """A call of a handler, as it was noted in Redis.

    Attributes:
        at: when it began, in seconds of the server's clock.
    """

    at: float
    process: str
    items: list[Any]
    ids: list[str]
    attempts: list[int]


class Notes:
    """Where handlers note their runs: in Redis, so that nothing is lost with a process."""

    def __init__(self, url: str) -> None:
        self._client = redis.from_url(url)

    def note(self, items: Any, run: Any) -> None:
        """A handler begins."""
        entry = {"process": process_id(), "items": items, "ids": run.ids, "attempts": run.attempts}
        seconds, micros = self._client.time()
        self._client.rpush(RUNS, json.dumps({"at": seconds + micros / 1e6, **entry}))
        self._client.expire(RUNS, 600)

    def runs(self) -> list[Run]:
        """All runs, in their order."""
        entries: Any = self._client.lrange(RUNS, 0, -1)
        return [Run(**json.loads(entry)) for entry in entries]

    def wait_for(self, number: int, timeout: float = 10) -> list[Run]:
        """The runs, once there are so many."""
        wait_until(lambda: len(self.runs()) >= number, timeout, f"there are not {number} runs")
        return self.runs()

    def now(self) -> float:
        """The server's clock."""
        seconds, micros = self._client.time()
        return float(seconds + micros / 1e6)

    def close(self) -> None:
        self._client.close()


_notes: dict[str, Notes] = {}  # of this process, where they stay open


def noted(url: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A handler that notes its runs."""
    notes = _notes.setdefault(url, Notes(url))

    def handle(items: Any, run: Any) -> Any:
        notes.note(items, run)
        return function(items)

    return handle


# --- in processes


def _work(url: str, name: str, make: Any, kind: str, concurrency: int, fields: Any, ready: Any) -> None:
    handler = make(url)
    throttle = fields.pop("throttle", None)
    if kind == "sync":
        client = redis.from_url(url)
        limiter = None if throttle is None else redisopt.Throttler(client, name, **throttle)
        batcher = redisopt.Batcher(client, name, handler=handler, limiter=limiter, **PATIENT | fields)
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        ready.send(True)
        batcher.run(stopped, concurrency=concurrency, grace=1.0)
        batcher.close()
    else:
        asyncio.run(_work_async(url, name, handler, concurrency, fields, ready))


async def _work_async(url: str, name: str, handler: Any, concurrency: int, fields: Any, ready: Any) -> None:
    batcher = redisopt.AsyncBatcher(redis.asyncio.from_url(url), name, handler=awaited(handler), **PATIENT | fields)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    ready.send(True)
    await batcher.run(stopped, concurrency=concurrency, grace=1.0)
    await batcher.aclose()


class WorkerProcess:
    """A worker in a process of its own. `make` is a module's function of the URL that makes the handler."""

    def __init__(
        self, url: str, name: str, make: Any, *, kind: str = "sync", concurrency: int = 1, **fields: Any
    ) -> None:
        here, ready = FLEET.Pipe(duplex=False)
        self.process = FLEET.Process(
            target=_work, args=(url, name, make, kind, concurrency, fields, ready), daemon=True
        )
        self.process.start()
        ready.close()
        assert here.poll(60), "the worker did not start"
        here.close()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """As by kill -9."""
        self.signal(signal.SIGKILL)
        self.process.join(10)

    def stop(self) -> None:
        """Gracefully."""
        self.signal(signal.SIGTERM)
        self.process.join(20)
        assert self.process.exitcode == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.is_alive():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self.process.join(10)
        if self.process.is_alive():
            self.kill()


def is_idle(batcher: Any) -> bool:
    """Whether there is nothing to be done, by one look at it."""
    metrics = batcher.metrics()
    return not metrics.pending and not metrics.running


def in_process(work: Any, *arguments: Any) -> Any:
    """Start `work` in a process of its own."""
    process = FLEET.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def doubled(items: list[Any]) -> list[Any]:
    """The results of a plain handler."""
    return [2 * item for item in items]


def make_doubling(url: str) -> Any:
    """A handler that notes its runs and doubles."""
    return noted(url, doubled)


def make_slow(url: str) -> Any:
    """One that takes half a second."""

    def handle(items: list[Any]) -> list[Any]:
        time.sleep(0.5)
        return doubled(items)

    return noted(url, handle)
