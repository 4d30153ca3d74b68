"""A circuit breaker on servers of all sorts: with a wrong clock, full, a Cluster, a fake; and with the least rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import keys
from redisopt.clients import connect, connect_async
from tests.breaker_faces import BreakerFace, Broken
from tests.cluster import Cluster
from tests.servers import RunningServer
from tests.test_acl import PASSWORD, USER, acl_line, as_user, commands_of_the_scripts, make_user
from tests.test_server_clock import LIBRARY, SetClock
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

Make = Callable[..., BreakerFace]


@pytest.fixture(params=["sync", "async"])
def make_at(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes breakers of one kind at any URL; closes them after."""
    faces: list[BreakerFace] = []

    def make(url: str, name: str = "test", **fields: Any) -> BreakerFace:
        faces.append(BreakerFace(request.param, url, name, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


# --- clocks


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("flavour", ["valkey-9.1", "redis-6.2"])
@pytest.mark.parametrize("seconds", [-60, 60])
def test_the_servers_clock_is_set_a_minute_off(make_at: Make, tmp_path: Path, flavour: str, seconds: int) -> None:
    """An open breaker lets probes through after its time at the latest, and a lease is over likewise."""
    clock = SetClock(flavour, tmp_path)
    face = make_at(clock.url, minimum_calls=2, open_for=0.6, half_open_calls=1, lease_ttl=0.5, window=30)
    face.calls(2, "badly")
    clock.step(seconds)
    stepped = time.monotonic()
    wait_until(lambda: face.call() == "well")
    assert time.monotonic() - stepped < 0.6 + 0.5
    assert face.state() == "closed"
    face.calls(2, "badly")
    time.sleep(0.65)
    passage = face.allow()
    assert passage.is_probe
    clock.step(0)
    del passage
    wait_until(lambda: face.call() == "well")
    face.close()
    clock.server.close()
    face.close = lambda: None  # type: ignore[method-assign]


# --- servers


def test_a_full_server_does_not_stop_it(make_breaker: Make, client: redis.Redis) -> None:
    """What a breaker holds is bounded, and it is for bad times: it counts, opens, lets probes through and closes."""
    for fields in ({"window_calls": 10}, {"window": 30.0}):
        face = make_breaker(
            f"test {len(fields)}{fields}".translate({123: None, 125: None}),
            **fields,
            minimum_calls=2,
            open_for=0.5,
            half_open_calls=2,
        )
        client.config_set("maxmemory", 1)
        try:
            face.calls(2, "badly")
            assert face.call() == "refused"
            time.sleep(0.55)
            assert face.calls(2) == ["well", "well"]
            assert face.state() == "closed"
            assert face.calls(12) == ["well"] * 12
            face.force_open()
            face.reset()
        finally:
            client.config_set("maxmemory", 0)
        assert face.metrics().calls == 0


def test_its_keys_lie_in_one_slot_of_a_cluster(cluster: Cluster, kind: str) -> None:
    cluster.empty()
    client = connect(cluster.url) if kind == "sync" else connect_async(cluster.url)
    faces = [
        BreakerFace(kind, "", f"test {number}", client=client, minimum_calls=2, open_for=2, window_calls=5)
        for number in range(20)
    ]
    for face in faces:
        assert face.calls(3, "badly") == ["badly", "badly", "refused"]
    time.sleep(2.05)
    for face in faces:
        assert face.calls(3) == ["well"] * 3
        face.disable()
        face.reset()
        assert face.state() == "closed"
    assert all(cluster.keys_of_nodes())
    for admin in cluster.admins:
        assert [key for key in admin.scan_iter() if admin.pttl(key) == -1] == []
    for face in faces[1:]:
        face.do(face.real.close if face.loop is None else face.real.aclose)
        if face.loop is not None:
            face.loop.stop()
    faces[0].close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


@pytest.fixture(params=["sync"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_on_a_cluster_in_asyncio(cluster: Cluster) -> None:
    cluster.empty()
    face = BreakerFace("async", "", "test", client=connect_async(cluster.url), minimum_calls=2, half_open_calls=1)
    assert face.calls(3, "badly") == ["badly", "badly", "refused"]
    assert face.metrics().opened == 1
    face.close()


def test_a_client_that_decodes_replies(server: RunningServer, client: redis.Redis) -> None:
    with (
        redis.from_url(server.url, decode_responses=True, protocol=3) as decoding,
        redisopt.CircuitBreaker(decoding, "test", minimum_calls=1, open_for=0.01, half_open_calls=1) as breaker,
    ):
        with pytest.raises(Broken):
            breaker.execute(_raise)
        time.sleep(0.02)
        with breaker.allow() as passage:
            assert passage.is_probe
        assert breaker.state() == "closed"


def test_it_works_on_fakeredis() -> None:
    breaker = redisopt.CircuitBreaker(
        fakeredis.FakeRedis(),
        "test",
        minimum_calls=2,
        open_for=0.5,
        window_calls=3,
        half_open_calls=1,
        command_timeout=5,
    )
    for _ in range(2):
        with pytest.raises(Broken):
            breaker.execute(_raise)
    with pytest.raises(redisopt.CircuitOpen):
        breaker.execute(_raise)
    time.sleep(0.55)
    breaker.execute(int)
    assert breaker.state() == "closed"
    breaker.reset()
    breaker.close()


def _raise() -> None:
    raise Broken


# --- rights


def test_all_of_it_works_for_the_documented_user(server: RunningServer, client: redis.Redis, make_at: Make) -> None:
    """ACL LOG stays empty, and no right is left out of this test."""
    client.acl_log_reset()
    make_user(client, acl_line())
    client.script_flush()
    client.config_resetstat()
    try:
        url = as_user(server.url, USER, PASSWORD)
        face = make_at(url, minimum_calls=2, open_for=0.5, half_open_calls=2, window_calls=3, lease_ttl=3)
        face.calls(4)
        face.calls(3, "badly")
        time.sleep(0.55)
        probe = face.allow()
        other = face.allow()
        assert face.call() == "refused"
        time.sleep(1.1)  # both are renewed meanwhile
        face.end(probe, "release")
        face.end(other, "succeed")
        assert face.call() == "well"
        assert face.metrics().state == "closed"
        timed = make_at(url, "timed", window=0.1)
        for _ in range(3):
            timed.call()
            time.sleep(0.02)
        face.force_open()
        face.disable()
        face.call()
        face.close_circuit()
        client.set(f"{keys.tag('breaker', 'test')}state", "not ours", ex=60)
        face.reset()
        client.hset(f"{keys.tag('breaker', 'timed')}state", "lane:gone", "1 1 closed 1")
        for number in range(300):  # until lanes are swept
            timed.call("well" if number % 2 else "badly")
        assert client.acl_log() == []
        ran = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert commands_of_the_scripts("breaker") - ran == set()
    finally:
        client.acl_deluser(USER)
        client.acl_log_reset()
