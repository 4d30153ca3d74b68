"""What a call may have taken whose reply did not come in time is given back as soon as Redis answers, and not when its lease ends."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Any

import pytest

import redisopt
from redisopt.commands import Command
from redisopt.owing import Owing
from tests.breaker_faces import BreakerFace
from tests.cache_faces import CacheFace, Computation
from tests.fragile import FragileServer
from tests.waiting import wait_until

on_both = pytest.mark.parametrize("kind", ["sync", "async"])

LEASE = 60.0  # seconds, for which nobody here waits


@pytest.fixture
def fragile() -> Iterator[FragileServer]:
    with FragileServer() as server:
        yield server


@pytest.mark.fleet
@on_both
def test_a_key_whose_lease_came_too_late_is_computed_by_others(fragile: FragileServer, kind: str) -> None:
    """The server stood still for longer than the call waited, and gave it the lease after that."""
    face, other = (CacheFace(kind, fragile.url, lease_ttl=LEASE, command_timeout=each) for each in (0.3, 5.0))
    face.compute("warm", Computation())
    with fragile.away("hung"):
        assert face.compute("key", Computation(value="alone")) == "alone"
    assert other.compute("key", Computation(value="kept"), timeout=10.0) == "kept"
    assert other.peek("key").exists
    face.close()
    other.close()


@pytest.mark.fleet
@on_both
def test_a_key_of_a_caller_that_is_told_so_is_computed_by_others(fragile: FragileServer, kind: str) -> None:
    face = CacheFace(kind, fragile.url, lease_ttl=LEASE, command_timeout=0.3, on_unavailable="raise")
    other = CacheFace(kind, fragile.url, lease_ttl=LEASE)
    face.compute("warm", Computation())
    with fragile.away("hung"), pytest.raises(redisopt.Unavailable):
        face.compute("key", Computation())
    assert other.compute("key", Computation(value="kept"), timeout=10.0) == "kept"
    face.close()
    other.close()


@pytest.mark.fleet
@on_both
@pytest.mark.parametrize("when", ["asked", "recorded"])
def test_a_probe_that_nobody_makes_is_one_for_others(fragile: FragileServer, kind: str, when: str) -> None:
    fields: Any = {
        "minimum_calls": 1,
        "open_for": 0.05,
        "half_open_calls": 1,
        "lease_ttl": LEASE,
        "on_unavailable": "raise",
    }
    face = BreakerFace(kind, fragile.url, **fields | {"command_timeout": 0.3})
    other = BreakerFace(kind, fragile.url, **fields)
    face.call("badly")
    time.sleep(0.06)
    passage = face.allow() if when == "recorded" else None
    ask = face.allow if passage is None else functools.partial(face.end, passage, "succeed")
    with fragile.away("hung"), pytest.raises(redisopt.Unavailable):
        ask()
    wait_until(lambda: other.call() == "well", 10)
    face.close()
    other.close()


def test_what_cannot_be_given_back_keeps_nothing_else_from_it() -> None:
    """On a Cluster one node may be away, and others not; a call that was not sent cost nothing. What was sent took all its time."""
    owing = Owing()
    now = time.monotonic()
    debts = [Command(f"debt {number}", ("key",), (), str) for number in range(4)]
    plan = owing._pay([(debts[0], now + 9), (debts[1], now - 1), (debts[2], now + 9), (debts[3], now + 9)])
    assert next(plan) is debts[0]
    assert plan.throw(redisopt.Unavailable("its node is away")) is debts[2]
    with pytest.raises(StopIteration):
        plan.throw(redisopt.Unavailable("no answer", sent=True))


@pytest.mark.fleet
@on_both
def test_whoever_is_closed_owes_nothing_any_more(fragile: FragileServer, kind: str) -> None:
    """Nothing goes on to ask a server that is gone."""
    face = CacheFace(kind, fragile.url, lease_ttl=LEASE, command_timeout=0.3)
    face.compute("warm", Computation())
    with fragile.away("hung"):
        face.compute("key", Computation())
        owing = face.real._plans._computing.owing
        assert any(owing._kept.values())
        face.close()
        assert not any(owing._kept.values())
        wait_until(lambda: not owing._running or kind == "async")
