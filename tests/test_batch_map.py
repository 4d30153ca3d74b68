"""`map`, its progress, and `batched`: what a caller sees who leaves the batches to the library."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.batch import mapping
from redisopt.batch.adding import Wish
from redisopt.batch.asking import Asking
from redisopt.batch.replies import Reading
from redisopt.commands import Command, Wait
from tests.batches import PATIENT, BatchFace, Notes, doubled, noted
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.waiting import wait_until

MakeBatcher = Callable[..., BatchFace]


def test_map_gives_results_in_the_order_of_the_items(make_batcher: MakeBatcher) -> None:
    """The caller works as well, where nobody else does in its process."""
    batcher = make_batcher(doubled, max_size=50, max_delay=0.01)

    assert batcher.map(range(1000)) == doubled(list(range(1000)))
    assert batcher.map([]) == []
    assert not batcher.real.works


def test_progress_is_monotonic_and_ends_at_the_total(make_batcher: MakeBatcher) -> None:
    def handle(items: list[Any]) -> list[Any]:
        time.sleep(0.02)
        return [ValueError("no") if item % 100 == 7 else item for item in items]

    batcher = make_batcher(handle, max_size=50, max_delay=0.01, max_attempts=2, backoff_base=0.01)
    seen: list[redisopt.Progress] = []
    results = batcher.map(range(1000), on_progress=seen.append, errors="collect")

    assert [item for item, result in enumerate(results) if isinstance(result, redisopt.BatchItemFailed)] == list(
        range(7, 1000, 100)
    )
    counts = [each.done + each.failed for each in seen]
    assert counts == sorted(counts)
    last = seen[-1]
    assert (last.done, last.failed, last.total, last.eta) == (990, 10, 1000, 0.0)
    assert last.retried == 10
    assert last.rate > 0
    assert all(each.eta is not None for each in seen if 0 < each.done < 1000 and each.rate)


def test_one_that_fails_does_not_stop_the_others(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(
        noted(server.url, lambda items: [ValueError("three") if item == 3 else item for item in items]),
        max_attempts=1,
        max_delay=0.0,
    )
    with pytest.raises(redisopt.BatchItemFailed, match="three"):
        batcher.map(range(6))

    assert sorted(item for run in notes.runs() for item in run.items) == list(range(6))


def test_results_may_come_in_the_order_in_which_they_end(make_batcher: MakeBatcher) -> None:
    def handle(items: list[Any], run: Any) -> list[Any]:
        return [
            redisopt.Retry(0.2) if item == 0 and run.attempts[place] == 1 else item for place, item in enumerate(items)
        ]

    batcher = make_batcher(handle, max_delay=0.0)

    assert batcher.map(range(5), ordered=False) == [1, 2, 3, 4, 0]


def test_a_map_is_larger_than_the_queue(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_queue=20, max_size=10, max_delay=0.0)

    assert batcher.map(range(300)) == doubled(list(range(300)))


def test_a_run_id_names_one_run(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher, other = (make_batcher(noted(server.url, doubled), max_delay=0.0) for _ in range(2))
    assert batcher.map(range(5), run_id="a run: {1}") == [0, 2, 4, 6, 8]
    assert other.map(range(5), run_id="a run: {1}") == [0, 2, 4, 6, 8]
    assert len([item for run in notes.runs() for item in run.items]) == 5
    with pytest.raises(ValueError, match="run_id"):
        other.map(range(6), run_id="a run: {1}")


def test_bad_arguments_of_a_map_are_named(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled)
    for arguments, told in (
        ({"items": "text"}, "items must be"),
        ({"items": [1], "errors": "ignore"}, "errors must be"),
        ({"items": [1], "on_progress": 5}, "on_progress must be"),
        ({"items": [1], "run_id": ""}, "run_id must be"),
        ({"items": [1], "timeout": -1}, "timeout must be"),
    ):
        with pytest.raises(ValueError, match=told):
            batcher.map(**arguments)


def test_a_map_that_nobody_works_for_ends(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(max_delay=0.0)
    with pytest.raises(redisopt.ResultTimeout):
        batcher.map([1], timeout=0.3)
    worker = make_batcher(doubled, max_delay=0.0)
    with worker.worker():
        wait_until(lambda: worker.metrics().done == 1)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_a_map_whose_worker_cannot_be_started_raises_that(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("redisopt-batch"):
            raise error
        begin(thread)

    with redisopt.Batcher(client, "test", handler=doubled, max_delay=0.0, **PATIENT) as batcher:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(type(error)):
                batcher.map([1], timeout=3)
        assert batcher.map([2]) == [4]


def test_progress_shows_as_a_bar(make_batcher: MakeBatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    batcher = make_batcher(doubled, max_delay=0.0)
    with redisopt.progress_bar("doubling") as show:
        assert batcher.map(range(10), on_progress=show) == doubled(list(range(10)))


# --- batched


def test_a_call_while_it_is_closed_starts_no_worker_that_outlives_that(
    server: RunningServer, client: redis.Redis
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @redisopt.batched(client, "test", max_size=1, max_delay=0.0, **PATIENT)
    def wait(items: list[int]) -> list[int]:
        begun.set()
        go_on.wait(10)
        return items

    first = threading.Thread(target=wait, args=(1,))
    first.start()
    assert begun.wait(10)
    closing = threading.Thread(target=wait.close)
    closing.start()
    wait_until(lambda: not wait.batcher.works)
    with pytest.raises(redisopt.ResultTimeout):
        wait(2, timeout=0.2)
    go_on.set()
    for thread in (first, closing):
        thread.join(10)
    assert not wait.batcher.works
    assert wait(3) == 3, "a call after that starts one again"
    wait.close()


def test_a_function_of_a_list_becomes_one_of_an_item(server: RunningServer, client: redis.Redis) -> None:
    @redisopt.batched(client, "test", max_size=10, max_delay=0.01, **PATIENT)
    def double(items: list[int]) -> list[int]:
        """Twice as much."""
        return [2 * item for item in items]

    assert double(21, timeout=10) == 42
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice as much."
    double.close()
    assert double(4, timeout=10) == 8  # it works again when it is called again
    double.close()


def test_calls_of_one_event_loop_travel_together(server: RunningServer, client: redis.Redis) -> None:
    """Two hundred tasks make few script calls, and each has its own result."""

    async def main() -> None:
        async with redis.asyncio.from_url(server.url) as async_client:

            @redisopt.async_batched(async_client, "test", max_size=50, max_delay=0.02, **PATIENT)
            async def double(items: list[int]) -> list[int]:
                return [2 * item for item in items]

            assert await double(1) == 2
            client.config_resetstat()
            assert await asyncio.gather(*(double(item) for item in range(200))) == doubled(list(range(200)))
            stats: Any = client.info("commandstats")
            assert stats["cmdstat_evalsha"]["calls"] <= 40
            await double.aclose()

    asyncio.run(main())


def test_one_of_many_calls_is_refused_alone(server: RunningServer, client: redis.Redis) -> None:
    async def main() -> None:
        async with redis.asyncio.from_url(server.url) as async_client:
            batcher = redisopt.AsyncBatcher(
                async_client, "test", max_queue=5, max_delay=60, max_item_bytes=100, **PATIENT
            )
            answers = await asyncio.gather(
                *(batcher.add(item if item != 3 else "x" * 200) for item in range(8)), return_exceptions=True
            )
            kinds = [type(answer).__name__ for answer in answers]
            assert kinds.count("AsyncBatchTicket") == 5
            assert kinds.count("QueueFull") == 2
            assert kinds[3] == "PayloadError"
            for answer in answers:
                if isinstance(answer, redisopt.AsyncBatchTicket):
                    assert await answer.cancel()
            await batcher.aclose()

    asyncio.run(main())


def test_a_task_that_is_cancelled_leaves_the_others_their_results(server: RunningServer, client: redis.Redis) -> None:
    async def main() -> None:
        async with redis.asyncio.from_url(server.url) as async_client:

            @redisopt.async_batched(async_client, "test", max_size=50, max_delay=0.2, **PATIENT)
            async def double(items: list[int]) -> list[int]:
                return [2 * item for item in items]

            await double(1)
            tasks = [asyncio.create_task(double(item)) for item in range(20)]
            await asyncio.sleep(0.05)
            for task in tasks[::2]:
                task.cancel()
            assert await asyncio.wait_for(asyncio.gather(*tasks[1::2]), 10) == [2 * item for item in range(1, 20, 2)]
            await double.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("lasting", [0, 10])
def test_a_worker_whose_start_was_cancelled_is_started_by_the_next_call(
    server: RunningServer, client: redis.Redis, lasting: int
) -> None:
    """Also by one that came while it was being started."""

    async def main() -> None:
        async with redis.asyncio.from_url(server.url) as async_client:

            @redisopt.async_batched(async_client, "test", max_size=4, max_delay=0.01, **PATIENT)
            async def double(items: list[int]) -> list[int]:
                return [2 * item for item in items]

            first = asyncio.create_task(double(1))
            await asyncio.sleep(0)
            others = [asyncio.create_task(double(item)) for item in range(lasting)]
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert await double(2, timeout=10) == 4
            assert await asyncio.wait_for(asyncio.gather(*others), 10) == doubled(list(range(lasting)))
            await double.aclose()

    asyncio.run(main())


def test_a_function_of_an_item_works_again_after_its_batcher_was_closed(
    server: RunningServer, client: redis.Redis
) -> None:
    @redisopt.batched(client, "test", max_size=10, max_delay=0.01, **PATIENT)
    def double(items: list[int]) -> list[int]:
        return [2 * item for item in items]

    assert double(1, timeout=10) == 2
    double.batcher.close()
    assert double(2, timeout=10) == 4
    double.close()


def test_maps_at_the_same_time_are_worked_for_until_the_last_one_ends(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_size=10, max_delay=0.01)
    results: dict[int, Any] = {}

    def map_some(number: int) -> None:
        results[number] = batcher.map(range(number), timeout=10)

    threads = [threading.Thread(target=map_some, args=(number,)) for number in (5, 400, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert results == {number: doubled(list(range(number))) for number in (5, 400, 20)}
    assert not batcher.real.works


def test_a_map_goes_on_when_the_worker_of_its_process_stops(make_batcher: MakeBatcher) -> None:
    results: list[Any] = []

    def handle(items: list[Any]) -> list[Any]:
        time.sleep(0.02)
        return doubled(items)

    batcher = make_batcher(handle, max_size=1, max_delay=0.0)
    thread = threading.Thread(target=lambda: results.append(batcher.map(range(50), timeout=10)))
    with batcher.worker():
        thread.start()
        wait_until(lambda: batcher.metrics().done > 5)
    thread.join(20)

    assert results == [doubled(list(range(50)))]
    assert not batcher.real.works


def test_a_turn_of_a_large_map_costs_no_more_than_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but one of many items have ended, and that one is waited for: a look does not go through all."""
    monkeypatch.setattr(mapping, "LOOK_EVERY", -1.0)
    total, turns = 200_000, 0
    wishes = [Wish(f"r.0.{number}", "=", 0, b"x") for number in range(total)]
    found = {each.id: b"done 9 1\nx" for each in wishes[:-1]}
    nothing = Reading("0-1", "0-0", more=False, standing=[], outcomes={})
    plan = mapping.Mapping(Asking("test", redisopt.BatchConfig()), "r", "0", wishes, None).run("0-0", 60)
    answers: dict[str, Any] = {
        "batch_run": [(total, "0")],
        "batch_read": [nothing._replace(outcomes=found)],
        "batch_add": ["n"],
    }
    step, began, took = next(plan), 0.0, 0.0
    ended: Any = None
    while ended is None:
        answer: Any = None
        if isinstance(step, Command):
            known = answers.get(step.script)
            answer = known.pop() if known else [b"waits"] if step.script == "batch_fetch" else nothing
        if isinstance(step, Wait):
            turns += 1
            began = began or time.process_time()
            if turns == 100:
                took = time.process_time() - began
                answers["batch_read"] = [nothing._replace(outcomes={wishes[-1].id: b"cancelled 9\n"})]
        try:
            step = plan.send(answer)
        except StopIteration as over:
            ended = over.value

    assert len(ended.outcomes) == total
    assert turns == 100
    assert took < 0.5


