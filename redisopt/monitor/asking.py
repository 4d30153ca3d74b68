"""Which script is asked for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redisopt import keys
from redisopt.commands import Command
from redisopt.monitor import names, slots
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.slots import Slot
from redisopt.monitor.tracking import Part
from redisopt.replies import text

KEPT_MS = 25 * 3_600_000 + 120_000
"""How long a name is kept that is not measured any more: its last hour and the day before it."""


MOST_READ, MOST_NAMES_READ = 1000, 100
"""Minutes and hours that one script call reads, and names, so that nobody else waits for long: about a millisecond."""


class Found(NamedTuple):
    """What the fleet has measured of one name with its labels, newest first."""

    member: str
    minutes: list[Slot]
    hours: list[Slot]


class Reading(NamedTuple):
    """What one call has read.

    Attributes:
        at: the server's time, in seconds.
        found: what there is.
        rest: names of which no more was read.
    """

    at: float
    found: list[Found]
    rest: list[str]


class Flushed(NamedTuple):
    """What became of a part: the numbers of its names, from 1, that were refused, and of those that are to be packed."""

    refused: list[int]
    to_pack: list[int]


class Asking:
    """The script calls of one monitor."""

    def __init__(self, name: str, config: MonitorConfig) -> None:
        self.name = name
        self._tag = keys.tag("monitor", keys.checked_name(name))
        self._keys = (f"{self._tag}state", f"{self._tag}names")
        self._most = config.max_names

    def flush(self, lane: str, part: Part) -> Command[Flushed]:
        """Add a part to what the fleet has. Its own lane and number see to it that it counts once, however often it is sent."""
        keys = [
            key
            for delta in part.deltas
            for key in (*self._lists([delta.member]), self._sets(names.base_of(delta.member)))
        ]
        figures = [text for delta in part.deltas for text in (delta.member, *slots.figures(delta.tally), delta.packs)]
        args = (lane, part.number, self._most, KEPT_MS, *figures)
        return Command("monitor_flush", (*self._keys, *keys), args, _read_flushed)

    def pack(self, members: Sequence[str]) -> Command[int]:
        """Make what Redis has of some names short, and add minutes that are over to their hours."""
        return Command("monitor_pack", tuple(self._lists(members)), (KEPT_MS,), int)

    def _lists(self, members: Sequence[str]) -> list[str]:
        return [f"{self._tag}{kind}:{member}" for member in members for kind in ("minutes", "hours")]

    def _sets(self, base: str) -> str:
        return f"{self._tag}labels:{base}"

    def read(self, seconds: float, wanted: Sequence[str], *, later: bool = False) -> Command[Reading]:
        """What there is of some names, for a window, as far as one call may read it.

        Args:
            seconds: of the window.
            wanted: names, or all of them that have a name.
            later: whether this goes on with what another call has begun: a minute may have turned since.
        """
        keys = (self._keys[0], *(self._sets(names.base_of(each)) for each in wanted))
        minutes, hours = slots.wanted(seconds)
        terms = (self._tag, minutes + later, hours, names_at_once(seconds))
        return Command("monitor_read", keys, (*terms, *wanted), _read_reading)

    def names(self) -> Command[list[str]]:
        """Which names there are."""
        return Command("monitor_read", self._keys, (self._tag, 0, 0, 0, "*"), lambda reply: _read_reading(reply).rest)


def names_at_once(seconds: float) -> int:
    """Of how many names one call reads a window."""
    return min(MOST_NAMES_READ, MOST_READ // sum(slots.wanted(seconds)))


def _read_flushed(reply: Any) -> Flushed:
    told = text(reply)
    refused, _, to_pack = ("", "", "") if told == "stale" else told.partition(";")
    return Flushed([int(number) for number in refused.split()], [int(number) for number in to_pack.split()])


def _read_reading(reply: Any) -> Reading:
    now, *rows = reply
    full = [row for row in rows if isinstance(row, list)]
    found = [Found(text(name), slots.read_all(minutes), slots.read_all(hours)) for name, minutes, hours in full]
    return Reading(int(now) / 1000, found, [text(row) for row in rows if not isinstance(row, list)])
