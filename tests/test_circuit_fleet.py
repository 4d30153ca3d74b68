"""A circuit breaker under a fleet of real processes: exact probes, one state for all, a prober that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from redisopt import keys
from tests.breaker_faces import BreakerFace, Broken
from tests.fleet import FLEET, FORK, in_threads, run_fleet, wait_for_all
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

Make = Callable[..., BreakerFace]

PATIENT: Any = {"command_timeout": 20.0, "open_jitter": 0.0}


def probe(url: str, fields: dict[str, Any]) -> str:
    """Ask once, with all others; hold what was granted until all have asked."""
    with redis.from_url(url) as client, redisopt.CircuitBreaker(client, "test", **PATIENT | fields) as breaker:
        breaker.state()
        wait_for_all()
        try:
            passage = breaker.allow()
        except redisopt.CircuitOpen as refused:
            wait_for_all()
            return refused.state
        assert passage.is_probe
        wait_for_all()
        passage.succeed()
        return "probe"


@pytest.mark.parametrize("probes", [1, 7])
def test_fifty_processes_on_a_half_open_breaker(server: RunningServer, make_breaker: Make, probes: int) -> None:
    """Exactly so many of them are let through, in the same moment; then it is closed for all."""
    fields = {"minimum_calls": 1, "open_for": 0.01, "half_open_calls": probes}
    face = make_breaker(**fields)
    face.call("badly")
    time.sleep(0.02)
    answers = Counter(run_fleet(probe, *[(server.url, fields)] * 50))

    assert answers == {"probe": probes, "half_open": 50 - probes}
    metrics = face.metrics()
    assert (metrics.state, metrics.opened, metrics.probes, metrics.not_permitted) == ("closed", 1, 0, 50 - probes)


@pytest.mark.parametrize("make_breaker", ["async"], indirect=True)
def test_two_hundred_tasks_on_a_half_open_breaker(make_breaker: Make) -> None:
    face = make_breaker(minimum_calls=1, open_for=0.01, half_open_calls=5)
    face.call("badly")
    time.sleep(0.02)

    async def ask() -> Any:
        try:
            return await face.real.allow()
        except redisopt.CircuitOpen:
            return None

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(ask() for _ in range(200)))

    passages = [each for each in face.do(ask_all) if each is not None]
    assert len(passages) == 5
    for each in passages:
        face.end(each, "succeed")
    assert face.state() == "closed"


def fail_often(url: str, calls: int, fields: dict[str, Any]) -> tuple[int, int, list[str]]:
    """How many calls were made, how many were refused, and of which changes this process was told."""
    changes: list[str] = []
    made = refused = 0

    def call() -> None:
        nonlocal made
        made += 1
        raise Broken

    with (
        redis.from_url(url) as client,
        redisopt.CircuitBreaker(
            client, "test", on_state_change=lambda change: changes.append(change.after), **PATIENT | fields
        ) as breaker,
    ):
        breaker.state()
        wait_for_all()
        for _ in range(calls):
            try:
                breaker.execute(call)
            except Broken:
                pass
            except redisopt.CircuitOpen:
                refused += 1
    return made, refused, changes


def test_a_fleet_opens_it_once_and_nobody_calls_after(server: RunningServer, make_breaker: Make) -> None:
    """pybreaker's Redis storage counts and opens in several steps; here one script does: it opens once, at the very call."""
    fields = {"minimum_calls": 100, "open_for": 600}
    face = make_breaker(**fields)
    told = run_fleet(fail_often, *[(server.url, 40, fields)] * 20)
    made, refused = sum(each[0] for each in told), sum(each[1] for each in told)
    metrics = face.metrics()

    assert (metrics.state, metrics.opened) == ("open", 1)
    assert metrics.calls == metrics.failures == 100
    assert 100 <= made <= 100 + 19  # those that were under way when it opened
    assert refused == 800 - made == metrics.not_permitted
    assert all(changes == ["open"] for _, refused, changes in told if refused)
    assert sum(changes != ["open"] for _, _, changes in told) < 20  # a quick one may have made all of its calls before


