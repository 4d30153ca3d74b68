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


def test_the_first_policy_is_the_outermost(twin: Kind) -> None:
    notes: list[str] = []
    pipeline = twin.make("Pipeline", [Notes("a", notes), Notes("b", notes)])
    assert twin.do(pipeline.execute, twin.function(lambda: len(notes))) == 2
    assert notes == ["a begins", "b begins", "b ends", "a ends"]


def test_without_policies_a_function_is_called(twin: Kind) -> None:
    assert twin.do(twin.make("Pipeline", []).execute, twin.function(divmod), 7, 2) == (3, 1)


def test_what_is_around_a_retry_happens_once_and_what_is_inside_for_each_try(twin: Kind) -> None:
    outside: list[str] = []
    inside: list[str] = []
    retry = twin.make("RetryPolicy", "api", backoff_base=0.001, backoff_cap=0.001)
    pipeline = twin.make("Pipeline", [Notes("o", outside), retry, Notes("i", inside)])
    with pytest.raises(ConnectionError):
        twin.do(pipeline.execute, twin.function(raise_it), ConnectionError())
    assert outside == ["o begins", "o sees ConnectionError"]
    assert inside == ["i begins", "i sees ConnectionError"] * 3


def test_a_policy_may_depend_on_the_arguments(twin: Kind) -> None:
    throttler = twin.make("Throttler", "api", rates=["1/h"])
    pipeline = twin.make("Pipeline", [lambda user, **_: throttler.policy(key=user, timeout=0)])
    piped = pipeline(twin.function(lambda user, *, page: f"{user} {page}"))
    assert twin.do(piped, "ada", page=1) == "ada 1"
    assert twin.do(piped, "bob", page=1) == "bob 1"
    with pytest.raises(redisopt.ThrottleTimeout):
        twin.do(piped, "ada", page=2)


def test_a_pipeline_may_be_part_of_another(twin: Kind) -> None:
    notes: list[str] = []
    inner = twin.make("Pipeline", [Notes("b", notes)])
    outer = twin.make("Pipeline", [Notes("a", notes), inner])
    twin.do(outer.execute, twin.function(lambda: None))
    assert notes == ["a begins", "b begins", "b ends", "a ends"]


def test_a_throttler_is_a_policy(twin: Kind) -> None:
    throttler = twin.make("Throttler", "api", max_concurrent=1)
    pipeline = twin.make("Pipeline", [throttler])
    in_use: list[int] = []
    with redis.from_url(twin.url) as client, redisopt.Throttler(client, "api", max_concurrent=1) as other:
        twin.do(pipeline.execute, twin.function(lambda: in_use.append(other.metrics().active_operations)))
        with pytest.raises(KeyError):
            twin.do(pipeline.execute, twin.function(raise_it), KeyError())
        assert in_use == [1]
        assert other.metrics().active_operations == 0


def test_a_debouncer_is_a_policy(twin: Kind) -> None:
    debouncer = twin.make("Debouncer", "save", wait=0.05)
    pipeline = twin.make("Pipeline", [debouncer.policy(key="doc:1")])
    assert twin.do(pipeline.execute, twin.function(lambda: "saved")) == "saved"
    with pytest.raises(KeyError):
        twin.do(pipeline.execute, twin.function(raise_it), KeyError("no"))


def test_a_limit_may_stand_on_another_server(twin: Kind, loop: asyncio.Runner) -> None:
    """Leases, retries and debounced calls go to the server of whom they belong to."""
    elsewhere = RunningServer(flavours()[0])
    try:
        far = redis.from_url(elsewhere.url) if twin.name == "sync" else redis.asyncio.from_url(elsewhere.url)
        throttler = twin.make("Throttler", "api", max_concurrent=1, client=far)
        debouncer = twin.make("Debouncer", "save", wait=0.01, client=far)
        retry = twin.make("RetryPolicy", "api", client=far, backoff_base=0.001, backoff_cap=0.001)
        pipeline = twin.make("Pipeline", [debouncer, throttler, retry])
        tries: list[int] = []

        def fail_once() -> str:
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError
            return "value"

        assert twin.do(pipeline.execute, twin.function(fail_once)) == "value"
        with redis.from_url(twin.url) as near, redis.from_url(elsewhere.url) as other:
            assert not near.keys()
            kinds = {key.decode().split("{")[1].split(":")[0] for key in other.scan_iter()}
            assert kinds == {"throttle", "debounce", "retry"}
        twin.do(throttler.close if twin.name == "sync" else throttler.aclose)
        close: Any = getattr(far, "close" if twin.name == "sync" else "aclose")
        twin.do(close)
    finally:
        elsewhere.close()


@pytest.mark.parametrize("part", [3, None, "throttle", [Timeout(1)]])
def test_what_is_no_policy_is_refused(twin: Kind, part: Any) -> None:
    with pytest.raises(ValueError, match="policies must have policies in it"):
        twin.make("Pipeline", [part])


