"""A distribution of durations in little space, as a DDSketch.

Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB 12(12), 2019.
Bucket `i` counts what lies in (gamma**(i-1), gamma**i] microseconds. With gamma = 1.02 the value that stands for a bucket is
within 1/101 of all that is in it, so every quantile is within 1 % of an exact one. Two sketches are merged by adding their
buckets, in any order and any number of times. Count, errors, sum, smallest and largest are kept beside them.

What lies below a microsecond counts as one, what lies above 12 days as those. Between these a sketch may span all buckets: empty
ones cost about a bit each where it is packed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType

GAMMA = 1.02

SCALE = 1e6
"""Buckets are of microseconds."""

INDEXES = 1400
"""Buckets are numbered from 0 (up to a microsecond) to one less than this: gamma**1399 microseconds are 12.6 days."""

NO_BUCKETS: Mapping[int, int] = MappingProxyType({})

_PER_LOG = 1 / math.log(GAMMA)
_MIDDLE = 2 / (1 + GAMMA) / SCALE


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of some operations.

    Attributes:
        count: how many.
        errors: how many of them failed.
        sum: seconds that all took together.
        min, max: the shortest and longest, in seconds; of none infinity and 0.0.
        buckets: how many lie in each bucket; only those that are not empty.
    """

    count: int = 0
    errors: int = 0
    sum: float = 0.0
    min: float = inf
    max: float = 0.0
    buckets: Mapping[int, int] = field(default_factory=lambda: NO_BUCKETS)

    def with_buckets(self, buckets: Mapping[int, int]) -> Tally:
        """The same with these buckets."""
        return replace(self, buckets=buckets)

    def quantile(self, q: float) -> float:
        """The shortest duration in seconds that a share `q` of all did not exceed, within 1 %; 0.0 of none."""
        if not self.count:
            return 0.0
        seen = index = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= q * self.count:
                break
        return min(max(value_of(index), self.min), self.max)


def index_of(seconds: float) -> int:
    """The bucket of a duration."""
    micros = seconds * SCALE
    return 0 if micros <= 1 else min(math.ceil(math.log(micros) * _PER_LOG), INDEXES - 1)


def value_of(index: int) -> float:
    """The duration in seconds that stands for a bucket."""
    return float(GAMMA**index * _MIDDLE)


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of them as one."""
    count, errors, total, smallest, largest = 0, 0, 0.0, inf, 0.0
    buckets: dict[int, int] = {}
    for each in tallies:
        count += each.count
        errors += each.errors
        total += each.sum
        smallest, largest = min(smallest, each.min), max(largest, each.max)
        for index, number in each.buckets.items():
            buckets[index] = buckets.get(index, 0) + number
    return Tally(count, errors, total, smallest, largest, buckets)
