"""How one script call reaches the server and counts once: the logic of both runners.

The first try is the runner's; what becomes of a failure is decided here, as a generator that yields what to send and how
long to pause, and touches no socket. A call that failed on the way is sent again, with tenacity's backoff and the same call
number, until its deadline; a server that does not know the script is given it with EVAL, one trip more; a node of a Cluster
that sends a call on is followed. What cannot be repaired becomes an error of our tree. A caller that is interrupted while
a charge is under way has it undone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import redis
import tenacity

from redisopt import events, wire
from redisopt.commands import Arg, Command, Sleep
from redisopt.errors import Unavailable
from redisopt.links import Link
from redisopt.nodes import Hop
from redisopt.scripts import script

# The first retry goes out at once, for a connection that the server closed while it was idle; then full jitter.
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.005, max=0.1)

_MAX_HOPS = 8
"""Trips of one try: each may be sent on to another node, which may not know the script."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a call over its link and read the reply within `timeout` seconds."""

    call: Call
    name: str
    timeout: float
    whole: bool = False
    hop: Hop | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the link's connection: a reply may be owed on it, or its server is the wrong one."""

    link: Link[Any]


@dataclass(frozen=True, slots=True)
class Redirect:
    """Take note that a node of a Cluster sent the link's call on; the answer is the `Hop`."""

    link: Link[Any]
    error: redis.exceptions.AskError


@dataclass(frozen=True, slots=True)
class Check:
    """Raise `Unavailable` where Redis is known not to answer such a call."""

    call: Call


@dataclass(frozen=True, slots=True)
class Watch:
    """Take note that a call had no answer in all its time. What comes back is when Redis is probed (see `probes`)."""

    call: Call
    error: Unavailable


DeliveryStep = Exchange | Drop | Redirect | Check | Watch | Sleep
Delivery = Generator[DeliveryStep, Any, Any]


class Call:
    """One command on its way over one link, under one number.

    Attributes:
        timeout: seconds that a call may take.
        deadline: when this one's are over, by this process's monotonic clock: of all tries, repairs and pauses.
        sent: whether a try that failed may have taken effect.
    """

    __slots__ = ("command", "deadline", "lane", "link", "sent", "timeout")

    def __init__(self, command: Command[Any], link: Link[Any], timeout: float, deadline: float) -> None:
        self.command = command
        self.link = link
        self.timeout = timeout
        self.deadline = deadline
        self.sent = False
        self.lane: tuple[Arg, ...] = ()
        if command.once:
            link.number += 1
            self.lane = (link.lane, link.number)

    def failed(self, error: BaseException) -> None:
        """Take note of a try that failed."""
        if self.link.sent and not wire.is_refusal(error):
            self.sent = True

    @property
    def began(self) -> float:
        """When its time began, by this process's monotonic clock."""
        return self.deadline - self.timeout

    def packed(self, name: str, *, whole: bool = False) -> bytes:
        """As bytes, for a link's own connection."""
        return wire.packed(script(name), self.command, self.lane, whole=whole)

    def parts(self, name: str, *, whole: bool = False) -> tuple[Arg, ...]:
        """In parts, for the client to send."""
        return wire.parts(script(name), self.command, self.lane, whole=whole)


def recover(call: Call, error: BaseException) -> Delivery:
    """What becomes of a call that failed with `error` on its first try. Returns what a later one gave, parsed.

    Raises:
        Unavailable: no answer before the call's deadline, or an answer that no retry can mend.
        StateLost: a key holds something that is not ours.
        BaseException: `error` itself, when it is an interruption and not a failure.
    """
    if isinstance(error, wire.FAILURES):
        call.failed(error)
        try:
            return call.command.parse((yield from _deliver(call, call.command.script, call.deadline, error)))
        except wire.FAILURES as final:
            given_up = wire.unavailable(final, call.command)
            given_up.__cause__ = final
            if isinstance(given_up, Unavailable):
                given_up.sent, given_up.lane = call.sent, call.lane
                if wire.is_silence(final):
                    given_up.retry_after = yield Watch(call, given_up)
            raise given_up from final
        except Exception:
            raise
        except BaseException as interruption:
            yield from _undo(call)
            raise interruption from None
    if not isinstance(error, Exception):
        yield from _undo(call)
    raise error


def _deliver(call: Call, name: str, deadline: float, error: Exception | None = None) -> Delivery:
    """Try until `deadline`; `error` is that of a try that the caller has made."""
    try:
        return (yield from _try(call, name, deadline, error))
    except wire.FAILURES as failure:
        first = failure
    return (yield from _try_again(call, name, deadline, first))


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _try(call: Call, name: str, deadline: float, error: Exception | None = None) -> Delivery:
    """One try, with all that can be mended at once. What can't is raised, off a connection in step."""
    whole, hop = False, None
    for _ in range(_MAX_HOPS):
        if error is None:
            try:
                return (yield Exchange(call, name, _left(deadline), whole, hop))
            except wire.FAILURES as failure:
                call.failed(failure)
                error = failure
        if wire.is_no_script(error):
            events.emit(events.ScriptReloaded(name))
            whole = True
        elif wire.is_sent_on(error):
            hop = yield Redirect(call.link, error)
        else:
            if not wire.leaves_connection_usable(error):
                yield Drop(call.link)
            raise error
        error = None
    raise redis.exceptions.ClusterDownError(f"the nodes of the Cluster sent the call on {_MAX_HOPS} times")


def _try_again(call: Call, name: str, deadline: float, error: Exception) -> Delivery:
    """Further tries while the error is one that time may mend and time is left. Raises the error that says most."""

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
        try:
            action = retrying.iter(state)
        except wire.FAILURES:
            raise error from None
        if isinstance(action, tenacity.DoAttempt):
            left = _left(deadline)
            try:
                state.set_result((yield from _try(call, name, deadline)))
            except wire.FAILURES as failure:
                state.set_exception(sys.exc_info())  # type: ignore[arg-type] # there is one
                if wire.is_telling(failure, left, call.timeout):
                    error = failure
        elif isinstance(action, tenacity.DoSleep):
            state.prepare_for_next_attempt()
            if action > 0:
                yield Sleep(float(action))
        else:
            return action


def _undo(call: Call) -> Delivery:
    """The caller will never read the reply: take back what the call may have been granted."""
    yield Drop(call.link)
    undo = call.command.undo
    if undo is None:
        return
    try:
        yield Check(call)
        # It may be repeated like any other call, and has a call's time of its own: that of the call may be over.
        yield from _deliver(call, undo, time.monotonic() + call.timeout)
    except (*wire.FAILURES, Unavailable) as error:
        # The interruption goes on. The charge stays, as after a crash.
        events.logger.warning("an interrupted %s could not be undone: %s", call.command.script, error)
