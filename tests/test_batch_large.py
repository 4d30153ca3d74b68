"""Results and items so large that no script may answer all of them at once: each answers about 4 MiB, and is asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import pytest
import redis

import redisopt
from redisopt.batch.asking import MAX_CALL_BYTES, Asking
from redisopt.commands import Command, call
from tests.batches import PATIENT, BatchFace
from tests.servers import RunningServer
from tests.waiting import wait_until

MakeBatcher = Callable[..., BatchFace]
R = TypeVar("R")
LARGE = 900_000
MOST = MAX_CALL_BYTES + 1024 * 1024
"""Bytes that a script answers: the last of them makes it enough."""


class Scripts(NamedTuple):
    """A batcher, and the commands below it."""

    batcher: redisopt.Batcher
    asking: Asking
    do: Callable[[Command[Any]], Any]


@pytest.fixture
def scripts(server: RunningServer, client: redis.Redis) -> Iterator[Scripts]:
    def handle(items: list[Any]) -> list[Any]:
        return [redisopt.Fatal("no") if isinstance(item, bytes) else b"x" * item for item in items]

    with redisopt.Batcher(client, "test", handler=handle, max_size=20, max_delay=0.0, **PATIENT) as batcher:
        plans = batcher._plans
        yield Scripts(batcher, plans.asking, lambda command: batcher._runner.run(call(command)))


def read_all(scripts: Scripts, adder: str) -> list[dict[str, bytes]]:
    """What comes for an adder, reading by reading."""
    last, last_gone, more, found = "0-0", "0-0", True, []
    while more:
        reading = scripts.do(scripts.asking.read(adder, last, last_gone))
        assert reading == scripts.do(scripts.asking.read(adder, last, last_gone))  # its reply may be lost
        last, last_gone, more = reading.last, reading.last_gone, reading.more
        found.append(reading.outcomes)
    assert not scripts.do(scripts.asking.read(adder, last, last_gone)).outcomes
    return found


@pytest.mark.parametrize("grow", [False, True])
def test_results_come_in_readings_that_do_not_hold_up_the_server(
    scripts: Scripts, client: redis.Redis, grow: bool
) -> None:
    """Also those that one entry of the stream names, as of items that ran anew since, and have grown."""
    with scripts.batcher.worker():
        tickets = scripts.batcher.add_many([5 if grow else LARGE] * 20)
        wait_until(lambda: scripts.batcher.metrics().done == 20)
    if grow:
        outcomes: Any = client.hgetall("redisopt:v1:{batch:test}:outcomes")
        for name, outcome in outcomes.items():
            client.hset("redisopt:v1:{batch:test}:outcomes", name, outcome + b"x" * LARGE)
    cancelled = scripts.batcher.add(1)
    assert cancelled.cancel()

    readings = read_all(scripts, tickets[0].inbox.adder)

    assert all(sum(map(len, reading.values())) < MOST for reading in readings)
    assert [name for reading in readings for name in reading] == [ticket.name for ticket in (*tickets, cancelled)]
    assert all(len(reading[name]) > LARGE for reading in readings for name in reading if name != cancelled.name)


def test_outcomes_by_their_ids_do_not_hold_up_the_server(scripts: Scripts) -> None:
    with scripts.batcher.worker():
        ids = [ticket.name for ticket in scripts.batcher.add_many([LARGE] * 20)]
        wait_until(lambda: scripts.batcher.metrics().done == 20)
    found = scripts.do(scripts.asking.fetch(ids))

    assert 4 <= len(found) <= 6
    assert len(scripts.do(scripts.asking.fetch(["unknown"] * 500))) == 500


def test_the_dead_are_read_in_pages_that_do_not_hold_up_the_server(scripts: Scripts) -> None:
    with scripts.batcher.worker():
        ids = [ticket.name for ticket in scripts.batcher.add_many([b"x" * LARGE] * 20)]
        wait_until(lambda: scripts.batcher.metrics().dead == 20)
    looked_at, page = scripts.do(scripts.asking.dead(0, 20))
    some, found = scripts.do(scripts.asking.dead(0, 0, ["unknown", *ids[7:]]))

    assert 4 <= looked_at == len(page) <= 6
    assert 4 <= some == len(found) + 1 <= 7
    pages = scripts.batcher.dead(11), scripts.batcher.dead(11, after=11)
    assert [len(each) for each in pages] == [11, 9]
    assert sorted(dead.id for each in pages for dead in each) == sorted(ids)
    assert scripts.batcher.replay(["unknown", *ids[7:]]) == 13
    assert scripts.batcher.replay() == 7
    assert not scripts.batcher.dead()
    with scripts.batcher.worker():
        wait_until(lambda: scripts.batcher.metrics().dead == 20)


def test_a_run_of_large_results_is_mapped_and_gone_on_with(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(lambda items: [bytes([item]) * LARGE for item in items], max_size=7, max_delay=0.0)
    for _ in range(2):
        assert [len(each) for each in batcher.map(range(30), run_id="run", timeout=30)] == [LARGE] * 30
    assert batcher.metrics().added == 30


def test_large_results_that_nobody_was_told_of_come_all(make_batcher: MakeBatcher, client: redis.Redis) -> None:
    batcher = make_batcher(lambda items: [b"x" * LARGE for _ in items], max_size=7, max_delay=0.0)
    tickets = batcher.add_many(range(14))
    with batcher.worker():
        wait_until(lambda: batcher.metrics().done == 14)
    client.delete(f"redisopt:v1:{{batch:test}}:reply:{tickets[0].inbox.adder}")

    assert [len(batcher.result(ticket, 20)) for ticket in tickets] == [LARGE] * 14
