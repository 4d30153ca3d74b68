"""Whether to ask Redis at all: the local breaker of a client's links.

A call that had no answer in all its time opens it, unless another was answered meanwhile: then it was the call that was
slow, and not Redis that was away. While it is open calls fail at once, and Redis is asked in the background whether it
is back (see `probes`). Any answer closes it, be it to a probe or to a call that was still under way.

All is decided here, for threads and tasks alike. On a Cluster each node has a breaker of its own: the users whose keys lie
on the others notice nothing. A call that has more patience than all that failed is not refused: it may see what they did not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from redisopt import events, wire
from redisopt.errors import Unavailable

_FIRST_INTERVAL = 0.1
_LONGEST_INTERVAL = 0.5
"""Seconds from the start of one probe to that of the next; the first starts at once."""

_LATE = 0.25
"""Seconds after which a probe that is due will not come: the event loop that should run it stands still."""

_SOON = 0.05
"""Seconds that a probe is given to be answered, before it is worth to come back."""

_AT_ONCE = 0.001
"""An answer so many seconds after a call began was no answer of its time, given how times are rounded."""


@dataclass(slots=True)
class Silence:
    """A server that does not answer. Times are of this process's monotonic clock.

    Attributes:
        node: of a Cluster, which one.
        key: of the call that found out; to ask for it is to ask the server.
        timeout: seconds; the longest that a call has waited in vain, and so how long a probe waits.
        since: when that call began.
        noticed: when it was over.
        reason: what it ended with.
        interval: seconds between the latest probe and the next one.
        next_probe: when that is due.
        late: when it is overdue, so that a call may try in its place.
    """

    node: str | None
    key: str
    timeout: float
    since: float
    noticed: float
    reason: str
    interval: float
    next_probe: float
    late: float

    @property
    def retry_after(self) -> float:
        """Seconds until more is known."""
        return max(self.next_probe - time.monotonic(), _SOON)


class Breaker:
    """The silences that are known to the links of a client. Thread-safe.

    Attributes:
        silences: by node. Empty almost always: look whether it is before anything else.
        answered: when each node answered last. Whoever reads a reply says so.
    """

    def __init__(self, owner: Callable[[str], str | None]) -> None:
        """`owner` tells the node of a key."""
        self.silences: dict[str | None, Silence] = {}
        self.answered: dict[str | None, float] = {}
        self._owner = owner
        self._lock = threading.Lock()

    # --- calls

    def check(self, key: str, timeout: float) -> None:
        """Let a call pass, or not.

        Raises:
            Unavailable: the server of `key` is known not to answer within `timeout`.
        """
        silence = self.silences.get(self._owner(key))
        if silence is None or timeout > silence.timeout or self._is_over(silence):
            return
        now = time.monotonic()
        if now > silence.late:
            silence.late = now + timeout + _LATE
            return
        raise Unavailable(
            f"Redis has been away for {now - silence.since:.1f} s and is being probed, so this call was not sent: "
            f"{silence.reason}",
            retry_after=silence.retry_after,
        )

    def gave_up(self, key: str, began: float, timeout: float, error: Unavailable) -> Silence | None:
        """A call that `began` then had no answer within `timeout`. Returns the silence, when that is news: have it probed."""
        node, now = self._owner(key), time.monotonic()
        with self._lock:
            if self.answered.get(node, 0.0) > began + _AT_ONCE:
                return None
            known = self.silences.get(node)
            if known is not None:
                known.timeout = max(known.timeout, timeout)
                return None
            self.silences[node] = new = Silence(
                node, key, timeout, began, now, str(error), _FIRST_INTERVAL / 2, now, now + _LATE
            )
            return new

    def tell(self, silence: Silence, error: Unavailable) -> None:
        """Tell whoever listens that a silence has begun."""
        sentence = "calls to Redis fail at once until it answers a probe: %s"
        events.say(events.Unreachable(error), logging.WARNING, sentence, silence.reason)

    def known(self, timeout: float, key: str | None = None) -> Silence | None:
        """The silence that calls with this `command_timeout` meet; of several nodes, or that of `key`, the oldest."""
        nodes = list(self.silences) if key is None else [self._owner(key)]
        found = [silence for silence in map(self.silences.get, nodes) if silence is not None]
        found = [silence for silence in found if timeout <= silence.timeout and not self._is_over(silence)]
        return min(found, key=lambda silence: silence.since, default=None)

    # --- probes

    def lasts(self, silence: Silence) -> bool:
        """Whether to go on probing."""
        return self.silences.get(silence.node) is silence

    def probe_begins(self, silence: Silence) -> None:
        """A probe is sent."""
        now = time.monotonic()
        silence.interval = min(2 * silence.interval, _LONGEST_INTERVAL)
        silence.next_probe = now + silence.interval
        silence.late = now + silence.timeout + _LATE

    def probe_ends(self, silence: Silence, error: Exception | None) -> float:
        """A probe was answered, or failed with `error`. Returns the seconds until the next one; 0 when there is none."""
        if error is None or not wire.is_silence(error):
            self._end(silence)
            return 0.0
        pause = max(0.0, silence.next_probe - time.monotonic())
        silence.late = time.monotonic() + pause + _LATE
        return pause

    def forget(self, silence: Silence) -> bool:
        """Nobody probes any more, so calls must find out for themselves. False when it was over already."""
        with self._lock:
            lasted = self.lasts(silence)
            if lasted:
                del self.silences[silence.node]
            return lasted

    # --- its end

    def _is_over(self, silence: Silence) -> bool:
        """Whether a call has been answered since."""
        if self.answered.get(silence.node, 0.0) <= silence.noticed:
            return False
        self._end(silence)
        return True

    def _end(self, silence: Silence) -> None:
        if self.forget(silence):
            seconds = time.monotonic() - silence.since
            events.say(events.Reachable(seconds), logging.INFO, "Redis answers again, after %.1f s", seconds)
