"""The runners themselves, with plans made for the purpose: on both faces, errors and interruptions arrive as they are."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import AsyncThrottler
from redisopt.commands import Plan, Sleep, call, invoke
from redisopt.driving import drive
from tests.faces import Face
from tests.outages import HASTY, PLENTY, charged, client_url
from tests.waiting import wait_until

pytest_plugins = ["tests.outage_fixtures"]


def perform(face: Face, plan: Plan[Any]) -> Any:
    """Perform a plan by the runner of a throttle."""
    return face.wait_for(face.real._runner.run(plan))


# --- the user's function


def test_a_generator_exit_of_the_function_gives_back_what_it_holds(client: redis.Redis) -> None:
    """It does not mean that the plans are closed: they could say nothing any more, and leases would last until their end."""

    def leave() -> None:
        raise GeneratorExit

    fields: Any = {"lease_ttl": 60, "command_timeout": 5.0}
    with (
        redisopt.Throttler(client, "test", max_concurrent=1, **fields) as throttler,
        redisopt.Cache(client, "test", failure_ttl=0, **fields) as cache,
    ):
        with pytest.raises(GeneratorExit):
            throttler.execute(leave)
        assert throttler.metrics().active_operations == 0
        with pytest.raises(GeneratorExit):
            cache.get_or_compute("key", leave)
        assert cache.get_or_compute("key", lambda: "computed", timeout=2) == "computed"


def exhausted() -> Any:
    """What `next` does at the end."""
    return next(iter(()))


def test_a_stop_iteration_of_the_function_reaches_the_caller(make: Callable[..., Face], client: redis.Redis) -> None:
    """Also through several plans. Only a coroutine cannot raise one: there it is the cause of Python's own error."""
    face = make(client_url(client), **PLENTY)
    error = StopIteration("at the end")

    def stop() -> None:
        raise error

    def layers(depth: int) -> Plan[Any]:
        return (yield from (layers(depth - 1) if depth else invoke(stop)))

    uses: list[Callable[[], Any]] = [
        lambda: perform(face, layers(3)),
        lambda: face.wait_for(face.real.execute(exhausted)),
    ]
    for use in uses:
        with pytest.raises(StopIteration if face.kind == "sync" else RuntimeError) as raised:
            use()
        if face.kind == "async":
            assert isinstance(raised.value.__cause__, StopIteration)
            assert "coroutine raised" in str(raised.value)
    with pytest.raises((StopIteration, RuntimeError)) as raised:
        perform(face, layers(3))
    assert error in (raised.value, raised.value.__cause__)


def test_what_is_no_step_is_refused(make: Callable[..., Face], client: redis.Redis) -> None:
    """A plan with a fault in it must not call what happens to look like a function's step."""

    def plan() -> Any:
        yield "nonsense"

    with pytest.raises(TypeError, match="'nonsense', which is no step"):
        perform(make(client_url(client), **HASTY), plan())


# --- interruptions


def test_an_interruption_while_the_reply_is_parsed_undoes_the_charge(
    make: Callable[..., Face], client: redis.Redis
) -> None:
    """The server has granted, and the plan will never know."""
    face = make(client_url(client), **PLENTY)
    face.try_acquire()

    def interrupted(plan: Plan[Any]) -> Any:
        step: Any = plan.send(None)
        yield step._replace(parse=press)

    def press(_: Any) -> None:
        raise KeyboardInterrupt

    throttler = face.real
    with pytest.raises(KeyboardInterrupt):
        perform(face, interrupted(throttler._plans.deciding.try_acquire(3, "", None)))
    assert charged(client) == 1


@pytest.mark.parametrize("kind", ["async"])
def test_a_coroutine_that_is_closed_while_it_waits_ends_quietly(
    make: Callable[..., Face], client: redis.Redis, loop: asyncio.Runner
) -> None:
    """What it holds is not given back: nothing can be awaited. And no turn is lost, however often it happens."""
    face = make(client_url(client), **HASTY)
    cleaned_up: list[str] = []

    def plan() -> Any:
        try:
            yield Sleep(60)
        except BaseException:
            cleaned_up.append("begun")
            yield Sleep(60)
            cleaned_up.append("done")

    async def close_it() -> None:
        for _ in range(3):
            coroutine = face.real._runner.run(plan())
            coroutine.send(None)
            coroutine.close()

    loop.run(close_it())
    gc.collect()
    assert cleaned_up == ["begun"] * 3


