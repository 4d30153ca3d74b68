"""The two faces of a circuit breaker behind one, so that a test is written once and runs on both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio

import redisopt

TERMS: Any = {"command_timeout": 5.0, "open_jitter": 0.0}  # the machine may be busy


class Broken(Exception):
    """What is called does not work."""


class BreakerFace:
    """A circuit breaker, sync or async, called synchronously. The async one lives in an event loop in a thread of its own.

    Attributes:
        changes: of state that it was told of, as "before > after".
    """

    def __init__(self, kind: str, url: str, name: str = "test", *args: Any, client: Any = None, **fields: Any) -> None:
        self.kind = kind
        self.changes: list[str] = []
        fields = TERMS | {"on_state_change": self._note} | fields
        if kind == "sync":
            self.client: Any = client or redis.from_url(url)
            self.real: Any = redisopt.CircuitBreaker(self.client, name, *args, **fields)
        else:
            self.loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
            self._thread.start()
            self.client = client or redis.asyncio.from_url(url)
            self.real = redisopt.AsyncCircuitBreaker(self.client, name, *args, **fields)

    def _note(self, change: Any) -> None:
        self.changes.append(f"{change.before} > {change.after}")

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it, and await what it gives where the face is async."""
        if self.kind == "sync":
            return function(*args, **kwargs)

        async def call() -> Any:
            return await function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(60)

    def __getattr__(self, method: str) -> Any:
        """A method of the breaker."""
        return lambda *args, **kwargs: self.do(getattr(self.real, method), *args, **kwargs)

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

    async def _end(self) -> None:
        """End the event loop as asyncio.run does."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_asyncgens()

    def shut(self) -> None:
        """Close it and its client."""
        if self.kind == "sync":
            self.real.close()
            self.client.close()
            return
        self.do(self.real.aclose)
        self.do(self.client.aclose)
        self.do(self._end)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


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
