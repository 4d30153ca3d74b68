"""What a debouncer gives: the outcome of a window, the run that a handler sees, what is pending, and its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from redisopt.errors import RunLost
from redisopt.leases import Lease
from redisopt.monitor.report import PerformanceReport

Edge = Literal["leading", "trailing"]


@dataclass(frozen=True, slots=True)
class DebounceResult:
    """The one outcome that all callers of a window share.

    Attributes:
        value: what the handler returned.
        window: its id; the same when a run was started again, so that it serves as an idempotency key.
        superseded: whether the run did not get this caller's own payload, but that of a newer (or older) call.
        calls: how many calls the run covered.
        edge: of the burst that it ran on: "leading" or "trailing".
        executed_by: the id of the process that ran it.
    """

    value: Any
    window: str
    superseded: bool
    calls: int
    edge: Edge
    executed_by: str


class Run(Lease):
    """What a handler learns of the run that it is called for.

    Attributes:
        window: its id: the same in each attempt.
        key: that was called.
        attempt: 1 for the first.
        fence: a number that only rises from run to run of one key: who stores it with what it writes can refuse the late
            write of an executor that was thought dead.
        calls: how many calls it covers.
        edge: "leading" or "trailing".
        waited: seconds from the first of them to this start.
    """

    __slots__ = ("attempt", "calls", "edge", "fence", "key", "waited", "window")

    def __init__(
        self, window: str, key: str, attempt: int, fence: int, calls: int, edge: Edge, waited: float, good_until: float
    ) -> None:
        super().__init__(good_until)
        self.window = window
        self.key = key
        self.attempt = attempt
        self.fence = fence
        self.calls = calls
        self.edge = edge
        self.waited = waited

    def ensure_held(self) -> None:
        """Raise where another executor may have taken over, since this process was not heard of for `lease_ttl`.

        Raises:
            RunLost: stop, and write nothing more.
        """
        if self.lost:
            raise RunLost(f"the lease of window {self.window} is over: another executor may run it")

    def __repr__(self) -> str:
        """What tells it apart."""
        return f"Run(window={self.window!r}, key={self.key!r}, attempt={self.attempt}, fence={self.fence}, calls={self.calls})"


class Pending(NamedTuple):
    """How a key stands.

    Attributes:
        calls: in the window that is pending, 0 for none.
        window: its id, "" for none.
        due_after: seconds until it is due; 0.0 when it is due already, or nothing is pending.
        running: the id of the window that is being run, or is to be tried again; "" for none.
        attempt: of that run, 0 where it was not started yet.
    """

    calls: int
    window: str
    due_after: float
    running: str
    attempt: int


class DebounceMetrics(NamedTuple):
    """How a debouncer stands, over the whole fleet and all keys. The counts begin anew after a day without any work.

    Attributes:
        last_call_time: by the server's clock, in seconds since 1970; None for none.
        last_invoke_time: likewise, when a run was last started.
        is_waiting: whether anything waits to be run.
        pending_operations: windows that wait to be run, and runs that wait to be tried again.
        running: runs under way.
        calls, runs, done, retried, dead: counts of calls, of starts, of runs that were done, that failed and were to be tried
            again, and that were given up.
        dead_letters: that are kept now.
        performance: of the runs of the fleet's last minute, where the debouncer has a monitor.
        conflicts: other configs that this process has seen other processes use the name with.
    """

    last_call_time: float | None
    last_invoke_time: float | None
    is_waiting: bool
    pending_operations: int
    running: int
    calls: int
    runs: int
    done: int
    retried: int
    dead: int
    dead_letters: int
    performance: PerformanceReport | None = None
    conflicts: int = 0
