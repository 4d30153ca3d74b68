"""Workers of both primitives: what ends them, what must not, and that nothing is held by one that has stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.driving import TO_END
from redisopt.shifts import Shift
from tests.servers import RunningServer
from tests.waiting import wait_until

QUICK: Any = {"command_timeout": 5.0, "max_attempts": 2, "backoff_base": 0.01, "backoff_cap": 0.02, "lease_ttl": 2.0}


class Both:
    """A batcher or a debouncer for threads, of which a test needs to know no more than this."""

    def __init__(self, which: str, client: redis.Redis, handler: Callable[[Any], Any], **fields: Any) -> None:
        self.which = which
        if which == "batcher":
            self.real: Any = redisopt.Batcher(
                client,
                "test",
                handler=lambda items: [handler(item) for item in items],
                max_delay=0.01,
                **QUICK,
                **fields,
            )
        else:
            self.real = redisopt.Debouncer(client, "test", wait=0.01, **QUICK, **fields)
            self.real.handler(handler)

    def add(self, item: str) -> Any:
        """Add an item, or a call of a key of its own."""
        return self.real.add(item, item) if self.which == "batcher" else self.real.submit(item, item)

    def limited(self, throttler: redisopt.Throttler) -> dict[str, Any]:
        return {"limiter" if self.which == "batcher" else "throttler": throttler}

    @property
    def running(self) -> int:
        return int(self.real.metrics().running)


@pytest.fixture(params=["batcher", "debouncer"])
def make(request: pytest.FixtureRequest, client: redis.Redis) -> Iterator[Callable[..., Both]]:
    made: list[Both] = []

    def make_one(handler: Callable[[Any], Any], **fields: Any) -> Both:
        made.append(Both(request.param, client, handler, **fields))
        return made[-1]

    yield make_one
    for each in made:
        each.real.close()


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_handler_raises_its_worker_goes_on(make: Callable[..., Both], error: type[BaseException]) -> None:
    """A failed attempt like any other; the next item is run by the same worker."""
    tried: list[str] = []

    def handle(item: str) -> str:
        tried.append(item)
        if item == "bad":
            raise error
        return item

    both = make(handle)
    with both.real.worker():
        bad, good = both.add("bad"), both.add("good")
        outcome = good.result(20)
        assert (outcome if both.which == "batcher" else outcome.value) == "good"
        with pytest.raises((redisopt.BatchItemFailed, redisopt.RunFailed), match=error.__name__):
            bad.result(20)
    assert tried.count("bad") == 2


def test_what_is_taken_while_a_worker_stops_is_given_back(client: redis.Redis, make: Callable[..., Both]) -> None:
    """Its taker stood in a throttler's line for longer than the stop had patience."""
    ran: list[str] = []
    throttler = redisopt.Throttler(client, "limit", rates=["1/s"], command_timeout=5.0)
    free = make(ran.append)
    limited = make(ran.append, **free.limited(throttler))
    with limited.real.worker(concurrency=2, grace=0.1):
        limited.add("first")
        wait_until(lambda: "first" in ran)
        limited.add("late")
        wait_until(lambda: throttler.metrics().queue_length > 0 or "late" in ran)
    time.sleep(1.2)  # its turn has come by now
    before = time.monotonic()
    with free.real.worker():
        wait_until(lambda: "late" in ran, timeout=20)
    assert time.monotonic() - before < QUICK["lease_ttl"] or "late" in ran[:2]
    wait_until(lambda: free.running == 0)
    throttler.close()


def test_words_that_are_none_end_no_worker(client: redis.Redis, make: Callable[..., Both], caplog: Any) -> None:
    both = make(lambda item: item)
    caplog.set_level(logging.CRITICAL, "redisopt")
    with both.real.worker():
        both.add("a").result(20)
        (channel,) = [name for name in client.pubsub_channels() if b"{batch" in name or b"{debounce" in name][:1]
        for word in ("²:1", "0:²", "1:" + "9" * 400, "{}", ""):
            client.publish(channel, word)
        both.add("b").result(20)


