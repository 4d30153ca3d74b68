"""The two faces of a throttle behind one, so that a test is written once and runs on both.

`Face` has `Throttler`'s methods; over an `AsyncThrottler` it runs each in an event loop of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio

import redisopt


class Face:
    """A throttle, sync or async, called synchronously."""

    def __init__(self, kind: str, url: str, loop: asyncio.Runner, name: str, *args: Any, **fields: Any) -> None:
        self.kind = kind
        self._loop = loop
        if kind == "sync":
            self.client: Any = redis.from_url(url)
            self.real: Any = redisopt.Throttler(self.client, name, *args, **fields)
        else:
            self.client = redis.asyncio.from_url(url)
            self.real = redisopt.AsyncThrottler(self.client, name, *args, **fields)

    def _do(self, method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.real, method)(*args, **kwargs)
        if self.kind == "sync":
            return result
        return self._loop.run(_awaited(result))

    def try_acquire(self, *args: Any, **kwargs: Any) -> Any:
        return self._do("try_acquire", *args, **kwargs)

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        return self._do("acquire", *args, **kwargs)

    def peek(self, *args: Any, **kwargs: Any) -> Any:
        return self._do("peek", *args, **kwargs)

    def metrics(self, *args: Any, **kwargs: Any) -> Any:
        return self._do("metrics", *args, **kwargs)

    def reset(self, *args: Any, **kwargs: Any) -> Any:
        return self._do("reset", *args, **kwargs)

    def refund(self, permit: Any, *args: Any) -> Any:
        return self.wait_for(permit.refund(*args))

    def settle(self, permit: Any, *args: Any) -> Any:
        return self.wait_for(permit.settle(*args))

    def release(self, permit: Any) -> Any:
        return self.wait_for(permit.release())

    def wait_for(self, result: Any) -> Any:
        """The value of what a method gave, awaited where the face is async."""
        return result if self.kind == "sync" else self._loop.run(_awaited(result))

    def close(self) -> None:
        if self.kind == "sync":
            self.real.close()
            self.client.close()
        else:
            self._loop.run(_closed(self.real, self.client))


async def _awaited(result: Any) -> Any:
    return await result


async def _closed(throttler: redisopt.AsyncThrottler, client: redis.asyncio.Redis) -> None:
    await throttler.aclose()
    await client.aclose()
