"""Tags: values that are invalidated together, in one write however many they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from redisopt.cache.asking import KEEP_TAGS_MS
from redisopt.cache.config import MAX_SECONDS
from redisopt.testing import ServerClock
from tests.cache_faces import CacheFace, Computation
from tests.waiting import wait_until

Make = Callable[..., CacheFace]


def test_all_values_of_a_tag_are_invalidated(make_cache: Make) -> None:
    face, other = make_cache(), make_cache()
    for number in range(20):
        face.compute(f"k{number}", Computation(value="old"), tags=[f"n{number % 2}", "all"])
    face.set("set", "old", tags=["n1"])
    other.invalidate("n1")
    assert [face.get(f"k{number}") for number in range(20)] == ["old", None] * 10
    assert face.get("set") is None
    other.invalidate("nobody has it")
    assert face.get("k0") == "old"
    face.invalidate("all")
    assert face.get("k0") is None
    assert face.compute("k1", Computation(value="new"), tags=["n1"]) == other.get("k1") == "new"


def test_an_invalidation_costs_the_same_however_many_values_there_are(make_cache: Make, client: redis.Redis) -> None:
    """A read and a write of the tag's version; and a message."""
    face = make_cache()
    for number in range(300):
        face.set(f"k{number}", "old", tags=["all"])
    client.config_resetstat()
    face.invalidate("all")
    calls: Any = client.info("commandstats")
    ran = {name.removeprefix("cmdstat_"): each["calls"] for name, each in calls.items()}
    assert {name: ran.get(name, 0) for name in ("get", "set", "publish")} == {"get": 1, "set": 1, "publish": 1}
    assert not ran.keys() & {"del", "scan", "keys", "smembers"}
    assert face.get("k299") is None


def test_a_tag_whose_version_was_evicted_holds_nothing(make_cache: Make, client: redis.Redis) -> None:
    """Before it was invalidated, after, and while a value is computed: no value comes back to life."""
    face, other = make_cache(), make_cache()
    version = "redisopt:v1:{cache:test}:tag:t"
    face.compute("k", Computation(value="old"), tags=["t"])
    face.invalidate("t")
    client.delete(version)
    assert face.get("k") is None
    face.compute("k", Computation(value="new"), tags=["t"])
    assert other.get("k") == "new"
    client.delete(version)
    assert other.get("k") is None
    slow = Computation(0.4, value="late")
    leader = face.begin("k", slow, tags=["t"])
    wait_until(lambda: slow.calls)
    client.delete(version)
    other.set("other", 1, tags=["t"])
    assert leader.result(20) == "late"
    assert (other.get("k"), other.get("other")) == (None, 1)


def test_a_version_that_is_made_anew_within_a_millisecond_is_another_one(
    make_cache: Make, client: redis.Redis, clock: ServerClock
) -> None:
    face = make_cache()
    face.compute("k", Computation(value="old"), tags=["t"])
    client.delete("redisopt:v1:{cache:test}:tag:t")
    clock.advance(0.0001)
    face.set("other", 1, tags=["t"])
    assert (face.get("k"), face.get("other")) == (None, 1)


def test_a_tags_version_is_kept_anew_with_each_value(make_cache: Make, client: redis.Redis) -> None:
    face = make_cache()
    version = "redisopt:v1:{cache:test}:tag:t"
    face.set("k", 1, tags=["t"])
    client.pexpire(version, 60_000)
    face.compute("other", Computation(), tags=["t"])
    assert int(client.pttl(version)) > KEEP_TAGS_MS - 60_000
    assert face.get("k") == 1


def test_an_invalidated_value_is_served_to_nobody(make_cache: Make, clock: ServerClock) -> None:
    """Not while it is computed anew, nor where that fails."""
    face = make_cache(ttl=10, stale_for=60, stale_if_error=60)
    face.set("k", "old", tags=["t"])
    face.invalidate("t")
    with pytest.raises(ValueError, match="no"):
        face.compute("k", Computation(error=ValueError("no")))
    clock.advance(11)
    assert face.get("k") is None
    assert face.compute("k", Computation(value="new")) == "new"


def test_a_value_is_invalid_whose_computation_began_before(make_cache: Make) -> None:
    face, other = make_cache(), make_cache()
    slow = Computation(0.4, value="late")
    leader = face.begin("k", slow, tags=["t"])
    wait_until(lambda: slow.calls)
    other.invalidate("t")
    assert leader.result(20) == "late"
    assert other.get("k") is None


def test_two_invalidations_at_once_are_two(make_cache: Make, clock: ServerClock) -> None:
    """Within one millisecond, and though the clock is set back: a version never comes again."""
    face = make_cache()
    for back in (0, 0, -5, 3):
        clock.advance(back)
        face.compute("k", Computation(value="old"), tags=["t"])
        face.invalidate("t")
        assert face.get("k") is None


def test_a_tags_version_outlives_every_value(make_cache: Make, client: redis.Redis) -> None:
    face = make_cache(stale_for=MAX_SECONDS, stale_if_error=MAX_SECONDS)
    face.set("k", 1, ttl=MAX_SECONDS, tags=["t"])
    face.invalidate("t")
    left: Any = client.pttl("redisopt:v1:{cache:test}:tag:t")
    assert left > client.pttl("redisopt:v1:{cache:test:k}:value") + 3600_000
    assert left <= KEEP_TAGS_MS


@pytest.mark.parametrize("tag", ["a b", "=", "a=1", "1", "a=b=2", "%", "ü", "{x}", "k" * 1024, "\n", "tag=x"])
def test_any_text_is_a_tag(make_cache: Make, tag: str) -> None:
    face = make_cache(local_ttl=60)
    others = [each for each in ("a", "1", "b", "x", "a=b") if each != tag]
    face.set("k", 1, tags=[tag, *others])
    face.set("other", 2, tags=others)
    time.sleep(0.01)
    face.invalidate(tag)
    assert (face.get("k"), face.get("other")) == (None, 2)
    assert face.peek("other").tags == tuple(others)
