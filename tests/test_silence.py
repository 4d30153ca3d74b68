"""The local breaker: when calls fail at once, who is spared, who probes, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
import redisopt.silence
from redisopt import events
from redisopt.identity import process_id
from redisopt.silence import Breaker, Silence
from tests.faces import Face
from tests.fleet import fork_each
from tests.fragile import FragileServer
from tests.outages import stopped, until_answered
from tests.proxy import Delayed, Fate, Proxy, Words, is_script
from tests.servers import RunningServer
from tests.waiting import wait_until

pytest_plugins = ["tests.outage_fixtures"]

PLENTY: Any = {"rates": ["1000000/h"]}


def test_calls_fail_at_once_and_say_why(
    make: Callable[..., Face], fragile: FragileServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that give back as well. It is logged once when it begins, and once when it ends."""
    face = make(fragile.url, **PLENTY)
    permit, other = face.acquire(), face.acquire()
    with caplog.at_level(logging.INFO, "redisopt"):
        with fragile.away("hung"):
            for _ in range(2):
                with pytest.raises(redisopt.Unavailable):
                    face.try_acquire()
            calls: list[Callable[[], Any]] = [
                face.try_acquire, face.acquire, face.peek, face.metrics, face.reset,
                lambda: face.settle(other, 5), lambda: face.refund(permit),
            ]  # fmt: skip
            for call in calls:
                with pytest.raises(
                    redisopt.Unavailable, match=r"away for 0\.\d s .*probed.*not sent.*command_timeout"
                ) as raised:
                    call()
                assert raised.value.retry_after is not None
                assert 0 < raised.value.retry_after <= 0.5
            assert face.real.outage.policy == "raise"
            assert "command_timeout" in face.real.outage.reason
        until_answered(face.try_acquire)
        assert face.real.outage is None
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    began = [number for number, text in enumerate(said) if "did not answer throttle_" in text]
    assert len(began) == 1, "others may be told of servers of the tests before"
    assert any(text.startswith("Redis answers again") for text in said[began[0] :])


def test_a_slow_call_is_no_outage_while_others_are_answered(
    client: redis.Redis, proxy: Proxy, heard: list[Any]
) -> None:
    """One of two callers is never answered, the other always."""

    def fate(words: Words) -> Fate | Delayed:
        return Delayed(5) if is_script(words) and b"slow" in words[3] else Fate.PASS

    with (
        redisopt.connect(proxy.url) as own,
        redisopt.Throttler(own, "slow", **PLENTY) as slow,
        redisopt.Throttler(own, "quick", **PLENTY) as quick,
    ):
        failed: list[BaseException] = []
        with proxy.during(fate):
            thread = threading.Thread(target=lambda: failed.append(error_of(slow.try_acquire)))
            thread.start()
            while thread.is_alive():
                assert quick.try_acquire()
            assert quick.try_acquire()
            assert quick.outage is None
    assert [type(error) for error in failed] == [redisopt.Unavailable]
    assert not [event for event in heard if isinstance(event, events.Unreachable)]


def error_of(call: Callable[[], object]) -> BaseException:
    """What `call` raises."""
    with pytest.raises(redisopt.RedisOptError) as raised:
        call()
    return raised.value


def test_a_caller_with_more_patience_is_not_cut_off(client: redis.Redis, proxy: Proxy) -> None:
    """What is too slow for one limiter need not be for another on the same client."""
    with (
        redisopt.connect(proxy.url) as own,
        redisopt.Throttler(own, "hasty", **PLENTY, command_timeout=0.05) as hasty,
        redisopt.Throttler(own, "patient", **PLENTY, command_timeout=2) as patient,
    ):
        assert hasty.try_acquire()
        with proxy.during(lambda _: Delayed(0.1)):
            error_of(hasty.try_acquire)
            assert hasty.outage is not None
            assert patient.outage is None
            assert patient.try_acquire()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_finds_out_for_itself(server: RunningServer, client: redis.Redis) -> None:
    """It has neither its parent's breaker nor a thread that probes."""

    def be_a_child(results: Any) -> None:
        assert throttler.outage is None
        assert probing() == 0
        assert throttler.try_acquire()
        results.send((process_id(), []))

    with redisopt.Throttler(client, "test", **PLENTY) as throttler:
        with stopped(server):
            error_of(throttler.try_acquire)
            assert throttler.outage is not None
            assert probing() == 1
        breaker = throttler._runner._links.breaker
        breaker.silences[None] = breaker.silences.get(None) or pytest.fail("it was closed too soon")
        fork_each([be_a_child], [])
        until_answered(throttler.try_acquire)


