"""The permits that runs wait for, where a debouncer is joined with a limiter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redisopt import events
from redisopt.background import Performer
from redisopt.commands import Invoke, Plan
from redisopt.limiters import Limiter


class Permits:
    """The plans that take permits of one limiter, and give them back.

    Attributes:
        performer: performs what goes on in the background.
    """

    def __init__(self, name: str, limiter: Limiter) -> None:
        self._name = name
        self._limiter = limiter
        self.performer: Performer | None = None

    def acquire(self, timeout: float | None = None) -> Plan[Any]:
        """Wait for a permit.

        Raises:
            Throttled: that would take longer than `timeout` seconds, or as the limiter says.
        """
        return (yield Invoke(self._limiter.acquire, (), {"timeout": timeout}))

    def release(self, permit: Any) -> Plan[None]:
        """What ran under it is over."""
        yield from self._end(permit.release)

    def give_back(self, permit: Any) -> Plan[None]:
        """Nothing ran under it."""
        yield from self._end(permit.refund)
        yield from self._end(permit.release)

    def _end(self, give: Callable[[], Any]) -> Plan[None]:
        """Where it cannot be given back its lease ends, and all else goes on."""
        try:
            yield Invoke(give, final=True)
        except Exception as error:
            events.logger.warning("debounce %r: a permit could not be given back: %s", self._name, error)
