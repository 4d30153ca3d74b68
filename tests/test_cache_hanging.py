"""Computations that hang, and waits that take too long: what others get, here and in other processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import redisopt
from redisopt.testing import ServerClock
from tests.cache_faces import CacheFace, Computation
from tests.fragile import Lateness
from tests.waiting import wait_until

Make = Callable[..., CacheFace]


class Hanging(Computation):
    """One that hangs until it may go on."""

    def __init__(self, go_on: threading.Event) -> None:
        super().__init__(value="late")
        self._go_on = go_on

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        value = super().__call__()
        assert self._go_on.wait(60)
        return value


@pytest.mark.parametrize("who", ["the same process", "another one"])
def test_a_computation_that_hangs_is_replaced(make_cache: Make, caplog: pytest.LogCaptureFixture, who: str) -> None:
    face, other = (make_cache(lease_ttl=0.3, compute_timeout=0.5, wait_timeout=5) for _ in range(2))
    go_on = threading.Event()
    hung = face.begin("k", lambda: go_on.wait(30) and "late")
    wait_until(lambda: other.peek("k").computed_by)
    wait_until(lambda: not other.peek("k").computed_by, 3.0)
    assert (other if who == "another one" else face).compute("k", Computation(value="new")) == "new"
    go_on.set()
    assert hung.result(20) == "late"
    assert face.get("k") == other.get("k") == "new"
    assert "has taken more than compute_timeout (0.5 s)" in caplog.text


def test_refreshes_that_hang_leave_their_places_to_others(make_cache: Make, clock: ServerClock) -> None:
    """A task is cancelled; a thread goes on, and no other one is begun for its key in this process."""
    terms: Any = {"ttl": 10, "stale_for": 600, "lease_ttl": 0.6, "compute_timeout": 0.5}
    face, other = make_cache(max_refreshes=2, **terms), make_cache(**terms)
    go_on = threading.Event()
    hangs, good, again = Hanging(go_on), Computation(value="new"), Computation(value="again")
    for key in ("bad1", "bad2", "good"):
        face.set(key, "old")
    clock.advance(11)
    assert [face.compute(key, hangs) for key in ("bad1", "bad2")] == ["old"] * 2
    wait_until(lambda: hangs.calls == 2)
    assert face.compute("good", good) == "old"
    assert good.calls == 0
    wait_until(lambda: face.compute("good", good) == "new", 20)
    clock.advance(0.7)  # the leases are over
    if face.kind == "sync":
        assert [face.compute("bad1", again) for _ in range(3)] == ["old"] * 3
        assert other.compute("bad1", Computation(value="by another")) == "old"
        wait_until(lambda: face.get("bad1") == "by another", 20)
        assert again.calls == 0
        go_on.set()
        wait_until(lambda: not face.real._plans._refreshing._refreshes, 20)
        clock.advance(11)
    wait_until(lambda: face.compute("bad1", again) == "again", 20)
    go_on.set()


def test_refreshes_that_hang_are_bounded(
    make_cache: Make, clock: ServerClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each holds a thread. When they are over, all goes on."""
    monkeypatch.setattr("redisopt.cache.refreshing.MAX_HUNG", 1)
    face = make_cache(ttl=10, stale_for=600, lease_ttl=0.3, compute_timeout=0.5)
    go_on = threading.Event()
    hangs, good = Hanging(go_on), Computation(value="new")
    for key in ("bad", "good"):
        face.set(key, "old")
    clock.advance(11)
    assert face.compute("bad", hangs) == "old"
    wait_until(lambda: "has taken more than compute_timeout" in caplog.text, 20)
    if face.kind == "sync":
        assert [face.compute("good", good) for _ in range(3)] == ["old"] * 3
        assert good.calls == 0
        go_on.set()
    wait_until(lambda: face.compute("good", good) == "new", 20)
    go_on.set()


def test_an_old_value_is_served_where_the_wait_takes_too_long(make_cache: Make) -> None:
    """To those of the process that computes, too. Without `stale_if_error` it is a timeout."""
    face, other, strict = (make_cache(stale_if_error=each) for each in (60, 60, 0))
    face.set("k", "old", ttl=0.05)
    time.sleep(0.1)
    go_on = threading.Event()
    leader = face.begin("k", lambda: go_on.wait(30) and "new")
    wait_until(lambda: other.peek("k").computed_by)
    assert [each.compute("k", Computation(), timeout=0.2) for each in (face, other)] == ["old", "old"]
    with pytest.raises(redisopt.ResultTimeout, match=r"another call computes 'k', and was not over within 0.2 s"):
        strict.compute("k", Computation(), timeout=0.2)
    go_on.set()
    assert leader.result(20) == "new"
    assert other.compute("k", Computation()) == "new"


def test_who_waits_here_and_then_in_redis_waits_no_longer_than_its_timeout(make_cache: Make) -> None:
    """The first of a process waits in Redis; the next one takes over when that one gives up."""
    face, other = make_cache(), make_cache()
    go_on = threading.Event()
    leader = other.begin("k", lambda: go_on.wait(60) and "late")
    wait_until(lambda: other.peek("k").computed_by)
    took: list[float] = []

    def wait() -> Any:
        began = time.monotonic()
        waiting = face.begin("k", Computation(), timeout=1.5)
        waiting.add_done_callback(lambda _: took.append(time.monotonic() - began))
        time.sleep(0.2)
        return waiting

    with Lateness() as late:
        for each in [wait() for _ in range(3)]:
            assert isinstance(each.exception(20), redisopt.ResultTimeout)
        wait_until(lambda: len(took) == 3)
    go_on.set()
    assert leader.result(20) == "late"
    assert max(took) < 1.5 + 0.5 + late.seconds, took
