"""A debouncer when the network or the server misbehaves: lost replies, restarts, unknown scripts, clocks, a Cluster, a full server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.crc

import redisopt
from redisopt.clients import connect, connect_async
from redisopt.commands import call
from redisopt.server import EmbeddedServer
from tests.cluster import Cluster
from tests.debounce_faces import DebounceFace
from tests.fleet import FORK, in_threads
from tests.fragile import FragileServer, Lateness
from tests.proxy import Fate, Proxy, first_copies, is_script, whole_call
from tests.servers import RunningServer, binary
from tests.test_acl import PASSWORD, USER, acl_line, as_user, commands_of_the_scripts, make_user
from tests.test_debounce import slowly
from tests.test_sentinel import Watched
from tests.test_server_clock import LIBRARY, SetClock
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

Make = Callable[..., DebounceFace]


@pytest.fixture(params=["sync", "async"])
def make_at(request: pytest.FixtureRequest) -> Iterator[Callable[..., DebounceFace]]:
    """Makes debouncers of one kind at any URL; closes them after."""
    faces: list[DebounceFace] = []

    def make(url: str, name: str = "test", **fields: Any) -> DebounceFace:
        faces.append(DebounceFace(request.param, url, name, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


# --- replies and requests that are lost


@pytest.mark.parametrize("fate", [Fate.CUT_REPLY, Fate.CUT_REQUEST])
def test_every_first_copy_of_every_call_is_lost(
    server: RunningServer, client: redis.Redis, make_at: Make, make_debouncer: Make, fate: Fate
) -> None:
    """Submits, claims, ends of runs, results: each counts once, and each window runs once."""
    with Proxy(server.url) as proxy:
        face, judge = make_at(proxy.url, collect="all", wait=0.1), make_debouncer(collect="all", wait=0.1)
        lose = first_copies(fate, whole_call)
        with proxy.during(lose):
            face.handle()
            face.start()
            tickets = [face.submit(number, key=f"key {number % 2}") for number in range(10)]
            values = [face.result(ticket).value for ticket in tickets]
    metrics = judge.metrics()

    assert sorted(payload for ran in face.runs for payload in ran.payload) == list(range(10))
    assert values[8] == [0, 2, 4, 6, 8] or len(face.runs) > 2
    assert metrics.calls == 10
    assert metrics.runs == metrics.done == len(face.runs)


@pytest.mark.parametrize("fate", [Fate.CUT_REPLY, Fate.CUT_REQUEST])
def test_what_was_cancelled_or_replayed_is_told_though_the_first_reply_is_lost(
    server: RunningServer, client: redis.Redis, make_at: Make, make_debouncer: Make, fate: Fate
) -> None:
    def fail(payload: Any, _: redisopt.Run) -> Any:
        raise ValueError(payload)

    with Proxy(server.url) as proxy:
        face, other = make_at(proxy.url, wait=60, max_attempts=1), make_debouncer(wait=0, max_attempts=1)
        lose = first_copies(fate, whole_call)
        for number in range(3):
            face.submit(number)
        with proxy.during(lose):
            assert face.cancel() == 3
            assert face.cancel() == 0
        other.handle(fail)
        other.start()
        with pytest.raises(redisopt.RedisOptError):
            other.result(other.submit("a"))
        other.do(other._workers.pop().stop)
        (letter,) = other.dead()
        with proxy.during(lose):
            assert face.replay(letter.id) == 1
            assert face.replay(letter.id) == 0
            assert face.cancel() == 1


def test_a_callers_own_retry_is_known_by_its_call_id(
    server: RunningServer, client: redis.Redis, make_at: Make, make_debouncer: Make
) -> None:
    """The reply to b is lost for good; c comes from another process; b is sent again, by another one still."""
    with Proxy(server.url) as proxy:
        face = make_at(proxy.url, wait=0.6, command_timeout=0.3)
        others = [make_debouncer(wait=0.6) for _ in range(2)]
        face.submit("a", call_id="a")
        with proxy.during(lambda words: Fate.CUT_REPLY if is_script(words) else Fate.PASS):
            with pytest.raises(redisopt.Unavailable) as raised:
                face.submit("b", call_id="b")
            assert raised.value.sent
        others[0].submit("c", call_id="c")
        due = others[0].peek().due_after
        ticket = others[1].submit("b", call_id="b")
        pending = others[1].peek()
    assert pending.calls == 3
    assert pending.due_after <= due
    others[1].handle()
    others[1].start()
    result = others[1].result(ticket)
    assert (result.value, result.calls, result.superseded) == ("c", 3, True)


def test_a_server_that_forgets_its_scripts_is_given_them(make_debouncer: Make, client: redis.Redis) -> None:
    face = make_debouncer(wait=0.05)
    face.handle()
    face.start()
    for number in range(3):
        client.script_flush()
        assert face.result(face.submit(number)).value == number


# --- servers that go away


def test_who_waits_while_the_server_loses_all_is_told_so(make_at: Make) -> None:
    with FragileServer() as server:
        face = make_at(server.url, wait=1.0)
        ticket = face.submit("a")
        raised: list[BaseException] = []

        def wait() -> None:
            with pytest.raises(redisopt.StateLost) as error:
                face.result(ticket)
            raised.append(error.value)

        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.2)
        with server.away("killed"):
            time.sleep(0.2)
        waiter.join(15)
        assert raised
        face.handle()
        face.start()
        assert face.result(face.submit("again", call_id="a")).value == "again"


def test_a_window_outlives_a_restart_of_a_server_that_persists(make_at: Make, tmp_path: Path) -> None:
    options = ["--appendonly", "yes", "--appendfsync", "always", "--dir", str(tmp_path)]
    with EmbeddedServer(binary=binary("valkey-9.1"), args=options) as server, redis.from_url(server.url) as client:
        face = make_at(server.url, wait=0.5, collect="all")
        for number in range(3):
            face.submit(number)
    with EmbeddedServer(binary=binary("valkey-9.1"), args=options) as server:
        other = make_at(server.url, wait=0.5, collect="all")
        other.handle()
        other.start()
        wait_until(lambda: other.runs)
        assert other.runs[0].payload == [0, 1, 2]
    del client


def test_a_worker_goes_on_when_the_server_is_back(make_at: Make) -> None:
    """Also one whose run was under way: what it did is said then."""
    with FragileServer() as server:
        face = make_at(server.url, wait=0, command_timeout=0.3)
        face.handle(slowly(0.4))
        face.start()
        ticket = face.submit("a")
        wait_until(lambda: face.runs)
        with server.away("cut off"):
            time.sleep(0.8)
        assert face.result(ticket).value == "a"
        assert face.result(face.submit("b")).value == "b"
        assert [ran.payload for ran in face.runs] == ["a", "b"]


def test_a_full_server_refuses_calls_whole_and_lets_runs_end(make_debouncer: Make, client: redis.Redis) -> None:
    face = make_debouncer(wait=0.3, collect="all")
    tickets = [face.submit(number, key=f"key {number}") for number in range(5)]
    client.config_set("maxmemory", 1)
    try:
        before = {key: client.dump(key) for key in client.scan_iter()}
        with pytest.raises(redisopt.Unavailable, match="is full"):
            face.submit("no room")
        assert {key: client.dump(key) for key in client.scan_iter()} == before
        face.handle()
        face.start()
        wait_until(lambda: len(face.runs) == 5)
        wait_until(lambda: face.metrics().running == 0)
    finally:
        client.config_set("maxmemory", 0)
    assert sorted(face.result(ticket).value[0] for ticket in tickets) == list(range(5))


# --- clocks


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("seconds", [-60, 60])
def test_the_servers_clock_is_set_a_minute_off(make_at: Make, tmp_path: Path, seconds: int) -> None:
    """A window that is pending then runs within a wait, not a minute late; nothing is lost."""
    clock = SetClock("valkey-9.1", tmp_path)
    face = make_at(clock.url, wait=0.6, collect="all")
    face.handle()
    face.start()
    ticket = face.submit("a")
    clock.step(seconds)
    stepped = time.monotonic()
    assert face.result(ticket).value == ["a"]
    assert time.monotonic() - stepped < 0.6 + 1.0
    assert face.result(face.submit("b")).value == ["b"]
    face.close()
    clock.server.close()
    face.close = lambda: None  # type: ignore[method-assign]


CALLER = """
import select, sys, time, redis, redisopt
client = redis.from_url(sys.argv[1])
debouncer = redisopt.Debouncer(client, "test", wait=0.32, max_wait=0.64, command_timeout=5)
debouncer.peek()
began = time.monotonic()
for number, at in enumerate([0, 0.2, 0.4, 0.6]):
    select.select([], [], [], max(0, began + at - time.monotonic()))  # libfaketime breaks time.sleep
    debouncer.submit(number)