def test_a_policy_of_the_other_kind_is_refused(twin: Kind, server: RunningServer) -> None:
    own_loop = asyncio.Runner()
    other = Kind("async" if twin.name == "sync" else "sync", server.url, own_loop)
    throttler = other.make("Throttler", "api", rates=["1/s"])
    for part in (throttler, throttler.policy()):
        with pytest.raises(ValueError, match="policies must be of"):
            twin.make("Pipeline", [part])
    pipeline = twin.make("Pipeline", [lambda: throttler.policy()])
    with pytest.raises(ValueError, match="policies must be of"):
        twin.do(pipeline.execute, twin.function(lambda: None))
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


def test_what_takes_too_long_is_not_waited_for(twin: Kind) -> None:
    pipeline = twin.make("Pipeline", [Timeout(0.1)])
    began = time.monotonic()
    with pytest.raises(redisopt.OperationTimeout, match=r"timeout=0\.1 s") as raised:
        twin.do(pipeline.execute, twin.pause(1.0))
    assert 0.1 <= time.monotonic() - began < 0.9
    assert isinstance(raised.value, TimeoutError)


def test_what_is_in_time_passes(twin: Kind) -> None:
    pipeline = twin.make("Pipeline", [Timeout(5)])
    assert twin.do(pipeline.execute, twin.function(lambda: 42)) == 42
    with pytest.raises(TimeoutError) as raised:
        twin.do(pipeline.execute, twin.function(raise_it), TimeoutError("its own"))
    assert type(raised.value) is TimeoutError


def test_what_timed_out_is_tried_again(twin: Kind) -> None:
    retry = twin.make("RetryPolicy", "api", backoff_base=0.001, backoff_cap=0.001, max_attempts=2)
    notes: list[str] = []
    pipeline = twin.make("Pipeline", [retry, Notes("try", notes), Timeout(0.05)])
    with pytest.raises(redisopt.OperationTimeout):
        twin.do(pipeline.execute, twin.pause(0.3))
    assert notes == ["try begins", "try sees OperationTimeout"] * 2


def test_a_permit_inside_a_timeout_comes_back(twin: Kind, client: redis.Redis) -> None:
    """At once where the call is cancelled; of a thread, at its end."""
    throttler = twin.make("Throttler", "api", max_concurrent=1)
    pipeline = twin.make("Pipeline", [Timeout(0.1), throttler])
    with pytest.raises(redisopt.OperationTimeout):
        twin.do(pipeline.execute, twin.pause(0.4))
    if twin.name == "async":
        assert twin.do(throttler.metrics).active_operations == 0
    wait_until(lambda: twin.do(throttler.metrics).active_operations == 0)


def test_what_nobody_waits_for_is_not_begun(twin: Kind) -> None:
    """The caller gave up while its call stood in line: its turn is not used."""
    throttler = twin.make("Throttler", "api", max_concurrent=1)
    calls: list[int] = []
    pipeline = twin.make("Pipeline", [Timeout(0.2), throttler])
    with redis.from_url(twin.url) as client, redisopt.Throttler(client, "api", max_concurrent=1) as other:
        with other.acquire(), pytest.raises((redisopt.OperationTimeout, redisopt.ThrottleTimeout)):
            twin.do(pipeline.execute, twin.function(lambda: calls.append(1)))
        wait_until(lambda: other.metrics().active_operations == 0 and other.metrics().queue_length == 0)
    assert calls == []


def test_context_variables_are_seen_inside_a_timeout(twin: Kind) -> None:
    who = contextvars.ContextVar("who", default="nobody")
    who.set("ada")
    pipeline = twin.make("Pipeline", [Timeout(5)])
    if twin.name == "sync":
        assert pipeline.execute(who.get) == "ada"
    else:

        async def ask() -> Any:
            who.set("bob")
            return await pipeline.execute(who.get)

        assert twin.do(ask) == "bob"


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
def test_a_fallback_answers(twin: Kind, answer: Any, given: Any) -> None:
    pipeline = twin.make("Pipeline", [Fallback(answer)])
    assert twin.do(pipeline.execute, twin.function(raise_it), ConnectionError("down")) == given
    assert twin.do(pipeline.execute, twin.function(lambda: 42)) == 42


def test_a_coroutine_function_may_answer(twin: Kind) -> None:
    pipeline = twin.make("Pipeline", [Fallback(twin.function(lambda: "stale"))])
    assert twin.do(pipeline.execute, twin.function(raise_it), KeyError()) == "stale"


