"""Where the time of a call goes: how long it waited for a permit or a result, and how long for Redis.

Whoever wants to know collects it in the thread or task that calls, and in the tasks that this one starts. The runners ask one
module variable whether anybody does; where nobody does, that is all it costs.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Awaitable
from time import perf_counter
from typing import Literal, TypeVar

R = TypeVar("R")

Kind = Literal["wait", "redis"]

profiled = 0
"""How many collect, in the whole process."""

_forks = 0  # that lie between this process and the first one: those that were counted in a parent are not counted here
_NOWHERE = -1

_current: contextvars.ContextVar[Spans | None] = contextvars.ContextVar("redisopt_spans", default=None)
_lock = threading.RLock()  # the collector may end a forgotten block at any instant, also in here


class Spans:
    """The times of what goes on while it is entered; of tasks that run at once they add up.

    Attributes:
        wait: seconds that were waited in a line, or for an outcome.
        redis: seconds that script calls took.
    """

    __slots__ = ("_counted_in", "_outer", "_token", "redis", "wait")

    def __init__(self) -> None:
        self.wait = 0.0
        self.redis = 0.0
        self._counted_in = _NOWHERE

    def begin(self) -> None:
        """Collect from now on. What is collected outside of it gets the same."""
        global profiled  # noqa: PLW0603 - one number that the hot path can ask
        self._outer = _current.get()
        self._token = _current.set(self)
        with _lock:
            profiled += 1
            self._counted_in = _forks

    def end(self) -> None:
        """Collect no more."""
        global profiled  # noqa: PLW0603
        with _lock:
            profiled -= self._counted_in == _forks
            self._counted_in = _NOWHERE
        with contextlib.suppress(ValueError):  # it ends in another task than it began in, whose end ends it there
            _current.reset(self._token)

    def add(self, kind: Kind, seconds: float) -> None:
        """So long was spent so."""
        spans: Spans | None = self
        while spans is not None:
            setattr(spans, kind, getattr(spans, kind) + seconds)
            spans = spans._outer  # noqa: SLF001 - of its own class


def _count_anew() -> None:
    """In a forked child only those go on that its one thread is in. The lock may be held by another one."""
    global profiled, _forks, _lock  # noqa: PLW0603
    _lock = threading.RLock()
    profiled = 0
    _forks += 1
    spans = _current.get()
    while spans is not None:
        if spans._counted_in != _NOWHERE:  # noqa: SLF001 - of this module
            spans._counted_in = _forks  # noqa: SLF001
            profiled += 1
        spans = spans._outer  # noqa: SLF001


os.register_at_fork(after_in_child=_count_anew)


class span:  # noqa: N801 - reads as a word: with span("redis")
    """What happens while it is entered is time of this kind; nothing where nobody collects here, or `kind` is None."""

    __slots__ = ("_began", "_kind", "_spans")

    def __init__(self, kind: Kind | None) -> None:
        self._kind = kind
        self._spans = None if kind is None else _current.get()

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        if self._spans is not None and self._kind is not None:
            self._spans.add(self._kind, perf_counter() - self._began)


async def awaited(kind: Kind, result: Awaitable[R]) -> R:
    """Await `result`; the time is of this kind."""
    with span(kind):
        return await result


def elsewhere() -> contextvars.Context | None:
    """The context of a task that is started here and works for all: it is not this caller's time. None for the usual one."""
    if not profiled:
        return None
    context = contextvars.copy_context()
    context.run(_current.set, None)
    return context
