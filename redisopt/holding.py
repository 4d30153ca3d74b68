"""What is held while something is done, and let go after it: a permit, above all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redisopt.background import Performer
from redisopt.commands import Plan
from redisopt.errors import OperationTimeout


def holding(
    inner: Callable[[], Plan[Any]], let_go: Callable[[], Plan[None]], performer: Performer | None, name: str
) -> Plan[Any]:
    """Perform `inner`, and `let_go` after it, however it ends.

    Where a timeout gave up a thread, which still does what this is held for, it is let go when that ends, in the background.

    Args:
        inner, let_go: make the plans.
        performer: performs what goes on in the background.
        name: of that.
    """
    try:
        result = yield from inner()
    except GeneratorExit:
        raise
    except BaseException as error:
        if performer is None or not when_over(error, performer, lambda: performer.start(let_go, name)):
            yield from let_go()
        raise
    yield from let_go()
    return result


def when_over(error: BaseException, performer: Performer, function: Callable[[], object]) -> bool:
    """Have `function` called once what a timeout gave up is over, where the performer is now. False where nothing runs on."""
    running = error.running if isinstance(error, OperationTimeout) else None
    if running is None:
        return False
    loop = performer.place()

    def call(_: object) -> None:  # in the thread that is over
        if loop is None:
            function()
        else:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(function)

    running.add_done_callback(call)
    return True
