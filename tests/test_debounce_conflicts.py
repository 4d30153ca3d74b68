"""Processes that mean different things by one name: of other partitions work would be lost, and they are refused; other options are told."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import redis

import redisopt
from tests.debounce_faces import DebounceFace
from tests.kinds import Kind
from tests.waiting import wait_until

Make = Callable[..., DebounceFace]
TERMS = "redisopt:v1:{debounce:test:0}:terms"


def never() -> None:
    raise AssertionError


async def never_async() -> None:
    raise AssertionError


@pytest.mark.parametrize(("first", "second"), [(4, 1), (1, 4)])
def test_other_partitions_are_refused_while_work_is_left(
    make_debouncer: Make, client: redis.Redis, caplog: pytest.LogCaptureFixture, first: int, second: int
) -> None:
    caller, other = make_debouncer(wait=0, partitions=first), make_debouncer(wait=0, partitions=second)
    tickets = [caller.submit(number, key=str(number)) for number in range(8)]
    with pytest.raises(redisopt.ConfigConflict, match=f"partitions={first}"):
        other.submit("lost", key="lost")
    with pytest.raises(redisopt.ConfigConflict):
        other.execute(never if other.kind == "sync" else never_async)
    other.handle()
    other.start()
    caplog.clear()
    caller.handle()
    caller.start()
    assert sorted(caller.result(ticket).value for ticket in tickets) == list(range(8))
    assert len(caller.runs) == 8
    assert not [record for record in caplog.records if "spread over" in record.message], "it is logged once"
    assert other.metrics().conflicts == 1
    assert client.pttl(TERMS) > 30 * 86_400_000


def test_a_worker_with_other_partitions_takes_nothing_and_says_so(
    make_debouncer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caller, other = make_debouncer(wait=0, partitions=4), make_debouncer(wait=0, partitions=1)
    caller.submit("a", key="a")
    with caplog.at_level(logging.WARNING, "redisopt"):
        other.handle()
        other.start()
        wait_until(lambda: "set partitions=4" in caplog.text)
    assert not other.runs
    caller.cancel("a")


def test_the_number_of_partitions_may_change_once_nothing_is_left(make_debouncer: Make, client: redis.Redis) -> None:
    """And nobody is left who would bring more, and not be found."""
    caller, other = make_debouncer(wait=0, partitions=4), make_debouncer(wait=0, partitions=2)
    ticket = caller.submit("a", key="a")
    caller.handle()
    worker = caller.start()
    caller.result(ticket)
    caller.do(worker.stop)
    with pytest.raises(redisopt.ConfigConflict, match="another process lives"):
        other.submit("b", key="b")
    client.hincrby(TERMS, "at", -100_000)  # as when it has said nothing for a minute and a half
    other.handle()
    other.start()
    assert other.result(other.submit("b", key="b")).value == "b"
    late = make_debouncer(wait=0, partitions=4)
    ticket = other.submit("c", key="c")
    assert other.result(ticket).value == "c"
    other.do(other._workers.pop().stop)
    other.submit("d", key="d")
    client.hincrby(TERMS, "at", -100_000)
    with pytest.raises(redisopt.ConfigConflict, match="partitions=2"):
        late.submit("e", key="e")
    other.cancel("d")


@pytest.mark.parametrize("fields", [{"max_wait": 9}, {"collect": "all"}, {"codec": "json"}, {"leading": True}])
def test_other_options_are_told_once_and_counted(
    make_debouncer: Make, caplog: pytest.LogCaptureFixture, fields: dict[str, object]
) -> None:
    caller, other = make_debouncer(wait=5), make_debouncer(wait=5, **fields)
    caller.submit("a", key="a")
    with caplog.at_level(logging.WARNING, "redisopt"):
        for number in range(3):
            other.submit(number, key="b")
    told = [record.message for record in caplog.records if "other processes use it with" in record.message]
    assert len(told) == 1
    assert "codec=msgpack" in told[0]
    assert other.metrics().conflicts == 1
    for key in ("a", "b"):
        caller.cancel(key)


def test_another_wait_is_no_conflict(make_debouncer: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Of it the newest call's counts."""
    for wait in (1, 2):
        make_debouncer(wait=wait).submit("a")
    assert not caplog.records
    make_debouncer().cancel()


def test_other_options_are_refused_where_that_is_wanted_for_as_long_as_the_others_live(
    twin: Kind, client: redis.Redis
) -> None:
    caller, other = (
        twin.make("Debouncer", "test", wait=5),
        twin.make("Debouncer", "test", wait=5, max_wait=9, on_conflict="raise"),
    )
    twin.do(caller.submit, "a")
    for _ in range(2):
        with pytest.raises(redisopt.ConfigConflict, match="max_wait=9000ms"):
            twin.do(other.submit, "b")
    client.hincrby(TERMS, "at", -100_000)  # as when the other has said nothing for minutes
    twin.do(other.submit, "b")
    twin.do(caller.cancel)


def test_what_is_compared_is_written_on_a_full_server_too(twin: Kind, client: redis.Redis) -> None:
    """Else no worker could start to empty it."""
    caller, other = (twin.make("Debouncer", "test", wait=0, command_timeout=5.0) for _ in range(2))
    twin.do(caller.submit, "a")
    client.delete(TERMS)
    ran: list[object] = []

    def handle(payload: object) -> None:
        ran.append(payload)

    other.handler(twin.function(handle))
    client.config_set("maxmemory", 1)
    try:
        worker = other.worker()
        twin.do(worker.start)
        for _ in range(100):
            twin.do(twin.pause(0.02))
            if ran:
                break
        twin.do(worker.stop)
    finally:
        client.config_set("maxmemory", 0)
    assert ran == ["a"]
