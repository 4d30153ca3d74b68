"""`AsyncThrottler`: the twin of `Throttler` for asyncio."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

import redis.asyncio

from redisopt import spans
from redisopt.commands import Plan, invoke
from redisopt.faces import AsyncFace
from redisopt.functions import check_function
from redisopt.keys import checked_key
from redisopt.monitor.async_monitor import AsyncPerformanceMonitor
from redisopt.policies import Bound, Policy
from redisopt.runner import AsyncRunner
from redisopt.throttle.around import ThrottlePolicy
from redisopt.throttle.coalescing import Coalescing
from redisopt.throttle.config import ThrottleConfig, ThrottleFields
from redisopt.throttle.decision import Decision
from redisopt.throttle.joint import Ask, joined
from redisopt.throttle.joint import acquire_all as plan_to_acquire_all
from redisopt.throttle.joint_permit import AsyncJointPermit
from redisopt.throttle.many import ONE_NOW
from redisopt.throttle.permit import AsyncPermit, Origin
from redisopt.throttle.plans import ThrottlePlans
from redisopt.throttle.terms import PLAIN, Terms, patience

if TYPE_CHECKING:
    from types import TracebackType

    from redisopt.headers import Advice, Headers
    from redisopt.throttle.decision import Outage, ThrottleMetrics

P = ParamSpec("P")
R = TypeVar("R")


class Acquisition(Coroutine[Any, Any, AsyncPermit]):
    """What `AsyncThrottler.acquire` gives: await it for the permit, or enter it with ``async with``.

    It is a coroutine like any other: a task can be made of it, it can be awaited once, and Python warns of one that never was.
    """

    __slots__ = ("_acquiring", "_permit")

    def __init__(self, acquiring: Coroutine[Any, Any, AsyncPermit]) -> None:
        self._acquiring = acquiring
        self._permit: AsyncPermit | None = None

    def __await__(self) -> Generator[Any, None, AsyncPermit]:
        """Wait for the permit."""
        return self._acquiring.__await__()

    def send(self, value: Any, /) -> Any:
        """As a coroutine's."""
        return self._acquiring.send(value)

    def throw(self, *error: Any) -> Any:
        """As a coroutine's."""
        return self._acquiring.throw(*error)

    def close(self) -> None:
        """As a coroutine's."""
        self._acquiring.close()

    async def __aenter__(self) -> AsyncPermit:
        """Wait for the permit."""
        self._permit = await self._acquiring
        return self._permit

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        if self._permit is not None:
            await self._permit.let_go()


@dataclass(frozen=True, slots=True)
class AsyncRequest:
    """What `async_acquire_all` is to ask of one limiter; made by `AsyncThrottler.request`."""

    runner: AsyncRunner
    ask: Ask[AsyncPermit]


