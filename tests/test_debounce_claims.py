"""Workers whose claims go wrong: replies that never come, partitions that cannot be asked, throttlers that raise, payloads that are big."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.commands import Command, Invoke, call
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.due import Due
from redisopt.debounce.executing import HeldRun
from redisopt.debounce.plans import DebouncePlans
from redisopt.debounce.replies import Claimed
from redisopt.scripts import script
from tests.debounce_faces import TERMS, DebounceFace
from tests.fragile import FragileServer
from tests.proxy import Delayed, Fate, Proxy, is_script
from tests.servers import RunningServer

Make = Callable[..., DebounceFace]
MEGABYTE = b"x" * 1_000_000


@pytest.fixture(params=["sync", "async"])
def make_at(request: pytest.FixtureRequest) -> Iterator[Callable[..., DebounceFace]]:
    """Makes debouncers of one kind at any URL; closes them after."""
    faces: list[DebounceFace] = []

    def make(url: str, name: str = "test", **fields: Any) -> DebounceFace:
        faces.append(DebounceFace(request.param, url, name, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


def key_in(partition: int, face: DebounceFace) -> str:
    """A key of this partition."""
    layout = face.real._plans.asking.layout
    return next(key for key in map(str, range(1000)) if layout.place(key).partition == partition)


# --- replies that never come


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
def test_what_an_unanswered_claim_took_is_run_by_who_claimed_it(make_at: Make, delivery: str) -> None:
    """The server stands still, the worker gives its claim up, the server goes on and performs it: nobody waits for the lease."""
    with FragileServer() as server:
        face = make_at(server.url, wait=0.3, lease_ttl=8.0, delivery=delivery, command_timeout=0.5)
        face.handle()
        face.start()
        face.result(face.submit("warm"))
        ticket = face.submit("a")
        began = time.monotonic()
        time.sleep(0.25)
        with server.away("hung"):
            time.sleep(1.0)
        assert face.result(ticket).value == "a"
        assert time.monotonic() - began < 5
        assert [ran.payload for ran in face.runs] == ["warm", "a"]
        assert face.dead() == []


async def test_a_worker_that_is_stopped_while_it_claims_gives_back_what_it_took(
    server: RunningServer, client: redis.Redis
) -> None:
    sha = script("debounce_claim").sha.encode()
    client.script_load(script("debounce_claim").source)
    fields: Any = TERMS | {"wait": 0.05, "lease_ttl": 20.0}
    with Proxy(server.url) as proxy:
        clients = redis.asyncio.from_url(proxy.url), redis.asyncio.from_url(server.url)
        mine, other = (redisopt.AsyncDebouncer(each, "test", **fields) for each in clients)
        for each in (mine, other):

            @each.handler
            async def handle(payload: Any) -> Any:
                return payload

        loop, hit = asyncio.get_running_loop(), asyncio.Event()

        def fate(words: list[bytes]) -> Any:
            if is_script(words) and words[1] == sha and client.zcard("redisopt:v1:{debounce:test:0}:due"):
                loop.call_soon_threadsafe(hit.set)
                return Delayed(2.0)
            return Fate.PASS

        with proxy.during(fate):
            worker = mine.worker(grace=0.1)
            ticket = await other.submit("a")
            await asyncio.sleep(0.1)
            await worker.start()
            await asyncio.wait_for(hit.wait(), 10)
            await worker.stop()
        async with other.worker():
            began = time.monotonic()
            assert (await ticket.result(15)).value == "a"
            assert time.monotonic() - began < 3
        for debouncer in (mine, other):
            await debouncer.aclose()
        for link in clients:
            await link.aclose()


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
async def test_a_worker_that_is_stopped_while_it_says_that_a_run_is_done_says_it_once_more(
    server: RunningServer, client: redis.Redis, delivery: Any
) -> None:
    sha = script("debounce_finish").sha.encode()
    with Proxy(server.url) as proxy:
        link = redis.asyncio.from_url(proxy.url)
        debouncer = redisopt.AsyncDebouncer(link, "test", wait=0, lease_ttl=20.0, delivery=delivery, command_timeout=3)
        ran: list[Any] = []

        @debouncer.handler
        async def handle(payload: Any) -> None:
            ran.append(payload)

        worker = debouncer.worker(grace=0.1)
        await worker.start()
        await (await debouncer.submit("warm")).result()
        loop, hit = asyncio.get_running_loop(), asyncio.Event()
        lost: list[object] = []

        def fate(words: list[bytes]) -> Any:
            if is_script(words) and words[1] == sha and not lost:
                lost.append(words)
                loop.call_soon_threadsafe(hit.set)
                return Fate.STRAY  # it reaches the server only later
            return Delayed(0.5) if is_script(words) and words[1] == sha else Fate.PASS

        with proxy.during(fate):
            await debouncer.submit("a")
            await asyncio.wait_for(hit.wait(), 10)
            await worker.stop()
        metrics = await debouncer.metrics()
        assert ran == ["warm", "a"]
        assert (metrics.running, metrics.done, metrics.dead) == (0, 2, 0)
        await debouncer.aclose()
        await link.aclose()


def test_what_became_of_a_run_is_said_once_more_where_saying_so_is_interrupted() -> None:
    """Else a run that is done would be a dead letter, where it runs at most once."""
    executing = DebouncePlans("test", DebounceConfig(), None, None, None, clustered=False, awaited=False).executing
    place = executing._asking.layout.place("k")
    run = HeldRun(Claimed(place, "1", "2", 1, 1, "trailing", "last", 0.0, b"", 0), time.monotonic() + 60)
    plan: Any = executing.finish(run, "done", b"value")
    said = plan.send(None)
    assert said.script == "debounce_finish"
    assert plan.throw(asyncio.CancelledError()) == said
    with pytest.raises(asyncio.CancelledError):
        plan.send(True)


# --- partitions that cannot be asked


def due_of(partitions: int, throttler: Any = None) -> Due:
    """What a worker does, without any server."""
    plans = DebouncePlans(
        "test", DebounceConfig(partitions=partitions), None, throttler, None, clustered=False, awaited=False
    )
    plans.register(lambda payload: payload, awaited=False)
    return plans.due()


def answered(due: Due, answer: Callable[[Any], Any]) -> Any:
    """What one take gives, where each of its steps is answered so; an exception is raised in it."""
    plan: Any = due.take(4)
    given: Any = None
    try:
        step = plan.send(None)
        while True:
            given = answer(step)
            step = plan.throw(given) if isinstance(given, BaseException) else plan.send(given)
    except StopIteration as over:
        return over.value


def test_a_partition_that_cannot_be_asked_stops_no_other() -> None:
    """A node of a Cluster is dead, and its partitions with it."""
    due, asked = due_of(4), []

    def answer(step: Any) -> Any:
        assert isinstance(step, Command)
        if step.script == "debounce_agree":
            return 0, ""
        partition = int(step.constants[-2])
        asked.append(partition)
        return redisopt.Unavailable("its node is down") if partition == 0 else (None, [])

    jobs, seconds = answered(due, answer)
    assert not jobs
    assert 0 < seconds <= 0.2
    assert sorted(asked) == [0, 1, 2, 3]


def test_a_worker_says_so_where_no_partition_can_be_asked() -> None:
    with pytest.raises(redisopt.Unavailable):
        answered(due_of(4), lambda _: redisopt.Unavailable("all nodes are down"))


class Breaks:
    """A throttler whose second permit is an error."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, timeout: float | None = None) -> Any:
        self.asked += 1
        if self.asked == 2:
            raise ValueError("this throttler broke")
        return self

    def refund(self) -> None:
        """As a permit."""

    def release(self) -> None:
        """As a permit."""


