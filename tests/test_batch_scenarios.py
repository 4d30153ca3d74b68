"""What a fleet does at once: adds, flushes, cancels, pauses and stops, with claims of others in between."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.batch.asking import Settled
from redisopt.batch.isolating import isolate
from redisopt.batch.replies import Claimed
from redisopt.commands import call
from tests.batches import PATIENT, BatchFace, Notes, WorkerProcess, doubled, make_doubling, make_slow, noted
from tests.fleet import run_fleet, wait_for_all
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.test_batch_soak import DurableServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet
MakeBatcher = Callable[..., BatchFace]
SLACK = 0.15
"""Seconds that a start takes more on a busy machine, where it is several processes' turn before it is ours."""


def add_one(url: str, item: int) -> float:
    """When it was added, by the server's clock."""
    with (
        redis.from_url(url) as client,
        redisopt.Batcher(client, "test", max_size=3, max_delay=10, **PATIENT) as batcher,
    ):
        wait_for_all()
        batcher.add(item)
        seconds, micros = client.time()
        return float(seconds + micros / 1e6)


def test_a_batch_that_three_processes_fill_starts_at_once(server: RunningServer, notes: Notes) -> None:
    with WorkerProcess(server.url, "test", make_doubling, max_size=3, max_delay=10), Lateness() as late:
        added = run_fleet(add_one, *[(server.url, item) for item in (1, 2, 3)])
        (run,) = notes.wait_for(1)

    assert sorted(run.items) == [1, 2, 3]
    assert run.at - max(added) <= 0.05 + SLACK + late.seconds


