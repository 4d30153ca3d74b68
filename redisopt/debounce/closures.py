"""Calls whose callers hold the function that would run, as plans.

A function cannot go to another process. So the callers of a window wait for it, and the newest one that lives runs its own
function; all get what it gave. Of the callers of one process the newest speaks for it; where the newest process does not
come when the window is due, the next one does, a moment later. No timer runs anywhere but in those who wait.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from redisopt import events
from redisopt.awaiting import ASK_EVERY, Awaiting, NotYet
from redisopt.background import now
from redisopt.commands import Plan, Stopped, call
from redisopt.debounce.asking import Asking
from redisopt.debounce.executing import MAX_ERROR, Executing, HeldRun
from redisopt.debounce.layout import Place
from redisopt.debounce.replies import Claimed, Fate, Placed, Taken
from redisopt.debounce.submitting import Submitting, check_timeout
from redisopt.errors import RedisOptError
from redisopt.identity import next_permit_id, process_id
from redisopt.policies import Policy

_numbers = itertools.count(1)


class _Ours:
    """What this caller's own function gave."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


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
        awaiting: Awaiting,
        submitting: Submitting,
        executing: Executing,
        on_debounce: Callable[[int], object] | None,
    ) -> None:
        self._asking = asking
        self._awaiting = awaiting
        self._submitting = submitting
        self._executing = executing
        self._on_debounce = on_debounce
        self._number = next(_numbers)
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._callers: dict[str, set[int]] = {}  # of each key
        self._waiting: dict[tuple[str, str], list[int]] = {}  # for each key's window, in order of calling

    @property
    def _holder(self) -> str:
        return f"{process_id()}.{self._number}"

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
        place = self._asking.layout.closures(key)
        caller = self._enter(place)
        try:
            placed, fence = yield from call(self._asking.join(place, self._holder, self._asking.config.wait))
            if placed.status == "leading":
                taken = Taken(fence, 1, 1, "leading")
                return (yield from self._run(place, placed.window, taken, operation))
            if self._on_debounce is not None and placed.status == "pending":
                events.notify(self._on_debounce, placed.number)

            def look() -> Plan[Fate | _Ours | NotYet]:
                return (yield from self._look(place, placed, caller, operation))

            with self._lock:
                self._waiting.setdefault((place.window, placed.window), []).append(caller)
            try:
                waiting: Plan[Fate | _Ours] = self._awaiting.outcome(placed.window, look, timeout)
                found = yield from waiting
            finally:
                self._wait_no_more(place, placed.window, caller)
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._leave_early(place, caller)
            raise
        finally:
            self._leave(place, caller)
        if isinstance(found, _Ours):
            return found.value
        return self._submitting.read(found, placed.window, placed.number).value

    def _look(
        self,
        place: Place,
        placed: Placed,
        caller: int,
        operation: Callable[[], Plan[Any]],
    ) -> Plan[Fate | _Ours | NotYet]:
        """Ask what became of the window; and where it is time, and this is the one to do it, run the operation."""
        if self._is_newest(place, placed.window, caller):
            found = yield from call(self._asking.take(place, placed.window, self._holder, next_permit_id()))
        else:
            found = yield from call(self._asking.result(place, placed.window))
            if found.status == "pending":
                return NotYet()  # the newest caller of this process sees to it
        if isinstance(found, Taken):
            return _Ours((yield from self._run(place, placed.window, found, operation)))
        if found.status in {"pending", "running"}:
            return NotYet(min(ASK_EVERY, found.due_after))
        return found

    def _run(
        self,
        place: Place,
        window: str,
        taken: Taken,
        operation: Callable[[], Plan[Any]],
    ) -> Plan[Any]:
        claimed = Claimed(place, window, taken.fence, taken.attempt, taken.calls, taken.edge, "last", 0.0, b"", 0)
        run = HeldRun(claimed, now() + self._asking.config.lease_ttl)
        self._executing.leases.hold(place.tag, run)
        try:
            try:
                run.called = True
                value = yield from self._executing.watch.around(operation)
            except GeneratorExit:
                raise
            except Exception as error:
                cause = error.error if isinstance(error, Stopped) else error
                text = f"{type(cause).__name__}: {cause}"[:MAX_ERROR]
                yield from self._executing.finish(run, "failed", b"", text)
                raise
            except BaseException:
                yield from self._executing.give_back(run)
                raise
            yield from self._executing.finish(run, *self._executing.stored(run, value))
        finally:
            self._executing.leases.drop(place.tag, run)
        return value

    # --- the callers of this process

    def _enter(self, place: Place) -> int:
        if self._process != process_id():
            self._begin()  # a forked child: its parent's callers are not here
        caller = next(_numbers)
        with self._lock:
            self._callers.setdefault(place.window, set()).add(caller)
        return caller

    def _is_newest(self, place: Place, window: str, caller: int) -> bool:
        with self._lock:
            return self._waiting[place.window, window][-1] == caller

    def _wait_no_more(self, place: Place, window: str, caller: int) -> None:
        with self._lock:
            waiting = self._waiting[place.window, window]
            waiting.remove(caller)
            if not waiting:
                del self._waiting[place.window, window]

    def _leave(self, place: Place, caller: int) -> bool:
        """Whether nobody here waits for the key any more."""
        with self._lock:
            callers = self._callers.get(place.window, set())
            callers.discard(caller)
            if not callers:
                self._callers.pop(place.window, None)
            return not callers

    def _leave_early(self, place: Place, caller: int) -> Plan[None]:
        """A caller gives up. The last one here says so, so that a window that nobody could run is not kept."""
        if not self._leave(place, caller):
            return
        try:
            yield from call(self._asking.leave(place, self._holder))
        except RedisOptError as error:
            events.logger.debug("a caller could not leave: %s", error)
