"""`AsyncDebouncer`: the twin of `Debouncer` for asyncio."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, overload

import redis.asyncio

from redisopt.commands import invoke
from redisopt.dead import DeadLetter
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.outcome import DebounceMetrics, DebounceResult, Pending
from redisopt.debounce.plans import GRACE, MAX_GRACE, DebouncePlans, Terms
from redisopt.debounce.ticket import RESULT_TIMEOUT, AsyncDebounceTicket
from redisopt.faces import AsyncFace
from redisopt.functions import check_function, checked_stop
from redisopt.limiters import Limiter
from redisopt.monitor.async_monitor import AsyncPerformanceMonitor
from redisopt.policies import Bound, Policy
from redisopt.runner import AsyncRunner
from redisopt.shifts import check_worker
from redisopt.worker_groups import AsyncWorkerGroup
from redisopt.workers import AsyncWorker

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Callable[..., Any])


class AsyncDebouncer(AsyncFace[DebounceConfig]):
    """Calls of one key that come within `wait` of each other become one run, whichever processes they come from; see `Debouncer`.

    >>> debouncer = AsyncDebouncer(client, "reindex", wait=0.5, max_wait=5)
    >>> @debouncer.handler
    ... async def reindex(payload, run): ...
    >>> async with debouncer.worker():
    ...     ticket = await debouncer.submit({"doc": 7}, key="doc:7")
    ...     (await ticket.result(timeout=10)).value

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, on_debounce, fields: as `Debouncer`.
        throttler: an `AsyncThrottler`.
        monitor: an `AsyncPerformanceMonitor`.

    Raises:
        ValueError, pydantic.ValidationError: as `Debouncer`.
    """

    _plans: DebouncePlans

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: DebounceConfig | None = None,
        *,
        on_debounce: Callable[[int], object] | None = None,
        throttler: Limiter | None = None,
        monitor: AsyncPerformanceMonitor | None = None,
        **fields: Any,
    ) -> None:
        self._plans = DebouncePlans(
            name,
            DebounceConfig.given(config, fields),
            on_debounce,
            throttler,
            monitor,
            awaited=True,
            clustered=isinstance(client, redis.asyncio.RedisCluster),
        )
        self._runner = AsyncRunner(client, self.config.command_timeout)
        self._workers: weakref.WeakSet[AsyncWorker] = weakref.WeakSet()
        self._plans.attach(self._runner)

    @property
    def name(self) -> str:
        """What is debounced."""
        return self._plans.name

    @property
    def config(self) -> DebounceConfig:
        """See `Debouncer.config`."""
        return self._plans.config

    # --- calls with a payload

    def handler(self, function: H) -> H:
        """Register the coroutine function that runs; see `Debouncer.handler`."""
        self._plans.register(function, awaited=True)
        return function

    async def submit(
        self, payload: Any = None, key: str = "", *, call_id: str | None = None, wait: float | None = None
    ) -> AsyncDebounceTicket:
        """See `Debouncer.submit`."""
        place, placed = await self._runner.run(self._plans.submitting.submit(key, payload, call_id, wait))
        return AsyncDebounceTicket(self._runner, self._plans.submitting, place, placed)

    # --- calls with a function

    async def execute(
        self,
        function: Callable[..., Awaitable[R]],
        /,
        *args: Any,
        key: str = "",
        timeout: float | None = None,
        **kwargs: Any,
    ) -> R:
        """See `Debouncer.execute`; of a coroutine function.

        A caller that is cancelled leaves the window to the others; where there is none, it ends without a run.
        """
        check_function(function, "function", awaited=True, instead="a Debouncer")
        value: R = await self._runner.run(
            self._plans.closures.execute(functools.partial(invoke, function, *args, **kwargs), key, timeout)
        )
        return value

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, *, key: str | Callable[..., str] = "", timeout: float | None = None
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
    ) -> Callable[..., Any]:
        """Decorate a coroutine function; see `Debouncer.__call__`."""
        decorate = functools.partial(self._decorate, Terms(key, timeout))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=True, instead="a Debouncer")
        self._plans.check_terms(terms)

        @functools.wraps(function)
        async def debounced(*args: Any, **kwargs: Any) -> Any:
            key = terms.key_of(args, kwargs)
            return await self._runner.run(
                self._plans.closures.execute(functools.partial(invoke, function, *args, **kwargs), key, terms.timeout)
            )

        return debounced

    def policy(self, *, key: str = "", timeout: float | None = None) -> Policy:
        """See `Debouncer.policy`."""
        self._plans.check_terms(Terms(key, timeout))
        return Bound(self._plans.closures.policy(key, timeout), self._runner)

    # --- looking, and taking a hand

    async def cancel(self, key: str = "") -> int:
        """See `Debouncer.cancel`."""
        return await self._runner.run(self._plans.controlling.cancel(key))

    async def flush(self, key: str = "", *, timeout: float | None = RESULT_TIMEOUT) -> DebounceResult | None:
        """See `Debouncer.flush`."""
        return await self._runner.run(self._plans.controlling.flush(key, timeout))

    async def peek(self, key: str = "") -> Pending:
        """See `Debouncer.peek`."""
        return await self._runner.run(self._plans.controlling.peek(key))

    async def metrics(self) -> DebounceMetrics:
        """See `Debouncer.metrics`."""
        return await self._runner.run(self._plans.controlling.metrics())

    async def dead(self) -> list[DeadLetter]:
        """See `Debouncer.dead`."""
        return await self._runner.run(self._plans.controlling.dead())

    async def replay(self, window: str | None = None) -> int:
        """See `Debouncer.replay`."""
        return await self._runner.run(self._plans.controlling.replay(window))

    # --- runs

    def worker(self, *, concurrency: int = 1, grace: float = GRACE) -> AsyncWorker:
        """A worker in tasks of the running event loop; see `Debouncer.worker`.

        After `grace`, runs under way are cancelled, and given back.
        """
        check_worker(concurrency, grace, MAX_GRACE)
        worker = AsyncWorker(
            self._runner, self._plans.due(), f"redisopt-debounce-{self.name}", concurrency=concurrency, grace=grace
        )
        self._workers.add(worker)
        return worker

    async def run(self, stop: asyncio.Event, *, concurrency: int = 1, grace: float = GRACE) -> None:
        """Work until `stop` is set, or this is cancelled. Arguments as `worker`."""
        checked_stop(stop, awaited=True)
        async with self.worker(concurrency=concurrency, grace=grace):
            await stop.wait()

    # --- the end

    async def aclose(self) -> None:
        """See `Debouncer.close`."""
        try:
            await AsyncWorkerGroup(self._workers).stop()
        finally:
            await self._runner.aclose()
