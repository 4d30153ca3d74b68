"""How a config is laid out over logs, and what a script's answer says about its limits.

A log counts one period. Limits with the same period share one: a burst shares that of a rate of one second. A layout may
hold logs of other configs as well (see `throttle_register`), so an answer is only to be read by the layout that asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
_UNLIMITED = 10**15
_VERSION = 4  # its place among the constants
_MOST_REMEMBERED = 4096
_MOST_TURNS = 64
_GRANTED, _WAITS = ord("1"), ord("2")
_REASONS = ("queue", "cooldown", "paused", "concurrency", "queue full")


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A script's answer that other periods are on record than were declared."""

    periods: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A script's answer that the fleet was told another config than the caller knows.

    Attributes:
        version: of what was told; "0" when that was taken back.
        fields: as JSON.
    """

    version: str
    fields: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A script's answer that what is asked for is not to be had there."""


Elsewhere = Unregistered | Told
ELSEWHERE = (Unregistered, Told)  # as a tuple, which is quicker to ask about
"""Answers that send the caller elsewhere first."""


@dataclass(slots=True)
class Verdict:
    """A script's decision, in its own units (see lua/include/describe.lua and describe_turn.lua).

    Attributes:
        waits: whether the caller stands in the line; wait_ms is then when to ask again, 0 for when told.
        asked: by the process's monotonic clock, when the call was sent at the earliest.
        conflict: the limits of another process that uses the name, where they differ.
    """

    layout: Layout
    granted: bool
    waits: bool
    time_ms: int
    cost: int
    used: list[int]
    wait_ms: int = 0
    queue_size: int = 0
    waits_for: int = 0
    cooling_ms: int = 0
    reset_ms: list[int] | None = None
    in_use: int = 0
    fence: int = 0
    since_ms: int = 0
    asked: float = 0.0
    conflict: str = ""

    @property
    def reason(self) -> str:
        """What refuses, or makes wait, in words."""
        if self.waits_for <= 0:
            return _REASONS[-self.waits_for]
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
        if self.layout.slots:
            left = 0 if self.queue_size else max(0, self.layout.slots - self.in_use)
            states.append(LimitState("concurrency", self.layout.slots, left, 0.0))
        return tuple(states)


class Layout:
    """The logs of one config and of the others that are on record.

    Attributes:
        own: period, precision and smallest limit of each log of this config, rising.
        limits: of each limit its name and cost, and index, period and precision of its log.
        slots: that leases share, 0 for none.
        constants: what every script call says of the config and the logs.
    """

    def __init__(
        self,
        name: str,
        config: ThrottleConfig,
        others: tuple[int, ...] = (),
        version: str = "0",
        *,
        spread: bool = False,
    ) -> None:
        limits = _limits(config)
        self.slots = config.max_concurrent or 0
        self.own = _logs(config, limits)
        self.others = [(period, math.ceil(period / SLOTS), _LOG_ONLY) for period in others]
        logs = sorted([*self.own, *self.others])
        periods = tuple(period for period, _, _ in logs)
        place = {period: (index, period, precision) for index, (period, precision, _) in enumerate(logs)}
        self.limits = tuple((limit_name, limit, *place[period]) for limit_name, limit, period in limits)
        self.constants: tuple[Arg, ...] = (
            config.max_burst_size or 0,
            milliseconds(config.cooldown_period),
            self.slots,
            milliseconds(config.lease_ttl),
            version,
            config.limits,
            " ".join(map(str, periods)),
            *(number for log in logs for number in log),
        )
        apart = spread and config.group is None  # what the fleet was told cannot be looked at from another slot
        self._constants_apart = (*self.constants[:_VERSION], "-", *self.constants[_VERSION + 1 :]) if apart else None
        self._turns: dict[tuple[Arg, ...], tuple[Arg, ...]] = {}
        self._keys = lru_cache(maxsize=1024)(lambda key: _keys(name, key, periods, config.group, apart=apart))

    def constants_of(self, key: str, paused_ms: int = 0) -> tuple[Arg, ...]:
        """What a call for `key` says of the config and the logs, and of a pause that its script cannot see."""
        if not key or self._constants_apart is None:
            return self.constants
        if not paused_ms:
            return self._constants_apart
        return (*self.constants[:_VERSION], f"-{paused_ms}", *self.constants[_VERSION + 1 :])

    def turn_constants(self, turn: tuple[Arg, ...]) -> tuple[Arg, ...]:
        """`constants` behind those of a turn: always the same ones, so that they are packed only once."""
        constants = self._turns.get(turn)
        if constants is None:
            if len(self._turns) >= _MOST_TURNS:
                self._turns.clear()
            constants = self._turns[turn] = turn + self.constants
        return constants

    def keys(self, key: str) -> tuple[str, ...]:
        """The Redis keys of the limiter for `key`."""
        try:
            return self._keys(key)
        except TypeError:
            keys.checked_key(key)  # what cannot be hashed is no str
            raise

    def read(self, reply: Any) -> Verdict | Elsewhere:
        """The verdict in a script's line of numbers."""
        if isinstance(reply, str):
            reply = reply.encode()
        if reply[0] not in b"012":
            return elsewhere(reply)
        try:
            return self._read(reply)
        except ValueError:
            raise _not_ours(reply) from None

    def _read(self, reply: bytes) -> Verdict:
        granted, waits = reply[0] == _GRANTED, reply[0] == _WAITS
        bar = reply.find(b"|")
        if bar < 0:
            _, time_ms, cost, *used = map(int, reply.split())
            return Verdict(self, granted, waits, time_ms, cost, used)
        conflict = ""
        if b"\n!" in reply:
            reply, _, other = reply.partition(b"\n!")
            conflict = other.decode()
        basis, more, *turn = reply.split(b"|")
        _, time_ms, cost, *used = map(int, basis.split())
        wait_ms, queue_size, waits_for, cooling_ms, *reset_ms = map(int, more.split())
        in_use, fence, since_ms = map(int, turn[0].split()) if turn else (0, 0, 0)
        return Verdict(
            self,
            granted,
            waits,
            time_ms,
            cost,
            used,
            wait_ms,
            queue_size,
            waits_for,
            cooling_ms,
            reset_ms,
            in_use,
            fence,
            since_ms,
            conflict=conflict,
        )

    def read_taken(self, reply: Any) -> Verdict | Gone | Elsewhere:
        """The verdict on a share; `Gone` where none can be taken."""
        return Gone() if reply in (b"solo", "solo") else self.read(reply)

    def read_coming(self, reply: Any) -> Verdict | Gone | Elsewhere:
        """The verdict for a permit that was come for."""
        return Gone() if reply in (b"gone", "gone") else self.read(reply)