class AsyncThrottler(AsyncFace[ThrottleConfig]):
    """Limits shared by every process that uses the same Redis and the same name; see `Throttler`.

    >>> throttler = AsyncThrottler(client, "github", rates=["10/s", "5000/h"])
    >>> async with throttler.acquire(timeout=5):
    ...     await call_github()

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, on_throttle, on_lost, fields: as `Throttler`.
        monitor: an `AsyncPerformanceMonitor`.

    Raises:
        ValueError, pydantic.ValidationError: as `Throttler`.
    """

    _plans: ThrottlePlans[AsyncPermit]

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: ThrottleConfig | None = None,
        *,
        on_throttle: Callable[[int], object] | None = None,
        on_lost: Callable[[AsyncPermit], object] | None = None,
        monitor: AsyncPerformanceMonitor | None = None,
        **fields: Unpack[ThrottleFields],
    ) -> None:
        self._plans = ThrottlePlans(
            name,
            ThrottleConfig.given(config, fields),
            on_throttle,
            on_lost,
            monitor=monitor,
            awaited=True,
            spread=isinstance(client, redis.asyncio.RedisCluster),
        )
        self._runner = AsyncRunner(client, self.config.command_timeout)
        self._raises = self._plans.outage_policy.raises
        self._coalescing = Coalescing(self._runner, self._plans)
        self._fetching: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Future[bool]] = {}
        self._plans.attach(self._runner, functools.partial(AsyncPermit, Origin(self._runner, self._plans.returning)))

    @property
    def outage(self) -> Outage | None:
        """See `Throttler.outage`; what is known in the running event loop."""
        return self._plans.outage_policy.outage(self._runner.silence)

    def try_acquire(
        self, cost: int = 1, key: str = "", *, minimum: int | None = None, weight: int = 1
    ) -> Coroutine[Any, Any, Decision[AsyncPermit]]:
        """See `Throttler.try_acquire`."""
        if self._raises:
            return self._try_acquire(cost, key, minimum, weight)
        asking = invoke(self._try_acquire, cost, key, minimum, weight)
        return self._runner.run(self._plans.outage_policy.try_acquire(asking, cost, key, minimum, weight))

    async def _try_acquire(self, cost: int, key: str, minimum: int | None, weight: int) -> Decision[AsyncPermit]:
        plans = self._plans
        asking = plans.asking
        if asking.shadows:
            return await self._runner.run(plans.shadow.try_acquire(cost, key, minimum, weight))
        if minimum is None and weight == 1 and asking.travels(cost):
            if asking.most_ahead:
                decision = plans.ahead.from_share(cost, key) or await self._fetch(cost, key)
                if decision is not None:
                    return decision
            wish = ONE_NOW if cost == 1 else (cost, 0)
            call = self._coalescing.add(wish, key)
            try:  # as in `_acquire_in_redis`: a coroutine of its own would be one more for each call
                answer = await (spans.awaited("redis", call) if spans.profiled else call)
            except GeneratorExit:
                self._coalescing.closed(call, wish, key)
                raise
            except BaseException:
                await self._coalescing.interrupted(call, wish, key)
                raise
            if answer is not None:
                decision = plans.together.decided(*answer, wish, key)
                if decision is not None:
                    return decision
                return await self._runner.run(plans.together.decide(*answer, wish, key))
        return await self._runner.run(plans.deciding.try_acquire(cost, key, minimum, weight))

    async def _fetch(self, cost: int, key: str) -> Decision[AsyncPermit] | None:
        """Take a share ahead, and the permit from it; tasks wait for the one that does. A cancelled one leaves it to the others."""
        place = (asyncio.get_running_loop(), key)
        fetching = self._fetching.get(place)
        if fetching is None:
            checked_key(key)
            fetching = asyncio.ensure_future(self._runner.run(self._plans.ahead.fetch(cost, key)))
            self._fetching[place] = fetching
            fetching.add_done_callback(lambda _: self._fetching.pop(place, None))
        await asyncio.shield(fetching)
        return self._plans.ahead.from_share(cost, key)

    def acquire(
        self, cost: int = 1, key: str = "", *, timeout: float | None = None, priority: int = 0, weight: int = 1
    ) -> Acquisition:
        """See `Throttler.acquire`. A task that is cancelled while it waits gives its place back."""
        return Acquisition(self._acquire(cost, key, timeout, weight, priority))

    async def _acquire(self, cost: int, key: str, timeout: float | None, weight: int, priority: int) -> AsyncPermit:
        if self._raises:
            return await self._acquire_in_redis(cost, key, timeout, weight, priority)
        asking = invoke(self._acquire_in_redis, cost, key, timeout, weight, priority)
        return await self._runner.run(self._plans.outage_policy.acquire(asking, cost, key, timeout, weight))

    async def _acquire_in_redis(
        self, cost: int, key: str, timeout: float | None, weight: int, priority: int
    ) -> AsyncPermit:
        plans = self._plans
        asking = plans.asking
        if asking.shadows:
            shadow: Plan[AsyncPermit] = plans.shadow.acquire(cost, key, timeout, weight, priority)
            return await self._runner.run(shadow)
        if weight == 1 and not priority and asking.travels(cost):
            wish = (cost, patience(timeout))
            if asking.most_ahead:
                decision = plans.ahead.from_share(cost, key) or await self._fetch(cost, key)
                if decision is not None and decision.permit is not None:
                    return decision.permit
            call = self._coalescing.add(wish, key)
            try:
                answer = await (spans.awaited("redis", call) if spans.profiled else call)
            except GeneratorExit:
                self._coalescing.closed(call, wish, key)
                raise
            except BaseException:
                await self._coalescing.interrupted(call, wish, key)
                raise
            if answer is not None:
                return await self._runner.run(plans.together.await_turn(*answer, wish, key, timeout))
        return await self._runner.run(plans.deciding.acquire(cost, key, timeout, weight, priority))

    async def execute(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wait for one permit, then await ``function(*args, **kwargs)``. A plain function is called in the event loop."""
        check_function(function, "function", awaited=None)
        return await self._execute(PLAIN, function, args, kwargs)  # type: ignore[no-any-return]

    async def _execute(self, how: Terms, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        cost, key = how.of_call(args, kwargs)
        permit = await self._acquire(cost, key, how.timeout, how.weight, how.priority)
        return await self._runner.run(self._plans.run_with(permit, function, args, kwargs))

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...
    @overload
    def __call__(
        self,
        *,
        cost: int | Callable[..., int] = 1,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
        priority: int = 0,
        weight: int = 1,
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        cost: int | Callable[..., int] = 1,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
        priority: int = 0,
        weight: int = 1,
    ) -> Callable[..., Any]:
        """Decorate a coroutine function; see `Throttler.__call__`.

        Raises:
            ValueError: the function is not a coroutine function.
        """
        decorate = functools.partial(self._decorate, Terms(cost, key, timeout, weight, priority))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=True, instead="a Throttler")
        terms.check(self._plans.asking)

        @functools.wraps(function)
        async def throttled(*args: Any, **kwargs: Any) -> Any:
            return await self._execute(terms, function, args, kwargs)

        return throttled

    def policy(
        self, cost: int = 1, key: str = "", *, timeout: float | None = None, priority: int = 0, weight: int = 1
    ) -> Policy:
        """See `Throttler.policy`."""
        Terms(cost, key, timeout, weight, priority).check(self._plans.asking)
        acquire = functools.partial(self.acquire, cost, key, priority=priority, weight=weight)
        return Bound(ThrottlePolicy(acquire, timeout, self._plans.under), self._runner)

    def request(self, cost: int = 1, key: str = "", *, weight: int = 1) -> AsyncRequest:
        """See `Throttler.request`."""
        ask = Ask(self._plans, cost, checked_key(key), weight)
        ask.check()
        return AsyncRequest(self._runner, ask)

    async def peek(self, key: str = "", *, cost: int = 1) -> Decision[AsyncPermit]:
        """See `Throttler.peek`."""
        return await self._runner.run(self._plans.peek(cost, key))

    async def metrics(self, key: str = "") -> ThrottleMetrics:
        """See `Throttler.metrics`."""
        return await self._runner.run(self._plans.metrics(key))

    async def reset(self, key: str = "") -> None:
        """See `Throttler.reset`."""
        await self._runner.run(self._plans.reset(key))

    async def update(self, **fields: Unpack[ThrottleFields]) -> None:
        """See `Throttler.update`."""
        await self._runner.run(self._plans.telling.update(dict(fields)))

    async def pause(self, seconds: float) -> None:
        """See `Throttler.pause`."""
        await self._runner.run(self._plans.telling.pause(seconds))

    async def observe(self, headers: Headers, status: int | None = None) -> Advice:
        """See `Throttler.observe`."""
        return await self._runner.run(self._plans.telling.observe(headers, status))

    async def resume(self) -> None:
        """See `Throttler.resume`."""
        await self._runner.run(self._plans.telling.resume())

    async def aclose(self) -> None:
        """See `Throttler.close`."""
        try:
            await self._runner.run(self._plans.close())
        finally:
            await self._runner.aclose()


async def async_acquire_all(requests: Iterable[AsyncRequest], timeout: float | None = None) -> AsyncJointPermit:
    """The twin of `acquire_all`."""
    runner, asks = joined(requests, AsyncRequest, "AsyncThrottler")
    return AsyncJointPermit(runner, await runner.run(plan_to_acquire_all(asks, timeout)))
