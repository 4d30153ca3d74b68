"""Calls whose callers hold the function that would run, as plans.

A function cannot go to another process. So the callers of a window wait for it, and the newest one that lives runs its own
function; all get what it gave. Of the callers of one process the newest speaks for it; where the newest process does not
come when the window is due, the next one does, a moment later. No timer runs anywhere but in those who wait.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from redisopt import events
from redisopt.awaiting import ASK_EVERY, Awaiting, NotYet
from redisopt.background import now
from redisopt.commands import Plan, call
from redisopt.debounce.agreeing import Agreeing
from redisopt.debounce.asking import Asking
from redisopt.debounce.callers import Caller, Callers, Holder
from redisopt.debounce.executing import Executing, HeldRun, as_text
from redisopt.debounce.layout import Place
from redisopt.debounce.permits import Permits
from redisopt.debounce.replies import Claimed, Fate, Taken
from redisopt.debounce.submitting import Submitting, check_timeout
from redisopt.errors import RedisOptError, ResultTimeout, ThrottleTimeout
from redisopt.holding import holding
from redisopt.policies import Policy


class _Ours:
    """What this caller's own function gave."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class _NoPermit(Exception):
    """There is no permit for a function within its caller's timeout."""


class _Debounced:
    """Debouncing as a policy: what goes on around the calls of one key."""

    def __init__(self, closures: Closures, key: str, timeout: float | None) -> None:
        self._closures = closures
        self._key = key
        self._timeout = timeout

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """`inner` is performed where it is that of the newest caller."""
        return self._closures.execute(inner, self._key, self._timeout)


