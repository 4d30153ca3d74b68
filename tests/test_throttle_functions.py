"""Throttled functions: execute, the decorator, and permits as context managers."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

import pytest
import redis
import redis.asyncio

from redisopt import AsyncThrottler, Throttler, ThrottleTimeout
from redisopt.commands import Plan, Sleep
from redisopt.throttle.returning import Returning
from tests.clock import START_MS, ServerClock
from tests.faces import Face
from tests.servers import RunningServer

Make = Callable[..., Face]


def of_kind(face: Face, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as this kind of throttle wants it: plain, or a coroutine function."""
    if face.kind == "sync":
        return function

    @functools.wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return coroutine


def greet(name: str, *, greeting: str = "Hello") -> str:
    """Greet somebody."""
    return f"{greeting}, {name}!"


def fail() -> None:
    """Fail."""
    raise LookupError("it was not there")


# --- execute


def test_execute_gives_what_the_function_returns(make_throttler: Make, clock: ServerClock) -> None:
    """It gets its arguments as they are."""
    throttler = make_throttler(rates=["2/s"])
    function = of_kind(throttler, greet)

    assert throttler.wait_for(throttler.real.execute(function, "Ada", greeting="Hi")) == "Hi, Ada!"


def test_execute_charges_one(make_throttler: Make, clock: ServerClock) -> None:
    """And waits when there is none."""
    throttler = make_throttler(rates=["2/s"])
    function = of_kind(throttler, lambda: clock.now_ms - START_MS)
    times = [throttler.wait_for(throttler.real.execute(function)) for _ in range(3)]

    assert times == [0, 0, 1001]


def test_what_the_function_raises_passes_through_execute(make_throttler: Make, clock: ServerClock) -> None:
    """The call was made, so it stays charged."""
    throttler = make_throttler(rates=["2/s"])
    with pytest.raises(LookupError, match="it was not there"):
        throttler.wait_for(throttler.real.execute(of_kind(throttler, fail)))

    assert throttler.peek().remaining == 1


def test_execute_passes_arguments_named_like_its_own(make_throttler: Make, clock: ServerClock) -> None:
    """Any name is the function's to use."""
    throttler = make_throttler(rates=["2/s"])
    function = of_kind(throttler, lambda **kwargs: kwargs)
    names = {"function": 1, "cost": 2, "key": 3, "timeout": 4, "self": 5, "args": 6}

    assert throttler.wait_for(throttler.real.execute(function, **names)) == names


# --- the decorator


def test_a_decorated_function_does_what_it_did(make_throttler: Make, clock: ServerClock) -> None:
    """Arguments and result are its own."""
    throttler = make_throttler(rates=["2/s"])
    decorated = throttler.real(of_kind(throttler, greet))

    assert throttler.wait_for(decorated("Ada", greeting="Hi")) == "Hi, Ada!"


def test_each_call_of_a_decorated_function_waits_for_a_permit(make_throttler: Make, clock: ServerClock) -> None:
    """One each."""
    throttler = make_throttler(rates=["2/s"])
    decorated = throttler.real(of_kind(throttler, lambda: clock.now_ms - START_MS))

    assert [throttler.wait_for(decorated()) for _ in range(3)] == [0, 0, 1001]


def test_a_decorated_function_keeps_its_name_and_signature(make_throttler: Make) -> None:
    """Tools see the function that was written."""
    throttler = make_throttler(rates=["2/s"])
    decorated = throttler.real(of_kind(throttler, greet))

    assert (decorated.__name__, decorated.__doc__) == ("greet", "Greet somebody.")
    assert inspect.signature(decorated) == inspect.signature(greet)
    assert inspect.iscoroutinefunction(decorated) == (throttler.kind == "async")


def test_a_decorator_can_say_what_a_call_costs(make_throttler: Make, clock: ServerClock) -> None:
    """The same for every call."""
    throttler = make_throttler(rates=["10/s"])
    decorated = throttler.real(cost=4, key="user")(of_kind(throttler, greet))
    throttler.wait_for(decorated("Ada"))

    assert (throttler.peek("user").remaining, throttler.peek().remaining) == (6, 10)


