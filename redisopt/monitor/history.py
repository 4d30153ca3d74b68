"""What this process has measured of one name before, by the minute for an hour and by the hour for a day, packed."""

from __future__ import annotations

from redisopt.monitor.packing import pack, unpack
from redisopt.monitor.sketch import Tally, merged
from redisopt.monitor.slots import HOURS, MINUTE, MINUTES, Slot, read, read_all, total, written

_SLACK = 256  # bytes by which packs may outgrow the first of them before they are made one


class History:
    """The minutes and hours of one name, as slots stand in Redis, which is the smallest that they can be. By the monotonic clock."""

    __slots__ = ("_hours", "_minutes")

    def __init__(self) -> None:
        self._minutes: list[bytes] = []
        self._hours: list[bytes] = []

    def add(self, minute: int, tally: Tally, packs: bytes) -> None:
        """So much was measured in a minute."""
        _add(self._minutes, MINUTES, Slot(minute, tally, packs))
        _add(self._hours, HOURS, Slot(minute // MINUTE, tally, packs))

    def tally(self, start: float, seconds: float) -> Tally:
        """What was measured in a window."""
        return total(read_all(self._minutes), read_all(self._hours), start, seconds)


def _add(slots: list[bytes], most: int, more: Slot) -> None:
    last = read(slots[-1]) if slots else None
    if last is None or last.number != more.number:
        if last is not None:
            slots[-1] = written(last._replace(packs=pack(unpack(last.packs))))
        slots.append(written(more))
        del slots[:-most]
        return
    packs = last.packs + more.packs
    if len(packs) > _SLACK + 2 * int.from_bytes(packs[:2], "big"):
        packs = pack(unpack(packs))
    slots[-1] = written(Slot(last.number, merged([last.tally, more.tally]), packs))
