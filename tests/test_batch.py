"""A batcher as its users see it: when batches are due, whose results are whose, and what the fleet is told. On both faces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from tests.batches import BatchFace, Notes, doubled, noted
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.waiting import wait_until

MakeBatcher = Callable[..., BatchFace]

SLACK = 0.15
"""Seconds that a start takes more on a busy machine, where it is several processes' turn before it is ours; see the benchmark."""


def test_an_item_comes_back_to_its_adder(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_delay=0.01)
    with batcher.worker():
        assert batcher.call(21) == 42


def test_the_size_makes_a_batch_due_at_once(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=3, max_delay=10)
    with batcher.worker(), Lateness() as late:
        batcher.add(1)
        batcher.add(2)
        third = batcher.add(3)
        added = notes.now()

        assert batcher.result(third) == 6

    (run,) = notes.runs()
    assert run.items == [1, 2, 3]
    assert run.at - added <= 0.05 + SLACK + late.seconds


def test_the_delay_counts_from_the_first_item(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    """Later items do not put it off, as they would a debounce, and it does not run since the last flush."""
    batcher = make_batcher(noted(server.url, doubled), max_size=10, max_delay=0.5)
    with batcher.worker(), Lateness() as late:
        before = notes.now()
        batcher.add(0)
        after = notes.now()
        time.sleep(0.4)
        batcher.add(1)
        time.sleep(0.05)
        batcher.add(2)
        (run,) = notes.wait_for(1)

    assert run.items == [0, 1, 2]
    assert before + 0.499 <= run.at <= after + 0.55 + SLACK + late.seconds


def test_what_a_full_batch_leaves_waits_its_own_delay(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=10, max_delay=0.2)
    with batcher.worker(), Lateness() as late:
        before = notes.now()
        batcher.add_many(range(25))
        after = notes.now()
        runs = notes.wait_for(3)

    assert [len(run.items) for run in runs] == [10, 10, 5]
    assert runs[1].at <= after + 0.05 + SLACK + late.seconds
    assert before + 0.199 <= runs[2].at <= after + 0.25 + SLACK + late.seconds


def test_a_batch_by_delay_starts_the_count_anew(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=2, max_delay=0.1)
    with batcher.worker():
        batcher.add(1)
        notes.wait_for(1)
        before = notes.now()
        batcher.add(2)
        runs = notes.wait_for(2)

    assert [run.items for run in runs] == [[1], [2]]
    assert runs[1].at >= before + 0.099


def test_bytes_make_a_batch_due_and_bound_it(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher = make_batcher(
        noted(server.url, lambda items: [len(each) for each in items]), max_size=1000, max_bytes=1000_000, max_delay=0.3
    )
    items = ["x" * 100_000] * 25
    with batcher.worker():
        assert [batcher.result(ticket) for ticket in batcher.add_many(items)] == [100_000] * 25

    sizes = [len(run.items) for run in notes.runs()]
    assert max(sizes) <= 10
    assert sizes[:2] == [9, 9]


def test_an_item_above_the_bytes_is_a_batch_of_its_own(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(
        noted(server.url, lambda items: [len(each) for each in items]), max_bytes=1000, max_delay=0.1
    )
    with batcher.worker():
        tickets = batcher.add_many(["a", "b" * 5000, "c"])

        assert [batcher.result(ticket) for ticket in tickets] == [1, 5000, 1]

    assert [len(run.items) for run in notes.runs()] == [1, 1, 1]


def test_keys_are_never_mixed(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=3, max_delay=0.2)
    with batcher.worker(), Lateness() as late:
        before = notes.now()
        batcher.add_many([1, 2], key="tenant 1")
        batcher.add(10, key="tenant:{2}")
        batcher.add(3, key="tenant 1")
        after = notes.now()
        runs = notes.wait_for(2)

    assert [run.items for run in runs] == [[1, 2, 3], [10]]
    assert runs[0].at <= after + 0.05 + SLACK + late.seconds
    assert before + 0.199 <= runs[1].at <= after + 0.25 + SLACK + late.seconds


def test_items_with_keys_of_their_own_make_batches_of_their_own(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=10, max_delay=5)
    with batcher.worker():
        batcher.add_many(range(40), key=lambda item: "odd" if item % 2 else "even")
        runs = notes.wait_for(4)

    assert [len(run.items) for run in runs] == [10] * 4
    for parity in (0, 1):
        assert [item for run in runs for item in run.items if item % 2 == parity] == list(range(parity, 40, 2))
    assert all(len({item % 2 for item in run.items}) == 1 for run in runs)


def test_each_of_many_gets_its_own_in_order(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_size=50, max_delay=0.05)
    with batcher.worker(concurrency=3):
        tickets = batcher.add_many(range(1200))

        assert [batcher.result(ticket) for ticket in tickets] == [2 * item for item in range(1200)]


def test_an_id_is_added_once_and_both_adders_get_the_result(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher, other = make_batcher(noted(server.url, doubled), max_delay=0.1), make_batcher(max_delay=0.1)
    tickets = [batcher.add(1, id="order:7 {é}"), other.add(100, id="order:7 {é}")]
    with batcher.worker():
        assert [batcher.result(tickets[0]), other.result(tickets[1])] == [2, 2]

        assert other.result(other.add(1000, id="order:7 {é}")) == 2  # after it ended, too
        assert other.result("order:7 {é}") == 2

    assert [run.items for run in notes.runs()] == [[1]]
    assert notes.runs()[0].ids == ["order:7 {é}"]


@pytest.mark.long
def test_another_process_has_the_result_until_its_time_is_over(make_batcher: MakeBatcher) -> None:
    batcher, other = make_batcher(doubled, max_delay=0.0, result_ttl=1.0), make_batcher(result_ttl=1.0)
    with batcher.worker():
        ticket = batcher.add(21)

        assert other.result(ticket.name) == 42
        time.sleep(1.2)
        with pytest.raises(redisopt.ResultExpired):
            other.result(ticket.name)
        with pytest.raises(redisopt.ResultExpired):
            other.result("never-added")


def test_an_adder_that_times_out_may_wait_again(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_delay=0.3)
    with batcher.worker():
        ticket = batcher.add(21)
        with pytest.raises(TimeoutError):
            batcher.result(ticket, timeout=0.05)

        assert batcher.result(ticket) == 42


def test_flush_forces_out_what_waits_and_no_more(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=100, max_delay=30)
    batcher.add_many([1, 2, 3])
    batcher.add(4, key="other")
    batcher.flush()
    late = batcher.add(5)
    with batcher.worker():
        notes.wait_for(2)
        time.sleep(0.2)
        assert sorted(run.items for run in notes.runs()) == [[1, 2, 3], [4]]

        batcher.flush(key="")
        assert batcher.result(late) == 10


def test_a_pause_holds_back_batches_and_a_resume_lets_them_go(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes, client: redis.Redis
) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_delay=0.02)
    with batcher.worker(), Lateness() as late:
        batcher.pause()
        ticket = batcher.add(1)
        time.sleep(0.3)
        assert not notes.runs()
        assert batcher.metrics().paused
        assert client.hget("redisopt:v1:{batch:test}:state", "paused")

        resumed = notes.now()
        batcher.resume()
        assert batcher.result(ticket) == 2
    assert notes.runs()[0].at - resumed <= 0.1 + SLACK + late.seconds


def test_what_waits_can_be_cancelled(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=3, max_delay=0.2)
    first, second, third = batcher.add_many([1, 2, 3])
    assert batcher.wait_for(second.cancel())
    assert not batcher.cancel(second.name)
    assert not batcher.cancel("unknown")
    with batcher.worker():
        assert [batcher.result(first), batcher.result(third)] == [2, 6]
        with pytest.raises(redisopt.Cancelled):
            batcher.result(second)
        assert not batcher.cancel(first.name)

    assert [run.items for run in notes.runs()] == [[1, 3]]
    assert batcher.metrics().cancelled == 1


def test_all_that_waits_of_a_key_can_be_cancelled(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    """Also what waits to be run again, and in more pages than one; not what runs, nor other keys."""
    batcher = make_batcher(noted(server.url, doubled), max_delay=60, max_size=1000)
    tickets = batcher.add_many(range(1200), "ada")
    other = batcher.add(7, "bob")
    assert batcher.cancel_key("ada") == 1200
    assert batcher.cancel_key("ada") == 0
    with pytest.raises(redisopt.Cancelled):
        batcher.result(tickets[1199])
    assert batcher.metrics().pending == 1
    with batcher.worker():
        batcher.flush()
        assert batcher.result(other) == 14
    assert [run.items for run in notes.runs()] == [[7]]


def test_what_is_to_run_again_is_cancelled_with_its_key(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(failing_always, max_delay=0.01, backoff_base=60, backoff_cap=60, max_attempts=5)
    with batcher.worker():
        ticket = batcher.add(1, "ada")
        wait_until(lambda: batcher.metrics().retried == 1 and batcher.metrics().running == 0)
        assert batcher.cancel_key("ada") == 1
        with pytest.raises(redisopt.Cancelled):
            batcher.result(ticket)


def failing_always(items: list[Any]) -> list[Any]:
    raise ValueError("no")


def test_who_waits_hears_of_a_cancel_at_once(make_batcher: MakeBatcher) -> None:
    import threading

    batcher, other = make_batcher(max_delay=60), make_batcher(max_delay=60)
    ticket = batcher.add(1)
    ended: list[float] = []

    def wait() -> None:
        with pytest.raises(redisopt.Cancelled):
            batcher.result(ticket)
        ended.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    cancelled = time.monotonic()
    assert other.cancel(ticket.name)
    thread.join(5)

    assert ended[0] - cancelled < 0.5


def test_higher_priorities_go_first(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=2, max_delay=0.0, priorities=3)
    for item, priority in ((1, 0), (2, 0), (3, 1), (4, 2), (5, 2)):
        batcher.add(item, priority=priority)
    with batcher.worker():
        notes.wait_for(3)

    assert [run.items for run in notes.runs()] == [[4, 5], [3, 1], [2]]


def test_metrics_tell_how_it_stands(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_size=2, max_delay=30)
    tickets = batcher.add_many([1, 2, 3])
    time.sleep(0.05)
    metrics = batcher.metrics()
    assert (metrics.pending, metrics.running, metrics.added) == (3, 0, 3)
    assert 0.04 < metrics.oldest_age < 5

    with batcher.worker():
        batcher.result(tickets[0])
        batcher.flush()
        batcher.result(tickets[2])
    metrics = batcher.metrics()
    assert (metrics.pending, metrics.running, metrics.done, metrics.batches) == (0, 0, 3, 0)
    assert (metrics.flushed_by["size"], metrics.flushed_by["flush"]) == (1, 1)
    assert metrics.oldest_age == 0


def test_json_stands_readable_in_redis(make_batcher: MakeBatcher, client: redis.Redis) -> None:
    batcher = make_batcher(doubled, codec="json", max_delay=60)
    ticket = batcher.add({"text": "é"}, id="a")
    stored: Any = client.hget("redisopt:v1:{batch:test}:items", "a")

    assert stored.decode().partition("\n")[2] == '{"text":"é"}'
    assert batcher.wait_for(ticket.cancel())


@pytest.mark.long
def test_keys_that_wait_cost_no_polling(make_batcher: MakeBatcher, client: redis.Redis) -> None:
    batcher = make_batcher(doubled, max_delay=60, max_size=10)
    batcher.add_many(range(2000), key=str)
    with batcher.worker():
        time.sleep(0.5)
        client.config_resetstat()
        time.sleep(2.0)
        stats: Any = client.info("commandstats")
        assert stats.get("cmdstat_evalsha", {}).get("calls", 0) <= 10
        client.flushdb()


def test_fences_rise_though_the_state_is_lost(make_batcher: MakeBatcher, client: redis.Redis) -> None:
    fences: list[int] = []

    def handle(items: list[Any], run: Any) -> list[Any]:
        fences.append(run.fence)
        return items

    batcher = make_batcher(handle, max_delay=0.0, max_size=1)
    with batcher.worker():
        for item in range(3):
            assert batcher.call(item) == item
        time.sleep(0.01)
        client.delete("redisopt:v1:{batch:test}:state")
        assert batcher.call(3) == 3

    assert fences == sorted(set(fences))


@pytest.mark.parametrize("key", ["", "a key"])
def test_a_worker_with_fewer_priorities_overlooks_nothing(make_batcher: MakeBatcher, key: str) -> None:
    """As in a deployment that gives an old batcher priorities, while workers of before still run."""
    old, new = make_batcher(doubled, max_delay=0.1), make_batcher(max_delay=0.1, priorities=3)
    with old.worker():
        assert [new.call(item, key, priority=item, timeout=5) for item in range(3)] == [0, 2, 4]
        waits = new.add(7, key, priority=2)
        assert new.result(waits) == 14


def test_what_waits_of_a_key_is_cancelled_whatever_its_priority(make_batcher: MakeBatcher) -> None:
    old, new = make_batcher(max_delay=60), make_batcher(max_delay=60, priorities=3)
    for priority in range(3):
        new.add(priority, "ada", priority=priority)

    assert old.cancel_key("ada") == 3
    assert old.metrics().pending == 0
