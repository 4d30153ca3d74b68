"""Driving: performing the steps of a plan one by one, in a thread or in an event loop.

How a step is performed is the runner's to say. Here stands what becomes of errors and interruptions on the way, and how a plan is
waited for no longer than some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Generator
from math import inf
from typing import Any, NamedTuple, TypeVar

from redisopt.commands import Abandoned, Command, Invoke, Within
from redisopt.deadlines import Late, NoThread, Overdue, TooManyOverdue, wait_within
from redisopt.errors import OperationTimeout

R = TypeVar("R")

now = time.monotonic


class _Deadline(NamedTuple):
    """When a plan is waited for no longer, and the thread or task in which it is performed.

    Whatever is begun there sees it too, by its copy of the context: what goes on by itself, such as a refresh in the background, has
    no deadline though, or another one. Held weakly, as such a copy may live for long.
    """

    at: float
    holder: weakref.ref[threading.Thread | asyncio.Task[Any]]


_deadline: contextvars.ContextVar[_Deadline | None] = contextvars.ContextVar("redisopt_deadline", default=None)

MAX_ABANDONED = 64
"""Plans of one object that nobody waits for any more and that still run, each in a thread, before no more are begun."""

TO_END = 2.0
"""Seconds that tasks which were cancelled have to end, before whoever stops or closes goes on without them."""


def drive(plan: Generator[Any, Any, R], perform: Callable[[Any], Any]) -> R:
    """Perform the plan's steps one by one; an error or an interruption arrives in the plan at the step under way.

    So does one that comes between two steps (Ctrl-C, or whatever a signal handler raises): else the plan would end without giving back
    what it holds.
    """
    interruption: BaseException | None = None
    while True:
        try:
            step = plan.send(None) if interruption is None else plan.throw(interruption)
            while True:
                try:
                    result = perform(step)
                except BaseException as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        except BaseException as error:
            if getattr(plan, "gi_frame", None) is None:
                raise  # it is the plan's own
            interruption = error


async def drive_async(
    plan: Generator[Any, Any, R], perform: Callable[[Any, bool], Coroutine[Any, Any, Any]], *, interrupted: bool = False
) -> R:
    """As `drive`. Once interrupted, the plan is giving back what it holds: a further cancel is absorbed."""
    try:
        step = plan.send(None)
        while True:
            try:
                result = await (_to_its_end(perform(step, True)) if interrupted else perform(step, False))  # noqa: FBT003
            except GeneratorExit:  # this coroutine was closed: it may await no more
                _close(plan)
                raise
            except BaseException as error:
                interrupted = interrupted or not isinstance(error, Exception)
                step = plan.throw(error)
            else:
                step = plan.send(result)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def _close(plan: Generator[Any, Any, Any]) -> None:
    """End the plan without performing what it would still do."""
    with contextlib.suppress(GeneratorExit, StopIteration):
        while True:
            plan.throw(GeneratorExit)


async def _to_its_end(step: Coroutine[Any, Any, R]) -> R:
    """Await `step` to its end, bounded as every step is, whatever further cancellations come.

    They are not passed on: the plan is already on its way out with the first one. It has the deadline of who awaits it.
    """
    deadline, context = _deadline_here(), contextvars.copy_context()
    task = asyncio.create_task(step, context=context)
    context.run(_set_deadline, deadline, task)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()


def drive_within(step: Within, perform: Callable[[Any], Any], overdue: Overdue) -> Any:
    """Perform a plan in a thread of its own, and wait for it no longer than it has. Raises what the plan raises.

    Raises:
        OperationTimeout: it is not over; or too many that were given up still run.
    """
    over, deadline = threading.Event(), min(_deadline_here(), now() + step.seconds)

    def perform_unless_over(inner: Any) -> Any:
        if over.is_set() and not isinstance(inner, Command) and not (isinstance(inner, Invoke) and inner.final):
            raise Abandoned
        return perform(inner)

    def run() -> Any:
        _set_deadline(deadline, threading.current_thread())  # in the thread's own context
        with contextlib.suppress(Abandoned):
            return drive(step.plan(), perform_unless_over)

    try:
        return wait_within(step.seconds, run, overdue)
    except Late as late:
        over.set()
        error = _timed_out(step)
        error.running = late.running
        raise error from None
    except TooManyOverdue as error:
        raise OperationTimeout(f"not begun: {error}; each is a thread that cannot be interrupted") from None
    except NoThread as error:
        raise OperationTimeout(f"not begun: a timeout needs a thread, and none can be started: {error}") from error
    except BaseException:
        over.set()  # the caller was interrupted
        raise


async def drive_within_async(step: Within, perform: Callable[[Any, bool], Coroutine[Any, Any, Any]]) -> Any:
    """As `drive_within`, in the task itself: the plan is cancelled."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - coroutines of the runner are awaited in one
    token = _set_deadline(min(_deadline_here(), now() + step.seconds), task)
    try:
        async with asyncio.timeout(step.seconds) as bound:
            return await drive_async(step.plan(), perform)
    except TimeoutError:
        if not bound.expired():
            raise
        raise _timed_out(step) from None
    finally:
        with contextlib.suppress(
            ValueError
        ):  # this coroutine is closed in another context, such as that of the collector
            _deadline.reset(token)


def time_left() -> float | None:
    """Seconds that whoever performs a plan in this thread or task still waits for it; None for as long as it takes."""
    deadline = _deadline_here()
    return None if deadline == inf else max(0.0, deadline - now())


def _set_deadline(at: float, holder: threading.Thread | asyncio.Task[Any]) -> contextvars.Token[_Deadline | None]:
    return _deadline.set(_Deadline(at, weakref.ref(holder)))


def _deadline_here() -> float:
    """That of the plan which is performed in this thread or task."""
    deadline = _deadline.get()
    if deadline is None:
        return inf
    holder = deadline.holder()
    is_ours = holder is not None and (holder is threading.current_thread() or holder is _current_task())
    return deadline.at if is_ours else inf


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return None


def _timed_out(step: Within) -> OperationTimeout:
    return OperationTimeout(f"the operation was not over within timeout={step.seconds:g} s")
