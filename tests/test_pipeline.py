"""`Pipeline`: policies in any order around a function, and the policies that need no Redis: `Timeout` and `Fallback`."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import Fallback, Timeout, events
from redisopt.commands import Plan, invoke
from redisopt.driving import MAX_ABANDONED
from tests.fleet import FORK
from tests.kinds import Kind
from tests.outages import stopped
from tests.servers import RunningServer, flavours
from tests.waiting import wait_until


class Notes:
    """A policy that notes when it begins and how it ends."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        self._notes.append(f"{self._name} begins")
        try:
            result = yield from inner()
        except BaseException as error:
            self._notes.append(f"{self._name} sees {type(error).__name__}")
            raise
        self._notes.append(f"{self._name} ends")
        return result


def raise_it(error: BaseException) -> Any:
    raise error


# --- the order


def test_the_first_policy_is_the_outermost(kind: Kind) -> None:
    notes: list[str] = []
    pipeline = kind.make("Pipeline", [Notes("a", notes), Notes("b", notes)])
    assert kind.do(pipeline.execute, kind.function(lambda: len(notes))) == 2
    assert notes == ["a begins", "b begins", "b ends", "a ends"]


def test_without_policies_a_function_is_called(kind: Kind) -> None:
    assert kind.do(kind.make("Pipeline", []).execute, kind.function(divmod), 7, 2) == (3, 1)


def test_what_is_around_a_retry_happens_once_and_what_is_inside_for_each_try(kind: Kind) -> None:
    outside: list[str] = []
    inside: list[str] = []
    retry = kind.make("RetryPolicy", "api", backoff_base=0.001, backoff_cap=0.001)
    pipeline = kind.make("Pipeline", [Notes("o", outside), retry, Notes("i", inside)])
    with pytest.raises(ConnectionError):
        kind.do(pipeline.execute, kind.function(raise_it), ConnectionError())
    assert outside == ["o begins", "o sees ConnectionError"]
    assert inside == ["i begins", "i sees ConnectionError"] * 3


def test_a_policy_may_depend_on_the_arguments(kind: Kind) -> None:
    throttler = kind.make("Throttler", "api", rates=["1/h"])
    pipeline = kind.make("Pipeline", [lambda user, **_: throttler.policy(key=user, timeout=0)])
    piped = pipeline(kind.function(lambda user, *, page: f"{user} {page}"))
    assert kind.do(piped, "ada", page=1) == "ada 1"
    assert kind.do(piped, "bob", page=1) == "bob 1"
    with pytest.raises(redisopt.ThrottleTimeout):
        kind.do(piped, "ada", page=2)


def test_a_pipeline_may_be_part_of_another(kind: Kind) -> None:
    notes: list[str] = []
    inner = kind.make("Pipeline", [Notes("b", notes)])
    outer = kind.make("Pipeline", [Notes("a", notes), inner])
    kind.do(outer.execute, kind.function(lambda: None))
    assert notes == ["a begins", "b begins", "b ends", "a ends"]


def test_a_throttler_is_a_policy(kind: Kind) -> None:
    throttler = kind.make("Throttler", "api", max_concurrent=1)
    pipeline = kind.make("Pipeline", [throttler])
    in_use: list[int] = []
    with redis.from_url(kind.url) as client, redisopt.Throttler(client, "api", max_concurrent=1) as other:
        kind.do(pipeline.execute, kind.function(lambda: in_use.append(other.metrics().active_operations)))
        with pytest.raises(KeyError):
            kind.do(pipeline.execute, kind.function(raise_it), KeyError())
        assert in_use == [1]
        assert other.metrics().active_operations == 0


def test_a_debouncer_is_a_policy(kind: Kind) -> None:
    debouncer = kind.make("Debouncer", "save", wait=0.05)
    pipeline = kind.make("Pipeline", [debouncer.policy(key="doc:1")])
    assert kind.do(pipeline.execute, kind.function(lambda: "saved")) == "saved"
    with pytest.raises(KeyError):
        kind.do(pipeline.execute, kind.function(raise_it), KeyError("no"))


def test_a_limit_may_stand_on_another_server(kind: Kind, loop: asyncio.Runner) -> None:
    """Leases, retries and debounced calls go to the server of whom they belong to."""
    elsewhere = RunningServer(flavours()[0])
    try:
        far = redis.from_url(elsewhere.url) if kind.name == "sync" else redis.asyncio.from_url(elsewhere.url)
        throttler = kind.make("Throttler", "api", max_concurrent=1, client=far)
        debouncer = kind.make("Debouncer", "save", wait=0.01, client=far)
        retry = kind.make("RetryPolicy", "api", client=far, backoff_base=0.001, backoff_cap=0.001)
        pipeline = kind.make("Pipeline", [debouncer, throttler, retry])
        tries: list[int] = []

        def fail_once() -> str:
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError
            return "value"

        assert kind.do(pipeline.execute, kind.function(fail_once)) == "value"
        with redis.from_url(kind.url) as near, redis.from_url(elsewhere.url) as other:
            assert not near.keys()
            kinds = {key.decode().split("{")[1].split(":")[0] for key in other.scan_iter()}
            assert kinds == {"throttle", "debounce", "retry"}
        kind.do(throttler.close if kind.name == "sync" else throttler.aclose)
        close: Any = getattr(far, "close" if kind.name == "sync" else "aclose")
        kind.do(close)
    finally:
        elsewhere.close()


