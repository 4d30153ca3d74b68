"""Items that fail: whose error is whose, what runs again and when, and how the one that spoils a batch is found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import BatchItemError, Fatal, Retry
from tests.batches import BatchFace, Notes, doubled, noted
from tests.fragile import Lateness
from tests.servers import RunningServer

MakeBatcher = Callable[..., BatchFace]
SOON: Any = {"max_delay": 0.02, "backoff_base": 0.02}


def test_an_exception_in_an_items_place_fails_that_item_alone(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(
        lambda items: [ValueError("two is bad") if item == 2 else item for item in items], max_attempts=1, **SOON
    )
    with batcher.worker():
        tickets = batcher.add_many(range(5))
        assert [batcher.result(tickets[place]) for place in (0, 1, 3, 4)] == [0, 1, 3, 4]
        with pytest.raises(redisopt.BatchItemFailed, match="two is bad") as failed:
            batcher.result(tickets[2])

    assert (failed.value.id, failed.value.error_type, failed.value.attempts) == (tickets[2].name, "ValueError", 1)


@pytest.mark.parametrize(
    "wrong", [lambda items: items[1:], lambda items: [*items, 1], lambda _: None, lambda _: "12345", iter]
)
def test_an_answer_of_the_wrong_length_fails_all_and_shifts_nothing(make_batcher: MakeBatcher, wrong: Any) -> None:
    batcher = make_batcher(wrong, **SOON)
    with batcher.worker():
        tickets = batcher.add_many(range(5))
        for ticket in tickets:
            with pytest.raises(redisopt.BatchItemFailed) as failed:
                batcher.result(ticket)
            assert failed.value.error_type == "ResultCountError"

    assert [dead.payload for dead in batcher.dead()] == list(range(5))


def test_an_answer_of_the_wrong_length_may_be_retried(make_batcher: MakeBatcher) -> None:
    wrong: list[Any] = [[], None]
    batcher = make_batcher(
        lambda items: wrong.pop(0) if wrong else doubled(items),
        on_wrong_count="retry",
        max_delay=0.02,
        backoff_base=0.001,
    )
    with batcher.worker():
        assert batcher.call(1) == 2
    assert not wrong


def test_a_dict_by_id_may_lack_items_which_run_again(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    def handle(items: Any, run: Any) -> Any:
        notes.note(items, run)
        answer = {name: 2 * item for name, item in zip(run.ids, items, strict=True)}
        if run.attempts[0] == 1:
            answer.pop(run.ids[-1])
        return answer | {"unknown": 1}

    batcher = make_batcher(handle, **SOON)
    with batcher.worker():
        tickets = batcher.add_many([1, 2, 3])

        assert [batcher.result(ticket) for ticket in tickets] == [2, 4, 6]

    assert [run.items for run in notes.runs()] == [[1, 2, 3], [3]]
    assert notes.runs()[1].attempts == [2]


def test_items_run_again_after_a_backoff_and_callers_see_only_success(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    failures = [OSError("once")]

    def fail_once(items: list[Any]) -> Any:
        if failures:
            raise failures.pop()
        return doubled(items)

    batcher = make_batcher(noted(server.url, fail_once), max_delay=0.02, backoff_base=0.4, isolate=False)
    with batcher.worker(), Lateness() as late:
        tickets = batcher.add_many([1, 2, 3])
        assert [batcher.result(ticket) for ticket in tickets] == [2, 4, 6]
        assert batcher.metrics().retried == 3

    first, again = notes.runs()
    assert first.attempts == [1, 1, 1]
    assert again.items == [1, 2, 3]
    assert again.attempts == [2, 2, 2]
    assert again.at - first.at <= 0.45 + late.seconds


def test_retry_and_fatal_say_what_becomes_of_an_item(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    def handle(items: Any, run: Any) -> Any:
        notes.note(items, run)
        return [
            Retry(0.5) if item == "later" and run.attempts[place] == 1 else Fatal("never") if item == "never" else item
            for place, item in enumerate(items)
        ]

    batcher = make_batcher(handle, **SOON)
    with batcher.worker(), Lateness() as late:
        now, later, never = batcher.add_many(["now", "later", "never"])
        assert batcher.result(now) == "now"
        with pytest.raises(redisopt.BatchItemFailed, match="never"):
            batcher.result(never)
        assert len(notes.runs()) == 1
        assert batcher.result(later) == "later"

    first, second = notes.runs()
    assert 0.499 <= second.at - first.at <= 0.7 + late.seconds
    assert second.items == ["later"]


@pytest.mark.parametrize(("poisons", "calls"), [(1, 10), (4, 41), (10, 84)])
def test_the_items_that_spoil_a_batch_are_found(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes, poisons: int, calls: int
) -> None:
    """One of a hundred: ninety-nine succeed, with ten calls of the handler."""
    bad = set(range(7, 100, 100 // poisons)[:poisons])

    def handle(items: list[Any]) -> Any:
        if bad & set(items):
            raise ValueError("a bad one")
        return doubled(items)

    batcher = make_batcher(noted(server.url, handle), max_size=100, max_attempts=1, **SOON)
    with batcher.worker():
        tickets = batcher.add_many(range(100))
        for item, ticket in enumerate(tickets):
            if item in bad:
                with pytest.raises(redisopt.BatchItemFailed, match="a bad one"):
                    batcher.result(ticket)
            else:
                assert batcher.result(ticket) == 2 * item

    assert len(notes.runs()) <= calls
    assert {dead.payload for dead in batcher.dead()} == bad


def test_an_error_that_is_not_the_items_fault_repeats_the_whole_batch(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    """It is not bisected, counts no attempts, and nobody is given up for it."""
    failures: list[Exception] = [ConnectionError("away")] * 5

    def handle(items: list[Any]) -> Any:
        if failures:
            raise failures.pop()
        return doubled(items)

    batcher = make_batcher(noted(server.url, handle), max_size=8, max_attempts=1, backoff_cap=0.05, **SOON)
    with batcher.worker():
        assert [batcher.result(ticket) for ticket in batcher.add_many(range(8))] == doubled(list(range(8)))
        assert not batcher.dead()

    assert [(len(run.items), set(run.attempts)) for run in notes.runs()] == [(8, {1})] * 6


def test_such_errors_count_once_their_time_is_over(make_batcher: MakeBatcher) -> None:
    def handle(_: Any) -> Any:
        raise ConnectionError("away")

    batcher = make_batcher(handle, max_attempts=2, retry_for=0.2, backoff_cap=0.05, **SOON)
    with batcher.worker(), pytest.raises(redisopt.BatchItemFailed, match="away"):
        batcher.call(1)


def test_a_handler_that_names_the_culprits_spares_the_others(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    def handle(items: Any, run: Any) -> Any:
        notes.note(items, run)
        bad = {name: ValueError("negative") for name, item in zip(run.ids, items, strict=True) if item < 0}
        if bad:
            raise BatchItemError(bad)
        return doubled(items)

    batcher = make_batcher(handle, max_attempts=1, **SOON)
    with batcher.worker():
        tickets = batcher.add_many([1, -1, 2, -2, 3])
        assert [batcher.result(tickets[place]) for place in (0, 2, 4)] == [2, 4, 6]
        with pytest.raises(redisopt.BatchItemFailed, match="negative"):
            batcher.result(tickets[1])

    assert [run.items for run in notes.runs()] == [[1, -1, 2, -2, 3], [1, 2, 3]]


def test_the_dead_are_read_and_run_again(make_batcher: MakeBatcher) -> None:
    broken = [True]

    def handle(items: list[Any]) -> Any:
        return [ValueError(f"no {item}") if broken[0] else item for item in items]

    batcher = make_batcher(handle, max_attempts=2, max_delay=0.0, backoff_base=0.01)
    with batcher.worker():
        tickets = batcher.add_many(range(5), key="a key")
        for ticket in tickets:
            with pytest.raises(redisopt.BatchItemFailed):
                batcher.result(ticket)
        dead = batcher.dead()
        assert [each.payload for each in batcher.dead(2, after=1)] == [each.payload for each in dead[1:3]]
        assert {each.payload for each in dead} == set(range(5))
        assert all((each.key, each.attempts, each.deliveries_lost) == ("a key", 2, 0) for each in dead)
        assert dead[0].error == f"ValueError: no {dead[0].payload}"

        broken[0] = False
        assert batcher.replay([dead[0].id, "unknown"]) == 1
        assert batcher.result(dead[0].id) == dead[0].payload
        assert batcher.replay() == 4
        assert [batcher.result(each.id) for each in dead] == [each.payload for each in dead]
        assert not batcher.dead()


def test_the_dead_letter_is_bounded(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(lambda items: [Fatal("no")] * len(items), max_dead=3, max_size=1, **SOON)
    with batcher.worker():
        assert len(batcher.map(range(6), errors="collect")) == 6
        assert [each.payload for each in batcher.dead()] == [3, 4, 5]


def test_nothing_that_users_supply_stops_a_worker(make_batcher: MakeBatcher) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    answers: list[Any] = [
        Unprintable(),
        StopIteration(),
        SystemExit(1),
        lambda items: [object()] * len(items),
        lambda items: [1 << 100] * len(items),
        BatchItemError({"nobody": ValueError("x")}),
    ]

    def handle(items: list[Any]) -> Any:
        answer = answers.pop(0) if answers else doubled
        if isinstance(answer, BaseException):
            raise answer
        return answer(items)

    batcher = make_batcher(handle, max_attempts=1, **SOON)

    def broken(_: Any) -> None:
        raise RuntimeError("a callback")

    with batcher.worker():
        for _ in range(6):
            with pytest.raises(redisopt.BatchItemFailed):
                batcher.call(1, timeout=10)

        assert batcher.call(1, timeout=10) == 2
        assert batcher.map([1, 2], on_progress=broken) == [2, 4]


def test_an_item_that_cannot_be_read_is_given_up_and_spares_the_others(
    make_batcher: MakeBatcher, client: redis.Redis
) -> None:
    batcher = make_batcher(doubled, max_delay=0.1)
    bad, good = batcher.add_many([1, 2])
    stored: Any = client.hget("redisopt:v1:{batch:test}:items", bad.id)
    client.hset("redisopt:v1:{batch:test}:items", bad.id, stored[:-1] + b"\xc1")
    with batcher.worker():
        assert batcher.result(good) == 4
        with pytest.raises(redisopt.BatchItemFailed, match="not msgpack"):
            batcher.result(bad)


@pytest.mark.parametrize(
    ("arguments", "fields", "told"),
    [
        ((object(),), {}, "cannot be added"),
        (("x" * 2000,), {}, "at most 1,000"),
        ((1,), {"key": 5}, "key must be"),
        ((1,), {"id": ""}, "id must be"),
        ((1,), {"priority": 1}, "priority must be"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_added(
    make_batcher: MakeBatcher, client: redis.Redis, arguments: Any, fields: Any, told: str
) -> None:
    batcher = make_batcher(max_item_bytes=1000)
    with pytest.raises(ValueError, match=told):
        batcher.add(*arguments, **fields)
    with pytest.raises(ValueError, match=r"items\[1\]"):
        batcher.add_many([1, object()])
    with pytest.raises(ValueError, match="twice"):
        batcher.add_many([1, 2], ids=["a", "a"])

    assert not client.exists("redisopt:v1:{batch:test}:items")


def test_a_handler_is_checked_when_it_is_given(server: RunningServer, client: redis.Redis) -> None:
    async def handle(items: Any) -> Any:
        return items

    with pytest.raises(ValueError, match="AsyncBatcher"):
        redisopt.Batcher(client, "test", handler=handle)
    with pytest.raises(ValueError, match="must take"):
        redisopt.Batcher(client, "test", handler=lambda: None)
    with pytest.raises(ValueError, match="handler is not set"):
        redisopt.Batcher(client, "test").worker()
    with pytest.raises(ValueError, match="concurrency"):
        redisopt.Batcher(client, "test", handler=doubled).worker(0)


# --- back-pressure


def test_a_full_queue_refuses_what_does_not_fit(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_queue=100, max_delay=60, max_size=1000)
    tickets = batcher.add_many(range(98))
    with pytest.raises(redisopt.QueueFull):
        batcher.add_many(range(3))
    assert batcher.metrics().pending == 98
    tickets += batcher.add_many(range(2))
    with pytest.raises(redisopt.QueueFull):
        batcher.add(1)

    assert batcher.metrics().pending == 100
    batcher.flush()
    with batcher.worker():
        assert [batcher.result(ticket) for ticket in tickets[:3]] == [0, 2, 4]


def test_who_adds_to_a_full_queue_may_wait_for_room(make_batcher: MakeBatcher) -> None:
    batcher = make_batcher(doubled, max_queue=10, max_size=10, max_delay=0.0, overflow="block")
    batcher.pause()
    tickets = batcher.add_many(range(10))
    began = time.monotonic()
    with pytest.raises(redisopt.QueueFull):
        batcher.add(1, timeout=0.2)
    assert 0.19 < time.monotonic() - began < 2

    batcher.resume()
    with batcher.worker():
        tickets += batcher.add_many(range(10, 95))

        assert [batcher.result(ticket) for ticket in tickets] == doubled(list(range(95)))


def test_a_full_queue_may_drop_what_comes_or_what_waits_longest(make_batcher: MakeBatcher) -> None:
    new = make_batcher(doubled, max_queue=3, max_delay=60, overflow="drop_new")
    tickets = new.add_many(range(5))
    for ticket in tickets[3:]:
        with pytest.raises(redisopt.QueueFull):
            new.result(ticket)
    old = make_batcher(doubled, max_queue=3, max_delay=60, overflow="drop_old")
    tickets += old.add_many([5, 6])
    for ticket in tickets[:2]:
        with pytest.raises(redisopt.QueueFull):
            new.result(ticket)

    assert old.metrics().pending == 3
    assert old.metrics().dropped == 4
    old.flush()
    with old.worker():
        assert [old.result(tickets[2]), old.result(tickets[5]), old.result(tickets[6])] == [4, 10, 12]


async def test_a_handler_that_cancels_itself_fails_its_items(server: RunningServer, client: redis.Redis) -> None:
    async def handle(items: list[Any]) -> list[Any]:
        if items == [1]:
            raise asyncio.CancelledError
        return items

    async with redis.asyncio.from_url(server.url) as async_client:
        batcher = redisopt.AsyncBatcher(
            async_client, "test", handler=handle, max_attempts=1, max_delay=0.0, command_timeout=10.0
        )
        async with batcher, batcher.worker():
            with pytest.raises(redisopt.BatchItemFailed, match="from within"):
                await batcher.call(1, timeout=10)
            assert await batcher.call(2, timeout=10) == 2


class Array:
    """As far as results are concerned, an array of numpy, or of one of its kind."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Any:
        return iter(self._values)

    def tolist(self) -> Any:
        return [each.tolist() if isinstance(each, Array) else each for each in self._values]


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_an_answer_may_be_an_array(make_batcher: MakeBatcher, codec: str) -> None:
    """Of one number for each item, or of a row for each; and so may an element of a list be."""
    answers: list[Any] = [
        lambda items: Array(items),
        lambda items: Array([Array([item, item]) for item in items]),
        lambda items: [Array([item]) for item in items],
        lambda items: range(len(items)),
    ]
    batcher = make_batcher(lambda items: answers[0](items), codec=codec, max_delay=0.05)
    with batcher.worker():
        expected: list[list[Any]] = [[5, 6], [[5, 5], [6, 6]], [[5], [6]], [0, 1]]
        for results in expected:
            assert [batcher.result(ticket) for ticket in batcher.add_many([5, 6])] == results
            answers.pop(0)


