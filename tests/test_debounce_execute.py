"""Calls with a function: one caller of the fleet runs its own, all get the value. On both faces."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.testing import ServerClock
from tests.debounce_faces import DebounceFace
from tests.fleet import FLEET, in_threads
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., DebounceFace]


class Functions:
    """Functions that note who ran."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.ran: list[Any] = []

    def that(self, value: Any, act: Callable[[], object] = lambda: None) -> Callable[..., Any]:
        """A function that gives `value`."""

        def run(*args: Any) -> Any:
            self.ran.append(value)
            act()
            return value

        async def run_async(*args: Any) -> Any:
            self.ran.append(value)
            await asyncio.to_thread(act)
            return value

        return run if self._kind == "sync" else run_async


def fail() -> None:
    raise ValueError("no such thing")


def test_the_newest_callers_function_runs_and_all_get_its_value(make_debouncer: Make) -> None:
    faces = [make_debouncer(wait=1.0) for _ in range(3)]
    functions = Functions(faces[0].kind)
    values: dict[int, Any] = {}

    def call(number: int) -> Callable[[], None]:
        def job() -> None:
            time.sleep(number * 0.03)
            values[number] = faces[number % 3].execute(functions.that(number), key="doc:7")

        return job

    in_threads([call(number) for number in range(6)])

    assert functions.ran == [5]
    assert values == dict.fromkeys(range(6), 5)


def test_a_leading_call_runs_at_once(make_debouncer: Make) -> None:
    face = make_debouncer(wait=1.0, leading=True, trailing=False)
    functions = Functions(face.kind)
    began = time.monotonic()
    assert face.execute(functions.that("a")) == "a"
    assert face.execute(functions.that("b")) == "a"
    assert time.monotonic() - began < 0.9
    time.sleep(1.05)
    assert face.execute(functions.that("c")) == "c"
    assert functions.ran == ["a", "c"]


def test_keys_and_arguments(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.05)

    def add(left: int, right: int) -> int:
        return left + right

    async def add_async(left: int, right: int) -> int:
        return left + right

    assert face.execute(add if face.kind == "sync" else add_async, 2, right=3, key="{a}") == 5


@pytest.mark.long
def test_what_it_raises_is_raised_where_it_ran_and_told_to_the_others(make_debouncer: Make) -> None:
    face, other = make_debouncer(wait=1.0), make_debouncer(wait=1.0)
    functions = Functions(face.kind)
    raised: dict[str, BaseException] = {}

    def call(name: str, where: DebounceFace, pause: float) -> Callable[[], None]:
        def job() -> None:
            time.sleep(pause)
            with pytest.raises((ValueError, redisopt.RunFailed)) as error:
                where.execute(functions.that(name, fail))
            raised[name] = error.value

        return job

    in_threads([call("first", other, 0), call("second", face, 0.1)])
    assert functions.ran == ["second"]
    assert type(raised["second"]) is ValueError
    assert isinstance(raised["first"], redisopt.RunFailed)
    assert raised["first"].error == "ValueError: no such thing"
    assert face.execute(functions.that("next")) == "next"
    assert face.dead() == []


def test_a_cancel_and_a_flush_reach_who_waits(make_debouncer: Make) -> None:
    face, other = make_debouncer(wait=5), make_debouncer(wait=5)
    functions = Functions(face.kind)
    got: list[Any] = []

    def call() -> None:
        try:
            got.append(face.execute(functions.that("a")))
        except redisopt.Cancelled as cancelled:
            got.append(cancelled)

    for act in (other.cancel, other.flush):
        caller = threading.Thread(target=call)
        caller.start()
        wait_until(lambda: other.peek().calls == 1)
        assert other.metrics().pending_operations == 1
        began = time.monotonic()
        act()
        caller.join(10)
        assert time.monotonic() - began < 3
    assert isinstance(got[0], redisopt.Cancelled)
    assert got[1] == "a"


def test_a_caller_that_gives_up_leaves_nothing_that_nobody_could_run(make_debouncer: Make) -> None:
    face, other = make_debouncer(wait=1), make_debouncer(wait=1)
    functions = Functions(face.kind)
    with pytest.raises(redisopt.ResultTimeout):
        face.execute(functions.that("a"), timeout=0.1)
    assert other.peek().calls == 0
    assert other.metrics().pending_operations == 0


def test_when_the_newest_gives_up_the_next_one_runs(make_debouncer: Make) -> None:
    face, other = make_debouncer(wait=1.0), make_debouncer(wait=1.0)
    functions = Functions(face.kind)
    got: list[Any] = []
    caller = threading.Thread(target=lambda: got.append(face.execute(functions.that("stays"))))
    caller.start()
    wait_until(lambda: other.peek().calls == 1)
    for leaver in (face, other):
        with pytest.raises(redisopt.ResultTimeout):
            leaver.execute(functions.that("leaves"), timeout=0.1)
    caller.join(10)
    assert got == ["stays"]
    assert functions.ran == ["stays"]


def test_a_decorated_function_is_debounced(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.15)
    ran: list[tuple[str, int]] = []

    def index(user: str, size: int) -> int:
        """Index."""
        ran.append((user, size))
        return size

    async def index_async(user: str, size: int) -> int:
        """Index."""
        return index(user, size)

    function = index if face.kind == "sync" else index_async
    debounced = face.real(key=lambda user, size: user, timeout=5)(function)
    plain = face.real(function)
    got: list[Any] = []
    in_threads([lambda: got.append(face.do(debounced, "ada", 1)), lambda: got.append(face.do(debounced, "bob", 2))])

    assert sorted(got) == [1, 2]
    assert sorted(ran) == [("ada", 1), ("bob", 2)]
    assert debounced.__doc__ == "Index."
    assert face.do(plain, "eve", 3) == 3


