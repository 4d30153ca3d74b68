"""Calls with a payload, as plans: to put one into its window, and to wait for what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from redisopt import events
from redisopt.awaiting import Awaiting, NotYet
from redisopt.background import now
from redisopt.codec import PayloadError, decode, encode
from redisopt.commands import Plan, call
from redisopt.debounce.agreeing import Agreeing
from redisopt.debounce.asking import Asking
from redisopt.debounce.config import MAX_SECONDS
from redisopt.debounce.layout import Place
from redisopt.debounce.outcome import DebounceResult
from redisopt.debounce.replies import Fate, Placed
from redisopt.errors import Cancelled, QueueFull, ResultExpired, ResultTimeout, RunFailed, StateLost

MAX_CALL_ID = 256
"""Characters of a caller's own call id."""


class Submitting:
    """The plans of those who call."""

    def __init__(
        self, asking: Asking, agreeing: Agreeing, awaiting: Awaiting, on_debounce: Callable[[int], object] | None
    ) -> None:
        self._asking = asking
        self._agreeing = agreeing
        self._awaiting = awaiting
        self._on_debounce = on_debounce

    def submit(self, key: str, payload: Any, call_id: str | None, wait: float | None) -> Plan[tuple[Place, Placed]]:
        """Put a call into its window."""
        config = self._asking.config
        place = self._asking.layout.place(key)
        body = encode(payload, config.codec, config.max_payload_bytes)
        if call_id is None:
            call_id = ""
        else:
            check_call_id(call_id)
        if wait is None:
            wait = config.wait
        else:
            check_wait(wait, config.max_wait)
        if now() >= self._agreeing.until:
            yield from self._agreeing.ensure()
        placed = yield from call(self._asking.submit(place, body, call_id, wait))
        if placed.status == "full":
            raise QueueFull(
                f"debounce {self._asking.name!r}: {placed.number:,} calls of {key!r} wait already, max_queue={config.max_queue}: "
                "is there a worker?",
                retry_after=placed.due_after,
                reason="queue full",
            )
        if self._on_debounce is not None and placed.status == "pending":
            events.notify(self._on_debounce, placed.number)
        return place, placed

    def result(
        self, place: Place, window: str, number: int, timeout: float | None, called_at: float
    ) -> Plan[DebounceResult]:
        """Wait for the outcome of a window that was called `called_at`, by this process's monotonic clock."""
        check_timeout(timeout)

        def look() -> Plan[Fate | NotYet]:
            fate = yield from call(self._asking.result(place, window))
            if fate.status in {"pending", "running"}:
                return NotYet()
            return fate

        try:
            fate = yield from self._awaiting.outcome(window, look, timeout)
        except ResultTimeout:
            raise self.too_late(window, timeout) from None
        if fate.status == "unknown" and now() - called_at > self._asking.config.result_ttl:
            raise ResultExpired(
                f"debounce {self._asking.name!r}: the outcome of window {window} was forgotten, result_ttl after its run"
            )
        return self.read(fate, window, number)

    def too_late(self, window: str, timeout: float | None) -> ResultTimeout:
        """There was no outcome within the time."""
        return ResultTimeout(f"debounce {self._asking.name!r}: window {window} has no outcome after {timeout} s")

    def read(self, fate: Fate, window: str, number: int) -> DebounceResult:
        """The result for one caller.

        Raises:
            Cancelled, RunFailed, StateLost: as `DebounceTicket.result`.
        """
        if fate.status == "unknown":
            raise StateLost(f"debounce {self._asking.name!r}: Redis does not know the window {window} any more")
        if fate.status == "cancelled":
            raise Cancelled(f"debounce {self._asking.name!r}: window {window} was cancelled")
        if fate.status == "failed" or fate.error:
            raise RunFailed(
                f"debounce {self._asking.name!r}: window {window} failed after "
                f"{fate.attempts} {'attempt' if fate.attempts == 1 else 'attempts'}: {fate.error}",
                window=window,
                error=fate.error,
                attempts=fate.attempts,
            )
        config = self._asking.config
        try:
            value = decode(fate.value, config.codec, config.max_payload_bytes)
        except PayloadError as error:
            raise RunFailed(
                f"debounce {self._asking.name!r}: the value of window {window} is not {config.codec}: {error}",
                window=window,
                error=str(error),
            ) from error
        edge: Any = fate.edge
        return DebounceResult(value, window, self._is_superseded(number, fate.calls), fate.calls, edge, fate.by)

    def _is_superseded(self, number: int, calls: int) -> bool:
        if number == 0:
            return True
        word = self._asking.config.word
        return (word == "last" and number < calls) or (word == "first" and number > 1)


def check_call_id(call_id: Any) -> None:
    """Refuse what no call id can be.

    Raises:
        ValueError: it is no text, or too long.
    """
    if not isinstance(call_id, str) or len(call_id) > MAX_CALL_ID or not call_id.isprintable():
        raise ValueError(f"call_id must be a str of at most {MAX_CALL_ID} characters, not {call_id!r}")


def check_wait(wait: Any, max_wait: float | None) -> None:
    """Refuse what no wait can be.

    Raises:
        ValueError: it is no number of seconds, or longer than `max_wait`.
    """
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= MAX_SECONDS:
        raise ValueError(f"wait must be from 0 to {MAX_SECONDS:,} seconds, not {wait!r}")
    if max_wait is not None and wait > max_wait:
        raise ValueError(f"wait {wait} s is longer than max_wait {max_wait} s")


def check_timeout(timeout: Any) -> None:
    """Refuse what no timeout can be.

    Raises:
        ValueError: it is neither None nor a number of seconds.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0 or not isfinite(timeout):
        raise ValueError(f"timeout must be None or a number of seconds, at least 0, not {timeout!r}")