def test_a_fallback_may_be_for_some_errors(twin: Kind) -> None:
    pipeline = twin.make("Pipeline", [Fallback(0, on=(KeyError, ConnectionError))])
    assert twin.do(pipeline.execute, twin.function(raise_it), KeyError()) == 0
    with pytest.raises(IndexError):
        twin.do(pipeline.execute, twin.function(raise_it), IndexError())


def test_a_fallback_that_fails_raises_its_own_error(twin: Kind) -> None:
    pipeline = twin.make("Pipeline", [Fallback(lambda: raise_it(IndexError()))])
    with pytest.raises(IndexError) as raised:
        twin.do(pipeline.execute, twin.function(raise_it), KeyError())
    assert isinstance(raised.value.__context__, KeyError)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_interruptions_pass_a_fallback(client: redis.Redis, interruption: type[BaseException]) -> None:
    with redisopt.Pipeline(client, [Fallback(0)]) as pipeline, pytest.raises(interruption):
        pipeline.execute(raise_it, interruption())


def test_a_stop_iteration_is_an_error_as_any_other(client: redis.Redis) -> None:
    with redisopt.Pipeline(client, [Fallback(lambda error: type(error))]) as pipeline:
        assert pipeline.execute(next, iter(())) is StopIteration


def test_what_redis_cannot_say_has_a_fallback(twin: Kind, server: RunningServer) -> None:
    throttler = twin.make("Throttler", "api", rates=["1/s"], command_timeout=0.2)
    pipeline = twin.make("Pipeline", [Fallback("offline"), throttler])
    with stopped(server):
        assert twin.do(pipeline.execute, twin.function(lambda: "online")) == "offline"


def test_a_fallback_is_told(twin: Kind) -> None:
    told: list[Any] = []
    events.add_hook(told.append)
    try:
        twin.do(twin.make("Pipeline", [Fallback(0)]).execute, twin.function(raise_it), KeyError("x"))
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


def test_a_pipeline_of_another_client_may_have_a_timeout(twin: Kind, server: RunningServer) -> None:
    """Its steps go their own ways, through the timeout as well."""
    far: Any = redis.from_url(server.url) if twin.name == "sync" else redis.asyncio.from_url(server.url)
    throttler = twin.make("Throttler", "api", max_concurrent=1, client=far)
    breaker = twin.make("CircuitBreaker", "api", client=far)
    inner = twin.make("Pipeline", [Timeout(20), breaker, throttler], client=far)
    outer = twin.make("Pipeline", [inner])
    assert twin.do(outer.execute, twin.function(lambda: 42)) == 42
    with pytest.raises(KeyError):
        twin.do(outer.execute, twin.function(raise_it), KeyError())
    assert twin.do(throttler.metrics).active_operations == 0
    for made in (throttler, breaker, inner):
        twin.do(made.close if twin.name == "sync" else made.aclose)
    close: Any = getattr(far, "close" if twin.name == "sync" else "aclose")
    twin.do(close)


def test_who_gives_up_leaves_no_place_in_the_line(twin: Kind) -> None:
    """A limit that could not grant within the timeout refuses at once, and charges nothing."""
    throttler = twin.make("Throttler", "api", rates=["1/s"])
    pipeline = twin.make("Pipeline", [Timeout(0.2), throttler])
    twin.do(throttler.try_acquire)
    for _ in range(4):
        with pytest.raises((redisopt.ThrottleTimeout, redisopt.OperationTimeout)):
            twin.do(pipeline.execute, twin.function(lambda: 1))
    assert twin.do(throttler.acquire).waited < 1.5


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
def test_what_are_no_policies_is_said(twin: Kind, policies: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        twin.make("Pipeline", policies)


def test_policies_whose_around_is_awaited_are_refused(twin: Kind) -> None:
    class Awaited:
        async def around(self, inner: Any) -> Any:
            raise AssertionError("it is not called")

    with pytest.raises(ValueError, match="must be a generator"):
        twin.make("Pipeline", [Awaited()])


def test_a_factory_that_gives_an_object_is_told_to_give_its_policy(twin: Kind) -> None:
    throttler = twin.make("Throttler", "api", rates=["1/s"])
    pipeline = twin.make("Pipeline", [lambda: throttler])
    with pytest.raises(ValueError, match=r"use its policy\(\)"):
        twin.do(pipeline.execute, twin.function(lambda: 1))


@pytest.mark.parametrize("seconds", [0, -1, "x", None])
def test_bad_command_timeouts_are_refused(twin: Kind, seconds: Any) -> None:
    with pytest.raises(ValueError, match="command_timeout"):
        twin.make("Pipeline", [], command_timeout=seconds)


def test_a_sync_pipeline_has_no_coroutine_function_to_fall_back_on(client: redis.Redis) -> None:
    async def answer() -> None:
        raise AssertionError("it is not called")

    with pytest.raises(ValueError, match="use an AsyncPipeline"):
        redisopt.Pipeline(client, [Fallback(answer)])
