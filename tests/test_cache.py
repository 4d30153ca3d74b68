"""What a cache does for its callers: one computes, all get the value; what may be set, forgotten and seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from redisopt.policies import Policy
from tests.cache_faces import CacheFace, Computation
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., CacheFace]


def computing(face: CacheFace, key: str) -> bool:
    return bool(face.peek(key).computed_by)


# --- one computes, all use it


def test_a_value_is_computed_once_and_found_by_all(make_cache: Make) -> None:
    first, second = make_cache(), make_cache()
    locate = Computation(value={"lat": 48.4, "tags": [1, "a", b"b", None]})

    assert first.compute("ulm", locate) == second.compute("ulm", locate) == {"lat": 48.4, "tags": [1, "a", b"b", None]}
    assert second.compute("ulm", locate) == first.get("ulm")
    assert locate.calls == 1


def test_arguments_go_to_the_function(make_cache: Make) -> None:
    face = make_cache()
    assert face.compute("k", lambda *args, **kwargs: [list(args), kwargs], 1, 2, function=3, args=4) == [
        [1, 2],
        {"function": 3, "args": 4},
    ]


def test_each_caller_gets_a_value_of_its_own(make_cache: Make) -> None:
    """One that changes it changes nobody else's, with a copy in the process or without."""
    for local_ttl in (0, 60):
        face = make_cache(f"own {local_ttl}", local_ttl=local_ttl)
        face.compute("k", Computation(value=[1])).append(2)
        for _ in range(3):
            face.compute("k", Computation()).append(3)
        assert face.get("k") == [1]


def test_callers_of_several_processes_wait_for_the_one_that_computes(make_cache: Make) -> None:
    """They are woken at once, not within the second after which they would ask."""
    faces = [make_cache() for _ in range(5)]
    slow = Computation(0.5)
    leader = faces[0].begin("k", slow)
    wait_until(lambda: computing(faces[1], "k"))
    began = time.monotonic()
    waiting = [face.begin("k", slow) for face in faces for _ in range(4)]
    assert [each.result(20) for each in [leader, *waiting]] == [1] * 21
    assert time.monotonic() - began < 1.5
    assert slow.calls == 1
    counted = faces[0].metrics()
    assert (counted.misses, counted.computed) == (1, 1)


def test_callers_of_one_process_ask_redis_once(make_cache: Make, client: redis.Redis) -> None:
    face = make_cache()
    slow = Computation(0.4)
    face.get("other")
    client.config_resetstat()
    futures = [face.begin("k", slow) for _ in range(30)]
    assert [each.result(20) for each in futures] == [1] * 30
    calls: Any = client.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] <= 6, "ask, store, and what goes on in the background"


def test_different_keys_are_computed_at_once(make_cache: Make) -> None:
    face = make_cache()
    slow = Computation(0.3)
    futures = [face.begin(f"k{number}", slow) for number in range(5)]
    for each in futures:
        each.result(20)
    assert slow.calls == slow.most == 5


def test_a_wait_is_bounded_by_its_timeout(make_cache: Make) -> None:
    face, other = make_cache(), make_cache(wait_timeout=0.2)
    leader = face.begin("k", Computation(1.2))
    wait_until(lambda: computing(other, "k"))
    began = time.monotonic()
    with pytest.raises(redisopt.ResultTimeout):
        other.compute("k", Computation())
    with pytest.raises(redisopt.ResultTimeout):
        face.compute("k", Computation(), timeout=0.1)
    assert time.monotonic() - began < 0.9
    assert leader.result(20) == 1
    assert other.compute("k", Computation(), timeout=0) == 1


@pytest.mark.long
def test_a_long_computation_keeps_its_lease(make_cache: Make) -> None:
    """Three leases long."""
    face, other = make_cache(lease_ttl=0.4), make_cache(lease_ttl=0.4)
    slow = Computation(1.3)
    leader = face.begin("k", slow)
    wait_until(lambda: computing(other, "k"))
    assert other.compute("k", slow) == leader.result(20) == 1
    assert slow.calls == 1


