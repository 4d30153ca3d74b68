"""The parts of an optimizer: made of the classes of one face, as far as the config has sections for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from redisopt.batch.config import BatchConfig
from redisopt.debounce.config import DebounceConfig
from redisopt.optimizer.config import OptimizerConfig
from redisopt.optimizer.grouping import Grouping
from redisopt.retry.config import RetryConfig
from redisopt.throttle.config import ThrottleConfig


class Kinds(NamedTuple):
    """The classes of one face, and whether what they do is awaited."""

    throttler: Callable[..., Any]
    debouncer: Callable[..., Any]
    batcher: Callable[..., Any]
    retry: Callable[..., Any]
    awaited: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an optimizer, None for those that it has not."""

    throttler: Any
    debouncer: Any
    retry: Any
    grouping: Grouping | None

    def made(self) -> list[Any]:
        """Those that have to be closed."""
        return [part for part in (self.throttler, self.debouncer, self.retry) if part is not None]


def make_parts(kinds: Kinds, runner: Any, name: str, config: OptimizerConfig) -> Parts:
    """The parts that the config has sections for."""
    throttling = config.part("throttling", ThrottleConfig)
    debouncing = config.part("debouncing", DebounceConfig)
    batching = config.part("batching", BatchConfig)
    retrying = config.part("retrying", RetryConfig)
    client = runner.client
    return Parts(
        throttler=None if throttling is None else kinds.throttler(client, name, throttling),
        debouncer=None if debouncing is None else kinds.debouncer(client, name, debouncing),
        retry=None if retrying is None else kinds.retry(client, name, retrying),
        grouping=None if batching is None else Grouping(runner, batching.max_size, batching.max_delay),
    )
