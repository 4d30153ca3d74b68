"""How a config is laid out over logs, and what a script's answer says about its limits.

A log counts one period. Limits with the same period share one: a burst shares that of a rate of one second. A layout may
hold logs of other configs as well (see `throttle_register`), so an answer is only to be read by the layout that asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from redisopt import keys
from redisopt.commands import Arg
from redisopt.config import milliseconds
from redisopt.errors import StateLost
from redisopt.throttle.config import BURST_PERIOD_MS, SLOTS, ThrottleConfig
from redisopt.throttle.decision import LimitState

_LOG_ONLY = -1
_MOST_REMEMBERED = 4096
_GRANTED = ord("1")


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A script's answer that other periods are on record than were declared."""

    periods: tuple[int, ...]


@dataclass(slots=True)
class Verdict:
    """A script's decision, in its own units (see lua/include/describe.lua)."""

    layout: Layout
    granted: bool
    time_ms: int
    cost: int
    used: list[int]
    wait_ms: int = 0
    queue_size: int = 0
    waits_for: int = 0
    cooling_ms: int = 0
    reset_ms: list[int] | None = None

    @property
    def reason(self) -> str:
        """What refuses, or makes wait, in words."""
        if self.waits_for == 0:
            return "queue"
        if self.waits_for < 0:
            return "cooldown"
        return min((limit, name) for name, limit, index, _, _ in self.layout.limits if index == self.waits_for - 1)[1]

    def states(self) -> tuple[LimitState, ...]:
        """Each limit as it stands after the decision."""
        used, resets, time_ms = self.used, self.reset_ms, self.time_ms
        states = []
        for name, limit, index, period, precision in self.layout.limits:
            # Granted at once, the open slot is the one of this grant; else the reply says when all is back.
            reset_ms = resets[index] if resets else -(-time_ms // precision) * precision + period - time_ms + 1
            left = 0 if self.queue_size else max(0, limit - used[index])
            states.append(LimitState(name, limit, left, reset_ms / 1000))
        return tuple(states)


class Layout:
    """The logs of one config and of the others that are on record.

    Attributes:
        own: period, precision and smallest limit of each log of this config, rising.
        limits: of each limit its name and cost, and index, period and precision of its log.
        constants: what every script call says of the config and the logs.
    """

    def __init__(self, name: str, config: ThrottleConfig, others: tuple[int, ...] = ()) -> None:
        limits = _limits(config)
        self.own = _logs(config, limits)
        self.others = [(period, math.ceil(period / SLOTS), _LOG_ONLY) for period in others]
        logs = sorted([*self.own, *self.others])
        periods = tuple(period for period, _, _ in logs)
        place = {period: (index, period, precision) for index, (period, precision, _) in enumerate(logs)}
        self.limits = tuple((limit_name, limit, *place[period]) for limit_name, limit, period in limits)
        self.constants: tuple[Arg, ...] = (
            config.max_burst_size or 0,
            milliseconds(config.cooldown_period),
            " ".join(map(str, periods)),
            *(number for log in logs for number in log),
        )
        self._keys = lru_cache(maxsize=1024)(lambda key: _keys(name, key, periods))

    def keys(self, key: str) -> tuple[str, ...]:
        """The Redis keys of the limiter for `key`."""
        try:
            return self._keys(key)
        except TypeError:
            keys.checked_key(key)  # what cannot be hashed is no str
            raise

    def read(self, reply: Any) -> Verdict | Unregistered:
        """The verdict in a script's line of numbers."""
        if isinstance(reply, str):
            reply = reply.encode()
        if reply[0] not in b"01":
            return unregistered(reply)
        granted = reply[0] == _GRANTED
        bar = reply.find(b"|")
        if bar < 0:
            _, time_ms, cost, *used = map(int, reply.split())
            return Verdict(self, granted, time_ms, cost, used)
        _, time_ms, cost, *used = map(int, reply[:bar].split())
        wait_ms, queue_size, waits_for, cooling_ms, *reset_ms = map(int, reply[bar + 1 :].split())
        return Verdict(self, granted, time_ms, cost, used, wait_ms, queue_size, waits_for, cooling_ms, reset_ms)


class Layouts:
    """The layouts of one config: other periods than its own may be on record for some keys, and not for others."""

    def __init__(self, name: str, config: ThrottleConfig) -> None:
        self._name = name
        self._config = config
        self.own = Layout(name, config)
        self._periods = {period for period, _, _ in self.own.own}
        self._by_others: dict[tuple[int, ...], Layout] = {(): self.own}
        self._others: dict[str, tuple[int, ...]] = {}

    def of(self, key: str) -> Layout:
        """The layout of a key, as far as is known."""
        return self._by_others[self._others.get(key, ())] if self._others else self.own

    def learn(self, key: str, on_record: tuple[int, ...]) -> Layout:
        """Take note of the periods on record for `key`."""
        others = tuple(sorted(self._periods.symmetric_difference(on_record) - self._periods))
        if len(self._others) >= _MOST_REMEMBERED:
            self._others.clear()  # what is forgotten costs one more script call
        if others not in self._by_others:
            self._by_others[others] = Layout(self._name, self._config, others)
        self._others[key] = others
        return self._by_others[others]

    def has(self, on_record: tuple[int, ...]) -> bool:
        """Whether the config's own periods are among those."""
        return self._periods.issubset(on_record)


def read_cost(reply: Any) -> int | Unregistered:
    """The cost in a script's reply."""
    if isinstance(reply, int):
        return reply
    return int(reply) if reply.isdigit() else unregistered(reply)


def unregistered(reply: bytes | str) -> Unregistered:
    """The periods on record, from ``register <periods>`` or from the periods alone.

    Raises:
        StateLost: any other reply.
    """
    text = reply.decode() if isinstance(reply, bytes) else reply
    if not text.startswith("register") and not text[:1].isdigit():
        raise StateLost(f"a script answered {text!r}: has another process this one's lane?")
    return Unregistered(tuple(int(period) for period in text.removeprefix("register").split()))


def _limits(config: ThrottleConfig) -> list[tuple[str, int, int]]:
    """Each limit: its name, its cost, and the period of the log that counts for it."""
    margin = milliseconds(config.margin)
    limits = [(str(rate), rate.limit, rate.period_ms + margin) for rate in config.rates]
    if config.max_burst_size is not None:
        limits.append(("burst", config.max_burst_size, BURST_PERIOD_MS))
    return limits


def _logs(config: ThrottleConfig, limits: list[tuple[str, int, int]]) -> list[tuple[int, int, int]]:
    """Each log: its period, its precision and the smallest limit on it."""
    by_period: dict[int, tuple[int, int]] = {}
    for _, limit, period in limits:
        precision = config.precision_ms(limit, period)
        finest, smallest = by_period.get(period, (precision, limit))
        by_period[period] = (min(precision, finest), min(limit, smallest))
    return [(period, precision, limit) for period, (precision, limit) in sorted(by_period.items())]


def _keys(name: str, key: str, periods: tuple[int, ...]) -> tuple[str, ...]:
    tag = keys.tag("throttle", name, keys.checked_key(key))
    return (f"{tag}state", f"{tag}waiting", f"{tag}holes", *(f"{tag}log:{period}" for period in periods))
