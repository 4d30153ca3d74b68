"""The two faces of a debouncer behind one, so that a test is written once and runs on both; and a handler that takes notes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import redisopt
from tests.live_faces import LiveFace

TERMS: Any = {"command_timeout": 5.0}  # the machine may be busy


class Ran(NamedTuple):
    """One run: when it began, by this process's monotonic clock, what it got, and what it learnt."""

    at: float
    payload: Any
    run: redisopt.Run


class DebounceFace(LiveFace):
    """A debouncer, sync or async, called synchronously.

    Attributes:
        runs: what its handler was called for.
    """

    def __init__(self, kind: str, url: str, name: str = "test", *args: Any, client: Any = None, **fields: Any) -> None:
        self.runs: list[Ran] = []
        self._workers: list[Any] = []
        super().__init__(kind, url, "Debouncer", name, *args, client=client, **TERMS | fields)

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

    def result(self, ticket: Any, timeout: float = 20.0) -> redisopt.DebounceResult:
        """The outcome of a ticket."""
        outcome: redisopt.DebounceResult = self.do(ticket.result, timeout)
        return outcome


def payloads(*faces: DebounceFace) -> list[Any]:
    """What the handlers got, in order of time."""
    return [ran.payload for ran in sorted(ran for face in faces for ran in face.runs)]
