"""How many grants fell into one trailing window at most: the demo's own count, which knows nothing of the library's.

A trailing window of a period holds what was granted at times in ``(end - period, end]``. The count is highest at an end
on which a grant falls, so looking at each grant's window is exact: the highest count is at most `limit` if and only if
``times[i + limit] - times[i] >= period`` for every i of the sorted times. Times are whole milliseconds of the server.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable


class GrantLog:
    """The times of all grants, in order, and the highest count in any trailing window of each period.

    Grants may be added in any order: processes report theirs independently. Adding can only raise a count, so only the
    windows that end at or after the earliest new grant are looked at again.

    >>> log = GrantLog([1000])
    >>> for time in (0, 500, 999, 1000):
    ...     log.add(time)
    >>> log.highest(1000)
    3
    """

    def __init__(self, periods_ms: Iterable[int]) -> None:
        self._times = array("q")
        self._highest = dict.fromkeys(periods_ms, 0)
        self._unseen = 0  # the index of the earliest time that no count includes yet

    def __len__(self) -> int:
        """How many grants there were."""
        return len(self._times)

    @property
    def newest(self) -> int:
        """The time of the latest grant. Raises IndexError when there is none."""
        return self._times[-1]

    def add(self, time_ms: int) -> None:
        """Note one grant."""
        times = self._times
        if not times or time_ms >= times[-1]:
            times.append(time_ms)
            return
        self._unseen = min(self._unseen, bisect_right(times, time_ms))
        insort(times, time_ms)

    def highest(self, period_ms: int) -> int:
        """The highest count in any trailing window of `period_ms`."""
        if self._unseen < len(self._times):
            for period in self._highest:
                self._look(period)
            self._unseen = len(self._times)
        return self._highest[period_ms]

    def count_within(self, span_ms: int) -> int:
        """How many grants came less than `span_ms` after the first, the first included."""
        return bisect_left(self._times, self._times[0] + span_ms) if self._times else 0

    def count_after(self, time_ms: int) -> int:
        """How many grants are later than `time_ms`."""
        return len(self._times) - bisect_right(self._times, time_ms)

    def _look(self, period: int) -> None:
        times, highest = self._times, self._highest[period]
        first = bisect_left(times, times[self._unseen] - period + 1)
        for last in range(self._unseen, len(times)):
            while times[first] <= times[last] - period:
                first += 1
            highest = max(highest, last - first + 1)
        self._highest[period] = highest