@pytest.mark.parametrize(
    "wrong", [set, lambda items: Array(items[1:]), lambda items: dict.fromkeys(items).keys(), lambda _: bytearray(5)]
)
def test_what_is_like_a_list_is_to_have_an_order_and_the_length(make_batcher: MakeBatcher, wrong: Any) -> None:
    batcher = make_batcher(wrong, **SOON)
    with batcher.worker():
        for ticket in batcher.add_many(range(5)):
            with pytest.raises(redisopt.BatchItemFailed) as failed:
                batcher.result(ticket)
            assert failed.value.error_type == "ResultCountError"


def test_a_dict_of_a_thousand_is_judged_quickly() -> None:
    from redisopt.batch.config import BatchConfig
    from redisopt.batch.items import Item
    from redisopt.batch.judging import judge

    items = [Item(f"1:{number}", str(number), "-", b"") for number in range(1000)]
    began = time.process_time()
    assert len(judge(BatchConfig(), items, {str(number): number for number in range(1000)})) == 1000
    assert time.process_time() - began < 0.1  # and not a set of the names for each name


def test_a_result_that_cannot_be_stored_is_not_asked_for_again(
    make_batcher: MakeBatcher, server: RunningServer, notes: Notes
) -> None:
    batcher = make_batcher(noted(server.url, lambda items: [object() for _ in items]), max_attempts=3, **SOON)
    with batcher.worker(), pytest.raises(redisopt.BatchItemFailed):
        batcher.call(1)

    assert len(notes.runs()) == 1


def test_wrong_arguments_are_refused_by_name(make_batcher: MakeBatcher, client: redis.Redis) -> None:
    batcher = make_batcher(doubled)
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: batcher.add_many([1], ids=(str(number) for number in range(1))), "ids must be a list"),
        (lambda: batcher.add_many([1, 2], ids="xy"), "ids must be a list"),
        (lambda: batcher.add_many([1, 2], ids={"x", "y"}), "ids must be a list"),
        (lambda: batcher.replay(5), "ids must be a list"),
        (lambda: batcher.map([1], run_id=""), "run_id must be"),
        (lambda: batcher.map([1, 2], key=lambda item: item), r"items\[0\]: key"),
        (lambda: redisopt.batched(client, "test", concurrency=-1)(doubled), "concurrency"),
    ]
    for act, told in calls:
        with pytest.raises(ValueError, match=told):
            act()
