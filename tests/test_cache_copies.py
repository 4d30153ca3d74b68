"""Copies of values in a process: how many, how old, and how it hears that they are over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis

import redisopt
from redisopt.background import now
from redisopt.cache.config import CacheConfig
from redisopt.cache.copies import Copies
from redisopt.cache.layout import Layout
from tests.cache_faces import CacheFace, Computation
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., CacheFace]

LAYOUT = Layout("test")
NONE: frozenset[str] = frozenset()


def some_copies(**fields: Any) -> Copies:
    return Copies(CacheConfig(**{"local_ttl": 60} | fields), LAYOUT)


def keep(
    copies: Copies, key: str, fence: int = 1, tags: frozenset[str] = NONE, fresh: float = 60, heard: str = ""
) -> bool:
    """Read a value, while word comes; whether it became a copy."""
    place = LAYOUT.place(key)
    reading = copies.begin(place)
    if heard:
        copies.hear(heard)
    copies.put(reading, b"payload", fence, tags, fresh, fresh)
    copies.end(reading)
    copy = copies.get(place)
    return copy is not None and copy.fence == fence


def test_the_least_used_copies_make_room() -> None:
    copies = some_copies(local_size=3)
    for key in "abc":
        keep(copies, key)
    copies.get(LAYOUT.place("a"))
    keep(copies, "d")
    assert [key for key in "abcd" if copies.get(LAYOUT.place(key))] == ["a", "c", "d"]


def test_copies_are_bounded_in_bytes() -> None:
    """A value of seven bytes each time."""
    copies = some_copies(local_bytes=21)
    assert all(keep(copies, key) for key in "abc")
    assert keep(copies, "b", 2), "in place of its older one"
    assert keep(copies, "d")
    assert [key for key in "abcd" if copies.get(LAYOUT.place(key))] == ["b", "c", "d"]
    copies.hear("key=c=inf")
    assert keep(copies, "e")
    assert [key for key in "bcde" if copies.get(LAYOUT.place(key))] == ["b", "d", "e"]
    assert not keep(some_copies(local_bytes=6), "a")


def test_without_local_ttl_there_are_none() -> None:
    assert not keep(some_copies(local_ttl=0), "k")


def test_a_copy_is_good_for_local_ttl_and_while_its_value_is_fresh() -> None:
    for fields, fresh in (({"local_ttl": 0.05}, 60.0), ({}, 0.05)):
        copies = some_copies(**fields)
        assert keep(copies, "k", fresh=fresh)
        time.sleep(0.06)
        assert copies.get(LAYOUT.place("k")) is None
        assert (copies.get(LAYOUT.place("k"), away=True) is None) == (fresh < 1)


def test_word_that_comes_before_the_reply_keeps_it_from_becoming_a_copy() -> None:
    copies = some_copies()
    assert not keep(copies, "k", 5, heard="key=k=6")
    assert keep(copies, "k", 6, heard="key=k=6"), "that very value"
    assert not keep(copies, "l", 5, frozenset({"t"}), heard="tag=t")
    assert not keep(copies, "m", 5, heard="missed")
    assert keep(copies, "n", 5, frozenset({"t"}), heard="key=other=9 tag=other")


def test_word_drops_older_copies_alone() -> None:
    copies = some_copies()
    for key, tags in (("a", NONE), ("b", frozenset({"t"})), ("c", NONE), ("d", NONE)):
        assert keep(copies, key, 5, tags)
    copies.hear("key=a=6 tag=t key=c=5")
    assert [key for key in "abcd" if copies.get(LAYOUT.place(key))] == ["c", "d"]
    copies.hear("missed")
    assert copies.get(LAYOUT.place("c")) is None


def test_an_older_value_does_not_replace_a_newer_copy() -> None:
    copies = some_copies()
    assert keep(copies, "k", 7)
    assert not keep(copies, "k", 6)
    copy = copies.get(LAYOUT.place("k"))
    assert copy is not None
    assert copy.fence == 7
    assert copy.good_until <= now() + 60


def settled(*faces: CacheFace) -> None:
    """Have all listen: a first copy is dropped once they do."""
    for face in faces:
        wait_until(partial(_keeps, face))


def _keeps(face: CacheFace) -> bool:
    face.compute("settled", Computation())
    before = face.metrics().local_hits
    time.sleep(0.1)
    face.compute("settled", Computation())
    return bool(face.metrics().local_hits > before)


def test_a_copy_saves_asking_redis(make_cache: Make, client: redis.Redis) -> None:
    face = make_cache(local_ttl=60)
    settled(face)
    face.compute("k", Computation())
    client.config_resetstat()
    for _ in range(100):
        assert face.compute("k", Computation()) == face.get("k") == 1
    calls: Any = client.info("commandstats")
    assert calls.get("cmdstat_evalsha", {"calls": 0})["calls"] <= 2, "the counts"


@pytest.mark.long
@pytest.mark.parametrize("change", ["set", "delete", "invalidate", "compute"])
def test_a_change_reaches_the_copies_of_all_processes(make_cache: Make, change: str) -> None:
    """In milliseconds, not after local_ttl; and the process that made it sees it at once."""
    faces = [make_cache(local_ttl=60, ttl=0.5 if change == "compute" else 60) for _ in range(3)]
    settled(*faces)
    for face in faces:
        assert face.compute("k", Computation(value="old"), tags=["t"]) == "old"
    if change == "set":
        faces[0].set("k", "new")
    elif change == "delete":
        faces[0].delete("k")
    elif change == "invalidate":
        faces[0].invalidate("t")
    else:
        time.sleep(0.55)
    assert faces[0].compute("k", Computation(value="new")) == "new"
    changed = time.monotonic()
    wait_until(lambda: [face.get("k") for face in faces] == ["new"] * 3, 1.0)
    assert time.monotonic() - changed < 0.5


def test_lost_word_costs_local_ttl_at_most(make_cache: Make, client: redis.Redis) -> None:
    face, other = make_cache(local_ttl=0.5), make_cache()
    settled(face)
    face.compute("k", Computation(value="old"))
    for each in client.client_list(_type="pubsub"):
        client.client_kill_filter(_id=each["id"])
    other.set("k", "new")
    wait_until(lambda: face.get("k") == "new", 0.5 + 0.3)


def test_nobody_listens_after_the_end(server: RunningServer, client: redis.Redis) -> None:
    """Within the beats of what runs in the background, not within local_ttl."""
    with redisopt.Cache(redis.from_url(server.url), "over", local_ttl=3600, command_timeout=5) as cache:
        cache.set("k", 1)
        assert cache.get("k") == cache.get("k") == 1
        assert threads_of("over")
    wait_until(lambda: not threads_of("over"), 5.0)


def threads_of(name: str) -> list[str]:
    """What runs in the background for a cache."""
    return [each.name for each in threading.enumerate() if each.name.startswith(f"redisopt-cache-{name}-")]


def test_who_has_no_copies_still_tells_others_what_it_sets(make_cache: Make) -> None:
    face, other = make_cache(local_ttl=60), make_cache()
    settled(face)
    face.compute("k", Computation(value="old"))
    other.set("k", "new")
    wait_until(lambda: face.get("k") == "new", 1.0)


def test_who_has_no_copies_still_tells_others_what_it_computes(make_cache: Make) -> None:
    """A value that is refreshed before its end: the copy would be good for five seconds."""
    face, other = make_cache(local_ttl=60), make_cache(ttl=5, early_refresh=100)
    settled(face)
    other.compute("k", Computation(0.3, value="old"))
    assert face.get("k") == "old"
    wait_until(lambda: other.compute("k", Computation(value="new")) == "new", 2.0)
    wait_until(lambda: face.get("k") == "new", 1.0)