def test_a_value_that_cannot_be_stored_is_had_by_who_ran_it_alone(make_debouncer: Make) -> None:
    face, other = make_debouncer(wait=1.0), make_debouncer(wait=1.0)
    functions = Functions(face.kind)
    raised: list[BaseException] = []

    def call() -> None:
        with pytest.raises(redisopt.RunFailed, match="only None, bool") as error:
            other.execute(functions.that("a"))
        raised.append(error.value)

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(lambda: face.peek().calls == 1)
    value = face.execute(functions.that(functions))
    caller.join(10)
    assert value is functions
    assert raised


async def test_a_task_that_is_cancelled_while_its_function_runs_leaves_the_window_to_another(
    server: RunningServer, client: redis.Redis
) -> None:
    """At once, and not when its lease is over."""
    async with (
        redis.asyncio.from_url(server.url) as mine,
        redis.asyncio.from_url(server.url) as theirs,
        redisopt.AsyncDebouncer(mine, "test", wait=0.3, lease_ttl=60, command_timeout=5) as debouncer,
        redisopt.AsyncDebouncer(theirs, "test", wait=0.3, lease_ttl=60, command_timeout=5) as other,
    ):
        begun = asyncio.Event()

        async def stay() -> str:
            begun.set()
            await asyncio.sleep(60)
            return "never"

        async def give() -> str:
            return "given"

        waiting = asyncio.create_task(other.execute(give))
        await asyncio.sleep(0.1)
        running = asyncio.create_task(debouncer.execute(stay))
        await asyncio.wait_for(begun.wait(), 10)
        running.cancel()
        assert await asyncio.wait_for(waiting, 5) == "given"
        with pytest.raises(asyncio.CancelledError):
            await running


def hold(url: str, pipe: Any, seconds: float) -> None:
    """A process whose function takes its time."""
    with redis.from_url(url) as client, redisopt.Debouncer(client, "test", wait=0.3, lease_ttl=0.6) as debouncer:

        def run() -> str:
            pipe.send("runs")
            time.sleep(seconds)
            return "theirs"

        pipe.send("ready")
        debouncer.execute(run)


def killed(url: str, seconds: float, until: str) -> Any:
    """Start such a process, wait until it says so, and give what kills it."""
    here, there = FLEET.Pipe()
    process = FLEET.Process(target=hold, args=(url, there, seconds), daemon=True)
    process.start()
    said = ""
    while said != until:
        assert here.poll(20)
        said = here.recv()

    def kill() -> None:
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)

    return kill


@pytest.mark.fleet
def test_when_the_newest_is_killed_before_the_edge_the_next_one_runs(
    server: RunningServer, client: redis.Redis, make_debouncer: Make
) -> None:
    face = make_debouncer(wait=0.3, lease_ttl=0.6)
    functions = Functions(face.kind)
    got: list[Any] = []
    caller = threading.Thread(target=lambda: got.append(face.execute(functions.that("ours"))))
    caller.start()
    kill = killed(server.url, 0, "ready")
    wait_until(lambda: face.peek().calls == 2 or got)
    kill()
    caller.join(10)
    assert got == ["ours"]


@pytest.mark.fleet
def test_when_the_executor_is_killed_another_caller_runs_its_own(
    server: RunningServer, client: redis.Redis, make_debouncer: Make
) -> None:
    """Once the lease is over; the window is the same."""
    face = make_debouncer(wait=0.3, lease_ttl=0.6)
    functions = Functions(face.kind)
    got: list[Any] = []
    caller = threading.Thread(target=lambda: got.append(face.execute(functions.that("ours"))))
    caller.start()
    wait_until(lambda: face.peek().calls == 1)
    kill = killed(server.url, 60, "runs")
    kill()
    caller.join(10)
    assert got == ["ours"]


@pytest.mark.long
def test_a_dropped_call_gets_the_outcome_of_its_burst_however_long_that_goes_on(make_debouncer: Make) -> None:
    """Longer than result_ttl, whether or not calls come in between: @0 runs, @1.4 and @2.8 are dropped."""
    face = make_debouncer(wait=1.9, leading=True, trailing=False, result_ttl=1)
    face.handle()
    face.start()
    functions = Functions(face.kind)
    first = face.submit("a")
    assert face.result(first).value == "a"
    assert face.execute(functions.that("a"), key="f") == "a"
    for payload in "bc":
        time.sleep(1.4)
        ticket = face.submit(payload)
        assert (ticket.status, ticket.window) == ("dropped", first.window)
        assert face.result(ticket).value == "a"
        assert face.execute(functions.that(payload), key="f") == "a"


def test_a_function_is_not_held_up_by_a_clock_that_is_set_back(make_debouncer: Make, clock: ServerClock) -> None:
    """Whoever waits keeps the time that was seen: else that would stand still for as long as the clock was set back."""
    back: list[float] = []

    def set_back(_: int) -> None:
        clock.advance(-15)
        back.append(clock.now_ms)

    face = make_debouncer(wait=0.5, on_debounce=set_back)
    assert face.execute(Functions(face.kind).that("ran"), timeout=60) == "ran"
    assert clock.now_ms - back[0] <= 2_000
