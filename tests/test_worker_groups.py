"""Workers that start and stop together: all of them work or none, and none takes anything once one is to stop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.worker_groups import AsyncWorkerGroup, WorkerGroup
from redisopt.workers import Worker
from tests.fragile import Lateness
from tests.kinds import Kind
from tests.servers import RunningServer
from tests.waiting import wait_until

BATCHES: Any = {"max_size": 1, "max_delay": 0.01, "command_timeout": 5.0}


class Odd:
    """A worker that raises when it is told something; of tasks, it is awaited."""

    is_working = False

    def __init__(self, twin: Kind, told: str, error: BaseException) -> None:
        def raise_it(*_: object, **__: object) -> None:
            raise error

        def do_nothing(*_: object, **__: object) -> None:
            pass

        self.stop_taking = do_nothing
        self.start = twin.function(raise_it if told == "start" else do_nothing)
        self.stop = twin.function(raise_it if told == "stop" else do_nothing)


def group_of(twin: Kind, *workers: Any) -> Any:
    return (WorkerGroup if twin.name == "sync" else AsyncWorkerGroup)(workers)


def make_batcher(twin: Kind, name: str, handle: Callable[[Any], Any] = list, **fields: Any) -> Any:
    batcher = twin.make("Batcher", name, **BATCHES | fields)
    batcher.handler(twin.function(handle))
    return batcher


def test_where_one_operation_cannot_be_worked_for_none_is(twin: Kind) -> None:
    other = make_batcher(twin, "part.second", max_size=99)
    optimizer = twin.make("Optimizer", "part", batching={"max_size": 10, "on_conflict": "raise"})
    for name in ("first", "second", "third"):
        optimizer.operation(twin.function(list), name=name, batch=True)
    elsewhere = other.worker()
    twin.do(elsewhere.start)
    for _ in range(2):
        with pytest.raises(redisopt.ConfigConflict):
            twin.do(optimizer.worker().start)
        assert not any(worker.is_working for worker in optimizer._operations._workers)
        assert not [thread.name for thread in threading.enumerate() if "part.first" in thread.name]
    twin.do(elsewhere.stop)


def test_a_start_that_is_interrupted_leaves_nobody_working(twin: Kind) -> None:
    first = make_batcher(twin, "first").worker()
    error = KeyboardInterrupt if twin.name == "sync" else asyncio.CancelledError
    with pytest.raises(error):
        twin.do(group_of(twin, first, Odd(twin, "start", error())).start)
    assert not first.is_working


def test_a_thread_that_cannot_be_started_leaves_none(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    with redisopt.Batcher(client, "test", handler=list, **BATCHES) as batcher:
        worker = batcher.worker(concurrency=4)
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            worker.start()
        monkeypatch.undo()
        assert not worker.is_working
        wait_until(lambda: not any(thread.is_alive() for thread in started))


def test_who_works_already_goes_on(twin: Kind) -> None:
    """Whoever starts it a second time has made a mistake, and does not stop it so."""
    batcher = make_batcher(twin, "test")
    group = group_of(twin, batcher.worker())
    twin.do(group.start)
    with pytest.raises(ValueError, match="works already"):
        twin.do(group.start)
    assert twin.do(batcher.call, 1) == 1
    twin.do(group.stop)


def test_each_is_stopped_whatever_the_others_raise(twin: Kind, caplog: pytest.LogCaptureFixture) -> None:
    workers = [make_batcher(twin, name).worker() for name in ("first", "last")]
    errors = [KeyError("one"), OSError("two")]
    first, last = workers
    group = group_of(twin, first, *(Odd(twin, "stop", error) for error in errors), last)
    twin.do(group.start)
    with pytest.raises(KeyError, match="one"):
        twin.do(group.stop)
    assert not any(worker.is_working for worker in workers)
    assert "OSError('two')" in caplog.text


@pytest.mark.parametrize("ends", ["stop", "close"])
def test_none_takes_anything_while_another_is_waited_for(server: RunningServer, client: redis.Redis, ends: str) -> None:
    begun, end, ran = threading.Event(), threading.Event(), []

    def block(items: list[Any]) -> list[Any]:
        begun.set()
        end.wait(30)
        return items

    def run(items: list[Any]) -> list[Any]:
        ran.extend(items)
        return items

    with redis.from_url(server.url) as own, redisopt.Batcher(own, "api.last", **BATCHES) as adder:
        optimizer = redisopt.Optimizer(client, "api", batching=BATCHES)
        first, middle, last = (
            optimizer.operation(name=name, batch=True)(handle)
            for name, handle in (("first", run), ("middle", block), ("last", run))
        )
        worker = optimizer.worker().start()
        assert middle.batcher is not None
        middle.batcher.add(1)
        assert begun.wait(20)
        ending = threading.Thread(target=worker.stop if ends == "stop" else optimizer.close)
        ending.start()
        each = optimizer._operations._workers
        wait_until(lambda: any(one._shift.stopping for one in each))
        wait_until(lambda: not any(one._taker.is_alive() for one in each if one is not each[1]))
        with redisopt.Batcher(own, "api.first", **BATCHES) as other:
            tickets = [adder.add("to the last"), other.add("to the first")]
            with pytest.raises(redisopt.ResultTimeout):
                tickets[0].result(0.3)
        assert ending.is_alive()
        assert not ran
        end.set()
        ending.join(20)
        optimizer.close()
        assert not ran
        assert all(ticket.cancel() for ticket in tickets)
        assert (first.name, last.name) == ("first", "last")


def test_their_graces_run_at_the_same_time(twin: Kind) -> None:
    """In threads, which cannot be interrupted, each would be waited for to the end of its own."""
    grace, end, begun = 1.5, threading.Event(), []

    def block(items: list[Any]) -> list[Any]:
        begun.append(1)
        end.wait(60)
        return items

    async def block_task(items: list[Any]) -> list[Any]:
        begun.append(1)
        await asyncio.sleep(60)
        return items

    batchers = [twin.make("Batcher", f"batcher-{number}", **BATCHES) for number in range(4)]
    for batcher in batchers:
        batcher.handler(block if twin.name == "sync" else block_task)
    group = group_of(twin, *(batcher.worker(grace=grace) for batcher in batchers))
    twin.do(group.start)
    for batcher in batchers:
        twin.do(batcher.add, 1)
    wait_until(lambda: len(begun) == 4 or (twin.name == "async" and twin.do(asyncio.sleep, 0.01)), timeout=20)
    with Lateness() as late:
        before = time.monotonic()
        twin.do(group.stop)
        took = time.monotonic() - before
    assert grace <= took + 0.01
    assert took < 2 * grace + late.seconds
    for batcher in batchers:
        assert twin.do(batcher.metrics).running == 0
        assert twin.do(batcher.cancel_key, "") == 1
    end.set()


def test_after_ctrl_c_nobody_is_waited_for(client: redis.Redis) -> None:
    """What is under way is given back: another one has it at once."""
    end, begun = threading.Event(), threading.Event()

    def block(items: list[Any]) -> list[Any]:
        begun.set()
        end.wait(60)
        return items

    class Interrupted(Worker):
        def __init__(self) -> None:
            pass

        is_working = False

        def start(self) -> Self:
            return self

        def stop(self, *, wait: bool = True) -> None:
            raise KeyboardInterrupt

    with redisopt.Batcher(client, "test", handler=block, **BATCHES) as batcher:
        group = WorkerGroup([Interrupted(), batcher.worker(grace=60)]).start()
        batcher.add(1)
        assert begun.wait(20)
        before = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            group.stop()
        assert time.monotonic() - before < 30
        assert batcher.metrics().running == 0
        assert batcher.cancel_key("") == 1
        end.set()


def test_a_job_may_stop_those_that_work(server: RunningServer, client: redis.Redis) -> None:
    """It is neither waited for nor cancelled; as it was under way, it is given back."""

    async def main() -> None:
        over = asyncio.Event()
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncOptimizer(own, "api", batching=BATCHES) as optimizer,
        ):
            worker: Any = None

            @optimizer.operation(batch=True)
            async def last(items: list[Any]) -> list[Any]:
                await worker.stop()
                over.set()
                return items

            @optimizer.operation(batch=True)
            async def idle(items: list[Any]) -> list[Any]:
                return items

            worker = optimizer.worker()
            await worker.start()
            assert last.batcher is not None and idle.batcher is not None  # noqa: PT018
            ticket = await last.batcher.add(7)
            await asyncio.wait_for(over.wait(), 4.0)  # less than the grace
            assert not optimizer._operations._workers[1].is_working
            assert await ticket.cancel()

    asyncio.run(main())
