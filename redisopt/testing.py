"""For tests of your own code: a Redis for each test, real or in memory, and a server clock that the test sets.

With pytest, say ``pytest_plugins = ["redisopt.testing"]`` in your `conftest.py`, and take what a test needs:

- `redisopt_url`, `redisopt_client`: a real server, which the test run starts, with an empty database.
- `redisopt_fake_client`, `redisopt_fake_async_client`: fakeredis, which starts nothing; both on the same data.
- `redisopt_clock`: the clock of `redisopt_client`. Nobody waits: whoever would is told that the time has passed.

>>> def test_no_more_than_two_an_hour(redisopt_client, redisopt_clock):
...     throttler = redisopt.Throttler(redisopt_client, "mails", rates=["2/h"])
...     assert [bool(throttler.try_acquire()) for _ in range(3)] == [True, True, False]
...     redisopt_clock.advance(3601)
...     assert throttler.try_acquire()

Without pytest, `server_clock` is a context manager, and `redisopt.server.EmbeddedServer` another. The extra `testing` brings
pytest, fakeredis and the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from unittest import mock

import fakeredis
import pytest
import redis
import redis.asyncio

import redisopt.delivery
import redisopt.runner
from redisopt.background import BEAT
from redisopt.commands import Wait
from redisopt.scripts import Script
from redisopt.scripts import script as real_script
from redisopt.server import EmbeddedServer

START_MS = 1_800_000_000_000
"""What a clock shows at first, in ms since 1970."""

CLOCK_KEY = "redisopt-test:clock"
"""Where scripts look for the time."""


class ServerClock:
    """The time that scripts see, in ms since 1970. Of a single server, not of a Cluster.

    It stands in a key, which the scripts of this process read in place of TIME while `server_clock` is entered. Everything
    else is the real thing. (What expires by a key's time to live goes by the server's own clock.)

    Attributes:
        now_ms: what it shows.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._lock = threading.Lock()  # what runs in the background may pause, and so move it on, at any time
        self.set(START_MS)

    def set(self, now_ms: float) -> None:
        """Step to a time, forward or back."""
        with self._lock:
            self._set(now_ms)

    def _set(self, now_ms: float) -> None:
        self.now_ms = now_ms
        seconds, micros = divmod(round(now_ms * 1000), 1_000_000)
        pipe: Any = self._client.pipeline(transaction=True)
        pipe.delete(CLOCK_KEY).rpush(CLOCK_KEY, seconds, micros).expire(CLOCK_KEY, 3600).execute()

    def advance(self, seconds: float) -> None:
        """Let time pass. A use counts from the next whole ms on, so its period is over 1 ms later than where the clock stood."""
        with self._lock:
            self._set(self.now_ms + seconds * 1000)

    def at(self, seconds: float) -> None:
        """Step to so many seconds after the start."""
        self.set(START_MS + seconds * 1000)


@contextlib.contextmanager
def server_clock(client: redis.Redis) -> Iterator[ServerClock]:
    """A clock that the scripts of this process go by, for as long as it is entered; whoever would wait moves it on instead.

    Other processes go on by the server's own.
    """
    clock = ServerClock(client)
    with mock.patch.object(redisopt.delivery, "script", on_clock), instead_of_waiting(clock.advance):
        yield clock


@cache
def on_clock(name: str) -> Script:
    """The script of this name, which reads the clock's key in place of TIME."""
    source = real_script(name).source.replace("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK_KEY}', 0, -1)")
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@contextlib.contextmanager
def instead_of_waiting(act: Callable[[float], None]) -> Iterator[None]:
    """Whatever waits for so many seconds, a sleep or a place in the line, calls `act` with them. No message wakes it.

    What beats in the background waits in earnest.
    """

    async def pause_async(seconds: float) -> None:
        act(seconds)

    def stand_by(_: object, step: Wait) -> None:
        if step.heard and not step.permit.startswith(BEAT):
            act(step.seconds)
        else:
            time.sleep(step.seconds)

    async def stand_by_async(_: object, step: Wait) -> None:
        if step.heard and not step.permit.startswith(BEAT):
            act(step.seconds)
        else:
            await asyncio.sleep(step.seconds)

    ways: Any = {"pause": act, "pause_async": pause_async, "stand_by": stand_by, "stand_by_async": stand_by_async}
    with mock.patch.multiple(redisopt.runner, **ways):
        yield


# --- fixtures


@pytest.fixture(scope="session")
def redisopt_server() -> Iterator[EmbeddedServer]:
    """A server that the test run starts, and that ends with it."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def redisopt_url(redisopt_server: EmbeddedServer) -> str:
    """The URL of an empty database on that server, also for processes that a test starts."""
    with redis.from_url(redisopt_server.url) as client:
        client.flushall()
    return redisopt_server.url


@pytest.fixture
def redisopt_client(redisopt_url: str) -> Iterator[redis.Redis]:
    """A client of an empty database on a real server."""
    with redis.from_url(redisopt_url) as client:
        yield client


@pytest.fixture
def redisopt_clock(redisopt_client: redis.Redis) -> Iterator[ServerClock]:
    """The clock of the server of `redisopt_client`, set by the test; see `server_clock`."""
    with server_clock(redisopt_client) as clock:
        yield clock


@pytest.fixture
def redisopt_fake_server() -> fakeredis.FakeServer:
    """The data that both fake clients share."""
    return fakeredis.FakeServer()


@pytest.fixture
def redisopt_fake_client(redisopt_fake_server: fakeredis.FakeServer) -> redis.Redis:
    """A client of fakeredis, with nothing in it."""
    return fakeredis.FakeRedis(server=redisopt_fake_server)


@pytest.fixture
def redisopt_fake_async_client(redisopt_fake_server: fakeredis.FakeServer) -> redis.asyncio.Redis:
    """The same data for asyncio."""
    return fakeredis.FakeAsyncRedis(server=redisopt_fake_server)
