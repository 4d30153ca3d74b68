"""What one process has measured: counted in memory, and handed out in parts to be flushed.

A measurement adds to a few numbers under a lock; nothing is sent. What is handed out stays here until Redis has it, under a number of
its own, so that it counts once however often it is sent. Meanwhile measurements go on adding to numbers of their own:
memory is bounded by the names, not by how long Redis is away. A forked child begins with nothing, since what its parent
has measured is its parent's to flush.
"""

from __future__ import annotations

import itertools
import math
import threading
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from redisopt import events
from redisopt.background import now
from redisopt.identity import process_id
from redisopt.monitor import names
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.packing import loose, unpack
from redisopt.monitor.series import Series, counts_of
from redisopt.monitor.sketch import GAMMA, INDEXES, SCALE, Tally
from redisopt.monitor.slots import MINUTE

MOST_IN_PART = 1000
"""Names that one script call carries."""

_LOOK_AGAIN = 1023  # of so many measurements of a name one asks anew: an event loop may have been closed meanwhile

FORGOTTEN = 25 * 60
"""Minutes after which a name that is not measured is forgotten here."""

LONGEST = 1e9
"""Seconds of one measurement, at most."""

_PER_LOG = 1 / math.log(GAMMA)
_HIGHEST = INDEXES - 1
_BEFORE_FULL = 2**31  # what a bucket holds is twice that
_log, _ceil = math.log, math.ceil
_numbers = itertools.count(1)


def _spelling(name: str, labels: Mapping[str, Any]) -> Any:
    """A name and labels as they were given: 1, 1.0 and True are equal, and other labels."""
    return (name, *labels.items(), *map(type, labels.values()))


class Delta(NamedTuple):
    """What was measured of one name since it was last handed out: `tally` without buckets, and those as a loose pack."""

    member: str
    tally: Tally
    packs: bytes


class Part(NamedTuple):
    """What one script call carries, and the call's number; for the history, the minute in which it was handed out."""

    number: int
    deltas: Sequence[Delta]
    minute: int