print(time.time())
"""

EXECUTOR = """
import sys, threading, time, redis, redisopt
client = redis.from_url(sys.argv[1])
debouncer = redisopt.Debouncer(client, "test", wait=0.32, max_wait=0.64, lease_ttl=2, command_timeout=5)
ran = threading.Event()

@debouncer.handler
def handle(payload, run):
    client.rpush("log", f"{payload} {run.waited} {run.attempt} {time.time()}")
    until = time.monotonic() + 5  # past its lease, which only beats can renew
    while payload == 3 and time.monotonic() < until:
        ran.wait(0.1)

with debouncer.worker():
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("whose", ["caller", "executor"])
@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_clock_of_a_process_decides_nothing(
    server: RunningServer, client: redis.Redis, whose: str, seconds: int
) -> None:
    """One whose clock is a minute off calls as any other, and its window is due at its cap; one runs, and renews its lease."""
    false = os.environ | {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    environments = {each: false if each == whose else dict(os.environ) for each in ("caller", "executor")}
    executor = subprocess.Popen(
        [sys.executable, "-c", EXECUTOR, server.url],
        env=environments["executor"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert executor.stdout is not None
        assert executor.stdout.readline() == "ready\n"
        with Lateness() as late:
            called = subprocess.run(
                [sys.executable, "-c", CALLER, server.url],
                env=environments["caller"],
                check=True,
                capture_output=True,
                text=True,
            )
            wait_until(lambda: client.hget("redisopt:v1:{debounce:test:0}:state", "done") in (b"1", b"2"), 15)
            wait_until(lambda: not client.exists("redisopt:v1:{debounce:test:0}:leases"), 15)
            wait_until(lambda: not client.exists("redisopt:v1:{debounce:test:0}:due"), 15)
    finally:
        executor.communicate("", timeout=20)
    lines: Any = client.lrange("log", 0, -1)
    log = [line.decode().split() for line in lines]
    client.delete("log")
    clock = float(called.stdout) if whose == "caller" else float(log[0][3])
    assert abs(clock - time.time() - seconds) < 30, "its clock was not off"
    assert 1 <= len(log) <= 2
    assert 0.64 <= float(log[0][1]) <= 0.64 + 0.05 + 4 * late.seconds
    assert log[-1][0] == "3"
    assert {attempt for _, _, attempt, _ in log} == {"1"}, "a run was taken over though its executor lived"


# --- a Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_on_a_cluster_keys_are_spread_over_all_nodes(cluster: Cluster, kind: str) -> None:
    cluster.empty()
    client = connect(cluster.url) if kind == "sync" else None
    face = DebounceFace(kind, cluster.url, client=client or connect_async(cluster.url), wait=0.1, collect="all")
    face.handle()
    face.start(concurrency=4)
    tickets = [face.submit(number, key=f"key {number % 60}") for number in range(180)]
    values = [face.result(ticket).value for ticket in tickets]
    assert sorted({payload for value in values for payload in value}) == list(range(180))
    assert all(cluster.keys_of_nodes())
    assert face.flush("key 1") is None
    assert face.cancel("key 1") == 0
    assert face.metrics().calls == 180

    def add() -> int:
        return 5

    async def add_async() -> int:
        return 5

    assert face.execute(add if kind == "sync" else add_async, key="k") == 5
    face.close()
    for admin in cluster.admins:
        assert [key for key in admin.scan_iter() if admin.pttl(key) == -1] == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_on_a_cluster_a_node_that_stands_still_stops_no_other(kind: str) -> None:
    """Keys of the other nodes run meanwhile, its own when it is back."""
    with Cluster() as cluster:
        for admin in cluster.admins:
            admin.config_set("cluster-require-full-coverage", "no")
        client = connect(cluster.url) if kind == "sync" else None
        face = DebounceFace(
            kind, cluster.url, client=client or connect_async(cluster.url), wait=0.1, lease_ttl=3, command_timeout=1.0
        )
        face.handle()
        face.start(concurrency=4)
        keys = [f"key {number}" for number in range(30)]
        for key in keys:
            face.result(face.submit(key, key=key))
        owners = {
            key: cluster.owner(redis.crc.key_slot(face.real._plans.asking.layout.place(key).tag.encode()))
            for key in keys
        }
        away = owners[keys[0]]
        others = [key for key in keys if owners[key] != away]
        face.submit("waits", key=keys[0])
        pid = int(cluster.admins[away].info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            for key in others[:6]:
                assert face.result(face.submit("meanwhile", key=key)).value == "meanwhile"
            assert time.monotonic() - began < 10
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: any(ran.payload == "waits" for ran in face.runs), 15)
        face.close()


# --- a failover


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_replica_has_runs_after_a_failover_and_what_it_has_not_is_told(tmp_path: Path, kind: str) -> None:
    """The replica is promoted without the last write: who waits for that is told, and can submit it again under its call id."""
    watched = Watched(tmp_path)
    try:
        with redis.from_url(watched.servers[0].url) as first, redis.from_url(watched.servers[1].url) as second:
            second.replicaof("127.0.0.1", str(watched.ports[0]))
            wait_until(lambda: second.info("replication")["master_link_status"] == "up", 20)
            client: Any = connect(watched.url) if kind == "sync" else connect_async(watched.url)
            face = DebounceFace(kind, watched.url, client=client, wait=3.0)
            kept = [face.submit(number, key="kept") for number in range(3)]
            wait_until(lambda: second.exists("redisopt:v1:{debounce:test:0}:key:kept"))
            assert first.wait(1, 5000) >= 0
            second.replicaof("NO", "ONE")
            lost = face.submit("lost", key="lost", call_id="order 7")
        watched.name_the_second()
        watched.servers[0].close()
        face.handle()
        face.start()
        with pytest.raises(redisopt.StateLost):
            face.result(lost, 20)
        assert face.result(face.submit("again", key="lost", call_id="order 7"), 20).value == "again"
        assert {face.result(ticket, 20).value for ticket in kept} == {2}
        assert [ran.payload for ran in face.runs if ran.run.key == "kept"] == [2]
        face.close()
    finally:
        watched.close()


# --- a throttle


def test_a_window_that_is_due_waits_for_a_permit_and_takes_what_comes_meanwhile(
    server: RunningServer, make_debouncer: Make
) -> None:
    """One run a second: a window that is due 0.32 s after the first run is run a second after it, with all called until then."""
    kind = make_debouncer().kind
    client: Any = redis.from_url(server.url) if kind == "sync" else redis.asyncio.from_url(server.url)
    maker: Any = redisopt.Throttler if kind == "sync" else redisopt.AsyncThrottler
    throttler = maker(client, "runs", rates=["1/s"], command_timeout=5.0)
    face = make_debouncer("joined", wait=0.32, collect="all", throttler=throttler)
    face.handle()
    face.start()
    called = time.monotonic()
    tickets = [face.submit(0)]
    wait_until(lambda: face.runs)
    began = time.monotonic()
    for number, at in ((1, 0.0), (2, 0.4), (3, 0.7)):
        time.sleep(max(0.0, began + at - time.monotonic()))
        tickets.append(face.submit(number))
    results = [face.result(ticket) for ticket in tickets]

    assert [ran.payload for ran in face.runs] == [[0], [1, 2, 3]]
    assert face.runs[1].at - called >= 0.32 + 1 - 0.01
    assert face.runs[1].at - began < 1.5
    assert results[1].window == results[3].window
    time.sleep(0.2)
    face.do(throttler.close if kind == "sync" else throttler.aclose)
    face.do(client.close if kind == "sync" else client.aclose)


# --- other processes and users


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_submits_and_works_by_itself(server: RunningServer, client: redis.Redis) -> None:
    with redisopt.Debouncer(redis.from_url(server.url), "test", wait=0.05, command_timeout=5) as debouncer:
        debouncer.handler(lambda payload: [payload, os.getpid()])

        def be_a_child(pipe: Any) -> None:
            with debouncer.worker():
                pipe.send(debouncer.submit("child's", key="c").result(10).value)

        here, there = FORK.Pipe(duplex=False)
        child = FORK.Process(target=be_a_child, args=(there,))
        child.start()
        assert here.poll(20)
        assert here.recv() == ["child's", child.pid]
        child.join(10)
        with debouncer.worker():
            assert debouncer.submit("ours").result(10).value == ["ours", os.getpid()]
    debouncer._runner.client.close()


def refuse_bad(payload: Any, _: redisopt.Run) -> Any:
    """A handler that takes its time."""
    time.sleep(0.2)
    if payload == ["bad"]:
        raise ValueError("bad")
    return payload


def test_all_of_it_works_for_the_documented_user(server: RunningServer, client: redis.Redis, make_at: Make) -> None:
    """ACL LOG stays empty, and no right is left out of this test."""
    client.acl_log_reset()
    make_user(client, acl_line())
    client.script_flush()
    client.config_resetstat()
    try:
        url = as_user(server.url, USER, PASSWORD)
        fields: dict[str, Any] = {"wait": 1.0, "collect": "all", "max_attempts": 1, "leading": True, "lease_ttl": 0.3}
        face = make_at(url, **fields)

        face.handle(refuse_bad)
        face.start()
        first = face.submit("a", call_id="a")
        face.submit("b")
        assert face.result(first).value == ["a"]
        assert face.flush().value == ["b"]
        face.submit("c")
        face.cancel()
        with pytest.raises(redisopt.RunFailed):
            face.result(face.submit("bad", key="bad"))
        other = make_at(url, "other", **fields | {"leading": False, "wait": 0.3, "max_wait": 0.5})
        late = [other.submit("bad", key="late") for _ in "ab"]
        other.handle(lambda *_: 1 / 0)
        other.start()
        with pytest.raises(redisopt.RunFailed):
            other.result(late[0])
        assert len(face.dead()) == len(other.dead()) == face.replay() == 1
        other.replay()
        face.peek("bad")
        assert face.metrics().calls == 4

        def give() -> str:
            time.sleep(1.2)
            return "given"

        async def give_async() -> str:
            return await asyncio.to_thread(give)

        function = {"sync": give, "async": give_async}[face.kind]
        third = make_at(url, "other", wait=0.3, lease_ttl=0.3)
        given: list[str] = []
        in_threads([lambda: given.append(third.execute(function)), lambda: given.append(other.execute(function))])
        assert given == ["given"] * 2
        with pytest.raises(redisopt.ResultTimeout):
            other.execute(function, timeout=0.05)
        wait_until(lambda: face.metrics().running + face.metrics().pending_operations == 0)
        wait_until(lambda: other.metrics().running + other.metrics().pending_operations == 0)
        assert client.acl_log() == []
        ran = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert commands_of_the_scripts("debounce") - ran == set()
    finally:
        client.acl_deluser(USER)
        client.acl_log_reset()


def test_who_waits_on_a_full_server_is_not_refused(make_debouncer: Make, client: redis.Redis) -> None:
    """Neither for the outcome of a handler, nor for a function's turn."""
    face = make_debouncer(wait=1.5)
    face.handle()
    ticket = face.submit("a")
    values: list[Any] = []

    def give() -> str:
        return "f"

    async def give_async() -> str:
        return "f"

    function = give if face.kind == "sync" else give_async
    waiter = threading.Thread(target=lambda: values.append(face.execute(function, key="f", timeout=20)))
    waiter.start()
    wait_until(lambda: face.peek("f").calls == 1)
    client.config_set("maxmemory", 1)
    try:
        asking = face.real._plans.asking
        asked = asking.result(asking.layout.place(""), ticket.window)
        assert face.do(face.real._runner.run, call(asked)).status == "pending"
        holder = next(iter(face.real._plans.closures._callers._open.values())).id
        window = face.peek("f").window
        asked = asking.take(asking.layout.closures("f"), window, holder, "attempt")
        assert face.do(face.real._runner.run, call(asked)).status == "pending"
        face.start()
        assert face.result(ticket).value == "a"
        waiter.join(20)
    finally:
        client.config_set("maxmemory", 0)
    assert values == ["f"]
