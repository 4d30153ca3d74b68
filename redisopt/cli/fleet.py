"""The demo's workers, seen from the process that started them.

Each has a pipe of its own: were it a queue that they share, a worker killed inside it would stop them all. Every wait
here is bounded, and a worker that does not end when asked to is killed, so none is left over.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self, cast

from redisopt.cli.worker import Order

STARTING, READY, RUNNING, IDLE, DONE, LOST, FAILED, DEAD = (
    "starting", "ready", "running", "idle", "done", "lost Redis", "failed", "dead",
)  # fmt: skip
_STATES = {"ready": READY, "idle": IDLE, "done": DONE, "unavailable": LOST, "failed": FAILED}
ENDED = (DONE, LOST, FAILED, DEAD)

_CHUNK = 1 << 16


class Worker:
    """One worker process and what it has reported.

    Attributes:
        number: from 1.
        pid: its process id.
        state: one of this module's words.
        note: why it ended, when that needs saying.
        granted: permits it got.
        waited: seconds that it waited for them, in sum.
        answers: what the API answered, counted; empty with the pretend API.
    """

    def __init__(self, number: int, order: Order, environment: dict[str, str]) -> None:
        # As this process finds modules in its current directory or does not, so is the worker to do.
        safe_path = [] if str(Path.cwd()) in sys.path else ["-P"]
        self._process = subprocess.Popen(
            [sys.executable, *safe_path, "-m", "redisopt.cli.worker", str(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            bufsize=0,
            process_group=0,  # Ctrl-C in a terminal is for the demo, which then ends its workers in order
        )
        self.output = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self.output.fileno(), False)
        self.number = number
        self.pid = self._process.pid
        self.state = STARTING
        self.note = ""
        self.granted = 0
        self.waited = 0.0
        self.answers: Counter[str] = Counter()
        self._rest = b""
        self._last_words = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come from it."""
        return self.state in ENDED

    def begin(self, deadline: float) -> None:
        """Tell it to start calling, until `deadline` by the monotonic clock, which all processes of a machine share."""
        if self.state == READY and self._write(f"{deadline!r}\n".encode()):
            self.state = RUNNING

    def ask_to_stop(self) -> None:
        """Close its input, which it takes as the order to end."""
        stdin = cast("IO[bytes]", self._process.stdin)
        if not stdin.closed:
            stdin.close()

    def read(self) -> Iterator[int]:
        """Take in what it has reported; yields the time of each grant in ms of the server."""
        try:
            chunk = self.output.read(_CHUNK)
        except OSError:
            chunk = b""
        if chunk is None:  # nothing there yet
            return
        if not chunk:
            self._bury()
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            try:
                kind, *details = json.loads(line)
            except ValueError:
                self._last_words = line.decode(errors="replace").strip() or self._last_words
                continue
            if kind == "granted":
                self.granted += 1
                self.waited += details[1]
                yield details[0]
            elif kind == "answer":
                self.answers[details[0]] += 1
            else:
                self.state = _STATES[kind]
                self.note = details[0] if details else ""

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._bury("did not end by itself")

    def _bury(self, why: str = "") -> None:
        """Its output has ended, or is to: reap the process and say how it died, unless it has said so itself."""
        self.output.close()
        self.ask_to_stop()
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self.ended:
            return
        self.state = DONE if status == 0 else DEAD
        if status < 0:
            why = why or f"killed by {signal.Signals(-status).name}"
        elif status > 0:
            why = why or f"ended with status {status}: {self._last_words}"
        self.note = why

    def _write(self, text: bytes) -> bool:
        try:
            cast("IO[bytes]", self._process.stdin).write(text)
        except OSError:
            return False  # it is dead, as the end of its output will say
        return True


class Fleet:
    """All workers of a demo. A context manager: on leaving it, none is left."""

    def __init__(self, count: int, order: Order, environment: dict[str, str]) -> None:
        self.workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        try:
            for number in range(1, count + 1):
                worker = Worker(number, order, environment)
                self.workers.append(worker)
                self._selector.register(worker.output, selectors.EVENT_READ, worker)
        except BaseException:
            self.__exit__()
            raise

    @property
    def starting(self) -> bool:
        """Whether any worker has yet to say that it is ready."""
        return any(worker.state == STARTING for worker in self.workers)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come from any worker."""
        return not self._selector.get_map()

    def read(self, timeout: float) -> Iterator[int]:
        """Take in what has been reported, waiting for it up to `timeout` seconds; yields the time of each grant in ms."""
        for key, _ in self._selector.select(timeout):
            worker: Worker = key.data
            yield from worker.read()
            if worker.output.closed:
                self._selector.unregister(key.fileobj)

    def begin(self, deadline: float) -> None:
        """Tell all that are ready to start calling, until `deadline` by the monotonic clock."""
        for worker in self.workers:
            worker.begin(deadline)

    def stop(self, patience: float) -> Iterator[int]:
        """Ask all to end, read their last reports, and kill what has not ended after `patience` seconds."""
        for worker in self.workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + patience
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            yield from self.read(left)
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.data.kill()

    def __enter__(self) -> Self:
        """The fleet, whose processes run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what has not ended."""
        for _time in self.stop(patience=0.0):
            pass
        self._selector.close()