class Tracking:
    """The measurements of one monitor in this process. Thread-safe, and safe in a forked child.

    Attributes:
        lane: under which its parts are numbered.
        flushed, folded: measurements that are in Redis, and that came with too many label sets.
        unattended: whether nobody flushes in the background, so that the next measurement asks for it.
    """

    def __init__(self, config: MonitorConfig, begun: Callable[[], bool]) -> None:
        """`begun` is called when there is something to flush that was not there before, and says whether anybody will."""
        self._config = config
        self._begun = begun
        self._number = next(_numbers)
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self.lane = f"{self._process}.{self._number}"
        self._lock = threading.RLock()
        self._handing = threading.RLock()  # taken before the other; who measures does not wait for it
        self._moving = 0  # measurements on their way from the names to the queue
        self._series: dict[Any, Series] = {}  # by name, and by name and labels
        self._members: dict[str, Series] = {}
        self._sets: dict[str, int] = {}
        self._queue: deque[Part] = deque()
        self._parts = itertools.count(1)
        self._overflow = Series("", "")
        self.flushed = self.folded = self._dropped = 0
        self.unattended = False

    def track(self, name: str, seconds: float, error: object = None, labels: Mapping[str, Any] | None = None) -> None:
        """Count one operation. See `PerformanceMonitor.track`."""
        if self._process != process_id():
            self._begin()
        try:
            series = self._series.get(_spelling(name, labels) if labels else name)
        except (AttributeError, TypeError):
            series = None  # neither a name nor labels: says so
        if series is None:
            series = self._find(name, labels)
        try:
            if not 0 <= seconds <= LONGEST:
                raise ValueError
            micros = seconds * SCALE
        except (TypeError, ValueError):
            raise ValueError(f"seconds must be a number from 0 to {LONGEST:,.0f}, not {seconds!r}") from None
        index = _ceil(_log(micros) * _PER_LOG) if micros > 1 else 0
        if index > _HIGHEST:  # noqa: PLR1730 - here and below, a call of min or max would cost a tenth of all
            index = _HIGHEST
        with self._lock:
            count = series.count
            series.count = count + 1
            series.sum += seconds
            series.buckets[index] += 1
            if seconds < series.least:  # noqa: PLR1730
                series.least = seconds
            if seconds > series.most:  # noqa: PLR1730
                series.most = seconds
            if error is not None and error is not False:  # an exception may be false, such as one with a length
                series.errors += 1
        if not count & _LOOK_AGAIN or self.unattended:
            self.unattended = not self._begun()

    def _find(self, name: str, labels: Mapping[str, Any] | None) -> Series:
        """The series of a name that was not looked up so before."""
        member = names.member(name, labels)
        with self._lock:
            series = self._members.get(member)
            if series is None or series.refused:
                series = self._other(name, series, bool(labels)) or self._open(name, member)
            if series.member == member or not labels:
                if len(self._series) >= 4 * self._config.max_names:
                    self._series.clear()  # labels that come in ever other orders: forget how they were written
                self._series[_spelling(name, labels) if labels else name] = series
            return series

    def _other(self, name: str, known: Series | None, labelled: bool) -> Series | None:  # noqa: FBT001
        """Where a measurement goes whose name or labels are one too many; None where they are not."""
        sets = self._sets.get(name, 0)
        full = len(self._members) >= self._config.max_names
        if labelled and (known is not None or full or sets >= self._config.max_label_sets):
            member = names.other(name)
            into = self._members.get(member) or self._open(name, member)
            self.folded += into is not self._overflow
            return into
        if known is not None:
            return known  # it is refused, and says so when it is flushed
        if labelled:
            self._sets[name] = sets + 1
        return None

    def _open(self, name: str, member: str) -> Series:
        if len(self._members) >= self._config.max_names + len(self._sets):
            if not self._overflow.count:
                events.logger.warning(
                    "monitor: %r and more are names too many, and are not counted (max_names)", member
                )
            return self._overflow
        series = self._members[member] = Series(name, member)
        series.last = now() // MINUTE  # it may be handed out before it is counted for the first time, and is kept then
        return series

    # --- flushing

    @property
    def dropped(self) -> int:
        """Measurements that were lost, since there are too many names."""
        return self._dropped + self._overflow.count

    @property
    def pending(self) -> int:
        """Measurements that Redis does not have, as far as is known."""
        if self._process != process_id():
            self._begin()
        with self._lock:
            queued = sum(delta.tally.count for part in self._queue for delta in part.deltas)
            return queued + self._moving + sum(series.count for series in self._members.values())

    def part(self) -> Part | None:
        """What is to be sent next; the same until it is done. None for nothing."""
        if self._process != process_id():
            self._begin()
        with self._lock:
            return self._queue[0] if self._queue else None

    def hand_out(self, minute: int) -> None:
        """Have all that was measured sent in parts, unless earlier parts are still to be sent. `minute` is for the history.

        Who measures meanwhile waits only until the numbers are taken, not until they are packed.
        """
        with self._handing:
            with self._lock:
                if self._queue and all(series.count < _BEFORE_FULL for series in self._members.values()):
                    return
                taken = [(series, series.take()) for series in self._members.values() if series.count]
                self._moving = sum(counted.count for _, (counted, _) in taken)
            deltas = [self._delta(series, counted, buckets, minute) for series, (counted, buckets) in taken]
            with self._lock:
                self._moving = 0
                for start in range(0, len(deltas), MOST_IN_PART):
                    self._queue.append(Part(next(self._parts), deltas[start : start + MOST_IN_PART], minute))
                for series in [each for each in self._members.values() if each.last < minute - FORGOTTEN]:
                    if not series.count:
                        self._forget(series)

    def _delta(self, series: Series, counted: Tally, buckets: array[int], minute: int) -> Delta:
        delta = Delta(series.member, counted, loose(counts_of(buckets)))
        series.last = minute
        return delta

    def _forget(self, series: Series) -> None:
        """A name that was not measured for so long makes room for others; so does one that was refused, to try again."""
        del self._members[series.member]
        self._series = {how: known for how, known in self._series.items() if known is not series}
        if ";" in series.member and series.member != names.other(series.name):
            self._sets[series.name] -= 1
            if not self._sets[series.name]:
                del self._sets[series.name]

    def done(self, part: Part, refused: Sequence[int]) -> bool:
        """Redis has a part, but for the names of these numbers, from 1: the fleet has too many.

        Returns whether some of it counts as "other" now, and is to be handed out once more.
        """
        with self._handing:
            with self._lock:
                if not self._queue or self._queue[0].number != part.number:
                    return False  # somebody else was told so
                self._queue.popleft()
                counts = [delta.tally.count for delta in part.deltas]
                self.flushed += sum(counts) - sum(counts[number - 1] for number in refused)
                moved = {number for number in refused if self._refuse(part.deltas[number - 1])}
                own = [delta for number, delta in enumerate(part.deltas, 1) if number not in moved]
                histories = [
                    (self._members[delta.member].history, delta) for delta in own if delta.member in self._members
                ]
            for history, delta in histories:
                history.add(part.minute, delta.tally, delta.packs)
            return bool(moved)

    def _refuse(self, delta: Delta) -> bool:
        """The fleet has no room for a name: with labels, it counts as "other" from now on; without, it is lost.

        Returns whether what was measured counts as "other" now, and so is in the history of that.
        """
        series = self._members.get(delta.member)
        if series is None or ";" not in delta.member:
            self._dropped += delta.tally.count
            return False
        if delta.member == names.other(series.name):  # all of this had been folded
            self.folded -= delta.tally.count
            self._dropped += delta.tally.count
            return False
        series.refused = True
        self._series = {how: known for how, known in self._series.items() if known is not series}
        member = names.other(series.name)
        into = self._members.get(member) or self._open(series.name, member)
        into.add(delta.tally, unpack(delta.packs))
        if into is self._overflow:
            return False
        self.folded += delta.tally.count
        return True

    # --- looking

    def tallies(self, name: str, labels: Mapping[str, Any] | None, start: float, seconds: float) -> list[Tally]:
        """What this process has measured of a name in a window; what the fleet refused counts as "other", as there."""
        member = names.member(name, labels)
        if self._process != process_id():
            self._begin()
        with self._handing:
            with self._lock:
                found = [
                    series
                    for series in self._members.values()
                    if (series.member == member if labels is not None else series.name == name)
                ]
                tallies = [series.counted().with_buckets(counts_of(series.buckets)) for series in found]
                members = {series.member for series in found}
                parts = [part for part in self._queue if part.minute * MINUTE >= start]
            queued = [delta for part in parts for delta in part.deltas if delta.member in members]
            tallies += [delta.tally.with_buckets(unpack(delta.packs)) for delta in queued]
            return tallies + [series.history.tally(start, seconds) for series in found]
