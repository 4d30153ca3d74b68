"""A debouncer of one key as its scripts see it, on a clock that the test sets; and a worker that does at once what is due."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from redisopt.commands import Command, Plan, call
from redisopt.debounce.asking import Asking
from redisopt.debounce.config import DebounceConfig
from redisopt.identity import next_permit_id
from tests.clock import ServerClock

_numbers = itertools.count(1)

Perform = Callable[[Plan[Any]], Any]


class Scripts:
    """Calls from several processes, each with a client of its own; and a worker.

    Attributes:
        runs: when, in ms since 1970, and with which payloads.
        due: when there is more to do, None for never.
    """

    def __init__(self, processes: list[Perform], clock: ServerClock, **fields: Any) -> None:
        self.config = DebounceConfig(**fields)
        self._processes, self._clock = processes, clock
        self.asking = Asking(f"model {next(_numbers)}", self.config, 1)
        self.place = self.asking.layout.place("key")
        self._sent: list[Command[Any]] = []
        self.runs: list[tuple[int, list[Any]]] = []
        self.due: int | None = None

    @property
    def now(self) -> int:
        """In ms."""
        return round(self._clock.now_ms)

    def do(self, command: Command[Any], process: int = 0) -> Any:
        """Send it from one of the processes."""
        return self._processes[process % len(self._processes)](call(command))

    def call(self, payload: object, process: int = 0, wait: float | None = None) -> Any:
        """A process calls."""
        wait = self.config.wait if wait is None else wait
        submit = self.asking.submit(self.place, str(payload).encode(), f"{id(self)} {len(self._sent)}", wait)
        self._sent.append(submit)
        return self.do(submit, process)

    def call_again(self, index: int, process: int = 0) -> None:
        """A copy of an earlier call arrives, under the same call id."""
        if self._sent:
            self.do(self._sent[index % len(self._sent)], process)

    def cancel(self, process: int = 0) -> Any:
        """A process cancels."""
        return self.do(self.asking.cancel(self.place), process)

    def flush(self, process: int = 0) -> Any:
        """A process flushes."""
        return self.do(self.asking.flush(self.place), process)

    def pending(self, process: int = 0) -> int:
        """How many calls are pending."""
        return int(self.do(self.asking.peek(self.place), process).calls)

    def work(self) -> None:
        """Do what is due."""
        while True:
            seconds, runs = self.do(self.asking.claim(0, 1, "worker", next_permit_id(), 1))
            for run in runs:
                payloads = self.do(self.asking.items(run, 0)) if run.collect == "all" else [run.payload]
                self.runs.append((self.now, [payload.decode() for payload in payloads]))
                assert self.do(self.asking.finish(run, "done"))
            if not runs:
                self.due = None if seconds is None else self.now + round(seconds * 1000)
                return

    def go_to(self, when: float) -> None:
        """Let time pass, and do all that is due on the way when it is due."""
        while self.due is not None and self.due <= when:
            self._clock.set(self.due)
            self.work()
        if when != float("inf"):
            self._clock.set(when)
