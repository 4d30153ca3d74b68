"""What an optimizer may be told: `OptimizerConfig`, with a section for each of its parts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, Field

from redisopt.batch.config import BatchConfig
from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.cache.config import CacheConfig
from redisopt.config import Config
from redisopt.debounce.config import DebounceConfig
from redisopt.monitor.config import MonitorConfig
from redisopt.retry.config import RetryConfig
from redisopt.throttle.config import ThrottleConfig

C = TypeVar("C", bound=Config)


class Switch(BaseModel):
    """A section can be switched off, and keeps its fields."""

    enabled: bool = Field(default=True, description="False: calls go on without this part, whatever they ask for.")


class ThrottlingSection(Switch, ThrottleConfig):
    """As `ThrottleConfig`, and `enabled`."""


class DebouncingSection(Switch, DebounceConfig):
    """As `DebounceConfig`, and `enabled`."""


class BatchingSection(Switch, BatchConfig):
    """As `BatchConfig`, and `enabled`. Batches of closures, which stay in their process, only use `max_size` and `max_delay`."""


class BreakingSection(Switch, CircuitBreakerConfig):
    """As `CircuitBreakerConfig`, and `enabled`."""


class MonitoringSection(Switch, MonitorConfig):
    """As `MonitorConfig`, and `enabled`."""


class CachingSection(Switch, CacheConfig):
    """As `CacheConfig`, and `enabled`."""


class RetryingSection(Switch, RetryConfig):
    """As `RetryConfig`, and `enabled`."""


class OptimizerConfig(Config):
    """Which parts an optimizer has, and what each is told. A section that is left out is a part that is not there.

    >>> OptimizerConfig(throttling={"rates": ["10/s"]}, debouncing={"wait": 0.5}, timeout=5)

    Raises:
        pydantic.ValidationError: a section or a field is unknown, or out of range.
    """

    batching: BatchingSection | None = Field(default=None, description="Batches, of closures and of operations.")
    throttling: ThrottlingSection | None = Field(default=None, description="The limits of the fleet.")
    debouncing: DebouncingSection | None = Field(default=None, description="Many calls become one.")
    caching: CachingSection | None = Field(default=None, description="What was computed once is not computed again.")
    breaking: BreakingSection | None = Field(default=None, description="Calling is given up where too much fails.")
    retrying: RetryingSection | None = Field(default=None, description="What fails is tried again.")
    monitoring: MonitoringSection | None = Field(default=None, description="How long it all takes, and thresholds.")
    timeout: float | None = Field(
        default=None, gt=0, le=86_400, description="Seconds that one try of an operation may take. None: any time."
    )

    result_timeout: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Seconds that a caller waits for the outcome of an operation that is batched or debounced over the fleet.",
    )

    @classmethod
    def from_env(cls, prefix: str, environ: Mapping[str, str] | None = None) -> Self:
        """The config of the environment variables that start with `prefix`, such as ``REDISOPT_API_``.

        ``REDISOPT_API_TIMEOUT=5`` sets a field, ``REDISOPT_API_THROTTLING_RATES=10/s,5000/h`` one of a section.

        Raises:
            ValueError: `prefix` is empty, and would mean the whole environment.
            pydantic.ValidationError: a section or a field is unknown, or out of range.
        """
        rest = dict(os.environ if environ is None else environ)
        fields: dict[str, Any] = {}
        for name, section in cls.sections().items():
            start = f"{prefix}{name.upper()}_"
            own = {variable: rest.pop(variable) for variable in list(rest) if prefix and variable.startswith(start)}
            if own:
                fields[name] = section.from_env(start, own)
        return cls.from_dict(dict(super().from_env(prefix, rest).model_dump(exclude_unset=True)) | fields)

    @classmethod
    def sections(cls) -> dict[str, type[Config]]:
        """The classes of the sections, by their names."""
        return {
            name: kind
            for name, field in cls.model_fields.items()
            for kind in get_args(field.annotation)
            if isinstance(kind, type) and issubclass(kind, Config)
        }

    def part(self, name: str, kind: type[C]) -> C | None:
        """A section as the config of its part; None where it is left out, or switched off.

        Its `command_timeout` is the optimizer's, unless it has one of its own.
        """
        section = getattr(self, name)
        if section is None or not section.enabled:
            return None
        fields = {name: getattr(section, name) for name in section.model_fields_set - {"enabled"}}
        return kind(**{"command_timeout": self.command_timeout} | fields)
