"""How one script call reaches the server and counts once: the logic of both runners, as a generator.

A call that fails on the way is sent again, with tenacity's backoff and the same call number, until its time is over; a
server that does not know the script is given it with EVAL, one trip more. What cannot be repaired becomes an error of our
tree. A caller that is interrupted while a charge is under way has it undone. The generator yields what to send and how
long to pause; it touches no socket.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
import tenacity

from redisopt import events, wire
from redisopt.commands import Command, Sleep
from redisopt.links import Link
from redisopt.scripts import script

R = TypeVar("R")

# The first retry goes out at once, for a connection that the server closed while it was idle; then full jitter.
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.005, max=0.1)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a call over a link and read its reply within `timeout` seconds; `parts` is the call for a client to send."""

    link: Link[Any]
    call: bytes
    parts: tuple[Any, ...]
    timeout: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the link's connection: a reply may be owed on it, or its server is the wrong one."""

    link: Link[Any]


Delivery = Generator[Exchange | Drop | Sleep, Any, R]


def deliver(command: Command[R], link: Link[Any], timeout: float, *, direct: bool) -> Delivery[R]:
    """Call the command's script over `link` and return the parsed reply.

    `direct` says that the link has a connection of its own, else the client takes the call in parts.

    Raises:
        Unavailable: no answer within `timeout` seconds, or an answer that no retry can mend.
        StateLost: a key holds something that is not ours.
    """
    if command.once:
        link.number += 1
    deadline = time.monotonic() + timeout
    try:
        try:
            reply = yield from _try(command.script, command, link, timeout, direct=direct)
        except (redis.RedisError, OSError) as error:
            reply = yield from _try_again(command, link, deadline, error, direct=direct)
    except Exception:
        raise
    except BaseException:
        yield Drop(link)
        if command.undo is not None:
            yield from _undo(command.undo, command, link, timeout, direct=direct)
        raise
    return command.parse(reply)


def _try(name: str, command: Command[Any], link: Link[Any], timeout: float, *, direct: bool) -> Delivery[Any]:
    """One try, with the script sent along when the server does not know it."""
    try:
        return (yield _exchange(name, command, link, timeout, direct=direct, whole=False))
    except redis.RedisError as error:
        if wire.is_no_script(error):
            events.emit(events.ScriptReloaded(name))
            return (yield _exchange(name, command, link, timeout, direct=direct, whole=True))
        if not wire.leaves_connection_usable(error):
            yield Drop(link)
        raise


def _try_again(command: Command[Any], link: Link[Any], deadline: float, error: Exception, *, direct: bool) -> Delivery[Any]:
    """Further tries while the error is one that time may mend and time is left."""

    def out_of_time(state: tenacity.RetryCallState) -> bool:
        return time.monotonic() + state.upcoming_sleep >= deadline

    def note(state: tenacity.RetryCallState) -> None:
        outcome = state.outcome
        failure = outcome.exception() if outcome is not None else None
        if failure is not None:
            events.logger.debug("%s failed, try %d: %s", command.script, state.attempt_number, failure)
            events.emit(events.Retried(command.script, state.attempt_number, failure))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(wire.is_transient),
        wait=lambda state: 0.0 if state.attempt_number == 1 else _BACKOFF(state),
        stop=out_of_time,
        before_sleep=note,
        reraise=True,
        sleep=lambda _seconds: None,  # the runner sleeps: see DoSleep below
    )
    state = tenacity.RetryCallState(retrying, fn=None, args=(), kwargs={})
    retrying.begin()
    try:
        state.set_exception((type(error), error, error.__traceback__))  # the first try has been made
        while True:
            action = retrying.iter(state)
            if isinstance(action, tenacity.DoAttempt):
                try:
                    left = max(0.001, deadline - time.monotonic())
                    state.set_result((yield from _try(command.script, command, link, left, direct=direct)))
                except (redis.RedisError, OSError):
                    state.set_exception(sys.exc_info())  # type: ignore[arg-type] # there is one
            elif isinstance(action, tenacity.DoSleep):
                state.prepare_for_next_attempt()
                if action > 0:
                    yield Sleep(float(action))
            else:
                return action
    except (redis.RedisError, OSError) as final:
        raise wire.unavailable(final, command.script) from final


def _undo(name: str, command: Command[Any], link: Link[Any], timeout: float, *, direct: bool) -> Delivery[None]:
    try:
        yield from _try(name, command, link, timeout, direct=direct)
    except (redis.RedisError, OSError) as error:
        # The interruption goes on. The charge stays, as after a crash.
        events.logger.warning("an interrupted %s could not be undone: %s", command.script, error)


def _exchange(name: str, command: Command[Any], link: Link[Any], timeout: float, *, direct: bool, whole: bool) -> Exchange:
    args = (link.lane, link.number, *command.args) if command.once else command.args
    if direct:
        return Exchange(link, wire.packed(script(name), command.keys, args, whole=whole), (), timeout)
    return Exchange(link, b"", wire.parts(script(name), command.keys, args, whole=whole), timeout)
