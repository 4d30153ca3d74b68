"""What is served while a value is computed anew, or cannot be: stale values, early refreshes, failures, negative answers."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.testing import ServerClock
from tests.cache_faces import CacheFace, Computation
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., CacheFace]


# --- stale while it is refreshed


def test_a_stale_value_is_served_at_once_and_refreshed_by_one(make_cache: Make, clock: ServerClock) -> None:
    """For as long as the refresh takes."""
    faces = [make_cache(ttl=10, stale_for=60) for _ in range(5)]
    calls: list[int] = []
    refreshed = threading.Event()

    def compute() -> int:
        calls.append(len(calls) + 1)
        assert calls == [1] or refreshed.wait(60)
        return len(calls)

    assert faces[0].compute("k", compute) == 1
    clock.advance(10.001)
    assert [face.compute("k", compute) for face in faces for _ in range(4)] == [1] * 20
    assert faces[0].get("k") == 1
    assert faces[0].peek("k").stale
    refreshed.set()
    wait_until(lambda: not faces[0].peek("k").stale, 20)
    assert [face.compute("k", compute) for face in faces] == [2] * 5
    assert calls == [1, 2]
    # Who refreshed counts that a moment after the value is there.
    wait_until(lambda: [face.metrics() for face in faces][-1].computed == 2)
    counted = faces[0].metrics()
    assert (counted.misses, counted.stale, counted.refreshed, counted.computed) == (1, 21, 1, 2)


def test_a_value_that_is_too_stale_is_computed_first(make_cache: Make, clock: ServerClock) -> None:
    face = make_cache(ttl=10, stale_for=60)
    face.compute("k", Computation(value="old"))
    clock.advance(70.001)
    assert face.get("k") is None
    assert face.compute("k", Computation(value="new")) == "new"


def test_without_stale_for_the_end_is_the_end(make_cache: Make, clock: ServerClock) -> None:
    face = make_cache(ttl=10)
    face.compute("k", Computation(value="old"))
    clock.advance(10.001)
    assert face.compute("k", Computation(value="new")) == "new"


def test_no_more_than_max_refreshes_go_on_at_once(make_cache: Make, clock: ServerClock) -> None:
    """What this process does not refresh, another one may."""
    face, other = make_cache(ttl=10, stale_for=60, max_refreshes=2), make_cache(ttl=10, stale_for=60)
    slow, others = Computation(0.5), Computation()
    for number in range(4):
        face.set(f"k{number}", "old")
    clock.advance(11)
    assert [face.compute(f"k{number}", slow) for number in range(4)] == ["old"] * 4
    wait_until(lambda: slow.calls == 2)
    assert [other.compute(f"k{number}", others) for number in range(4)] == ["old"] * 4
    wait_until(lambda: others.calls == 2)
    assert (slow.calls, slow.most) == (2, 2)


def test_who_closes_gives_its_refreshes_to_others(make_cache: Make, clock: ServerClock) -> None:
    face, other = make_cache(ttl=10, stale_for=60), make_cache(ttl=10, stale_for=60)
    face.set("k", "old")
    clock.advance(11)
    assert face.compute("k", Computation(0.5, value="late")) == "old"
    wait_until(lambda: other.peek("k").computed_by)
    face.do(face.real.close if face.kind == "sync" else face.real.aclose)
    assert other.compute("k", Computation(value="new")) == "old"
    wait_until(lambda: other.get("k") == "new")
    time.sleep(0.6)
    assert other.get("k") == "new"


def test_a_child_that_closes_leaves_its_parents_refreshes(server: RunningServer, client: redis.Redis) -> None:
    from tests.fleet import FORK

    with redisopt.Cache(redis.from_url(server.url), "forks", ttl=0.05, stale_for=60, command_timeout=5) as cache:
        cache.set("k", "old")
        time.sleep(0.1)
        go_on = threading.Event()
        assert cache.get_or_compute("k", lambda: go_on.wait(20) and "new") == "old"
        wait_until(lambda: cache.peek("k").computed_by)
        child = FORK.Process(target=cache.close)
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert cache.peek("k").computed_by
        go_on.set()
        wait_until(lambda: cache.metrics().computed == 1)
        assert (cache.get("k"), cache.metrics().lost) == ("new", 0)


def test_a_loop_that_closes_leaves_the_refreshes_of_others(server: RunningServer, client: redis.Redis) -> None:
    cache = redisopt.AsyncCache(redis.asyncio.from_url(server.url), "loops", ttl=60, stale_for=60, command_timeout=5)
    began, go_on = threading.Event(), threading.Event()
    got: list[Any] = []

    async def slow() -> str:
        began.set()
        await asyncio.to_thread(go_on.wait, 20)
        return "new"

    async def refresh() -> None:
        await cache.set("k", "old", ttl=0.05)
        await asyncio.sleep(0.1)
        assert await cache.get_or_compute("k", slow) == "old"
        await asyncio.to_thread(go_on.wait, 20)
        for _ in range(100):
            got.append(await cache.get("k"))
            await asyncio.sleep(0.02)
        await cache._runner._client.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(refresh()))
    thread.start()
    assert began.wait(20)
    asyncio.run(cache.aclose())
    go_on.set()
    thread.join(20)
    assert got[-1] == "new"


# --- early refreshes


def test_a_value_is_refreshed_the_earlier_the_longer_it_takes(make_cache: Make, clock: ServerClock) -> None:
    """XFetch: with a beta of 1, half of the callers would refresh 0.69 times the computation's time before the end."""
    face = make_cache(ttl=100, early_refresh=1.0)
    face.compute("k", Computation(0.2))
    clock.advance(90)
    for _ in range(50):
        assert face.compute("k", Computation()) == 1
    assert face.metrics().early == 0, "50 times its time before the end"
    clock.advance(9.9)
    refreshing = Computation(value="new")
    for _ in range(50):
        face.compute("k", refreshing)
    wait_until(lambda: face.get("k") == "new")
    counted = face.metrics()
    assert (counted.early, counted.refreshed) == (1, 1)