class Closures:
    """The plans of those who call with a function."""

    def __init__(
        self,
        asking: Asking,
        agreeing: Agreeing,
        awaiting: Awaiting,
        submitting: Submitting,
        executing: Executing,
        permits: Permits | None,
        on_debounce: Callable[[int], object] | None,
    ) -> None:
        self._asking = asking
        self._agreeing = agreeing
        self._awaiting = awaiting
        self._submitting = submitting
        self._executing = executing
        self._permits = permits
        self._on_debounce = on_debounce
        self._callers = Callers()

    def policy(self, key: str, timeout: float | None) -> Policy:
        """What goes on around the calls of a key."""
        return _Debounced(self, key, timeout)

    def execute(
        self,
        operation: Callable[[], Plan[Any]],
        key: str,
        timeout: float | None,
    ) -> Plan[Any]:
        """Have one live caller run its operation once it is due; what that gave."""
        check_timeout(timeout)
        until = inf if timeout is None else now() + timeout
        place = self._asking.layout.closures(key)
        if now() >= self._agreeing.until:
            yield from self._agreeing.ensure()
        caller = self._callers.enter(place)
        try:
            asked = now()
            joining = self._asking.join(place, caller.holder.id, caller.joining, self._asking.config.wait)
            placed, fence = yield from call(joining)
            self._callers.wait(caller, placed.window)
            if placed.status == "leading":
                taken = Taken(fence, 1, 1, "leading")
                return (yield from self._run(place, placed.window, taken, asked, operation, until))
            if self._on_debounce is not None and placed.status == "pending":
                events.notify(self._on_debounce, placed.number)

            def look() -> Plan[Fate | _Ours | NotYet]:
                return (yield from self._look(place, placed.window, caller, operation, until))

            waiting: Plan[Fate | _Ours] = self._awaiting.outcome(placed.window, look, timeout)
            try:
                found = yield from waiting
            except ResultTimeout:
                raise self._submitting.too_late(placed.window, timeout) from None
        except _NoPermit as refused:
            yield from self._leave_early(place, caller)
            raise self._submitting.too_late(caller.window, timeout) from refused.__cause__
        except GeneratorExit:
            self._callers.leave(place, caller)
            raise
        except BaseException:
            yield from self._leave_early(place, caller)
            raise
        self._callers.leave(place, caller)
        if isinstance(found, _Ours):
            return found.value
        return self._submitting.read(found, placed.window, placed.number).value

    def _look(
        self,
        place: Place,
        window: str,
        caller: Caller,
        operation: Callable[[], Plan[Any]],
        until: float,
    ) -> Plan[Fate | _Ours | NotYet]:
        """Ask what became of the window; and where it is time, and this is the one to do it, run the operation."""
        found: Fate | Taken
        asked = now()
        if self._callers.is_newest(caller):
            found = yield from self._take(place, window, caller.holder)
        else:
            found = yield from call(self._asking.result(place, window))
            if found.status == "pending":
                return NotYet()  # the newest caller of this process sees to it
        if isinstance(found, Taken):
            return _Ours((yield from self._run(place, window, found, asked, operation, until)))
        if found.status in {"pending", "running"}:
            return NotYet(min(ASK_EVERY, found.due_after))
        return found

    def _take(self, place: Place, window: str, holder: Holder) -> Plan[Fate | Taken]:
        """Ask for the window, under the id of an attempt that was not answered, if there is one: it may have taken it."""
        attempt = self._callers.attempt(holder, window)
        try:
            return (yield from call(self._asking.take(place, window, holder.id, attempt)))
        except BaseException:
            self._callers.unanswered(holder, window, attempt)
            raise

    def _run(
        self,
        place: Place,
        window: str,
        taken: Taken,
        asked: float,
        operation: Callable[[], Plan[Any]],
        until: float,
    ) -> Plan[Any]:
        claimed = Claimed(place, window, taken.fence, taken.attempt, taken.calls, taken.edge, "last", 0.0, b"", 0)
        run = HeldRun(claimed, asked + self._asking.config.lease_ttl)
        self._executing.leases.hold(place.tag, run)
        try:
            if self._permits is None:
                return (yield from self._perform(run, operation))
            return (yield from self._perform_with_permit(run, operation, self._permits, until))
        finally:
            self._executing.leases.drop(place.tag, run)

    def _perform_with_permit(
        self, run: HeldRun, operation: Callable[[], Plan[Any]], permits: Permits, until: float
    ) -> Plan[Any]:
        """What this caller waits for holds nobody up but those of its window, for whom its lease is renewed meanwhile."""
        try:
            permit = yield from permits.acquire(None if until == inf else max(0.0, until - now()))
        except GeneratorExit:
            raise
        except BaseException as error:
            yield from self._executing.give_back(run)  # it was not started: the next caller may have better luck
            if isinstance(error, ThrottleTimeout):
                raise _NoPermit from error
            raise
        return (
            yield from holding(
                partial(self._perform, run, operation),
                partial(permits.release, permit),
                permits.performer,
                "redisopt-release",
            )
        )

    def _perform(self, run: HeldRun, operation: Callable[[], Plan[Any]]) -> Plan[Any]:
        try:
            run.called = True
            value = yield from self._executing.watch.around(operation)
        except GeneratorExit:
            raise
        except Exception as error:
            yield from self._say(run, "failed", b"", as_text(error))
            raise
        except BaseException:
            yield from self._executing.give_back(run)
            raise
        yield from self._say(run, *self._executing.stored(run, value))
        return value

    def _say(self, run: HeldRun, outcome: str, value: bytes, error: str) -> Plan[None]:
        """Say what became of a function. Where Redis cannot be told, its own caller gets that all the same."""
        try:
            yield from self._executing.finish(run, outcome, value, error)
        except RedisOptError as away:
            events.logger.warning(
                "debounce %r: %r is over, but the other callers cannot be told: %s", self._asking.name, run, away
            )

    def _leave_early(self, place: Place, caller: Caller) -> Plan[None]:
        """A caller gives up. The last one here says so, so that a window that nobody could run is not kept."""
        left = self._callers.leave(place, caller)
        if left is None:
            return
        which, attempts = left
        try:
            for attempt in attempts:
                yield from call(self._asking.leave(place, caller.holder.id, which, attempt))
        except RedisOptError as error:
            events.logger.debug("a caller could not leave: %s", error)
