"""A breaker of this process alone, with the rules of the shared one: what goes on while Redis is away.

Here alone a breaker decides by a clock of its own process, the monotonic one. No lease is needed: a probe that nobody holds any more
is found by the garbage collector.
"""

from __future__ import annotations

import random
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from redisopt.background import now
from redisopt.breaker.config import MILLION, CircuitBreakerConfig
from redisopt.breaker.state import CircuitMetrics, State, Verdict, rates

SLOTS = 10

_SOON = 1.0
"""Seconds after which to come back to one that waits for its probes."""


class Counts(NamedTuple):
    """Calls, and how many of them failed or were slow."""

    calls: int = 0
    failures: int = 0
    slow: int = 0

    def and_one(self, outcome: int) -> Counts:
        """With one call more."""
        return Counts(self.calls + 1, self.failures + outcome % 2, self.slow + outcome // 2)

    def plus(self, other: Counts) -> Counts:
        """The sum."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class TimeWindow:
    """Calls of the last `length` seconds, forgotten in tenths of it."""

    def __init__(self, length: float) -> None:
        self._length = length
        self._slots: deque[tuple[float, Counts]] = deque()

    def counts(self, at: float) -> Counts:
        """What counts at a time."""
        while self._slots and self._slots[0][0] + self._length <= at:
            self._slots.popleft()
        total = Counts()
        for _, counts in self._slots:
            total = total.plus(counts)
        return total

    def add(self, outcome: int, at: float) -> None:
        """Count a call."""
        if not self._slots or self._slots[-1][0] + self._length / SLOTS <= at:
            self._slots.append((at, Counts()))
        start, counts = self._slots[-1]
        self._slots[-1] = (start, counts.and_one(outcome))


class CallWindow:
    """The last calls."""

    def __init__(self, calls: int) -> None:
        self._outcomes: deque[int] = deque(maxlen=calls)
        self._counts = Counts()

    def counts(self, _: float) -> Counts:
        """What counts."""
        return self._counts

    def add(self, outcome: int, _: float) -> None:
        """Count a call."""
        if len(self._outcomes) == self._outcomes.maxlen:
            calls, failures, slow = self._counts
            self._counts = Counts(calls - 1, failures - self._outcomes[0] % 2, slow - self._outcomes[0] // 2)
        self._outcomes.append(outcome)
        self._counts = self._counts.and_one(outcome)


class LocalCircuit:
    """The breaker of this process. Thread-safe.

    Args:
        config: its rules.
        state: that it begins in: what was last known of the shared one.
        tell: is told of the state before and after each change.
    """

    def __init__(self, config: CircuitBreakerConfig, state: State, tell: Callable[[State, State], object]) -> None:
        self._config = config
        self._tell = tell
        self._lock = threading.RLock()
        self._probes: weakref.WeakSet[object] = weakref.WeakSet()
        self._opened = self._not_permitted = self._reopened = self._generation = 0
        self._window = self._new_window()
        self._results = Counts()
        self._state: State = state
        self._since = self._tried = now()
        self._open_until = self._since + config.open_for if state in {"open", "half_open"} else 0.0
        if state == "half_open":  # whose probes are others' affair
            self._state = "open"

    def allow(self, holder: object) -> Verdict:
        """Whether a call may pass; `holder` is alive for as long as it is under way."""
        changes: list[tuple[State, State]] = []
        with self._lock:
            verdict = self._allow(holder, changes)
        self._tell_of(changes)
        return verdict

    def record(self, generation: int | None, holder: object | None, outcome: int) -> None:
        """How a call ended. A `generation` of None is that of now, for a call that Redis let through."""
        changes: list[tuple[State, State]] = []
        with self._lock:
            was_probe = holder is not None and holder in self._probes
            if was_probe:
                self._probes.discard(holder)
            if generation is None and self._state == "closed":
                generation = self._generation
            if generation == self._generation and outcome >= 0:
                if self._state == "half_open" and was_probe:
                    self._end_probe(outcome, changes)
                elif self._state == "closed":
                    self._count(outcome, changes)
        self._tell_of(changes)

    def metrics(self) -> CircuitMetrics:
        """How it stands."""
        with self._lock:
            time = now()
            counts = self._window.counts(time) if self._state == "closed" else self._results
            return CircuitMetrics(
                self._state,
                self._since,
                *counts,
                *rates(*counts),
                len(self._probes),
                self._opened,
                self._not_permitted,
                self._wait(time),
                is_local=True,
            )

    # --- with the lock held

    def _allow(self, holder: object, changes: list[tuple[State, State]]) -> Verdict:
        time = now()
        if self._state == "open" and time >= self._open_until:
            self._turn("half_open", changes)
        if self._state in {"closed", "disabled"}:
            return Verdict(True, self._state, self._generation)  # noqa: FBT003
        if self._state == "half_open":
            is_full = len(self._probes) + self._results.calls >= self._config.half_open_calls
            if not is_full and holder not in self._probes:
                self._probes.add(holder)
                self._tried = time
                return Verdict(True, self._state, self._generation, "local")  # noqa: FBT003
            if is_full and time >= self._tried + self._config.patience:  # they hang
                self._open(changes)
        self._not_permitted += 1
        return Verdict(False, self._state, self._generation, retry_after=self._wait(time))  # noqa: FBT003

    def _wait(self, time: float) -> float:
        if self._state == "open":
            return max(0.0, self._open_until - time)
        return {"half_open": _SOON, "forced_open": self._config.open_for}.get(self._state, 0.0)

    def _end_probe(self, outcome: int, changes: list[tuple[State, State]]) -> None:
        self._results = self._results.and_one(outcome)
        if self._results.calls < self._config.half_open_calls:
            return
        if self._too_many(self._results):
            self._open(changes)
        else:
            self._turn("closed", changes)

    def _count(self, outcome: int, changes: list[tuple[State, State]]) -> None:
        time = now()
        self._window.add(outcome, time)
        counts = self._window.counts(time)
        if counts.calls >= self._config.minimum and self._too_many(counts):
            self._open(changes)

    def _too_many(self, counts: Counts) -> bool:
        config = self._config
        failed = counts.failures * MILLION >= config.failures * counts.calls
        return failed or counts.slow * MILLION >= config.slow * counts.calls

    def _open(self, changes: list[tuple[State, State]]) -> None:
        config, seconds = self._config, self._config.open_for
        self._reopened = self._reopened + 1 if self._state == "half_open" else 0
        if self._reopened:
            longest = config.open_max_ms / 1000
            for _ in range(self._reopened):
                seconds = min(seconds * config.open_growth, longest)
            seconds *= 1 + config.open_jitter * random.random()  # noqa: S311 - nothing secret
        self._opened += 1
        counts = self._window.counts(now()) if self._state == "closed" else self._results
        self._turn("open", changes)
        self._results = counts  # what opened it
        self._open_until = self._since + seconds

    def _turn(self, to: State, changes: list[tuple[State, State]]) -> None:
        changes.append((self._state, to))
        self._state = to
        self._generation += 1
        self._since = now()
        self._probes.clear()
        self._results = Counts()
        if to == "closed":
            self._reopened = 0
        if to != "open":
            self._window = self._new_window()

    def _new_window(self) -> TimeWindow | CallWindow:
        calls, length = self._config.window_calls, self._config.window
        return CallWindow(calls) if calls is not None else TimeWindow(length or 0.0)

    def _tell_of(self, changes: list[tuple[State, State]]) -> None:
        for before, after in changes:
            self._tell(before, after)
