"""How many processes share a limiter: asked of Redis now and then, for the time when it cannot be asked."""

from __future__ import annotations

import math
import time

from redisopt.commands import Command, Plan, call
from redisopt.identity import process_id
from redisopt.throttle.asking import Asking

_INTERVAL = 10.0
"""Seconds between two looks at one key."""

_MOST_REMEMBERED = 4096


class Fleet:
    """The number of processes that used each key of a limiter within a minute, as far as is known."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._counts: dict[str, tuple[float, int]] = {}  # when it was asked for, and what it was
        self._latest = 1

    def size(self, key: str) -> int:
        """How many processes shared `key`; of one that is not known as many as shared the one that was asked for last."""
        found = self._counts.get(key)
        return self._latest if found is None else found[1]

    def count(self, key: str) -> Plan[None]:
        """Ask, unless that was done lately. One script call, before one that asks for `key`."""
        now = time.monotonic()
        asked = self._counts.get(key, (-math.inf, 1))[0]
        if now < asked + _INTERVAL:
            return
        if len(self._counts) >= _MOST_REMEMBERED:
            self._counts.clear()  # what is forgotten costs one more script call
        state = self._asking.layouts.own.keys(key)[0]
        self._counts[key] = (now, self.size(key))  # no other thread asks as well, and none again where this fails
        self._latest = yield from call(Command("throttle_fleet", (state,), (process_id(),), int))
        self._counts[key] = (now, self._latest)
