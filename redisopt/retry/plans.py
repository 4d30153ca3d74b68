"""When to try again, as a plan around any other: tenacity's strategies, what the far side says, and the fleet's budget."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tenacity
from tenacity.retry import RetryBaseT
from tenacity.stop import StopBaseT
from tenacity.wait import WaitBaseT

from redisopt import events
from redisopt.commands import Plan, Sleep, Stopped
from redisopt.headers import read_headers
from redisopt.retry.budget import RetryBudget
from redisopt.retry.config import RetryConfig


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
        self._retry = retry or tenacity.retry_if_exception(self._is_worth_it)
        self._wait = wait or tenacity.wait_random_exponential(multiplier=config.backoff_base, max=config.backoff_cap)
        self._stop = stop or self._bounds()
        self._strategies: Any = tenacity.Retrying(retry=self._retry, wait=self._wait, stop=self._stop, reraise=True)

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Perform `inner`, and perform it again where it fails and another try is worth it. Raises what the last one raised."""
        self.budget.count()
        state: tenacity.RetryCallState | None = None
        while True:
            state = state or tenacity.RetryCallState(self._strategies, None, (), {})
            try:
                return (yield from inner())
            except Exception as error:
                pause = self._pause(state)
                if pause is None:
                    if state.attempt_number > 1:
                        cause(error).add_note(f"redisopt: tried {state.attempt_number} times")
                    raise
                if self.config.budget is not None and not (yield from self.budget.spend()):
                    cause(error).add_note(
                        f"redisopt: not tried again, since the fleet has used up its budget of retries ({self.name!r})"
                    )
                    events.emit(events.NotTriedAgain(self.name, cause(error)))
                    raise
                events.emit(events.TriedAgain(self.name, state.attempt_number, pause, cause(error)))
            yield Sleep(pause)
            state.prepare_for_next_attempt()

    def _pause(self, state: tenacity.RetryCallState) -> float | None:
        """Seconds until the next try, None where there is none. Call it while the error is handled."""
        error = cause(sys.exception())
        state.set_exception((type(error), error, error.__traceback__))
        if not self._retry(state):
            return None
        pause = self._asked(error)
        if pause is not None and pause > self.config.max_retry_after:
            return None
        state.upcoming_sleep = self._wait(state) + (pause or 0.0)  # all that were told one time do not come at once
        return None if self._stop(state) else state.upcoming_sleep

    def _is_worth_it(self, error: BaseException) -> bool:
        return isinstance(error, self.config.retry_on) or self._asked(error) is not None

    def _asked(self, error: BaseException) -> float | None:
        """Seconds that an error says to wait, None where it does not."""
        return seconds_asked(error) if self.config.respect_retry_after else None

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


def seconds_asked(error: BaseException) -> float | None:
    """When an error says to come back: by its `retry_after`, or by its response's status and headers; None where it does not.

    That is how the errors of redisopt say so, and of httpx, requests and aiohttp, whose `response` has headers, or which have
    `headers` themselves.
    """
    told = getattr(error, "retry_after", None)
    if isinstance(told, int | float) and not isinstance(told, bool) and told >= 0:
        return float(told)
    response = getattr(error, "response", None) if hasattr(error, "response") else error
    headers, status = getattr(response, "headers", None), getattr(response, "status_code", None)
    if headers is None:
        return None
    if status is None:
        status = getattr(response, "status", None)
    try:
        advice = read_headers(headers, status if isinstance(status, int) else None)
    except ValueError:
        return None  # whatever these are, they are no headers
    return advice.pause if advice.pause > 0 else None