class Layouts:
    """The layouts of one config: other periods than its own may be on record for some keys, and not for others."""

    def __init__(self, name: str, config: ThrottleConfig, version: str = "0", *, spread: bool = False) -> None:
        self._name = name
        self._config = config
        self.version = version
        self._spread = spread
        self.own = Layout(name, config, (), version, spread=spread)
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
            self._by_others[others] = Layout(self._name, self._config, others, self.version, spread=self._spread)
        self._others[key] = others
        return self._by_others[others]

    def has(self, on_record: tuple[int, ...]) -> bool:
        """Whether the config's own periods are among those."""
        return self._periods.issubset(on_record)


def verdict_reader(layout: Layout) -> Callable[[Any], Verdict | Elsewhere]:
    """Reads a verdict."""
    return layout.read


def taken_reader(layout: Layout) -> Callable[[Any], Verdict | Gone | Elsewhere]:
    """Reads the verdict on a share."""
    return layout.read_taken


def coming_reader(layout: Layout) -> Callable[[Any], Verdict | Gone | Elsewhere]:
    """Reads the verdict for a permit that was come for."""
    return layout.read_coming


def cost_reader(_: Layout) -> Callable[[Any], int | Elsewhere]:
    """Reads a cost."""
    return _read_cost


def line_reader(_: Layout) -> Callable[[Any], str | Elsewhere]:
    """Reads a line of text."""
    return _read_line


def _read_cost(reply: Any) -> int | Elsewhere:
    if isinstance(reply, int):
        return reply
    return int(reply) if reply.isdigit() else elsewhere(reply)


def _read_line(reply: Any) -> str | Elsewhere:
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    return elsewhere(text) if text.startswith(("register", "update", "stale")) else text


def elsewhere(reply: bytes | str) -> Elsewhere:
    """Where a script sends the caller first: ``register <periods>`` or ``update <version> <fields>``.

    Raises:
        StateLost: any other reply.
    """
    text = reply.decode() if isinstance(reply, bytes) else reply
    if text.startswith("update "):
        _, version, fields = text.split(" ", 2)
        return Told(version, fields)
    return unregistered(text)


def unregistered(reply: bytes | str) -> Unregistered:
    """The periods on record, from ``register <periods>`` or from the periods alone.

    Raises:
        StateLost: any other reply.
    """
    text = reply.decode() if isinstance(reply, bytes) else reply
    if not text.startswith("register") and not text[:1].isdigit():
        raise StateLost(f"a script answered {text!r}: has another process this one's lane?")
    try:
        return Unregistered(tuple(int(period) for period in text.removeprefix("register").split()))
    except ValueError:
        raise _not_ours(text) from None


def _not_ours(reply: bytes | str) -> StateLost:
    return StateLost(f"the limiter's keys hold something that redisopt did not write: reset() deletes it ({reply!r})")


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
    if not by_period:
        by_period[BURST_PERIOD_MS] = (1, _UNLIMITED)  # only to count what is granted
    return [(period, precision, limit) for period, (precision, limit) in sorted(by_period.items())]


def control_key(name: str, group: str | None) -> str:
    """Where stands what the fleet was told about a limiter, for all its keys; also the channel on which it is told."""
    return f"{keys.tag('throttle', name, '', group)}control"


def _keys(name: str, key: str, periods: tuple[int, ...], group: str | None, *, apart: bool) -> tuple[str, ...]:
    tag = keys.tag("throttle", name, keys.checked_key(key), group)
    control = f"{tag}control" if apart else control_key(name, group)
    parts = (f"{tag}{part}" for part in ("line", "leases", "tickets"))
    return (
        f"{tag}state",
        f"{tag}waiting",
        f"{tag}holes",
        control,
        *parts,
        *(f"{tag}log:{period}" for period in periods),
    )
