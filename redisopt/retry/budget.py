"""The retry budget: retries are at most a share of calls, over the whole fleet, so that they do not finish off what is half down.

A token bucket, as gRPC's retry throttling and Finagle's RetryBudget: each call brings a share of a retry, each second a minimum, and
each retry takes one. A process counts its calls by itself and says how many they were when it asks for a retry: a call that
succeeds costs Redis nothing, and calls of processes without failures bring the fleet no retries.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from redisopt import events
from redisopt.background import now
from redisopt.commands import Command, Plan, call
from redisopt.errors import Unavailable
from redisopt.identity import process_id
from redisopt.keys import checked_name, tag
from redisopt.retry.config import RetryConfig

IDLE_MS = 3_600_000
"""How long an idle budget is kept; a new one is full."""

MAX_CALLS = 1_000_000
"""Calls that one report counts at most: what the reserve cannot hold need not be told."""


class RetryMetrics(NamedTuple):
    """How retries stand, over the whole fleet, for an hour after the last one.

    Attributes:
        calls: of processes that had failures, up to the last one of each; with a `budget` of None nothing is counted.
        retries: that were made.
        refused: that the budget did not allow.
        left: retries that may be made now; those that time brings are counted when one is asked for.
    """

    calls: int
    retries: int
    refused: int
    left: float


class RetryBudget:
    """The retries that one name has, and this process's own while Redis is away. Thread-safe.

    Raises:
        ValueError: the name is not allowed.
    """

    def __init__(self, name: str, config: RetryConfig) -> None:
        self._keys = (f"{tag('retry', checked_name(name))}budget",)
        self._reserve = float(config.budget_reserve)
        self._share = 0.0 if config.budget is None else config.budget
        self._minimum = config.budget_minimum
        self._constants = (
            round(self._share * 1000),
            round(self._minimum * 1000),
            config.budget_reserve * 1000,
            IDLE_MS,
        )
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._calls = 0
        self._tokens, self._filled = self._reserve, now()

    def count(self) -> None:
        """A call begins."""
        if self._process != process_id():
            self._begin()  # a forked child: the lock may be held by a thread that is not here
        self._calls += 1  # not exact among threads that run at once, which a share of calls need not be

    def spend(self) -> Plan[bool]:
        """Take a retry out of it. One script call; without Redis, this process has a budget of its own."""
        calls = self._reported()
        try:
            return (yield from call(self._spend(calls)))
        except Unavailable as error:
            events.logger.debug("a retry is taken out of this process's own budget: %s", error)
            return self._spend_here(calls)

    def look(self) -> Plan[RetryMetrics]:
        """How it stands. One script call."""
        return (yield from call(Command("retry_look", self._keys, (), self._read)))

    def _reported(self) -> int:
        with self._lock:
            calls, self._calls = self._calls, 0
            return min(calls, MAX_CALLS)

    def _spend(self, calls: int) -> Command[bool]:
        return Command("retry_spend", self._keys, (calls,), _granted, self._constants, once=True)

    def _spend_here(self, calls: int) -> bool:
        with self._lock:
            filled, self._filled = self._filled, now()
            brought = calls * self._share + (self._filled - filled) * self._minimum
            self._tokens = min(self._reserve, self._tokens + brought)
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def _read(self, reply: list[bytes]) -> RetryMetrics:
        tokens, calls, retries, refused = reply
        left = float(tokens) / 1000 if tokens else self._reserve
        return RetryMetrics(int(calls), int(retries), int(refused), left)


def _granted(reply: Any) -> bool:
    return bool(reply == 1)
