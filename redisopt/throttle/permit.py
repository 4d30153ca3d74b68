"""What a caller holds: a grant that can be released, refunded and settled."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from redisopt.runner import AsyncRunner, Runner
from redisopt.throttle.grant import Grant
from redisopt.throttle.returning import Returning

R = TypeVar("R")


class Origin(NamedTuple, Generic[R]):
    """Where a permit comes from: who performs what becomes of it, and what that is."""

    runner: R
    returning: Returning


class Permit(Grant):
    """A granted cost. A context manager, which releases it at the end of the block."""

    __slots__ = ()
    origin: Origin[Runner]

    def release(self) -> bool:
        """Say that the work is done: a lease ends, and whoever waits for it is served. What was charged stays charged.

        False, and no more, the second time; where the lease was lost, which frees nobody else's; and in a forked child, whose
        parent holds the permit. Of a permit that was not charged: whether it held slots of this process. One script call for a
        lease, else none.

        Raises:
            Unavailable: Redis is away. The lease is not renewed any more, and is ended in the background once Redis answers.
        """
        return self.origin.runner.run(self.origin.returning.release(self))

    def let_go(self) -> None:
        """Release it at the end of a block: that Redis is away is logged, and changes nothing."""
        self.origin.runner.run(self.origin.returning.let_go(self))

    def refund(self, cost: int | None = None) -> bool:
        """Give back `cost`, or all that is left: the work was not done. False, and no more, when nothing is left.

        False as well when nothing was charged (see `charged`), and in a forked child, whose parent holds the permit. True where
        nothing had to come back any more, since its period is over or the limiter was reset. One script call. Never lifts a
        balance above its limit.

        Raises:
            ValueError: `cost` is below 1 or above what is left.
            Unavailable: Redis is away; whether the cost came back is not known, and no second try is made. Where that is
                known before, nothing is sent.
        """
        return self.origin.runner.run(self.origin.returning.refund(self, cost))

    def settle(self, actual: int) -> bool:
        """Replace the estimated cost by the actual one: the rest is given back, or more is charged at once.

        What is charged more may go above a limit; it then delays later callers. False, and no more, the second time. One
        script call, none when the estimate was right.

        Raises:
            ValueError: `actual` is not a whole number, at least 0.
            Unavailable: as `refund`.
        """
        return self.origin.runner.run(self.origin.returning.settle(self, actual))

    def __reduce__(self) -> Any:
        """Refuse to be pickled: what it may give back it knows only in the process that was granted it."""
        raise TypeError(f"{self!r} cannot be pickled: send its cost and granted_at instead")

    def __enter__(self) -> Self:
        """The permit itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it. That Redis is away is logged, and changes nothing: the work is done."""
        self.let_go()


class AsyncPermit(Grant):
    """A granted cost: the twin of `Permit`, whose methods are awaited."""

    __slots__ = ()
    origin: Origin[AsyncRunner]

    async def release(self) -> bool:
        """See `Permit.release`."""
        return await self.origin.runner.run(self.origin.returning.release(self))

    async def let_go(self) -> None:
        """Release it at the end of a block: that Redis is away is logged, and changes nothing."""
        await self.origin.runner.run(self.origin.returning.let_go(self))

    async def refund(self, cost: int | None = None) -> bool:
        """See `Permit.refund`."""
        return await self.origin.runner.run(self.origin.returning.refund(self, cost))

    async def settle(self, actual: int) -> bool:
        """See `Permit.settle`."""
        return await self.origin.runner.run(self.origin.returning.settle(self, actual))

    def __reduce__(self) -> Any:
        """See `Permit.__reduce__`."""
        raise TypeError(f"{self!r} cannot be pickled: send its cost and granted_at instead")

    async def __aenter__(self) -> Self:
        """The permit itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it, as `Permit`."""
        await self.let_go()
