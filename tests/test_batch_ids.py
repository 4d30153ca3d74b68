"""Ids of items: added twice, cancelled, given up and run again, each has one life at a time, and one outcome of the right age."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from redisopt import Retry
from tests.batches import BatchFace, Notes, doubled, is_idle, noted
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.waiting import wait_until

MakeBatcher = Callable[..., BatchFace]


def test_both_tickets_of_one_id_get_its_result(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    """Also where the later one is let go of before the result comes."""
    batcher = make_batcher(noted(server.url, doubled), max_delay=0.2)
    first, second = batcher.add(1, id="order"), batcher.add(1, id="order")
    let_go, kept = batcher.add(2, id="other"), batcher.add(2, id="other")
    del let_go
    with batcher.worker():
        assert [batcher.result(ticket, 5) for ticket in (first, second, kept)] == [2, 2, 4]
        assert batcher.result(batcher.add(5, id="order"), 5) == 2

    assert sorted(item for run in notes.runs() for item in run.items) == [1, 2]


def test_threads_that_call_one_id_share_its_result(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_delay=0.2)
    results: list[Any] = []

    def call() -> None:
        results.append(batcher.call(2, id="order", timeout=5))

    threads = [threading.Thread(target=call) for _ in range(4)]
    with batcher.worker():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    assert results == [4] * 4


@pytest.mark.long
def test_an_id_may_be_added_again_once_its_outcome_has_had_its_time(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    """And what ended before says nothing of it any more, whoever swept or not."""
    batcher = make_batcher(noted(server.url, doubled), max_delay=0.0, result_ttl=1.0)
    with batcher.worker():
        assert batcher.call(1, id="x") == 2
        time.sleep(0.7)
        assert batcher.call(2) == 4  # so that the whole HASH of outcomes lives longer than the one of x
        assert batcher.call(7, id="x") == 2  # it ended less than a second ago
        time.sleep(0.5)
        batcher.pause()
        ticket = batcher.add(3, id="x")
        with pytest.raises(redisopt.ResultTimeout):
            batcher.result("x", 0.1)
        batcher.resume()
        assert batcher.result(ticket) == 6
        for number in range(20):  # these sweep what ended before
            batcher.call(number)
        assert batcher.result("x", 1) == 6

    assert [item for run in notes.runs() if "x" in run.ids for item in run.items] == [1, 3]


def test_an_outcome_by_its_id_is_gone_when_its_time_is_over(make_batcher: MakeBatcher) -> None:
    """Though others have ended since, which keep the HASH of outcomes alive."""
    batcher = make_batcher(doubled, max_delay=0.0, result_ttl=1.0)
    with batcher.worker():
        batcher.call(1, id="x")
        time.sleep(0.7)
        batcher.call(2)
        time.sleep(0.5)
        with pytest.raises(redisopt.ResultExpired):
            batcher.result("x", 1)


@pytest.mark.long
def test_the_result_of_a_replayed_item_is_kept_for_its_own_time(make_batcher: MakeBatcher) -> None:
    broken = [True]
    batcher = make_batcher(
        lambda items: [ValueError("no") if item == 1 and broken else item for item in items],
        max_delay=0.0,
        max_attempts=1,
        result_ttl=2.0,
    )
    with batcher.worker():
        with pytest.raises(redisopt.BatchItemFailed):
            batcher.call(1, id="x")
        broken.clear()
        time.sleep(1.5)
        assert batcher.replay() == 1
        assert batcher.result("x", 5) == 1
        time.sleep(0.8)
        batcher.call(2)  # it sweeps the time of the failure
        assert batcher.result("x", 0.5) == 1


# --- what is cancelled leaves its place in a list behind


def test_a_batch_is_full_though_many_between_its_items_were_cancelled(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=10, max_delay=60)
    batcher.add(0)
    for _ in range(6):
        for ticket in batcher.add_many([-1] * 8):
            assert batcher.wait_for(ticket.cancel())
    tickets = batcher.add_many(range(1, 10))
    with batcher.worker():
        assert batcher.result(tickets[-1]) == 18

    assert [run.items for run in notes.runs()] == [list(range(10))]


def test_what_waits_is_counted_though_many_before_it_were_cancelled(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes, client: redis.Redis
) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=200, max_delay=60)
    tickets = batcher.add_many(range(1500), "a key")
    batcher.wait_for(
        batcher.real._runner.run(batcher.real._plans.telling.cancel([each.id for each in reversed(tickets[:1201])]))
    )
    with batcher.worker():
        assert batcher.result(tickets[1201]) == 2402  # 299 wait, and 200 make a batch due
        wait_until(lambda: batcher.metrics().running == 0)
        assert client.hget("redisopt:v1:{batch:test}:counts", "=a%20key") == b"99"
        batcher.flush("a key")
        assert batcher.result(tickets[-1]) == 2998

    assert [len(run.items) for run in notes.runs()] == [200, 99]


@pytest.mark.long
def test_a_cancelled_item_has_no_second_life_with_another_of_its_id(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    """The one that was cancelled was to run again later; the other one runs when that is due, and once."""

    def handle(items: list[Any], run: Any) -> list[Any]:
        notes.note(items, run)
        if items == ["second"]:
            time.sleep(2.0)
        waits = {"before": 2.0, "first": 2.5}
        return [Retry(waits[item]) if item in waits and run.attempts[0] == 1 else item for item in items]

    batcher = make_batcher(handle, max_size=1, max_delay=0.0, result_ttl=1.0)
    with batcher.worker(concurrency=2):
        before = batcher.add("before")  # it stands before the other in the list of what runs again later
        batcher.add("first", id="x")
        wait_until(lambda: batcher.metrics().retried == 2)
        assert batcher.cancel("x")
        time.sleep(1.5)  # that it was cancelled is forgotten by now
        assert batcher.result(batcher.add("second", id="x")) == "second"
        assert batcher.result(before) == "before"

    assert sorted(run.items[0] for run in notes.runs()) == ["before", "before", "first", "second"]


def test_lists_do_not_grow_with_what_is_cancelled(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes, client: redis.Redis
) -> None:
    """Behind an item that waits, and whatever is between; what waits keeps its order."""
    batcher = make_batcher(noted(server.url, doubled), max_size=1000, max_delay=600)
    plans = batcher.real._plans.telling
    run = batcher.real._runner.run
    batcher.add(0)
    kept = 1
    for number in range(40):
        tickets = batcher.add_many(range(1000 * number, 1000 * number + 300))
        batcher.wait_for(run(plans.cancel([each.id for each in tickets])))
        batcher.add(kept)
        kept += 1
        lengths = [client.llen(f"redisopt:v1:{{batch:test}}:{name}") for name in ("front", "ready")]
        assert sum(lengths) < 2 * kept + 1000 + 2 * 700
    batcher.flush()
    with batcher.worker():
        wait_until(lambda: is_idle(batcher))

    assert [item for run in notes.runs() for item in run.items] == list(range(kept))


# --- results that were there before anybody waited


def test_results_that_are_there_already_come_at_once(make_batcher: MakeBatcher, client: redis.Redis) -> None:
    """Whatever their number, and whether one waits for them or only looks."""
    batcher, other = make_batcher(doubled, max_size=500, max_delay=0.0), make_batcher()
    tickets = other.add_many(range(3000))
    looked_at = other.add(7)
    with batcher.worker():
        wait_until(lambda: batcher.metrics().done == 3001, 20)
    with Lateness() as late:
        began = time.monotonic()
        assert other.result(looked_at, timeout=0) == 14
        assert [other.result(ticket) for ticket in tickets] == doubled(list(range(3000)))
        assert time.monotonic() - began < 2.5 + late.seconds  # and not a second for each five hundred
    with pytest.raises(redisopt.ResultTimeout):
        other.result(other.add(1, id="waits"), timeout=0)
    assert other.cancel("waits")


def test_tickets_that_redis_has_lost_are_told_so_together(make_batcher: MakeBatcher, client: redis.Redis) -> None:
    batcher = make_batcher(max_delay=60)
    tickets = batcher.add_many(range(20))
    client.flushall()
    began = time.monotonic()
    for ticket in tickets:
        with pytest.raises(redisopt.ResultExpired):
            batcher.result(ticket)

    assert time.monotonic() - began < 5


def test_a_dead_item_whose_id_was_added_anew_stays(make_batcher: MakeBatcher) -> None:
    """Until the new one has ended; and it keeps no other one from running again."""
    broken = [True]
    batcher = make_batcher(
        lambda items: [ValueError("no") if broken else item for item in items],
        max_delay=0.0,
        max_attempts=1,
        result_ttl=1.0,
    )
    with batcher.worker():
        for name in ("x", "y"):
            with pytest.raises(redisopt.BatchItemFailed):
                batcher.call(name, id=name)
        time.sleep(1.1)
        batcher.pause()
        ticket = batcher.add("new", id="x")
        broken.clear()
        assert batcher.replay() == 1
        assert [dead.payload for dead in batcher.dead()] == ["x"]
        batcher.resume()
        assert batcher.result(ticket) == "new"
        assert batcher.result("y") == "y"
        assert batcher.replay(["x"]) == 1
        wait_until(lambda: is_idle(batcher))
        assert not batcher.dead()


def test_a_dead_item_that_is_named_twice_runs_once_more(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    broken = [True]
    batcher = make_batcher(
        noted(server.url, lambda items: [ValueError("no") if broken else item for item in items]),
        max_delay=0.0,
        max_attempts=1,
    )
    with batcher.worker(concurrency=2):
        with pytest.raises(redisopt.BatchItemFailed):
            batcher.call("x", id="x")
        batcher.pause()
        broken.clear()
        assert batcher.replay(iter(["x", "y", "x"])) == 1
        assert batcher.metrics().pending == 1
        batcher.resume()
        assert batcher.result("x") == "x"
        wait_until(lambda: is_idle(batcher))

    assert [run.items for run in notes.runs()] == [["x"], ["x"]]