def test_an_early_refresh_is_as_likely_as_xfetch_says(make_cache: Make, clock: ServerClock) -> None:
    """By the exponential law: exp(-left / (beta * took)) of those that ask."""
    from redisopt.cache.asking import Asking
    from redisopt.cache.config import CacheConfig
    from redisopt.commands import call

    face = make_cache(ttl=100)
    face.compute("k", Computation(0.2))
    took = face.peek("k").took
    clock.advance(100 - took)
    asking = Asking("test", CacheConfig(), clustered=False)
    place = asking.layout.place("k")

    def status(eager: float) -> str:
        found: Any = face.do(face.real._runner.run, call(asking.ask(place, "", eager, "", refresh=True)))
        return str(found.status)

    assert status(0.9) == "hit"
    draws = [random.expovariate(1.0) for _ in range(2000)]
    assert 0.32 < sum(draw >= 1 for draw in draws) / 2000 < 0.42, "exp(-1) is 0.37"


def test_jitter_shortens_ttls(make_cache: Make) -> None:
    face = make_cache(ttl=100, ttl_jitter=0.5)
    for number in range(30):
        face.set(f"k{number}", 1)
    left = [face.peek(f"k{number}").ttl_left for number in range(30)]
    assert all(49 < each <= 100 for each in left)
    assert max(left) - min(left) > 15


# --- failures


