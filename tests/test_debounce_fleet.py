"""A debouncer under a fleet of real processes: many callers, many executors, and kill -9 of either."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import redis

import redisopt
from tests.debounce_faces import TERMS, DebounceFace
from tests.fleet import FLEET, run_fleet, wait_for_all
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

Make = Callable[..., DebounceFace]

LATE = 0.025
PATIENT: Any = TERMS | {"command_timeout": 20.0}


# --- callers


def call_often(url: str, caller: int, calls: int, fields: dict[str, Any]) -> list[tuple[str, int, list[int]]]:
    """Of each call its window, its number in it, and its payload."""
    with redis.from_url(url) as client, redisopt.Debouncer(client, "test", **PATIENT | fields) as debouncer:
        debouncer.peek()
        wait_for_all()
        tickets = [debouncer.submit([caller, number]) for number in range(calls)]
        return [(ticket.window, ticket.number, [caller, number]) for number, ticket in enumerate(tickets)]


@pytest.mark.parametrize("collect", ["last", "all"])
def test_fifty_processes_call_one_key_and_it_runs_once(
    server: RunningServer, make_debouncer: Make, collect: str
) -> None:
    """10,000 calls; the run has the payload of the last one in the order of Redis, with collect="all" those of all in that order."""
    processes, calls = 50, 200
    fields: dict[str, Any] = {"wait": 3.0, "collect": collect}
    face = make_debouncer(**fields)
    face.handle(lambda payload, _: len(payload))
    face.start()
    shares = run_fleet(call_often, *[(server.url, caller, calls, fields) for caller in range(processes)])
    wait_until(lambda: face.runs, 30)
    (ran,) = face.runs

    called = sorted((number, window, payload) for share in shares for window, number, payload in share)
    assert {window for _, window, _ in called} == {ran.run.window}
    assert ran.run.calls == processes * calls
    assert [number for number, _, _ in called] == list(range(1, processes * calls + 1))
    payloads = [payload for _, _, payload in called]
    assert ran.payload == (payloads if collect == "all" else payloads[-1])


def call_for(url: str, seconds: float, fields: dict[str, Any]) -> None:
    with redis.from_url(url) as client, redisopt.Debouncer(client, "test", **PATIENT | fields) as debouncer:
        debouncer.peek()
        wait_for_all()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            debouncer.submit()
            time.sleep(0.005)


def test_a_loop_of_calls_runs_by_max_wait_alone(server: RunningServer, make_debouncer: Make) -> None:
    """Three processes for 3.2 s: at least two runs meanwhile with a cap of 1.28 s, none without."""
    for fields, least, most in (({"wait": 0.64, "max_wait": 1.28}, 2, 3), ({"wait": 0.64}, 0, 0)):
        face = make_debouncer(**fields)
        face.handle()
        worker = face.start()
        run_fleet(call_for, *[(server.url, 3.2, fields)] * 3)
        assert least <= len(face.runs) <= most
        wait_until(partial(_idle, face))
        assert len(face.runs) <= most + 1
        face.do(worker.stop)


def _has(found: list[float], count: int) -> bool:
    return len(found) == count


def _idle(face: DebounceFace) -> bool:
    metrics = face.metrics()
    return not metrics.is_waiting and metrics.running == 0


class Member:
    """A process of the fleet, that does what it is told.

    Attributes:
        pipe: through which it is told, and answers.
    """

    def __init__(self, work: Callable[..., None], *args: Any) -> None:
        self.pipe, there = FLEET.Pipe()
        self.process = FLEET.Process(target=work, args=(there, *args), daemon=True)
        self.process.start()
        there.close()
        assert self.hear(60) == "ready"

    def hear(self, timeout: float = 20.0) -> Any:
        assert self.pipe.poll(timeout), "the process hangs"
        return self.pipe.recv()

    def ask(self, *what: Any) -> Any:
        self.pipe.send(what)
        return self.hear()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.join(10)


def be_a_caller(pipe: Any, url: str, fields: dict[str, Any], name: str = "test") -> None:
    client = redis.from_url(url)
    debouncer = redisopt.Debouncer(client, name, **PATIENT | fields)
    debouncer.peek()
    pipe.send("ready")
    while True:
        what, *args = pipe.recv()
        ticket = getattr(debouncer, what)(*args)
        pipe.send(ticket.window if isinstance(ticket, redisopt.DebounceTicket) else ticket)


def be_an_executor(pipe: Any, url: str, fields: dict[str, Any], seconds: float) -> None:
    client = redis.from_url(url)
    debouncer = redisopt.Debouncer(client, "test", **PATIENT | fields)

    @debouncer.handler
    def run(payload: Any, run: redisopt.Run) -> Any:
        with redis.from_url(url) as notes:
            began = notes.time()
            notes.rpush(
                "log", f"{began[0] * 1_000_000 + began[1]} began {run.key} {run.fence} {run.attempt} {os.getpid()}"
            )
            time.sleep(random.uniform(seconds / 2, seconds))
            ended = notes.time()
            notes.rpush(
                "log", f"{ended[0] * 1_000_000 + ended[1]} ended {run.key} {run.fence} {run.attempt} {os.getpid()}"
            )
            notes.expire("log", 3600)
        return payload

    pipe.send("ready")
    debouncer.run(threading.Event(), concurrency=2)


@contextmanager
def members(*started: Member) -> Iterator[None]:
    """Members of the fleet, killed at the end."""
    try:
        yield
    finally:
        for member in started:
            member.kill()


def test_calls_of_three_processes_run_in_time(server: RunningServer, make_debouncer: Make) -> None:
    """The scenarios of lodash in real time: who calls is another process than who runs; by the server's clock, and never early."""
    for options, calls, runs in (
        ({}, [0, 10, 20, 1280, 1290, 1300], [340, 1620]),
        ({"max_wait": 0.64}, [0, 200, 400, 600, 800, 1000], [640, 1280]),
        ({"leading": True, "max_wait": 0.64}, [0, 200, 400, 600, 800], [0, 640, 1120]),
    ):
        fields: dict[str, Any] = {"wait": 0.32} | options
        face = make_debouncer(f"scenario {calls}", **fields)
        at: list[float] = []
        watch = redis.from_url(server.url)

        def note(_: Any, __: redisopt.Run, at: list[float] = at, watch: redis.Redis = watch) -> None:
            seconds, micros = watch.time()
            at.append(seconds * 1000 + micros / 1000)

        face.handle(note)
        face.start()
        callers = [Member(be_a_caller, server.url, fields, face.real.name) for _ in range(3)]
        with Lateness() as late, members(*callers):
            began, called, took = time.monotonic() + 0.1, [], [0.0]
            for number, when in enumerate(calls):
                time.sleep(max(0.0, began + when / 1000 - time.monotonic()))
                seconds, micros = watch.time()
                asked = time.monotonic()
                callers[number % 3].ask("submit", number)  # the first of a process connects and agrees
                took.append(1000 * (time.monotonic() - asked))
                called.append(seconds * 1000 + micros / 1000)
            wait_until(partial(_has, at, len(runs)))
        watch.close()
        off = [abs(ran - called[0] - when) for ran, when in zip(called, calls, strict=True)]  # how late the calls came
        slack = 1000 * (LATE + 4 * late.seconds) + max(off) + max(took)
        for ran, expected in zip(at, runs, strict=True):
            assert -1 - max(off) <= ran - called[0] - expected <= slack, (
                f"{[each - called[0] for each in at]}, not {runs}"
            )


