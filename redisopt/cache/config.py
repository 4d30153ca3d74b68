"""What a cache may be told: `CacheConfig`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from redisopt.codec import MAX_PAYLOAD_BYTES, Codec, decode, encode
from redisopt.config import Config, ErrorTypes, milliseconds

MAX_SECONDS = 30 * 86_400
"""The longest that a value is fresh, and that it is served after that: a month each."""


class CacheConfig(Config):
    """How long values live, who computes them, and what is served while they are computed, or cannot be.

    Raises:
        pydantic.ValidationError: a field is unknown or out of range, or exceptions are to be kept for no time.
    """

    ttl: float = Field(default=300.0, ge=0.001, le=MAX_SECONDS, description="Seconds that a value is fresh.")
    ttl_jitter: float = Field(
        default=0.1,
        ge=0,
        le=0.9,
        description="Share of the ttl by which it is shortened at random, so that what was kept at once does not end at once.",
    )
    stale_for: float = Field(
        default=0.0,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds after the ttl for which the old value is served at once, while one process refreshes it.",
    )
    stale_if_error: float = Field(
        default=0.0,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds after the ttl for which the old value is served where its computation fails.",
    )
    early_refresh: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="How eagerly a value is refreshed before its end, in times of what its computation took (the beta of XFetch); 0 for never.",
    )
    negative_ttl: float | None = Field(
        default=None,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds that a negative answer is kept: None, or one of negative_errors; 0 keeps none. Default: None is a "
        "value like any other.",
    )
    negative_errors: ErrorTypes = Field(
        default=(),
        description="Exceptions that are an answer, such as a LookupError for what does not exist: kept for negative_ttl. The classes, or "
        "their names.",
    )
    failure_ttl: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="Seconds for which a computation that failed is not tried again, and all are told so; 0: the next one tries at once.",
    )
    max_value_bytes: int = Field(
        default=MAX_PAYLOAD_BYTES,
        ge=1,
        le=64 * MAX_PAYLOAD_BYTES,
        description="Bytes of one value, at most.",
    )
    codec: Codec = Field(default="msgpack", description='How values are stored; "json" can be read in redis-cli.')
    lease_ttl: float = Field(
        default=10.0,
        ge=0.1,
        le=3600,
        description="Seconds after which another process computes instead of one that is not heard of. Renewed three times as often.",
    )
    compute_timeout: float | None = Field(
        default=600.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds after which a computation counts as hung: its lease, if it has one, is renewed no more, and another one computes. "
        "None for never.",
    )
    wait_timeout: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="Seconds that a call waits for what another one computes, unless it says otherwise.",
    )
    max_refreshes: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="Values that this process refreshes in the background at once, without those that hang; beyond it others do.",
    )
    on_unavailable: Literal["compute", "raise"] = Field(
        default="compute",
        description="Without Redis: compute what this process has no copy of, once for all its callers at a time; or raise Unavailable.",
    )
    local_ttl: float = Field(
        default=0.0,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds that this process uses a copy of its own without asking Redis; 0 for never.",
    )
    local_size: int = Field(default=1000, ge=1, le=10_000_000, description="Copies that this process keeps, at most.")
    local_bytes: int = Field(
        default=64 * MAX_PAYLOAD_BYTES,
        ge=1,
        le=1024 * 1024 * MAX_PAYLOAD_BYTES,
        description="Bytes of the values in these copies, at most.",
    )

    @field_validator("negative_errors")
    @classmethod
    def _check_exceptions(cls, errors: tuple[type[BaseException], ...]) -> tuple[type[BaseException], ...]:
        for each in errors:
            if not issubclass(each, Exception):
                raise ValueError(f"{each.__name__} ends a process or a task, and is no answer")
        return errors

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.negative_errors and not self.negative_ttl:
            raise ValueError("negative_errors are kept for negative_ttl, which is not set")
        return self

    def encoded(self, value: Any) -> bytes:
        """A value as Redis gets it. Raises `codec.PayloadError`, a ValueError, for one that cannot be stored."""
        return encode(value, self.codec, self.max_value_bytes)

    def decoded(self, payload: bytes) -> Any:
        """A value as Redis had it. Raises `codec.PayloadError` for what is none."""
        return decode(payload, self.codec, self.max_value_bytes)

    def lives(self, ttl: float) -> tuple[int, int, int]:
        """For how many ms a value of this ttl is fresh, served while it is refreshed, and served where that fails."""
        fresh = max(1, milliseconds(ttl))
        return fresh, fresh + milliseconds(self.stale_for), fresh + milliseconds(self.stale_if_error)
