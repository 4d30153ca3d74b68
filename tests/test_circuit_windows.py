"""What a circuit breaker counts: the calls of a time, or the last ones, and slow calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from redisopt import keys
from redisopt.testing import ServerClock
from tests.breaker_faces import BreakerFace, opened

Make = Callable[..., BreakerFace]

STATE = f"{keys.tag('breaker', 'test')}state"
LAST = f"{keys.tag('breaker', 'test')}last"


# --- windows


def test_a_time_window_forgets_in_tenths(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(window=10.0, minimum_calls=100)
    counted = []
    for second in range(25):
        clock.at(second)
        face.calls(2, "badly" if second < 10 else "well")
        metrics = face.metrics()
        counted.append((metrics.calls, metrics.failures))

    assert counted[:12] == [*((2 * n, 2 * n) for n in range(1, 11)), (20, 18), (20, 16)]
    assert counted[-1] == (20, 0)
    clock.advance(9.999)
    assert face.metrics().calls == 2
    clock.advance(0.001)
    assert face.metrics().calls == 0


def test_old_failures_do_not_open_it(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(window=10.0, minimum_calls=4)
    face.calls(3, "badly")
    clock.advance(10)
    face.call("badly")

    assert face.state() == "closed"
    assert face.metrics().calls == 1


def test_a_count_window_holds_the_last_calls(make_breaker: Make, clock: ServerClock, client: redis.Redis) -> None:
    face = make_breaker(window_calls=4, failure_rate=0.75)
    for how in ("badly", "badly", "well", "well", "badly", "badly"):
        face.call(how)
    metrics = face.metrics()
    assert (metrics.calls, metrics.failures) == (4, 2)
    assert client.lrange(LAST, 0, -1) == [b"0", b"0", b"1", b"1"]
    clock.advance(1e6)
    assert face.metrics().calls == 4

    face.call("badly")
    assert face.state() == "open"


@pytest.mark.parametrize("kept", [0, 3])
def test_a_count_window_whose_list_is_gone_begins_anew(
    make_breaker: Make, clock: ServerClock, client: redis.Redis, kept: int
) -> None:
    """As on a server that evicts keys; or so long ago that the list has filled again, since when counts and list differ."""
    face = make_breaker(window_calls=10, failure_rate=0.5)
    for number in range(10):
        face.call("badly" if number < 4 else "well")
    client.ltrim(LAST, 1, kept)
    face.calls(2)
    assert face.metrics()[2:4] == (2, 0)
    assert client.lrange(LAST, 0, -1) == [b"0"] * 2
    face.calls(20)
    assert face.metrics()[2:4] == (10, 0)
    face.calls(4, "badly")
    assert (face.state(), face.metrics()[2:4]) == ("closed", (10, 4))


def test_the_minimum_of_a_count_window_is_at_most_its_calls(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(window_calls=5)
    assert face.calls(6, "badly") == ["badly"] * 5 + ["refused"]


def test_processes_with_different_windows_are_judged_by_the_shorter_one(make_breaker: Make, clock: ServerClock) -> None:
    long, short = make_breaker(window=100.0, minimum_calls=50), make_breaker(window=10.0, minimum_calls=50)
    for second in range(0, 200, 3):
        clock.at(second)
        (long if second % 2 else short).call("badly")
        assert face_calls(short) <= 5
    assert len(str(short.do(short.client.hget, STATE, "slots"))) < 300


def test_other_rules_of_another_process_are_said_once(
    make_breaker: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    face, other = make_breaker(minimum_calls=5), make_breaker(minimum_calls=2)
    face.calls(3)
    other.calls(3)
    said = [record.getMessage() for record in caplog.records if "other rules" in record.getMessage()]
    assert len(said) == 1
    assert "minimum_calls=5" in said[0]
    opened(other)
    assert face.state() == "open"


def test_the_rules_of_several_processes_are_said_once_each(
    make_breaker: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However often they take turns in telling their own."""
    face, *others = (make_breaker(minimum_calls=number) for number in (5, 2, 3))
    face.call()
    for _ in range(3):
        for other in others:
            clock.advance(60.001)
            other.call()
            face.call()
    said = [record.getMessage() for record in caplog.records if "other rules" in record.getMessage()]
    assert len(said) == 2
    assert "minimum_calls=2" in said[0]
    assert "minimum_calls=3" in said[1]


