"""A server clock that tests set: the scripts then read a key instead of TIME.

Everything else is the real thing: the real server, the real scripts, the real runner. Only what `redis.call('TIME')`
answers is the test's, and sleeping moves it on. So a scenario of a minute takes milliseconds, and is exact.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt.runner
from redisopt.commands import Wait
from redisopt.scripts import Script
from redisopt.scripts import script as real_script

KEY = "redisopt-test:clock"
START_MS = 1_800_000_000_000


def on_test_clock(name: str) -> Script:
    """The script of this name, reading the test's clock."""
    source = real_script(name).source.replace("redis.call('TIME')", f"redis.call('LRANGE', '{KEY}', 0, -1)")
    return Script(name, source, hashlib.sha1(source.encode()).hexdigest())


def instead_of_waiting(patch: pytest.MonkeyPatch, act: Callable[[float], None]) -> None:
    """Whatever waits for so many seconds, a sleep or a place in the line, calls `act` with them. No message wakes it.

    What beats in the background waits in earnest.
    """

    async def pause_async(seconds: float) -> None:
        act(seconds)

    def stand_by(_: object, step: Wait) -> None:
        if step.heard:
            act(step.seconds)
        else:
            time.sleep(step.seconds)

    async def stand_by_async(_: object, step: Wait) -> None:
        if step.heard:
            act(step.seconds)
        else:
            await asyncio.sleep(step.seconds)

    patch.setattr(redisopt.runner, "pause", act)
    patch.setattr(redisopt.runner, "pause_async", pause_async)
    patch.setattr(redisopt.runner, "stand_by", stand_by)
    patch.setattr(redisopt.runner, "stand_by_async", stand_by_async)


class ServerClock:
    """The time that scripts see, in milliseconds since 1970."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.set(START_MS)

    def set(self, now_ms: float) -> None:
        """Step to a time, forward or back."""
        self.now_ms = now_ms
        seconds, micros = divmod(round(now_ms * 1000), 1_000_000)
        pipe: Any = self._client.pipeline(transaction=True)
        pipe.delete(KEY).rpush(KEY, seconds, micros).expire(KEY, 3600).execute()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.set(self.now_ms + seconds * 1000)

    def at(self, seconds: float) -> None:
        """Step to so many seconds after the start."""
        self.set(START_MS + seconds * 1000)
