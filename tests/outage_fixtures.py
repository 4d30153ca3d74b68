"""Fixtures of tests about outages, as a plugin: ``pytest_plugins = ["tests.outage_fixtures"]``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from redisopt import events
from tests.faces import Face
from tests.fragile import FragileServer
from tests.outages import KINDS, FaceOf, make_client
from tests.proxy import Proxy
from tests.servers import RunningServer


@pytest.fixture
def proxy(server: RunningServer) -> Iterator[Proxy]:
    """A proxy before the server."""
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The sync class or the async one."""
    return str(request.param)


@pytest.fixture
def make(kind: str, loop: asyncio.Runner) -> Iterator[Callable[..., Face]]:
    """Makes throttles over clients of a sort; closes them after."""
    faces: list[Face] = []

    def make(url: str, which: str = "ours", **fields: Any) -> Face:
        faces.append(FaceOf(kind, make_client(kind, which, url), loop, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """The events of this process."""
    heard: list[events.Event] = []
    hook = heard.append
    events.add_hook(hook)
    yield heard
    events.remove_hook(hook)


@pytest.fixture(scope="module")
def fragile() -> Iterator[FragileServer]:
    """A server that goes away and comes back."""
    with FragileServer() as server:
        yield server