def test_a_decorator_can_find_cost_and_key_in_the_arguments(make_throttler: Make, clock: ServerClock) -> None:
    """Its callables are called with the arguments of the call."""
    throttler = make_throttler(rates=["20/s"])
    decorated = throttler.real(cost=lambda name, **_: len(name), key=lambda name, greeting: f"{greeting}:{name}")(
        of_kind(throttler, greet)
    )
    throttler.wait_for(decorated("Ada", greeting="Hi"))

    assert throttler.peek("Hi:Ada").remaining == 17


def test_a_decorator_can_bound_the_wait(make_throttler: Make, clock: ServerClock) -> None:
    """Then the function is not called."""
    throttler = make_throttler(rates=["1/s"])
    called = []
    decorated = throttler.real(timeout=0.5)(of_kind(throttler, lambda: called.append(1)))
    throttler.wait_for(decorated())
    with pytest.raises(ThrottleTimeout):
        throttler.wait_for(decorated())

    assert called == [1]


def test_what_a_decorated_function_raises_passes_through(make_throttler: Make, clock: ServerClock) -> None:
    """The call was made, so it stays charged."""
    throttler = make_throttler(rates=["2/s"])
    with pytest.raises(LookupError, match="it was not there"):
        throttler.wait_for(throttler.real(of_kind(throttler, fail))())

    assert throttler.peek().remaining == 1


def test_what_a_cost_callable_raises_passes_through_and_charges_nothing(
    make_throttler: Make, clock: ServerClock
) -> None:
    """Nothing has been asked of Redis then."""
    throttler = make_throttler(rates=["2/s"])
    decorated = throttler.real(cost=lambda: 1 // 0)(of_kind(throttler, greet))
    with pytest.raises(ZeroDivisionError):
        throttler.wait_for(decorated())

    assert throttler.peek().remaining == 2


def test_methods_can_be_decorated(make_throttler: Make, clock: ServerClock) -> None:
    """The callables see self too."""
    throttler = make_throttler(rates=["10/s"])

    def send(self: Any, text: str) -> str:
        return f"{self.user} says {text}"

    class Sender:
        def __init__(self, user: str) -> None:
            self.user = user

    Sender.send = throttler.real(cost=3, key=lambda self, text: self.user)(of_kind(throttler, send))  # type: ignore[attr-defined]
    sender: Any = Sender("ada")

    assert throttler.wait_for(sender.send("hi")) == "ada says hi"
    assert throttler.peek("ada").remaining == 7


def test_class_methods_and_static_methods_can_be_decorated(make_throttler: Make, clock: ServerClock) -> None:
    """Below their own decorator."""
    throttler = make_throttler(rates=["10/s"])

    class Sender:
        made: Any = classmethod(throttler.real(of_kind(throttler, lambda cls, number: (cls.__name__, number))))
        sent: Any = staticmethod(throttler.real(of_kind(throttler, lambda number: number)))

    sender: Any = Sender()
    assert throttler.wait_for(sender.made(1)) == ("Sender", 1)
    assert throttler.wait_for(sender.sent(2)) == 2


def test_one_throttler_can_decorate_several_functions(make_throttler: Make, clock: ServerClock) -> None:
    """They share its limits."""
    throttler = make_throttler(rates=["5/s"])
    first, second = (throttler.real(of_kind(throttler, greet)) for _ in range(2))
    throttler.wait_for(first("Ada"))
    throttler.wait_for(second("Ada"))

    assert throttler.peek().remaining == 3


def test_a_sync_throttler_refuses_to_decorate_a_coroutine_function(dead_client: redis.Redis) -> None:
    """It would count calls, not what they do."""
    with pytest.raises(ValueError, match=r"asyncio_sleep_for.*AsyncThrottler"):
        Throttler(dead_client, "test", rates=["2/s"])(asyncio_sleep_for)


def test_an_async_throttler_refuses_to_decorate_a_plain_function(dead_async_client: redis.asyncio.Redis) -> None:
    """It could not be awaited."""
    with pytest.raises(ValueError, match=r"greet.*Throttler"):
        AsyncThrottler(dead_async_client, "test", rates=["2/s"])(greet)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [2, "user"])
