"""Sync and async behind one: a test that is written once makes its objects by `Kind`, and runs on both."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

import redisopt


class Kind:
    """One of the two kinds, on one server.

    Attributes:
        name: "sync" or "async".
        client: of that kind.
    """

    def __init__(self, name: str, url: str, loop: asyncio.Runner) -> None:
        self.name = name
        self.url = url
        self._loop = loop
        self._made: list[Any] = []
        self._clients: list[Any] = []
        self.client = self.client_of(url)

    def client_of(self, url: str) -> Any:
        """A client of that server, which is closed when the test is over."""
        client: Any = redis.from_url(url) if self.name == "sync" else redis.asyncio.from_url(url)
        self._clients.append(client)
        return client

    def make(self, class_name: str, *args: Any, client: Any = None, **fields: Any) -> Any:
        """An object of the class, or of its twin, which is closed when the test is over."""
        kind = getattr(redisopt, class_name if self.name == "sync" else f"Async{class_name}")
        made = kind(client or self.client, *args, **fields)
        self._made.append(made)
        return made

    def do(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it, and await what it gives where that is async."""
        result = method(*args, **kwargs)
        return result if self.name == "sync" else self._loop.run(_awaited(result))

    def function(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """`act`, as a coroutine function where the kind is async."""
        if self.name == "sync":
            return act

        @functools.wraps(act)
        async def act_async(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return act(*args, **kwargs)

        return act_async

    def pause(self, seconds: float) -> Any:
        """A function that takes so long."""
        import time

        return functools.partial(time.sleep if self.name == "sync" else asyncio.sleep, seconds)

    def close(self) -> None:
        if self.name == "sync":
            for made in self._made:
                made.close()
            for client in self._clients:
                client.close()
        else:
            self._loop.run(self._aclose())

    async def _aclose(self) -> None:
        for made in self._made:
            await made.aclose()
        for client in self._clients:
            await client.aclose()


async def _awaited(result: Any) -> Any:
    return await result
