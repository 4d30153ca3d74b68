"""Callers with a function that give up, stand still or come again: none of them keeps a key, or its run, from the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
import redisopt.debounce.asking
from redisopt.commands import call
from redisopt.debounce.replies import Fate, Taken
from redisopt.scripts import script
from tests.debounce_faces import TERMS, DebounceFace
from tests.fleet import FLEET
from tests.fragile import FragileServer
from tests.proxy import Delayed, Proxy, is_script
from tests.proxy import Fate as Lost
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., DebounceFace]
CALLS = "redisopt:v1:{debounce:test:0}:call:"


class Interrupt(BaseException):
    """What a Ctrl-C does, raised where a test can catch it."""


def window_of(client: redis.Redis, key: str = "k") -> Any:
    """What stands in Redis of a key's functions."""
    fields: Any = client.hgetall(f"{CALLS}key:{key}")
    return {name.decode(): value.decode() for name, value in fields.items()}


def interrupted(face: DebounceFace, key: str = "k") -> None:
    """Call with a function that is interrupted while it runs."""
    if face.kind == "sync":

        def interrupt() -> None:
            raise Interrupt

        with pytest.raises(Interrupt):
            face.execute(interrupt, key=key)
        return

    async def call_and_cancel() -> None:
        began = asyncio.Event()

        async def wait() -> None:
            began.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(face.real.execute(wait, key=key))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    face.do(call_and_cancel)


def giving(face: DebounceFace, value: Any) -> Callable[[], Any]:
    """A function that gives `value`."""

    async def give() -> Any:
        return value

    return (lambda: value) if face.kind == "sync" else give


# --- a function that was interrupted


def test_a_call_that_was_interrupted_while_its_function_ran_leaves_nothing_behind(
    make_debouncer: Make, client: redis.Redis
) -> None:
    face, other = make_debouncer(wait=0.05), make_debouncer(wait=0.05)
    interrupted(face)
    assert not {"run", "window"} & set(window_of(client))
    began = time.monotonic()
    assert other.execute(giving(other, "next"), key="k", timeout=10) == "next"
    assert time.monotonic() - began < 3


def test_what_was_interrupted_is_run_by_another_caller_of_its_window(make_debouncer: Make) -> None:
    older, newer = make_debouncer(wait=0.2), make_debouncer(wait=0.2)
    values: list[Any] = []
    waiter = threading.Thread(target=lambda: values.append(older.execute(giving(older, "older"), key="k", timeout=20)))
    waiter.start()
    wait_until(lambda: older.peek("k").calls == 1)
    interrupted(newer)
    waiter.join(20)
    assert values == ["older"]


@pytest.mark.long
def test_a_run_that_was_given_back_to_nobody_is_ended_by_who_waits_behind_it(
    make_debouncer: Make, client: redis.Redis
) -> None:
    """Its caller could not even say that it left."""
    face = make_debouncer(wait=0.05)
    asking = face.real._plans.asking
    place = asking.layout.closures("k")

    def ask(command: Any) -> Any:
        return face.do(face.real._runner.run, call(command))

    window = ask(asking.join(place, "gone", "a", 0.05))[0].window
    taken: list[Any] = []

    def take() -> bool:
        taken[:] = [ask(asking.take(place, window, "gone", "b"))]
        return isinstance(taken[0], Taken)

    wait_until(take)
    client.hset(place.window, "run_state", "ready")
    client.zadd(f"{CALLS}due", {"k": client.time()[0] * 1000})
    client.zrem(f"{CALLS}leases", "k")
    assert face.execute(giving(face, "next"), key="k", timeout=15) == "next"
    ended: Any = client.hgetall(f"{CALLS}done:{window}")
    assert ended[b"status"] == b"failed"


# --- leaving, and coming


