"""Cancel, flush, peek, metrics and dead letters, on both faces."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import redis

import redisopt
from tests.debounce_faces import DebounceFace
from tests.waiting import wait_until

Make = Callable[..., DebounceFace]


def refuse(payload: object, _: redisopt.Run) -> object:
    raise ValueError(f"no {payload}")


def test_another_process_cancels_and_who_waits_is_told(make_debouncer: Make) -> None:
    """The next call works (tldraw 8683, fluentui 3781)."""
    caller, other = make_debouncer(wait=0.2), make_debouncer(wait=0.2)
    other.handle()
    other.start()
    tickets = [caller.submit(number) for number in range(3)]
    raised: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(redisopt.Cancelled) as error:
            caller.result(tickets[0])
        raised.append(error.value)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert other.cancel() == 3
    waiter.join(10)
    assert raised
    assert other.cancel() == 0
    assert caller.result(caller.submit("next")).value == "next"
    assert [ran.payload for ran in other.runs] == ["next"]


def test_a_cancel_begins_a_new_burst(make_debouncer: Make) -> None:
    """@0 a, cancel, b, c: a and b run on the leading edge, c on the trailing one."""
    face = make_debouncer(wait=0.5, leading=True)
    face.handle()
    face.start()
    assert face.result(face.submit("a")).edge == "leading"
    face.cancel()
    tickets = [face.submit(each) for each in ("b", "c")]
    assert [face.result(each).edge for each in tickets] == ["leading", "trailing"]
    assert [ran.payload for ran in face.runs] == ["a", "b", "c"]


def test_a_cancel_leaves_a_run_under_way_alone(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0)
    go_on = threading.Event()

    def wait(payload: str, _: redisopt.Run) -> str:
        go_on.wait(10)
        return payload

    face.handle(wait)
    face.start()
    first = face.submit("a")
    wait_until(lambda: face.runs)
    second = face.submit("b")
    assert face.cancel() == 1
    go_on.set()
    assert face.result(first).value == "a"
    with pytest.raises(redisopt.Cancelled):
        face.result(second)


def test_a_flush_runs_at_once_and_gives_the_result(make_debouncer: Make) -> None:
    """Nothing runs a second time when the wait is over."""
    caller, other = make_debouncer(wait=0.5), make_debouncer(wait=0.5)
    caller.handle()
    caller.start()
    assert other.flush() is None
    ticket = caller.submit("a")
    began = time.monotonic()
    result = other.flush()
    assert time.monotonic() - began < 0.45
    assert (result.value, result.calls, result.superseded) == ("a", 1, False)
    assert caller.result(ticket).value == "a"
    time.sleep(0.6)
    assert len(caller.runs) == 1


def test_a_peek_says_how_a_key_stands(make_debouncer: Make) -> None:
    told: list[int] = []
    caller = make_debouncer(wait=0.3, on_debounce=told.append)
    other = make_debouncer(wait=0.3)
    assert other.peek() == redisopt.Pending(0, "", 0.0, "", 0)
    tickets = [caller.submit(number) for number in range(3)]
    pending = other.peek()

    assert told == [1, 2, 3]
    assert pending.calls == 3
    assert pending.window == tickets[0].window
    assert 0 < pending.due_after <= 0.3
    other.handle()
    other.start()
    caller.result(tickets[0])
    assert other.peek().calls == 0


def test_a_leading_call_is_not_pending(make_debouncer: Make) -> None:
    told: list[int] = []
    face = make_debouncer(wait=0.3, leading=True, on_debounce=told.append)
    assert face.submit("a").status == "leading"
    assert face.peek().calls == 0
    face.submit("b")
    assert told == [1]
    face.cancel()


def test_metrics_are_those_of_the_fleet(make_debouncer: Make, client: redis.Redis) -> None:
    face, other = make_debouncer(wait=0.1, partitions=3, max_attempts=1), make_debouncer(wait=0.1, partitions=3)
    assert face.metrics() == redisopt.DebounceMetrics(None, None, False, 0, 0, 0, 0, 0, 0, 0, 0)
    tickets = [face.submit(number, key=f"key {number}") for number in range(5)]
    before = other.metrics()
    face.handle()
    face.start()
    for ticket in tickets:
        face.result(ticket)
    after = other.metrics()

    server_time = client.time()[0]
    assert (before.is_waiting, before.pending_operations, before.calls, before.runs) == (True, 5, 5, 0)
    assert before.last_call_time == pytest.approx(server_time, abs=20)
    assert before.last_invoke_time is None
    assert (after.is_waiting, after.pending_operations, after.running) == (False, 0, 0)
    assert (after.runs, after.done, after.dead) == (5, 5, 0)
    assert after.last_invoke_time == pytest.approx(server_time, abs=20)


@pytest.mark.parametrize("collect", ["last", "all"])
def test_a_dead_letter_can_be_read_and_replayed(make_debouncer: Make, collect: str) -> None:
    face = make_debouncer(wait=0.01, max_attempts=2, backoff_base=0.01, collect=collect)
    face.handle(refuse)
    worker = face.start()
    face.submit({"doc": 1}, key="doc:1")
    ticket = face.submit({"doc": 2}, key="doc:1")
    with pytest.raises(redisopt.RunFailed):
        face.result(ticket)
    (letter,) = face.dead()

    whole = {"doc": 2} if collect == "last" else [{"doc": 1}, {"doc": 2}]
    assert letter.id == ticket.window
    assert (letter.key, letter.attempts, letter.payload) == ("doc:1", 2, whole)
    assert letter.error == f"ValueError: no {whole}"
    assert face.metrics().dead_letters == 1
    face.do(worker.stop)

    healed = make_debouncer(wait=0.01, collect=collect)
    healed.handle()
    healed.start()
    assert healed.replay(letter.id) == 1
    assert healed.replay(letter.id) == 0
    assert face.result(ticket).value == whole
    assert healed.runs[0].run.attempt == 1
    assert face.dead() == []


def test_all_dead_letters_are_replayed_but_those_of_a_busy_key(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0, max_attempts=1, partitions=2)
    face.handle(refuse)
    worker = face.start()
    for number in range(6):
        with pytest.raises(redisopt.RunFailed):
            face.result(face.submit(number, key=f"key {number}"))
    face.do(worker.stop)
    for _ in range(2):  # one takes the place of the run, one waits behind it
        another = make_debouncer(wait=0, max_attempts=1, partitions=2)
        another.handle(refuse)
        stopped = another.start()
        ticket = another.submit("busy", key="busy")
        with pytest.raises(redisopt.RunFailed):
            another.result(ticket)
        another.do(stopped.stop)
    face.submit("now", key="busy")
    assert len(face.dead()) == 8
    assert face.replay() == 7
    assert len(face.dead()) == 1
    assert face.peek("busy").calls == 1
    healed = make_debouncer(wait=0, partitions=2)
    healed.handle()
    healed.start()
    wait_until(lambda: len(healed.runs) == 8)
    assert face.replay() == 1
    wait_until(lambda: len(healed.runs) == 9)
    assert face.dead() == []


def test_a_window_whose_payloads_were_evicted_is_a_dead_letter(make_debouncer: Make, client: redis.Redis) -> None:
    """It does not keep the others from running."""
    face = make_debouncer(wait=0.1, collect="all", max_attempts=1)
    lost, kept = face.submit("lost", key="lost"), face.submit("kept", key="kept")
    assert client.delete("redisopt:v1:{debounce:test:0}:key:lost:items") == 1
    face.handle()
    face.start()
    with pytest.raises(redisopt.RunFailed, match="were they evicted"):
        face.result(lost)
    assert face.result(kept).value == ["kept"]


def test_at_most_once_is_never_tried_again(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0, delivery="at_most_once")
    face.handle(refuse)
    face.start()
    with pytest.raises(redisopt.RunFailed, match="after 1 attempt:"):
        face.result(face.submit("a"))
    assert len(face.runs) == 1
    assert len(face.dead()) == 1


def test_letters_of_a_key_that_was_forgotten_meanwhile_run_again(make_debouncer: Make, client: redis.Redis) -> None:
    """And nothing is kept from other keys."""
    face = make_debouncer(wait=0, max_attempts=1)
    face.handle(refuse)
    worker = face.start()
    for number in range(2):
        with pytest.raises(redisopt.RunFailed):
            face.result(face.submit(number, key="k"))
    face.do(worker.stop)
    assert client.delete("redisopt:v1:{debounce:test:0}:key:k") == 1  # as when a minute has passed
    healed = make_debouncer(wait=0)
    healed.handle()
    assert face.replay() == 2
    healed.start()
    assert face.result(face.submit("innocent", key="other")).value == "innocent"
    wait_until(lambda: len(healed.runs) == 3)
    assert sorted(str(ran.payload) for ran in healed.runs) == ["0", "1", "innocent"]


def test_the_latest_dead_letters_are_kept(make_debouncer: Make, client: redis.Redis) -> None:
    """As many as max_dead, with their payloads."""
    face = make_debouncer(wait=0, max_attempts=1, max_dead=3, collect="all")
    face.handle(refuse)
    face.start()
    for number in range(5):
        with pytest.raises(redisopt.RunFailed):
            face.result(face.submit(number, key=str(number)))
    assert [letter.payload for letter in face.dead()] == [[2], [3], [4]]
    assert face.metrics().dead_letters == 3
    assert len(list(client.scan_iter("redisopt:v1:{debounce:test:0}:dead:*"))) == 6
