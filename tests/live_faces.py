"""An object of either kind, sync or async, called synchronously; the async one lives in an event loop in a thread of its own.

There what it does in the background goes on between the calls of a test, as the threads of a sync one do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

import redisopt


class LoopThread:
    """An event loop that runs in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def do(self, awaitable: Any, timeout: float | None = 60) -> Any:
        """What it gives."""

        async def awaited() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(timeout)

    def stop(self) -> None:
        """End it in the midst of what its tasks do."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def close(self) -> None:
        """End it as asyncio.run does."""

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.loop.shutdown_asyncgens()
            await self.loop.shutdown_default_executor()

        self.do(end())
        self.stop()


class LiveFace:
    """One object and its client, which it has for itself as another process would.

    Attributes:
        kind: "sync" or "async".
        client: of that kind.
        real: the object.
        loop: where the async one lives.
    """

    def __init__(self, kind: str, url: str, class_name: str, *args: Any, client: Any = None, **fields: Any) -> None:
        self.kind = kind
        self.loop = LoopThread() if kind == "async" else None
        if self.loop is None:
            self.client: Any = client or redis.from_url(url)
            self.real: Any = getattr(redisopt, class_name)(self.client, *args, **fields)
        else:
            self.client = client or redis.asyncio.from_url(url)
            self.real = self.loop.do(_made(f"Async{class_name}", self.client, args, fields))

    def do(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call it, and await what it gives where the face is async."""
        if self.loop is None:
            return method(*args, **kwargs)
        return self.loop.do(_awaited(method, args, kwargs))

    def __getattr__(self, method: str) -> Any:
        """A method of the object."""
        return lambda *args, **kwargs: self.do(getattr(self.real, method), *args, **kwargs)

    def close(self) -> None:
        """Close it and its client."""
        if self.loop is None:
            self.real.close()
            self.client.close()
        else:
            self.do(self.real.aclose)
            self.do(self.client.aclose)
            self.loop.close()


async def _made(class_name: str, client: Any, args: Any, fields: Any) -> Any:
    return getattr(redisopt, class_name)(client, *args, **fields)


async def _awaited(method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return await method(*args, **kwargs)