def test_what_is_no_function_cannot_be_decorated(dead_client: redis.Redis, wrong: object) -> None:
    """As when a cost is given without its name: @throttler(2)."""
    throttler: Any = Throttler(dead_client, "test", rates=["2/s"])
    with pytest.raises(ValueError, match="function"):
        throttler(wrong)


# --- permits


def enter(face: Face, give: Callable[[], Any], fail: bool = False) -> Any:
    """Enter what `give()` gives as this kind of face does; returns what the block got, after the block."""
    entered: list[Any] = []

    def work() -> None:
        with give() as permit:
            entered.append(permit)
            assert not fail, "the block failed"

    async def work_async() -> None:
        async with give() as permit:
            entered.append(permit)
            assert not fail, "the block failed"

    with pytest.raises(AssertionError, match="the block failed") if fail else nullcontext():
        face.wait_for((work if face.kind == "sync" else work_async)())
    return entered[0]


def test_a_permit_can_be_entered(make_throttler: Make, clock: ServerClock) -> None:
    """It is released at the end of the block; what was charged stays charged."""
    throttler = make_throttler(rates=["5/s"])
    permit = throttler.acquire(cost=2)
    assert enter(throttler, lambda: permit) is permit

    assert (throttler.release(permit), throttler.peek().remaining) == (False, 3)


def test_an_acquisition_can_be_entered_at_once(make_throttler: Make, clock: ServerClock) -> None:
    """`with throttler.acquire() as permit`, and `async with` of the twin."""
    throttler = make_throttler(rates=["5/s"])
    permit = enter(throttler, lambda: throttler.real.acquire(cost=2))

    assert (permit.cost, throttler.release(permit), throttler.peek().remaining) == (2, False, 3)


def test_a_permit_is_released_when_its_block_fails(make_throttler: Make, clock: ServerClock) -> None:
    """The error passes through."""
    throttler = make_throttler(rates=["5/s"])
    permit = enter(throttler, throttler.real.acquire, fail=True)

    assert throttler.release(permit) is False


def test_a_permit_is_released_once(make_throttler: Make, clock: ServerClock) -> None:
    """The second time says so."""
    throttler = make_throttler(rates=["5/s"])
    permit = throttler.acquire()

    assert [throttler.release(permit), throttler.release(permit)] == [True, False]


def test_a_permit_can_be_refunded_within_its_block(make_throttler: Make, clock: ServerClock) -> None:
    """When it turns out that the work need not be done."""
    throttler = make_throttler(rates=["5/s"])
    permit = throttler.acquire(cost=3)
    throttler.refund(permit)
    throttler.release(permit)

    assert throttler.peek().remaining == 5


@pytest.fixture
def dead_client() -> redis.Redis:
    """A client of an address where nobody listens."""
    return redis.from_url("unix:///nonexistent")


@pytest.fixture
def dead_async_client() -> redis.asyncio.Redis:
    """An async client of an address where nobody listens."""
    return redis.asyncio.from_url("unix:///nonexistent")


async def asyncio_sleep_for(seconds: float) -> None:
    """A coroutine function."""
    await asyncio.sleep(seconds)


async def count_up() -> AsyncIterator[int]:
    """An async generator."""
    yield 1


class Caller:
    """An object that is called like a coroutine function."""

    async def __call__(self) -> str:
        """Give a text."""
        return "called"


