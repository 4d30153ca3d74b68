"""A rate: at most `limit` cost in any trailing `period`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

MAX_LIMIT = 10**12
"""Above this, sums of costs would no longer be exact in a script."""

MAX_PERIOD = 400 * 86400.0
"""Seconds; a little over a year."""

_UNITS = {
    "ms": 0.001,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
_TEXT = re.compile(r"\s*([0-9][0-9_,]*)\s*/\s*([0-9]*\.?[0-9]+)?\s*([a-z]+)\s*", re.IGNORECASE | re.ASCII)
_ADVICE = "write a rate as '10/s', '500/10s', '5000/h' or '3/500ms'"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` cost in any trailing `period` seconds.

    >>> Rate.parse("500/10s")
    Rate(limit=500, period=10.0)

    Raises:
        ValueError: limit not a whole number from 1 to 10^12, or period not from 1 ms to 400 days in whole ms.
    """

    limit: int
    period: float

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or isinstance(self.limit, bool) or not 1 <= self.limit <= MAX_LIMIT:
            raise ValueError(f"limit must be a whole number from 1 to {MAX_LIMIT:,}, not {self.limit!r}")
        if isinstance(self.period, bool) or not isinstance(self.period, int | float):
            raise ValueError(f"period must be seconds as a number, not {self.period!r}")
        if math.isnan(self.period) or not 0.001 <= self.period <= MAX_PERIOD:  # noqa: PLR2004 - the docstring's bound
            raise ValueError(f"period must be from 0.001 s to 400 days, not {self.period!r} s")
        if not math.isclose(self.period * 1000, round(self.period * 1000), rel_tol=1e-12):
            raise ValueError(f"period must be whole milliseconds, not {self.period!r} s")
        object.__setattr__(self, "period", round(self.period * 1000) / 1000)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rate that `text` writes: a limit, a slash, and a period in ms, s, min, h or d.

        Raises:
            ValueError: `text` is no rate, or one out of range.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None or found[3].lower() not in _UNITS:
            raise ValueError(f"rate {text!r} is not a rate: {_ADVICE}")
        limit = int(re.sub("[_,]", "", found[1]))
        try:
            return cls(limit, float(found[2] or 1) * _UNITS[found[3].lower()])
        except ValueError as error:
            raise ValueError(f"rate {text!r}: {error}; {_ADVICE}") from None

    @property
    def period_ms(self) -> int:
        """The period in whole milliseconds."""
        return round(self.period * 1000)

    def __str__(self) -> str:
        """The rate as `parse` reads it, in the largest unit that keeps it whole."""
        for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
            number = self.period_ms / (seconds * 1000)
            if number >= 1 and number == int(number):
                return f"{self.limit}/{'' if number == 1 else int(number)}{unit}"
        return f"{self.limit}/{self.period_ms}ms"