@pytest.mark.parametrize("part", [3, None, "throttle", [Timeout(1)]])
def test_what_is_no_policy_is_refused(kind: Kind, part: Any) -> None:
    with pytest.raises(ValueError, match="policies must have policies in it"):
        kind.make("Pipeline", [part])


def test_a_policy_of_the_other_kind_is_refused(kind: Kind, server: RunningServer) -> None:
    own_loop = asyncio.Runner()
    other = Kind("async" if kind.name == "sync" else "sync", server.url, own_loop)
    throttler = other.make("Throttler", "api", rates=["1/s"])
    for part in (throttler, throttler.policy()):
        with pytest.raises(ValueError, match="policies must be of"):
            kind.make("Pipeline", [part])
    pipeline = kind.make("Pipeline", [lambda: throttler.policy()])
    with pytest.raises(ValueError, match="policies must be of"):
        kind.do(pipeline.execute, kind.function(lambda: None))
    other.close()
    own_loop.close()


def test_functions_of_the_other_kind_are_refused(client: redis.Redis) -> None:
    async def fetch() -> None:
        raise AssertionError("it is not called")

    with redisopt.Pipeline(client, []) as pipeline, pytest.raises(ValueError, match="AsyncPipeline"):
        pipeline(fetch)
    with pytest.raises(ValueError, match="use a Pipeline"):
        redisopt.AsyncPipeline(redis.asyncio.Redis(), [])(len)  # type: ignore[arg-type]


# --- timeouts


def test_what_takes_too_long_is_not_waited_for(kind: Kind) -> None:
    pipeline = kind.make("Pipeline", [Timeout(0.1)])
    began = time.monotonic()
    with pytest.raises(redisopt.OperationTimeout, match=r"timeout=0\.1 s") as raised:
        kind.do(pipeline.execute, kind.pause(1.0))
    assert 0.1 <= time.monotonic() - began < 0.9
    assert isinstance(raised.value, TimeoutError)


def test_what_is_in_time_passes(kind: Kind) -> None:
    pipeline = kind.make("Pipeline", [Timeout(5)])
    assert kind.do(pipeline.execute, kind.function(lambda: 42)) == 42
    with pytest.raises(TimeoutError) as raised:
        kind.do(pipeline.execute, kind.function(raise_it), TimeoutError("its own"))
    assert type(raised.value) is TimeoutError


def test_what_timed_out_is_tried_again(kind: Kind) -> None:
    retry = kind.make("RetryPolicy", "api", backoff_base=0.001, backoff_cap=0.001, max_attempts=2)
    notes: list[str] = []
    pipeline = kind.make("Pipeline", [retry, Notes("try", notes), Timeout(0.05)])
    with pytest.raises(redisopt.OperationTimeout):
        kind.do(pipeline.execute, kind.pause(0.3))
    assert notes == ["try begins", "try sees OperationTimeout"] * 2


def test_a_permit_inside_a_timeout_comes_back(kind: Kind, client: redis.Redis) -> None:
    """At once where the call is cancelled; of a thread, at its end."""
    throttler = kind.make("Throttler", "api", max_concurrent=1)
    pipeline = kind.make("Pipeline", [Timeout(0.1), throttler])
    with pytest.raises(redisopt.OperationTimeout):
        kind.do(pipeline.execute, kind.pause(0.4))
    if kind.name == "async":
        assert kind.do(throttler.metrics).active_operations == 0
    wait_until(lambda: kind.do(throttler.metrics).active_operations == 0)


def test_what_nobody_waits_for_is_not_begun(kind: Kind) -> None:
    """The caller gave up while its call stood in line: its turn is not used."""
    throttler = kind.make("Throttler", "api", max_concurrent=1)
    calls: list[int] = []
    pipeline = kind.make("Pipeline", [Timeout(0.2), throttler])
    with redis.from_url(kind.url) as client, redisopt.Throttler(client, "api", max_concurrent=1) as other:
        with other.acquire(), pytest.raises((redisopt.OperationTimeout, redisopt.ThrottleTimeout)):
            kind.do(pipeline.execute, kind.function(lambda: calls.append(1)))
        wait_until(lambda: other.metrics().active_operations == 0 and other.metrics().queue_length == 0)
    assert calls == []


