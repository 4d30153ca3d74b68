"""Which calls count as failures, and which are not counted at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from redisopt import events
from redisopt.breaker.state import FAILED, GIVEN_BACK, SLOW
from redisopt.functions import check_function

Kinds = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
"""Exceptions: a class, several, or a function that says of one whether it is meant."""


class Judge:
    """What becomes of a call's result, its exception and its seconds.

    Args:
        record: exceptions that count as failures; any other one counts as a call that went well.
        ignore: exceptions that are not counted at all.
        record_result: says of a result whether it counts as a failure.
        slow_after: seconds from which on a call is slow; None for never.

    Raises:
        ValueError: one of them is none of that.
    """

    def __init__(
        self,
        record: Kinds,
        ignore: Kinds,
        record_result: Callable[[Any], object] | None,
        slow_after: float | None,
    ) -> None:
        self._is_recorded = judge_of(record, "record")
        self._is_ignored = judge_of(ignore, "ignore")
        if record_result is not None:
            check_function(record_result, "record_result", awaited=False, instead="a plain function")
        self._is_bad_result = record_result
        self._slow_after = slow_after

    def of_error(self, error: BaseException | type[BaseException], seconds: float) -> int:
        """The outcome of a call that raised `error`, an exception, or one of that class."""
        if _says(self._is_ignored, error, otherwise=False):
            return GIVEN_BACK
        return self._outcome(_says(self._is_recorded, error, otherwise=True), seconds)

    def of_result(self, result: Any, seconds: float) -> int:
        """The outcome of a call that returned `result`."""
        is_bad = self._is_bad_result is not None and _says(self._is_bad_result, result, otherwise=False)
        return self._outcome(is_bad, seconds)

    def of_success(self, seconds: float) -> int:
        """The outcome of a call that is said to have gone well."""
        return self._outcome(False, seconds)  # noqa: FBT003

    def of_failure(self, seconds: float) -> int:
        """The outcome of a call that is said to have failed."""
        return self._outcome(True, seconds)  # noqa: FBT003

    def _outcome(self, failed: bool, seconds: float) -> int:  # noqa: FBT001
        slow = self._slow_after is not None and seconds >= self._slow_after
        return FAILED * failed + SLOW * slow


def judge_of(kinds: Any, field: str) -> Callable[[Any], object]:
    """What says whether an exception, or a class of them, is one of these.

    Raises:
        ValueError: they are neither exception classes nor a function, naming the field.
    """
    found = (kinds,) if isinstance(kinds, type) else kinds
    if isinstance(found, tuple | list):
        for kind in found:
            if not isinstance(kind, type) or not issubclass(kind, BaseException):
                raise ValueError(f"{field} must be exception classes, or a function of one, not {kind!r}")
        classes = tuple(found)
        return lambda error: issubclass(error if isinstance(error, type) else type(error), classes)
    check_function(kinds, field, awaited=False, instead="a plain function")
    return partial(_ask, kinds)


def _ask(judge: Callable[[Any], object], error: BaseException | type[BaseException]) -> object:
    return judge(error() if isinstance(error, type) else error)


def _says(judge: Callable[[Any], object], what: Any, *, otherwise: bool) -> bool:
    """What the user's function says; one that raises is logged, and must not hide what the call itself gave."""
    try:
        return bool(judge(what))
    except Exception:
        events.logger.exception("%r could not say what %r counts as", judge, what)
        return otherwise