def test_a_shift_that_stops_while_it_takes_gives_back_what_it_took() -> None:
    from redisopt.commands import Plan, Sleep, Wait
    from redisopt.shifts import Job

    given_back: list[int] = []

    def give_back() -> Plan[None]:
        given_back.append(1)
        yield Sleep(0)

    class Source:
        channel = "channel of a test"

        def take(self, free: int) -> Plan[Any]:
            yield Sleep(0)
            return [Job(give_back, give_back)], 1.0

        def hear(self, messages: str) -> None:
            raise AssertionError

    shift = Shift(1)
    shift.start = lambda _: pytest.fail("it is not begun")
    working = shift.work(Source())
    step: Any = next(working)
    assert isinstance(step, Wait)
    working.send(None)
    assert working.send("") == Sleep(0)
    shift.stop()
    assert working.send(None) == Sleep(0)
    assert given_back == [1]
    assert isinstance(working.send(None), Wait)
    assert shift.jobs == []


# --- in event loops


def make_async(which: str, client: redis.asyncio.Redis, handler: Any) -> Any:
    if which == "batcher":

        async def handle(items: list[Any]) -> list[Any]:
            return [await handler(item) for item in items]

        return redisopt.AsyncBatcher(client, "test", handler=handle, max_delay=0.01, **QUICK)
    debouncer = redisopt.AsyncDebouncer(client, "test", wait=0.01, **QUICK)
    debouncer.handler(handler)
    return debouncer


async def add(which: str, made: Any, item: str) -> Any:
    return await (made.add(item, item) if which == "batcher" else made.submit(item, item))


@pytest.mark.parametrize("which", ["batcher", "debouncer"])
async def test_a_task_that_a_handler_cancels_is_a_failed_attempt(
    which: str, server: RunningServer, client: redis.Redis
) -> None:
    tried: list[str] = []

    async def handle(item: str) -> str:
        tried.append(item)
        task = asyncio.create_task(asyncio.sleep(10))
        task.cancel()
        await task
        return item

    async with redis.asyncio.from_url(server.url) as own, make_async(which, own, handle) as made:
        ticket = await add(which, made, "bad")
        async with made.worker():
            with pytest.raises((redisopt.BatchItemFailed, redisopt.RunFailed), match="cancelled from within"):
                await ticket.result(20)
    assert len(tried) == 2


@pytest.mark.parametrize("which", ["batcher", "debouncer"])
async def test_a_stop_does_not_wait_for_a_handler_that_heeds_no_cancellation(
    which: str, server: RunningServer, client: redis.Redis
) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def handle(item: str) -> str:
        begun.set()
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        return item

    async with redis.asyncio.from_url(server.url) as own, make_async(which, own, handle) as made:
        await add(which, made, "slow")
        worker = made.worker(grace=0.1)
        await worker.start()
        await begun.wait()
        before = time.monotonic()
        await worker.stop()
        assert time.monotonic() - before < 0.1 + TO_END + 2.0
        metrics = await made.metrics()
        assert metrics.running == 0
        end.set()
        await asyncio.sleep(0)
        await (made.cancel_key("slow") if which == "batcher" else made.cancel("slow"))


@pytest.mark.parametrize("which", ["batcher", "debouncer"])
def test_a_worker_of_an_event_loop_that_has_ended_does_not_work(
    which: str, server: RunningServer, client: redis.Redis
) -> None:
    own = redis.asyncio.from_url(server.url)

    async def handle(item: str) -> str:
        return item

    made = make_async(which, own, handle)
    worker = made.worker()

    async def begin() -> None:
        await worker.start()
        await (await add(which, made, "first")).result(20)
        assert worker.is_working
        await own.connection_pool.disconnect()

    asyncio.run(begin())
    assert not worker.is_working

    async def again() -> None:
        await worker.start()
        await (await add(which, made, "second")).result(20)
        await made.aclose()
        assert not worker.is_working
        await own.aclose()

    asyncio.run(again())
