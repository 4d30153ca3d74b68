"""Which of the user's functions a sync or an async class may call."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

_NOT_PLAIN = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR


def is_async(function: Any) -> bool:
    """Whether a call of `function` gives something to await: also through partials and objects with ``async __call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _is_plain(function: Any) -> bool:
    """Whether it is what most are, told in a tenth of the time: a function, and nothing was added to it that says otherwise."""
    return type(function) is FunctionType and not function.__dict__ and not function.__code__.co_flags & _NOT_PLAIN


def check_function(function: Any, field: str, *, awaited: bool | None, instead: str = "") -> None:
    """Refuse what cannot be called, or whose result nobody would await.

    Args:
        function: what the user gave.
        field: its name for the message.
        awaited: whether its result is awaited; None where both kinds will do.
        instead: what to use for the other kind.

    Raises:
        ValueError: naming the field and what to do.
    """
    if awaited is False and _is_plain(function):
        return
    if not callable(function):
        raise ValueError(f"{field} must be a function, not {function!r}")
    if inspect.isasyncgenfunction(inspect.unwrap(function)):
        raise ValueError(
            f"{field} {function!r} is an async generator function: a permit for its whole life is taken inside it, "
            "with `async with throttler.acquire()`"
        )
    if inspect.isgeneratorfunction(inspect.unwrap(function)):
        raise ValueError(
            f"{field} {function!r} is a generator function: a call of it only makes a generator, and does nothing yet"
        )
    if awaited is False and is_async(function):
        raise ValueError(
            f"{field} {function!r} is a coroutine function, whose result nobody would await: use {instead}"
        )
    if awaited is True and not is_async(function):
        raise ValueError(f"{field} {function!r} is not a coroutine function: use {instead}")


def checked_stop(stop: Any, *, awaited: bool) -> Any:
    """An event that whoever works in the foreground can wait for; any object with a `wait` of the right kind will do.

    Raises:
        ValueError: it is of the other kind, or none at all.
    """
    wait = getattr(stop, "wait", None)
    if not callable(wait) or is_async(wait) != awaited:
        raise ValueError(f"stop must be {'an asyncio' if awaited else 'a threading'}.Event, not {stop!r}")
    return stop


def takes(function: Any, count: int) -> bool:
    """Whether `function` can be called with so many positional arguments; also where nothing is known of it."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def guarded(handler: Callable[..., Any], *, awaited: bool) -> Callable[..., Any]:
    """A worker's handler, whose errors never end the worker: an exit, or a task of its own that was cancelled, is a RuntimeError.

    Of a task that is cancelled because its worker stops, the cancellation passes; and so does Ctrl-C in an event loop.
    """

    @functools.wraps(handler)
    def guarded_call(*args: Any) -> Any:
        try:
            return handler(*args)
        except Exception:
            raise
        except BaseException as error:  # no signal is delivered to a worker's thread: this is the handler's own
            raise RuntimeError(f"the handler raised {error!r}") from error

    @functools.wraps(handler)
    async def guarded_task(*args: Any) -> Any:
        try:
            return await handler(*args)
        except (Exception, KeyboardInterrupt):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the worker is stopped
            raise RuntimeError("the handler was cancelled from within") from error
        except GeneratorExit:
            raise  # the event loop has gone
        except BaseException as error:
            raise RuntimeError(f"the handler raised {error!r}") from error

    return guarded_task if awaited else guarded_call