# --- runs that are begun again


@pytest.mark.long
def test_what_a_run_counts_is_right_though_its_results_were_forgotten(make_batcher: MakeBatcher) -> None:
    """Three of four have run before, are forgotten, and run anew: still there are four."""

    def handle(items: list[Any], run: Any) -> list[Any]:
        return [
            redisopt.Retry(4) if item == 3 and attempt == 1 else item
            for item, attempt in zip(items, run.attempts, strict=True)
        ]

    worker = make_batcher(handle, max_delay=0.0, result_ttl=1.0)
    batcher = make_batcher(max_delay=0.0, result_ttl=1.0)
    seen: list[redisopt.Progress] = []
    with worker.worker():
        with pytest.raises(redisopt.ResultTimeout):
            batcher.map(range(4), run_id="r", timeout=1.8)
        assert batcher.map(range(4), run_id="r", on_progress=seen.append, timeout=10) == [0, 1, 2, 3]

    assert [(each.done, each.failed, each.total) for each in seen[-1:]] == [(4, 0, 4)]
    assert all(each.done + each.failed <= 4 for each in seen)


def test_a_run_goes_on_with_what_was_replayed(make_batcher: MakeBatcher) -> None:
    broken = [True]
    batcher = make_batcher(
        lambda items: [ValueError("no") if item == 1 and broken else item for item in items],
        max_delay=0.0,
        max_attempts=1,
    )
    seen: list[redisopt.Progress] = []
    assert isinstance(batcher.map(range(3), run_id="r", errors="collect")[1], redisopt.BatchItemFailed)
    broken.clear()
    assert batcher.replay() == 1
    assert batcher.map(range(3), run_id="r", on_progress=seen.append, timeout=10) == [0, 1, 2]
    assert (seen[-1].done, seen[-1].failed) == (3, 0)


def test_a_run_gives_no_results_to_other_items(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(lambda items: [item.upper() for item in items], max_delay=0.0)
    assert batcher.map(["a", "b"], run_id="nightly") == ["A", "B"]
    with pytest.raises(ValueError, match="run_id"):
        batcher.map(["x", "y"], run_id="nightly")
    with batcher.worker():
        assert batcher.call("evil", id="n2.0") == "EVIL"
        assert batcher.map(["p", "q"], run_id="n2") == ["P", "Q"]


def test_items_of_several_keys_go_in_full_batches(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(noted(server.url, doubled), max_size=10, max_delay=1.0)
    with Lateness() as late:
        began = time.monotonic()
        assert batcher.map(range(300), key=lambda item: f"key {item % 5}") == doubled(list(range(300)))
        assert time.monotonic() - began < 3 + late.seconds

    assert [len(run.items) for run in notes.runs()] == [10] * 30
