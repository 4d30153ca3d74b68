"""Which script is asked for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redisopt import keys
from redisopt.commands import Command
from redisopt.monitor import slots
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.slots import Slot
from redisopt.monitor.tracking import Part

KEPT_MS = 25 * 3_600_000 + 120_000
"""How long a name is kept that is not measured any more: its last hour and the day before it."""


class Found(NamedTuple):
    """What the fleet has measured of one name with its labels, newest first."""

    member: str
    minutes: list[Slot]
    hours: list[Slot]


class Asking:
    """The script calls of one monitor."""

    def __init__(self, name: str, config: MonitorConfig) -> None:
        self.name = name
        self._tag = keys.tag("monitor", keys.checked_name(name))
        self._keys = (f"{self._tag}state", f"{self._tag}names")
        self._most = config.max_names

    def flush(self, lane: str, part: Part) -> Command[list[int]]:
        """Add a part to what the fleet has. Its own lane and number see to it that it counts once, however often it is sent."""
        members = [delta.member for delta in part.deltas]
        lists = [f"{self._tag}{kind}:{member}" for member in members for kind in ("minutes", "hours")]
        figures = [text for delta in part.deltas for text in (delta.member, *slots.figures(delta.tally), delta.packs)]
        args = (lane, part.number, self._most, KEPT_MS, *figures)
        return Command("monitor_flush", (*self._keys, *lists), args, _read_refused)

    def read(self, seconds: float, wanted: Sequence[str]) -> Command[tuple[float, list[Found]]]:
        """What there is of some names, for a window; and the server's time."""
        return Command("monitor_read", self._keys, (self._tag, *slots.wanted(seconds), *wanted), _read_found)

    def names(self) -> Command[tuple[float, list[Found]]]:
        """Which names there are."""
        return Command("monitor_read", self._keys, (self._tag, 0, 0, "*"), _read_found)


def _read_refused(reply: Any) -> list[int]:
    text = _text(reply)
    return [] if text == "stale" else [int(number) for number in text.split()]


def _read_found(reply: Any) -> tuple[float, list[Found]]:
    now, *rows = reply
    found = [Found(_text(name), slots.read_all(minutes), slots.read_all(hours)) for name, minutes, hours in rows]
    return int(now) / 1000, found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