def test_the_rules_of_a_process_that_is_gone_are_no_conflict(
    make_breaker: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A deploy with other rules, while it is closed all the time; two that go on are told apart within two minutes."""
    face, other = make_breaker(minimum_calls=5), make_breaker(minimum_calls=2)
    face.calls(3)
    clock.advance(60.001)
    other.calls(3)
    assert caplog.records == []
    for _ in range(3):
        clock.advance(31)
        face.call()
        other.call()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "minimum_calls=2" in said[0]
    assert "minimum_calls=5" in said[1]


def face_calls(face: BreakerFace) -> int:
    calls: int = face.metrics().calls
    return calls


@pytest.mark.parametrize("first", ["time", "calls"])
def test_two_kinds_of_window_are_counted_as_that_of_the_first(
    make_breaker: Make, clock: ServerClock, first: str
) -> None:
    """As in a rolling deploy: neither kind clears what the other has counted."""
    faces = [make_breaker(minimum_calls=9), make_breaker(window_calls=9)]
    if first == "calls":
        faces.reverse()
    for number in range(8):
        assert faces[number % 2].call("badly") == "badly"
    for face in faces:
        assert face.metrics()[2:4] == (8, 8)
    assert faces[1].call("badly") == "badly"
    assert [face.call() for face in faces] == ["refused"] * 2
    assert faces[0].metrics()[2:4] == (9, 9)


def test_the_other_kind_of_window_forgets_as_that_of_the_first(make_breaker: Make, clock: ServerClock) -> None:
    timed, counted = make_breaker(window=10.0), make_breaker(window_calls=5, failure_rate=1.0)
    timed.call()
    counted.calls(3, "badly")
    clock.advance(9.5)
    counted.call("badly")
    assert counted.metrics()[2:4] == timed.metrics()[2:4] == (5, 4)
    clock.advance(0.5)
    assert counted.metrics()[2:4] == timed.metrics()[2:4] == (1, 1)
    counted.reset()
    counted.calls(4)
    timed.calls(2, "badly")
    assert counted.metrics()[2:4] == timed.metrics()[2:4] == (5, 2)
    assert timed.call("badly") == "badly"  # it asks for twenty calls, of which a window of five has five
    assert counted.call() == "refused"


# --- slow calls


def test_slow_calls_open_it(make_breaker: Make, clock: ServerClock, monkeypatch: pytest.MonkeyPatch) -> None:
    face = make_breaker(slow_call_after=2.0, slow_call_rate=0.5, minimum_calls=4)
    passages = [face.allow() for _ in range(4)]
    for passage, seconds in zip(passages, (0.5, 2.0, 0.1, 3.0), strict=True):
        passage._ticket.began -= seconds
        face.end(passage, "succeed")

    assert face.state() == "open"
    assert face.metrics()[2:7] == (4, 0, 2, 0.0, 0.5)


def test_a_slow_call_may_fail_as_well(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(slow_call_after=2.0, window_calls=2, failure_rate=1.0)
    for how in ("fail", "succeed", "succeed"):
        passage = face.allow()
        passage._ticket.began -= 2.5 if how == "fail" else 0
        face.end(passage, how)
    assert face.metrics()[2:5] == (2, 0, 0)


def test_without_a_bound_no_call_is_slow(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=1)
    passage = face.allow()
    passage._ticket.began -= 1e6
    face.end(passage, "succeed")
    assert face.metrics()[2:5] == (1, 0, 0)
