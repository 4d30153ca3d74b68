"""A server that goes away and comes back at the same address, and callers that go on calling meanwhile."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis

import redisopt
from tests.servers import binary
from tests.waiting import wait_until

WAYS = ["killed", "hung", "cut off"]


class FragileServer:
    """A server on a unix socket.

    Attributes:
        url: where it is, whenever it is there.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="redisopt-test-"))
        self._socket = self._directory / "s"
        self._hidden = self._directory / "hidden"
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([binary("valkey-9.1"), *options], stdout=subprocess.DEVNULL)
        with redis.from_url(self.url) as probe:
            wait_until(lambda: _answers(probe), timeout=10)

    def stop(self) -> None:
        """Kill it."""
        os.kill(self._process.pid, signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def away(self, way: str) -> Iterator[None]:
        """It is killed, stands still, or cannot be reached during the block."""
        if way == "killed":
            self.stop()
        elif way == "hung":
            os.kill(self._process.pid, signal.SIGSTOP)
        else:
            self._socket.rename(self._hidden)
            with redis.from_url(f"unix://{self._hidden}") as admin:
                for each in admin.client_list():
                    if int(each["id"]) != admin.client_id():
                        admin.client_kill_filter(_id=each["id"])
        try:
            yield
        finally:
            if way == "killed":
                self.start()
            elif way == "hung":
                os.kill(self._process.pid, signal.SIGCONT)
            else:
                self._hidden.rename(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


class Call(NamedTuple):
    """One call of a crowd: when it began and ended, by the monotonic clock, and what it gave, a permit or an error."""

    began: float
    ended: float
    got: Any

    @property
    def took(self) -> float:
        """Seconds."""
        return self.ended - self.began


def bare(error: BaseException) -> BaseException:
    """The error without the frames that it came through: kept by the thousand, they would keep the collector busy."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class Crowd:
    """Callers that call on until `stop` is set: threads of a sync throttler, or tasks of an async one.

    Attributes:
        calls: what became of each.
        outages: what the throttler said of the outage, now and then.
    """

    PAUSE = 0.005

    def __init__(self, callers: int, stop: threading.Event) -> None:
        self._callers = callers
        self._stop = stop
        self.calls: list[Call] = []
        self.outages: list[redisopt.Outage] = []

    def in_threads(self, throttler: redisopt.Throttler) -> list[threading.Thread]:
        """Start the callers."""
        threads = [threading.Thread(target=self._call_on, args=(throttler, each)) for each in range(self._callers)]
        for thread in threads:
            thread.start()
        return threads

    async def in_tasks(self, throttler: redisopt.AsyncThrottler) -> None:
        """Let them call until the end."""
        await asyncio.gather(*(self._call_on_async(throttler, each) for each in range(self._callers)))

    def _call_on(self, throttler: redisopt.Throttler, caller: int) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            got: Any
            try:
                got = throttler.acquire(timeout=0) if caller % 2 else throttler.try_acquire()
            except redisopt.RedisOptError as error:
                got = bare(error)
            self._note(began, got, throttler.outage)
            time.sleep(self.PAUSE)

    async def _call_on_async(self, throttler: redisopt.AsyncThrottler, caller: int) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            got: Any
            try:
                got = await throttler.acquire(timeout=0) if caller % 2 else await throttler.try_acquire()
            except redisopt.RedisOptError as error:
                got = bare(error)
            self._note(began, got, throttler.outage)
            await asyncio.sleep(self.PAUSE)

    def _note(self, began: float, got: Any, outage: redisopt.Outage | None) -> None:
        self.calls.append(Call(began, time.monotonic(), got))
        if outage is not None:
            self.outages.append(outage)

    def begun_between(self, begin: float, end: float) -> list[Any]:
        """What the calls of that time gave."""
        return [call.got for call in self.calls if begin <= call.began and call.ended < end]

    def usual_time(self, begin: float, end: float) -> float:
        """How many seconds half of them took, at most."""
        return statistics.median(call.took for call in self.calls if begin <= call.began and call.ended < end)


class Lateness:
    """How much this busy machine puts off who has something to do, within the block.

    What a test waits for goes through several threads and processes, each of which has to wait for its turn: a thread that
    looks every 10 ms adds up by how much it was late, over half a second.

    Attributes:
        seconds: the most that it was in any half a second.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = threading.Event()
        self._sleeper = threading.Thread(target=self._sleep)

    def _sleep(self) -> None:
        lately: collections.deque[float] = collections.deque(maxlen=50)
        while not self._over.is_set():
            before = time.monotonic()
            time.sleep(0.01)
            lately.append(time.monotonic() - before - 0.01)
            self.seconds = max(self.seconds, sum(lately))

    def __enter__(self) -> Self:
        self._sleeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sleeper.join()


def run_threads(url: str, crowds: dict[str, Crowd], fields: Callable[[str], Any], story: Callable[[], None]) -> None:
    """Have a crowd of threads for each policy while `story` runs; each crowd has a client of its own."""
    with contextlib.ExitStack() as stack:
        threads: list[threading.Thread] = []
        for policy, crowd in crowds.items():
            client = stack.enter_context(redisopt.connect(url))
            throttler = stack.enter_context(redisopt.Throttler(client, policy, **fields(policy)))
            threads += crowd.in_threads(throttler)
        story()
        for thread in threads:
            thread.join()


def run_tasks(url: str, crowds: dict[str, Crowd], fields: Callable[[str], Any], story: Callable[[], None]) -> None:
    """The same in one event loop; the story has a thread of its own."""

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            running = []
            for policy, crowd in crowds.items():
                client: Any = await stack.enter_async_context(redisopt.connect_async(url))
                throttler = redisopt.AsyncThrottler(client, policy, **fields(policy))
                running.append(crowd.in_tasks(await stack.enter_async_context(throttler)))
            await asyncio.gather(asyncio.to_thread(story), *running)

    asyncio.run(main())
