"""Tickets: what `submit` gives, to wait for the outcome of the window that the call went into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisopt.background import now
from redisopt.debounce.layout import Place
from redisopt.debounce.outcome import DebounceResult
from redisopt.debounce.replies import Placed

if TYPE_CHECKING:
    from redisopt.commands import Plan
    from redisopt.debounce.submitting import Submitting
    from redisopt.runner import AsyncRunner, Runner

RESULT_TIMEOUT = 60.0
"""Seconds that `result` waits unless it is told otherwise."""


class _Ticket:
    """What both tickets know.

    Attributes:
        key: that was called.
        status: "pending" (in a window that is to be run), "leading" (it is run at once) or "dropped" (the leading run of its burst
            has covered it).
        window: the id of the window.
        number: of the call in its window, from 1; 0 where it was dropped.
        due_after: seconds from the call until the window was due, by what was known then.
    """

    __slots__ = ("_called_at", "_place", "_runner", "_submitting", "due_after", "key", "number", "status", "window")

    def __init__(self, runner: Any, submitting: Submitting, place: Place, placed: Placed) -> None:
        self._runner = runner
        self._submitting = submitting
        self._place = place
        self._called_at = now()
        self.key = place.key
        self.status, self.window, self.number, self.due_after = placed

    def _plan(self, timeout: float | None) -> Plan[DebounceResult]:
        return self._submitting.result(self._place, self.window, self.number, timeout, self._called_at)

    def __repr__(self) -> str:
        """What tells it apart."""
        return f"{type(self).__name__}(window={self.window!r}, key={self.key!r}, status={self.status!r})"


class DebounceTicket(_Ticket):
    """A call that was submitted. See `Debouncer.submit`."""

    __slots__ = ()
    _runner: Runner

    def result(self, timeout: float | None = RESULT_TIMEOUT) -> DebounceResult:
        """Wait for the window's one outcome, which all its callers share. May be called again, for `result_ttl` after the run.

        Costs a script call, one more when the run is over, and one a second meanwhile.

        Args:
            timeout: seconds; None waits for as long as it takes, for ever where no worker lives.

        Raises:
            ResultTimeout: the run is not over yet (also a TimeoutError).
            RunFailed: the handler raised in each of its attempts, or its value cannot be stored.
            Cancelled: somebody cancelled the window.
            ResultExpired: the run has been over for longer than `result_ttl`.
            StateLost: Redis has lost the window. Submit it again, under the same call id.
            Unavailable: Redis could not be asked for 10 s, or until the timeout.
        """
        return self._runner.run(self._plan(timeout))


class AsyncDebounceTicket(_Ticket):
    """The twin of `DebounceTicket`."""

    __slots__ = ()
    _runner: AsyncRunner

    async def result(self, timeout: float | None = RESULT_TIMEOUT) -> DebounceResult:
        """See `DebounceTicket.result`."""
        return await self._runner.run(self._plan(timeout))