def test_a_failure_is_its_callers_own_and_others_are_told(make_cache: Make, clock: ServerClock) -> None:
    """Nobody hammers what has failed: for `failure_ttl` all are told so, then one tries again."""
    faces = [make_cache(failure_ttl=1.0) for _ in range(3)]
    failing = Computation(error=ValueError("no such city"))
    with pytest.raises(ValueError, match="no such city"):
        faces[0].compute("k", failing)
    for face in faces:
        with pytest.raises(redisopt.ComputeFailed, match="computing 'k' failed: ValueError: no such city") as raised:
            face.compute("k", failing)
        assert raised.value.error == "ValueError: no such city"
        assert 0 < raised.value.retry_after <= 1
        assert face.get("k", "default") == "default"
        assert face.peek("k").failure == "ValueError: no such city"
    assert failing.calls == 1
    clock.advance(1.001)
    assert faces[1].compute("k", Computation(value="found")) == "found"
    assert faces[0].compute("k", failing) == "found"
    counted = [face.metrics() for face in faces][-1]
    assert (counted.errors, counted.failed) == (1, 3)


def test_who_waits_for_a_computation_that_fails_is_told(make_cache: Make) -> None:
    face, other = make_cache(), make_cache()
    failing = Computation(0.4, error=KeyError("k"))
    leader = face.begin("k", failing)
    wait_until(lambda: other.peek("k").computed_by)
    waiting = [each.begin("k", failing) for each in (face, other) for _ in range(5)]
    with pytest.raises(KeyError):
        leader.result(20)
    for each in waiting:
        with pytest.raises(redisopt.ComputeFailed, match="KeyError: 'k'"):
            each.result(20)
    assert failing.calls == 1


def test_a_timeout_is_a_failure_like_any_other(make_cache: Make) -> None:
    """A backend that hangs gets one call in `failure_ttl`, not one from each that waits."""
    faces = [make_cache(failure_ttl=30) for _ in range(4)]
    hung = Computation(0.4, error=redisopt.OperationTimeout("not over within 0.4 s"))
    futures = [face.begin("k", hung) for face in faces]
    raised = [type(each.exception(20)) for each in futures]
    assert sorted(each.__name__ for each in raised) == ["ComputeFailed"] * 3 + ["OperationTimeout"]
    assert hung.calls == 1


def test_without_failure_ttl_those_who_wait_try_one_at_a_time(make_cache: Make) -> None:
    faces = [make_cache(failure_ttl=0) for _ in range(4)]
    failing = Computation(0.1, error=ValueError("no"))
    for future in [face.begin("k", failing) for face in faces]:
        with pytest.raises(ValueError, match="no"):
            future.result(20)
    assert (failing.calls, failing.most) == (4, 1)


