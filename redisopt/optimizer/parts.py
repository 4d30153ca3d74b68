"""The parts of an optimizer: made of the classes of one face, as far as the config has sections for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

from redisopt.batch.config import BatchConfig
from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.breaker.judging import judge_of
from redisopt.cache.config import CacheConfig
from redisopt.debounce.config import DebounceConfig
from redisopt.errors import REFUSALS
from redisopt.events import CircuitChanged
from redisopt.functions import check_function
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.report import Breach
from redisopt.optimizer.config import OptimizerConfig
from redisopt.optimizer.grouping import Grouping
from redisopt.retry.config import RetryConfig
from redisopt.throttle.config import ThrottleConfig


class Callbacks(TypedDict, total=False):
    """What an optimizer tells whom, as its parts do."""

    on_throttle: Callable[[int], object]
    on_debounce: Callable[[int], object]
    on_state_change: Callable[[CircuitChanged], object]
    on_threshold: Callable[[Breach], object]


class Kinds(NamedTuple):
    """The classes of one face, and whether what they do is awaited."""

    throttler: Callable[..., Any]
    debouncer: Callable[..., Any]
    batcher: Callable[..., Any]
    breaker: Callable[..., Any]
    cache: Callable[..., Any]
    retry: Callable[..., Any]
    monitor: Callable[..., Any]
    awaited: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an optimizer, None for those that it has not."""

    throttler: Any
    debouncer: Any
    breaker: Any
    cache: Any
    retry: Any
    monitor: Any
    grouping: Grouping | None

    def made(self) -> list[Any]:
        """Those that have to be closed, the monitor first: the others are measured there until they are closed."""
        parts = (self.monitor, self.throttler, self.debouncer, self.breaker, self.cache, self.retry)
        return [part for part in parts if part is not None]


def make_parts(
    kinds: Kinds,
    runner: Any,
    name: str,
    config: OptimizerConfig,
    ignore: type[Exception] | tuple[type[Exception], ...],
    callbacks: Callbacks,
) -> Parts:
    """The parts that the config has sections for.

    Args:
        kinds, runner, name, config: of the optimizer.
        ignore: errors that are no failures of what the breaker guards.
        callbacks: for its parts.

    Raises:
        ValueError: `ignore` or a callback is none.
    """
    client = runner.client
    told = _checked(callbacks).get
    ignored = ignore if isinstance(ignore, tuple) else (ignore,)
    judge_of(ignored, "ignore")  # also where there is no breaker yet

    def make(kind: Callable[..., Any], own: Any, **fields: Any) -> Any:
        return None if own is None else kind(client, name, own, **fields)

    monitor = make(kinds.monitor, config.part("monitoring", MonitorConfig), on_threshold=told("on_threshold"))
    throttling, debouncing = config.part("throttling", ThrottleConfig), config.part("debouncing", DebounceConfig)
    batching = config.part("batching", BatchConfig)
    return Parts(
        throttler=make(kinds.throttler, throttling, on_throttle=told("on_throttle"), monitor=monitor),
        debouncer=make(kinds.debouncer, debouncing, on_debounce=told("on_debounce"), monitor=monitor),
        breaker=make(
            kinds.breaker,
            config.part("breaking", CircuitBreakerConfig),
            ignore=(*REFUSALS, *ignored),
            on_state_change=told("on_state_change"),
        ),
        cache=make(kinds.cache, config.part("caching", CacheConfig)),
        retry=make(kinds.retry, config.part("retrying", RetryConfig)),
        monitor=monitor,
        grouping=None if batching is None else Grouping(runner, batching.max_size, batching.max_delay),
    )


def _checked(callbacks: Callbacks) -> Callbacks:
    """The callbacks.

    Raises:
        ValueError: what they are is not a dict of functions, or there is no such callback.
    """
    if not isinstance(callbacks, dict):
        raise ValueError(f"callbacks must be a dict of functions, not {callbacks!r}")
    for name, function in callbacks.items():
        if name not in Callbacks.__annotations__:
            raise ValueError(f"there is no callback {name!r}: there are {', '.join(Callbacks.__annotations__)}")
        check_function(function, name, awaited=False, instead="a plain function that starts a task")
    return callbacks
