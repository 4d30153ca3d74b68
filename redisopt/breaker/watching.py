"""Who is told that the state has changed: each process, when one of its own calls sees it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redisopt import events
from redisopt.breaker.state import State
from redisopt.functions import check_function
from redisopt.identity import process_id

_OTHERS = 32  # rules of others that were told of

StateCallback = Callable[[events.CircuitChanged], object]


class Watching:
    """The state as this process knows it. Thread-safe: an answer that comes late is older by its number, and is left out.

    Attributes:
        state: that was seen last.
    """

    def __init__(self, name: str, on_state_change: StateCallback | None) -> None:
        if on_state_change is not None:
            check_function(
                on_state_change, "on_state_change", awaited=False, instead="a plain function that starts a task"
            )
        self._name = name
        self._on_state_change = on_state_change
        self.state: State = "closed"
        self._generation = 0
        self._others: tuple[str, ...] = ()
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()

    def see(self, state: State, generation: int) -> None:
        """What an answer says. The first one is news only where the breaker is not closed."""
        if generation <= self._generation:
            return
        if self._process != process_id():
            self._begin()  # a forked child: the lock may be held by a thread that is not here
        with self._lock:
            if generation <= self._generation:
                return
            before = self.state
            self._generation, self.state = generation, state
        if before != state:
            self.tell(before, state)

    def tell(self, before: State, after: State, *, is_local: bool = False) -> None:
        """The state has changed."""
        change = events.CircuitChanged(self._name, before, after, is_local)
        level = logging.WARNING if after == "open" else logging.INFO
        where = " in this process, without Redis" if is_local else ""
        events.say(change, level, "breaker %r: %s -> %s%s", self._name, before, after, where)
        if self._on_state_change is not None:
            events.notify(self._on_state_change, change)

    def differs(self, others: str) -> None:
        """Another process uses the name with other rules: said once for each of them."""
        if others not in self._others:
            self._others = (*self._others, others)[-_OTHERS:]
            events.logger.warning(
                "breaker %r: another process has other rules, and each call is judged by its own: %s",
                self._name,
                others,
            )

    def refused(self, state: str, retry_after: float) -> None:
        """A call was not let through."""
        if events.listening():
            events.emit(events.CircuitRefused(self._name, state, retry_after))
