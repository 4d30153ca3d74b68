"""A circuit breaker in plain Python on virtual time: what the scripts, and the breaker of a process, have to agree with.

It keeps every call with its time, and counts anew each time it is asked; so nothing of how the others do it can be wrong in the
same way. Times are whole milliseconds.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rules:
    """Shares are in millionths."""

    failures: int = 500_000
    slow: int = 1_000_001
    minimum: int = 4
    window: int | None = 10_000
    window_calls: int | None = None
    open_for: int = 1_000
    growth: float = 2.0
    open_max: int = 5_000
    jitter: int = 0
    half_open_calls: int = 2
    half_open_for: int | None = None
    lease: int = 3_000


@dataclass
class Circuit:
    """Whoever asks it sets `now`.

    Attributes:
        probes: id -> when its lease ends.
        results: of the probes of a half-open one: outcomes, 0 to 3.
    """

    rules: Rules
    key: str = ""
    now: int = 0
    state: str = "closed"
    generation: int = 0
    since: int = 0
    tried: int = 0
    open_until: int = 0
    reopened: int = 0
    opened: int = 0
    not_permitted: int = 0
    probes: dict[str, int] = field(default_factory=dict)
    results: list[int] = field(default_factory=list)
    opened_by: tuple[int, int, int] = (0, 0, 0)
    _calls: list[tuple[int, int]] = field(default_factory=list)  # slot it counts in, outcome
    _lost: bool = False

    # --- what is asked

    def allow(self, probe: str) -> tuple[str, int]:
        """ "pass", "probe" or "refuse", and ms until it is worth to come back."""
        r = self.rules
        if self.state == "open" and self.now >= self.open_until:
            self._turn("half_open")
        if self.state in {"closed", "disabled"}:
            return "pass", 0
        wait = r.open_for
        if self.state == "half_open":
            self._reap()
            if len(self.probes) + len(self.results) < r.half_open_calls:
                self.probes[probe] = self.now + r.lease
                self.tried = self.now
                return "probe", 0
            patience = max(60_000, 10 * r.open_for) if r.half_open_for is None else r.half_open_for
            if self.now >= self.tried + patience:
                self._open(probe)
            wait = min(1000, min(self.probes.values(), default=self.now + 1000) - self.now)
        if self.state == "open":
            wait = self.open_until - self.now
        self.not_permitted += 1
        return "refuse", wait

    def record(self, generation: int, probe: str, outcome: int, caller: str = "") -> bool:
        """A call ended: 0 well, 1 failed, 2 slow, 3 both, -1 given back. Whether it was of interest."""
        if generation != self.generation:
            return False
        caller = caller or probe
        if self.state == "half_open":
            if self.probes.get(probe, 0) <= self.now:
                return False
            del self.probes[probe]
            if outcome >= 0:
                self.results.append(outcome)
                if len(self.results) >= self.rules.half_open_calls:
                    counts = self.counts()
                    if self._too_many(*counts):
                        self._open(caller)
                        self.opened_by = counts
                    else:
                        self._turn("closed")
            return True
        if self.state == "closed" and outcome >= 0:
            self._count(outcome)
            counts = self.counts()
            if counts[0] >= self.rules.minimum and self._too_many(*counts):
                self._open(caller)
                self.opened_by = counts
        return True

    def tell(self, to: str) -> None:
        """Somebody sets the state."""
        if to == "reset":
            self.opened = self.not_permitted = 0
        self._turn("closed" if to == "reset" else to)

    def undo(self, probe: str) -> None:
        """A caller will not learn that it was let through."""
        self.probes.pop(probe, None)

    def renew(self, probe: str) -> bool:
        """Its process lives."""
        if self.probes.get(probe, 0) <= self.now:
            return False
        self.probes[probe] = self.now + self.rules.lease
        return True

    def evict(self) -> None:
        """The outcomes of the last calls are gone: the counts stand until the next call, which begins anew."""
        self._lost = self.rules.window_calls is not None

    # --- how it stands

    def counts(self) -> tuple[int, int, int]:
        """Calls, failures and slow ones that count now."""
        if self.state == "half_open":
            found = self.results
        elif self.state == "open":
            return self.opened_by
        elif self.rules.window_calls is not None:
            found = [outcome for _, outcome in self._calls[-self.rules.window_calls :]]
        else:
            assert self.rules.window is not None
            found = [outcome for slot, outcome in self._calls if slot + self.rules.window > self.now]
        return len(found), sum(each % 2 for each in found), sum(each >= 2 for each in found)

    @property
    def under_way(self) -> int:
        """Probes whose lease is not over."""
        return sum(ends > self.now for ends in self.probes.values())

    def _count(self, outcome: int) -> None:
        """A slot begins with the first call after the tenth of a window in which the one before began."""
        if self._lost:
            self._calls, self._lost = [], False
        slot = self._calls[-1][0] if self._calls else None
        if slot is None or self.now >= slot + (self.rules.window or 0) / 10:
            slot = self.now
        self._calls.append((slot, outcome))

    def _too_many(self, calls: int, failures: int, slow: int) -> bool:
        return failures * 1_000_000 >= self.rules.failures * calls or slow * 1_000_000 >= self.rules.slow * calls

    def _reap(self) -> None:
        self.probes = {probe: ends for probe, ends in self.probes.items() if ends > self.now}

    def _open(self, caller: str) -> None:
        """`caller` is the lane and the number of the call that brings it about: what the jitter comes from."""
        r = self.rules
        opened_by = self.counts()
        self.reopened = self.reopened + 1 if self.state == "half_open" else 0
        self.opened += 1
        self._turn("open")
        self.opened_by = opened_by
        length = float(r.open_for)
        if self.reopened:
            length = min(r.open_for * r.growth**self.reopened, r.open_max)
            share = int(hashlib.sha1(f"{self.key} {caller}".encode()).hexdigest()[:8], 16) / 2**32
            length *= 1 + r.jitter / 1_000_000 * share
        self.open_until = self.now + math.ceil(length)

    def _turn(self, to: str) -> None:
        if to not in {"open", "half_open"}:
            self.reopened = 0
        self.state = to
        self.generation = max(self.now, self.generation + 1)
        self.since = self.now
        self.probes.clear()
        self.results, self._calls, self._lost, self.opened_by = [], [], False, (0, 0, 0)