def test_a_change_holds_for_every_process_from_its_next_call_on(server: RunningServer, make_breaker: Make) -> None:
    faces = [make_breaker(minimum_calls=1, open_for=600) for _ in range(4)]
    for round_ in range(25):
        by = faces[round_ % 4]
        by.call("badly")
        assert [face.call() for face in faces] == ["refused"] * 4
        faces[(round_ + 1) % 4].close_circuit()
        assert [face.call() for face in faces] == ["well"] * 4
        by.close_circuit()
    assert faces[0].metrics().opened == 25


def test_threads_and_processes_count_every_call_once(server: RunningServer, make_breaker: Make) -> None:
    face = make_breaker(window=600, minimum_calls=1_000_000)

    def work() -> None:
        face.calls(100, "badly")

    in_threads([work] * 8)
    metrics = face.metrics()
    assert (metrics.calls, metrics.failures) == (800, 800)


# --- probers that die, and that live


def hold_a_probe(pipe: Any, url: str, fields: dict[str, Any]) -> None:
    breaker = redisopt.CircuitBreaker(redis.from_url(url), "test", **PATIENT | fields)
    passage = breaker.allow()
    pipe.send(passage.is_probe)
    time.sleep(600)


@pytest.mark.parametrize("make_breaker", ["sync"], indirect=True)
def test_the_probe_of_a_killed_process_comes_back(server: RunningServer, make_breaker: Make) -> None:
    """It is kept while its process lives, longer than its lease; and is another's soon after the process is killed."""
    fields = {"minimum_calls": 1, "open_for": 0.01, "half_open_calls": 1, "lease_ttl": 1.2}
    face = make_breaker(**fields)
    face.call("badly")
    time.sleep(0.02)
    here, there = FLEET.Pipe()
    process = FLEET.Process(target=hold_a_probe, args=(there, server.url, fields), daemon=True)
    process.start()
    assert here.poll(20)
    assert here.recv() is True
    alive_until = time.monotonic() + 2.5
    while time.monotonic() < alive_until:
        assert face.call() == "refused"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    killed = time.monotonic()
    process.join(10)
    wait_until(lambda: face.call() == "well", 5)
    assert time.monotonic() - killed < 1.2 + 1.0  # the machine may be busy
    assert face.state() == "closed"


def test_a_long_probe_is_renewed(make_breaker: Make) -> None:
    face = make_breaker(minimum_calls=1, open_for=0.01, half_open_calls=1, lease_ttl=1.2)
    face.call("badly")
    time.sleep(0.02)
    with face.entered() as passage:
        for _ in range(9):
            time.sleep(0.2)
            assert face.call() == "refused"
        assert passage.is_probe
        assert not passage.lost
    assert face.state() == "closed"


def test_a_probe_that_nobody_refers_to_comes_back(make_breaker: Make) -> None:
    face = make_breaker(minimum_calls=1, open_for=0.01, half_open_calls=1, lease_ttl=0.4)
    face.call("badly")
    time.sleep(0.02)
    passage = face.allow()
    assert passage.is_probe
    assert face.call() == "refused"
    del passage
    wait_until(lambda: face.call() == "well", 5)


