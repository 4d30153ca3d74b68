"""A cache when the network or the server misbehaves: lost replies, outages, a full server, unknown scripts, clocks, a Cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from redisopt.clients import connect, connect_async
from redisopt.testing import ServerClock
from tests.cache_faces import CacheFace, Computation
from tests.cluster import Cluster
from tests.fragile import WAYS, FragileServer
from tests.proxy import Fate, Proxy, first_copies, is_script, whole_call
from tests.servers import RunningServer
from tests.test_acl import PASSWORD, USER, acl_line, as_user, commands_of_the_scripts, make_user
from tests.test_server_clock import LIBRARY, SetClock
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

Make = Callable[..., CacheFace]


@pytest.fixture(params=["sync", "async"])
def make_at(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes caches of one kind at any URL; closes them after."""
    faces: list[CacheFace] = []

    def make(url: str, name: str = "test", **fields: Any) -> CacheFace:
        faces.append(CacheFace(request.param, url, name, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


# --- replies and requests that are lost


@pytest.mark.parametrize("fate", [Fate.CUT_REPLY, Fate.CUT_REQUEST])
def test_every_first_copy_of_every_call_is_lost(
    server: RunningServer, client: redis.Redis, make_at: Make, fate: Fate
) -> None:
    """Asks, stores, failures, deletes, counts: each counts once."""
    with Proxy(server.url) as proxy:
        face = make_at(proxy.url, failure_ttl=0)
        lose = first_copies(fate, whole_call)
        with proxy.during(lose):
            compute, failing = Computation(), Computation(error=ValueError("no"))
            for number in range(5):
                assert face.compute(f"k{number}", compute) == number + 1
                assert face.compute(f"k{number}", compute) == number + 1
                with pytest.raises(ValueError, match="no"):
                    face.compute(f"f{number}", failing)
            face.set("k0", "set", tags=["t"])
            assert face.get("k0") == "set"
            face.invalidate("t")
            assert face.get("k0") is None
            assert face.delete("k1") is True, "also where the second copy answers"
            assert face.get("k1") is None
            counted = face.metrics()
        face.close()
        face.close = lambda: None  # type: ignore[method-assign]
    assert (counted.misses, counted.computed, counted.errors) == (12, 5, 5)
    assert counted.hits == 6


def test_a_late_copy_changes_nothing(server: RunningServer, client: redis.Redis, make_at: Make) -> None:
    """Of a set or a delete, whose first copy comes when others have changed the key since."""
    with Proxy(server.url) as proxy:
        face, other = make_at(proxy.url), make_at(server.url)
        face.set("k", "warm")
        first = first_copies(Fate.STRAY, whole_call)

        def stray(words: list[bytes]) -> Fate:
            return first(words) if b"{cache:test:k}" in whole_call(words) else Fate.PASS

        with proxy.during(stray):
            face.set("k", "v1")
            other.set("k", "v2")
            proxy.deliver_strays()
            assert other.get("k") == "v2"
            assert face.delete("k") is True
            other.set("k", "v3")
            proxy.deliver_strays()
            assert other.get("k") == "v3"
            other.delete("k")
            proxy.deliver_strays()
            assert other.get("k") is None


def test_a_computation_whose_lease_came_with_a_lost_reply_is_begun_once(
    server: RunningServer, client: redis.Redis, make_at: Make
) -> None:
    """The reply is cut until the time for the call is over: the caller computes without Redis, and holds nobody else up."""
    with Proxy(server.url) as proxy:
        face, other = make_at(proxy.url, command_timeout=0.3), make_at(server.url)
        with proxy.during(lambda words: Fate.CUT_REPLY if is_script(words) else Fate.PASS):
            assert face.compute("k", Computation(value="alone")) == "alone"
        began = time.monotonic()
        wait_until(lambda: other.compute("k", Computation(value="other")) == "other", 15)
        assert time.monotonic() - began < 12, "at most the lease"


# --- servers that go away


@pytest.mark.parametrize("way", WAYS)
def test_without_redis_each_process_computes_for_itself(make_at: Make, way: str) -> None:
    """Once for all its callers at a time; at once after the first, and Redis is used again when it is back."""
    with FragileServer() as server:
        face = make_at(server.url, command_timeout=0.3)
        face.set("k", "kept")
        with server.away(way):
            slow = Computation(0.3, value="computed")
            began = time.monotonic()
            assert face.compute("k", slow) == "computed"
            assert time.monotonic() - began < 0.3 + 0.3 + 1.5
            began = time.monotonic()
            futures = [face.begin("k", slow) for _ in range(20)]
            assert [each.result(20) for each in futures] == ["computed"] * 20
            assert slow.most == 1
            assert slow.calls <= 4
            with pytest.raises(ValueError, match="no"):
                face.compute("k", Computation(error=ValueError("no")))
            assert face.get("k", "default") == "default"
            for method, arguments in (
                ("set", ("k", 1)),
                ("delete", "k"),
                ("invalidate", "t"),
                ("peek", "k"),
                ("metrics", ()),
            ):
                with pytest.raises(redisopt.Unavailable):
                    getattr(face, method)(*arguments)
        wait_until(lambda: _answers(face), 10)
        kept = "again" if way == "killed" else "kept"
        assert face.compute("k", Computation(value="again")) == kept
        assert face.metrics().unavailable >= 3


def _answers(face: CacheFace) -> bool:
    try:
        face.peek("k")
    except redisopt.Unavailable:
        return False
    return True


def test_without_redis_a_copy_of_this_process_serves(make_at: Make) -> None:
    """Even one that is older than local_ttl, for as long as its value would be served."""
    with FragileServer() as server:
        face = make_at(server.url, command_timeout=0.3, local_ttl=0.2, ttl=60)
        brief = make_at(server.url, "brief", command_timeout=0.3, local_ttl=0.2, ttl=0.4)
        for each in (face, brief):
            each.compute("k", Computation(value="kept"))
            wait_until(partial(_has_copy, each))
        with server.away("cut off"):
            time.sleep(1.6)
            assert face.compute("k", Computation(value="computed")) == face.get("k") == "kept"
            assert brief.compute("k", Computation(value="computed")) == "computed"


def test_what_hangs_since_an_outage_is_replaced(make_at: Make) -> None:
    """It has no lease that could end: for those that wait for it already, too."""
    with FragileServer() as server:
        face, other = (make_at(server.url, command_timeout=0.3, compute_timeout=1.0) for _ in range(2))
        face.set("warm", 1)
        began, go_on = threading.Event(), threading.Event()

        def hang() -> str:
            began.set()
            assert go_on.wait(60)
            return "late"

        with server.away("cut off"):
            hung = face.begin("k", hang)
            assert began.wait(20)
            waiting = face.begin("k", Computation(value="new"), timeout=15)
        wait_until(lambda: _answers(face), 10)
        assert waiting.result(20) == "new"
        assert face.compute("k", Computation(value="new"), timeout=15) == "new"
        other.set("k", "newer")
        assert face.compute("k", Computation()) == "newer"
        go_on.set()
        assert hung.result(20) == "late"
        assert face.compute("k", Computation()) == "newer"


@pytest.mark.parametrize("how", ["computed", "set", "found"])
def test_without_redis_a_copy_of_a_negative_answer_serves_no_longer_than_it_would(make_at: Make, how: str) -> None:
    """Which is `negative_ttl`, whatever `stale_for`; also for a process that would keep it as any other value."""
    with FragileServer() as server:
        fields: Any = {"command_timeout": 0.3, "stale_for": 600, "stale_if_error": 600, "local_ttl": 0.2}
        face, plain = make_at(server.url, negative_ttl=1.0, **fields), make_at(server.url, **fields)
        wait_until(lambda: _holds(face if how != "found" else plain, how, face))
        began = time.monotonic()
        with server.away("cut off"):
            copies = (plain if how == "found" else face).real._plans._copies._copies
            assert [copy.payload for copy in copies.values()] == [b"\xc0"]
            assert all(copy.ends <= began + 1.0 for copy in copies.values())
            time.sleep(max(0.0, began + 1.1 - time.monotonic()))
            late = plain if how == "found" else face
            assert late.compute("k", Computation(value="found since")) == "found since"


def _holds(face: CacheFace, how: str, first: CacheFace) -> bool:
    """Whether it has a copy of None: a first copy is dropped once it listens."""
    if how == "set":
        first.set("k", None)
    else:
        first.compute("k", lambda: None)
    if how == "found":
        face.get("k")
    return bool(face.real._plans._copies._copies)


def _has_copy(face: CacheFace) -> bool:
    return face.get("k") == "kept" and bool(face.real._plans._copies._copies)


def test_without_redis_it_raises_where_that_was_chosen(make_at: Make) -> None:
    with FragileServer() as server:
        face = make_at(server.url, command_timeout=0.3, on_unavailable="raise", local_ttl=0.01)
        face.set("k", "kept")
        with server.away("killed"):
            time.sleep(0.05)
            computing = Computation()
            with pytest.raises(redisopt.Unavailable):
                face.compute("k", computing)
            with pytest.raises(redisopt.Unavailable):
                face.get("k")
            assert computing.calls == 0
        wait_until(lambda: _answers(face), 10)
        assert face.compute("k", computing) == 1


def test_who_computes_while_redis_goes_away_gets_its_value(make_at: Make) -> None:
    """Also whoever waits for it."""
    with FragileServer() as server:
        face, other = (make_at(server.url, command_timeout=0.3) for _ in range(2))
        leader = face.begin("k", Computation(0.8, value="leader"))
        wait_until(lambda: other.peek("k").computed_by)
        waiter = other.begin("k", Computation(value="alone"))
        time.sleep(0.1)
        with server.away("killed"):
            assert leader.result(20) == "leader"
            assert waiter.result(20) == "alone"
        wait_until(lambda: _answers(face), 10)
        assert face.metrics().uncached == 1


def test_an_outage_is_told_once(make_at: Make, caplog: pytest.LogCaptureFixture) -> None:
    """And whoever closes during it leaves nothing behind that goes on."""
    with FragileServer() as server:
        face = make_at(server.url, command_timeout=0.3)
        face.set("k", "kept")
        with server.away("killed"):
            for number in range(3):
                assert face.compute(f"k{number}", Computation()) == 1
                assert face.get("k", "default") == "default"
            face.do(face.real.close if face.kind == "sync" else face.real.aclose)
            wait_until(lambda: not face.real._plans._counting._kept.get(face.real._runner.place()), 5.0)
            wait_until(lambda: not face.real._plans._counting._running, 5.0)
    assert caplog.text.count("cache 'test': on_unavailable='compute' decides: ") == 1


def test_what_stands_in_the_way_is_deleted(make_cache: Make, client: redis.Redis) -> None:
    """Somebody else's key, of another type."""
    face = make_cache()
    client.set("redisopt:v1:{cache:test:k}:entry", "not ours", ex=60)
    with pytest.raises(redisopt.RedisOptError):
        face.compute("k", Computation())
    assert face.delete("k") is False
    assert face.compute("k", Computation()) == 1


def test_a_server_that_forgets_its_scripts_is_given_them(make_cache: Make, client: redis.Redis) -> None:
    face = make_cache()
    for number in range(3):
        client.script_flush()
        assert face.compute(f"k{number}", Computation()) == 1
        client.script_flush()
        assert face.get(f"k{number}") == 1


# --- a full server


@pytest.mark.parametrize("policy", ["compute", "raise"])
def test_a_full_server_still_serves_and_what_is_computed_is_returned(
    make_cache: Make, client: redis.Redis, policy: str
) -> None:
    """Nothing is written; the value is counted as uncached. Whatever is chosen for an outage: Redis is there."""
    face = make_cache(on_unavailable=policy)
    face.set("k", "kept")
    face.metrics()
    client.config_set("maxmemory", 1)
    try:
        before = {key: client.dump(key) for key in client.scan_iter()}
        assert face.compute("k", Computation()) == face.get("k") == "kept"
        slow = Computation(0.2, value="new")
        assert [each.result(20) for each in [face.begin("new", slow) for _ in range(5)]] == ["new"] * 5
        assert slow.calls == 1
        with pytest.raises(redisopt.Unavailable, match="is full"):
            face.set("k", "no room")
        assert face.get("k") == "kept"
        assert {key: client.dump(key) for key in client.scan_iter()} == before
        assert face.delete("k")
        assert face.metrics().uncached == 1
    finally:
        client.config_set("maxmemory", 0)
    assert face.compute("new", Computation(value="kept now")) == "kept now"
    assert face.metrics().uncached == 1


def test_a_server_that_fills_up_during_a_computation_refuses_the_value_whole(
    make_cache: Make, client: redis.Redis
) -> None:
    """Its caller gets it; who waits computes next, and at once."""
    face, other = make_cache(), make_cache()
    go_on = threading.Event()
    leader = face.begin("k", lambda: go_on.wait(30) and "leader")
    wait_until(lambda: other.peek("k").computed_by)
    waiter = other.begin("k", Computation(value="waiter"))
    time.sleep(0.1)
    client.config_set("maxmemory", 1)
    began = time.monotonic()
    go_on.set()
    try:
        assert leader.result(20) == "leader"
        assert waiter.result(20) == "waiter"
        assert time.monotonic() - began < 3
        assert not client.exists("redisopt:v1:{cache:test:k}:value")
    finally:
        client.config_set("maxmemory", 0)
    assert other.compute("k", Computation(value="room")) == "room"


def test_a_full_server_invalidates_and_renews(make_cache: Make, client: redis.Redis) -> None:
    """What is not to be served is not, and who computes keeps the lease."""
    face, other = make_cache(lease_ttl=0.4), make_cache(lease_ttl=0.4)
    face.set("k", "old", tags=["t"])
    slow = Computation(1.5, value="leader")
    leader = face.begin("slow", slow)
    wait_until(lambda: other.peek("slow").computed_by)
    client.config_set("maxmemory", 1)
    try:
        other.invalidate("t")
        assert face.get("k") is None
        time.sleep(0.8)
        assert other.peek("slow").computed_by
    finally:
        client.config_set("maxmemory", 0)
    assert other.compute("slow", slow) == leader.result(20) == "leader"
    assert slow.calls == 1


# --- clocks


@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_clock_that_is_set_off_costs_a_ttl_at_most(make_cache: Make, clock: ServerClock, seconds: int) -> None:
    """Set back, what was kept in what is now the future is computed anew, and a lease from there holds nobody up."""
    face = make_cache(ttl=10, failure_ttl=5)
    face.compute("k", Computation(value="old"))
    with pytest.raises(ValueError, match="no"):
        face.compute("f", Computation(error=ValueError("no")))
    clock.advance(seconds)
    assert face.compute("k", Computation(value="new")) == "new"
    assert face.compute("f", Computation(value="found")) == "found"
    clock.advance(9)
    assert face.get("k") == "new"
    clock.advance(1.1)
    assert face.get("k") is None


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("seconds", [-60, 60])
def test_the_servers_clock_is_set_a_minute_off_while_one_computes(make_at: Make, tmp_path: Path, seconds: int) -> None:
    """Nobody is stalled; the newest value stays."""
    clock = SetClock("valkey-9.1", tmp_path)
    face, other = make_at(clock.url), make_at(clock.url)
    leader = face.begin("k", Computation(0.6, value="leader"))
    wait_until(lambda: other.peek("k").computed_by)
    clock.step(seconds)
    began = time.monotonic()
    assert other.compute("k", Computation(value="other")) in {"leader", "other"}
    assert leader.result(20) == "leader"
    assert time.monotonic() - began < 3
    assert other.compute("k", Computation(value="late")) in {"leader", "other"}
    for each in (face, other):
        each.close()
        each.close = lambda: None  # type: ignore[method-assign]
    clock.server.close()


# --- a Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


@pytest.fixture(params=["sync", "async"])
def on_cluster(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Make]:
    """Makes caches on the Cluster; closes them after."""
    cluster.empty()
    faces: list[CacheFace] = []

    def make(**fields: Any) -> CacheFace:
        connected = connect(cluster.url) if request.param == "sync" else connect_async(cluster.url)
        faces.append(CacheFace(request.param, cluster.url, client=connected, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()
    for admin in cluster.admins:
        assert [key for key in admin.scan_iter() if admin.pttl(key) == -1] == []


def test_on_a_cluster_values_are_spread_over_all_nodes(on_cluster: Make, cluster: Cluster) -> None:
    face, other = on_cluster(), on_cluster()
    locate = Computation()
    for each in (face, other):
        assert [each.compute(f"k{number}", locate) for number in range(60)] == list(range(1, 61))
    assert all(len(keys) > 20 for keys in cluster.keys_of_nodes())
    face.metrics()
    assert other.metrics().hits == 60
    assert face.delete("k1")
    assert other.get("k1") is None


def test_on_a_cluster_callers_wait_for_one_and_leases_are_renewed(on_cluster: Make) -> None:
    face, other = on_cluster(lease_ttl=1.0), on_cluster(lease_ttl=1.0)
    slow = Computation(2.5)
    leaders = [face.begin(f"k{number}", slow) for number in range(6)]
    wait_until(lambda: slow.calls == 6)
    waiting = [other.begin(f"k{number}", slow) for number in range(6)]
    assert sorted(each.result(20) for each in leaders) == sorted(each.result(20) for each in waiting)
    assert slow.calls == 6


def test_on_a_cluster_tags_hold_across_slots(on_cluster: Make) -> None:
    """A value's tags are looked up by a second call; what was invalidated is neither served nor refreshed from."""
    face, other = on_cluster(ttl=60, stale_for=60, stale_if_error=60), on_cluster(local_ttl=60)
    for number in range(10):
        face.compute(f"k{number}", Computation(value="old"), tags=["all", f"n{number % 2}"])
    assert [other.get(f"k{number}") for number in range(10)] == ["old"] * 10
    face.invalidate("n1")
    wait_until(lambda: [other.get(f"k{number}") for number in range(10)] == ["old", None] * 5)
    assert [face.peek(f"k{number}").exists for number in range(2)] == [True, False]
    with pytest.raises(ValueError, match="no"):
        face.compute("k1", Computation(error=ValueError("no")))
    assert face.compute("k3", Computation(value="new"), tags=["n1"]) == other.compute("k3", Computation()) == "new"
    slow = Computation(0.5, value="late")
    leader = face.begin("k5", slow, tags=["n1"])
    wait_until(lambda: slow.calls)
    other.invalidate("n1")
    assert leader.result(20) == "late"
    assert other.get("k5") is None


def test_on_a_cluster_changes_reach_copies_of_other_processes(on_cluster: Make) -> None:
    face, other = on_cluster(local_ttl=60), on_cluster(local_ttl=60)
    face.set("k", 1)
    wait_until(lambda: other.get("k") == 1 and bool(other.real._plans._copies._copies))
    time.sleep(0.3)
    assert other.get("k") == 1
    face.set("k", 2)
    wait_until(lambda: other.get("k") == 2, 2)


# --- least privilege


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_all_of_a_cache_works_for_the_documented_user(kind: str, server: RunningServer, client: redis.Redis) -> None:
    """Waits, refreshes, failures, tags, copies, counts: ACL LOG stays empty."""
    client.acl_log_reset()
    make_user(client, acl_line())
    client.config_resetstat()
    url = as_user(server.url, USER, PASSWORD)
    fields: Any = {
        "ttl": 0.2,
        "stale_for": 60,
        "stale_if_error": 60,
        "lease_ttl": 0.3,
        "negative_ttl": 5,
        "failure_ttl": 0.1,
    }
    face = CacheFace(kind, url, local_ttl=0.1, negative_errors=LookupError, **fields)
    other = CacheFace(kind, url, negative_errors=LookupError, **fields)
    try:
        leader = face.begin("k", Computation(0.5), tags=["a", "b"])
        wait_until(lambda: other.peek("k").computed_by)
        assert other.compute("k", Computation()) == leader.result(20) == 1
        time.sleep(0.25)
        assert other.compute("k", Computation(value=2)) == 1
        wait_until(lambda: other.get("k") == 2)
        other.set("k", 3, tags=["a"])
        time.sleep(0.25)
        with pytest.raises(KeyError):
            face.compute("n", Computation(error=KeyError("n")))
        with pytest.raises(ValueError, match="no"):
            face.compute("f", Computation(error=ValueError("no")))
        face.invalidate("a")
        assert face.get("k") is None
        assert face.delete("n") is False
        assert face.metrics().negative == 1
        assert [entry for entry in client.acl_log() if entry["reason"] != "auth"] == []
        ran = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert commands_of_the_scripts("cache") - ran == set(), "this test no longer makes the scripts run these"
    finally:
        face.close()
        other.close()
        client.acl_deluser(USER)
        client.acl_log_reset()