def test_a_cancelled_task_leaves_its_turn_to_the_next(server: RunningServer, client: redis.Redis) -> None:
    face, other = CacheFace("async", server.url), CacheFace("async", server.url)
    slow = Computation(5.0)
    leader = face.begin("k", slow)
    wait_until(lambda: computing(other, "k"))
    follower, waiter = face.begin("k", Computation(0.1, value="here")), other.begin("k", Computation(0.1, value="here"))
    time.sleep(0.1)
    began = time.monotonic()
    leader.cancel()
    assert follower.result(20) == waiter.result(20) == "here"
    assert time.monotonic() - began < 1.5
    for each in (face, other):
        each.close()


# --- as a decorator and as a policy


calls: list[Any] = []


def locate(city: str, country: str = "de", *, exact: bool = False) -> str:
    """A function with arguments of all kinds."""
    calls.append(city)
    return f"{city}, {country}"


def one(user: object) -> int:
    """A function of anything."""
    return 1


def test_a_decorated_function_is_cached_by_its_arguments(make_cache: Make) -> None:
    face = make_cache()
    calls.clear()
    cached = face.real(face.of_kind(locate))
    assert face.do(cached, "Ulm") == face.do(cached, city="Ulm", country="de") == "Ulm, de"
    assert face.do(cached, "Ulm", exact=True) == "Ulm, de"
    assert face.do(cached, "Linz", "at") == "Linz, at"
    assert calls == ["Ulm", "Ulm", "Linz"]
    assert cached.__name__ == "locate"


def test_a_decorator_takes_key_ttl_and_tags(make_cache: Make) -> None:
    face = make_cache()
    calls: list[Any] = []

    def look_up(user: str, **_: Any) -> int:
        calls.append(user)
        return len(calls)

    decorate = face.real(key=lambda user, **_: user, ttl=60, tags=lambda user, **_: [f"user:{user}", "all"])
    cached = decorate(face.of_kind(look_up))
    assert face.do(cached, "ada", verbose=True) == face.do(cached, "ada") == 1
    assert face.do(cached, "bob") == 2
    assert face.peek("ada").tags == ("user:ada", "all")
    assert 59 < face.peek("ada").ttl_left <= 60
    face.invalidate("user:ada")
    assert face.do(cached, "ada") == 3
    assert face.do(cached, "bob") == 2


def test_arguments_that_make_no_key_are_refused(make_cache: Make) -> None:
    face = make_cache()
    cached = face.real(face.of_kind(one))
    with pytest.raises(ValueError, match=r"argument user of .* is a object, which makes no key"):
        face.do(cached, object())
    assert face.do(cached, {"b": [1, (2, None)], "a": b"x"}) == 1
    assert face.do(cached, "x" * 5000) == 1


def test_a_policy_goes_around_any_plan(make_cache: Make) -> None:
    face = make_cache()
    policy: Policy = face.real.policy("k", tags=["t"])
    inner = Computation()

    def plan() -> Any:
        return inner()
        yield

    for _ in range(3):
        assert face.do(face.real._runner.run, policy.around(plan)) == 1
    assert face.peek("k").tags == ("t",)


# --- set, get, delete


def test_what_is_set_is_found_and_what_is_deleted_is_not(make_cache: Make) -> None:
    face, other = make_cache(), make_cache()
    assert face.get("k", "none") == "none"
    face.set("k", {"a": 1}, ttl=60)
    assert face.get("k") == other.get("k") == other.compute("k", Computation()) == {"a": 1}
    assert other.delete("k") is True
    assert face.delete("k") is False
    assert face.get("k", 0) == 0


def test_none_is_a_value_like_any_other(make_cache: Make) -> None:
    face = make_cache()
    face.set("k", None)
    assert face.get("k", "default") is None


@pytest.mark.parametrize("change", ["set", "delete", "invalidate"])
def test_what_is_computed_while_the_key_changes_is_not_kept(make_cache: Make, change: str) -> None:
    """It was begun before the change. Its own caller gets it; those that come or waited later do not."""
    face, other = make_cache(), make_cache()
    slow = Computation(0.6, value="old")
    leader = face.begin("k", slow, tags=["tag"])
    wait_until(lambda: slow.calls)
    waiter = other.begin("k", Computation(value="new"), tags=["tag"])
    follower = face.begin("k", Computation(value="new"), tags=["tag"])
    time.sleep(0.1)
    {
        "set": lambda: other.set("k", "new"),
        "delete": lambda: other.delete("k"),
        "invalidate": lambda: other.invalidate("tag"),
    }[change]()
    assert leader.result(20) == "old"
    assert waiter.result(20) == "new"
    assert follower.result(20) == ("old" if change == "invalidate" else "new")
    assert face.compute("k", Computation(value="new")) == other.get("k") == "new"


