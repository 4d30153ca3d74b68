"""What was granted: `Permit` and `AsyncPermit`, which can be refunded and settled."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from redisopt.runner import AsyncRunner, Runner
    from redisopt.throttle.plans import ThrottlePlans


_one_at_a_time = threading.Lock()  # threads may share a permit; what it guards takes no time


class Grant:
    """What both permits know.

    Attributes:
        id: unique; names the holder's process.
        key: the limiter's key that was charged.
        cost: what was charged.
        granted_at: the server's time of the grant in seconds; of a permit that waited, the time it waited for.
        waited: seconds that the throttle made the caller wait.
    """

    __slots__ = ("_left", "_released", "_settled", "cost", "granted_at", "id", "key", "time_ms", "waited")

    def __init__(self, permit_id: str, key: str, cost: int, time_ms: int, waited: float = 0.0) -> None:
        self.id = permit_id
        self.key = key
        self.cost = cost
        self.time_ms = time_ms
        self.granted_at = time_ms / 1000
        self.waited = waited
        self._left = cost
        self._released = False
        self._settled = False

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


class Permit(Grant):
    """A granted cost. A context manager, which releases it at the end of the block."""

    __slots__ = ("_plans", "_runner")

    def __init__(
        self,
        runner: Runner,
        plans: ThrottlePlans,
        permit_id: str,
        key: str,
        cost: int,
        time_ms: int,
        waited: float = 0.0,
    ) -> None:
        super().__init__(permit_id, key, cost, time_ms, waited)
        self._runner = runner
        self._plans = plans

    def release(self) -> bool:
        """Say that the work is done. What was charged stays charged. False, and no more, the second time."""
        return self.mark_released()

    def refund(self, cost: int | None = None) -> bool:
        """Give back `cost`, or all that is left: the work was not done. False, and no more, when nothing is left.

        One script call. Never lifts a balance above its limit.

        Raises:
            ValueError: `cost` is below 1 or above what is left.
            Unavailable: Redis is away; whether the cost came back is not known, and no second try is made.
        """
        return self._runner.run(self._plans.refund(self, cost))

    def settle(self, actual: int) -> bool:
        """Replace the estimated cost by the actual one: the rest is given back, or more is charged at once.

        What is charged more may go above a limit; it then delays later callers. False, and no more, the second time. One
        script call, none when the estimate was right.

        Raises:
            ValueError: `actual` is not a whole number, at least 0.
            Unavailable: as `refund`.
        """
        return self._runner.run(self._plans.settle(self, actual))

    def __enter__(self) -> Self:
        """The permit itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()


class AsyncPermit(Grant):
    """A granted cost: the twin of `Permit`, whose methods are awaited."""

    __slots__ = ("_plans", "_runner")

    def __init__(
        self,
        runner: AsyncRunner,
        plans: ThrottlePlans,
        permit_id: str,
        key: str,
        cost: int,
        time_ms: int,
        waited: float = 0.0,
    ) -> None:
        super().__init__(permit_id, key, cost, time_ms, waited)
        self._runner = runner
        self._plans = plans

    async def release(self) -> bool:
        """See `Permit.release`."""
        return self.mark_released()

    async def refund(self, cost: int | None = None) -> bool:
        """See `Permit.refund`."""
        return await self._runner.run(self._plans.refund(self, cost))

    async def settle(self, actual: int) -> bool:
        """See `Permit.settle`."""
        return await self._runner.run(self._plans.settle(self, actual))

    async def __aenter__(self) -> Self:
        """The permit itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        await self.release()
