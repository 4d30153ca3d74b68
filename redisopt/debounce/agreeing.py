"""Whether all processes mean the same by a name, as plans.

Two processes that spread its keys over different numbers of partitions would not find each other's work. So each says its own
with its first call, and once a minute after that: who differs is refused for as long as work is left there, or a process lives
that would bring more. Other options, such as `max_wait`, may differ; then each call is judged by its own, and a warning says so.
"""

from __future__ import annotations

from math import inf

from redisopt import events
from redisopt.background import now
from redisopt.commands import Plan, call
from redisopt.debounce.asking import Asking
from redisopt.debounce.layout import Layout
from redisopt.errors import ConfigConflict, Unavailable

_EVERY = 60.0  # seconds between two times that a process says so
_AWAY = 1.0  # seconds until it is tried again where Redis was away


class Agreeing:
    """What one debouncer of this process knows of the others.

    Attributes:
        until: when it is to be asked again, by this process's monotonic clock. Compare before you ask: that costs nothing.
        conflicts: other configs that were seen.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.until = -inf
        self.conflicts: set[str] = set()

    def ensure(self) -> Plan[None]:
        """Say what holds here, and learn what holds elsewhere. While Redis is away, nothing is said.

        Raises:
            ConfigConflict: work is left in another number of partitions, or a process lives that uses it so; or other options, where `on_conflict` is "raise".
        """
        try:
            yield from self._agree()
        except Unavailable as error:
            events.logger.debug("debounce %r: not compared with other processes: %s", self._asking.name, error)
            self.until = now() + _AWAY
        else:
            self.until = now() + _EVERY

    def _agree(self) -> Plan[None]:
        asking, config = self._asking, self._asking.config
        here = asking.layout.partitions
        there, options = yield from call(asking.agree())
        if there and not (yield from self._is_work_left(there)):
            there, options = yield from call(asking.agree(instead=there))
        if there:
            raise self._conflict(
                f"its keys are spread over {there} partitions, where work is left or another process lives, and here over {here}, so "
                f"that none of it would be found: set partitions={there}, until nothing waits there and no process has used "
                "it so for 90 s"
            )
        if options:
            conflict = self._conflict(f"other processes use it with {options}, and this one with {config.shared}")
            if config.on_conflict == "raise":
                raise conflict

    def _is_work_left(self, partitions: int) -> Plan[bool]:
        """Whether anything waits or runs in so many partitions."""
        for tag in Layout(self._asking.name, partitions).tags:
            for kind in ("", "call:"):
                _, _, pending, running, *_ = yield from call(self._asking.metrics(f"{tag}{kind}"))
                if pending or running:
                    return True
        return False

    def _conflict(self, what: str) -> ConfigConflict:
        """An error; each is logged once."""
        message = f"debounce {self._asking.name!r}: {what}"
        if what not in self.conflicts:
            self.conflicts.add(what)
            events.logger.warning("%s", message)
        return ConfigConflict(message)
