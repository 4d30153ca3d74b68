"""`AsyncThrottler`: the twin of `Throttler` for asyncio."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from redisopt.functions import check_function
from redisopt.runner import AsyncRunner
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.permit import AsyncPermit
from redisopt.throttle.plans import PLAIN, Terms, ThrottlePlans

if TYPE_CHECKING:
    from types import TracebackType

    import redis.asyncio

    from redisopt.throttle.decision import Decision, Outage, ThrottleMetrics

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
            await self._permit.release()


class AsyncThrottler:
    """Limits shared by every process that uses the same Redis and the same name; see `Throttler`.

    >>> throttler = AsyncThrottler(client, "github", rates=["10/s", "5000/h"])
    >>> async with throttler.acquire(timeout=5):
    ...     await call_github()

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, on_throttle, fields: as `Throttler`.

    Raises:
        ValueError, pydantic.ValidationError: as `Throttler`.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: ThrottleConfig | None = None,
        *,
        on_throttle: Callable[[int], object] | None = None,
        **fields: Any,
    ) -> None:
        self._plans = ThrottlePlans(name, ThrottleConfig.given(config, fields), on_throttle)
        self._runner = AsyncRunner(client, self.config.command_timeout)
        self._permit = functools.partial(AsyncPermit, self._runner, self._plans)

    @property
    def name(self) -> str:
        """What the limit is for."""
        return self._plans.name

    @property
    def config(self) -> ThrottleConfig:
        """The limits that this object's calls are judged by."""
        return self._plans.config

    @property
    def outage(self) -> Outage | None:
        """See `Throttler.outage`; what is known in the running event loop."""
        return self._plans.outage_policy.outage(self._runner.silence)

    async def try_acquire(self, cost: int = 1, key: str = "", *, minimum: int | None = None) -> Decision[AsyncPermit]:
        """See `Throttler.try_acquire`."""
        return await self._runner.run(self._plans.try_acquire(self._permit, cost, key, minimum))

    def acquire(self, cost: int = 1, key: str = "", *, timeout: float | None = None) -> Acquisition:
        """See `Throttler.acquire`. A task that is cancelled while it waits gives its place back."""
        return Acquisition(self._runner.run(self._plans.acquire(self._permit, cost, key, timeout)))

    async def execute(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wait for one permit, then await ``function(*args, **kwargs)``. A plain function is called in the event loop."""
        check_function(function, "function", awaited=None)
        return await self._runner.run(self._plans.execute(self._permit, PLAIN, function, args, kwargs))

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...
    @overload
    def __call__(
        self, *, cost: int | Callable[..., int] = 1, key: str | Callable[..., str] = "", timeout: float | None = None
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        cost: int | Callable[..., int] = 1,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
    ) -> Callable[..., Any]:
        """Decorate a coroutine function; see `Throttler.__call__`.

        Raises:
            ValueError: the function is not a coroutine function.
        """
        decorate = functools.partial(self._decorate, Terms(cost, key, timeout))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=True, instead="a Throttler")
        self._plans.check_terms(terms)

        @functools.wraps(function)
        async def throttled(*args: Any, **kwargs: Any) -> Any:
            return await self._runner.run(self._plans.execute(self._permit, terms, function, args, kwargs))

        return throttled

    async def peek(self, key: str = "", *, cost: int = 1) -> Decision[AsyncPermit]:
        """See `Throttler.peek`."""
        return await self._runner.run(self._plans.peek(cost, key))

    async def metrics(self, key: str = "") -> ThrottleMetrics:
        """See `Throttler.metrics`."""
        return await self._runner.run(self._plans.metrics(key))

    async def reset(self, key: str = "") -> None:
        """See `Throttler.reset`."""
        await self._runner.run(self._plans.reset(key))

    async def aclose(self) -> None:
        """Close the connections, unless another throttler uses them. The client stays open."""
        await self._runner.aclose()

    def __reduce__(self) -> Any:
        """Refuse to be pickled: connections cannot go to another process."""
        raise TypeError(f"{self!r} cannot be pickled: make one in each process, they share their limits by the name")

    def __repr__(self) -> str:
        """The name and the limits."""
        return f"{type(self).__name__}({self.name!r}, {self.config!r})"

    async def __aenter__(self) -> Self:
        """The throttler itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()
