"""What several limiters granted at once, and what comes back at once."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar

from redisopt.runner import AsyncRunner, Runner
from redisopt.throttle.grant import Grant
from redisopt.throttle.joint import release_all
from redisopt.throttle.permit import AsyncPermit, Permit

P = TypeVar("P", bound=Grant)


class JointGrant(Generic[P]):
    """What both joint permits know.

    Attributes:
        parts: the permit of each limiter, in the order in which they were asked for.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[P, ...]) -> None:
        self.parts: tuple[P, ...] = parts

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

    def paired(self, actual: tuple[int, ...]) -> list[tuple[P, int]]:
        """Each part with its actual cost.

        Raises:
            ValueError: there is not one for each.
        """
        if len(actual) != len(self.parts):
            raise ValueError(f"actual must be {len(self.parts)} numbers, one for each limiter, not {len(actual)}")
        return list(zip(self.parts, actual, strict=True))

    def __repr__(self) -> str:
        """The parts."""
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"


class JointPermit(JointGrant[Permit]):
    """What several limiters granted at once: released and refunded together, a context manager as `Permit` is."""

    __slots__ = ("_runner",)

    def __init__(self, runner: Runner, parts: tuple[Permit, ...]) -> None:
        super().__init__(parts)
        self._runner = runner

    def release(self) -> bool:
        """Release each part; one script call for each lease. False when any was released or lost before.

        Raises:
            Unavailable: as `Permit.release`, when all were tried.
        """
        return self._runner.run(release_all(self.parts, [part.origin.returning for part in self.parts]))

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
        settled = [part.settle(cost) for part, cost in self.paired(actual)]
        return any(settled)

    def __enter__(self) -> Self:
        """The permit itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release each part, as `Permit`."""
        for part in self.parts:
            part.let_go()


class AsyncJointPermit(JointGrant[AsyncPermit]):
    """What several limiters granted at once: the twin of `JointPermit`."""

    __slots__ = ("_runner",)

    def __init__(self, runner: AsyncRunner, parts: tuple[AsyncPermit, ...]) -> None:
        super().__init__(parts)
        self._runner = runner

    async def release(self) -> bool:
        """See `JointPermit.release`."""
        return await self._runner.run(release_all(self.parts, [part.origin.returning for part in self.parts]))

    async def refund(self) -> bool:
        """See `JointPermit.refund`."""
        refunded = [await part.refund() for part in self.parts]
        return any(refunded)

    async def settle(self, *actual: int) -> bool:
        """See `JointPermit.settle`."""
        settled = [await part.settle(cost) for part, cost in self.paired(actual)]
        return any(settled)

    async def __aenter__(self) -> Self:
        """The permit itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release each part, as `AsyncPermit`."""
        for part in self.parts:
            await part.let_go()
