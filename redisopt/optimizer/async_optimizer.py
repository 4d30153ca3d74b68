"""`AsyncOptimizer`: the twin of `Optimizer`, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, Unpack, overload

import redis.asyncio

from redisopt.batch.async_batcher import AsyncBatcher
from redisopt.breaker.async_circuit_breaker import AsyncCircuitBreaker
from redisopt.cache.async_cache import AsyncCache
from redisopt.debounce.async_debouncer import AsyncDebouncer
from redisopt.faces import AsyncFace
from redisopt.functions import checked_stop
from redisopt.monitor.async_monitor import AsyncPerformanceMonitor
from redisopt.optimizer.config import OptimizerConfig
from redisopt.optimizer.looking import metrics_of
from redisopt.optimizer.metrics import OptimizerMetrics
from redisopt.optimizer.operations import Operations, Registered
from redisopt.optimizer.options import NOTHING, CallOptions, options_of
from redisopt.optimizer.parts import Callbacks, Kinds, make_parts
from redisopt.optimizer.plans import OptimizerPlans
from redisopt.retry.retrying import AsyncRetryPolicy
from redisopt.runner import AsyncRunner
from redisopt.throttle.async_throttler import AsyncThrottler
from redisopt.worker_groups import AsyncWorkerGroup

R = TypeVar("R")

KINDS = Kinds(
    AsyncThrottler,
    AsyncDebouncer,
    AsyncBatcher,
    AsyncCircuitBreaker,
    AsyncCache,
    AsyncRetryPolicy,
    AsyncPerformanceMonitor,
    awaited=True,
)


class AsyncOperation:
    """The twin of `Operation`: its calls are awaited."""

    def __init__(self, runner: AsyncRunner, registered: Registered) -> None:
        functools.update_wrapper(self, registered.function)
        self._runner = runner
        self._registered = registered
        self.name = registered.name
        self.batcher: AsyncBatcher | None = registered.batcher
        self.debouncer: AsyncDebouncer | None = registered.debouncer

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `Operation.__call__`."""
        return await self._runner.run(self._registered.plan(args, kwargs))


class AsyncOptimizer(AsyncFace[OptimizerConfig]):
    """The twin of `Optimizer`, for coroutine functions: its methods are awaited.

    >>> optimizer = AsyncOptimizer(client, "api", throttling={"rates": ["10/s"]}, timeout=5)
    >>> await optimizer.optimize(fetch, 42, throttle=True)

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, ignore, callbacks, fields: as `Optimizer`.

    Raises:
        ValueError, pydantic.ValidationError: as `Optimizer`.
    """

    _plans: OptimizerPlans

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: OptimizerConfig | None = None,
        *,
        ignore: type[Exception] | tuple[type[Exception], ...] = (),
        callbacks: Callbacks | None = None,
        **fields: Any,
    ) -> None:
        given = OptimizerConfig.given(config, fields)
        self._runner = AsyncRunner(client, given.command_timeout)
        parts = make_parts(KINDS, self._runner, name, given, ignore, {} if callbacks is None else callbacks)
        self._plans = OptimizerPlans(name, given, parts, awaited=KINDS.awaited)
        self._operations = Operations(KINDS, self._runner, self._plans)

    @property
    def throttler(self) -> AsyncThrottler | None:
        """See `Optimizer.throttler`."""
        return self._plans.parts.throttler  # type: ignore[no-any-return]

    @property
    def debouncer(self) -> AsyncDebouncer | None:
        """See `Optimizer.debouncer`."""
        return self._plans.parts.debouncer  # type: ignore[no-any-return]

    @property
    def cache(self) -> AsyncCache | None:
        """See `Optimizer.cache`."""
        return self._plans.parts.cache  # type: ignore[no-any-return]

    @property
    def breaker(self) -> AsyncCircuitBreaker | None:
        """See `Optimizer.breaker`."""
        return self._plans.parts.breaker  # type: ignore[no-any-return]

    @property
    def monitor(self) -> AsyncPerformanceMonitor | None:
        """See `Optimizer.monitor`."""
        return self._plans.parts.monitor  # type: ignore[no-any-return]

    async def optimize(
        self,
        operation: Callable[..., Awaitable[R]] | str,
        /,
        *args: Any,
        fallback: Any = NOTHING,
        **options: Unpack[CallOptions],
    ) -> R:
        """See `Optimizer.optimize`. A plain function is called in the event loop."""
        if isinstance(operation, str):
            plan = self._operations.named(operation, options).plan(args, {})
        else:
            plan = self._plans.optimize(operation, args, options_of(options), fallback)
        result: R = await self._runner.run(plan)
        return result

    @overload
    def operation(self, function: Callable[..., Any], /) -> AsyncOperation: ...
    @overload
    def operation(
        self,
        *,
        name: str = "",
        key: str | Callable[..., str] = "",
        cache: str | Callable[..., str] | None = None,
        fallback: Any = NOTHING,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], AsyncOperation]: ...
    def operation(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str = "",
        key: str | Callable[..., str] = "",
        cache: str | Callable[..., str] | None = None,
        fallback: Any = NOTHING,
        **options: Any,
    ) -> Any:
        """See `Optimizer.operation`; of a coroutine function."""

        def register(function: Callable[..., Any]) -> AsyncOperation:
            registered = self._operations.register(function, name, key, cache, fallback, options)
            return AsyncOperation(self._runner, registered)

        return register if function is None else register(function)

    def worker(self, concurrency: int = 1) -> AsyncOptimizerWorker:
        """See `Optimizer.worker`."""
        return AsyncOptimizerWorker(self._operations.workers(concurrency))

    async def run(self, stop: asyncio.Event | None = None, *, concurrency: int = 1) -> None:
        """Work until `stop` is set, or the task is cancelled."""
        event = asyncio.Event() if stop is None else checked_stop(stop, awaited=True)
        async with self.worker(concurrency):
            await event.wait()

    async def metrics(self) -> OptimizerMetrics:
        """See `Optimizer.metrics`."""
        return await self._runner.run(metrics_of(self._plans.parts, self._operations))

    async def aclose(self) -> None:
        """See `Optimizer.close`."""
        self._operations.stop_taking()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._runner.aclose)
            for made in (*self._plans.parts.made(), *self._operations.made()):
                stack.push_async_callback(made.aclose)


class AsyncOptimizerWorker(AsyncWorkerGroup):
    """The twin of `OptimizerWorker`."""
