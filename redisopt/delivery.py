"""How one script call reaches the server and counts once: the logic of both runners.

The first try is the runner's; what becomes of a failure is decided here, as a generator that yields what to send and how
long to pause, and touches no socket. A call that failed on the way is sent again, with tenacity's backoff and the same call
number, until its time is over; a server that does not know the script is given it with EVAL, one trip more. What cannot be
repaired becomes an error of our tree. A caller that is interrupted while a charge is under way has it undone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import tenacity

from redisopt import events, wire
from redisopt.commands import Arg, Command, Sleep
from redisopt.links import Link
from redisopt.scripts import script

# The first retry goes out at once, for a connection that the server closed while it was idle; then full jitter.
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.005, max=0.1)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a call over its link and read the reply within `timeout` seconds."""

    call: Call
    name: str
    timeout: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the link's connection: a reply may be owed on it, or its server is the wrong one."""

    link: Link[Any]


Delivery = Generator[Exchange | Drop | Sleep, Any, Any]


class Call:
    """One command on its way over one link, under one number."""

    __slots__ = ("command", "lane", "link")

    def __init__(self, command: Command[Any], link: Link[Any]) -> None:
        self.command = command
        self.link = link
        self.lane: tuple[Arg, ...] = ()
        if command.once:
            link.number += 1
            self.lane = (link.lane, link.number)

    def packed(self, name: str, *, whole: bool = False) -> bytes:
        """As bytes, for a link's own connection."""
        return wire.packed(script(name), self.command, self.lane, whole=whole)

    def parts(self, name: str, *, whole: bool = False) -> tuple[Arg, ...]:
        """In parts, for the client to send."""
        return wire.parts(script(name), self.command, self.lane, whole=whole)


def recover(call: Call, error: BaseException, started: float, timeout: float) -> Delivery:
    """What becomes of a call whose first try, begun at `started`, failed with `error`. Returns the reply of a later try.

    Raises:
        Unavailable: no answer within `timeout` seconds, or an answer that no retry can mend.
        StateLost: a key holds something that is not ours.
        BaseException: `error` itself, when it is an interruption and not a failure.
    """
    if isinstance(error, wire.FAILURES):
        try:
            try:
                return (yield from _repair(call, call.command.script, error, timeout))
            except wire.FAILURES as failure:
                return (yield from _try_again(call, call.command.script, failure, started + timeout))
        except wire.FAILURES as final:
            raise wire.unavailable(final, call.command.script) from final
        except Exception:
            raise
        except BaseException as interruption:
            yield from _undo(call, timeout)
            raise interruption from None
    if not isinstance(error, Exception):
        yield from _undo(call, timeout)
    raise error


def _repair(call: Call, name: str, error: Exception, timeout: float) -> Delivery:
    """Mend at once what can be: send the script along. Anything else is raised again, off a connection in step."""
    if wire.is_no_script(error):
        events.emit(events.ScriptReloaded(name))
        return (yield Exchange(call, name, timeout, whole=True))
    if not wire.leaves_connection_usable(error):
        yield Drop(call.link)
    raise error


def _try(call: Call, name: str, timeout: float) -> Delivery:
    try:
        return (yield Exchange(call, name, timeout))
    except wire.FAILURES as error:
        return (yield from _repair(call, name, error, timeout))


def _try_again(call: Call, name: str, error: Exception, deadline: float) -> Delivery:
    """Further tries while the error is one that time may mend and time is left."""

    def out_of_time(state: tenacity.RetryCallState) -> bool:
        return time.monotonic() + state.upcoming_sleep >= deadline

    def note(state: tenacity.RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome is not None else None
        if failure is not None:
            events.logger.debug("%s failed, try %d: %s", name, state.attempt_number, failure)
            events.emit(events.Retried(name, state.attempt_number, failure))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(wire.is_transient),
        wait=lambda state: 0.0 if state.attempt_number == 1 else _BACKOFF(state),
        stop=out_of_time,
        before_sleep=note,
        reraise=True,
    )
    retrying.begin()
    state = tenacity.RetryCallState(retrying, fn=None, args=(), kwargs={})
    state.set_exception((type(error), error, error.__traceback__))  # the first try has been made
    while True:
        action = retrying.iter(state)
        if isinstance(action, tenacity.DoAttempt):
            try:
                state.set_result((yield from _try(call, name, max(0.001, deadline - time.monotonic()))))
            except wire.FAILURES:
                state.set_exception(sys.exc_info())  # type: ignore[arg-type] # there is one
        elif isinstance(action, tenacity.DoSleep):
            state.prepare_for_next_attempt()
            if action > 0:
                yield Sleep(float(action))
        else:
            return action


def _undo(call: Call, timeout: float) -> Delivery:
    """The caller will never read the reply: take back what the call may have been granted."""
    yield Drop(call.link)
    undo = call.command.undo
    if undo is None:
        return
    deadline = time.monotonic() + timeout
    try:
        try:
            yield from _try(call, undo, timeout)
        except wire.FAILURES as error:
            yield from _try_again(call, undo, error, deadline)  # an undo may be repeated like any other call
    except wire.FAILURES as error:
        # The interruption goes on. The charge stays, as after a crash.
        events.logger.warning("an interrupted %s could not be undone: %s", call.command.script, error)
