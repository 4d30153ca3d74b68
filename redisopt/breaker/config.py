"""What a circuit breaker may be told: `CircuitBreakerConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from redisopt.config import Config, milliseconds

MILLION = 1_000_000

NEVER = MILLION + 1
"""A share, in millionths, that none reaches."""

LONGEST = 10
"""Times `open_for` that it is open at most, unless `open_for_max` says otherwise."""

OnUnavailable = Literal["local", "allow", "deny", "raise"]


class CircuitBreakerConfig(Config):
    """When a breaker opens, for how long, and what it takes to close it.

    Raises:
        pydantic.ValidationError: a field is unknown or out of range, or fields do not go together.
    """

    failure_rate: float = Field(
        default=0.5,
        ge=0.000001,
        le=1,
        description="Share of failed calls, from which on it opens; 0.5 is half of them.",
    )
    slow_call_after: float | None = Field(
        default=None, gt=0, le=86_400, description="Seconds from which on a call counts as slow. Default: none does."
    )
    slow_call_rate: float = Field(
        default=1.0, ge=0.000001, le=1, description="Share of slow calls, from which on it opens; with slow_call_after."
    )
    window: float | None = Field(
        default=30.0,
        ge=0.1,
        le=86_400,
        description="Seconds that calls are counted; forgotten in tenths of it.",
    )
    window_calls: int | None = Field(
        default=None, ge=1, le=10_000, description="Instead of window: so many last calls are counted."
    )
    minimum_calls: int = Field(
        default=20,
        ge=1,
        le=MILLION,
        description="Calls that must be counted before it may open. Default: 20, at most window_calls.",
    )

    open_for: float = Field(
        default=10.0, ge=0.01, le=86_400, description="Seconds that it is open, until it lets probes through."
    )
    open_growth: float = Field(
        default=2.0, ge=1, le=100, description="What open_for is multiplied by each time that the probes fail."
    )
    open_for_max: float | None = Field(
        default=None, ge=0.01, le=864_000, description="Seconds that it is open at most. Default: ten times open_for."
    )
    open_jitter: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share by which it may be open longer, at random, when the probes have failed; 0.1 is a tenth.",
    )
    half_open_calls: int = Field(
        default=3, ge=1, le=1000, description="Probes: calls of the whole fleet that are let through to try it."
    )
    half_open_for: float | None = Field(
        default=None,
        ge=0.01,
        le=86_400,
        description="Seconds after the last probe was let through, after which it opens again when the probes are not over: longer "
        "than a call may take. Default: ten times open_for, at least 60.",
    )
    lease_ttl: float = Field(
        default=10.0,
        ge=0.1,
        le=3600,
        description="Seconds after which the probe of a process that is not heard of comes back. Renewed three times as often.",
    )
    on_unavailable: OnUnavailable = Field(
        default="local",
        description="What becomes of calls while Redis is away: judged by a breaker of this process with the same rules, all let "
        'through ("allow"), none ("deny"), or "raise" Unavailable.',
    )

    @model_validator(mode="before")
    @classmethod
    def _one_window(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping) and fields.get("window_calls") is not None and "window" not in fields:
            return {**fields, "window": None}
        return fields

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.window is None) == (self.window_calls is None):
            raise ValueError(
                f"window {self.window} and window_calls {self.window_calls}: give one of them, and None for the other"
            )
        too_many = self.window_calls is not None and self.minimum_calls > self.window_calls
        if too_many and "minimum_calls" in self.model_fields_set:
            raise ValueError(
                f"minimum_calls {self.minimum_calls} is more than window_calls {self.window_calls}: it would never open"
            )
        if self.open_for_max is not None and self.open_for_max < self.open_for:
            raise ValueError(f"open_for_max {self.open_for_max} s is shorter than open_for {self.open_for} s")
        if self.slow_call_after is None and "slow_call_rate" in self.model_fields_set and self.slow_call_rate < 1:
            raise ValueError(f"slow_call_rate {self.slow_call_rate} without slow_call_after: no call would be slow")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002 - it is frozen
        """The config with some fields changed, checked like any other; another kind of window takes the place of this one.

        Raises:
            pydantic.ValidationError: a field is unknown or out of range.
        """
        changed = dict(update or {})
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        if changed.get("window_calls") is not None or changed.get("window") is not None:
            kept.pop("window", None)
            kept.pop("window_calls", None)
        return type(self)(**kept | changed)

    # --- as the scripts, and the breaker of a process, are told

    @property
    def window_ms(self) -> int:
        """Ms that calls are counted, 0 where the last ones are."""
        return 0 if self.window is None else milliseconds(self.window)

    @property
    def minimum(self) -> int:
        """Calls below which it does not open."""
        return self.minimum_calls if self.window_calls is None else min(self.minimum_calls, self.window_calls)

    @property
    def failures(self) -> int:
        """The share of failed calls, in millionths."""
        return round(self.failure_rate * MILLION)

    @property
    def slow(self) -> int:
        """The share of slow calls, in millionths."""
        return NEVER if self.slow_call_after is None else round(self.slow_call_rate * MILLION)

    @property
    def options(self) -> str:
        """All of it as text, for who reads it in Redis."""
        counted = f"window={self.window_ms}ms" if self.window_calls is None else f"window_calls={self.window_calls}"
        words = [f"failure_rate={self.failure_rate:g}", f"minimum_calls={self.minimum}", counted]
        if self.slow_call_after is not None:
            words.append(
                f"slow_call_rate={self.slow_call_rate:g} slow_call_after={milliseconds(self.slow_call_after)}ms"
            )
        words += [f"open_for={milliseconds(self.open_for)}ms", f"half_open_calls={self.half_open_calls}"]
        return " ".join(words)

    @property
    def patience(self) -> float:
        """Seconds that the last probe may take."""
        return max(60.0, LONGEST * self.open_for) if self.half_open_for is None else self.half_open_for

    @property
    def open_max_ms(self) -> int:
        """Ms that it is open at most."""
        return milliseconds(LONGEST * self.open_for if self.open_for_max is None else self.open_for_max)