def test_context_variables_are_seen_inside_a_timeout(kind: Kind) -> None:
    who = contextvars.ContextVar("who", default="nobody")
    who.set("ada")
    pipeline = kind.make("Pipeline", [Timeout(5)])
    if kind.name == "sync":
        assert pipeline.execute(who.get) == "ada"
    else:

        async def ask() -> Any:
            who.set("bob")
            return await pipeline.execute(who.get)

        assert kind.do(ask) == "bob"


def test_threads_that_nobody_waits_for_are_bounded(client: redis.Redis) -> None:
    gate = threading.Event()
    with redisopt.Pipeline(client, [Timeout(0.001)]) as pipeline:
        for _ in range(MAX_ABANDONED):
            with pytest.raises(redisopt.OperationTimeout, match="not over"):
                pipeline.execute(gate.wait)
        with pytest.raises(redisopt.OperationTimeout, match="not begun: 64"):
            pipeline.execute(gate.wait)
        gate.set()
        with redisopt.Pipeline(client, [Timeout(5)]) as other:
            assert other.execute(gate.wait)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "1", None, True, 1e6])
def test_bad_timeouts_are_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be seconds"):
        Timeout(seconds)


# --- fallbacks


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        ([], []),
        (None, None),
        (lambda: "stale", "stale"),
        (lambda error: f"after {error!r}", "after ConnectionError('down')"),
        (dict, {}),
    ],
)
def test_a_fallback_answers(kind: Kind, answer: Any, given: Any) -> None:
    pipeline = kind.make("Pipeline", [Fallback(answer)])
    assert kind.do(pipeline.execute, kind.function(raise_it), ConnectionError("down")) == given
    assert kind.do(pipeline.execute, kind.function(lambda: 42)) == 42


def test_a_coroutine_function_may_answer(kind: Kind) -> None:
    pipeline = kind.make("Pipeline", [Fallback(kind.function(lambda: "stale"))])
    assert kind.do(pipeline.execute, kind.function(raise_it), KeyError()) == "stale"


def test_a_fallback_may_be_for_some_errors(kind: Kind) -> None:
    pipeline = kind.make("Pipeline", [Fallback(0, on=(KeyError, ConnectionError))])
    assert kind.do(pipeline.execute, kind.function(raise_it), KeyError()) == 0
    with pytest.raises(IndexError):
        kind.do(pipeline.execute, kind.function(raise_it), IndexError())


def test_a_fallback_that_fails_raises_its_own_error(kind: Kind) -> None:
    pipeline = kind.make("Pipeline", [Fallback(lambda: raise_it(IndexError()))])
    with pytest.raises(IndexError) as raised:
        kind.do(pipeline.execute, kind.function(raise_it), KeyError())
    assert isinstance(raised.value.__context__, KeyError)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_interruptions_pass_a_fallback(client: redis.Redis, interruption: type[BaseException]) -> None:
    with redisopt.Pipeline(client, [Fallback(0)]) as pipeline, pytest.raises(interruption):
        pipeline.execute(raise_it, interruption())


def test_a_stop_iteration_is_an_error_as_any_other(client: redis.Redis) -> None:
    with redisopt.Pipeline(client, [Fallback(lambda error: type(error))]) as pipeline:
        assert pipeline.execute(next, iter(())) is StopIteration


def test_what_redis_cannot_say_has_a_fallback(kind: Kind, server: RunningServer) -> None:
    throttler = kind.make("Throttler", "api", rates=["1/s"], command_timeout=0.2)
    pipeline = kind.make("Pipeline", [Fallback("offline"), throttler])
    with stopped(server):
        assert kind.do(pipeline.execute, kind.function(lambda: "online")) == "offline"


def test_a_fallback_is_told(kind: Kind) -> None:
    told: list[Any] = []
    events.add_hook(told.append)
    try:
        kind.do(kind.make("Pipeline", [Fallback(0)]).execute, kind.function(raise_it), KeyError("x"))
    finally:
        events.remove_hook(told.append)
    assert [type(event.error) for event in told if isinstance(event, events.FellBack)] == [KeyError]


@pytest.mark.parametrize("on", [int, "KeyError", (KeyError, 3), KeyboardInterrupt])
def test_bad_errors_are_refused(on: Any) -> None:
    with pytest.raises(ValueError, match="on must be a type of exceptions"):
        Fallback(0, on=on)


def test_a_fallback_of_two_arguments_is_refused() -> None:
    with pytest.raises(ValueError, match="must take the error, or nothing"):
        Fallback(lambda error, more: 0)


# --- interruptions


