"""Structured logs: every event as a record of the stdlib logger ``redisopt``, whose fields a formatter can write as JSON.

The library is quiet by default: its logger has a NullHandler, warns of what an operator should know, and says nothing of single
calls. `log_events` has all events logged: what was granted and refused, batches, debounced runs and computations, progress, retries, fallbacks,
changes of state, and Redis coming and going.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from redisopt import events

LEVELS: dict[type[Any], int] = {
    events.Granted: logging.DEBUG,
    events.Refused: logging.DEBUG,
    events.Retried: logging.DEBUG,
    events.ScriptReloaded: logging.DEBUG,
    events.TriedAgain: logging.INFO,
    events.Progressed: logging.INFO,
    events.BatchRan: logging.INFO,
    events.WindowRan: logging.INFO,
    events.Computed: logging.INFO,
    events.ServedOld: logging.INFO,
    events.Reachable: logging.INFO,
    events.CircuitRefused: logging.DEBUG,
    events.CircuitChanged: logging.WARNING,
    events.ThresholdCrossed: logging.WARNING,
    events.FellBack: logging.WARNING,
    events.NotTriedAgain: logging.WARNING,
    events.LeaseLost: logging.WARNING,
    events.Unreachable: logging.WARNING,
}
"""The level of each event; INFO for those that are not in it. What failed is logged at WARNING at least, what is over at INFO."""

SAID = frozenset(
    {events.CircuitChanged, events.ThresholdCrossed, events.LeaseLost, events.Unreachable, events.Reachable}
)
"""Of these the library's own logger says a sentence anyway, so that they are not logged there a second time."""


class LogEvents:
    """A hook that logs events; what `log_events` returns.

    Args:
        logger: where to.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __call__(self, event: Any, /) -> None:
        """Log one event."""
        if type(event) in SAID and self._logger is events.logger:
            return
        level = LEVELS.get(type(event), logging.INFO)
        failed = type(event) in {events.WindowRan, events.Computed} and event.error is not None
        if failed or getattr(event, "dead", False):
            level = max(level, logging.WARNING)
        if getattr(event, "recovered", False):
            level = logging.INFO
        if not self._logger.isEnabledFor(level):
            return
        told = events.fields_of(event)
        text = " ".join(f"{key}={value!r}" for key, value in told.items() if key != "event")
        self._logger.log(level, "%s %s", told["event"], text, extra={"redisopt": told})

    def stop(self) -> None:
        """Log no more; a second time, nothing."""
        with contextlib.suppress(ValueError):
            events.remove_hook(self)


def log_events(logger: logging.Logger | None = None) -> LogEvents:
    """Log every event of this process from now on, at the levels of `LEVELS`.

    Each record has ``record.redisopt``, a dict of the event's name and its fields, for formatters that write JSON; the message is
    text with the same fields. What the library's own logger says of its own accord, such as a breaker's change of state, is not logged
    there twice; its record has the same dict.

    >>> logging.basicConfig(level=logging.INFO)
    >>> logs = redisopt.log_events()

    Args:
        logger: default: ``logging.getLogger("redisopt")``.

    Returns:
        The hook, whose `stop` ends it.

    Raises:
        ValueError: `logger` is none.
    """
    if logger is not None and not isinstance(logger, logging.Logger | logging.LoggerAdapter):
        raise ValueError(f"logger must be a logging.Logger, not {logger!r}")
    hook = LogEvents(logger or events.logger)
    events.add_hook(hook)
    return hook
