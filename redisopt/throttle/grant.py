"""What a limiter granted, as data: whom, for when, and how much of it is left to give back."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from redisopt.errors import PermitLost
from redisopt.identity import process_id

if TYPE_CHECKING:
    from redisopt.throttle.prefetch import Share

_one_at_a_time = threading.Lock()  # threads may share a permit; what it guards takes no time


def _renew_lock() -> None:
    global _one_at_a_time  # noqa: PLW0603 - a forked child must not wait for a thread that only its parent has
    _one_at_a_time = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class Grant:
    """What both permits know.

    Attributes:
        origin: where it comes from: what its methods need, in the classes that have some.
        id: unique; names the holder's process.
        key: the limiter's key that was charged.
        cost: what was charged.
        waited: seconds that the throttle made the caller wait.
        fence: of a lease, a number that only rises from lease to lease of one limiter and key: who stores it with what it
            writes can refuse the late write of a holder that lost its lease. 0 where there is no lease.
        share: of a prefetched one, what it was taken from. Such a permit is granted at the end of its share.
        good_until: of a lease, when it is over unless it is renewed, by this process's monotonic clock; 0.0 for no lease.
        charged: whether Redis has charged it. What was granted without Redis (see `on_unavailable`) is not, so that nothing
            of it can be given back; its `granted_at` is by this process's clock.
    """

    __slots__ = (
        "__weakref__", "_left", "_lost", "_released", "_settled",
        "charged", "cost", "fence", "good_until", "id", "key", "origin", "share", "time_ms", "waited",
    )  # fmt: skip

    def __init__(
        self,
        origin: Any,
        permit_id: str,
        key: str,
        cost: int,
        time_ms: int,
        waited: float = 0.0,
        fence: int = 0,
        good_until: float = 0.0,
    ) -> None:
        self.origin = origin
        self.id = permit_id
        self.key = key
        self.cost = cost
        self.time_ms = time_ms
        self.waited = waited
        self.fence = fence
        self.good_until = good_until
        self.share: Share | None = None
        self._lost = False
        self.charged = True
        self._left = cost
        self._released = False
        self._settled = False

    @property
    def granted_at(self) -> float:
        """The server's time of the grant in seconds; of a permit that waited, the time it waited for."""
        return self.time_ms / 1000

    @property
    def asked_ms(self) -> int:
        """When it was asked for, by the server's clock: a use begins with the next whole millisecond."""
        return self.time_ms - round(self.waited * 1000) + 1 if self.waited else self.time_ms

    @property
    def is_lease(self) -> bool:
        """Whether it holds a lease: of a limiter with `max_concurrent`."""
        return self.good_until > 0

    @property
    def is_ours(self) -> bool:
        """Whether this process was granted it: a forked child must neither renew nor release what its parent holds."""
        return self.id.startswith(process_id())

    @property
    def lost(self) -> bool:
        """Whether its lease ended before it was released: somebody else may have been granted its place since."""
        return self._lost or (self.is_lease and not self._released and time.monotonic() >= self.good_until)

    def ensure_held(self) -> None:
        """Say so when the lease is over: call it before what must not be done twice.

        Raises:
            PermitLost: the lease is lost, or was released, as by `Throttler.close`.
        """
        if self.lost:
            late = time.monotonic() - self.good_until
            when = f" {late:.3f} s ago" if late >= 0 else ""
            raise PermitLost(
                f"the lease of permit {self.id} ended{when}: somebody else may hold its place; was the limiter reset? Else "
                "give lease_ttl more than the longest time for which this process may stand still"
            )
        if self.is_lease and self._released:
            raise PermitLost(f"the lease of permit {self.id} was released: somebody else may hold its place")

    def mark_lost(self) -> bool:
        """Whether this is the first that is heard of the loss."""
        with _one_at_a_time:
            first, self._lost = not self._lost and not self._released, True
            return first

    @property
    def left(self) -> int:
        """The cost that has not been refunded."""
        return self._left

    def take_out(self, cost: int | None) -> int:
        """Take `cost` out for a refund, all of it for None; 0 when nothing is left or the permit was settled.

        Raises:
            ValueError: `cost` is not a whole number from 1 to what is left.
        """
        with _one_at_a_time:
            if self._settled or not self._left:
                return 0
            taken = self._left if cost is None else cost
            if not isinstance(taken, int) or isinstance(taken, bool) or not 1 <= taken <= self._left:
                raise ValueError(
                    f"cost must be a whole number from 1 to {self._left}, what is left of this permit, not {cost!r}"
                )
            self._left -= taken
            return taken

    def mark_uncharged(self) -> None:
        """It was granted without Redis: there is nothing to release, refund or settle."""
        self.charged, self._left = False, 0
        self._released = self._settled = True

    def mark_settled(self) -> bool:
        """Whether this is the first time that the permit is settled."""
        with _one_at_a_time:
            first, self._settled = not self._settled, True
            return first

    def mark_released(self) -> bool:
        """Whether this is the first time that the permit is released."""
        with _one_at_a_time:
            first, self._released = not self._released, True
            return first

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, key={self.key!r}, cost={self.cost}, granted_at={self.granted_at:.3f}, waited={self.waited:.3f})"
