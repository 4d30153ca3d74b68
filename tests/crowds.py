"""Many callers at once, on real time: threads on a sync client, tasks on an async one."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
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
    crowd = _Crowd(seconds, enough)
    if kind == "threads":
        crowd.of_threads(url, workers, fields)
    else:
        asyncio.run(crowd.of_tasks(url, workers, fields))
    return sorted(crowd.granted)


def most_within(times: list[int], period_ms: int) -> int:
    """The most grants in any trailing period."""
    return max(bisect_right(times, time) - bisect_right(times, time - period_ms) for time in times)


def fully_used(times: list[int], period_ms: int, limit: int) -> float:
    """The share of the time after the first period in which the trailing period held all that the limit allows."""
    start, end = times[0] + period_ms, times[-1]
    changes = sorted({start, end, *times, *(time + period_ms for time in times)})
    full = 0
    for moment, following in pairwise(change for change in changes if start <= change <= end):
        if bisect_right(times, moment) - bisect_right(times, moment - period_ms) >= limit:
            full += following - moment
    return full / (end - start)


class _Crowd:
    def __init__(self, seconds: float, enough: int) -> None:
        self.granted: list[int] = []
        self._enough = enough
        self._deadline = time.monotonic() + seconds

    def _time_left(self) -> float:
        return self._deadline - time.monotonic() if len(self.granted) < self._enough else 0

    def of_threads(self, url: str, workers: int, fields: dict[str, Any]) -> None:
        def work() -> None:
            try:
                while (left := self._time_left()) > 0:
                    self.granted.append(throttler.acquire(timeout=left).time_ms)
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
                    self.granted.append((await throttler.acquire(timeout=left)).time_ms)
            except ThrottleTimeout:
                pass  # the next one would come after the end

        client = redis.asyncio.from_url(url)
        async with client, redisopt.AsyncThrottler(client, "test", command_timeout=PATIENCE, **fields) as throttler:
            await asyncio.gather(*(work() for _ in range(workers)))