@pytest.mark.parametrize("kind", ["async"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_coroutine_that_is_closed_in_a_call_leaves_neither_turn_nor_connection_behind(
    make: Callable[..., Face], client: redis.Redis, loop: asyncio.Runner, inside: bool
) -> None:
    """In the event loop, and outside of it, where no loop is running: 40 of them, more than there are turns."""
    face = make(client_url(client), **HASTY)
    assert face.try_acquire()
    before = client.info("clients")["connected_clients"]

    def plan() -> Any:
        step: Any = next(face.real._plans.deciding.try_acquire(1, "", None))
        yield from call(step)

    async def begin() -> list[Any]:
        """Calls under way that nobody awaits."""
        coroutines = [face.real._runner.run(plan()) for _ in range(10)]
        for coroutine in coroutines:
            coroutine.send(None)
            if inside:
                coroutine.close()
        return coroutines

    for _ in range(4):
        for coroutine in loop.run(begin()):
            coroutine.close()
    gc.collect()
    assert face.try_acquire()
    loop.run(asyncio.sleep(0))
    wait_until(lambda: client.info("clients")["connected_clients"] <= before)


# --- closing


def connections(client: redis.Redis) -> set[str]:
    """The ids of all connections that the server has."""
    return {connection["id"] for connection in client.client_list()}


def test_a_refund_after_close_leaves_no_connection_open(make: Callable[..., Face], client: redis.Redis) -> None:
    """It is carried out all the same."""
    client.ping()
    before = connections(client)
    face = make(client_url(client), **PLENTY)
    permit = face.try_acquire(cost=3).permit
    for _ in range(2):
        face.wait_for(face.real.close() if face.kind == "sync" else face.real.aclose())
        assert face.refund(permit, 1)
    face.wait_for(turn()) if face.kind == "async" else None
    wait_until(lambda: connections(client) <= before)
    assert charged(client) == 1


async def turn() -> None:
    """Let the event loop close what is to be closed."""
    await asyncio.sleep(0)


def test_a_waiter_that_is_cancelled_after_close_leaves_no_connection_open(
    client: redis.Redis, loop: asyncio.Runner
) -> None:
    """Its place is given back over a connection that is closed again."""
    client.ping()
    before = connections(client)

    async def leave() -> None:
        own = redis.asyncio.from_url(client_url(client))
        throttler = AsyncThrottler(own, "test", rates=["1/h"])
        await throttler.acquire()
        task = asyncio.ensure_future(throttler.acquire())
        while (await throttler.metrics()).queue_length < 1:
            await asyncio.sleep(0.005)
        await throttler.aclose()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.to_thread(wait_until, lambda: connections(client) <= before)

    loop.run(leave())
    assert charged(client) == 1


def test_an_interruption_between_two_steps_reaches_the_plan() -> None:
    """Such as a signal handler's, when a step has been performed and the plan has not heard of it."""
    given_back: list[str] = []

    class Interrupted(Exception):
        pass

    def plan() -> Any:
        try:
            yield "first"
        except Interrupted:
            given_back.append((yield "give back"))
            raise

    class Performer:
        def __init__(self) -> None:
            self.steps: list[Any] = []

        def __call__(self, step: Any) -> Any:
            self.steps.append(step)
            return step

    performer = Performer()
    driven = plan()

    class Sent:
        """The plan, but for that it is interrupted as it is told the first result."""

        gi_frame = property(lambda _: driven.gi_frame)

        def send(self, value: Any) -> Any:
            if value == "first":
                raise Interrupted
            return driven.send(value)

        def throw(self, error: BaseException) -> Any:
            return driven.throw(error)

    with pytest.raises(Interrupted):
        drive(Sent(), performer)  # type: ignore[arg-type]
    assert performer.steps == ["first", "give back"]
    assert given_back == ["give back"]
