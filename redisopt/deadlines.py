"""Bounds on waits that redis-py does not bound: for a whole connect with its lookups and logins, for a whole call."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import TYPE_CHECKING, TypeVar

import redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

R = TypeVar("R")


def call_within(seconds: float, function: Callable[[], R], too_late: Callable[[], object] | None = None) -> R:
    """Call `function` and wait for it no longer than `seconds`; raises what it raises.

    It runs in a thread of its own, the only way to stop waiting for code that bounds each of its waits but not their sum
    (or, as a lookup of a host's name, none). Given up, it runs on there to its end, and then `too_late` cleans up behind it.

    Raises:
        redis.TimeoutError: it is not done.
    """
    future: Future[R] = Future()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name="redisopt-call", daemon=True).start()
    try:
        return future.result(seconds)
    except BaseException as error:
        if future.done() and not future.cancelled() and future.exception() is error:
            raise
        if too_late is not None:
            future.add_done_callback(lambda _: too_late())
        if isinstance(error, NotDone):
            raise redis.TimeoutError(f"no reply within {seconds:.3f} s") from None
        raise


@contextlib.asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but a reply that came while something else blocked the event loop is read first.

    Raises:
        redis.TimeoutError: the block is not done.
    """
    loop = asyncio.get_running_loop()
    over = False
    try:
        async with asyncio.timeout(None) as bound:

            def later(turns: int) -> None:
                # What has arrived is handed to who waits for it within two turns of the loop; then time is up.
                if over:
                    return
                if turns:
                    loop.call_soon(later, turns - 1)
                else:
                    bound.reschedule(loop.time())

            timer = loop.call_later(seconds, later, 2)
            try:
                yield
            finally:
                over = True
                timer.cancel()
    except TimeoutError:
        raise redis.TimeoutError(f"no reply within {seconds:.3f} s") from None
