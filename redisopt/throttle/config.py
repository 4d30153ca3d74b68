"""What a throttle may be told: `ThrottleConfig`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import BeforeValidator, Field, field_validator, model_validator

from redisopt.config import Config, milliseconds, split_list
from redisopt.keys import checked_name
from redisopt.throttle.rate import MAX_LIMIT, Rate

MAX_RATES = 16
"""Rates of one throttle; more would be a mistake rather than a wish."""

SLOTS = 1000
"""Slots that a period is logged in by default: an entry a slot bounds a log, whatever the limit."""

MAX_SLOTS = 10_000
"""A finer `precision` is refused, since the log could then outgrow what a limiter should cost."""

MAX_CONCURRENT = 1_000_000
"""Leases of one limiter; each stands in Redis by itself."""

BURST_PERIOD_MS = 1000
"""The second within which a burst is counted."""


def _as_rate(value: Any) -> Any:
    if isinstance(value, str):
        return Rate.parse(value)
    if isinstance(value, Mapping):
        # By its own constructor: pydantic would first turn True into 1.
        unknown = set(value) - {"limit", "period"}
        if unknown or len(value) < 2:  # noqa: PLR2004 - a limit and a period
            raise ValueError(f"a rate has a limit and a period, not {sorted(map(str, value))}")
        return Rate(**value)
    return value


def _as_rates(value: Any) -> Any:
    if isinstance(value, str):
        return split_list(value)
    return (value,) if isinstance(value, Rate) else value


class ThrottleFields(TypedDict, total=False):
    """The fields of `ThrottleConfig` as keywords, for type checkers and editors; what they mean stands there."""

    rates: Sequence[str | Rate] | str | Rate
    max_burst_size: int | None
    cooldown_period: float
    precision: float | None
    margin: float
    max_concurrent: int | None
    lease_ttl: float
    max_queue: int | None
    on_conflict: Literal["warn", "raise"]
    shadow: bool
    prefetch: float
    group: str | None
    on_unavailable: Literal["raise", "allow", "deny", "local"]
    command_timeout: float


class ThrottleConfig(Config):
    """Limits that hold together: refused by one, charged by none.

    Raises:
        pydantic.ValidationError: a field is unknown or out of range, or nothing is limited.
    """

    rates: Annotated[
        tuple[Annotated[Rate, BeforeValidator(_as_rate)], ...],
        BeforeValidator(_as_rates),
        Field(
            max_length=MAX_RATES,
            description='At most so much in any trailing period, by server time: "10/s", or several, as ["10/s", "5000/h"].',
        ),
    ] = ()
    max_burst_size: int | None = Field(
        default=None,
        ge=1,
        le=MAX_LIMIT,
        description="Cost within one second, which is never exceeded, and which starts a cooldown once it is reached.",
    )
    cooldown_period: float = Field(
        default=0.0, ge=0, le=86400, description="Seconds after a burst in which nothing is granted."
    )
    precision: float | None = Field(
        default=None,
        ge=0.001,
        description="Seconds of a slot of the log. A grant comes at most one slot late, never early. "
        "Default: 1 ms for limits up to 1,000, else a thousandth of the period.",
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="Seconds by which every period is lengthened, for a far side that would see the jitter of the "
        "callers' network.",
    )

    max_concurrent: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CONCURRENT,
        description="Permits that are held at once. Each is a lease, renewed while its holder lives.",
    )
    lease_ttl: float = Field(
        default=10.0,
        ge=0.1,
        le=3600,
        description="Seconds after which the lease of a holder that is not heard of ends. It is renewed three times as often.",
    )
    max_queue: int | None = Field(
        default=None,
        ge=0,
        description="Callers of the whole fleet that may wait; one more is refused. None: any number.",
    )
    on_conflict: Literal["warn", "raise"] = Field(
        default="warn",
        description="When another process uses the name with other limits: log a warning once, or raise ConfigConflict, and "
        "that for 10 s. It is found by the first call of each connection and then by every 256th.",
    )
    shadow: bool = Field(
        default=False,
        description="Decide and count, but never refuse and never wait: to measure limits before they are enforced.",
    )
    prefetch: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="Seconds for which a busy process takes a small share ahead, to grant from memory. Never more than the "
        "limits, at the price of at most prefetch/period of them. 0: not at all.",
    )
    group: str | None = Field(
        default=None,
        description="Limiters of one group stand in one slot of a Cluster, so that acquire_all can join them.",
    )

    on_unavailable: Literal["raise", "allow", "deny", "local"] = Field(
        default="raise",
        description="What a call that asks for a permit gets while Redis is away or refuses: the error, a permit that is "
        "not charged, a refusal, or what a limiter of this process decides that has this process's last known share.",
    )

    @field_validator("group")
    @classmethod
    def _check_group(cls, group: str | None) -> str | None:
        return group if group is None else checked_name(group, "group")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.rates and self.max_burst_size is None and self.max_concurrent is None:
            raise ValueError(
                "rates is empty: give at least one, such as rates=['10/s'], or a max_burst_size, or max_concurrent"
            )
        if self.cooldown_period and self.max_burst_size is None:
            raise ValueError("cooldown_period needs a max_burst_size: it is what starts the cooldown")
        periods = [rate.period_ms for rate in self.rates]
        if len(set(periods)) < len(periods):
            raise ValueError("rates has two rates of one period: only the smaller limit would ever matter")
        precision = 0 if self.precision is None else milliseconds(self.precision)
        if self.max_burst_size is not None and precision > BURST_PERIOD_MS:
            raise ValueError(f"precision {self.precision} s is longer than the period of max_burst_size, 1 s")
        for rate in self.rates:
            if precision > rate.period_ms:
                raise ValueError(f"precision {self.precision} s is longer than the period of {rate}")
            if precision and min(rate.limit, rate.period_ms / precision) > MAX_SLOTS:
                least = math.ceil(rate.period_ms / MAX_SLOTS) / 1000
                raise ValueError(
                    f"precision {self.precision} s would log {rate} in over {MAX_SLOTS:,} slots: use {least} or more"
                )
        return self

    @property
    def max_cost(self) -> int:
        """The largest cost that can ever be granted at once."""
        limits = [rate.limit for rate in self.rates]
        return min(limits if self.max_burst_size is None else [*limits, self.max_burst_size], default=MAX_LIMIT)

    @property
    def limits(self) -> str:
        """The limits as one word: two configs that limit alike have the same."""
        words = [str(rate) for rate in self.rates]
        if self.max_burst_size is not None:
            words.append(f"burst={self.max_burst_size}/{milliseconds(self.cooldown_period)}ms")
        if self.max_concurrent is not None:
            words.append(f"concurrency={self.max_concurrent}")
        if self.precision is not None:
            words.append(f"precision={milliseconds(self.precision)}ms")
        if self.margin:
            words.append(f"margin={milliseconds(self.margin)}ms")
        return ",".join(words)

    def precision_ms(self, limit: int, period_ms: int) -> int:
        """The slot of a log in milliseconds."""
        if self.precision is not None:
            return milliseconds(self.precision)
        return 1 if limit <= SLOTS else math.ceil(period_ms / SLOTS)
