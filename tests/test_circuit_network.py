"""A circuit breaker when the network misbehaves: lost replies and interruptions; and its policy."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.commands import invoke
from tests.breaker_faces import BreakerFace, Broken
from tests.proxy import Delayed, Fate, Proxy, first_copies, is_script
from tests.servers import RunningServer

pytestmark = pytest.mark.fleet

Make = Callable[..., BreakerFace]


@pytest.fixture(params=["sync", "async"])
def make_at(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes breakers of one kind at any URL; closes them after."""
    faces: list[BreakerFace] = []

    def make(url: str, name: str = "test", **fields: Any) -> BreakerFace:
        faces.append(BreakerFace(request.param, url, name, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


# --- replies and requests that are lost


@pytest.mark.parametrize("fate", [Fate.CUT_REPLY, Fate.CUT_REQUEST, Fate.STRAY])
def test_every_call_counts_once_though_its_first_copy_is_lost(
    server: RunningServer, client: redis.Redis, make_at: Make, make_breaker: Make, fate: Fate
) -> None:
    """Ends of calls, refusals, probes and what is told by hand; also where the first copy arrives much later."""
    with Proxy(server.url) as proxy:
        fields: Any = {"minimum_calls": 10, "open_for": 1.5, "half_open_calls": 3}
        face, judge = make_at(proxy.url, **fields), make_breaker(**fields)
        with proxy.during(first_copies(fate)):
            assert face.calls(4) == ["well"] * 4
            assert face.calls(5, "badly") == ["badly"] * 5
            assert judge.metrics()[2:4] == (9, 5)
            face.call("badly")
            assert (judge.state(), judge.metrics().calls) == ("open", 10)
            assert face.calls(3) == ["refused"] * 3
            assert judge.metrics().not_permitted == 3
            time.sleep(1.55)
            probes = [face.allow() for _ in range(3)]
            assert face.call() == "refused"
            assert judge.metrics().probes == 3
            face.end(probes[0], "succeed")
            face.end(probes[1], "release")
            assert judge.metrics()[2:4] + judge.metrics()[7:8] == (1, 0, 1)
            before = judge.metrics()
            proxy.deliver_strays()
            assert judge.metrics() == before
            face.end(probes[2], "succeed")
            assert face.call() == "well"
            assert judge.state() == "closed"
            face.force_open()
            proxy.deliver_strays()
        assert judge.metrics()[:1] + judge.metrics()[8:10] == ("forced_open", 1, 4)


def test_a_server_that_forgets_its_scripts_is_given_them(make_breaker: Make, client: redis.Redis) -> None:
    face = make_breaker(minimum_calls=3)
    for _ in range(3):
        client.script_flush()
        face.call("badly")
        client.script_flush()
    assert face.state() == "open"


def test_the_state_is_lost(make_breaker: Make, client: redis.Redis) -> None:
    """A breaker begins anew then, closed; what began before does not count."""
    face = make_breaker(minimum_calls=2)
    passage = face.allow()
    time.sleep(0.002)  # a state's number is the ms in which it began
    face.calls(2, "badly")
    client.flushdb()
    assert face.call() == "well"
    face.end(passage, "fail")
    assert face.metrics()[:1] + face.metrics()[2:4] == ("closed", 1, 0)
    assert face.calls(1, "badly") == ["badly"]
    assert face.state() == "open"


# --- interruptions


def half_open(face: BreakerFace) -> None:
    """Open it, and let its time go by."""
    face.call("badly")
    time.sleep(0.03)


@pytest.mark.parametrize("make_at", ["async"], indirect=True)
def test_a_task_that_is_cancelled_gives_its_probe_back(
    server: RunningServer, make_at: Make, client: redis.Redis
) -> None:
    """While its call is made, and while it asks."""
    with Proxy(server.url) as proxy:
        face = make_at(proxy.url, minimum_calls=1, open_for=0.02, half_open_calls=1, lease_ttl=600)
        half_open(face)

        async def cancel(after: float) -> None:
            task = asyncio.ensure_future(face.real.execute(asyncio.sleep, 60))
            await asyncio.sleep(after)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        face.do(cancel, 0.2)
        assert (face.metrics().probes, face.state()) == (0, "half_open")
        asked = threading.Event()

        def late(words: list[bytes]) -> Fate | Delayed:
            if is_script(words) and not asked.is_set():
                asked.set()
                return Delayed(1.0)
            return Fate.PASS

        with proxy.during(late):
            face.do(cancel, 0.3)
        assert asked.is_set()
        assert face.metrics().probes == 0
        assert face.call() == "well"
        assert face.state() == "closed"


@pytest.mark.parametrize("make_at", ["sync"], indirect=True)
def test_ctrl_c_gives_the_probe_back(server: RunningServer, make_at: Make, client: redis.Redis) -> None:
    """While the call is made, and while it asks: also where the question arrives after it was taken back."""
    with Proxy(server.url) as proxy:
        face = make_at(proxy.url, minimum_calls=1, open_for=0.02, half_open_calls=1, lease_ttl=600)
        half_open(face)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGUSR1, interrupt)
        try:
            for fate in (Fate.PASS, Delayed(1.0)):
                fates = [fate]
                with proxy.during(lambda _, fates=fates: fates.pop() if fates else Fate.PASS):  # type: ignore[misc]
                    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
                    timer.start()
                    with pytest.raises(KeyboardInterrupt):
                        face.real.execute(time.sleep, 5)
                    timer.join()
                assert (face.metrics().probes, face.state(), face.metrics().calls) == (0, "half_open", 0)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert face.call() == "well"
        assert face.state() == "closed"


def test_an_interrupted_call_records_nothing(make_breaker: Make) -> None:
    face = make_breaker()

    def interrupted() -> None:
        raise SystemExit(3)

    face.call()
    if face.kind == "sync":
        with pytest.raises(SystemExit):
            face.execute(interrupted)
        assert face.metrics().calls == 1


# --- as a policy


def test_a_policy_goes_around_any_plan(make_breaker: Make) -> None:
    """Its plan asks, performs the inner one as often as it is made, and records."""
    face = make_breaker(minimum_calls=3)
    policy = face.real.policy()

    def act(bad: bool) -> Any:
        def inner() -> Any:
            if bad:
                raise Broken
            return "value"

        return face.do(face.real._runner.run, policy.around(lambda: invoke(inner)))

    assert act(bad=False) == "value"
    for _ in range(2):
        with pytest.raises(Broken):
            act(bad=True)
    with pytest.raises(redisopt.CircuitOpen):
        act(bad=False)
