"""When to try again, as a plan around any other: tenacity's strategies, what the far side says, and the fleet's budget."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import tenacity
from tenacity.retry import RetryBaseT
from tenacity.stop import StopBaseT
from tenacity.wait import WaitBaseT

from redisopt import events
from redisopt.commands import Plan, Sleep, Stopped
from redisopt.errors import ResultTimeout
from redisopt.headers import read_headers
from redisopt.retry.budget import RetryBudget
from redisopt.retry.config import RetryConfig

_TIMEOUTS = (TimeoutError, OSError)
"""What a `ResultTimeout` is, too. It is no failure of what is called, which goes on: another try would begin it again."""


class RetryPlans:
    """The plans of one retry policy.

    Attributes:
        budget: of the fleet.
    """

    def __init__(
        self, name: str, config: RetryConfig, retry: RetryBaseT | None, wait: WaitBaseT | None, stop: StopBaseT | None
    ) -> None:
        for field, strategy in (("retry", retry), ("wait", wait), ("stop", stop)):
            if strategy is not None and not callable(strategy):
                raise ValueError(f"{field} must be a strategy of tenacity, a callable of one state, not {strategy!r}")
        self.name = name
        self.config = config
        self.budget = RetryBudget(name, config)
        self._looks_at_results = retry is not None
        self._retry_pending_on = tuple(kind for kind in config.retry_on if kind not in _TIMEOUTS)
        self._retry = retry or tenacity.retry_if_exception(self._is_worth_it)
        self._wait = wait or tenacity.wait_random_exponential(multiplier=config.backoff_base, max=config.backoff_cap)
        self._stop = stop or self._bounds()
        self._strategies: Any = tenacity.Retrying(retry=self._retry, wait=self._wait, stop=self._stop, reraise=True)

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Perform `inner`, and perform it again where it fails and another try is worth it. Raises what the last one raised."""
        self.budget.count()
        state = tenacity.RetryCallState(self._strategies, None, (), {})
        while True:
            try:
                result = yield from inner()
            except Exception as error:
                error_raised = cause(error)
                state.set_exception((type(error_raised), error_raised, error_raised.__traceback__))
                pause = yield from self._pause(state, error_raised)
                if pause is None:
                    raise
            else:
                if not self._looks_at_results:
                    return result
                state.set_result(result)
                if not self._retry(state):
                    return result
                pause = yield from self._pause(state, None)
                if pause is None:
                    raise tenacity.RetryError(state.outcome)  # type: ignore[arg-type] # it was set a moment ago
            yield Sleep(pause)
            state.prepare_for_next_attempt()

    def _pause(self, state: tenacity.RetryCallState, error: BaseException | None) -> Plan[float | None]:
        """Seconds until the next try, None where there is none: then the error has a note that says why."""
        pause = self._planned(state, error)
        if pause is None:
            if error is not None and state.attempt_number > 1:
                _note(error, f"redisopt: retry {self.name!r} tried {state.attempt_number} times")
            return None
        shown = error or tenacity.TryAgain()
        if self.config.budget is not None and not (yield from self.budget.spend()):
            events.emit(events.NotTriedAgain(self.name, shown))
            _note(shown, f"redisopt: retry {self.name!r} has used up the fleet's budget, so it was not tried again")
            return None
        events.emit(events.TriedAgain(self.name, state.attempt_number, pause, shown))
        return pause

    def _planned(self, state: tenacity.RetryCallState, error: BaseException | None) -> float | None:
        """Seconds until the next try, as the strategies and the far side have it."""
        asked = None
        if error is not None:
            if not self._retry(state):
                return None
            asked = seconds_asked(error) if self.config.respect_retry_after else None
            if asked is not None and asked > self.config.max_retry_after:
                return None
        state.upcoming_sleep = self._wait(state) + (asked or 0.0)  # all that were told one time do not come at once
        return None if self._stop(state) else state.upcoming_sleep

    def _is_worth_it(self, error: BaseException) -> bool:
        is_pending = isinstance(error, ResultTimeout)
        if isinstance(error, self._retry_pending_on if is_pending else self.config.retry_on):
            return True
        return self.config.respect_retry_after and says_to_come_back(error)

    def _bounds(self) -> StopBaseT:
        attempts = tenacity.stop_after_attempt(self.config.max_attempts)
        if self.config.retry_for is None:
            return attempts
        return tenacity.stop_any(attempts, tenacity.stop_before_delay(self.config.retry_for))


def cause(error: BaseException | None) -> BaseException:
    """The error that the user's function raised."""
    if error is None:
        raise RuntimeError("no error is being handled")
    return error.error if isinstance(error, Stopped) else error


def _note(error: BaseException, text: str) -> None:
    """Add a note, once. What cannot bear any, such as a frozen dataclass, is raised without."""
    if text not in getattr(error, "__notes__", ()):
        with contextlib.suppress(Exception):
            error.add_note(text)


def seconds_asked(error: BaseException) -> float | None:
    """When an error says to come back: by its `retry_after`, or by its response's status and headers; None where it does not.

    That is how the errors of redisopt say so, and of httpx, requests and aiohttp, whose `response` has headers, or which have
    `headers` themselves.
    """
    told = getattr(error, "retry_after", None)
    if isinstance(told, int | float) and not isinstance(told, bool) and told >= 0:
        return float(told)
    headers, status = _response(error)
    if headers is None:
        return None
    try:
        advice = read_headers(headers, status)
    except ValueError:
        return None  # whatever these are, they are no headers
    return advice.pause if advice.pause > 0 else None


def says_to_come_back(error: BaseException) -> bool:
    """Whether an error is the far side's word to come back later: a response of status 429 or 503, with a time or without."""
    return _response(error)[1] in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def _response(error: BaseException) -> tuple[Any, int | None]:
    """The headers and the status of the response that an error tells of, None for what it has not."""
    response = getattr(error, "response", None) if hasattr(error, "response") else error
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    return getattr(response, "headers", None), status if isinstance(status, int) else None
