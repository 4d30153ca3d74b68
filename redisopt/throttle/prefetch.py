"""Prefetch: a busy process takes a small share ahead and grants from memory.

A share that is taken at t and used until t + s counts as used at t + s (see `throttle_prefetch`): so no window of any limit
is ever too short, and each use counts s longer than it has to. That is the price: at most s/period of a limit goes unused.
The time within which a share is used is measured from before its call was sent, by this process's monotonic clock, which can
only end it too early. What is not used by then goes back.

A share grows while it is used up before its end, up to what the limits allow a process in that time if it were alone, and
shrinks to what was used. (Bucket4j's and doorman's idea of leased quota, with an exact bound.)
"""

from __future__ import annotations

import threading
from typing import Any

from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.decision import Decision

MAX_KEYS = 10_000
"""Keys of which is known how much they use."""


class Share:
    """What was taken ahead. Thread-safe.

    Attributes:
        id: of the share; those of its permits are numbered after it.
        until: when it may be used no more, by this process's monotonic clock.
        time_ms: the server's time from which it counts.
        asked_ms: the server's time at which it was taken.
        decision: what `try_acquire` answers to those who are granted from it, but for the permit.
    """

    __slots__ = ("_left", "_lock", "_number", "asked_ms", "decision", "id", "size", "time_ms", "until")

    def __init__(
        self, share_id: str, size: int, until: float, time_ms: int, asked_ms: int, decision: Decision[Any]
    ) -> None:
        self.id = share_id
        self.size = size
        self.until = until
        self.time_ms = time_ms
        self.asked_ms = asked_ms
        self.decision = decision
        self._left = size
        self._number = 0
        self._lock = threading.Lock()

    def take(self, cost: int) -> int:
        """Take `cost` from it; the number of the permit, 0 when there is not so much left."""
        with self._lock:
            if self._left < cost:
                return 0
            self._left -= cost
            self._number += 1
            return self._number

    def put_back(self, cost: int, now: float) -> bool:
        """Put back what was not used, for the next caller; False when the share is over."""
        with self._lock:
            if now >= self.until or self._left < 0:
                return False
            self._left += cost
            return True

    def end(self) -> int:
        """End it; what was left is returned, once."""
        with self._lock:
            left, self._left = max(0, self._left), -1
            return left

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left of it."""
        return self._left == 0


class Shares:
    """The shares of one throttler of this process, by key, and how large the next is to be."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._shares: dict[str, Share] = {}
        self._fetching: dict[str, threading.Lock] = {}

    def current(self, key: str) -> Share | None:
        """The share for `key`. Thread-safe."""
        return self._shares.get(key)

    def fetching(self, key: str) -> threading.Lock:
        """To be held by the thread that takes a share for `key`."""
        return self._fetching.setdefault(key, threading.Lock())

    def wanted(self, key: str, cost: int, most: int) -> int:
        """How much to take ahead for a caller that needs `cost`, at most `most`."""
        share, size = self._shares.get(key), self._sizes.get(key, 2)
        if share is not None and share.is_used_up:
            size = 2 * share.size
        self._sizes[key] = size = min(most, max(1, size))
        return max(cost, size)

    def keep(self, key: str, share: Share) -> None:
        """Grant from `share` from now on."""
        if len(self._sizes) > MAX_KEYS:
            self._sizes.clear()
            self._fetching.clear()
            self._shares.clear()  # they end, and give back, by themselves
        self._shares[key] = share

    def ended(self, key: str, share: Share, left: int) -> None:
        """A share is over, with so much left: the next is to be as large as what was used."""
        if left:
            self._sizes[key] = max(1, share.size - left)
        if self._shares.get(key) is share:
            del self._shares[key]


def most_ahead(config: ThrottleConfig) -> int:
    """What one process may take ahead: what the tightest limit allows in the time of a share.

    0 where that is not worth it, or where leases or a burst have to be decided one by one.
    """
    if not config.prefetch or config.max_concurrent is not None or config.max_burst_size is not None:
        return 0
    most = min((int(rate.limit * config.prefetch / rate.period) for rate in config.rates), default=0)
    return most if most > 1 else 0
