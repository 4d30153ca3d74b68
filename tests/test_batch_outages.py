"""A batcher whose replies are lost, whose Redis goes away, is emptied or full: nothing hangs, nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import redisopt
from redisopt.batch.asking import Settled
from redisopt.batch.replies import Claimed
from redisopt.commands import call
from redisopt.scripts import script
from tests.batches import PATIENT, BatchFace, Notes, WorkerProcess, doubled, is_idle, make_doubling, noted
from tests.clock import ServerClock
from tests.fragile import WAYS, FragileServer
from tests.proxy import Fate, Proxy, Words, is_script
from tests.servers import RunningServer
from tests.test_server_clock import LIBRARY
from tests.turns import scripts_run
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet


def first_reply_of(name: str) -> Any:
    """A fate that loses the reply to the first call of a script."""
    sha = script(name).sha.encode()
    lost: list[bool] = []

    def decide(words: Words) -> Fate:
        if is_script(words) and (words[1] == sha or words[0].upper() == b"EVAL") and not lost:
            if words[0].upper() == b"EVAL" and name.encode() not in words[1]:
                return Fate.PASS
            lost.append(True)
            return Fate.CUT_REPLY
        return Fate.PASS

    return decide


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "name", ["batch_add", "batch_claim", "batch_settle", "batch_read", "batch_join", "batch_renew"]
)
def test_a_lost_reply_changes_nothing(
    server: RunningServer, client: redis.Redis, notes: Notes, kind: str, name: str
) -> None:
    """The call is sent again, and everything is done once: adds, claims, outcomes."""
    for each in ("batch_add", "batch_claim", "batch_settle", "batch_read", "batch_join", "batch_renew"):
        client.script_load(script(each).source)

    def handle(items: list[Any]) -> list[Any]:
        time.sleep(0.2 if name == "batch_renew" else 0)
        return doubled(items)

    with Proxy(server.url) as proxy:
        batcher = BatchFace(
            kind, proxy.url, "test", noted(server.url, handle), max_size=5, max_delay=0.05, lease_ttl=0.3
        )
        with proxy.during(first_reply_of(name)), batcher.worker():
            tickets = batcher.add_many(range(12))
            assert [batcher.result(ticket) for ticket in tickets] == doubled(list(range(12)))
        metrics = batcher.metrics()
        batcher.close()

    assert sorted(item for run in notes.runs() for item in run.items) == list(range(12))
    assert (metrics.added, metrics.done, metrics.reclaimed, metrics.pending) == (12, 12, 0, 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("way", WAYS)
def test_workers_and_waiters_go_on_when_redis_comes_back(kind: str, way: str) -> None:
    """Killed, it comes back empty: who waits is told so, and what is added then is done."""
    with FragileServer() as server:
        batcher = BatchFace(kind, server.url, "test", doubled, max_delay=0.02, command_timeout=0.3)
        with batcher.worker():
            assert batcher.call(1) == 2
            batcher.pause()
            ticket = batcher.add(5)
            with server.away(way):
                began = time.monotonic()
                with pytest.raises(redisopt.Unavailable):
                    batcher.add(1)
                with pytest.raises((redisopt.Unavailable, TimeoutError)):
                    batcher.result(ticket, timeout=0.5)
                assert time.monotonic() - began < 5
            wait_until(lambda: answers(batcher), 10)
            batcher.resume()
            if way == "killed":
                with pytest.raises(redisopt.ResultExpired):
                    batcher.result(ticket, timeout=10)
            else:
                assert batcher.result(ticket, timeout=10) == 10
            assert batcher.call(21, timeout=10) == 42
        batcher.close()


def answers(batcher: BatchFace) -> bool:
    try:
        batcher.metrics()
    except redisopt.Unavailable:
        return False
    return True


@contextlib.contextmanager
def full(client: Any) -> Iterator[None]:
    """The server has no memory left within the block."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_full_server_refuses_adds_whole_and_lets_workers_drain(
    server: RunningServer, client: redis.Redis, kind: str
) -> None:
    batcher = BatchFace(
        kind,
        server.url,
        "test",
        lambda items: [OSError("no") if it == 3 else it for it in items],
        max_size=3,
        max_delay=0.05,
        max_attempts=1,
    )
    tickets = batcher.add_many(range(10))
    before = {key: client.dump(key) for key in client.keys("redisopt:v1:{batch*")}
    with full(client):
        adds: list[Callable[[], Any]] = [
            lambda: batcher.add(1),
            lambda: batcher.add_many(range(600)),
            lambda: batcher.add(1, key="other"),
        ]
        for add in adds:
            with pytest.raises(redisopt.Unavailable, match="full"):
                add()
        assert {key: client.dump(key) for key in client.keys("redisopt:v1:{batch*")} == before
        batcher.pause()
        assert batcher.metrics().paused
        batcher.resume()
        batcher.flush()
        with batcher.worker():
            wait_until(lambda: is_idle(batcher), 10)
        assert batcher.metrics().done == 9
    assert [batcher.result(tickets[place]) for place in (0, 9)] == [0, 9]
    with pytest.raises(redisopt.BatchItemFailed):
        batcher.result(tickets[3])
    assert batcher.add(1, key="other")
    batcher.flush()
    with batcher.worker():
        wait_until(lambda: is_idle(batcher))
    batcher.close()