def test_who_leaves_does_not_drop_the_window_of_who_came_meanwhile(make_debouncer: Make) -> None:
    """The first caller finds nobody else here and says so; before that arrives, another one comes."""
    face = make_debouncer(wait=0.4)
    closures, runner = face.real._plans.closures, face.real._runner
    values: list[Any] = []

    def never() -> Any:
        yield from ()
        raise AssertionError

    plan = closures.execute(never, "k", 5.0)
    step = plan.send(None)
    while getattr(step, "script", "") != "debounce_join":
        step = plan.send(perform(face, runner, step))
    step = plan.send(perform(face, runner, step))
    while getattr(step, "script", "") != "debounce_leave":
        step = plan.throw(Interrupt())
    waiter = threading.Thread(target=lambda: values.append(face.execute(giving(face, "second"), key="k", timeout=10)))
    waiter.start()
    wait_until(lambda: face.peek("k").calls == 2)
    answer = perform(face, runner, step)
    with pytest.raises(Interrupt):
        plan.send(answer)
    waiter.join(10)
    assert values == ["second"]


def perform(face: DebounceFace, runner: Any, step: Any) -> Any:
    """Perform one step of a plan."""
    return runner._perform(step) if face.kind == "sync" else face.do(runner._perform, step, False)


def test_a_window_that_all_left_is_dropped_though_another_one_runs(make_debouncer: Make, client: redis.Redis) -> None:
    face, other = make_debouncer(wait=0.05), make_debouncer(wait=0.05)
    go_on = threading.Event()

    def wait() -> str:
        go_on.wait(20)
        return "first"

    async def wait_async() -> str:
        return await asyncio.to_thread(wait)

    values: list[Any] = []
    function = wait if face.kind == "sync" else wait_async
    runs = threading.Thread(target=lambda: values.append(face.execute(function, key="k")))
    runs.start()
    wait_until(lambda: face.peek("k").running)
    with pytest.raises(redisopt.ResultTimeout):
        other.execute(giving(other, "second"), key="k", timeout=0.3)
    assert other.peek("k").calls == 0
    go_on.set()
    runs.join(20)
    assert values == ["first"]
    assert not {"run", "window"} & set(window_of(client))


# --- whose turn it is


def test_a_live_caller_is_not_told_that_nobody_is_left(make_debouncer: Make) -> None:
    """The executor of a window dies, many newer holders wait for the next one: the older callers have their turn first."""
    face = make_debouncer(wait=0.05, lease_ttl=0.2)
    asking = face.real._plans.asking
    place = asking.layout.closures("k")

    def ask(command: Any) -> Any:
        return face.do(face.real._runner.run, call(command))

    for holder in ("h0", "h1"):
        first = ask(asking.join(place, holder, "a", 0.05))[0].window
    wait_until(lambda: isinstance(ask(asking.take(place, first, "h1", "b")), Taken))
    for number in range(12):
        second = ask(asking.join(place, f"n{number}", "c", 0.05))[0].window
    assert second != first
    until = time.monotonic() + 10
    while time.monotonic() < until:
        mine = ask(asking.take(place, first, "h0", "d"))
        ask(asking.take(place, second, "n11", "e"))
        if not isinstance(mine, Fate) or mine.status not in {"pending", "running"}:
            break
        time.sleep(0.05)
    assert isinstance(mine, Taken), mine


# --- replies that never come


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


def test_a_window_whose_taking_was_not_answered_is_run_before_its_lease_is_over(make_at: Make) -> None:
    with FragileServer() as server:
        face = make_at(server.url, wait=0.3, lease_ttl=8.0, command_timeout=0.5)

        def stall() -> None:
            time.sleep(0.25)
            with server.away("hung"):
                time.sleep(1.0)

        stalling = threading.Thread(target=stall)
        stalling.start()
        began = time.monotonic()
        assert face.execute(giving(face, "v"), key="k") == "v"
        assert time.monotonic() - began < 5
        stalling.join()


