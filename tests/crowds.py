"""Many callers at once, on real time: threads on a sync client, tasks on an async one."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
import redis.asyncio

import redisopt
from redisopt import ThrottleTimeout

KINDS = ["threads", "tasks"]
PATIENCE = 20.0
"""The command_timeout of crowds: on a busy machine a call waits for the others of its process."""


def grants(kind: str, url: str, workers: int, *, seconds: float = 60, enough: int = 10**9, **fields: Any) -> list[int]:
    """Have `workers` callers acquire as fast as they are let, for so many seconds or until `enough` were granted.

    Returns the server's time of each grant in milliseconds.
    """
    return [time for time, _ in waits(kind, url, workers, seconds=seconds, enough=enough, **fields)]


def waits(
    kind: str, url: str, workers: int, *, seconds: float = 60, enough: int = 10**9, **fields: Any
) -> list[tuple[int, float]]:
    """As `grants`, and for how many seconds each of them waited."""
    crowd = _Crowd(seconds, enough)
    if kind == "threads":
        crowd.of_threads(url, workers, fields)
    else:
        asyncio.run(crowd.of_tasks(url, workers, fields))
    return sorted(crowd.granted)


def most_within(times: list[int], period_ms: int) -> int:
    """The most grants in any trailing period."""
    return max(bisect_right(times, time) - bisect_right(times, time - period_ms) for time in times)


class _Crowd:
    def __init__(self, seconds: float, enough: int) -> None:
        self.granted: list[tuple[int, float]] = []
        self._enough = enough
        self._deadline = time.monotonic() + seconds

    def _time_left(self) -> float:
        return self._deadline - time.monotonic() if len(self.granted) < self._enough else 0

    def of_threads(self, url: str, workers: int, fields: dict[str, Any]) -> None:
        def work() -> None:
            try:
                while (left := self._time_left()) > 0:
                    permit = throttler.acquire(timeout=left)
                    self.granted.append((permit.time_ms, permit.waited))
            except ThrottleTimeout:
                pass  # the next one would come after the end

        client = redis.from_url(url)
        with (
            client,
            redisopt.Throttler(client, "test", command_timeout=PATIENCE, **fields) as throttler,
            ThreadPoolExecutor(workers) as pool,
        ):
            for done in [pool.submit(work) for _ in range(workers)]:
                done.result()

    async def of_tasks(self, url: str, workers: int, fields: dict[str, Any]) -> None:
        async def work() -> None:
            try:
                while (left := self._time_left()) > 0:
                    permit = await throttler.acquire(timeout=left)
                    self.granted.append((permit.time_ms, permit.waited))
            except ThrottleTimeout:
                pass  # the next one would come after the end

        client = redis.asyncio.from_url(url)
        async with client, redisopt.AsyncThrottler(client, "test", command_timeout=PATIENCE, **fields) as throttler:
            await asyncio.gather(*(work() for _ in range(workers)))
