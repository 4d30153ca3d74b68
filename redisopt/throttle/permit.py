"""What a caller holds: a grant that can be released, refunded and settled; and what several limiters granted at once."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from redisopt.runner import AsyncRunner, Runner
from redisopt.throttle.grant import Grant
from redisopt.throttle.joint import release_all
from redisopt.throttle.plans import ThrottlePlans


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
        fence: int = 0,
        good_until: float = 0.0,
    ) -> None:
        super().__init__(permit_id, key, cost, time_ms, waited, fence, good_until)
        self._runner = runner
        self._plans = plans

    def release(self) -> bool:
        """Say that the work is done: a lease ends, and whoever waits for it is served. What was charged stays charged.

        False, and no more, the second time; where the lease was lost, which frees nobody else's; and in a forked child, whose
        parent holds the permit. Of a permit that was not charged: whether it held slots of this process. One script call for a
        lease, else none.

        Raises:
            Unavailable: Redis is away. The lease is not renewed any more, and is ended in the background once Redis answers.
        """
        return self._runner.run(self._plans.release(self))

    def let_go(self) -> None:
        """Release it at the end of a block: that Redis is away is logged, and changes nothing."""
        self._runner.run(self._plans.let_go(self))

    @property
    def plans(self) -> ThrottlePlans:
        """The plans of the limiter that granted it."""
        return self._plans

    def refund(self, cost: int | None = None) -> bool:
        """Give back `cost`, or all that is left: the work was not done. False, and no more, when nothing is left.

        False as well when nothing was charged (see `charged`). One script call. Never lifts a balance above its limit.

        Raises:
            ValueError: `cost` is below 1 or above what is left.
            Unavailable: Redis is away; whether the cost came back is not known, and no second try is made. Where that is
                known before, nothing is sent.
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
        fence: int = 0,
        good_until: float = 0.0,
    ) -> None:
        super().__init__(permit_id, key, cost, time_ms, waited, fence, good_until)
        self._runner = runner
        self._plans = plans

    async def release(self) -> bool:
        """See `Permit.release`."""
        return await self._runner.run(self._plans.release(self))

    @property
    def plans(self) -> ThrottlePlans:
        """The plans of the limiter that granted it."""
        return self._plans

    async def let_go(self) -> None:
        """Release it at the end of a block: that Redis is away is logged, and changes nothing."""
        await self._runner.run(self._plans.let_go(self))

    async def refund(self, cost: int | None = None) -> bool:
        """See `Permit.refund`."""
        return await self._runner.run(self._plans.refund(self, cost))

    async def settle(self, actual: int) -> bool:
        """See `Permit.settle`."""
        return await self._runner.run(self._plans.settle(self, actual))

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


class JointPermit:
    """What several limiters granted at once: released and refunded together, a context manager as `Permit` is.

    Attributes:
        parts: the permit of each limiter, in the order in which they were asked for.
    """

    __slots__ = ("_runner", "parts")

    def __init__(self, runner: Runner, parts: tuple[Permit, ...]) -> None:
        self._runner = runner
        self.parts = parts

    @property
    def id(self) -> str:
        """The id that all parts have."""
        return self.parts[0].id

    @property
    def cost(self) -> int:
        """What was charged, over all limiters."""
        return sum(part.cost for part in self.parts)

    @property
    def granted_at(self) -> float:
        """As `Permit.granted_at`, by the first limiter's clock."""
        return self.parts[0].granted_at

    @property
    def lost(self) -> bool:
        """Whether any of its leases is lost."""
        return any(part.lost for part in self.parts)

    def release(self) -> bool:
        """Release each part; one script call for each lease. False when any was released or lost before.

        Raises:
            Unavailable: as `Permit.release`, when all were tried.
        """
        return self._runner.run(release_all(self.parts, [part.plans for part in self.parts]))

    def refund(self) -> bool:
        """Give back all that is left of each part; one script call for each. False when nothing was.

        Raises:
            Unavailable: as `Permit.refund`; the parts after the one that failed are not refunded.
        """
        refunded = [part.refund() for part in self.parts]
        return any(refunded)

    def settle(self, *actual: int) -> bool:
        """Replace each part's estimated cost by the actual one, given in the order of `parts`.

        Raises:
            ValueError: there is not one for each part, or one is no whole number, at least 0.
            Unavailable: as `Permit.settle`; the parts after the one that failed keep their estimates.
        """
        if len(actual) != len(self.parts):
            raise ValueError(f"actual must be {len(self.parts)} numbers, one for each limiter, not {len(actual)}")
        settled = [part.settle(cost) for part, cost in zip(self.parts, actual, strict=True)]
        return any(settled)

    def __repr__(self) -> str:
        """The parts."""
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"

    def __enter__(self) -> Self:
        """The permit itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release each part, as `Permit`."""
        for part in self.parts:
            part.let_go()


class AsyncJointPermit:
    """What several limiters granted at once: the twin of `JointPermit`.

    Attributes:
        parts: the permit of each limiter, in the order in which they were asked for.
    """

    __slots__ = ("_runner", "parts")

    def __init__(self, runner: AsyncRunner, parts: tuple[AsyncPermit, ...]) -> None:
        self._runner = runner
        self.parts = parts

    @property
    def id(self) -> str:
        """The id that all parts have."""
        return self.parts[0].id

    @property
    def cost(self) -> int:
        """What was charged, over all limiters."""
        return sum(part.cost for part in self.parts)

    @property
    def granted_at(self) -> float:
        """As `Permit.granted_at`, by the first limiter's clock."""
        return self.parts[0].granted_at

    @property
    def lost(self) -> bool:
        """Whether any of its leases is lost."""
        return any(part.lost for part in self.parts)

    async def release(self) -> bool:
        """Release each part; one script call for each lease. False when any was released or lost before.

        Raises:
            Unavailable: as `Permit.release`, when all were tried.
        """
        return await self._runner.run(release_all(self.parts, [part.plans for part in self.parts]))

    async def refund(self) -> bool:
        """Give back all that is left of each part; one script call for each. False when nothing was.

        Raises:
            Unavailable: as `Permit.refund`; the parts after the one that failed are not refunded.
        """
        refunded = [await part.refund() for part in self.parts]
        return any(refunded)

    async def settle(self, *actual: int) -> bool:
        """Replace each part's estimated cost by the actual one, given in the order of `parts`.

        Raises:
            ValueError: there is not one for each part, or one is no whole number, at least 0.
            Unavailable: as `Permit.settle`; the parts after the one that failed keep their estimates.
        """
        if len(actual) != len(self.parts):
            raise ValueError(f"actual must be {len(self.parts)} numbers, one for each limiter, not {len(actual)}")
        settled = [await part.settle(cost) for part, cost in zip(self.parts, actual, strict=True)]
        return any(settled)

    def __repr__(self) -> str:
        """The parts."""
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"

    async def __aenter__(self) -> Self:
        """The permit itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release each part, as `AsyncPermit`."""
        for part in self.parts:
            await part.let_go()
