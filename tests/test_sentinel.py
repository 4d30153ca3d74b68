"""Behind a Sentinel: calls go to the primary that it names, also after it has named another, and nowhere else."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from redisopt.server import EmbeddedServer
from tests.cluster import free_ports
from tests.faces import Face
from tests.servers import binary
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet


class SentinelFace(Face):
    """A throttle, sync or async, over a Sentinel's client."""

    def __init__(self, kind: str, url: str, loop: asyncio.Runner, **fields: Any) -> None:
        self.kind, self._loop = kind, loop
        self.client = redisopt.connect(url) if kind == "sync" else redisopt.connect_async(url)
        maker: Any = redisopt.Throttler if kind == "sync" else redisopt.AsyncThrottler
        self.real = maker(self.client, "test", **fields)


class Watched:
    """A primary, another server, and a Sentinel that names the primary."""

    def __init__(self, directory: Path) -> None:
        first, second, port = free_ports(3)
        self.servers = [EmbeddedServer(binary("valkey-9.1"), port=each) for each in (first, second)]
        self.ports = [first, second]
        self.url = f"redis+sentinel://127.0.0.1:{port}/mymaster"
        config = directory / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {first} 1\n")
        self._process = subprocess.Popen(
            [self.servers[0].binary.path, str(config), "--sentinel"], cwd=directory, stdout=subprocess.DEVNULL
        )
        self.admin: Any = redis.Redis("127.0.0.1", port, decode_responses=True)
        wait_until(self._answers, timeout=10, message="the Sentinel did not start")

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except redis.ConnectionError:
            return False

    def name_the_second(self) -> None:
        """Have the Sentinel watch the other server by this name."""
        self.admin.execute_command("SENTINEL", "REMOVE", "mymaster")
        self.admin.execute_command("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", self.ports[1], 1)

    def granted(self) -> list[int]:
        """How many limiters stand on each server."""
        found = []
        for server in self.servers:
            with redis.from_url(server.url) as client:
                found.append(len(list(client.scan_iter("redisopt:*:state"))))
        return found

    def close(self) -> None:
        """Stop them all."""
        self.admin.close()
        self._process.terminate()
        self._process.wait()
        for server in self.servers:
            server.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A primary that a Sentinel watches."""
    running = Watched(tmp_path)
    yield running
    running.close()


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, loop: asyncio.Runner) -> Iterator[Callable[..., Face]]:
    """Makes throttles; closes them after."""
    faces: list[Face] = []

    def make(url: str, **fields: Any) -> Face:
        faces.append(SentinelFace(request.param, url, loop, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


def test_calls_go_to_the_primary_that_the_sentinel_names(watched: Watched, make: Callable[..., Face]) -> None:
    """Also when it has named another, for which the connection to the first has to end."""
    face = make(watched.url, rates=["5/min"], command_timeout=5)
    assert face.try_acquire().remaining == 4
    assert watched.granted() == [1, 0]
    watched.name_the_second()
    watched.servers[0].close()
    assert face.try_acquire().remaining == 4, "the second knows nothing of what the first had granted"


def test_without_a_primary_nothing_is_granted(watched: Watched, make: Callable[..., Face]) -> None:
    """Least of all by some server on localhost:6379."""
    face = make(watched.url.replace("mymaster", "unheard-of"), rates=["5/min"])
    with pytest.raises(redisopt.Unavailable):
        face.try_acquire()