@pytest.mark.parametrize("name", ["debounce_take", "debounce_finish", "debounce_join"])
async def test_who_is_cancelled_while_a_reply_is_under_way_holds_nobody_up(
    server: RunningServer, client: redis.Redis, name: str
) -> None:
    sha = script(name).sha.encode()
    client.script_load(script(name).source)
    leading = name == "debounce_join"
    fields: Any = TERMS | {"wait": 0.3, "lease_ttl": 10.0, "leading": leading}
    with Proxy(server.url) as proxy:
        clients = redis.asyncio.from_url(proxy.url), redis.asyncio.from_url(server.url)
        mine, other = (redisopt.AsyncDebouncer(each, "test", **fields) for each in clients)

        async def give() -> str:
            return "v"

        loop, hit = asyncio.get_running_loop(), asyncio.Event()
        slow = [leading]

        def fate(words: list[bytes]) -> Any:
            if is_script(words) and words[1] == sha and slow[0]:
                loop.call_soon_threadsafe(hit.set)
                return Delayed(0.5)
            return Lost.PASS

        with proxy.during(fate):
            began = time.monotonic()
            tasks = []
            if not leading:
                tasks.append(asyncio.create_task(other.execute(give, key="k")))
                await asyncio.sleep(0.1)
            cancelled = asyncio.create_task(mine.execute(give, key="k"))
            if not leading:
                await asyncio.sleep(0.25)
                slow[0] = True
            await asyncio.wait_for(hit.wait(), 10)
            await asyncio.sleep(0.1)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            if leading:
                tasks.append(asyncio.create_task(other.execute(give, key="k")))
            assert await asyncio.wait_for(asyncio.gather(*tasks), 20) == ["v"]
            assert time.monotonic() - began < 5
        for debouncer in (mine, other):
            await debouncer.aclose()
        for each in clients:
            await each.aclose()


# --- what stands in Redis


@pytest.mark.long
def test_a_function_that_runs_for_long_keeps_its_window(
    make_debouncer: Make, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long: what stands of it in Redis is kept by the beat."""
    monkeypatch.setattr("redisopt.debounce.asking.KEEP_MS", 900)
    face, other = make_debouncer(wait=0.05, lease_ttl=0.6), make_debouncer(wait=0.05, lease_ttl=0.6)
    log: list[str] = []

    def run(name: str, seconds: float) -> str:
        log.append(f"{name} begins")
        time.sleep(seconds)
        log.append(f"{name} ends")
        return name

    async def run_async(name: str, seconds: float) -> str:
        return await asyncio.to_thread(run, name, seconds)

    function = run if face.kind == "sync" else run_async
    first = threading.Thread(target=lambda: face.execute(function, "first", 2.5, key="k"))
    first.start()
    wait_until(lambda: log)
    time.sleep(1.8)
    assert other.execute(function, "second", 0, key="k") == "second"
    first.join(10)
    assert log == ["first begins", "first ends", "second begins", "second ends"]


def test_every_key_has_a_time_to_live_while_a_function_runs_and_after_its_process_died(
    make_debouncer: Make, client: redis.Redis
) -> None:
    face = make_debouncer(wait=0.05, lease_ttl=0.3)
    ttls: dict[str, int] = {}

    def look() -> None:
        time.sleep(0.5)  # more than one beat
        ttls.update({key.decode(): client.pttl(key) for key in client.scan_iter()})

    async def look_async() -> None:
        await asyncio.to_thread(look)

    face.execute(look if face.kind == "sync" else look_async, key="k")
    assert f"{CALLS}leases" in ttls
    assert not [key for key, ttl in ttls.items() if ttl == -1]


def run_for_long(url: str, pipe: Any) -> None:
    redisopt.debounce.asking.KEEP_MS = 2000  # a minute, thirty times as fast
    debouncer = redisopt.Debouncer(
        redis.from_url(url), "test", wait=0.05, lease_ttl=0.6, result_ttl=1, command_timeout=5
    )

    def run() -> None:
        pipe.send("runs")
        time.sleep(60)

    debouncer.execute(run, key="k")


@pytest.mark.fleet
def test_no_key_is_left_of_a_process_that_was_killed_while_its_function_ran(
    server: RunningServer, client: redis.Redis
) -> None:
    """Past more than one beat, each of which writes its lease."""
    here, there = FLEET.Pipe()
    process = FLEET.Process(target=run_for_long, args=(server.url, there), daemon=True)
    process.start()
    assert here.poll(20)
    time.sleep(1.0)
    process.kill()
    process.join(10)
    assert [key for key in client.scan_iter() if client.pttl(key) == -1] == []
    terms = "redisopt:v1:{debounce:test:0}:terms"  # that is kept for longer than any wait
    wait_until(lambda: [key.decode() for key in client.scan_iter()] == [terms], 10)