def test_a_cancelled_call_gives_back_what_its_policies_hold(server: RunningServer, client: redis.Redis) -> None:
    async def main() -> None:
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncThrottler(own, "api", max_concurrent=1) as throttler,
            redisopt.AsyncPipeline(own, [Fallback(0), throttler, Timeout(30)]) as pipeline,
        ):
            began = asyncio.Event()

            async def wait() -> None:
                began.set()
                await asyncio.sleep(30)

            task = asyncio.create_task(pipeline.execute(wait))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await throttler.metrics()).active_operations == 0

    asyncio.run(main())


def test_a_plan_is_driven_by_hand() -> None:
    """Policies touch no socket: what they do is seen by feeding them."""
    plan = Fallback("answer").around(lambda: invoke(len, "abc"))
    step: Any = next(plan)
    assert step.function is len
    with pytest.raises(StopIteration) as done:
        plan.throw(KeyError())
    assert done.value.value == "answer"


# --- what reviewers found


def test_a_pipeline_of_another_client_may_have_a_timeout(kind: Kind, server: RunningServer) -> None:
    """Its steps go their own ways, through the timeout as well."""
    far: Any = redis.from_url(server.url) if kind.name == "sync" else redis.asyncio.from_url(server.url)
    throttler = kind.make("Throttler", "api", max_concurrent=1, client=far)
    breaker = kind.make("CircuitBreaker", "api", client=far)
    inner = kind.make("Pipeline", [Timeout(20), breaker, throttler], client=far)
    outer = kind.make("Pipeline", [inner])
    assert kind.do(outer.execute, kind.function(lambda: 42)) == 42
    with pytest.raises(KeyError):
        kind.do(outer.execute, kind.function(raise_it), KeyError())
    assert kind.do(throttler.metrics).active_operations == 0
    for made in (throttler, breaker, inner):
        kind.do(made.close if kind.name == "sync" else made.aclose)
    close: Any = getattr(far, "close" if kind.name == "sync" else "aclose")
    kind.do(close)


def test_who_gives_up_leaves_no_place_in_the_line(kind: Kind) -> None:
    """A limit that could not grant within the timeout refuses at once, and charges nothing."""
    throttler = kind.make("Throttler", "api", rates=["1/s"])
    pipeline = kind.make("Pipeline", [Timeout(0.2), throttler])
    kind.do(throttler.try_acquire)
    for _ in range(4):
        with pytest.raises((redisopt.ThrottleTimeout, redisopt.OperationTimeout)):
            kind.do(pipeline.execute, kind.function(lambda: 1))
    assert kind.do(throttler.acquire).waited < 1.5


def test_a_forked_child_has_none_of_its_parents_threads(client: redis.Redis) -> None:
    gate = threading.Event()
    with redisopt.Pipeline(client, [Timeout(0.01)]) as pipeline:
        for _ in range(MAX_ABANDONED):
            with pytest.raises(redisopt.OperationTimeout):
                pipeline.execute(gate.wait)

        def in_child(there: Any) -> None:
            pipeline._folded._parts[0] = Timeout(20)
            there.send(pipeline.execute(len, "abc"))

        here, there = FORK.Pipe(duplex=False)
        child = FORK.Process(target=in_child, args=(there,))
        child.start()
        assert here.poll(20), "the child hangs"
        assert here.recv() == 3
        child.join(20)
        gate.set()


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (None, "must be a list of policies"),
        ("abc", "must be a list of policies"),
        ([Timeout], "must have policies in it"),
    ],
)
def test_what_are_no_policies_is_said(kind: Kind, policies: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind.make("Pipeline", policies)


def test_policies_whose_around_is_awaited_are_refused(kind: Kind) -> None:
    class Awaited:
        async def around(self, inner: Any) -> Any:
            raise AssertionError("it is not called")

    with pytest.raises(ValueError, match="must be a generator"):
        kind.make("Pipeline", [Awaited()])


def test_a_factory_that_gives_an_object_is_told_to_give_its_policy(kind: Kind) -> None:
    throttler = kind.make("Throttler", "api", rates=["1/s"])
    pipeline = kind.make("Pipeline", [lambda: throttler])
    with pytest.raises(ValueError, match=r"use its policy\(\)"):
        kind.do(pipeline.execute, kind.function(lambda: 1))


@pytest.mark.parametrize("seconds", [0, -1, "x", None])
def test_bad_command_timeouts_are_refused(kind: Kind, seconds: Any) -> None:
    with pytest.raises(ValueError, match="command_timeout"):
        kind.make("Pipeline", [], command_timeout=seconds)


def test_a_sync_pipeline_has_no_coroutine_function_to_fall_back_on(client: redis.Redis) -> None:
    async def answer() -> None:
        raise AssertionError("it is not called")

    with pytest.raises(ValueError, match="use an AsyncPipeline"):
        redisopt.Pipeline(client, [Fallback(answer)])