def test_a_function_whose_result_nobody_would_await_is_refused_everywhere(dead_client: redis.Redis) -> None:
    """Partials and objects too; before anything is charged."""
    throttler: Any = Throttler(dead_client, "test", rates=["2/s"])
    functions: list[Any] = [asyncio_sleep_for, functools.partial(asyncio_sleep_for, 1), Caller()]
    for function in functions:
        with pytest.raises(ValueError, match=r"coroutine function.*AsyncThrottler"):
            throttler(function)
        with pytest.raises(ValueError, match=r"coroutine function.*AsyncThrottler"):
            throttler.execute(function)
        with pytest.raises(ValueError, match=r"on_throttle .*coroutine function"):
            Throttler(dead_client, "test", rates=["2/s"], on_throttle=function)


def test_an_async_generator_function_is_refused_by_both(
    dead_client: redis.Redis, dead_async_client: redis.asyncio.Redis
) -> None:
    """It runs long after the call that made it."""
    both: tuple[Any, Any] = (
        Throttler(dead_client, "test", rates=["2/s"]),
        AsyncThrottler(dead_async_client, "test", rates=["2/s"]),
    )
    for throttler in both:
        with pytest.raises(ValueError, match=r"async generator function.*inside it"):
            throttler(count_up)


async def test_what_is_called_like_a_coroutine_function_can_be_decorated(
    server: RunningServer, client: redis.Redis
) -> None:
    """A partial of one, or an object."""
    async with redis.asyncio.from_url(server.url) as async_client:
        throttler = AsyncThrottler(async_client, "test", rates=["2/min"])
        assert await throttler(Caller())() == "called"
        await throttler(functools.partial(asyncio.sleep, 0))()
        assert (await throttler.peek()).remaining == 0
        await throttler.aclose()


@pytest.mark.parametrize("terms", [{"cost": 0}, {"cost": 3}, {"key": 5}, {"timeout": -1}])
def test_terms_that_no_call_could_meet_are_refused_when_decorating(dead_client: redis.Redis, terms: Any) -> None:
    """Not at the first call, which may be days later."""
    with pytest.raises(ValueError, match=next(iter(terms))):
        Throttler(dead_client, "test", rates=["2/s"])(**terms)(greet)


def test_a_permit_is_released_whatever_becomes_of_the_function(
    make_throttler: Make, clock: ServerClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the block of a ``with`` would."""
    released: list[str] = []

    def release(_: object, permit: Any) -> Plan[bool]:
        released.append(permit.id)
        yield Sleep(0)
        return True

    monkeypatch.setattr(Returning, "release", release)
    throttler = make_throttler(rates=["9/s"])
    throttler.wait_for(throttler.real.execute(of_kind(throttler, greet), "Ada"))
    with pytest.raises(LookupError):
        throttler.wait_for(throttler.real.execute(of_kind(throttler, fail)))

    assert len(released) == 2


def test_what_cannot_be_pickled_says_what_to_do(make_throttler: Make, clock: ServerClock) -> None:
    """It is what multiprocessing would do."""
    throttler = make_throttler(rates=["9/s"])
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(throttler.real)
    decision = throttler.try_acquire()
    with pytest.raises(TypeError, match="send its cost"):
        pickle.dumps(decision)
    assert pickle.loads(pickle.dumps(throttler.peek())) == throttler.peek()


async def test_an_acquisition_is_a_coroutine(server: RunningServer, client: redis.Redis) -> None:
    """A task can be made of it; it is awaited once; one that never was is warned of."""
    async with redis.asyncio.from_url(server.url) as async_client:
        throttler = AsyncThrottler(async_client, "test", rates=["9/min"])
        async with asyncio.TaskGroup() as tasks:
            permits = [tasks.create_task(throttler.acquire()) for _ in range(2)]
        assert all(permit.result().cost == 1 for permit in permits)
        acquisition = throttler.acquire()
        assert (await acquisition).cost == 1
        with pytest.raises(RuntimeError, match="already awaited"):
            await acquisition
        with pytest.warns(RuntimeWarning, match="never awaited"):
            throttler.acquire()
        assert (await throttler.peek()).remaining == 6
        await throttler.aclose()
