"""All that one debouncer decides, shared by its sync and its async class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redisopt.awaiting import Awaiting
from redisopt.background import Performer
from redisopt.debounce.agreeing import Agreeing
from redisopt.debounce.asking import Asking
from redisopt.debounce.closures import Closures
from redisopt.debounce.config import CLUSTER_PARTITIONS, DebounceConfig
from redisopt.debounce.controlling import Controlling
from redisopt.debounce.due import Due
from redisopt.debounce.executing import Executing
from redisopt.debounce.permits import Permits
from redisopt.debounce.submitting import Submitting, check_timeout
from redisopt.functions import check_function, guarded, takes
from redisopt.limiters import Limiter, checked_limiter
from redisopt.monitor.watching import Monitor, Watch

GRACE = 10.0
"""Seconds that a worker's stop waits for runs under way, unless it is told otherwise."""

MAX_GRACE = 86_400
"""The longest that it may be told: a day."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a function is called: the key, or how to find it in the function's arguments, and the timeout."""

    key: str | Callable[..., str] = ""
    timeout: float | None = None

    def key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The key of a call with these arguments."""
        return self.key(*args, **kwargs) if callable(self.key) else self.key


class DebouncePlans:
    """The plans of one debouncer.

    Attributes:
        asking: which script is asked for what.
        agreeing: whether other processes mean the same by the name.
        awaiting: who waits for outcomes here.
        submitting, executing: calls and runs.
        closures: calls with a function.
        controlling: cancel, flush, peek, metrics, dead letters.
        handler: what runs, None where none was registered.
    """

    def __init__(
        self,
        name: str,
        config: DebounceConfig,
        on_debounce: Callable[[int], object] | None,
        throttler: Limiter | None,
        monitor: Monitor | None,
        *,
        clustered: bool,
        awaited: bool,
    ) -> None:
        if on_debounce is not None:
            check_function(on_debounce, "on_debounce", awaited=False, instead="a plain function that starts a task")
        checked_limiter(throttler, "throttler", awaited=awaited)
        self.name = name
        self.config = config
        self.asking = Asking(name, config, config.partitions or (CLUSTER_PARTITIONS if clustered else 1))
        self.awaiting = Awaiting()
        self.agreeing = Agreeing(self.asking)
        self.submitting = Submitting(self.asking, self.agreeing, self.awaiting, on_debounce)
        watch = Watch(monitor, "debounced_operation", {"debouncer": name}, "debounce_error", awaited=awaited)
        self.executing = Executing(self.asking, watch)
        self._permits = None if throttler is None else Permits(name, throttler)
        self.closures = Closures(
            self.asking, self.agreeing, self.awaiting, self.submitting, self.executing, self._permits, on_debounce
        )
        self.controlling = Controlling(self.asking, self.agreeing, self.submitting, watch)
        self.handler: Callable[..., Any] | None = None
        self._registered: Callable[..., Any] | None = None

    def attach(self, performer: Performer) -> None:
        """Have `performer` perform what goes on in the background, and wake who waits."""
        self.awaiting.wake = performer.wake
        leases = self.executing.leases
        leases.attach(performer, leases.keep, f"redisopt-debounce-{self.name}-leases")
        if self._permits is not None:
            self._permits.performer = performer

    def register(self, handler: Callable[..., Any], *, awaited: bool) -> None:
        """Have `handler` called for what is due.

        Raises:
            ValueError: it is no function of a payload, of the wrong kind, or there is one.
        """
        check_function(handler, "handler", awaited=awaited, instead="a Debouncer" if awaited else "an AsyncDebouncer")
        if self.handler is not None:
            raise ValueError(f"debounce {self.name!r} has the handler {self._registered!r}: there can be but one")
        if takes(handler, 1):  # also where a second argument has a default: that is the user's own
            self.handler = guarded(lambda payload, _: handler(payload), awaited=awaited)
        elif takes(handler, 2):
            self.handler = guarded(handler, awaited=awaited)
        else:
            raise ValueError(f"handler {handler!r} must take a payload, or a payload and the run")
        self._registered = handler

    def check_terms(self, terms: Terms) -> None:
        """Refuse terms that no call could meet.

        Raises:
            ValueError: key or timeout.
        """
        if not callable(terms.key):
            self.asking.layout.place(terms.key)
        check_timeout(terms.timeout)

    def due(self) -> Due:
        """What a worker has to do.

        Raises:
            ValueError: there is no handler.
        """
        if self.handler is None:
            raise ValueError(f"debounce {self.name!r} has no handler to run: register one with @debouncer.handler")
        return Due(self.asking, self.agreeing, self.executing, self.handler, self._permits)
