"""One name in this process: the numbers that a measurement adds to, and its history."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from math import inf

from redisopt.monitor.history import History
from redisopt.monitor.sketch import INDEXES, Tally

_EMPTY = bytes(4 * INDEXES)


class Series:
    """One name with its labels: what was measured since it was last handed out, and before."""

    __slots__ = ("buckets", "count", "errors", "history", "last", "least", "member", "most", "name", "refused", "sum")

    def __init__(self, name: str, member: str) -> None:
        self.name = name
        self.member = member
        self.history = History()
        self.last = -math.inf  # the minute in which it was opened, or last handed out
        self.refused = False
        self.clear()

    def clear(self) -> None:
        """Nothing was measured."""
        self.count = self.errors = 0
        self.sum, self.least, self.most = 0.0, inf, 0.0
        self.buckets = array("I", _EMPTY)

    def counted(self) -> Tally:
        """What was measured, without buckets."""
        return Tally(self.count, self.errors, self.sum, self.least, self.most)

    def take(self) -> tuple[Tally, array[int]]:
        """What was measured, which begins anew with nothing."""
        taken = self.counted(), self.buckets
        self.clear()
        return taken

    def add(self, tally: Tally, buckets: Mapping[int, int]) -> None:
        """What was measured elsewhere counts here."""
        self.count += tally.count
        self.errors += tally.errors
        self.sum += tally.sum
        self.least, self.most = min(self.least, tally.min), max(self.most, tally.max)
        for index, count in buckets.items():
            self.buckets[index] += count


def counts_of(buckets: array[int]) -> dict[int, int]:
    """Those that are not empty."""
    return {index: count for index, count in enumerate(buckets) if count}