# --- kill -9


@pytest.mark.parametrize("alive", [True, False])
def test_a_caller_that_is_killed_before_the_edge_has_its_run(
    server: RunningServer, make_debouncer: Make, alive: bool
) -> None:
    """In time where another process is alive, at once when one starts."""
    face = make_debouncer(wait=0.4)
    face.handle()
    if alive:
        face.start()
    caller = Member(be_a_caller, server.url, {"wait": 0.4})
    caller.ask("submit", {"doc": 7})
    called = time.monotonic()
    caller.kill()
    with Lateness() as late:
        if not alive:
            time.sleep(0.6)
            called = time.monotonic() - 0.4
            face.start()
        wait_until(lambda: face.runs)
    assert face.runs[0].payload == {"doc": 7}
    slack = 0.05 if alive else 0.2  # a worker has its threads and connections to make
    assert face.runs[0].at - called - 0.4 <= LATE + slack + 2 * late.seconds


def test_an_executor_that_is_killed_is_replaced_when_its_lease_is_over(
    server: RunningServer, client: redis.Redis
) -> None:
    """The window is the same, the attempt the second, the fence higher."""
    fields = {"wait": 0.1, "lease_ttl": 1.0}
    first = Member(be_an_executor, server.url, fields, 60.0)
    with redisopt.Debouncer(redis.from_url(server.url), "test", **PATIENT | fields) as debouncer:
        ticket = debouncer.submit("a", key="doc")
        wait_until(lambda: client.llen("log") == 1)
        with Lateness() as late:
            first.kill()
            killed = time.monotonic()
            second = Member(be_an_executor, server.url, fields, 0.01)
            with members(second):
                result = ticket.result(10)
                assert time.monotonic() - killed <= 1.0 + 0.2 + 0.1 + 4 * late.seconds
    lines: Any = client.lrange("log", 0, -1)
    began = [line.decode().split() for line in lines if b"began" in line]
    assert result.value == "a"
    assert [each[4] for each in began] == ["1", "2"]
    assert int(began[1][3]) > int(began[0][3])
    debouncer._runner.client.close()