def test_that_a_probe_is_lost_is_logged(
    make_breaker: Make, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    face = make_breaker(minimum_calls=1, open_for=0.01, half_open_calls=1, lease_ttl=0.3)
    face.call("badly")
    time.sleep(0.02)
    passage = face.allow()
    client.delete(f"{keys.tag('breaker', 'test')}probes")
    wait_until(lambda: passage.lost)
    wait_until(lambda: "of breaker 'test': its lease is lost" in caplog.text)
    (record,) = [each for each in caplog.records if "lease is lost" in each.getMessage()]
    told: dict[str, str] = record.__dict__["redisopt"]
    assert told["event"] == "LeaseLost"
    assert told["lease"].endswith("of breaker 'test'")


def test_close_gives_probes_back(make_breaker: Make) -> None:
    fields: Any = {"minimum_calls": 1, "open_for": 0.01, "half_open_calls": 2, "lease_ttl": 600}
    face, other = make_breaker(**fields), make_breaker(**fields)
    face.call("badly")
    time.sleep(0.02)
    passages = [face.allow(), face.allow()]
    assert other.call() == "refused"
    face.do(face.real.close if face.kind == "sync" else face.real.aclose)
    assert other.metrics().probes == 0
    assert other.calls(2) == ["well", "well"]
    assert other.state() == "closed"
    assert not face.end(passages[0], "fail")


def in_a_child(breaker: redisopt.CircuitBreaker, pipe: Any) -> None:
    try:
        breaker.execute(_raise)
    except Broken:
        pipe.send(breaker.metrics().calls)
    os._exit(0)


def _raise() -> None:
    raise Broken


@pytest.mark.parametrize("make_breaker", ["sync"], indirect=True)
def test_a_forked_child_goes_on_with_the_same_breaker(make_breaker: Make) -> None:
    face = make_breaker()
    face.calls(2)
    here, there = FORK.Pipe(duplex=False)
    child = FORK.Process(target=in_a_child, args=(face.real, there))
    child.start()
    assert here.poll(20)
    assert here.recv() == 3
    child.join(10)
    face.call()
    assert face.metrics()[2:4] == (4, 1)


def fork(work: Callable[[], Any]) -> Any:
    """Call it in a forked child; what it gives."""

    def do(pipe: Any) -> None:
        pipe.send(work())
        os._exit(0)

    here, there = FORK.Pipe(duplex=False)
    child = FORK.Process(target=do, args=(there,))
    child.start()
    there.close()
    assert here.poll(20)
    child.join(10)
    return here.recv()


def half_open(make_breaker: Make) -> BreakerFace:
    """A breaker that lets one probe through."""
    face = make_breaker(minimum_calls=1, open_for=0.01, half_open_calls=1, lease_ttl=600)
    face.call("badly")
    time.sleep(0.02)
    return face


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12 and later warn of it; this is the test of it
def test_a_forked_child_that_closes_the_breaker_does_not_give_its_parents_probe_back(make_breaker: Make) -> None:
    face = half_open(make_breaker)
    passage = face.allow()

    def close() -> None:
        if face.kind == "sync":
            face.real.close()
        else:
            asyncio.run(face.real.aclose())

    fork(close)
    assert face.metrics().probes == 1
    assert face.call() == "refused"
    assert face.end(passage, "succeed")
    assert face.state() == "closed"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_during_a_call_does_not_say_its_end(make_breaker: Make) -> None:
    face = half_open(make_breaker)
    passage = face.allow()

    def end() -> list[Any]:
        async def end_async() -> list[Any]:
            await passage.__aexit__(Broken, Broken(), None)
            return [await passage.fail(), await passage.release()]

        if face.kind == "async":
            return asyncio.run(end_async())
        passage.__exit__(Broken, Broken(), None)
        return [passage.fail(), passage.release()]

    assert fork(end) == [False, False]
    assert face.metrics().probes == 1
    assert face.call() == "refused"
    assert face.end(passage, "succeed")
    assert face.state() == "closed"


@pytest.mark.parametrize("make_breaker", ["sync"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_in_a_function_records_nothing_for_it(make_breaker: Make) -> None:
    face = half_open(make_breaker)
    here, there = FORK.Pipe(duplex=False)

    def be_forked() -> str:
        if os.fork() == 0:
            raise Broken
        assert here.poll(20)
        return "the parent's"

    parent = os.getpid()
    try:
        assert face.execute(be_forked) == "the parent's"
    except Broken:
        assert os.getpid() != parent
        there.send("over")
        os._exit(0)
    os.wait()
    assert face.state() == "closed"


# --- what stands in Redis


def test_what_stands_is_bounded_and_readable(make_breaker: Make, client: redis.Redis) -> None:
    """However many calls: a HASH of decimal numbers, and while it is half open a ZSET; with a time to live."""
    face = make_breaker(window=0.5, minimum_calls=1_000_000)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        face.calls(50, "badly")
    tag = keys.tag("breaker", "test")
    state: Any = client.hgetall(f"{tag}state")
    assert client.keys() == [f"{tag}state".encode()]
    assert set(state) - {b"lane_cursor"} == {
        *(b"state", b"generation", b"since", b"seen", b"calls", b"failures", b"slow", b"window"),
        *(b"slot", b"slots", b"oldest", b"reopened", b"options", b"told", b"length"),
        *(name for name in state if name.startswith(b"lane:")),
    }
    assert len(state[b"slots"].split()) <= 10
    memory: Any = client.memory_usage(f"{tag}state")
    assert memory < 2_600  # each connection that has called has a lane
    assert 0 < client.pttl(f"{tag}state") <= 30 * 86_400_000
