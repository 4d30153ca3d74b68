"""Bounds on waits that redis-py does not bound: for a whole connect with its lookups and logins, for a whole call."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import TYPE_CHECKING, Any, TypeVar

import redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

R = TypeVar("R")

MAX_OVERDUE = 8
"""Calls of one client that were given up and still run, before no more are begun."""


class TooManyOverdue(redis.RedisError):
    """Calls that were given up pile up: one more would do so too."""


class NoThread(Exception):
    """The process may start no more threads."""


class Late(Exception):
    """What was called is not done in time.

    Attributes:
        running: what it will give: it runs on.
    """

    def __init__(self, seconds: float, running: Future[Any]) -> None:
        super().__init__(f"not done within {seconds:.3f} s")
        self.running = running


class Overdue:
    """How many calls were given up and run on. Each holds a thread, and maybe one of the pool's connections."""

    def __init__(self, most: int = MAX_OVERDUE) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._most = most

    def check(self) -> None:
        """Raise `TooManyOverdue` when no more calls may be begun."""
        if self._number >= self._most:
            raise TooManyOverdue(f"{self._number} earlier calls were given up and still wait for it")

    def add(self, call: Future[R]) -> None:
        """Count `call` until it ends."""
        with self._lock:
            self._number += 1
        call.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        with self._lock:
            self._number -= 1


def wait_within(
    seconds: float, function: Callable[[], R], overdue: Overdue, too_late: Callable[[], object] | None = None
) -> R:
    """Call `function` and wait for it no longer than `seconds`; raises what it raises.

    It runs in a thread of its own, the only way to stop waiting for code that bounds each of its waits but not their sum
    (or, as a lookup of a host's name, none); it sees the caller's context variables. Given up, it runs on there to its
    end, counted in `overdue`, and then `too_late` cleans up behind it.

    Raises:
        Late: it is not done.
        NoThread: the process may start no more threads.
        TooManyOverdue: too many earlier ones were given up and still run.
    """
    overdue.check()
    future: Future[R] = Future()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    context = contextvars.copy_context()
    try:
        threading.Thread(target=context.run, args=(work,), name="redisopt-call", daemon=True).start()
    except RuntimeError as error:
        raise NoThread(str(error)) from error
    try:
        return future.result(seconds)
    except BaseException as error:
        if future.done() and not future.cancelled() and future.exception() is error:
            raise
        overdue.add(future)
        if too_late is not None:
            future.add_done_callback(lambda _: too_late())
        if isinstance(error, NotDone):
            raise Late(seconds, future) from None
        raise


def call_within(
    seconds: float, function: Callable[[], R], overdue: Overdue, too_late: Callable[[], object] | None = None
) -> R:
    """As `wait_within`, for what asks Redis, with redis-py's errors.

    Raises:
        redis.TimeoutError: it is not done.
        redis.ConnectionError: the process may start no more threads.
        TooManyOverdue: too many earlier ones were given up and still run.
    """
    try:
        return wait_within(seconds, function, overdue, too_late)
    except Late:
        raise redis.TimeoutError(f"no reply within {seconds:.3f} s") from None
    except NoThread as error:
        raise redis.ConnectionError(f"no thread could be started for the call: {error}") from error


READS = 2
"""What has arrived is handed to who waits for it within so many turns of the event loop."""


@contextlib.asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but a reply that came while something else blocked the event loop is read first.

    Raises:
        redis.TimeoutError: the block is not done.
    """
    loop = asyncio.get_running_loop()
    over = False
    timer: asyncio.Handle
    try:
        async with asyncio.timeout(None) as bound:

            def later(turns: int) -> None:
                if over:
                    return
                if turns:
                    loop.call_soon(later, turns - 1)
                else:
                    bound.reschedule(loop.time())

            def begin() -> None:
                nonlocal timer
                timer = loop.call_later(seconds, later, READS)

            # Time runs from the next turn of the loop: a burst of tasks may keep it busy until then.
            timer = loop.call_soon(begin)
            try:
                yield
            finally:
                over = True
                timer.cancel()
    except TimeoutError:
        raise redis.TimeoutError(f"no reply within {seconds:.3f} s") from None
