"""The two faces of a cache behind one, so that a test is written once and runs on both; and computations that take notes."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.live_faces import LiveFace

TERMS: Any = {
    "command_timeout": 5.0,
    "ttl_jitter": 0.0,
    "early_refresh": 0.0,
}  # the machine may be busy; and nothing by chance


class Computation:
    """A function that counts its calls, takes its time, and raises what it is told to.

    Attributes:
        calls: how often it was called.
        most: how many of them were under way at once.
        error: what it raises.
    """

    def __init__(self, seconds: float = 0.0, value: Any = None, error: Exception | None = None) -> None:
        self._seconds = seconds
        self._value = value
        self._lock = threading.Lock()
        self.error = error
        self.calls = self.most = self._under_way = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self.calls += 1
            number = self.calls
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        try:
            time.sleep(self._seconds)
            if self.error is not None:
                raise self.error
            return number if self._value is None else self._value
        finally:
            with self._lock:
                self._under_way -= 1


class CacheFace(LiveFace):
    """A cache, sync or async, called synchronously."""

    def __init__(self, kind: str, url: str, name: str = "test", *args: Any, client: Any = None, **fields: Any) -> None:
        super().__init__(kind, url, "Cache", name, *args, client=client, **TERMS | fields)

    def of_kind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as this face takes it: in a thread where it is async."""
        if self.kind == "sync":
            return function

        @functools.wraps(function, updated=())
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(function, *args, **kwargs)

        return call

    def start(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Begin to call it, in a thread or a task; gives its future."""
        if self.loop is None:
            return in_thread(method, *args, **kwargs)

        async def call() -> Any:
            return await method(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self.loop.loop)

    def compute(self, key: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The value of a key."""
        return self.do(self.real.get_or_compute, key, self.of_kind(function), *args, **kwargs)

    def begin(self, key: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Begin to get the value of a key; gives its future."""
        return self.start(self.real.get_or_compute, key, self.of_kind(function), *args, **kwargs)


def in_thread(method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call it in a thread of its own; gives its future."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(method(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future
