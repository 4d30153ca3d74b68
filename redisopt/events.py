"""What happened, for those who count or log it: frozen events, handed to hooks.

A hook is any callable of one event. Metrics, logs and traces are hooks in files of their own; the code that decides
knows none of them. A hook that raises is logged and changes nothing. Hooks run in the thread or event loop that the event
came from: keep them short.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

logger = logging.getLogger("redisopt")
logger.addHandler(logging.NullHandler())  # quiet unless the application configures logging


@dataclass(frozen=True, slots=True)
class Granted:
    """A limiter granted `cost`; the caller waits `wait` seconds for it. Without Redis, the `reason` is "unavailable"."""

    name: str
    key: str
    cost: int
    wait: float
    queue_size: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A limiter refused `cost`; `reason` is the limit, `retry_after` the seconds until it would fit.

    Without Redis, the reason is "unavailable".
    """

    name: str
    key: str
    cost: int
    reason: str
    retry_after: float
    queue_size: int


@dataclass(frozen=True, slots=True)
class Retried:
    """A script call failed on the way and is sent again."""

    script: str
    attempt: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class TriedAgain:
    """An operation failed for the `attempt`-th time, and is tried again after `pause` seconds."""

    name: str
    attempt: int
    pause: float
    error: BaseException


@dataclass(frozen=True, slots=True)
class NotTriedAgain:
    """An operation failed and is not tried again, since the fleet has used up its budget of retries."""

    name: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class FellBack:
    """An operation failed, and its fallback answered."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class BatchRan:
    """A batch was run here: of its `size` items so many are done, were given up, and are to run again; it took `seconds`."""

    name: str
    key: str
    size: int
    done: int
    dead: int
    retried: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WindowRan:
    """A debounced run was over here, which covered so many calls; `error` where it failed."""

    name: str
    key: str
    window: str
    calls: int
    attempt: int
    seconds: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Computed:
    """A cache computed a value here, in the background where it is `refreshed`; `error` where that failed."""

    name: str
    key: str
    seconds: float
    refreshed: bool
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class ServedOld:
    """A cache served a value of `age` seconds ago, since computing it anew failed or takes too long."""

    name: str
    key: str
    age: float


@dataclass(frozen=True, slots=True)
class Progressed:
    """How a run of `map` stands; at most ten times a second, and at its end."""

    name: str
    run: str
    done: int
    failed: int
    total: int
    retried: int


@dataclass(frozen=True, slots=True)
class ScriptReloaded:
    """The server did not know a script (restart, failover, SCRIPT FLUSH) and was given it."""

    script: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Redis has been found not to answer: from now on calls fail at once. On a Cluster: one of the nodes."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Reachable:
    """Redis answers again, after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """What this process holds may be somebody else's: a permit, a probe, a batch, a run or a computation, whose lease is over."""

    lease: str


CircuitState = Literal["closed", "open", "half_open", "forced_open", "disabled"]


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """A circuit breaker went from one state to another, as this process sees it: its own call did it, or was the first to find it so.

    `is_local` where that is the breaker of this process, which goes on while Redis is away.
    """

    name: str
    before: CircuitState
    after: CircuitState
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class CircuitRefused:
    """A circuit breaker in this state did not let a call through; without Redis, the `state` may be "unavailable"."""

    name: str
    state: str
    retry_after: float


@dataclass(frozen=True, slots=True)
class ThresholdCrossed:
    """A figure of the fleet's last minute went above its threshold in a monitor's config, as this process sees it, or came back."""

    name: str
    operation: str
    field: str
    limit: float
    value: float
    recovered: bool


Event = (
    Granted
    | Refused
    | Retried
    | TriedAgain
    | NotTriedAgain
    | FellBack
    | BatchRan
    | WindowRan
    | Computed
    | ServedOld
    | Progressed
    | CircuitChanged
    | CircuitRefused
    | ThresholdCrossed
    | ScriptReloaded
    | LeaseLost
    | Unreachable
    | Reachable
)


class Hook(Protocol):
    """Whoever wants to hear of events."""

    def __call__(self, event: Event, /) -> None:
        """Take note of one event."""


_hooks: tuple[Hook, ...] = ()
_lock = threading.RLock()  # for who changes them; comparing hooks runs their own code


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - a forked child has none of the threads that may hold it
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def add_hook(hook: Hook) -> None:
    """Hand every event of this process to `hook` from now on.

    Raises:
        ValueError: `hook` cannot be called.
    """
    if not callable(hook):
        raise ValueError(f"hook must be a callable of one event, not {hook!r}")
    global _hooks  # noqa: PLW0603 - one registry per process
    with _lock:
        _hooks = (*_hooks, hook)


def remove_hook(hook: Hook) -> None:
    """Stop handing events to `hook`.

    Raises:
        ValueError: `hook` is not registered.
    """
    global _hooks  # noqa: PLW0603
    with _lock:
        if hook not in _hooks:
            raise ValueError(f"hook {hook!r} is not registered")
        _hooks = tuple(other for other in _hooks if other != hook)  # not `is`: a bound method is made anew at each look


def listening() -> bool:
    """Whether any hook is registered: ask before building an event on a hot path."""
    return bool(_hooks)


def fields_of(event: Event) -> dict[str, Any]:
    """Its name and its fields, as a structured log has them: errors as text."""
    found: dict[str, Any] = {"event": type(event).__name__}
    for field in fields(event):
        value = getattr(event, field.name)
        found[field.name] = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else value
    return found


def say(event: Event, level: int, message: str, *args: Any) -> None:
    """Log a sentence that an operator should read, with the event's fields, and hand the event to every hook."""
    logger.log(level, message, *args, extra={"redisopt": fields_of(event)}, stacklevel=2)
    emit(event)


def emit(event: Event) -> None:
    """Hand `event` to every hook."""
    for hook in _hooks:
        notify(hook, event)


def notify(callback: Callable[..., object], *args: Any) -> None:
    """Call a user's callback: what it raises is logged and changes nothing."""
    try:
        callback(*args)
    except Exception:
        logger.exception("callback %r raised; the call it was told about goes on", callback)