def probing() -> int:
    """The threads that probe."""
    return sum(thread.name == "redisopt-probe" for thread in threading.enumerate())


def test_nobody_probes_for_a_throttler_that_is_closed(fragile: FragileServer) -> None:
    """Its thread ends with its users."""
    with fragile.away("hung"), redisopt.connect(fragile.url) as own:
        throttler = redisopt.Throttler(own, "test", **PLENTY)
        error_of(throttler.try_acquire)
        assert probing() == 1
        throttler.close()
        wait_until(lambda: probing() == 0, timeout=1.5)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_idle_process_ends_while_redis_is_away(fragile: FragileServer, kind: str) -> None:
    """Without closing anything, and without a word."""
    program = """
        import asyncio, contextlib, sys, redisopt

        def job():
            throttler = redisopt.Throttler(redisopt.connect(sys.argv[1]), "test", rates=["9/s"], command_timeout=0.1)
            with contextlib.suppress(redisopt.Unavailable):
                throttler.try_acquire()
            return throttler

        async def job_async():
            throttler = redisopt.AsyncThrottler(
                redisopt.connect_async(sys.argv[1]), "test", rates=["9/s"], command_timeout=0.1
            )
            with contextlib.suppress(redisopt.Unavailable):
                await throttler.try_acquire()
            return throttler

        throttler = job() if sys.argv[2] == "sync" else asyncio.run(job_async())
        print(throttler.outage is not None)
    """
    with fragile.away("hung"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), fragile.url, kind],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    assert done.stdout in ("True\n", "False\n")
    assert done.stderr == ""


def test_a_cancelled_call_takes_nothing_back_while_redis_is_known_to_be_away(fragile: FragileServer) -> None:
    """The undo of a call that was under way would only cost its time."""

    async def main() -> None:
        async with (
            redisopt.connect_async(fragile.url) as own,
            redisopt.AsyncThrottler(own, "test", **PLENTY) as first,
            redisopt.AsyncThrottler(own, "test", **PLENTY) as second,
        ):
            await first.try_acquire()
            with fragile.away("hung"):
                early = asyncio.create_task(first.try_acquire())
                await asyncio.sleep(0.3)
                late = asyncio.create_task(second.try_acquire())
                await asyncio.gather(early, return_exceptions=True)
                began = time.monotonic()
                late.cancel()
                await asyncio.gather(late, return_exceptions=True)
                assert late.cancelled()
                # Its call travels with those of other tasks: what becomes of them is waited for, and no more.
                assert time.monotonic() - began < 0.3 + 0.1

    asyncio.run(main())


# --- what it decides, without a server


class Clock:
    """The monotonic clock of a process."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the breaker looks at."""
    clock = Clock()
    monkeypatch.setattr(redisopt.silence, "time", clock)
    return clock


AWAY = redisopt.Unavailable("no answer")
SILENT = redis.TimeoutError("no reply")


def opened(clock: Clock, node: Callable[[str], str | None] = lambda _: None) -> tuple[Breaker, Silence]:
    """A breaker that a call has just opened."""
    breaker = Breaker(node)
    silence = breaker.gave_up("key", clock.now - 0.5, 0.5, AWAY)
    assert silence is not None
    return breaker, silence


