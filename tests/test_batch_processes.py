"""Batches over real processes: which are killed, stopped and joined while others work, and lose nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import redisopt
from tests.batches import (
    PATIENT,
    BatchFace,
    Notes,
    WorkerProcess,
    doubled,
    in_process,
    make_doubling,
    make_slow,
    noted,
)
from tests.fleet import run_fleet, wait_for_all
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet
MakeBatcher = Callable[..., BatchFace]


@pytest.fixture
def batcher(server: RunningServer, client: redis.Redis) -> Iterator[Callable[..., redisopt.Batcher]]:
    """Makes batchers that only add."""
    made: list[redisopt.Batcher] = []

    def make(**fields: Any) -> redisopt.Batcher:
        made.append(redisopt.Batcher(client, "test", **PATIENT | fields))
        return made[-1]

    yield make
    for each in made:
        each.close()


def add_one(url: str, item: int) -> int:
    """An adder that waits for its own result."""
    with (
        redis.from_url(url) as client,
        redisopt.Batcher(client, "test", max_size=3, max_delay=10, **PATIENT) as batcher,
    ):
        wait_for_all()
        return int(batcher.call(item, timeout=20))


def test_items_of_three_processes_are_one_batch(server: RunningServer, notes: Notes) -> None:
    with WorkerProcess(server.url, "test", make_doubling, max_size=3, max_delay=10):
        assert run_fleet(add_one, *[(server.url, item) for item in (1, 2, 3)]) == [2, 4, 6]

    (run,) = notes.runs()
    assert sorted(run.items) == [1, 2, 3]


def add_a_hundred(url: str, first: int) -> list[Any]:
    with (
        redis.from_url(url) as client,
        redisopt.Batcher(client, "test", max_size=20, max_delay=0.02, **PATIENT) as batcher,
    ):
        wait_for_all()
        tickets = [batcher.add(first + number) for number in range(100)]
        return [ticket.result(20) for ticket in tickets]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_each_adder_of_many_gets_its_own_results_in_its_order(server: RunningServer, notes: Notes, kind: str) -> None:
    fields: Any = {"max_size": 20, "max_delay": 0.02}
    with (
        WorkerProcess(server.url, "test", make_doubling, kind=kind, **fields),
        WorkerProcess(server.url, "test", make_doubling, kind=kind, concurrency=2, **fields),
    ):
        found = run_fleet(add_a_hundred, *[(server.url, 1000 * adder) for adder in range(8)])

    assert found == [[2 * (1000 * adder + number) for number in range(100)] for adder in range(8)]
    items = [item for run in notes.runs() for item in run.items]
    assert len(items) == len(set(items)) == 800
    assert max(len(run.items) for run in notes.runs()) <= 20


def add_a_thousand(url: str, first: int) -> int:
    with (
        redis.from_url(url) as client,
        redisopt.Batcher(client, "test", max_size=50, max_delay=5, **PATIENT) as batcher,
    ):
        wait_for_all()
        return len(batcher.add_many(range(first, first + 1000)))


def test_workers_that_claim_at_once_get_disjoint_full_batches(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher]
) -> None:
    fields: Any = {"max_size": 50, "max_delay": 5}
    looker = batcher(**fields)
    with (
        WorkerProcess(server.url, "test", make_doubling, **fields),
        WorkerProcess(server.url, "test", make_doubling, **fields),
    ):
        run_fleet(add_a_thousand, *[(server.url, 1000 * adder) for adder in range(4)])
        wait_until(lambda: looker.metrics().done == 4000, 20)

    items = [item for run in notes.runs() for item in run.items]
    assert sorted(items) == list(range(4000))
    assert {len(run.items) for run in notes.runs()} == {50}
    assert len({run.process for run in notes.runs()}) == 2


def add_and_die(url: str, delay: float) -> None:
    batcher = redisopt.Batcher(redis.from_url(url), "test", max_size=10, max_delay=delay, **PATIENT)
    batcher.add_many([1, 2, 3])
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_batch_is_due_in_time_though_its_adder_was_killed(
    server: RunningServer, notes: Notes, client: redis.Redis
) -> None:
    with WorkerProcess(server.url, "test", make_doubling, max_size=10, max_delay=0.5), Lateness() as late:
        before = notes.now()
        adder = in_process(add_and_die, server.url, 0.5)
        adder.join(20)
        after = notes.now()
        (run,) = notes.wait_for(1)

    assert adder.exitcode == -signal.SIGKILL
    assert run.items == [1, 2, 3]
    assert before + 0.499 <= run.at <= after + 0.55 + late.seconds


def test_the_dead_adders_results_are_forgotten_in_time(
    server: RunningServer, notes: Notes, client: redis.Redis
) -> None:
    fields: Any = {"max_size": 10, "max_delay": 0.01, "result_ttl": 1.0}
    with WorkerProcess(server.url, "test", make_doubling, **fields):
        adder = in_process(add_and_die, server.url, 0.01)
        adder.join(20)
        notes.wait_for(1)
        state = "redisopt:v1:{batch:test}:state"
        ours = "redisopt:v1:{batch:test}:*"
        wait_until(lambda: {key.decode() for key in client.scan_iter(ours)} <= {state}, 5)


def test_overdue_items_run_at_once_when_a_worker_comes(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher]
) -> None:
    adder = batcher(max_delay=0.1)
    tickets = adder.add_many(range(3))
    time.sleep(1.0)
    worker = redisopt.Batcher(
        redis.from_url(server.url), "test", handler=noted(server.url, doubled), max_delay=0.1, **PATIENT
    )
    with Lateness() as late:
        began = notes.now()
        with worker, worker.worker():
            assert [ticket.result(5) for ticket in tickets] == [0, 2, 4]

    assert notes.runs()[0].at - began <= 0.1 + late.seconds


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_killed_worker_held_runs_again_when_its_lease_ends(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher], kind: str
) -> None:
    fields: Any = {"max_size": 10, "max_delay": 10, "lease_ttl": 0.8}
    adder = batcher(**fields)
    with WorkerProcess(server.url, "test", make_very_slow, kind=kind, **fields) as first, Lateness() as late:
        tickets = adder.add_many(range(10))
        notes.wait_for(1)
        first.kill()
        over = notes.now() + 0.8
        with WorkerProcess(server.url, "test", make_doubling, kind=kind, **fields):
            over = max(over, notes.now())
            assert [ticket.result(10) for ticket in tickets] == doubled(list(range(10)))

    runs = notes.runs()
    assert runs[0].items == list(range(10))
    assert sorted(item for run in runs[1:] for item in run.items) == list(range(10))
    assert runs[1].at >= runs[0].at + 0.8 - late.seconds - 0.05  # the lease began with the claim, not with the run
    assert max(run.at for run in runs[1:]) <= over + 0.2 + late.seconds
    assert adder.metrics().reclaimed == 10
    assert adder.metrics().done == 10


def make_very_slow(url: str) -> Any:
    """A handler that takes five leases."""

    def handle(items: list[Any]) -> list[Any]:
        time.sleep(2.0)
        return doubled(items)

    return noted(url, handle)


def test_a_renewed_lease_is_not_taken_by_others_that_join(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher]
) -> None:
    fields: Any = {"max_size": 2, "max_delay": 10, "lease_ttl": 0.4}
    adder = batcher(**fields)
    with WorkerProcess(server.url, "test", make_very_slow, **fields):
        tickets = adder.add_many([1, 2])
        notes.wait_for(1)
        with WorkerProcess(server.url, "test", make_doubling, **fields):
            time.sleep(0.6)
            with WorkerProcess(server.url, "test", make_doubling, **fields):
                assert [ticket.result(10) for ticket in tickets] == [2, 4]

    assert len(notes.runs()) == 1


def test_a_worker_that_was_thought_dead_changes_nothing(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher], client: redis.Redis
) -> None:
    """It stands still for two leases while another one runs its items; then it completes them, and is refused."""
    fields: Any = {"max_size": 2, "max_delay": 10, "lease_ttl": 0.5}
    adder = batcher(**fields)
    with WorkerProcess(server.url, "test", make_slow, **fields) as first:
        tickets = adder.add_many([1, 2])
        notes.wait_for(1)
        first.signal(signal.SIGSTOP)
        with WorkerProcess(server.url, "test", make_very_slow, **fields):
            notes.wait_for(2)
            first.signal(signal.SIGCONT)
            assert [ticket.result(10) for ticket in tickets] == [2, 4]
            wait_until(lambda: adder.metrics().running == 0)
            assert adder.metrics().done == 2

    assert not client.exists("redisopt:v1:{batch:test}:held")


def make_deadly(url: str) -> Any:
    """A handler whose process dies of item 13."""

    def handle(items: list[Any]) -> list[Any]:
        if 13 in items:
            os._exit(1)
        return doubled(items)

    return noted(url, handle)


def test_an_item_that_kills_its_workers_is_given_up_and_the_others_survive(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher]
) -> None:
    fields: Any = {"max_size": 20, "max_delay": 0.05, "lease_ttl": 0.3, "max_deliveries": 3}
    adder = batcher(**fields)
    tickets = adder.add_many(range(20))
    results: dict[int, Any] = {}
    workers: list[WorkerProcess] = []
    try:
        until = time.monotonic() + 40
        while len(results) < 20 and time.monotonic() < until:
            if not workers or not workers[-1].process.is_alive():
                workers.append(WorkerProcess(server.url, "test", make_deadly, **fields))
            for item, ticket in enumerate(tickets):
                if item not in results:
                    try:
                        results[item] = ticket.result(0.01)
                    except TimeoutError:
                        pass
                    except redisopt.BatchItemFailed as error:
                        results[item] = error
    finally:
        for worker in workers:
            worker.kill()

    assert {item: results[item] for item in range(20) if item != 13} == {i: 2 * i for i in range(20) if i != 13}
    assert isinstance(results[13], redisopt.BatchItemFailed)
    (dead,) = adder.dead()
    assert (dead.payload, dead.deliveries_lost) == (13, 3)
    deadly = [run.items for run in notes.runs() if 13 in run.items]
    assert len(deadly) == 3
    assert deadly[-1] == [13]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_worker_that_is_stopped_gives_back_at_once_what_it_has_not_finished(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher], kind: str
) -> None:
    fields: Any = {"max_size": 5, "max_delay": 10, "lease_ttl": 30.0}
    adder = batcher(**fields)
    with WorkerProcess(server.url, "test", make_very_slow, kind=kind, **fields) as first, Lateness() as late:
        tickets = adder.add_many(range(5))
        notes.wait_for(1)
        with WorkerProcess(server.url, "test", make_doubling, kind=kind, **fields):
            first.signal(signal.SIGTERM)
            stopped = notes.now()
            assert [ticket.result(10) for ticket in tickets] == doubled(list(range(5)))

    if kind == "sync":  # it waits for a second; a plain function holds up its event loop until it is done
        second = notes.runs()[1]
        assert second.at - stopped <= 1.3 + late.seconds
        assert second.attempts == [1] * 5


def test_a_worker_that_is_stopped_finishes_what_runs(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher]
) -> None:
    adder = batcher(max_size=5, max_delay=10)
    with WorkerProcess(server.url, "test", make_slow, max_size=5, max_delay=10) as worker:
        tickets = adder.add_many(range(5))
        notes.wait_for(1)
        worker.stop()

        assert [ticket.result(0.5) for ticket in tickets] == doubled(list(range(5)))
    assert len(notes.runs()) == 1


# --- runs


def map_a_thousand(url: str) -> None:
    """A caller that works as well, and is slow."""
    batcher = redisopt.Batcher(redis.from_url(url), "test", max_size=50, max_delay=0.01, lease_ttl=0.5, **PATIENT)

    def handle(items: list[Any]) -> list[Any]:
        time.sleep(0.05)
        return [ValueError("no") if item == 777 else 2 * item for item in items]

    batcher.handler(noted(url, handle))
    batcher.map(range(1000), run_id="nightly")


def test_a_run_goes_on_after_its_caller_was_killed(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher]
) -> None:
    other = batcher(max_size=50, max_delay=0.01, lease_ttl=0.5, max_attempts=1)
    caller = in_process(map_a_thousand, server.url)
    wait_until(lambda: other.metrics().done >= 400, 20)
    os.kill(caller.pid, signal.SIGKILL)
    caller.join(10)
    before = other.metrics().done
    ran = len(notes.runs())
    assert before < 900

    other.handler(noted(server.url, lambda items: [ValueError("no") if item == 777 else 2 * item for item in items]))
    progress: list[redisopt.Progress] = []
    results = other.map(range(1000), run_id="nightly", on_progress=progress.append, errors="collect")

    assert isinstance(results.pop(777), redisopt.BatchItemFailed)
    assert results == [2 * item for item in range(1000) if item != 777]
    again = sum(len(run.items) for run in notes.runs()[ran:])
    assert again <= 1000 - before
    counts = [each.done + each.failed for each in progress]
    assert counts == sorted(counts)
    assert (progress[-1].done, progress[-1].failed, progress[-1].total, progress[-1].eta) == (999, 1, 1000, 0.0)
    assert progress[0].done >= before
    assert other.map(range(1000), run_id="nightly", errors="collect")[:3] == [0, 2, 4]  # and once more, out of memory


def test_a_limit_on_batches_holds_over_all_workers(
    server: RunningServer, notes: Notes, batcher: Callable[..., redisopt.Batcher], make_batcher: MakeBatcher
) -> None:
    """The permit is taken before the claim: who waits for it holds no items, and burns neither attempts nor leases."""
    fields: Any = {"max_size": 5, "max_delay": 0.0, "lease_ttl": 0.2}
    throttle: Any = {"rates": ["10/500ms"], "margin": 0.05, "command_timeout": 10.0}
    adder = batcher(**fields)
    workers = [make_batcher(noted(server.url, doubled), throttle=throttle, **fields) for _ in range(4)]
    tickets = adder.add_many(range(150))
    with workers[0].worker(), workers[1].worker(), workers[2].worker(), workers[3].worker():
        wait_until(lambda: adder.metrics().done > 0)
        assert adder.metrics().running <= 5 * 4
        assert [ticket.result(20) for ticket in tickets] == doubled(list(range(150)))

    runs = notes.runs()
    assert sum(len(run.items) for run in runs) == 150
    assert all(later.at - run.at >= 0.5 - 0.04 for run, later in zip(runs, runs[10:], strict=False))
    assert adder.metrics().reclaimed == 0


def test_a_limit_may_count_items(make_batcher: MakeBatcher, server: RunningServer, notes: Notes) -> None:
    batcher = make_batcher(
        noted(server.url, doubled), throttle={"rates": ["20/500ms"]}, limit_by="items", max_size=8, max_delay=0.0
    )
    with batcher.worker(concurrency=2):
        assert [batcher.result(ticket) for ticket in batcher.add_many(range(50))] == doubled(list(range(50)))
        large = make_batcher(
            noted(server.url, doubled), throttle={"rates": ["20/500ms"]}, limit_by="items", max_size=100, max_delay=0.0
        )
    with large.worker():  # a batch above the limit goes in parts
        assert [large.result(ticket) for ticket in large.add_many(range(50))] == doubled(list(range(50)))

    assert max(len(run.items) for run in notes.runs()) <= 20
