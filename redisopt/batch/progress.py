"""How far a run has come. The numbers are counted in Redis, by the script that records the outcomes: they cannot drift."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

EVERY = 0.1
"""Seconds between two reports, at least."""

_MEMORY = 3.0  # seconds: how long the rate remembers


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run of `map` has come.

    Attributes:
        done: items with a result.
        failed: items that were given up, cancelled or dropped.
        total: items of the run.
        retried: further runs of items, over all of them.
        rate: items that end in a second, of late.
        eta: seconds until all have ended, at this rate; None until some have.
    """

    done: int
    failed: int
    total: int
    retried: int
    rate: float
    eta: float | None


class Pace:
    """The progress of one run as seen by one process, and who is told of it."""

    def __init__(self, total: int, tell: Callable[[Progress], object]) -> None:
        self._total = total
        self._tell = tell
        self._rate = 0.0
        self._ended, self._at = -1, 0.0
        self._told, self._told_at = (-1, -1, -1), -math.inf

    def report(self, standing: list[int], gone: int, at: float, *, last: bool = False) -> None:
        """Tell of the standing, unless that was done a moment ago, or nothing is new."""
        if not standing:
            return
        _, done, failed, retried, _, now_ms = standing
        failed = min(failed + gone, self._total - done)
        ended, seconds = done + failed, now_ms / 1000
        if self._ended < 0:
            self._ended, self._at = ended, seconds
        elif ended > self._ended and seconds > self._at:
            latest = (ended - self._ended) / (seconds - self._at)
            weight = 1 - math.exp(-(seconds - self._at) / _MEMORY)
            self._rate = latest if self._rate == 0 else self._rate + weight * (latest - self._rate)
            self._ended, self._at = ended, seconds
        numbers = (done, failed, retried)
        if numbers == self._told or (at < self._told_at + EVERY and not last):
            return
        self._told, self._told_at = numbers, at
        left = self._total - ended
        eta = 0.0 if left == 0 else left / self._rate if self._rate > 0 else None
        self._tell(Progress(done, failed, self._total, retried, self._rate, eta))
