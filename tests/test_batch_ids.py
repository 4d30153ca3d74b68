"""Ids of items: added twice, cancelled, given up and run again, each has one life at a time, and one outcome of the right age."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import redisopt

from tests.batches import BatchFace, Notes, doubled, noted
from tests.servers import RunningServer

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
