"""`Optimizer`: batching, throttling, debouncing, caching, breaking, retrying and monitoring in one object, for threads."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar, Unpack, overload

import redis

from redisopt.batch.batcher import Batcher
from redisopt.breaker.circuit_breaker import CircuitBreaker
from redisopt.cache.cache import Cache
from redisopt.debounce.debouncer import Debouncer
from redisopt.faces import Face
from redisopt.functions import checked_stop
from redisopt.monitor.monitor import PerformanceMonitor
from redisopt.optimizer.config import OptimizerConfig
from redisopt.optimizer.looking import metrics_of
from redisopt.optimizer.metrics import OptimizerMetrics
from redisopt.optimizer.operations import Operations, Registered
from redisopt.optimizer.options import NOTHING, CallOptions, options_of
from redisopt.optimizer.parts import Callbacks, Kinds, make_parts
from redisopt.optimizer.plans import OptimizerPlans
from redisopt.retry.retrying import RetryPolicy
from redisopt.runner import Runner
from redisopt.throttle.throttler import Throttler
from redisopt.worker_groups import WorkerGroup

R = TypeVar("R")

KINDS = Kinds(Throttler, Debouncer, Batcher, CircuitBreaker, Cache, RetryPolicy, PerformanceMonitor, awaited=False)


class Operation:
    """A function that an optimizer knows by name: calls of it go through what it was registered with.

    Attributes:
        name: of the operation.
        batcher, debouncer: those of the operation, None where it is not batched or debounced over the fleet: for tickets,
            `cancel`, `flush`, dead letters and metrics.
    """

    def __init__(self, runner: Runner, registered: Registered) -> None:
        functools.update_wrapper(self, registered.function)
        self._runner = runner
        self._registered = registered
        self.name = registered.name
        self.batcher: Batcher | None = registered.batcher
        self.debouncer: Debouncer | None = registered.debouncer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns. One that is batched or debounced over the fleet takes the payload alone."""
        return self._runner.run(self._registered.plan(args, kwargs))