def test_an_old_value_is_served_where_its_computation_fails(
    make_cache: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Within stale_if_error; it is tried again after `failure_ttl` only."""
    face, other = (make_cache(ttl=10, stale_if_error=60, failure_ttl=5) for _ in range(2))
    failing = Computation(error=ValueError("backend is down"))
    face.compute("k", Computation(value="old"))
    clock.advance(30)
    assert face.get("k") is None
    with caplog.at_level(logging.WARNING, "redisopt"):
        assert face.compute("k", failing) == "old"
    assert "its value of 30.0 s ago is served: ValueError: backend is down" in caplog.text
    assert other.compute("k", failing) == face.compute("k", failing) == face.get("k") == "old"
    assert failing.calls == 1
    clock.advance(5.001)
    assert other.compute("k", failing) == "old"
    assert failing.calls == 2
    clock.advance(35)
    with pytest.raises(ValueError, match="backend is down"):
        other.compute("k", failing)
    face.metrics()
    assert other.metrics().rescued == 5


def test_a_refresh_that_fails_is_logged_and_not_tried_again_at_once(
    make_cache: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    face = make_cache(ttl=10, stale_for=60, failure_ttl=5)
    failing = Computation(error=ValueError("backend is down"))
    face.set("k", "old")
    clock.advance(11)
    with caplog.at_level(logging.WARNING, "redisopt"):
        assert face.compute("k", failing) == "old"
        wait_until(lambda: face.peek("k").failure)
        assert [face.compute("k", failing) for _ in range(5)] == ["old"] * 5
        wait_until(lambda: "refreshing 'k' failed" in caplog.text)
    assert failing.calls == 1
    clock.advance(5.001)
    assert face.compute("k", Computation(value="new")) == "old"
    wait_until(lambda: face.get("k") == "new")


def test_what_ends_a_process_gives_the_lease_back(make_cache: Make) -> None:
    """SystemExit, say: it is no failure of the backend."""
    face, other = make_cache(), make_cache()

    def leave() -> None:
        raise KeyboardInterrupt

    if face.kind == "sync":
        with pytest.raises(KeyboardInterrupt):
            face.compute("k", leave)
    assert other.peek("k").computed_by == ""
    assert other.compute("k", Computation()) == 1


def test_an_error_without_a_text_is_a_failure_too(make_cache: Make) -> None:
    class Mute(Exception):
        """Whose text cannot be had."""

        def __str__(self) -> str:
            raise ZeroDivisionError

    face = make_cache()
    with pytest.raises(Mute):
        face.compute("k", Computation(error=Mute()))
    with pytest.raises(redisopt.ComputeFailed, match="its text cannot be had"):
        face.compute("k", Computation())


def test_a_stop_iteration_comes_out_as_it_is(make_cache: Make) -> None:
    face = make_cache()
    if face.kind == "async":
        return  # asyncio itself turns it into a TypeError or a RuntimeError
    with pytest.raises(StopIteration):
        face.compute("k", Computation(error=StopIteration("x")))


def test_hooks_hear_of_computations_and_of_old_values(make_cache: Make, clock: ServerClock) -> None:
    face = make_cache(ttl=10, stale_if_error=60, failure_ttl=5, stale_for=5)
    heard: list[Any] = []
    error = ValueError("backend is down")
    redisopt.add_hook(heard.append)
    try:
        face.compute("k", Computation(0.1, value="old"))
        clock.advance(12)
        face.compute("k", Computation(value="refreshed"))
        wait_until(lambda: face.get("k") == "refreshed")
        clock.advance(30)
        for _ in range(2):
            assert face.compute("k", Computation(error=error)) == "refreshed"
    finally:
        redisopt.remove_hook(heard.append)
    ran = [each for each in heard if isinstance(each, redisopt.events.Computed)]
    assert [(each.name, each.key, each.refreshed, each.error) for each in ran] == [
        ("test", "k", False, None),
        ("test", "k", True, None),
        ("test", "k", False, error),
    ]
    assert 0.1 <= ran[0].seconds < 5
    served = [each for each in heard if isinstance(each, redisopt.events.ServedOld)]
    assert [(each.key, round(each.age)) for each in served] == [("k", 30)] * 2


# --- negative answers


def test_none_is_kept_for_negative_ttl(make_cache: Make, clock: ServerClock) -> None:
    face = make_cache(ttl=100, negative_ttl=5, stale_for=50)
    nobody = Computation()
    nobody.__class__ = type("Nobody", (Computation,), {"__call__": lambda self: Computation.__call__(self) and None})
    assert face.compute("k", nobody) is face.compute("k", nobody) is face.get("k", "default") is None
    assert nobody.calls == 1
    assert face.metrics().negative == 1
    clock.advance(5.001)
    assert face.compute("k", Computation(value="found")) == "found"


def test_none_is_not_kept_with_a_negative_ttl_of_zero(make_cache: Make) -> None:
    face = make_cache(negative_ttl=0)
    assert face.compute("k", lambda: None) is None
    assert face.get("k", "default") == "default"
    assert face.compute("k", Computation()) == 1
    face.set("k", None)
    assert face.get("k", "default") == "default"


def test_chosen_exceptions_are_answers(make_cache: Make, clock: ServerClock) -> None:
    """They take the place of an old value, though errors would not."""
    face, other = (
        make_cache(ttl=10, stale_if_error=600, negative_ttl=30, negative_errors=LookupError) for _ in range(2)
    )
    face.compute("k", Computation(value="old"))
    clock.advance(11)
    missing = Computation(error=KeyError("ada"))
    with pytest.raises(KeyError):
        face.compute("k", missing)
    clock.advance(29)
    for each in (face, other):
        with pytest.raises(redisopt.ComputeFailed, match="KeyError: 'ada'"):
            each.compute("k", missing)
        assert each.get("k") is None
    clock.advance(1.001)
    assert missing.calls == 1
    assert other.compute("k", Computation(value="back")) == "back"
    face.metrics()
    assert (other.metrics().negative, other.metrics().errors) == (1, 0)


# --- values that cannot be kept


def test_a_value_that_cannot_be_kept_is_returned_and_counted(
    make_cache: Make, caplog: pytest.LogCaptureFixture
) -> None:
    face, other = make_cache(max_value_bytes=100), make_cache(max_value_bytes=100)
    large, odd = Computation(0.2, value="x" * 200), Computation(value={1: object()})
    with caplog.at_level(logging.WARNING, "redisopt"):
        futures = [each.begin("large", large) for each in (face, other)]
        assert [each.result(20) for each in futures] == ["x" * 200] * 2
        assert face.compute("odd", odd) == odd._value
    assert "value has 202 bytes as msgpack, at most 100 are allowed" in caplog.text
    assert large.most == 1, "one at a time"
    face.metrics()
    assert other.metrics().uncached == 3
    assert face.peek("large").computed_by == face.peek("odd").failure == ""
    with pytest.raises(ValueError, match="value has 202 bytes"):
        face.set("k", "x" * 200)
    with pytest.raises(ValueError, match="is a object"):
        face.set("k", object())


@pytest.mark.long
@pytest.mark.parametrize("why", ["too large", "negative", "refused"])
def test_nobody_waits_for_what_cannot_be_kept(make_cache: Make, why: str) -> None:
    """Six processes: one after the other they would take three seconds, and most would wait in vain."""
    faces = [make_cache(max_value_bytes=100, negative_ttl=0, wait_timeout=10) for _ in range(6)]
    error = redisopt.Throttled("no", retry_after=9, reason="10/s") if why == "refused" else None
    slow = Computation(0.5, value="x" * 200, error=error)

    def function() -> Any:
        return slow() and (None if why == "negative" else "x" * 200)

    began = time.monotonic()
    futures = [face.begin("k", function) for face in faces]
    if why == "refused":
        assert {type(each.exception(20)) for each in futures} == {redisopt.Throttled}
    else:
        assert {each.result(20) for each in futures} == {None if why == "negative" else "x" * 200}
    assert time.monotonic() - began < 2.4
    assert (slow.calls, slow.most) == (6, 5), "one, and then all others at once"
    assert faces[0].compute("k", Computation(value="kept")) == faces[1].get("k") == "kept"
    assert faces[0].delete("k")
    once = Computation(0.3, value="kept again")
    assert [each.result(20) for each in [face.begin("k", once) for face in faces]] == ["kept again"] * 6
    assert once.calls == 1, "what was kept ends it"


def test_a_value_of_another_codec_is_computed_anew(make_cache: Make, client: redis.Redis) -> None:
    face = make_cache(codec="json")
    face.compute("k", Computation(value={"a": 1}))
    assert client.get("redisopt:v1:{cache:test:k}:value") == b'{"a":1}'
    client.set("redisopt:v1:{cache:test:k}:value", b"\xc1", ex=60)
    assert face.get("k", "default") == "default"
    assert face.compute("k", Computation(value=["new"])) == ["new"]
    assert face.get("k") == ["new"]


def test_a_value_of_another_codec_is_never_taken_for_another(
    make_cache: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The 5 that JSON writes is 53 as msgpack."""
    face, other = make_cache(codec="json"), make_cache()
    face.set("k", 5)
    assert other.get("k", "default") == "default"
    assert other.compute("k", Computation(value=6)) == other.get("k") == 6
    assert face.compute("k", Computation(value=7)) == face.get("k") == 7
    told = [record for record in caplog.records if "give all processes the same codec" in record.message]
    assert len(told) == 2, "once in each"
