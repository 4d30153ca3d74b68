"""A circuit breaker without Redis: each `on_unavailable`, how long it takes, and how the fleet's breaker rules again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import redisopt
from redisopt.breaker import local_circuit
from redisopt.breaker.local_circuit import LocalCircuit
from redisopt.breaker.ticket import Ticket
from tests.breaker_faces import BreakerFace
from tests.fragile import WAYS, FragileServer
from tests.waiting import wait_until

pytest_plugins = ["tests.outage_fixtures"]
pytestmark = pytest.mark.fleet

HASTY: Any = {"command_timeout": 1.0, "minimum_calls": 3, "open_for": 1.5, "half_open_calls": 1, "open_growth": 1.0}


@pytest.fixture
def face_of(kind: str, fragile: FragileServer) -> Iterator[Callable[..., BreakerFace]]:
    """Makes breakers at the server that goes away."""
    faces: list[BreakerFace] = []

    def make(name: str = "test", **fields: Any) -> BreakerFace:
        faces.append(BreakerFace(kind, fragile.url, name, **HASTY | fields))
        wait_until(lambda: is_reset(faces[-1]), 20)
        return faces[-1]

    yield make
    for face in faces:
        face.close()


def is_reset(face: BreakerFace) -> bool:
    """The server may have come back a moment ago."""
    try:
        face.do(face.real.reset)
    except redisopt.Unavailable:
        return False
    return True


def back(face: BreakerFace) -> None:
    """Wait until Redis decides again."""
    wait_until(lambda: face.real._runner.silence is None, 10)


@pytest.mark.parametrize("way", WAYS)
def test_local_goes_on_with_the_same_rules(
    face_of: Callable[..., BreakerFace], fragile: FragileServer, way: str
) -> None:
    face = face_of()
    assert face.call() == "well"
    with fragile.away(way):
        began = time.monotonic()
        assert face.calls(3, "badly") == ["badly"] * 3
        assert face.call() == "refused"
        assert time.monotonic() - began < 1.0 + 2.0  # the first call alone waits; the machine may be busy
        error = face.refusal()
        assert error.state == "open"
        assert 0 < error.retry_after <= 1.5
        assert "without Redis" in str(error)
        metrics = face.metrics()
        assert (metrics.state, metrics.is_local, metrics.opened, metrics.failures) == ("open", True, 1, 3)
        time.sleep(1.55)
        assert face.call() == "well"
        assert face.state() == "closed"
        assert face.calls(3, "badly") == ["badly"] * 3
        assert face.call() == "refused"
    back(face)
    assert face.call() == "well"
    metrics = face.metrics()
    assert (metrics.state, metrics.is_local) == ("closed", False)
    assert metrics.failures == 0
    assert face.changes[:3] == ["closed > open", "open > half_open", "half_open > closed"]


@pytest.mark.parametrize("state", ["open", "forced_open", "disabled"])
def test_local_begins_in_the_state_that_was_known(
    face_of: Callable[..., BreakerFace], fragile: FragileServer, state: str
) -> None:
    face = face_of(open_for=600)
    if state == "open":
        face.calls(3, "badly")
    else:
        getattr(face, {"forced_open": "force_open", "disabled": "disable"}[state])()
    assert face.state() == state
    with fragile.away("cut off"):
        assert face.calls(5, "badly") == (["badly"] * 5 if state == "disabled" else ["refused"] * 5)
        assert face.state() == state
    back(face)
    assert face.state() == state


def test_allow_lets_all_through(face_of: Callable[..., BreakerFace], fragile: FragileServer) -> None:
    face = face_of(on_unavailable="allow")
    with fragile.away("cut off"):
        assert face.calls(10, "badly") == ["badly"] * 10
        with face.entered() as passage:
            assert passage.state == "unavailable"
            assert not passage.is_probe
        with pytest.raises(redisopt.Unavailable):
            face.state()
        with pytest.raises(redisopt.Unavailable):
            face.force_open()
    back(face)
    assert face.call() == "well"
    assert face.metrics()[2:4] == (1, 0)


def test_deny_lets_none_through(face_of: Callable[..., BreakerFace], fragile: FragileServer) -> None:
    face = face_of(on_unavailable="deny")
    with fragile.away("cut off"):
        error = face.refusal()
        assert error.state == "unavailable"
        assert 0 < error.retry_after <= 0.6
        assert isinstance(error.__cause__, redisopt.Unavailable)
        assert face.call() == "refused"
    back(face)
    assert face.call() == "well"


def test_raise_leaves_it_to_the_caller(face_of: Callable[..., BreakerFace], fragile: FragileServer) -> None:
    face = face_of(on_unavailable="raise")
    passages = [face.allow() for _ in range(3)]
    with fragile.away("cut off"):
        with pytest.raises(redisopt.Unavailable):
            face.call()
        with pytest.raises(redisopt.Unavailable):
            face.end(passages[0], "fail")
        assert not face.end(passages[0], "fail")
    back(face)
    assert face.call() == "well"


def test_what_redis_let_through_is_recorded_where_it_can_be(
    face_of: Callable[..., BreakerFace], fragile: FragileServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It began while Redis was there and ends while it is not: then the breaker of this process counts it."""
    face = face_of()
    passages = [face.allow() for _ in range(3)]
    with fragile.away("cut off"):
        for passage in passages:
            assert face.end(passage, "fail")
        assert face.call() == "refused"
    back(face)
    assert face.call() == "well"


