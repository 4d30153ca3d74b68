"""What a network and a server can do to calls: clients of all sorts behind a proxy, a server that stands still.

The fixtures for these are in `outage_fixtures`. What was charged is what the limiter's logs
hold. Where the server is silent its clock can't judge: then a call may take its `command_timeout`, a fifth more, and what
this busy machine needs to wake a thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

import redisopt
from redisopt import keys
from redisopt.clients import connect, connect_async
from tests.faces import Face
from tests.servers import RunningServer

R = TypeVar("R")

LIMIT = 1_000_000
PLENTY: Any = {"rates": [f"{LIMIT}/h"], "command_timeout": 10.0}
HASTY: Any = {"rates": [f"{LIMIT}/h"]}  # the default command_timeout

KINDS = ["sync", "async"]
CLIENTS = ["ours", "retrying", "unknown"]


class Unknown:
    """A connection that is not one of redis-py's, so that calls go through the client itself."""

    kind: Any = redis.UnixDomainSocketConnection

    def __init__(self, **arguments: Any) -> None:
        self._real = self.kind(**arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class AsyncUnknown(Unknown):
    """The same for asyncio."""

    kind = redis.asyncio.UnixDomainSocketConnection


def make_client(kind: str, which: str, url: str) -> Any:
    """Our own client; one with redis-py's retries on and a long timeout; the same whose connections are of an unknown class."""
    if which == "ours":
        return connect(url) if kind == "sync" else connect_async(url)
    flavour, retry, unknown = (
        (redis, Retry(NoBackoff(), 10), Unknown)
        if kind == "sync"
        else (redis.asyncio, AsyncRetry(NoBackoff(), 10), AsyncUnknown)
    )
    settings: Any = {"path": url.removeprefix("unix://"), "retry": retry, "socket_timeout": 30}
    known: Any = flavour.UnixDomainSocketConnection
    pool: Any = flavour.ConnectionPool(connection_class=known if which == "retrying" else unknown, **settings)
    client: Any = flavour.Redis(connection_pool=pool)
    return client


class FaceOf(Face):
    """A throttle over a given client."""

    def __init__(self, kind: str, client: Any, loop: asyncio.Runner, name: str = "test", **fields: Any) -> None:
        self.kind, self.client, self._loop = kind, client, loop
        maker: Any = redisopt.Throttler if kind == "sync" else redisopt.AsyncThrottler
        self.real = maker(client, name, **fields)

    def close(self) -> None:
        """Close the client's pool as well, which belongs to who made it."""
        self.wait_for(self.client.connection_pool.disconnect())
        super().close()


def charged(client: redis.Redis, period_ms: int = 3_600_000) -> int:
    """What the limiter's log holds: its sum, which must be that of its entries."""
    tag = keys.tag("throttle", "test")
    sums: Any = client.hget(f"{tag}state", f"log:{period_ms}") or b"0 0 0 0"
    used, _, _, newest = map(int, sums.split())
    entries: Any = client.lrange(f"{tag}log:{period_ms}", 0, -1)
    assert used == newest + sum(int(entry.split(b":")[1]) for entry in entries)
    return used


def contents(client: redis.Redis) -> dict[Any, Any]:
    """All that stands in redisopt's keys."""
    return {key: client.dump(key) for key in client.scan_iter("redisopt:*")}


@contextmanager
def in_time(command_timeout: float = 0.5) -> Iterator[None]:
    """The block takes no longer than the longest call may, and than a thread that only sleeps was kept waiting meanwhile."""
    late, over = 0.0, threading.Event()

    def sleep() -> None:
        nonlocal late
        while not over.is_set():
            before = time.monotonic()
            time.sleep(0.01)
            late += time.monotonic() - before - 0.01

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    started = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - started
        over.set()
        sleeper.join()
        assert took <= 1.2 * command_timeout + 0.1 + late, f"{took:.3f} s, of which {late:.3f} s for a busy machine"


def until_answered(call: Callable[[], R], seconds: float = 1.0) -> R:
    """What `call` gives once Redis is known to be back: after an outage calls fail at once until then, a second at most."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except redisopt.Unavailable:
            assert time.monotonic() < deadline, f"not answered within {seconds} s"
            time.sleep(0.005)


@contextmanager
def stopped(server: RunningServer, seconds: float = 3) -> Iterator[None]:
    """The server's process stands still during the block, so long at most; its sockets stay open."""
    if server.process is None:
        pytest.skip("a server that is not ours cannot be stopped")
    os.kill(server.process.pid, signal.SIGSTOP)
    end = threading.Timer(seconds, os.kill, (server.process.pid, signal.SIGCONT))
    end.start()
    try:
        yield
    finally:
        end.cancel()
        os.kill(server.process.pid, signal.SIGCONT)


def client_url(client: redis.Redis) -> str:
    """Where a client of a unix socket connects to."""
    return f"unix://{client.connection_pool.connection_kwargs['path']}"