def lets_pass(breaker: Breaker, key: str = "key", timeout: float = 0.5) -> bool:
    """Whether a call may be sent."""
    try:
        breaker.check(key, timeout)
    except redisopt.Unavailable:
        return False
    return True


def test_a_call_opens_it_unless_another_was_answered_since_it_began(clock: Clock) -> None:
    """By its node; and only the first is news."""
    breaker = Breaker(lambda key: key[0])
    breaker.answered["a"] = clock.now - 0.3
    assert breaker.gave_up("a1", clock.now - 0.5, 0.5, AWAY) is None
    assert lets_pass(breaker, "a1")
    assert breaker.gave_up("b1", clock.now - 0.5, 0.5, AWAY) is not None
    assert breaker.gave_up("b2", clock.now - 0.5, 0.5, AWAY) is None
    assert lets_pass(breaker, "a1")
    assert not lets_pass(breaker, "b3")


def test_probes_come_at_once_then_ever_more_rarely(clock: Clock) -> None:
    """Counted from start to start: one that takes long is followed by the next at once."""
    breaker, silence = opened(clock)
    pauses = []
    for _ in range(6):
        breaker.probe_begins(silence)
        clock.now += 0.01
        pauses.append(round(breaker.probe_ends(silence, SILENT), 2))
        clock.now += pauses[-1]
    assert pauses == [0.09, 0.19, 0.39, 0.49, 0.49, 0.49]
    breaker.probe_begins(silence)
    clock.now += 0.5
    assert breaker.probe_ends(silence, SILENT) == 0
    assert silence.retry_after == 0.05


@pytest.mark.parametrize(
    "answer", [None, redis.exceptions.NoPermissionError("NOPERM"), redis.AuthenticationError("WRONGPASS")]
)
def test_any_answer_closes_it(clock: Clock, heard: list[Any], answer: Exception | None) -> None:
    """Also one that refuses."""
    breaker, silence = opened(clock)
    breaker.probe_begins(silence)
    clock.now += 2
    assert breaker.probe_ends(silence, answer) == 0
    assert not breaker.lasts(silence)
    assert lets_pass(breaker)
    assert heard == [events.Reachable(2.5)]


@pytest.mark.parametrize("error", [redis.exceptions.BusyLoadingError("LOADING"), ConnectionRefusedError(), SILENT])
def test_a_server_that_is_down_or_loading_keeps_it_open(clock: Clock, error: Exception) -> None:
    """It serves nobody yet."""
    breaker, silence = opened(clock)
    breaker.probe_begins(silence)
    breaker.probe_ends(silence, error)
    assert breaker.lasts(silence)
    assert not lets_pass(breaker)


def test_the_answer_to_a_call_that_was_under_way_closes_it(clock: Clock, heard: list[Any]) -> None:
    """There is no need to wait for the next probe."""
    breaker, _ = opened(clock)
    clock.now += 0.1
    assert breaker.known(0.5) is not None
    breaker.answered[None] = clock.now
    assert lets_pass(breaker)
    assert breaker.known(0.5) is None
    assert [type(event) for event in heard] == [events.Reachable]


def test_a_call_tries_in_the_place_of_a_probe_that_does_not_come(clock: Clock) -> None:
    """One at a time, as where an event loop only runs while there are calls."""
    breaker, silence = opened(clock)
    breaker.probe_begins(silence)
    clock.now += 0.5
    breaker.probe_ends(silence, SILENT)
    assert not lets_pass(breaker)
    clock.now += 0.3
    assert [lets_pass(breaker) for _ in range(3)] == [True, False, False]
    clock.now += 0.8
    assert lets_pass(breaker)


def test_a_silence_covers_calls_with_as_much_patience_as_any_that_failed(clock: Clock) -> None:
    """And is probed with as much."""
    breaker, silence = opened(clock)
    assert not lets_pass(breaker, timeout=0.1)
    assert lets_pass(breaker, timeout=2)
    breaker.gave_up("key", clock.now - 2, 2, AWAY)
    assert not lets_pass(breaker, timeout=2)
    assert silence.timeout == 2
