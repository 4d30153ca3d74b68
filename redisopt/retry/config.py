"""What retries may be told: `RetryConfig`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from redisopt.config import Config, ErrorTypes

_DAY = 86_400.0


class RetryConfig(Config):
    """Which failures are tried again, when, and how many the fleet may try again.

    Raises:
        pydantic.ValidationError: a field is unknown or out of range.
    """

    max_attempts: int = Field(default=3, ge=1, le=1000, description="Tries of one call in all, the first one included.")
    retry_on: ErrorTypes = Field(
        default=(ConnectionError, TimeoutError),
        description="Errors that are worth another try. With respect_retry_after, HTTP responses of status 429 and 503 "
        "are, too. ResultTimeout is not, as a TimeoutError: what was waited for is pending still. Name it to wait again.",
    )
    retry_for: float | None = Field(
        default=None,
        gt=0,
        le=_DAY,
        description="Seconds from the first try within which the last one has to begin. None: attempts alone count.",
    )
    backoff_base: float = Field(
        default=0.1,
        gt=0,
        le=3600,
        description="Seconds that the first retry waits at most; the next ones twice as long each.",
    )
    backoff_cap: float = Field(default=30.0, gt=0, le=_DAY, description="Seconds that any retry waits at most.")
    respect_retry_after: bool = Field(
        default=True,
        description="Wait for as long as an error says: by its `retry_after`, or by the headers of its `response`.",
    )
    max_retry_after: float = Field(
        default=60.0,
        ge=0,
        le=_DAY,
        description="Seconds; an error that says to come back later than that is not tried again.",
    )
    budget: float | None = Field(
        default=0.2,
        ge=0,
        le=10,
        description="Retries of the whole fleet as a share of its calls. None: any number.",
    )
    budget_minimum: float = Field(
        default=1.0, ge=0, le=1_000_000, description="Retries a second that the fleet has in any case."
    )
    budget_reserve: int = Field(
        default=100, ge=1, le=1_000_000_000, description="Retries that can be saved up; as many are there at first."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.backoff_cap < self.backoff_base:
            raise ValueError(f"backoff_cap {self.backoff_cap} s is below backoff_base {self.backoff_base} s")
        return self
