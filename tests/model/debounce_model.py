"""lodash's `debounce` on virtual time, with what it does not do exactly made exact.

A port of the function of lodash 4.18 (its names are kept), with two repairs: a timer that is armed within a burst respects
`max_wait` (lodash arms the whole `wait` and overshoots the cap), and a flush disarms the timer (lodash leaves it armed, so that
it fires once more at a time that nothing calls for). Beside lodash, it keeps all calls of a window, and can fire at a count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Options:
    """In milliseconds."""

    wait: int
    max_wait: int | None = None
    leading: bool = False
    trailing: bool = True
    max_items: int | None = None


@dataclass
class LodashDebounce:
    """Whoever calls it sets `now`, never beyond `timer`, and calls `expire` when it is reached."""

    options: Options
    now: int = 0
    timer: int | None = None
    runs: list[tuple[int, list[Any]]] = field(default_factory=list)
    _last_call: int | None = None
    _last_invoke: int = 0
    _args: list[Any] = field(default_factory=list)

    def call(self, payload: Any) -> None:
        is_invoking = self._should_invoke()
        self._args.append(payload)
        self._last_call = self.now
        if is_invoking and self.timer is None:
            self._last_invoke = self.now
            self.timer = self.now + self.options.wait
            if self.options.leading:
                self._invoke()
        elif self.timer is None:
            self.timer = self.now + self._remaining()
        else:
            self.timer = self.now + self._remaining()
        if self.options.max_items is not None and self.options.trailing and len(self._args) >= self.options.max_items:
            self.flush()

    def expire(self) -> None:
        """The timer's time has come."""
        self.timer = None
        if self.options.trailing and self._args:
            self._invoke()
        self._args = []

    def cancel(self) -> None:
        self._last_invoke = 0
        self._last_call = self.timer = None
        self._args = []

    def flush(self) -> None:
        if self.timer is not None:
            self.expire()

    @property
    def pending(self) -> int:
        return len(self._args) if self.options.trailing else 0

    def _invoke(self) -> None:
        self.runs.append((self.now, self._args))
        self._args = []
        self._last_invoke = self.now

    def _should_invoke(self) -> bool:
        if self._last_call is None or self.now - self._last_call >= self.options.wait:
            return True
        return self.options.max_wait is not None and self.now - self._last_invoke >= self.options.max_wait

    def _remaining(self) -> int:
        if self.options.max_wait is None:
            return self.options.wait
        return min(self.options.wait, self.options.max_wait - (self.now - self._last_invoke))