class Optimizer(Face[OptimizerConfig]):
    """Runs operations through whatever is asked for: a cache, a debouncer, batches, a circuit breaker, limits, retries, a timeout.

    >>> optimizer = Optimizer(client, "api", OptimizerConfig(throttling={"rates": ["10/s"]}, retrying={}, timeout=5))
    >>> optimizer.optimize(fetch, 42, throttle=True, fallback=None)

    All of it is shared by the processes that use the same Redis and the same name. From the outside in, a call goes through the
    fallback, the monitor, the cache, the debouncer, retries, the batch, the limits, the breaker and the timeout, as far as the
    config has a section for them and the call asks for them. `Pipeline` composes them in any other order.

    Closures stay in their process: `debounce` has one live caller of the fleet run its own, `batch` gathers those of this process
    under one permit. An `operation` that is registered is batched and debounced over the fleet.

    Thread-safe, and safe to use in a forked child. While Redis is away, each part goes on as its own section says.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what is optimized; the same in all processes that share it. No braces or control characters.
        config: an `OptimizerConfig`; or give its fields as keywords.
        ignore: errors of operations that the breaker does not count, such as a LookupError; nor those of the other parts, but timeouts.
        callbacks: a dict of `on_throttle`, `on_debounce`, `on_state_change` and `on_threshold`, for the parts.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name is not allowed.
        pydantic.ValidationError: a section or a field is unknown, or out of range (also a ValueError).
    """

    _plans: OptimizerPlans

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: OptimizerConfig | None = None,
        *,
        ignore: type[Exception] | tuple[type[Exception], ...] = (),
        callbacks: Callbacks | None = None,
        **fields: Any,
    ) -> None:
        given = OptimizerConfig.given(config, fields)
        self._runner = Runner(client, given.command_timeout)
        parts = make_parts(KINDS, self._runner, name, given, ignore, {} if callbacks is None else callbacks)
        self._plans = OptimizerPlans(name, given, parts, awaited=KINDS.awaited)
        self._operations = Operations(KINDS, self._runner, self._plans)

    @property
    def throttler(self) -> Throttler | None:
        """Its limits; None where the config has none."""
        return self._plans.parts.throttler  # type: ignore[no-any-return]

    @property
    def debouncer(self) -> Debouncer | None:
        """What debounces closures; None where the config has no such section."""
        return self._plans.parts.debouncer  # type: ignore[no-any-return]

    @property
    def cache(self) -> Cache | None:
        """What was computed; None where the config has no such section."""
        return self._plans.parts.cache  # type: ignore[no-any-return]

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The breaker around its calls; None where the config has no such section."""
        return self._plans.parts.breaker  # type: ignore[no-any-return]

    @property
    def monitor(self) -> PerformanceMonitor | None:
        """Where its calls are measured; None where the config has no such section."""
        return self._plans.parts.monitor  # type: ignore[no-any-return]

    # --- calls

    def optimize(
        self,
        operation: Callable[..., R] | str,
        /,
        *args: Any,
        fallback: Any = NOTHING,
        **options: Unpack[CallOptions],
    ) -> R:
        """Call ``operation(*args)`` through what is asked for, and return what comes out.

        Args:
            operation: a function; or the name of an operation that was registered, with options of its own. (For keyword arguments
                of its own, use `functools.partial`.)
            throttle: wait for a permit of the limits first; `key`, `cost` and `acquire_timeout` say which, and how long; given
                without it, they are refused.
            debounce: of the calls of a `key` that come shortly after each other, in any process, the newest is run; all get
                its value.
            batch: go through the limits together with other closures of this process.
            cache: the key under which the value is kept, and had from then on, in any process.
            breaker, retry: True and False; None as the config says.
            timeout: seconds that one try may take, instead of the config's.
            fallback: a value, a function of the error or of nothing, or a `Fallback`: what to return where all of it fails.

        Raises:
            Whatever `operation` raises, and what the parts do, unless there is a fallback.
            ValueError: an option is unknown, of another type, out of range, or needs a section that the config has not.
        """
        if isinstance(operation, str):
            plan = self._operations.named(operation, options).plan(args, {})
        else:
            plan = self._plans.optimize(operation, args, options_of(options), fallback)
        result: R = self._runner.run(plan)
        return result

    @overload
    def operation(self, function: Callable[..., Any], /) -> Operation: ...
    @overload
    def operation(
        self,
        *,
        name: str = "",
        key: str | Callable[..., str] = "",
        cache: str | Callable[..., str] | None = None,
        fallback: Any = NOTHING,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], Operation]: ...
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
        """Register a function under its name: a decorator. Calls of it go through what it is registered with.

        With `batch`, a function of a list becomes a function of one item, as with `batched`; with `debounce`, a function of a payload is
        run once for many calls; both over the whole fleet, by whoever has entered `worker`. With both, what was debounced is batched.

        Args:
            name: default: that of the function. Without a dot: operation `send` of the optimizer `api` stands in Redis
                as `api.send`.
            key, cache: texts, or functions of the call's arguments.
            fallback, options: as `optimize`.

        Raises:
            ValueError: as `optimize`; the function is a coroutine function, or the name is taken or has a dot.
        """

        def register(function: Callable[..., Any]) -> Operation:
            registered = self._operations.register(function, name, key, cache, fallback, options)
            return Operation(self._runner, registered)

        return register if function is None else register(function)

    # --- work

    def worker(self, concurrency: int = 1) -> OptimizerWorker:
        """Whoever works, in the background and for as long as it is entered, for all operations that are batched or debounced.

        Args:
            concurrency: batches or runs at once, of each operation.

        Raises:
            ValueError: no operation is batched or debounced, or the argument is out of range.
            ConfigConflict (when it starts): another process has other triggers for an operation, and `on_conflict` is
                "raise"; then none of the operations is worked for.
        """
        return OptimizerWorker(self._operations.workers(concurrency))

    def run(self, stop: threading.Event | None = None, *, concurrency: int = 1) -> None:
        """Work in the foreground until `stop` is set, or Ctrl-C."""
        event = threading.Event() if stop is None else checked_stop(stop, awaited=False)
        with self.worker(concurrency):
            event.wait()

    # --- looking

    def metrics(self) -> OptimizerMetrics:
        """How all its parts stand, over the whole fleet. One or two script calls for each.

        Raises:
            Unavailable: Redis did not answer within `command_timeout`.
        """
        return self._runner.run(metrics_of(self._plans.parts, self._operations))

    def close(self) -> None:
        """Stop its workers, give back what its parts hold, and close the connections unless another primitive uses them."""
        self._operations.stop_taking()
        with contextlib.ExitStack() as stack:
            stack.callback(self._runner.close)
            for made in (*self._plans.parts.made(), *self._operations.made()):
                stack.callback(made.close)


class OptimizerWorker(WorkerGroup):
    """The workers of all operations, which start and stop together. Enter it, or `start` and `stop` it."""
