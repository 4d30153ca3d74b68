"""What a debouncer may be told: `DebounceConfig`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from redisopt.codec import MAX_PAYLOAD_BYTES, Codec
from redisopt.config import Config, ErrorTypes, milliseconds
from redisopt.functions import is_async

MAX_SECONDS = 30 * 86_400
"""The longest wait: a month."""

MAX_PARTITIONS = 256

CLUSTER_PARTITIONS = 16
"""On a Cluster, unless the config says otherwise."""

Collect = Literal["last", "first", "all"] | Callable[[Sequence[Any]], Any]


class DebounceConfig(Config):
    """When calls of one key are run, what the run gets, and what becomes of a run that fails.

    Raises:
        pydantic.ValidationError: a field is unknown or out of range, or no call would ever run.
    """

    wait: float = Field(
        default=0.5,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds without a call after which it runs. Where callers differ, the newest call's counts.",
    )
    max_wait: float | None = Field(
        default=None,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds after which it runs however often it is called: exact, and fixed when the window opens.",
    )
    leading: bool = Field(default=False, description="Run on the first call of a burst, at once.")
    trailing: bool = Field(default=True, description="Run after the last call of a burst.")
    collect: Collect = Field(
        default="last",
        description='Which payloads of a window the run gets: "last", "first", "all" as a list, or what a function makes of '
        "that list; the executor calls it.",
    )
    max_items: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Calls with which a window is due at once."
    )
    max_bytes: int | None = Field(
        default=None, ge=1, description="Bytes of payloads with which a window is due at once."
    )
    max_queue: int | None = Field(
        default=None,
        ge=1,
        description="Calls of one key that may wait for a worker: one more is refused (QueueFull). None: any number.",
    )

    lease_ttl: float = Field(
        default=10.0,
        ge=0.1,
        le=3600,
        description="Seconds after which another executor takes over the run of one that is not heard of. Renewed three times as often.",
    )
    delivery: Literal["at_least_once", "at_most_once"] = Field(
        default="at_least_once",
        description="Whether a run that failed, or whose executor was lost, is started again; else it is a dead letter.",
    )
    max_attempts: int = Field(
        default=3, ge=1, le=1000, description="Starts of a run, after the last of which it is a dead letter."
    )
    retry_on: ErrorTypes = Field(
        default=(ConnectionError, TimeoutError),
        description="Errors that are not the run's fault: it is tried again, and no attempt is counted.",
    )
    retry_for: float = Field(
        default=600.0,
        ge=0,
        le=30 * 86_400,
        description="Seconds for which errors of retry_on do not count as attempts.",
    )
    backoff_base: float = Field(
        default=0.5,
        ge=0,
        le=3600,
        description="Seconds; the n-th retry comes after a random time up to backoff_base x 2**(n-1).",
    )
    backoff_cap: float = Field(default=60.0, ge=0, le=86_400, description="Seconds that no retry waits longer than.")
    result_ttl: float = Field(default=60.0, ge=1, le=86_400, description="Seconds that a window's outcome is kept.")
    dead_ttl: float = Field(
        default=7 * 86_400.0, ge=1, le=366 * 86_400, description="Seconds that a dead letter is kept."
    )
    max_dead: int = Field(
        default=10_000, ge=1, description="Dead letters of each partition that are kept, the latest ones."
    )
    codec: Codec = Field(
        default="msgpack", description='How payloads and results are stored; "json" can be read in redis-cli.'
    )
    max_payload_bytes: int = Field(
        default=MAX_PAYLOAD_BYTES,
        ge=1,
        le=64 * MAX_PAYLOAD_BYTES,
        description="Bytes of one payload or result, at most.",
    )
    partitions: int | None = Field(
        default=None,
        ge=1,
        le=MAX_PARTITIONS,
        description="Slots of a Cluster that the keys are spread over; the same in all processes. Default: 1, on a Cluster 16.",
    )
    on_conflict: Literal["warn", "raise"] = Field(
        default="warn",
        description="When another process uses the name with other options: log a warning once, or raise ConfigConflict. "
        "(Of another number of partitions it is raised in any case, since work would be lost.)",
    )

    @field_validator("collect")
    @classmethod
    def _check_collect(cls, collect: Collect) -> Collect:
        if callable(collect) and is_async(collect):
            raise ValueError("collect must be a plain function, not a coroutine function")
        return collect

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.leading and not self.trailing:
            raise ValueError("leading and trailing are both off, so that no call would ever run")
        if self.max_wait is not None and self.max_wait < self.wait:
            raise ValueError(
                f"max_wait {self.max_wait} s is shorter than wait {self.wait} s: it would always be what counts"
            )
        if self.backoff_cap < self.backoff_base:
            raise ValueError(f"backoff_cap {self.backoff_cap} s is shorter than backoff_base {self.backoff_base} s")
        return self

    @property
    def word(self) -> Literal["last", "first", "all"]:
        """What is kept of a window's payloads."""
        return "all" if callable(self.collect) else self.collect

    @property
    def shared(self) -> str:
        """What is to be the same in all processes, as text. Of `wait` the newest call's counts."""
        return f"{self._options()} codec={self.codec}"

    def options_with(self, wait: float) -> str:
        """When calls are run, as text for who reads it in Redis."""
        return f"wait={milliseconds(wait)}ms {self._options()}"

    def _options(self) -> str:
        edges = "+".join(name for name, on in (("leading", self.leading), ("trailing", self.trailing)) if on)
        words = []
        if self.max_wait is not None:
            words.append(f"max_wait={milliseconds(self.max_wait)}ms")
        words += [f"edges={edges}", f"collect={self.word}"]
        words += [
            f"{name}={value}" for name in ("max_items", "max_bytes") if (value := getattr(self, name)) is not None
        ]
        return " ".join(words)

    @property
    def attempts(self) -> int:
        """Starts of a run, at most."""
        return 1 if self.delivery == "at_most_once" else self.max_attempts
