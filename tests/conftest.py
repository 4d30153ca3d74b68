"""Fixtures: real servers, both faces, a server clock that tests set, and a check that no key is left behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import pytest
import redis

from redisopt.testing import ServerClock, server_clock
from tests.batches import BatchFace, Notes
from tests.breaker_faces import BreakerFace
from tests.cache_faces import CacheFace
from tests.debounce_faces import DebounceFace
from tests.faces import Face
from tests.kinds import Kind
from tests.monitor_faces import MonitorFace
from tests.servers import RunningServer, flavours

FACES, PAIRED = ["sync", "async"], ["valkey-9.1", "redis-6.2"]

# A test must find the servers that it starts, not one that a developer's shell names.
os.environ.pop("REDISOPT_URL", None)


EVERY_PAIR = "--every-pair"


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option of ours."""
    parser.addoption(EVERY_PAIR, action="store_true", help="run the long tests with both faces on every server")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run each test that takes long, as those of fleets do, with each face and on each server, but not with each face on each server.

    Which face meets which server differs from test to test. `make test TEST_ARGS=--every-pair` runs them all.
    """
    if config.getoption(EVERY_PAIR):
        return
    left_out = {item for item in items if _is_long(item) and not _is_of_a_pair(item)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _is_long(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("fleet", "long"))


def _is_of_a_pair(item: pytest.Item) -> bool:
    params: Any = item.callspec.params if hasattr(item, "callspec") else {}
    flavour, faces = params.get("server"), [each for each in params.values() if each in FACES]
    if flavour not in PAIRED or len(faces) != 1:
        return True
    function = item.nodeid.partition("[")[0]
    return (PAIRED.index(flavour) + FACES.index(faces[0]) + crc32(function.encode())) % 2 == 0


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """What a test that failed has left running would work for those that come after it."""
    yield
    for child in multiprocessing.active_children():
        child.kill()
        child.join(10)


@pytest.fixture(autouse=True)
def _no_server_is_named() -> Iterator[None]:
    """No test may leave the name of its own server behind for those that come after it."""
    yield
    assert os.environ.pop("REDISOPT_URL", None) is None


@pytest.fixture(scope="session", params=flavours())
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A running server of each flavour in turn."""
    running = RunningServer(request.param)
    yield running
    running.close()


@pytest.fixture
def client(server: RunningServer) -> Iterator[redis.Redis]:
    """A client of an empty database. When the test is over, every key in it must have a time to live."""
    client = redis.from_url(server.url)
    client.flushdb()
    yield client
    endless = [key for key in client.scan_iter(count=1000) if client.pttl(key) == -1]
    client.close()
    assert not endless, f"keys without a time to live were left: {endless[:10]}"


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """An event loop for the async face."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["sync", "async"])
def twin(
    request: pytest.FixtureRequest, server: RunningServer, client: redis.Redis, loop: asyncio.Runner
) -> Iterator[Kind]:
    """Makes objects of one kind, sync or async, and closes them after."""
    made = Kind(request.param, server.url, loop)
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def make_throttler(
    request: pytest.FixtureRequest, server: RunningServer, client: redis.Redis, loop: asyncio.Runner
) -> Iterator[Callable[..., Face]]:
    """Makes throttlers of one kind, each with a client of its own as another process would have; closes them after."""
    faces: list[Face] = []

    def make(name: str = "test", *args: Any, **fields: Any) -> Face:
        faces.append(Face(request.param, server.url, loop, name, *args, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture(params=["sync", "async"])
def make_debouncer(
    request: pytest.FixtureRequest, server: RunningServer, client: redis.Redis
) -> Iterator[Callable[..., DebounceFace]]:
    """Makes debouncers of one kind, each with a client of its own as another process would have; closes them after."""
    faces: list[DebounceFace] = []

    def make(name: str = "test", *args: Any, **fields: Any) -> DebounceFace:
        faces.append(DebounceFace(request.param, server.url, name, *args, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture(params=["sync", "async"])
def make_cache(
    request: pytest.FixtureRequest, server: RunningServer, client: redis.Redis
) -> Iterator[Callable[..., CacheFace]]:
    """Makes caches of one kind, each with a client of its own as another process would have; closes them after."""
    faces: list[CacheFace] = []

    def make(name: str = "test", *args: Any, **fields: Any) -> CacheFace:
        faces.append(CacheFace(request.param, server.url, name, *args, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture
def clock(client: redis.Redis) -> Iterator[ServerClock]:
    """The server's clock, set by the test; a throttle that sleeps moves it on."""
    with server_clock(client) as clock:
        yield clock


@pytest.fixture(params=["sync", "async"])
def make_batcher(
    request: pytest.FixtureRequest, server: RunningServer, client: redis.Redis
) -> Iterator[Callable[..., BatchFace]]:
    """Makes batchers of one kind, each with a client of its own as another process would have; closes them after."""
    faces: list[BatchFace] = []

    def make(handler: Any = None, **fields: Any) -> BatchFace:
        faces.append(BatchFace(request.param, server.url, "test", handler, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture(params=["sync", "async"])
def make_monitor(
    request: pytest.FixtureRequest, server: RunningServer, client: redis.Redis
) -> Iterator[Callable[..., MonitorFace]]:
    """Makes monitors of one kind, each with a client of its own as another process would have; closes them after."""
    faces: list[MonitorFace] = []

    def make(name: str = "test", **fields: Any) -> MonitorFace:
        faces.append(MonitorFace(request.param, server.url, name, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture
def notes(server: RunningServer, client: redis.Redis) -> Iterator[Notes]:
    """What handlers note of their runs."""
    notes = Notes(server.url)
    yield notes
    notes.close()


@pytest.fixture(params=["sync", "async"])
def make_breaker(
    request: pytest.FixtureRequest, server: RunningServer, client: redis.Redis
) -> Iterator[Callable[..., BreakerFace]]:
    """Makes circuit breakers of one kind, each with a client of its own as another process would have; closes them after."""
    faces: list[BreakerFace] = []

    def make(name: str = "test", *args: Any, **fields: Any) -> BreakerFace:
        faces.append(BreakerFace(request.param, server.url, name, *args, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()
