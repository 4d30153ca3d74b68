"""On a Redis Cluster: the keys of a limiter lie on one node, those of many are spread, and every node's whims are borne."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

import pytest
from redis.crc import key_slot

import redisopt
import redisopt.delivery
from redisopt import events, keys
from redisopt.clients import connect, connect_async
from redisopt.commands import Command, call
from redisopt.scripts import Script
from tests.cluster import Cluster
from tests.faces import Face
from tests.outages import in_time, until_answered
from tests.proxy import Fate, Proxy, first_copies
from tests.test_acl import acl_line
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

LIMIT = 1_000_000
PLENTY: Any = {"rates": [f"{LIMIT}/h"], "command_timeout": 10.0}


class ClusterFace(Face):
    """A throttle, sync or async, over a Cluster client."""

    def __init__(self, kind: str, url: str, loop: asyncio.Runner, name: str = "test", **fields: Any) -> None:
        self.kind, self._loop = kind, loop
        self.client = connect(url) if kind == "sync" else connect_async(url)
        maker: Any = redisopt.Throttler if kind == "sync" else redisopt.AsyncThrottler
        self.real = maker(self.client, name, **fields)


@pytest.fixture(scope="session")
def started() -> Iterator[Cluster]:
    """A cluster, started once."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Iterator[Cluster]:
    """An empty cluster. When the test is over, every key in it must have a time to live."""
    started.empty()
    yield started
    for admin in started.admins:
        assert [key for key in admin.scan_iter() if admin.pttl(key) == -1] == []


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, loop: asyncio.Runner) -> Iterator[Callable[..., Face]]:
    """Makes throttles; closes them after."""
    faces: list[Face] = []

    def make(url: str, **fields: Any) -> Face:
        faces.append(ClusterFace(request.param, url, loop, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


def on_each_node(cluster: Cluster) -> list[str]:
    """A user's key for each node."""
    found: dict[int, str] = {}
    for number in range(1000):
        found.setdefault(cluster.owner(slot_of(f"user:{number}")), f"user:{number}")
        if len(found) == len(cluster.nodes):
            break
    return [found[node] for node in sorted(found)]


def slot_of(key: str) -> int:
    """Where a limiter's keys lie."""
    return int(key_slot(keys.tag("throttle", "test", key).encode()))


def test_all_that_a_throttle_does_works_on_every_node(cluster: Cluster, make: Callable[..., Face]) -> None:
    """Grants, refusals, waits, refunds, another config, the end of it: no CROSSSLOT."""
    face = make(cluster.url, rates=["5/h", "100/d"], max_burst_size=50, command_timeout=10.0)
    brief = make(cluster.url, name="brief", rates=["5/300ms"], command_timeout=10.0)
    for key in on_each_node(cluster):
        permit = face.try_acquire(cost=3, key=key).permit
        assert face.refund(permit, 2)
        assert face.settle(face.try_acquire(cost=2, key=key).permit, 4)
        assert not face.try_acquire(key=key)
        assert brief.acquire(cost=5, key=key).granted_at + 0.299 <= brief.acquire(cost=5, key=key).granted_at
        other = make(cluster.url, rates=["7/min"], command_timeout=10.0)
        assert other.acquire(key=key)
        assert face.peek(key).remaining == 0
        face.reset(key)
        assert face.peek(key).remaining == 5


def test_two_hundred_users_are_spread_over_all_nodes(cluster: Cluster, make: Callable[..., Face]) -> None:
    """And all that belongs to one of them lies in one slot."""
    face = make(cluster.url, rates=["1/min", "9/h"], command_timeout=10.0)
    for number in range(200):
        assert face.try_acquire(key=f"user:{number}")
        assert not face.try_acquire(key=f"user:{number}")
    held = [{match[1] for key in node if (match := re.search(r"\{(.*)\}", key))} for node in cluster.keys_of_nodes()]
    assert sum(map(len, held)) == len(set.union(*held)) == 200
    assert min(map(len, held)) > 30


def test_each_node_is_given_the_scripts_it_does_not_know(cluster: Cluster, make: Callable[..., Face]) -> None:
    """As after a failover, or when a node is new."""
    heard: list[events.Event] = []
    hook = heard.append
    face = make(cluster.url, **PLENTY)
    users = on_each_node(cluster)
    for key in users:
        assert face.try_acquire(key=key)
    for admin in cluster.admins:
        admin.script_flush()
    events.add_hook(hook)
    try:
        for key in users * 2:
            assert face.try_acquire(key=key)
    finally:
        events.remove_hook(hook)
    scripts = [event.script for event in heard if isinstance(event, events.ScriptReloaded)]
    assert len(scripts) == len(users)
    assert set(scripts) <= {"throttle_acquire", "throttle_acquire_many"}
    assert [face.peek(key).remaining for key in users] == [LIMIT - 3] * len(users)


def test_a_call_whose_reply_is_cut_is_charged_once(cluster: Cluster, make: Callable[..., Face]) -> None:
    """The node that the client asks for the others names a proxy as itself."""
    key = on_each_node(cluster)[0]
    with Proxy(cluster.nodes[0].url, tcp=True) as proxy:
        announce(cluster, proxy.port)
        try:
            face = make(f"redis+cluster://127.0.0.1:{proxy.port}", **PLENTY)
            assert face.try_acquire(key=key)
            for fate in (Fate.CUT_REPLY, Fate.CUT_REQUEST):
                with proxy.during(first_copies(fate)):
                    for _ in range(20):
                        assert face.try_acquire(key=key)
            assert proxy.seen["EVALSHA"] >= 81
            assert face.peek(key).remaining == LIMIT - 41
        finally:
            announce(cluster, None)


def announce(cluster: Cluster, port: int | None) -> None:
    """Have all nodes tell clients that the first node is at this port; at its own one for None."""
    cluster.admins[0].config_set("cluster-announce-port", port or 0)
    told = f"127.0.0.1:{port or cluster.ports[0]}@"
    wait_until(
        lambda: all(told in admin.execute_command("CLUSTER", "NODES") for admin in cluster.admins),
        timeout=20,
        message="the nodes did not tell each other",
    )


def test_a_slot_that_has_moved_is_followed(cluster: Cluster, make: Callable[..., Face]) -> None:
    """The client learns of it by MOVED, from the node that had it."""
    face = make(cluster.url, **PLENTY)
    assert face.try_acquire()
    slot = next(slot_of(f"user:{number}") for number in range(99) if cluster.owner(slot_of(f"user:{number}")) == 0)
    key = next(f"user:{number}" for number in range(99) if slot_of(f"user:{number}") == slot)
    names = [admin.execute_command("CLUSTER", "MYID") for admin in cluster.admins]
    try:
        for number in (1, 0, 2):
            cluster.admins[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
        assert face.try_acquire(key=key)
        assert any("user%3A" in found for found in cluster.keys_of_nodes()[1])
    finally:
        cluster.admins[1].flushall()
        for number in (0, 1, 2):
            cluster.admins[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[0])


@contextmanager
def slot_at(cluster: Cluster, slot: int, owner: int, told: Sequence[int]) -> Iterator[None]:
    """Within the block these nodes believe that a slot belongs to another owner."""
    names = [admin.execute_command("CLUSTER", "MYID") for admin in cluster.admins]
    before = cluster.owner(slot)
    try:
        for number in told:
            cluster.admins[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[owner])
        yield
    finally:
        for admin in cluster.admins:
            admin.flushall()
        for number in range(len(names)):
            cluster.admins[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[before])


def test_a_slot_that_moves_back_and_forth_is_followed_within_its_deadline(
    cluster: Cluster, make: Callable[..., Face]
) -> None:
    """Each time by one more trip, and the client's own map is right afterwards: its other users need not be told again."""
    face = make(cluster.url, rates=[f"{LIMIT}/h"])
    key = on_each_node(cluster)[0]
    tag = keys.tag("throttle", "test", key)
    face.peek(key)
    with slot_at(cluster, slot_of(key), 1, [1, 0, 2]):
        for _ in range(3):
            assert face.try_acquire(key=key)
        assert face.client.get_node_from_key(tag).port == cluster.ports[1]
    assert face.try_acquire(key=key)
    assert face.client.get_node_from_key(tag).port == cluster.ports[0]


def test_a_key_that_is_on_its_way_to_another_node_is_asked_for_there(
    cluster: Cluster, make: Callable[..., Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASK: the new node may serve it, and does not know the script; the map does not change.

    (A script of several keys, some of which do not exist, is told TRYAGAIN there until all of the slot has moved.)
    """
    count = "redis.call('INCR', KEYS[1]) return redis.call('PEXPIRE', KEYS[1], 60000)"
    monkeypatch.setattr(redisopt.delivery, "script", lambda _: Script("count", count, sha1(count.encode()).hexdigest()))
    face = make(cluster.url, rates=[f"{LIMIT}/h"])
    tag = keys.tag("throttle", "test", on_each_node(cluster)[0])
    slot = int(key_slot(tag.encode()))
    names = [admin.execute_command("CLUSTER", "MYID") for admin in cluster.admins]
    try:
        cluster.admins[1].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        cluster.admins[0].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
        for _ in range(3):
            plan = call(Command("count", (f"{tag}count",), (), int))
            assert face.wait_for(face.real._runner.run(plan)) == 1
        assert cluster.keys_of_nodes() == [[], [f"{tag}count"], []]
        assert face.client.get_node_from_key(tag).port == cluster.ports[0]
    finally:
        for admin in cluster.admins[:2]:
            admin.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
        cluster.admins[1].flushall()


def test_a_slot_whose_node_is_silent_is_found_where_it_was_taken_over(
    cluster: Cluster, make: Callable[..., Face]
) -> None:
    """As after a failover: the first call costs its time, the first probe asks another node, which tells the new owner."""
    face = make(cluster.url, rates=[f"{LIMIT}/h"])
    users = on_each_node(cluster)
    for user in users:
        assert face.try_acquire(key=user)
    with slot_at(cluster, slot_of(users[0]), 1, [1, 2]):
        pid = cluster.nodes[0].pid
        os.kill(pid, signal.SIGSTOP)
        end = threading.Timer(3, os.kill, (pid, signal.SIGCONT))
        end.start()
        try:
            with pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
                face.try_acquire(key=users[0])
            assert until_answered(lambda: face.try_acquire(key=users[0]))
            for _ in range(3):
                with in_time(0.2):
                    assert face.try_acquire(key=users[0])
        finally:
            end.cancel()
            os.kill(pid, signal.SIGCONT)


def test_a_client_that_nobody_uses_any_more_is_collected(cluster: Cluster) -> None:
    """What we keep for it does not keep it."""
    client: Any = connect(cluster.url)
    with redisopt.Throttler(client, "test", **PLENTY) as throttler:
        throttler.try_acquire()
    client.close()
    gone = weakref.ref(client)
    del client, throttler
    gc.collect()
    assert gone() is None


def test_calls_of_many_threads_need_no_threads_of_ours(cluster: Cluster) -> None:
    """They go over connections of our own, which is what keeps them from piling up when a node is silent."""
    client: Any = connect(cluster.url)
    users = on_each_node(cluster)
    with redisopt.Throttler(client, "test", **PLENTY) as throttler:
        for user in users:
            throttler.try_acquire(key=user)
        started: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
            for user in users:
                assert throttler.try_acquire(key=user)
        assert started == []
    client.close()


def test_a_plain_client_is_told_to_use_a_cluster_client(cluster: Cluster, loop: asyncio.Runner) -> None:
    """The wrong node answers MOVED."""
    key = on_each_node(cluster)[1]
    for kind in ("sync", "async"):
        face = Face(kind, f"redis://127.0.0.1:{cluster.ports[0]}", loop, "test", rates=["9/s"])
        with pytest.raises(redisopt.Unavailable, match=r"redis\.RedisCluster"):
            face.try_acquire(key=key)
        face.close()


def test_a_node_that_stands_still_costs_a_call_its_command_timeout(cluster: Cluster, make: Callable[..., Face]) -> None:
    """The client's own timeouts and retries are longer. The users on the other nodes notice nothing."""
    face = make(cluster.url, rates=[f"{LIMIT}/h"])
    users = on_each_node(cluster)
    for key in users:
        assert face.try_acquire(key=key)
    pid = cluster.nodes[0].pid
    os.kill(pid, signal.SIGSTOP)
    end = threading.Timer(3, os.kill, (pid, signal.SIGCONT))
    end.start()
    try:
        assert face.try_acquire(key=users[1])
        with pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
            face.try_acquire(key=users[0])
        with pytest.raises(redisopt.Unavailable, match="being probed"), in_time(0.0):
            face.try_acquire(key=users[0])
        assert face.try_acquire(key=users[1])
        assert face.try_acquire(key=users[2])
    finally:
        end.cancel()
        os.kill(pid, signal.SIGCONT)
    assert until_answered(lambda: face.try_acquire(key=users[0]))


def test_the_documented_rights_are_enough_on_a_cluster(cluster: Cluster, make: Callable[..., Face]) -> None:
    """With the two more that docs/security.md names."""
    for admin in cluster.admins:
        admin.execute_command(*acl_line(), "+cluster|slots", "+command")
        admin.acl_log_reset()
    try:
        face = make(cluster.url.replace("://", "://redisopt:change-me@"), **PLENTY)
        for key in on_each_node(cluster):
            assert face.refund(face.try_acquire(key=key).permit)
        assert [admin.acl_log() for admin in cluster.admins] == [[], [], []]
    finally:
        for admin in cluster.admins:
            admin.acl_deluser("redisopt")


def test_limiters_of_a_group_can_be_joined(cluster: Cluster) -> None:
    """Those of different slots are refused with what to do."""
    with redisopt.connect(cluster.url) as client:
        apart = [redisopt.Throttler(client, name, rates=["5/min"]) for name in ("a", "b")]
        with pytest.raises(ValueError, match="group"):
            redisopt.acquire_all([each.request() for each in apart], timeout=0)
        joined = [redisopt.Throttler(client, name, rates=["5/min"], group="g") for name in ("a", "b")]
        permit = redisopt.acquire_all([joined[0].request(key="u"), joined[1].request(cost=2)], timeout=1)
        assert permit.cost == 3
        assert [joined[0].peek("u").remaining, joined[1].peek().remaining] == [4, 3]
        for each in (*apart, *joined):
            each.close()


def test_leases_and_the_line_work_on_every_node(cluster: Cluster, make: Callable[..., Face]) -> None:
    """Messages of one node's script reach who listens at another."""
    for key in map(str, range(6)):
        holder, waiter = (make(cluster.url, max_concurrent=1, lease_ttl=5, command_timeout=5.0) for _ in range(2))
        permit = holder.acquire(key=key)
        if holder.kind == "sync":
            timer = threading.Timer(0.05, permit.release)
            timer.start()
            assert waiter.acquire(key=key, timeout=5).waited < 0.6
            timer.join()
        else:

            async def hand_over(permit: Any = permit, waiter: Any = waiter, key: str = key) -> float:
                task = asyncio.ensure_future(waiter.real.acquire(key=key, timeout=5))
                await asyncio.sleep(0.05)
                await permit.release()
                return float((await task).waited)

            assert holder.wait_for(hand_over()) < 0.6


def test_what_the_fleet_is_told_reaches_keys_on_other_nodes(cluster: Cluster, make: Callable[..., Face]) -> None:
    """Within a second, where a script cannot see it; at once without a key."""
    one, other = make(cluster.url, rates=["5/h"]), make(cluster.url, rates=["5/h"])
    for face in (one, other):
        for key in ("", "a", "b", "c"):
            assert face.try_acquire(key=key)
    one.wait_for(one.real.update(rates=["50/h"]))
    assert other.peek().limit == 50
    time.sleep(1.05)
    assert [other.peek(key).limit for key in "abc"] == [50, 50, 50]
    one.wait_for(one.real.pause(30))
    assert other.try_acquire().reason == "paused"
    time.sleep(1.05)
    refused = other.try_acquire(key="a")
    assert (refused.allowed, refused.reason) == (False, "paused")
    assert 25 < refused.retry_after <= 30
    with pytest.raises(redisopt.ThrottleTimeout, match="paused"):
        other.acquire(key="a", timeout=1)
    one.wait_for(one.real.resume())
    one.wait_for(one.real.update())
    time.sleep(1.05)
    assert other.try_acquire(key="a")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_monitor_lies_on_one_node(kind: str, cluster: Cluster, loop: asyncio.Runner) -> None:
    """All its names share a slot, so that one call flushes and reads them."""
    fields: Any = {"flush_interval": 3600, "command_timeout": 10.0}

    async def measure() -> tuple[redisopt.PerformanceReport, list[str]]:
        async with (
            connect_async(cluster.url) as client,
            redisopt.AsyncPerformanceMonitor(client, "test", **fields) as monitor,
        ):
            for number in range(20):
                monitor.track(f"op {number % 2}", 0.1, labels={"n": number})
            return await monitor.report("op 0"), await monitor.names()

    if kind == "async":
        report, names = loop.run(measure())
    else:
        with connect(cluster.url) as client, redisopt.PerformanceMonitor(client, "test", **fields) as monitor:
            for number in range(20):
                monitor.track(f"op {number % 2}", 0.1, labels={"n": number})
            report, names = monitor.report("op 0"), monitor.names()

    assert report.count == 10
    assert names == ["op 0", "op 1"]