def test_what_was_let_through_without_redis_and_ends_after_the_outage_changes_nothing(
    face_of: Callable[..., BreakerFace], fragile: FragileServer
) -> None:
    """Nobody is told of a breaker that does not rule any more, nor does a later outage go by it."""
    face = face_of()
    assert face.call() == "well"
    with fragile.away("cut off"):
        passages = [face.allow() for _ in range(8)]
    back(face)
    assert face.call() == "well"
    assert [face.end(passage, "fail") for passage in passages[:4]] == [True] * 4
    assert (face.state(), face.changes, face.metrics().failures) == ("closed", [], 0)
    with fragile.away("cut off"):
        assert face.call() == "well"
        assert [face.end(passage, "fail") for passage in passages[4:]] == [True] * 4
        assert face.call() == "well"
        assert (face.state(), face.metrics()[2:4], face.changes) == ("closed", (2, 0), [])


def test_a_probe_that_cannot_be_recorded_comes_back_by_its_lease(
    face_of: Callable[..., BreakerFace], fragile: FragileServer
) -> None:
    face = face_of(lease_ttl=1.5, on_unavailable="allow")
    face.calls(3, "badly")
    time.sleep(1.55)
    probe = face.allow()
    assert probe.is_probe
    with fragile.away("cut off"):
        face.end(probe, "succeed")
        time.sleep(0.3)
    back(face)
    wait_until(lambda: face.call() == "well", 5)
    assert face.state() == "closed"


# --- the breaker of a process


def test_the_local_breaker_lets_exactly_so_many_probes_through_and_forgets_those_that_nobody_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time_now = 0.0
    monkeypatch.setattr(local_circuit, "now", lambda: time_now)
    config = redisopt.CircuitBreakerConfig(minimum_calls=1, open_for=10, half_open_calls=2, window_calls=5)
    circuit = LocalCircuit(config, "half_open", lambda *_: None)  # the probes of the shared one are others' affair
    assert circuit.metrics().state == "open"
    assert circuit.allow(Ticket("closed")).retry_after == 10
    time_now = 10.0
    tickets: list[Ticket] = [Ticket("closed") for _ in range(3)]
    assert [circuit.allow(ticket).passes for ticket in tickets] == [True, True, False]
    del tickets[0]
    assert circuit.allow(tickets[1]).passes
    for ticket in tickets:
        circuit.record(circuit.allow(Ticket("closed")).generation, ticket, 0)
    assert circuit.metrics().state == "closed"


def test_the_local_breaker_opens_for_longer_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    time_now = 0.0
    monkeypatch.setattr(local_circuit, "now", lambda: time_now)
    config = redisopt.CircuitBreakerConfig(
        minimum_calls=1, open_for=10, open_for_max=30, half_open_calls=1, open_jitter=0.5, half_open_for=5
    )
    circuit = LocalCircuit(config, "closed", lambda *_: None)
    waits = []
    for _ in range(20):
        ticket = Ticket("closed")
        circuit.record(circuit.allow(ticket).generation, ticket, 1)
        waits.append(circuit.metrics().retry_after)
        time_now += waits[-1]
    assert waits[0] == 10
    assert all(20 <= wait <= 30 for wait in waits[1:2])
    assert all(30 <= wait <= 45 for wait in waits[2:])
    assert len(set(waits)) > 10
    ticket = Ticket("closed")
    assert circuit.allow(ticket).probe
    time_now += 5
    assert not circuit.allow(Ticket("closed")).passes
    assert circuit.metrics().state == "open"