def test_an_executor_that_stands_still_is_refused_when_it_goes_on(
    server: RunningServer, client: redis.Redis, make_debouncer: Make
) -> None:
    """SIGSTOP past its lease, then SIGCONT: what it says does not count, and its fence is lower."""
    fields = {"wait": 0.05, "lease_ttl": 0.5}
    member = Member(be_an_executor, server.url, fields, 0.4)
    face = make_debouncer(**fields)
    with members(member):
        ticket = face.submit("a", key="doc")
        wait_until(lambda: client.llen("log") == 1)
        member.signal(signal.SIGSTOP)
        face.handle(lambda *_: "ours")
        face.start()
        assert face.result(ticket).value == "ours"
        member.signal(signal.SIGCONT)
        wait_until(lambda: client.llen("log") >= 2)
        time.sleep(0.3)
        assert face.result(ticket).value == "ours"
        fence = int(client.lrange("log", 0, 0)[0].split()[3])
    assert face.runs[0].run.fence > fence
    assert face.runs[0].run.attempt == 2


def test_a_long_run_is_renewed(make_debouncer: Make) -> None:
    """Three leases long, with another worker that would take it over."""
    face, other = make_debouncer(wait=0, lease_ttl=0.5), make_debouncer(wait=0, lease_ttl=0.5)

    def work(_: Any, run: redisopt.Run) -> bool:
        time.sleep(1.6)
        return run.lost

    for each in (face, other):
        each.handle(work)
        each.start()

    assert face.result(face.submit("a")).value is False
    assert len(face.runs) + len(other.runs) == 1


def spans(client: redis.Redis) -> dict[str, list[tuple[int, int, int]]]:
    """Of each key the runs in order of their fences: fence, when it began, when it ended, 0 for never, by the server's clock in µs."""
    lines: Any = client.lrange("log", 0, -1)
    began: dict[tuple[str, int], int] = {}
    ended: dict[tuple[str, int], int] = {}
    for line in lines:
        when, what, key, fence, *_ = line.decode().split()
        (began if what == "began" else ended)[key, int(fence)] = int(when)
    found: dict[str, list[tuple[int, int, int]]] = {}
    for (key, fence), when in sorted(began.items(), key=lambda each: each[0][1]):
        found.setdefault(key, []).append((fence, when, ended.get((key, fence), 0)))
    return found


def test_every_window_is_run_though_executors_are_killed(server: RunningServer, client: redis.Redis) -> None:
    """200 windows, 20 kills at random: each was completed at least once or is a dead letter, runs of a key did not overlap but
    past a lease, and nothing is left."""
    lease, windows, kills = 0.6, 200, 20
    fields = {"wait": 0.05, "lease_ttl": lease, "max_attempts": 50, "result_ttl": 600.0}
    executors = [Member(be_an_executor, server.url, fields, 0.06) for _ in range(3)]
    with redisopt.Debouncer(redis.from_url(server.url), "test", **PATIENT | fields) as debouncer:
        tickets = []
        for number in range(windows):
            tickets.append(debouncer.submit(number, key=f"doc:{number % 100}"))
            if number % (windows // kills) == 0:
                victim = random.randrange(3)
                executors[victim].kill()
                executors[victim] = Member(be_an_executor, server.url, fields, 0.06)
            if number == 99:
                wait_until(lambda: not debouncer.metrics().is_waiting, 60)
        with members(*executors):
            results = [ticket.result(60) for ticket in tickets]
            wait_until(lambda: debouncer.metrics()[2:5] == (False, 0, 0), 30)
        assert debouncer.dead() == []
    debouncer._runner.client.close()

    assert [result.value % 100 for result in results] == [number % 100 for number in range(windows)]
    overlaps = 0
    for runs in spans(client).values():
        for (fence, _, ended), (later, began_later, _) in pairwise(runs):
            assert later > fence
            if ended:
                assert began_later >= ended
            else:
                overlaps += 1
                # A fence is when the run was taken, in µs: its handler may have begun later, on a busy machine.
                assert later - fence >= lease * 1_000_000 - 2000, "taken over before the lease was over"
    assert overlaps <= kills * 2
    endless = [key for key in client.scan_iter() if client.pttl(key) == -1]
    assert endless == []


def race(url: str, fields: dict[str, Any], windows: int) -> list[str]:
    ran: list[str] = []
    with redis.from_url(url) as client, redisopt.Debouncer(client, "test", **PATIENT | fields) as debouncer:
        debouncer.handler(lambda _, run: ran.append(run.window))
        wait_for_all()
        with debouncer.worker():
            wait_until(lambda: debouncer.metrics().done == windows, 60)
    return ran


def test_twenty_executors_share_a_thousand_windows(server: RunningServer, client: redis.Redis) -> None:
    """Each runs exactly once."""
    windows, fields = 1000, {"wait": 0.0, "lease_ttl": 60.0}
    with redisopt.Debouncer(redis.from_url(server.url), "test", **PATIENT | fields) as debouncer:
        expected = {debouncer.submit(key=str(number)).window for number in range(windows)}
        shares = run_fleet(race, *[(server.url, fields, windows)] * 20)
    debouncer._runner.client.close()

    assert sorted(window for share in shares for window in share) == sorted(expected)
    assert sum(bool(share) for share in shares) > 1
