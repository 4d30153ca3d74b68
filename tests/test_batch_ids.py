"""Ids of items: added twice, cancelled, given up and run again, each has one life at a time, and one outcome of the right age."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import redis

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
