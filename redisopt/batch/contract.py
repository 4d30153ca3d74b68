"""What a handler gets and may answer.

A handler is called with ``(items)`` or ``(items, run)``, by position, and answers with a list of the same length, or anything
like one, such as an array; or with a dict by item id. An element is the item's result; or an exception, which fails that item
alone; or `Retry`, or `Fatal`. A second argument that has a default, or is given by keyword only, is the user's own: no run comes
in it. A result that cannot be stored fails its item at once: another run would give the like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from redisopt.functions import check_function, guarded, takes

_LONGEST = 2_592_000
"""Seconds: a month."""


class Retry(Exception):
    """Run an item again after so many seconds; or, raised, the whole batch. Counts as an attempt that failed.

    Attributes:
        after: seconds; None for the backoff of the config.
    """

    def __init__(self, after: float | None = None, message: str = "the handler asked for another run") -> None:
        if after is not None and (
            isinstance(after, bool) or not isinstance(after, int | float) or not 0 <= after <= _LONGEST
        ):
            raise ValueError(f"after must be seconds from 0 to {_LONGEST:,}, not {after!r}")
        super().__init__(message)
        self.after = after

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.after, str(self)))


class Fatal(Exception):
    """Give an item up at once; or, raised, the whole batch. No further attempt would help."""


class BatchItemError(Exception):
    """Raised by a handler that knows which items it failed for: those fail, the others run again without them.

    >>> raise BatchItemError({run.ids[2]: ValueError("no such row")})

    Attributes:
        errors: by item id.
    """

    def __init__(self, errors: Mapping[str, BaseException]) -> None:
        if not isinstance(errors, Mapping) or not errors:
            raise ValueError(f"errors must be a dict of exceptions by item id, not {errors!r}")
        super().__init__(f"{len(errors)} items failed: {', '.join(map(str, list(errors)[:5]))}")
        self.errors = dict(errors)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.errors,))


@dataclass(frozen=True, slots=True)
class BatchRun:
    """What a handler may know of the batch that it runs.

    Attributes:
        ids: of the items, in their order.
        attempts: which attempt this is for each item, from 1.
        key: that all of them were added with.
        fence: rises from batch to batch: send it along with what must not be written late.
    """

    ids: list[str]
    attempts: list[int]
    key: str
    fence: int
    _is_lost: Callable[[], bool]

    @property
    def lost(self) -> bool:
        """Whether the lease is lost, so that others may run the items already. Asks nobody."""
        return self._is_lost()


Handler = Callable[..., Any]


def checked_handler(handler: Any, *, awaited: bool) -> Handler:
    """A handler as it is called: with the items and the run.

    Raises:
        ValueError: it cannot be called, or not with one or two arguments, or it is of the other kind.
    """
    instead = "an async function" if awaited else "an AsyncBatcher"
    check_function(handler, "handler", awaited=awaited, instead=instead)
    if takes(handler, 1):  # also where a second argument has a default: that is the user's own
        return guarded(lambda items, _: handler(items), awaited=awaited)
    if takes(handler, 2):
        return guarded(handler, awaited=awaited)
    raise ValueError(f"handler {handler!r} must take (items) or (items, run)")
