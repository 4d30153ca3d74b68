"""What a monitor may be told: `MonitorConfig`."""

from __future__ import annotations

import json
import math
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from redisopt.config import Config, split_list
from redisopt.monitor.report import FIELDS


class MonitorConfig(Config):
    """How often measurements go to Redis, how many names there may be, and which figures are worth a word.

    Raises:
        pydantic.ValidationError: a field is unknown or out of range, or a threshold names no field of a report.
    """

    flush_interval: float = Field(
        default=5.0,
        ge=0.05,
        le=3600,
        description="Seconds between two flushes: the death of a process costs what it measured since the last one.",
    )
    thresholds: dict[str, float] = Field(
        default_factory=dict,
        description='Limits by name and field, such as {"optimized_operation.p95": 0.5}: above it, the last minute is a breach.',
    )
    max_label_sets: int = Field(
        default=100,
        ge=1,
        le=1000,
        description='Sets of labels that a name may have in one process; what comes with others counts as "other".',
    )
    max_names: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="Names, each label set counted, that the monitor may have in a process and over the fleet.",
    )

    @field_validator("thresholds", mode="before")
    @classmethod
    def _read_thresholds(cls, given: Any) -> Any:
        """As text, such as an environment variable has them: ``charge_card.p95=0.5,search.errors=10``, or a JSON object."""
        if not isinstance(given, str):
            return given
        if given.lstrip().startswith("{"):
            try:
                return json.loads(given)
            except ValueError as error:
                raise ValueError(f"thresholds {given!r} is no JSON object: {error}") from None
        parted = [part.rpartition("=") for part in split_list(given)]
        return {threshold.strip(): limit.strip() for threshold, _, limit in parted}

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        for threshold, limit in self.thresholds.items():
            name, dot, field = threshold.rpartition(".")
            if not dot or not name or field not in FIELDS:
                raise ValueError(
                    f"thresholds: {threshold!r} must be a name, a dot and one of {', '.join(FIELDS)}, such as 'charge_card.p95'"
                )
            if not math.isfinite(limit):
                raise ValueError(f"thresholds: the limit of {threshold!r} must be a finite number, not {limit!r}")
        return self
