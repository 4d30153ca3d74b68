"""Every error that redisopt raises on its own behalf, in one tree.

    RedisOptError
    +-- Throttled               refused by a limit; `retry_after` says when to come back
    |   +-- ThrottleTimeout     the wait for the limit would outlast `timeout`
    |   +-- QueueFull           as many wait already as may
    +-- PermitLost              the lease of a permit ended before it was released
    +-- CircuitOpen             a circuit breaker lets no call through; `retry_after` says when to come back
    +-- CostExceedsLimit        no wait could ever help (also a ValueError)
    +-- BatchItemFailed         an item of a batch was given up; says why, and after how many attempts
    +-- ResultCountError        a handler's answer does not fit the items that it got
    +-- RunFailed               the handler of a window raised, as often as it was tried
    +-- ComputeFailed           another call computed a value and failed; `retry_after` says when it is tried again
    +-- RunLost                 the lease of a run ended while its handler ran
    +-- Cancelled               what was waited for was cancelled, and will not run
    +-- ResultTimeout           what was waited for was not over within `timeout` (also a TimeoutError)
    +-- OperationTimeout        the operation was not over within its `timeout` (also a TimeoutError)
    +-- ResultExpired           what was waited for was over longer ago than its outcome is kept
    +-- ConfigConflict          another process uses this name with another config
    +-- StateLost               what Redis held is gone, or is not ours
    +-- Unavailable             Redis could not be asked, or would not answer

Bad configuration and bad arguments are pydantic's `ValidationError` or a plain `ValueError` that names the
field, both raised before Redis is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future


class RedisOptError(Exception):
    """The root: catch this to catch whatever redisopt raises."""


class Throttled(RedisOptError):
    """A limit refused the call and charged nothing.

    Attributes:
        retry_after: seconds until the same call would be granted, if nobody else comes first.
        reason: the limit that refused, as text: ``"10/s"``, ``"burst"``, ``"cooldown"``, ``"concurrency"``,
            ``"paused"``, ``"queue"`` or ``"queue full"``; ``"unavailable"`` where Redis was away and
            `on_unavailable` decided.
    """

    def __init__(self, message: str, *, retry_after: float, reason: str) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_throttled, (type(self), str(self), self.retry_after, self.reason))


class ThrottleTimeout(Throttled):
    """The wait would have outlasted ``timeout``: refused at once, nothing was charged."""


class QueueFull(Throttled):
    """As many callers wait as `max_queue` allows: refused at once, nothing was charged."""


class PermitLost(RedisOptError):
    """The lease of a permit ended before it was released: its holder was not heard of for `lease_ttl`."""


class CircuitOpen(RedisOptError):
    """A circuit breaker did not let the call through: what it would call has failed too often.

    Attributes:
        retry_after: seconds until it is worth to come back: when an open one lets probes through; a guess where that depends on
            probes that are under way, or on whoever forced it open.
        state: why: "open", "half_open" (as many probes as may are under way), "forced_open"; "unavailable" where Redis was away
            and `on_unavailable` is "deny".
    """

    def __init__(self, message: str = "", *, retry_after: float = 0.0, state: str = "open") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.state = state

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_open, (type(self), str(self), self.retry_after, self.state))


class CostExceedsLimit(RedisOptError, ValueError):
    """The cost is above a limit, so that no wait could ever grant it. Split the work, or raise the limit."""


class BatchItemFailed(RedisOptError):
    """An item of a batch was given up, and is in the dead letter.

    Attributes:
        id: the item's.
        error_type: the name of the class of its last error.
        reason: what that error said.
        attempts: runs that failed.
    """

    def __init__(self, item_id: str, error_type: str, reason: str, attempts: int) -> None:
        super().__init__(f"item {item_id!r} failed after {attempts} attempts: {error_type}: {reason}")
        self.id = item_id
        self.error_type = error_type
        self.reason = reason
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.id, self.error_type, self.reason, self.attempts))


class ResultCountError(RedisOptError):
    """A batch handler's answer does not fit the items that it got: no result is handed out, since it could be another's."""


class RunFailed(RedisOptError):
    """The handler raised in the last of its attempts, or what it returned cannot be handed to others.

    Attributes:
        window: id of what was run.
        error: as text, such as ``"ValueError: no such document"``.
        attempts: how often it was tried.
    """

    def __init__(self, message: str, *, window: str = "", error: str = "", attempts: int = 0) -> None:
        super().__init__(message)
        self.window = window
        self.error = error
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_failed, (str(self), self.window, self.error, self.attempts))


class ComputeFailed(RedisOptError):
    """Another call computed the value of a cache's key and failed, and it is not tried again yet.

    Attributes:
        error: as text, such as ``"ValueError: no such city"``.
        retry_after: seconds until it is tried again.
    """

    def __init__(self, message: str, *, error: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.error = error
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_compute_failed, (str(self), self.error, self.retry_after))


class RunLost(RedisOptError):
    """The executor of a run was not heard of for `lease_ttl`: another one may have it, and this one should stop."""


class Cancelled(RedisOptError):
    """Somebody cancelled what was waited for, before it ran."""


class ResultTimeout(RedisOptError, TimeoutError):
    """What is waited for was not over within ``timeout``. It is still pending, or runs; it may be waited for again.

    So retries do not take it for a TimeoutError: only a `retry_on` that names it has it tried again.
    """


class OperationTimeout(RedisOptError, TimeoutError):
    """The operation was not over within its ``timeout``. In a thread it runs on, since a thread cannot be interrupted.

    Attributes:
        running: what it will give, where it runs on; else None.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.running: Future[object] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args  # what runs on here means nothing elsewhere


class ResultExpired(RedisOptError):
    """What was waited for is over, and its outcome was forgotten, `result_ttl` after that."""


class ConfigConflict(RedisOptError):
    """Another process uses this name with another config."""


class StateLost(RedisOptError):
    """What Redis held for this name is gone, or was overwritten by something that is not redisopt."""


class Unavailable(RedisOptError):
    """Redis could not be reached, did not answer in time, or refused the script. The cause is chained.

    While Redis is known to be away, calls fail with it at once; then the message has the cause.

    Attributes:
        retry_after: seconds until Redis is probed again; None where nobody probes it, so that the next call will tell.
        sent: whether the call may have reached Redis and taken effect: not where Redis could not be reached, or refused it.
        lane: the lane and the number that it was sent under, if any: by them a script can take back what it did.
    """

    def __init__(self, message: str = "", *, retry_after: float | None = None, sent: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.sent = sent
        self.lane: tuple[str | int | bytes, ...] = ()


REFUSALS: tuple[type[RedisOptError], ...] = (Throttled, CircuitOpen, Unavailable)
"""Errors by which nothing was done: a limit or a breaker let nobody through, or Redis was away. They say nothing of the far side."""


def _rebuild_throttled(kind: type[Throttled], message: str, retry_after: float, reason: str) -> Throttled:
    """Unpickle: exceptions with keyword arguments do not survive a process boundary by themselves."""
    return kind(message, retry_after=retry_after, reason=reason)


def _rebuild_compute_failed(message: str, error: str, retry_after: float) -> ComputeFailed:
    return ComputeFailed(message, error=error, retry_after=retry_after)


def _rebuild_failed(message: str, window: str, error: str, attempts: int) -> RunFailed:
    return RunFailed(message, window=window, error=error, attempts=attempts)


def _rebuild_open(kind: type[CircuitOpen], message: str, retry_after: float, state: str) -> CircuitOpen:
    return kind(message, retry_after=retry_after, state=state)
