"""Minutes and hours: what is kept of each, how it stands in Redis, and which of them a window takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from redisopt.errors import StateLost
from redisopt.monitor.packing import unpack
from redisopt.monitor.sketch import Tally, merged

MINUTE, HOUR, DAY = 60, 3600, 86_400

MINUTES, HOURS = 62, 25
"""Slots that are kept: those of an hour or day, the one that goes on, and for minutes one that its hour may not have yet."""

Window = Literal["minute", "hour", "day"]
_WINDOWS: dict[object, float] = {"minute": MINUTE, "hour": HOUR, "day": DAY}


class Slot(NamedTuple):
    """What ran in one minute or hour.

    Attributes:
        number: of the minute or hour, since 1970 by the server's clock (of this process: by its monotonic clock).
        tally: without the buckets.
        packs: the buckets.
        is_open: of a minute: whether its hour does not have it yet.
    """

    number: int
    tally: Tally
    packs: bytes
    is_open: bool = False


def seconds_of(window: Window | float) -> float:
    """The length of a window.

    Raises:
        ValueError: it is none of the words, nor seconds up to a day.
    """
    seconds = _WINDOWS.get(window, window) if isinstance(window, str) else window
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= DAY:
        raise ValueError(f"window must be 'minute', 'hour', 'day' or seconds up to {DAY:,}, not {window!r}")
    return float(seconds)


def wanted(seconds: float) -> tuple[int, int]:
    """How many minutes and hours have to be read for a window; the minutes of a long one for those that no hour has yet."""
    return (MINUTES if seconds > HOUR else math.ceil(seconds / MINUTE) + 1), (HOURS if seconds > HOUR else 0)


def start_of(now: float, seconds: float) -> float:
    """When a window begins: with the minute, of a long one the hour, in which it would begin exactly."""
    length = HOUR if seconds > HOUR else MINUTE
    return ((now - seconds) // length) * length


def total(minutes: Iterable[Slot], hours: Iterable[Slot], start: float, seconds: float) -> Tally:
    """What ran in a window."""
    is_long = seconds > HOUR
    taken = [slot for slot in minutes if slot.number * MINUTE >= start and (slot.is_open or not is_long)]
    if is_long:
        taken += [slot for slot in hours if slot.number * HOUR >= start]
    return merged(slot.tally.with_buckets(unpack(slot.packs)) for slot in taken)


def read(stored: bytes | str) -> Slot:
    """A slot as it stands in Redis.

    Raises:
        StateLost: it is none.
    """
    raw = stored.encode("utf-8", "surrogateescape") if isinstance(stored, str) else stored
    head, _, packs = raw.partition(b"\n")
    try:
        number, count, errors, total_, least, most, *state = head.decode("ascii").split(" ")
        tally = Tally(int(count), int(errors), float(total_), float(least), float(most))
        return Slot(int(number), tally, packs, bool(state))
    except ValueError:
        raise StateLost(f"a slot of the monitor was overwritten by something else: {head[:60]!r}") from None


def written(slot: Slot) -> bytes:
    """A slot as `read` reads it, where this process keeps it."""
    return " ".join((str(slot.number), *figures(slot.tally))).encode() + b"\n" + slot.packs


def figures(tally: Tally) -> tuple[str, str, str, str, str]:
    """Count, errors, sum, min and max as they stand in Redis: to a microsecond, since their length is a third of a slot's."""
    seconds = (f"{round(each, 6):.15g}" for each in (tally.sum, tally.min, tally.max))
    return (str(tally.count), str(tally.errors), *seconds)  # type: ignore[return-value] # of three


def read_all(stored: Sequence[Any]) -> list[Slot]:
    """Several of them."""
    return [read(each) for each in stored]
