"""A server that is away, silent or refuses: every call fails in time and says why, and all goes on when it is back."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from redisopt import events
from tests.faces import Face
from tests.outages import CLIENTS, HASTY, LIMIT, charged, client_url, contents, in_time, stopped, until_answered
from tests.proxy import Delayed, Proxy
from tests.servers import RunningServer, binary
from tests.waiting import wait_until

pytest_plugins = ["tests.outage_fixtures"]

# --- a server that is away


def test_a_restarted_server_is_found_again_without_a_new_client(
    kind: str, make: Callable[..., Face], heard: list[Any]
) -> None:
    """While it is away each call fails in time; then the script is sent along, and all goes on."""
    directory = Path(tempfile.mkdtemp(prefix="redisopt-test-"))
    url = f"unix://{directory}/s"

    def start() -> subprocess.Popen[bytes]:
        options = ["--port", "0", "--unixsocket", str(directory / "s"), "--save", "", "--dir", str(directory)]
        process = subprocess.Popen([binary("redis-6.2"), *options], stdout=subprocess.DEVNULL)
        with redis.from_url(url) as probe:
            wait_until(lambda: answers(probe), timeout=10)
        return process

    server = start()
    try:
        faces = [make(url, which, **HASTY) for which in CLIENTS]
        assert all(face.try_acquire() for face in faces)
        server.kill()
        server.wait()
        for face in faces:
            for _ in range(2):
                with pytest.raises(redisopt.Unavailable, match=r"reached|answer"), in_time():
                    face.try_acquire()
        heard.clear()
        server = start()
        assert all(until_answered(face.try_acquire) for face in faces)
        assert {event.script for event in heard if isinstance(event, events.ScriptReloaded)} & {
            "throttle_acquire",
            "throttle_acquire_many",
        }
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory)


def answers(client: redis.Redis) -> bool:
    """Whether the server is up."""
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.mark.parametrize("which", CLIENTS)
def test_a_server_that_stands_still_costs_a_call_its_command_timeout(
    make: Callable[..., Face], server: RunningServer, client: redis.Redis, which: str
) -> None:
    """Connected or not, whatever the client's own timeouts and retries; what was given up is charged at most once."""
    connected, fresh = make(server.url, which, **HASTY), make(server.url, which, **HASTY)
    assert connected.try_acquire()
    with stopped(server):
        for face in (connected, fresh):
            with pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
                face.try_acquire()
    assert until_answered(connected.try_acquire)
    assert until_answered(fresh.try_acquire)
    assert 3 <= charged(client) <= 5


def test_a_slow_server_costs_a_call_its_command_timeout_however_many_replies_it_owes(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """Each reply comes just in time, those to AUTH and SELECT too; all together do not."""
    face = make(f"{proxy.url.replace('://', '://default:any@')}?db=1", **HASTY)
    with proxy.during(lambda _: Delayed(0.4)), pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
        face.try_acquire()
    assert until_answered(face.try_acquire)


@pytest.mark.parametrize("which", ["nobody listens", "no socket", "nobody accepts"])
def test_a_dead_address_costs_a_call_no_more_than_its_command_timeout(make: Callable[..., Face], which: str) -> None:
    """A port or path that nobody listens on, and a listener whose backlog is full, so that no connection comes about."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()
        if which == "nobody accepts":
            listener.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for each in crowd:
            each.setblocking(False)
            each.connect_ex((host, port))
        face = make("unix:///nowhere/redis.sock" if which == "no socket" else f"redis://{host}:{port}", **HASTY)
        for _ in range(2):
            with pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
                face.try_acquire()
        for each in crowd:
            each.close()


# --- a server that refuses


def test_a_full_server_refuses_a_call_whole_and_says_so(make: Callable[..., Face], client: redis.Redis) -> None:
    """Nothing is written: not by a plain grant, a first one, one that waits, one of another config. A refund may pass."""
    face, waiting = make(client_url(client), **HASTY), make(client_url(client), name="other", rates=["2/h"])
    permits = [face.try_acquire(cost=3).permit for _ in range(3)]
    waiting.acquire(cost=2, key="line")
    other = make(client_url(client), rates=["9/min"])
    before = contents(client)
    policy: Any = client.config_get("maxmemory-policy")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        calls: list[Callable[[], Any]] = [
            face.try_acquire,
            lambda: face.try_acquire(key="new"),
            lambda: waiting.acquire(key="line", timeout=7200),
            other.try_acquire,
            lambda: face.settle(permits[0], 4),
        ]
        for call in calls:
            with pytest.raises(redisopt.Unavailable, match=r"maxmemory"):
                call()
            assert contents(client) == before
        assert face.peek().remaining == LIMIT - 9
        back = 0
        for permit in permits[1:]:
            try:
                back += 3 if face.refund(permit) else 0
            except redisopt.Unavailable as error:
                assert "maxmemory" in str(error)  # noqa: PT017 - either may happen
        assert charged(client) == 9 - back
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", policy["maxmemory-policy"])
    assert face.try_acquire()
    assert charged(client) == 10 - back


def test_a_read_only_replica_is_named_as_such(make: Callable[..., Face], client: redis.Redis) -> None:
    """The client has the wrong address, or the primary was demoted; once it is promoted all goes on by itself.

    Where it is promoted within the time of a call, that passes; later, calls fail at once until the next probe.
    """
    face = make(client_url(client), **HASTY)
    client.replicaof("127.0.0.1", "1")
    try:
        promotion = threading.Timer(0.1, client.replicaof, ("NO", "ONE"))
        promotion.start()
        assert face.try_acquire()
        promotion.join()
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(redisopt.Unavailable, match="connect to the primary"), in_time():
            face.try_acquire()
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(redisopt.Unavailable, match="connect to the primary"):
                face.try_acquire()
        assert time.monotonic() - began < 2.0  # not a command_timeout each: they are not sent
        client.replicaof("NO", "ONE")

        def passes() -> bool:
            try:
                return bool(face.try_acquire())
            except redisopt.Unavailable:
                return False

        wait_until(passes, 3)
    finally:
        client.replicaof("NO", "ONE")