def test_what_was_taken_is_run_though_the_next_permit_is_an_error(server: RunningServer, client: redis.Redis) -> None:
    face = DebounceFace("sync", server.url, wait=0, partitions=2, lease_ttl=20.0, throttler=Breaks())
    face.handle()
    tickets = [face.submit(partition, key=key_in(partition, face)) for partition in range(2)]
    face.start(concurrency=4)
    for partition, ticket in enumerate(tickets):
        assert face.result(ticket, 10).value == partition
    face.close()


def test_a_permit_is_released_though_its_refund_fails() -> None:
    calls: list[str] = []

    class Permit:
        def refund(self) -> None:
            calls.append("refund")
            raise redisopt.Unavailable("away")

        def release(self) -> None:
            calls.append("release")

    class Grants:
        def acquire(self, *, timeout: float | None = None) -> Permit:
            return Permit()

    claims: list[object] = []

    def answer(step: Any) -> Any:
        if isinstance(step, Invoke):
            try:
                return step.function(*step.args, **step.kwargs or {})
            except redisopt.Unavailable as error:
                return error
        if step.script == "debounce_agree":
            return 0, ""
        claims.append(step)
        return (0.0, []) if len(claims) == 1 else redisopt.Unavailable("away")

    with pytest.raises(redisopt.Unavailable):
        answered(due_of(1, Grants()), answer)
    assert calls == ["refund", "release"]


# --- payloads that are big


@pytest.mark.parametrize("expired", [False, True])
def test_a_claim_takes_no_more_than_a_reply_can_bear(make_debouncer: Make, client: redis.Redis, expired: bool) -> None:
    face = make_debouncer(wait=0)
    asking = face.real._plans.asking

    def claim(number: int) -> Any:
        return face.do(face.real._runner.run, call(asking.claim(0, 100, "worker", "lane", number)))

    for number in range(12):
        face.submit(MEGABYTE, key=str(number))
    if expired:
        for number in (1, 2, 3):
            claim(number)
        leases: Any = client.zrange("redisopt:v1:{debounce:test:0}:leases", 0, -1)
        client.zadd("redisopt:v1:{debounce:test:0}:leases", dict.fromkeys(leases, 1))
    taken = []
    for number in (11, 12, 13):
        seconds, runs = claim(number)
        taken += runs
        assert 0 < sum(len(run.payload) for run in runs) < 6 * 2**20
        assert seconds == 0 or len(taken) == 12
    assert len(taken) == 12
    for run in taken:
        assert face.do(face.real._runner.run, call(asking.finish(run, "done")))


def test_what_was_collected_is_read_in_parts_that_a_reply_can_bear(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.3, collect="all")
    asking = face.real._plans.asking
    sizes = [1, 10, 1_000_000, 5, 100_000, 1_000_000] * 5 + [3] * 3000
    for size in sizes[:30]:
        face.submit(b"x" * size)
    face.do(_submit_all, face, sizes[30:]) if face.kind == "async" else [
        face.submit(b"x" * size) for size in sizes[30:]
    ]
    time.sleep(0.35)
    _, (run,) = face.do(face.real._runner.run, call(asking.claim(0, 1, "worker", "lane", 1)))
    read: list[int] = []
    parts = 0
    while len(read) < run.collected:
        some = face.do(face.real._runner.run, call(asking.items(run, len(read))))
        assert 0 < sum(map(len, some)) < 6 * 2**20
        read += [len(each) for each in some]
        parts += 1
    assert len(read) == len(sizes)
    assert read[-1] < 10
    assert parts <= 12
    assert face.do(face.real._runner.run, call(asking.finish(run, "done")))


async def _submit_all(face: DebounceFace, sizes: list[int]) -> None:
    for size in sizes:
        await face.real.submit(b"x" * size)
