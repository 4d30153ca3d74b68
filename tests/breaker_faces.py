"""The two faces of a circuit breaker behind one, so that a test is written once and runs on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redisopt
from tests.live_faces import LiveFace

TERMS: Any = {"command_timeout": 5.0, "open_jitter": 0.0}  # the machine may be busy


class Broken(Exception):
    """What is called does not work."""


class BreakerFace(LiveFace):
    """A circuit breaker, sync or async, called synchronously.

    Attributes:
        changes: of state that it was told of, as "before > after".
    """

    def __init__(self, kind: str, url: str, name: str = "test", *args: Any, client: Any = None, **fields: Any) -> None:
        self.changes: list[str] = []
        fields = TERMS | {"on_state_change": self._note} | fields
        super().__init__(kind, url, "CircuitBreaker", name, *args, client=client, **fields)

    def _note(self, change: Any) -> None:
        self.changes.append(f"{change.before} > {change.after}")

    def execute(self, act: Callable[[], Any]) -> Any:
        """Execute a plain function, as a coroutine function where the face is async."""
        if self.kind == "sync":
            return self.real.execute(act)

        async def act_async() -> Any:
            return act()

        return self.do(self.real.execute, act_async)

    def call(self, how: str = "well") -> Any:
        """One call, that goes "well" or "badly"; what it gave, or the word "refused"."""

        def act() -> str:
            if how == "badly":
                raise Broken
            return how

        try:
            return self.execute(act)
        except redisopt.CircuitOpen:
            return "refused"
        except Broken:
            return how

    def calls(self, number: int, how: str = "well") -> list[Any]:
        """Several."""
        return [self.call(how) for _ in range(number)]

    def end(self, passage: Any, how: str, *args: Any) -> bool:
        """Say how the call of a passage ended: "succeed", "fail" or "release"."""
        said: bool = self.do(getattr(passage, how), *args)
        return said

    def refusal(self) -> redisopt.CircuitOpen:
        """The error of a call that is refused."""
        try:
            self.allow()
        except redisopt.CircuitOpen as error:
            return error
        raise AssertionError("it was let through")

    @contextmanager
    def entered(self) -> Iterator[Any]:
        """`with breaker.allow()`, also of the async one."""
        if self.kind == "sync":
            with self.real.allow() as passage:
                yield passage
            return
        entry = self.real.allow()
        passage = self.do(entry.__aenter__)
        try:
            yield passage
        except BaseException as error:
            self.do(entry.__aexit__, type(error), error, None)
            raise
        self.do(entry.__aexit__, None, None, None)


def opened(face: BreakerFace) -> BreakerFace:
    """The breaker, open for its first time."""
    while face.state() == "closed":
        face.call("badly")
    return face


def raising(error: BaseException | type[BaseException]) -> Callable[[], None]:
    """A function that raises it."""

    def act() -> None:
        raise error

    return act
