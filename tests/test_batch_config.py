"""Batchers that are configured otherwise elsewhere, and what is refused before anything begins."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.batch import adding
from tests.batches import PATIENT, BatchFace, Notes, doubled, noted
from tests.servers import RunningServer
from tests.turns import scripts_run
from tests.waiting import wait_until

MakeBatcher = Callable[..., BatchFace]


def test_a_conflict_is_raised_for_as_long_as_it_is_there(make_batcher: MakeBatcher) -> None:
    """By adds, by maps, and by workers when they start; who was there first goes on."""
    first, strict = (
        make_batcher(doubled, max_size=10, max_delay=0.0),
        make_batcher(doubled, max_size=20, max_delay=0.0, on_conflict="raise"),
    )
    begins: list[Callable[[], Any]] = [
        lambda: strict.add(2),
        lambda: strict.map([1]),
        lambda: strict.worker().__enter__(),
    ]
    with first.worker():
        assert first.call(1) == 2
        for _ in range(2):
            for begin in begins:
                with pytest.raises(redisopt.ConfigConflict):
                    begin()
        assert first.call(1) == 2
    assert not strict.real.works
    assert first.metrics().added == 2


@pytest.mark.long
def test_a_conflict_that_comes_later_is_seen_as_well(
    make_batcher: MakeBatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who began before learns of it within some seconds: its adds raise, and its workers take nothing."""
    monkeypatch.setattr(adding, "JOIN_EVERY", 0.2)
    strict = make_batcher(doubled, max_size=20, max_delay=0.0, on_conflict="raise")
    with strict.worker():
        assert strict.call(1) == 2
        other = make_batcher(max_size=10, max_delay=0.0)
        other.add(1)
        time.sleep(0.3)
        with pytest.raises(redisopt.ConfigConflict):
            strict.add(1)
        wait_until(lambda: "takes nothing" in caplog.text)
        done = other.metrics().done
        waits = other.add(3)
        time.sleep(0.5)
        assert other.metrics().done == done
        assert other.wait_for(waits.cancel())
    other.cancel_key("")


def test_a_batcher_has_one_handler(make_batcher: MakeBatcher) -> None:
    batcher, other = make_batcher(doubled), make_batcher()
    handler = doubled if batcher.kind == "sync" else doubled_async
    with pytest.raises(ValueError, match="handler already"):
        batcher.real.handler(handler)
    other.real.handler(handler)
    with pytest.raises(ValueError, match="handler already"):
        other.real.handler(handler)


async def doubled_async(items: list[Any]) -> list[Any]:
    return doubled(items)


def test_a_worker_is_stopped_by_an_event_of_its_own_kind(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled)
    wrong = asyncio.Event() if batcher.kind == "sync" else threading.Event()
    for stop in (wrong, 5):
        with pytest.raises(ValueError, match="stop must be"):
            batcher.run(stop)
    assert not batcher.real.works


def test_tasks_that_begin_at_once_join_once(server: RunningServer, client: redis.Redis) -> None:
    """And their items travel together from the first one on."""

    async def main() -> None:
        async with redis.asyncio.from_url(server.url) as async_client:
            batcher = redisopt.AsyncBatcher(async_client, "test", handler=doubled_async, max_delay=0.0, **PATIENT)
            async with batcher, batcher.worker():
                client.config_resetstat()
                assert await asyncio.gather(*(batcher.call(item) for item in range(1000))) == doubled(list(range(1000)))
                assert scripts_run(client) < 200

    asyncio.run(main())


def test_what_ended_by_failure_is_counted_under_its_name(
    make_batcher: MakeBatcher, client: redis.Redis, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(
        noted(server.url, lambda items: [ValueError("no")] * len(items)), max_attempts=1, max_delay=0.0
    )
    with batcher.worker(), pytest.raises(redisopt.BatchItemFailed):
        batcher.call(1)
    assert batcher.metrics().failed == 1
    assert client.hget("redisopt:v1:{batch:test}:state", "failed") == b"1"


# --- what is dropped


def test_what_waits_longest_is_dropped_whatever_its_key(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_queue=5, overflow="drop_old", max_delay=60)
    first = batcher.add_many(range(3), key="a")
    time.sleep(0.01)
    second = batcher.add_many(range(10, 12), key="b")
    time.sleep(0.01)
    third = batcher.add_many(range(20, 24), key="c")
    for ticket in (*first, second[0]):
        with pytest.raises(redisopt.QueueFull):
            batcher.result(ticket)
    with pytest.raises(redisopt.QueueFull, match="never"):
        batcher.add_many(range(6), key="d")
    metrics = batcher.metrics()
    assert (metrics.pending, metrics.dropped) == (5, 4)
    batcher.flush()
    with batcher.worker():
        assert [batcher.result(ticket) for ticket in (second[1], *third)] == [22, 40, 42, 44, 46]
    assert batcher.metrics().pending == 0


def test_nothing_is_dropped_in_vain(make_batcher: MakeBatcher) -> None:
    """What waits to run again is not dropped; where that leaves no room, the add is refused and all stays."""

    def handle(items: list[Any]) -> list[Any]:
        return [redisopt.Retry(60)] * len(items)

    batcher = make_batcher(handle, max_queue=3, overflow="drop_old", max_delay=0.0)
    with batcher.worker():
        batcher.add_many(range(2), key="a")
        wait_until(lambda: batcher.metrics().retried == 2)
    ticket = batcher.add(2, key="b")
    with pytest.raises(redisopt.QueueFull):
        batcher.add_many(range(2), key="c")
    assert (batcher.metrics().pending, batcher.metrics().dropped) == (3, 0)
    assert batcher.wait_for(ticket.cancel())
    assert batcher.cancel_key("a") == 2


def test_what_was_dropped_is_counted_and_known_and_may_be_added_again(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_queue=2, overflow="drop_new", max_delay=60)
    tickets = batcher.add_many(range(3), ids=["a", "b", "c"])
    assert batcher.metrics().dropped == 1
    with pytest.raises(redisopt.QueueFull):
        batcher.result(tickets[2])
    with pytest.raises(redisopt.QueueFull):
        batcher.result("c")
    batcher.flush()
    with batcher.worker():
        assert batcher.result(tickets[1]) == 2
        again = batcher.add(7, id="c")
        batcher.flush()
        assert batcher.result(again) == 14
        assert batcher.result("c") == 14


def test_a_result_of_another_codec_is_told_to_be_unreadable(make_batcher: MakeBatcher) -> None:
    worker, adder = make_batcher(doubled, max_delay=0.0), make_batcher(codec="json", max_delay=0.0)
    with worker.worker():
        assert worker.call(2, id="a") == 4
    with pytest.raises(redisopt.StateLost, match="cannot be read"):
        adder.result("a")
