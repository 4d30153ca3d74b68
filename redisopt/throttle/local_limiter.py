"""A limiter of this process alone: exact sliding windows in memory, for when Redis is away.

Every rate and the burst is a window of its own, whose limit is divided by the number of processes. Uses are counted in
slots, as in Redis, so that a window is small whatever its limit: a use is put at the end of its slot, so it never counts
for too short a time. A caller that has to wait is given its place at once, behind all who asked before.

Times are whole milliseconds of whatever clock the caller has.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from redisopt.throttle.decision import LimitState

_KEYS_BEFORE_SWEEP = 1024


class Limit(NamedTuple):
    """At most `limit` cost in any trailing `period_ms`, counted in slots of `slot_ms`. One named "burst" starts a cooldown."""

    name: str
    limit: int
    period_ms: int
    slot_ms: int


@dataclass(slots=True, eq=False)
class Place:
    """When a call was granted what, and until when nothing else is granted because of it (0: no cooldown)."""

    time_ms: int
    cost: int
    cools_until_ms: int = 0


class Answer(NamedTuple):
    """What a call was told.

    Attributes:
        place: what it was granted; None when it was refused.
        wait_ms: until its place, or until it would have one; None for a cost above this process's share.
        waits_for: the limit that a call has to wait for, or would have to.
        queue_size: how many wait.
        states: each limit as it stands.
    """

    place: Place | None
    wait_ms: int | None
    waits_for: str
    queue_size: int
    states: tuple[LimitState, ...]


class LocalLimiter:
    """Sliding windows for each key. Thread-safe."""

    def __init__(self, limits: tuple[Limit, ...], cooldown_ms: int) -> None:
        self._limits = limits
        self._cooldown_ms = cooldown_ms
        self._lock = threading.Lock()
        self._windows: dict[str, Windows] = {}
        self._sweep_at = _KEYS_BEFORE_SWEEP

    def take(self, key: str, cost: int, least: int, patience_ms: float, processes: int, now_ms: int) -> Answer:
        """Take `cost`, or now at least `least` of it, where that is not more than `patience_ms` away."""
        with self._lock:
            return self._of(key, now_ms).take(cost, least, patience_ms, processes, now_ms)

    def states(self, key: str, processes: int, now_ms: int) -> tuple[LimitState, ...]:
        """Each limit as it stands."""
        with self._lock:
            return self._of(key, now_ms).states(processes, now_ms)

    def give_back(self, key: str, place: Place) -> None:
        """A caller that waits has given up."""
        with self._lock:
            windows = self._windows.get(key)
            if windows is not None:
                windows.give_back(place)

    def note(self, key: str, cost: int, now_ms: int) -> None:
        """Redis has granted this process so much: that counts as well."""
        with self._lock:
            self._of(key, now_ms).note(cost, now_ms)

    def _of(self, key: str, now_ms: int) -> Windows:
        windows = self._windows.get(key)
        if windows is None:
            if len(self._windows) >= self._sweep_at:
                self._windows = {each: found for each, found in self._windows.items() if not found.are_idle(now_ms)}
                self._sweep_at = max(_KEYS_BEFORE_SWEEP, 2 * len(self._windows))
            windows = self._windows[key] = Windows(self._limits, self._cooldown_ms)
        return windows


class Windows:
    """The windows of one key, and the callers that wait for their place in them."""

    __slots__ = ("_cooldown_ms", "_cools_until_ms", "_line", "_now_ms", "_windows")

    def __init__(self, limits: tuple[Limit, ...], cooldown_ms: int) -> None:
        self._windows = [Window(limit) for limit in limits]
        self._cooldown_ms = cooldown_ms
        self._cools_until_ms = 0
        self._line: deque[Place] = deque()
        self._now_ms = 0

    def take(self, cost: int, least: int, patience_ms: float, processes: int, now_ms: int) -> Answer:
        """See `LocalLimiter.take`."""
        now_ms = self._pass(now_ms)
        shares = self._shares(processes)
        if least < cost:
            free = min((share - window.used for window, share in zip(self._windows, shares, strict=True)), default=cost)
            cost = max(least, min(cost, free))
        if cost > min(shares, default=cost):
            return Answer(None, None, "", len(self._line), self._states(shares, now_ms))
        time_ms, waits_for = self._earliest(cost, shares, now_ms)
        wait_ms = time_ms - now_ms
        place = None
        if wait_ms <= patience_ms:
            # A use now is put at the next whole millisecond, since `now_ms` was rounded down.
            place = self._put(Place(time_ms + (wait_ms == 0), cost), shares)
            if wait_ms:
                self._line.append(place)
            else:
                self._cools_until_ms = max(self._cools_until_ms, place.cools_until_ms)
        return Answer(place, wait_ms, waits_for, len(self._line), self._states(shares, now_ms))

    def states(self, processes: int, now_ms: int) -> tuple[LimitState, ...]:
        """See `LocalLimiter.states`."""
        now_ms = self._pass(now_ms)
        return self._states(self._shares(processes), now_ms)

    def give_back(self, place: Place) -> None:
        """Forget a place. Callers behind it keep theirs; the next that asks comes behind them."""
        for window in self._windows:
            window.remove(place.time_ms, place.cost)
        if place in self._line:
            self._line.remove(place)

    def note(self, cost: int, now_ms: int) -> None:
        """Count what Redis has granted."""
        now_ms = self._pass(now_ms)
        for window in self._windows:
            window.add(now_ms + 1, cost)

    def are_idle(self, now_ms: int) -> bool:
        """Whether nothing in them counts any more."""
        now_ms = self._pass(now_ms)
        return not self._line and self._cools_until_ms <= now_ms and not any(window.used for window in self._windows)

    def _shares(self, processes: int) -> list[int]:
        return [max(1, window.limit.limit // processes) for window in self._windows]

    def _pass(self, now_ms: int) -> int:
        """Time has come so far. Returns what it is: threads do not come in the order in which they looked at the clock."""
        # What another thread saw pass is forgotten, and must not be used again at a time when it still counted.
        self._now_ms = now_ms = max(self._now_ms, now_ms)
        while self._line and self._line[0].time_ms <= now_ms:
            self._cools_until_ms = max(self._cools_until_ms, self._line.popleft().cools_until_ms)
        for window in self._windows:
            window.forget_before(now_ms)
        return now_ms

    def _earliest(self, cost: int, shares: list[int], now_ms: int) -> tuple[int, str]:
        """The first time when `cost` fits, behind all who wait; and what it has to wait for."""
        behind = max((place.time_ms for place in self._line), default=now_ms)
        cooled = max((place.cools_until_ms for place in self._line), default=0)
        times = [(behind, "queue"), (max(cooled, self._cools_until_ms), "cooldown")]
        times += [
            (window.fits_at(cost, share), window.limit.name)
            for window, share in zip(self._windows, shares, strict=True)
        ]
        return max(times, key=lambda each: each[0])

    def _put(self, place: Place, shares: list[int]) -> Place:
        for window, share in zip(self._windows, shares, strict=True):
            window.add(place.time_ms, place.cost)
            if window.limit.name == "burst" and self._cooldown_ms and window.used_at(place.time_ms) >= share:
                place.cools_until_ms = place.time_ms + self._cooldown_ms
        return place

    def _states(self, shares: list[int], now_ms: int) -> tuple[LimitState, ...]:
        return tuple(
            LimitState(
                window.limit.name,
                share,
                0 if self._line else max(0, share - window.used),
                window.empty_after(now_ms) / 1000,
            )
            for window, share in zip(self._windows, shares, strict=True)
        )


class Window:
    """What was used of one limit, by slots in the order of time.

    Attributes:
        used: all of it, also for those who still wait.
    """

    __slots__ = ("_slots", "limit", "used")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.used = 0
        self._slots: deque[list[int]] = deque()  # each its end and its cost

    def add(self, time_ms: int, cost: int) -> None:
        """Use so much at this time."""
        end, at = self._end_of(time_ms), len(self._slots)
        self.used += cost
        while at and self._slots[at - 1][0] > end:
            at -= 1
        if at and self._slots[at - 1][0] == end:
            self._slots[at - 1][1] += cost
        else:
            self._slots.insert(at, [end, cost])

    def remove(self, time_ms: int, cost: int) -> None:
        """Undo `add`, where that still counts."""
        end = self._end_of(time_ms)
        for slot in self._slots:
            if slot[0] == end:
                self.used -= cost
                slot[1] -= cost
                if not slot[1]:
                    self._slots.remove(slot)
                return

    def forget_before(self, now_ms: int) -> None:
        """Drop what is over."""
        while self._slots and self._slots[0][0] + self.limit.period_ms <= now_ms:
            self.used -= self._slots.popleft()[1]

    def fits_at(self, cost: int, limit: int) -> int:
        """When `cost` fits, if nobody else comes; 0 for at once."""
        excess, time_ms = self.used + cost - limit, 0
        for end, used in self._slots:
            if excess <= 0:
                break
            excess -= used
            time_ms = end + self.limit.period_ms
        return time_ms

    def used_at(self, time_ms: int) -> int:
        """What counts at that time."""
        return sum(used for end, used in self._slots if end + self.limit.period_ms > time_ms)

    def empty_after(self, now_ms: int) -> int:
        """Milliseconds until nothing counts any more."""
        return max(0, self._slots[-1][0] + self.limit.period_ms - now_ms) if self._slots else 0

    def _end_of(self, time_ms: int) -> int:
        return -(-time_ms // self.limit.slot_ms) * self.limit.slot_ms