def test_retries_of_many_batches_are_spread_over_their_backoff(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    def handle(items: list[Any], run: Any) -> list[Any]:
        notes.note(items, run)
        if run.attempts[0] == 1:
            raise OSError("once")
        return items

    batcher = make_batcher(handle, max_size=1, max_delay=0.0, backoff_base=1.0)
    with batcher.worker(concurrency=2), Lateness() as late:
        for ticket in batcher.add_many(range(30), key=str):
            batcher.result(ticket)
    first = {run.items[0]: run.at for run in notes.runs() if run.attempts == [1]}
    busy = max(first.values()) - min(
        first.values()
    )  # what the two take for all of them: so long one may be behind the others
    waits = [run.at - first[run.items[0]] for run in notes.runs() if run.attempts == [2]]

    assert len(waits) == 30
    assert max(waits) <= 1.0 + busy + SLACK + late.seconds
    assert min(waits) < 0.4
    assert max(waits) > 0.6


@pytest.mark.parametrize(("poisons", "most"), [(1, 11), (4, 40), (10, 74)])
def test_culprits_are_found_in_few_runs_on_average(poisons: int, most: int) -> None:
    chance = random.Random(poisons)

    def runs() -> int:
        bad, number = set(chance.sample(range(100), poisons)), 1

        def attempt(items: Any) -> Generator[Any, Any, Exception | None]:
            nonlocal number
            number += 1
            return ValueError() if bad & set(items) else None
            yield

        for _ in isolate(list(range(100)), attempt):
            raise AssertionError
        return number

    assert sum(runs() for _ in range(200)) / 200 <= most


def test_who_was_thought_dead_touches_nothing_of_who_has_it_now(server: RunningServer, client: redis.Redis) -> None:
    """Neither by a success, nor by a failure, a renewal or a release."""
    with redisopt.Batcher(client, "test", max_size=2, max_delay=0.0, lease_ttl=0.2, **PATIENT) as batcher:
        asking, run = batcher._plans.asking, batcher._runner.run
        tickets = batcher.add_many([1, 2])
        first: Any = run(call(asking.claim("a", "w", "=", 10)))
        assert isinstance(first, Claimed)
        time.sleep(0.3)
        second: Any = run(call(asking.claim("b", "v", "=", 1)))
        assert isinstance(second, Claimed)
        assert run(call(asking.renew(["a"]))) == "0"
        held = {name: client.hgetall(f"redisopt:v1:{{batch:test}}:{name}") for name in ("held", "tries", "items")}
        for kind in ("done", "retry", "repeat", "dead", "back"):
            settled = [Settled(item, kind, b"\x00") for item in first.items]
            assert run(call(asking.settle("a", first.fence, "=", settled, last=True))) == 0
        assert run(call(asking.release("a", "="))) == 0
        assert held == {
            name: client.hgetall(f"redisopt:v1:{{batch:test}}:{name}") for name in ("held", "tries", "items")
        }
        assert run(call(asking.renew(["b"]))) == "1"
        assert run(call(asking.release("b", "="))) == len(second.items)
    with redisopt.Batcher(client, "test", handler=doubled, max_delay=0.0, **PATIENT) as batcher, batcher.worker():
        assert [batcher.result(ticket.name) for ticket in tickets] == [2, 4]


def test_what_is_added_while_a_flush_is_under_way_is_forced_out_or_not_but_not_what_comes_after(
    server: RunningServer, client: redis.Redis, notes: Notes
) -> None:
    fields: Any = {"max_size": 1000, "max_delay": 30}
    begun: list[float] = []
    ended: list[float] = []
    over = threading.Event()
    adder = redisopt.Batcher(redis.from_url(server.url), "test", **fields, **PATIENT)

    def add() -> None:
        while not over.is_set():
            begun.append(time.monotonic())
            adder.add(len(begun) - 1)
            ended.append(time.monotonic())

    def wait_for_more() -> None:
        seen = len(ended)
        wait_until(lambda: len(ended) > seen + 5)

    thread = threading.Thread(target=add)
    with (
        WorkerProcess(server.url, "test", make_doubling, **fields),
        redisopt.Batcher(client, "test", **fields, **PATIENT) as batcher,
    ):
        thread.start()
        for _ in range(10):
            wait_for_more()
            called = time.monotonic()
            batcher.flush()
            returned = time.monotonic()
        wait_for_more()
        over.set()
        thread.join()
        wait_until(lambda: batcher.metrics().running == 0)
        time.sleep(0.3)
        ran = [item for run in notes.runs() for item in run.items]
        assert len(ran) == len(set(ran))
        assert set(ran) >= {item for item, at in enumerate(ended) if at < called}
        assert not {item for item, at in enumerate(begun) if at > returned} & set(ran)
        batcher.flush()
        wait_until(lambda: batcher.metrics().done == len(begun))
    adder.close()


def add_until_full(url: str, overflow: str) -> int:
    """How many of fifty were added."""
    with (
        redis.from_url(url) as client,
        redisopt.Batcher(client, "test", max_queue=100, max_delay=60, overflow=overflow, **PATIENT) as batcher,
    ):
        wait_for_all()
        added = 0
        for item in range(50):
            try:
                batcher.add(item, timeout=0.01 if overflow == "block" else None)
                added += 1
            except redisopt.QueueFull:
                pass
        return added


@pytest.mark.parametrize(
    ("overflow", "added", "dropped"), [("raise", 100, 0), ("block", 100, 0), ("drop_new", 200, 100), ("drop_old", 200, 100)]
)  # fmt: skip
def test_a_queue_is_never_above_its_bound_whoever_adds(
    server: RunningServer, client: redis.Redis, overflow: str, added: int, dropped: int
) -> None:
    assert sum(run_fleet(add_until_full, *[(server.url, overflow)] * 4)) == added
    with redisopt.Batcher(client, "test", handler=doubled, max_delay=60, **PATIENT) as batcher:
        metrics = batcher.metrics()
        assert (metrics.pending, metrics.dropped) == (100, dropped)
        batcher.flush()
        with batcher.worker():
            wait_until(lambda: batcher.metrics().done == 100)


def test_a_pause_lets_finish_what_runs_and_outlives_a_restart() -> None:
    server = DurableServer()
    try:
        with redis.from_url(server.url) as client:
            batcher = redisopt.Batcher(client, "test", max_size=1, max_delay=0.0, **PATIENT)
            with WorkerProcess(server.url, "test", make_slow, max_size=1, max_delay=0.0):
                running = batcher.add(1)
                wait_until(lambda: batcher.metrics().running == 1)
                batcher.pause()
                waits = batcher.add(2)
                assert running.result(10) == 2
                time.sleep(1.5)  # the file is written once a second
                server.kill()
                server.start()
                wait_until(lambda: is_paused(batcher), 20)
                time.sleep(1.2)
                assert batcher.metrics().pending == 1
                batcher.resume()
                assert waits.result(20) == 4
            batcher.close()
    finally:
        server.kill()


def is_paused(batcher: redisopt.Batcher) -> bool:
    try:
        return batcher.metrics().paused
    except redisopt.Unavailable:
        return False


def test_what_runs_is_not_cancelled(server: RunningServer, client: redis.Redis, notes: Notes) -> None:
    with (
        WorkerProcess(server.url, "test", make_slow, max_delay=0.0),
        redisopt.Batcher(client, "test", max_delay=0.0, **PATIENT) as batcher,
    ):
        ticket = batcher.add(1, "a key")
        notes.wait_for(1)
        assert not ticket.cancel()
        assert batcher.cancel_key("a key") == 0
        assert ticket.result(10) == 2
        assert batcher.metrics().cancelled == 0


async def test_a_task_that_is_stopped_gives_its_batch_back_at_once(
    server: RunningServer, client: redis.Redis, notes: Notes
) -> None:
    """And no attempt is counted, nor a delivery."""
    fields: Any = {"max_size": 5, "max_delay": 0.0, "lease_ttl": 30.0, **PATIENT}

    async def handle(items: list[Any]) -> list[Any]:
        await asyncio.sleep(60)
        return items

    async with redis.asyncio.from_url(server.url) as async_client:
        slow = redisopt.AsyncBatcher(async_client, "test", handler=handle, **fields)
        other = redisopt.Batcher(client, "test", handler=noted(server.url, doubled), **fields)
        with Lateness() as late:
            async with slow, slow.worker(grace=0.2):
                tickets = await slow.add_many(range(5))
                while not (await slow.metrics()).running:
                    await asyncio.sleep(0.01)
            stopped = notes.now()
            with other, other.worker():
                assert await asyncio.to_thread(lambda: [other.result(ticket.name) for ticket in tickets]) == doubled(
                    list(range(5))
                )
    (run,) = notes.runs()

    assert run.attempts == [1] * 5
    assert run.at - stopped <= 0.5 + SLACK + late.seconds


@pytest.mark.parametrize("kind", ["sync"])
def test_a_limit_holds_over_workers_in_processes_of_their_own(
    server: RunningServer, client: redis.Redis, notes: Notes, kind: str
) -> None:
    fields: Any = {"max_size": 5, "max_delay": 0.0, "lease_ttl": 0.3}
    throttle: Any = {"rates": ["10/500ms"], "margin": 0.05, "command_timeout": 10.0}
    with redisopt.Batcher(client, "test", **fields, **PATIENT) as batcher:
        workers = [
            WorkerProcess(server.url, "test", make_doubling, kind=kind, throttle=throttle, **fields) for _ in range(4)
        ]
        try:
            tickets = batcher.add_many(range(150))
            assert [ticket.result(20) for ticket in tickets] == doubled(list(range(150)))
        finally:
            for worker in workers:
                worker.__exit__()
        assert batcher.metrics().reclaimed == 0

    runs = sorted(notes.runs(), key=lambda run: run.at)
    assert sum(len(run.items) for run in runs) == 150
    assert all(later.at - run.at >= 0.5 - 0.04 for run, later in zip(runs, runs[10:], strict=False))
    assert len({run.process for run in runs}) > 1
    assert all(attempt == 1 for run in runs for attempt in run.attempts)
