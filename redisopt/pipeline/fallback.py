"""`Fallback`: what to answer where what is inside fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redisopt import events
from redisopt.commands import Plan, Stopped, invoke
from redisopt.functions import is_async, takes


class Fallback:
    """Where what is inside raises, a value or a function answers.

    Interruptions (Ctrl-C, a cancelled task) pass. What the function raises is raised, with the first error as its context.

    >>> Fallback([])
    >>> Fallback(lambda error: last_known())

    Args:
        answer: the value; or a function of the error, or of nothing. In asyncio it may be a coroutine function. (A value that can
            be called is meant by a function that returns it.)
        on: the errors that it is for.

    Raises:
        ValueError: `on` holds something else than types of exceptions.
    """

    def __init__(self, answer: Any, *, on: type[Exception] | tuple[type[Exception], ...] = Exception) -> None:
        errors = on if isinstance(on, tuple) else (on,)
        for each in errors:
            if not (isinstance(each, type) and issubclass(each, Exception)):
                raise ValueError(f"on must be a type of exceptions, or a tuple of these, not {on!r}")
        self._answer = answer
        self._on = errors
        self._wants_error = callable(answer) and not takes(answer, 0)
        if self._wants_error and not takes(answer, 1):
            raise ValueError(f"fallback {answer!r} must take the error, or nothing")

    @property
    def is_awaited(self) -> bool:
        """Whether its answer is a coroutine function, which only asyncio can have."""
        return callable(self._answer) and is_async(self._answer)

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """`inner`, or the answer."""
        try:
            return (yield from inner())
        except Exception as error:
            cause = error.error if isinstance(error, Stopped) else error
            if not isinstance(cause, self._on):
                raise
            events.emit(events.FellBack(cause))
            if not callable(self._answer):
                return self._answer
            return (yield from (invoke(self._answer, cause) if self._wants_error else invoke(self._answer)))
