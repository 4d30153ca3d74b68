"""What a caller holds that was let through: a passage, whose end it says."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Self

from redisopt.breaker.plans import BreakerPlans
from redisopt.breaker.state import GIVEN_BACK
from redisopt.breaker.ticket import Ticket
from redisopt.runner import AsyncRunner, Runner


class _Passage:
    """What both passages know."""

    __slots__ = ("_plans", "_runner", "_ticket")

    def __init__(self, runner: Any, plans: BreakerPlans, ticket: Ticket) -> None:
        self._runner = runner
        self._plans = plans
        self._ticket = ticket

    @property
    def state(self) -> str:
        """Of the breaker when it let the call through: "closed", "half_open" or "disabled"; "unavailable" where that was without Redis."""
        return self._ticket.state

    @property
    def is_probe(self) -> bool:
        """Whether it is one of the calls that try a half-open breaker."""
        return self._ticket.is_probe

    @property
    def lost(self) -> bool:
        """Whether the lease of a probe is over, so that another call was let through in its place. Asks nobody."""
        lease = self._ticket.lease
        return lease is not None and lease.lost and not self._ticket.settled

    def _of_success(self) -> int:
        return self._plans.judge.of_success(self._ticket.seconds)

    def _of_failure(self, error: BaseException | type[BaseException] | None) -> int:
        judge, seconds = self._plans.judge, self._ticket.seconds
        if error is None:
            return judge.of_failure(seconds)
        kind = error if isinstance(error, type) else type(error)
        if not issubclass(kind, BaseException):
            raise ValueError(f"error must be the exception with which the call failed, or none, not {error!r}")
        return judge.of_error(error, seconds) if issubclass(kind, Exception) else GIVEN_BACK

    def _at_the_end(self, error: BaseException | None) -> int:
        return self._of_success() if error is None else self._of_failure(error)

    def __reduce__(self) -> Any:
        """Refuse to be pickled: it is of the process that was let through."""
        raise TypeError(f"{self!r} cannot be pickled: say its end in the process that was let through")

    def __repr__(self) -> str:
        """What tells it apart."""
        return f"{type(self).__name__}({self._plans.name!r}, state={self.state!r}, settled={self._ticket.settled})"


class Passage(_Passage):
    """A call that was let through. A context manager: at its end the call succeeded, or failed with what was raised.

    Each method costs a script call where the end is counted, and returns False, and does no more, the second time, and in a child that
    was forked meanwhile: the call is its parent's. While Redis is
    away the end counts for the breaker of this process; only with `on_unavailable="raise"` do they raise `Unavailable`.
    """

    __slots__ = ()
    _runner: Runner

    def succeed(self) -> bool:
        """It went well; a slow one is counted as that."""
        return self._runner.run(self._plans.settle(self._ticket, self._of_success()))

    def fail(self, error: BaseException | type[BaseException] | None = None) -> bool:
        """It failed; with an `error`, an exception or its class, as `record` and `ignore` say of it.

        Raises:
            ValueError: `error` is neither; the end is still to be said.
        """
        return self._runner.run(self._plans.settle(self._ticket, self._of_failure(error)))

    def release(self) -> bool:
        """Neither: nothing is counted, and a probe is given back for another call."""
        return self._runner.run(self._plans.settle(self._ticket, GIVEN_BACK))

    def __enter__(self) -> Self:
        """The passage itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how it ended, unless that was said. That Redis is away is logged, and changes nothing: the call is over."""
        self._runner.run(self._plans.let_go(self._ticket, self._at_the_end(error)))


class AsyncPassage(_Passage):
    """A call that was let through: the twin of `Passage`, whose methods are awaited."""

    __slots__ = ()
    _runner: AsyncRunner

    async def succeed(self) -> bool:
        """See `Passage.succeed`."""
        return await self._runner.run(self._plans.settle(self._ticket, self._of_success()))

    async def fail(self, error: BaseException | type[BaseException] | None = None) -> bool:
        """See `Passage.fail`."""
        return await self._runner.run(self._plans.settle(self._ticket, self._of_failure(error)))

    async def release(self) -> bool:
        """See `Passage.release`."""
        return await self._runner.run(self._plans.settle(self._ticket, GIVEN_BACK))

    async def __aenter__(self) -> Self:
        """The passage itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `Passage`; of a task that is cancelled, a probe is given back first."""
        run = self._runner.run if error is None or isinstance(error, Exception) else self._runner.finish
        await run(self._plans.let_go(self._ticket, self._at_the_end(error)))


class Entry(Coroutine[Any, Any, AsyncPassage]):
    """What `AsyncCircuitBreaker.allow` gives: await it for the passage, or enter it with ``async with``."""

    __slots__ = ("_asking", "_passage")

    def __init__(self, asking: Coroutine[Any, Any, AsyncPassage]) -> None:
        self._asking = asking
        self._passage: AsyncPassage | None = None

    def __await__(self) -> Generator[Any, None, AsyncPassage]:
        """Ask for the passage."""
        return self._asking.__await__()

    def send(self, value: Any, /) -> Any:
        """As a coroutine's."""
        return self._asking.send(value)

    def throw(self, *error: Any) -> Any:
        """As a coroutine's."""
        return self._asking.throw(*error)

    def close(self) -> None:
        """As a coroutine's."""
        self._asking.close()

    async def __aenter__(self) -> AsyncPassage:
        """Ask for the passage."""
        self._passage = await self._asking
        return self._passage

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how the call ended, as `AsyncPassage`."""
        if self._passage is not None:
            await self._passage.__aexit__(kind, error, trace)
