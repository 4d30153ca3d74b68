"""The two faces of a debouncer behind one, so that a test is written once and runs on both; and a handler that takes notes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import redis
import redis.asyncio

import redisopt

TERMS: Any = {"command_timeout": 5.0}  # the machine may be busy


class Ran(NamedTuple):
    """One run: when it began, by this process's monotonic clock, what it got, and what it learnt."""

    at: float
    payload: Any
    run: redisopt.Run


class DebounceFace:
    """A debouncer, sync or async, called synchronously. The async one lives in an event loop in a thread of its own.

    Attributes:
        runs: what its handler was called for.
    """

    def __init__(self, kind: str, url: str, name: str = "test", *args: Any, client: Any = None, **fields: Any) -> None:
        self.kind = kind
        self.runs: list[Ran] = []
        self._workers: list[Any] = []
        fields = TERMS | fields
        if kind == "sync":
            self.client: Any = client or redis.from_url(url)
            self.real: Any = redisopt.Debouncer(self.client, name, *args, **fields)
        else:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()
            self.client = client or redis.asyncio.from_url(url)
            self.real = redisopt.AsyncDebouncer(self.client, name, *args, **fields)

    def handle(self, act: Callable[[Any, redisopt.Run], Any] = lambda payload, _: payload) -> None:
        """Register a handler that notes its runs and then does `act`, in a thread where the face is async."""

        def note(payload: Any, run: redisopt.Run) -> Any:
            self.runs.append(Ran(time.monotonic(), payload, run))
            return act(payload, run)

        async def note_async(payload: Any, run: redisopt.Run) -> Any:
            self.runs.append(Ran(time.monotonic(), payload, run))
            return await asyncio.to_thread(act, payload, run)

        self.real.handler(note if self.kind == "sync" else note_async)

    def start(self, **how: Any) -> Any:
        """Start a worker, which ends with the face."""
        worker = self.real.worker(**how)
        self.do(worker.start)
        self._workers.append(worker)
        return worker

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it, and await what it gives where the face is async."""
        if self.kind == "sync":
            return function(*args, **kwargs)

        async def call() -> Any:
            return await function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(60)

    def __getattr__(self, method: str) -> Any:
        """A method of the debouncer."""
        return lambda *args, **kwargs: self.do(getattr(self.real, method), *args, **kwargs)

    def result(self, ticket: Any, timeout: float = 20.0) -> redisopt.DebounceResult:
        """The outcome of a ticket."""
        outcome: redisopt.DebounceResult = self.do(ticket.result, timeout)
        return outcome

    async def _end(self) -> None:
        """End the event loop as asyncio.run does."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def shut(self) -> None:
        """Close it and its client."""
        if self.kind == "sync":
            self.real.close()
            self.client.close()
            return
        self.do(self.real.aclose)
        self.do(self.client.aclose)
        self.do(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def payloads(*faces: DebounceFace) -> list[Any]:
    """What the handlers got, in order of time."""
    return [ran.payload for ran in sorted(ran for face in faces for ran in face.runs)]