def test_a_flush_races_adds(server: RunningServer, client: redis.Redis, notes: Notes) -> None:
    """Each item is in exactly one batch, whatever is flushed meanwhile."""
    with (
        WorkerProcess(server.url, "test", make_doubling, max_size=50, max_delay=30),
        redisopt.Batcher(client, "test", max_size=50, max_delay=30, **PATIENT) as batcher,
    ):
        over = threading.Event()

        def flush() -> None:
            while not over.is_set():
                batcher.flush()

        flusher = threading.Thread(target=flush)
        flusher.start()
        tickets = [batcher.add(item) for item in range(500)]
        over.set()
        flusher.join()
        batcher.flush()
        assert [ticket.result(10) for ticket in tickets] == doubled(list(range(500)))

    assert sorted(item for run in notes.runs() for item in run.items) == list(range(500))


def test_large_adds_go_in_calls_that_do_not_hold_up_the_server(server: RunningServer, client: redis.Redis) -> None:
    """20,000 items at once go 500 at a time, and 20 of a megabyte by fours at most: each call ends within some ms."""
    with redisopt.Batcher(client, "test", handler=len_of_each, max_size=1000, max_delay=0.05, **PATIENT) as batcher:
        client.config_resetstat()
        tickets = batcher.add_many(["x"] * 20_000)
        assert scripts_run(client) >= 20_000 / 500
        client.config_resetstat()
        megabytes = batcher.add_many(["y" * 1_000_000] * 20, key="large")
        assert scripts_run(client) >= 20 / 4
        with batcher.worker(concurrency=2):
            assert {ticket.result(30) for ticket in tickets} == {1}
            assert {ticket.result(30) for ticket in megabytes} == {1_000_000}


def len_of_each(items: list[Any]) -> list[Any]:
    return [len(each) for each in items]


WITH_A_WRONG_CLOCK = """
import sys, time, redis, redisopt

client = redis.from_url(sys.argv[1])
with redisopt.Batcher(client, "test", handler=lambda items: items, max_delay=0.2, lease_ttl=0.5, command_timeout=10) as batcher:
    with batcher.worker():
        began = time.monotonic()
        value = batcher.call(21, timeout=10)
        print(value, time.monotonic() - began, time.time())
"""


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("skew", ["-3600", "+3600"])
def test_no_workers_clock_counts(server: RunningServer, client: redis.Redis, skew: str) -> None:
    """The clock of a process that adds and works is wrong by an hour."""
    environment = os.environ | {"LD_PRELOAD": str(LIBRARY), "FAKETIME": skew, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", WITH_A_WRONG_CLOCK, server.url],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    value, took, clock = map(float, ran.stdout.split())

    assert value == 21
    assert abs(clock - time.time() - int(skew)) < 60
    assert 0.19 < took < 2
    assert not client.exists("redisopt:v1:{batch:test}:items")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore::ResourceWarning")
def test_a_forked_child_uses_its_parents_batcher(server: RunningServer, client: redis.Redis) -> None:
    """Each has its own results, and the child holds none of its parent's batches."""
    from tests.fleet import FORK

    batcher = redisopt.Batcher(redis.from_url(server.url), "test", handler=doubled, max_delay=0.02, **PATIENT)
    with batcher.worker(concurrency=2):
        assert batcher.call(1, timeout=10) == 2
        here, there = FORK.Pipe(duplex=False)

        def be_a_child() -> None:
            try:
                found = [batcher.call(item, timeout=10) for item in range(5)]
                batcher.close()
                there.send(found)
            finally:
                os._exit(0)

        child = FORK.Process(target=be_a_child)
        child.start()
        there.close()
        assert [batcher.call(item, timeout=10) for item in range(100, 105)] == [200, 202, 204, 206, 208]
        assert here.poll(20)
        assert here.recv() == [0, 2, 4, 6, 8]
        child.join(10)
        assert batcher.metrics().running == 0
    batcher.close()


@pytest.mark.parametrize("step", [-60.0, 60.0])
def test_a_server_clock_that_is_set_stalls_nobody(
    server: RunningServer, client: redis.Redis, clock: ServerClock, step: float
) -> None:
    """What waits is due no later than its delay after the step, and what runs keeps its lease until then."""
    with redisopt.Batcher(client, "test", max_size=10, max_delay=0.5, lease_ttl=5.0, **PATIENT) as batcher:
        asking = batcher._plans.asking
        run = batcher._runner.run
        batcher.add_many(range(3))
        clock.advance(step)
        run(call(asking.claim("-", "w", "=", 0)))  # as an idle worker looks once a second
        clock.advance(0.5)
        claimed: Any = run(call(asking.claim("c", "w", "=", 10)))
        assert [item.payload for item in claimed.items] == [b"\x00", b"\x01", b"\x02"]
        clock.advance(step)
        run(call(asking.claim("-", "w", "=", 0)))
        clock.advance(5.1)
        again: Any = run(call(asking.claim("d", "w", "=", 10)))
        assert not isinstance(again, Claimed) or len(again.items) == 1  # suspects go by fewer
        assert batcher.metrics().reclaimed == 3
        while not is_idle(batcher):
            if isinstance(again, Claimed):
                done = [Settled(item, "done", b"\x00") for item in again.items]
                run(call(asking.settle("d", again.fence, "=", done, last=True)))
            again = run(call(asking.claim("d", "w", "=", 10)))
