"""What a debouncer does in real time, on both faces: calls become runs, late by no more than a busy machine makes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import redis

import redisopt
from tests.debounce_faces import DebounceFace
from tests.fragile import Lateness
from tests.waiting import wait_until

Make = Callable[..., DebounceFace]

LATE = 0.025
"""Seconds after its due time that a run may begin, on top of how late the machine is."""


def slowly(seconds: float) -> Callable[[Any, redisopt.Run], Any]:
    """A handler that takes its time."""

    def run(payload: Any, _: redisopt.Run) -> Any:
        time.sleep(seconds)
        return payload

    return run


def test_many_calls_become_one_run_after_the_last(make_debouncer: Make) -> None:
    """Lodash, "should debounce a function": all callers get the one outcome, and know whether theirs was superseded."""
    caller, executor = make_debouncer(wait=0.3), make_debouncer(wait=0.3)
    executor.handle(lambda payload, _: payload.upper())
    executor.start()
    tickets = [caller.submit(payload) for payload in "abc"]
    results = [caller.result(ticket) for ticket in tickets]

    assert [ran.payload for ran in executor.runs] == ["c"]
    assert [result.value for result in results] == ["C"] * 3
    assert [result.superseded for result in results] == [True, True, False]
    assert {result.calls for result in results} == {3}
    assert len({ticket.window for ticket in tickets}) == 1
    assert results[0].edge == "trailing"


@pytest.mark.long
def test_a_run_comes_after_wait_of_quiet_and_not_before(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.2)
    face.handle()
    face.start()
    face.result(face.submit("warm"))
    with Lateness() as late:
        for number in range(5):
            called = time.monotonic()
            ticket = face.submit(number)
            answered = time.monotonic()
            face.result(ticket)
            ran = face.runs[-1]
            assert ran.payload == number
            assert ran.at >= called + 0.2
            assert ran.at <= answered + 0.2 + LATE + 2 * late.seconds


def test_what_was_submitted_without_a_worker_runs_when_one_starts(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.05)
    ticket = face.submit({"doc": 7}, key="doc:7")
    time.sleep(0.2)
    face.handle()
    face.start()

    assert face.result(ticket).value == {"doc": 7}
    assert face.runs[0].run.key == "doc:7"


def test_a_run_that_raises_is_tried_again_after_a_backoff(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0, backoff_base=0.05, max_attempts=3)

    def fail_twice(payload: str, run: redisopt.Run) -> str:
        if run.attempt < 3:
            raise ValueError("not yet")
        return payload

    face.handle(fail_twice)
    face.start()

    assert face.result(face.submit("a")).value == "a"
    assert [ran.run.attempt for ran in face.runs] == [1, 2, 3]
    assert len({ran.run.window for ran in face.runs}) == 1
    fences = [ran.run.fence for ran in face.runs]
    assert fences == sorted(set(fences))


def test_what_fails_for_good_is_told_to_who_waits(make_debouncer: Make) -> None:
    """The next window works."""
    face = make_debouncer(wait=0.02, backoff_base=0.01, max_attempts=2)

    def fail(payload: str, run: redisopt.Run) -> str:
        if payload == "bad":
            raise ValueError("no such document")
        return payload

    face.handle(fail)
    face.start()
    with pytest.raises(redisopt.RunFailed, match="after 2 attempts: ValueError: no such document") as raised:
        face.result(face.submit("bad"))
    assert (raised.value.error, raised.value.attempts) == ("ValueError: no such document", 2)
    assert face.result(face.submit("good")).value == "good"


def test_a_call_during_a_run_is_run_after_it(make_debouncer: Make) -> None:
    """Runs of one key never overlap, and no call is lost (BullMQ 3427, Pacer 257)."""
    face = make_debouncer(wait=0.05)
    ended: list[float] = []

    def run(payload: str, _: redisopt.Run) -> str:
        time.sleep(0.3)
        ended.append(time.monotonic())
        return payload

    face.handle(run)
    face.start(concurrency=3)
    first = face.submit("a")
    wait_until(lambda: face.runs)
    second = face.submit("b")

    assert face.result(second).value == "b"
    assert face.result(first).value == "a"
    assert face.runs[1].at >= ended[0]


def test_keys_do_not_mix(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.05)
    face.handle()
    face.start()
    keys = ["", "a", "{a}", "a:b", "ключ", "x" * 1024, "%41", "a b\n"]
    tickets = {key: face.submit(number, key=key) for number, key in enumerate(keys)}

    assert {key: face.result(ticket).value for key, ticket in tickets.items()} == {key: n for n, key in enumerate(keys)}
    assert sorted(ran.run.key for ran in face.runs) == sorted(keys)


def test_a_result_that_does_not_come_in_time_is_a_timeout(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.05)
    ticket = face.submit("a")
    with pytest.raises(TimeoutError, match="no outcome after 0") as raised:
        face.result(ticket, 0.2)
    assert isinstance(raised.value, redisopt.ResultTimeout)
    face.handle()
    face.start()
    face.result(ticket)


def test_a_run_may_call_its_own_key(make_debouncer: Make) -> None:
    """Lodash, "supports recursive calls": one run after the other, at least a wait apart."""
    face = make_debouncer(wait=0.1)
    submit = make_debouncer(wait=0.1).submit
    face.handle(lambda payload, _: payload < 3 and submit(payload + 1) and None)
    face.start()
    face.submit(1)
    wait_until(lambda: len(face.runs) == 3)

    assert [ran.payload for ran in face.runs] == [1, 2, 3]
    assert all(later.at - earlier.at >= 0.1 for earlier, later in pairwise(face.runs))
    wait_until(lambda: face.metrics().done == 3)


def test_an_outcome_is_forgotten_after_its_time(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0, result_ttl=1)
    face.handle()
    face.start()
    ticket = face.submit("a")
    face.result(ticket)
    time.sleep(1.2)
    with pytest.raises(redisopt.ResultExpired):
        face.result(ticket)


def test_what_runs_at_most_once_is_not_given_back(make_debouncer: Make) -> None:
    """A stop that interrupts it makes it a dead letter."""
    face = make_debouncer(wait=0, delivery="at_most_once")
    face.handle(slowly(1.0))
    worker = face.start(grace=0.1)
    ticket = face.submit("a")
    wait_until(lambda: face.runs)
    face.do(worker.stop)
    with pytest.raises(redisopt.RunFailed, match="Interrupted"):
        face.result(ticket)
    assert [letter.payload for letter in face.dead()] == ["a"]
    time.sleep(1.0)


def test_a_stop_waits_for_what_is_under_way(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0)
    face.handle(slowly(0.3))
    worker = face.start()
    ticket = face.submit("a")
    wait_until(lambda: face.runs)
    face.do(worker.stop)

    assert face.result(ticket, 0.5).value == "a"
    assert len(face.runs) == 1


@pytest.mark.long
def test_a_stop_gives_back_what_outlasts_its_grace(make_debouncer: Make, client: redis.Redis) -> None:
    """At once: another worker starts it anew, and what the first one did does not count."""
    face, other = make_debouncer(wait=0, lease_ttl=30), make_debouncer(wait=0, lease_ttl=30)
    face.handle(slowly(1.5))
    other.handle(lambda payload, _: "second")
    worker = face.start(grace=0.1)
    ticket = face.submit("a")
    wait_until(lambda: face.runs)
    face.do(worker.stop)
    other.start()

    assert other.result(other.submit("b", key="other")).value == "second"
    assert face.result(ticket, 5).value == "second"
    assert other.runs[0].run.attempt == 1
    assert other.runs[0].run.fence > face.runs[0].run.fence
    time.sleep(1.5)
    assert face.result(ticket, 5).value == "second"