def test_a_process_that_changed_a_key_does_not_get_what_it_began_before(make_cache: Make) -> None:
    face = make_cache()
    leader = face.begin("k", Computation(0.6, value="old"))
    wait_until(lambda: computing(face, "k"))
    face.set("k", "new")
    assert face.compute("k", Computation()) == "new"
    assert leader.result(20) == "old"
    assert face.get("k") == "new"


# --- looking


def test_peek_says_how_a_key_stands(make_cache: Make) -> None:
    face = make_cache(ttl=60, stale_for=30)
    assert face.peek("k") == redisopt.CacheEntry(False, 0, 0.0, 0.0, False, 0.0, 0.0, (), "", 0.0, "", 0.0)
    future = face.begin("k", Computation(0.3), tags=["a b", "é%="])
    wait_until(lambda: computing(face, "k"))
    peeked = face.peek("k")
    assert peeked.computed_by.startswith(redisopt.identity.process_id())
    assert peeked.computing_for < 5
    future.result(20)
    peeked = face.peek("k")
    assert peeked.exists
    assert not peeked.stale
    assert peeked.size == 1
    assert 50 < peeked.ttl_left <= 60
    assert 80 < peeked.ends_in <= 90
    assert 0.3 <= peeked.took < 5
    assert peeked.tags == ("a b", "é%=")


def test_the_fleet_counts_together(make_cache: Make) -> None:
    faces = [make_cache() for _ in range(3)]
    for face in faces:
        face.compute("k", Computation())
        face.get("nothing")
        face.metrics()
    counted = faces[0].metrics()
    assert (counted.hits, counted.misses, counted.computed) == (2, 4, 1)
    assert counted.hit_rate == pytest.approx(2 / 6)


@pytest.mark.long
def test_counts_come_in_by_themselves_and_at_the_end(make_cache: Make, client: redis.Redis) -> None:
    face = make_cache()
    face.compute("k", Computation())
    wait_until(lambda: client.hget("redisopt:v1:{cache:test}:counts", "misses") == b"1", 10)
    face.get("k")
    face.do(face.real.close if face.kind == "sync" else face.real.aclose)
    assert client.hget("redisopt:v1:{cache:test}:counts", "hits") == b"1"


def test_names_and_keys_reach_nothing_else(make_cache: Make) -> None:
    keys = ["a", "a:entry", "{a}", "a}:value", "a b", "*", "ü", "k" * 1024, "\n", "key=a=1", "tag="]
    face, other = make_cache("x", local_ttl=60), make_cache("x:a", local_ttl=60)
    for number, key in enumerate(keys):
        face.set(key, number, tags=[key])
        other.set(key, -number)
    face.invalidate("a b")
    assert [face.get(key, "gone") for key in keys] == [0, 1, 2, 3, "gone", 5, 6, 7, 8, 9, 10]
    assert [other.get(key) for key in keys] == [-number for number in range(len(keys))]


def test_a_value_takes_little_memory(make_cache: Make, client: redis.Redis) -> None:
    """Of a value of 100 bytes."""
    face = make_cache()
    face.compute("city:4711", Computation(value="x" * 98))
    size = sum(
        int(client.memory_usage(f"redisopt:v1:{{cache:test:city%3A4711}}:{part}") or 0) for part in ("entry", "value")
    )
    assert size <= 700


def test_threads_and_forks_go_on(server: RunningServer, client: redis.Redis) -> None:
    """A forked child has a cache of its own, that shares the values."""
    from tests.fleet import FORK

    with redisopt.Cache(redis.from_url(server.url), "forks", local_ttl=60, command_timeout=5) as cache:
        cache.get_or_compute("k", lambda: "parent")
        here, there = FORK.Pipe(duplex=False)

        def work() -> None:
            there.send((cache.get_or_compute("k", lambda: "child"), cache.get_or_compute("c", lambda: "child")))

        child = FORK.Process(target=work)
        child.start()
        assert here.poll(20)
        assert here.recv() == ("parent", "child")
        child.join(10)
        assert cache.get_or_compute("c", lambda: "parent") == "child"
    wait_until(lambda: not [each for each in threading.enumerate() if each.name == "redisopt-cache-forks-copies"])
