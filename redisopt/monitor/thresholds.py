"""Thresholds: which figures of the last minute are too high, and who has been told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from redisopt import events
from redisopt.identity import process_id
from redisopt.monitor.report import Breach, PerformanceReport


class Thresholds:
    """The limits of one monitor, and which of them this process has seen breached. A forked child has seen none."""

    def __init__(
        self, monitor: str, limits: Mapping[str, float], on_threshold: Callable[[Breach], object] | None
    ) -> None:
        self._monitor = monitor
        self._limits = [(*_parted(threshold), limit) for threshold, limit in limits.items()]
        self._on_threshold = on_threshold
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._breached: dict[tuple[str, str], None] = {}

    @property
    def names(self) -> Sequence[str]:
        """Whose reports are to be looked at."""
        return list(dict.fromkeys(name for name, _, _ in self._limits))

    @property
    def breached(self) -> tuple[str, ...]:
        """Those that are breached, as far as is known."""
        if self._process != process_id():
            self._begin()
        return tuple(f"{name}.{field}" for name, field in self._breached)

    @property
    def watched(self) -> bool:
        """Whether somebody is to be told, so that they are looked at also while nothing is measured here."""
        return bool(self._limits) and self._on_threshold is not None

    def check(self, reports: Mapping[str, PerformanceReport]) -> None:
        """Look at the last minute, and tell of what has changed."""
        if self._process != process_id():
            self._begin()
        for name, field, limit in self._limits:
            value = float(getattr(reports[name], field))
            is_above, was_above = value > limit, (name, field) in self._breached
            if is_above == was_above:
                continue
            if is_above:
                self._breached[name, field] = None
            else:
                del self._breached[name, field]
            events.say(
                events.ThresholdCrossed(self._monitor, name, field, limit, value, recovered=not is_above),
                logging.WARNING if is_above else logging.INFO,
                "monitor %r: %s.%s of the last minute is %.6g, %s %.6g",
                *(self._monitor, name, field, value, "above" if is_above else "no more above", limit),
            )
            if self._on_threshold is not None:
                events.notify(self._on_threshold, Breach(name, field, limit, value, recovered=not is_above))


def _parted(threshold: str) -> tuple[str, str]:
    name, _, field = threshold.rpartition(".")
    return name, field
