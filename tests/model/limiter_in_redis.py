"""One limiter on a real server, on a clock that is set: its scripts, and all that stands in its keys.

The scripts are the real ones. Only TIME is the test's, and keys expire by it: the server would go by its own clock, which
stands nearly still meanwhile, so a script's PEXPIRE only notes the deadline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.clock import KEY as CLOCK
from tests.clock import ServerClock, on_test_clock
from tests.model.throttle_model import Terms

TAG = "redisopt:v1:{throttle:model}:"
DEADLINES = "redisopt-test:deadlines"
TURNS = ("control", "line", "leases", "tickets")
PARTS = ("state", "waiting", "holes", *TURNS)
"""Names of the keys before the logs."""

SCRIPTS = [
    f"throttle_{name}"
    for name in ("acquire", "acquire_many", "charge", "peek", "refund", "register", "reset", "undo", "undo_many")
]
OF_TURNS = {
    "acquire": (0, 0, -1),
    "acquire_many": (0, 0, 0, -1),
    "undo": (0, 0, -1),
    "undo_many": (0, 0, 0, -1),
}
"""What a script is told of leases, priorities and the line behind its own arguments: that there are none."""

EXPIRE = f"""
local function expire_on_test_clock(key, ttl)
  local clock = redis.call('LRANGE', '{CLOCK}', 0, -1)
  if ttl <= 0 then
    redis.call('DEL', key)
  elseif redis.call('PEXPIRE', key, 3600000) == 1 then
    redis.call('HSET', '{DEADLINES}', key, clock[1] * 1000 + math.floor(clock[2] / 1000) + ttl)
    redis.call('PEXPIRE', '{DEADLINES}', 3600000)
  end
end
"""


@dataclass
class Content:
    """All that stands in Redis of the limiter, and until when.

    Attributes:
        turns: by key, what stands in those of what the fleet was told, the line and the leases.
        now: the limiter's time at which it was read.
        ahead: by how much that is ahead of the server's.
    """

    server_ms: int
    state: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    holes: dict[str, int] = field(default_factory=dict)
    turns: dict[str, Any] = field(default_factory=dict)
    lists: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    deadlines: dict[str, int] = field(default_factory=dict)

    @property
    def now(self) -> int:
        return max(self.server_ms + int(self.state.get("offset", 0)), self.number("seen") - 1)

    @property
    def ahead(self) -> int:
        return self.now - self.server_ms

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return sum(map(bool, (self.state, self.waiting, self.holes, *self.turns.values(), *self.lists.values())))

    @property
    def on_record(self) -> tuple[int, ...]:
        """The periods that are logged."""
        return tuple(map(int, self.state.get("periods", "").split()))

    def number(self, name: str) -> int:
        """A field of the state, 0 where there is none."""
        return int(self.state.get(name, 0))

    def named(self, prefix: str) -> dict[str, str]:
        """The fields of the state that start so."""
        return {name.removeprefix(prefix): text for name, text in self.state.items() if name.startswith(prefix)}

    def sums(self, period: int) -> tuple[int, int, int, int]:
        """What the state keeps of a log: cost in use, oldest slot (or 0), the open slot and its cost."""
        used, oldest, newest, newest_cost = map(int, self.state.get(f"log:{period}", "0 0 0 0").split())
        return used, oldest, newest, newest_cost

    def entries(self, period: int) -> list[tuple[int, int]]:
        """Slot and cost of the uses in a log, oldest first, the open slot with them."""
        _, _, newest, newest_cost = self.sums(period)
        return [*reversed(self.lists[period]), *([(newest, newest_cost)] if newest else [])]

    def counting(self, period: int) -> dict[int, int]:
        """The slots of a log that are not over."""
        return {slot: cost for slot, cost in self.entries(period) if slot + period > self.now}

    def faults(self) -> Iterator[str]:
        """What is wrong by itself, whatever was called."""
        if not self.state and self.lists and any(self.lists.values()):
            yield "there are logs without a state"
        for period, closed in self.lists.items():
            if period in self.on_record:
                for fault in self._faults_of_log(period):
                    yield f"log {period}: {fault}"
            elif closed or f"log:{period}" in self.state or f"passed:{period}" in self.state:
                yield f"log {period} is not on record"

    def _faults_of_log(self, period: int) -> Iterator[str]:
        used, oldest, newest, newest_cost = self.sums(period)
        passed, entries = self.number(f"passed:{period}"), self.entries(period)
        slots = [slot for slot, _ in entries]
        if slots != sorted(set(slots)):
            yield f"slots are not rising: {slots}"
        if not all(cost > 0 for _, cost in entries) or (newest == 0) != (newest_cost == 0):
            yield f"entries are empty: {entries}, {newest}:{newest_cost}"
        if newest + period <= self.now:
            return  # seen at one glance by the next grant, which starts the log anew
        if passed > len(entries):
            yield f"{passed} of {len(entries)} are passed"
        early = [slot for slot in slots[:passed] if slot + period > max(self.now, self.number("last"))]
        if early:
            yield f"passed and not over: {early}"
        if used != sum(cost for _, cost in entries[passed:]):
            yield f"used is {used}, from {passed} on the entries are {entries}"
        if slots[passed:] and oldest > slots[passed]:
            yield f"oldest is {oldest}, the entries from {passed} on {entries}"


class LimiterInRedis:
    """The limiter: its scripts by EVALSHA, its clock, its content."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        self._shas: dict[str, str] = {}
        for name in SCRIPTS:
            source = EXPIRE + on_test_clock(name).source.replace("redis.call('PEXPIRE', ", "expire_on_test_clock(")
            self._shas[name] = hashlib.sha1(source.encode()).hexdigest()
            client.script_load(source)
        self.start([])

    def start(self, periods: Sequence[int]) -> None:
        """With no keys, for logs of these periods."""
        self._client.flushdb()
        self._periods = periods
        self.clock = ServerClock(self._client)
        self.content = Content(self.server_ms)

    @property
    def server_ms(self) -> int:
        """What the server's clock says."""
        return round(self.clock.now_ms * 1000) // 1000

    def call(self, script: str, terms: Terms, *args: object) -> str:
        """Call a script with all keys of the limiter, and behind `args` what every script is told of the terms."""
        keys = [f"{TAG}{part}" for part in (*PARTS, *(f"log:{log.period}" for log in terms.logs))]
        logs = [number for log in terms.logs for number in (log.period, log.precision, log.limit)]
        of_turns = OF_TURNS.get(script, ())
        return self._call(
            script, keys, *args, *of_turns, terms.burst, terms.cooldown, 0, 10_000, "0", "model", terms.periods, *logs
        )

    def register(self, own: Terms, declared: Terms) -> str:
        """Call throttle_register."""
        logs = [*own.logs, *(log for log in declared.logs if log not in own.logs)]
        keys = [f"{TAG}state", *(f"{TAG}log:{log.period}" for log in logs)]
        return self._call("register", keys, len(own.logs), *(n for log in logs for n in (log.period, log.precision)))

    def _call(self, script: str, keys: list[str], *args: object) -> str:
        reply = self._client.evalsha(self._shas[f"throttle_{script}"], len(keys), *keys, *args)
        self.content = self._read()
        return reply.decode() if isinstance(reply, bytes) else str(reply)

    def expire(self) -> set[str]:
        """Delete the keys whose time is over, all of them with the state. Returns which."""
        deadlines = self.content.deadlines
        over = {part for part, deadline in deadlines.items() if deadline < self.server_ms}
        over |= deadlines.keys() if "state" in over else set()
        if over:
            keys = [f"{TAG}{part}" for part in over]
            self._client.pipeline(transaction=False).delete(*keys).hdel(DEADLINES, *keys).execute()
            self.content = self._read()
        self.content.server_ms = self.server_ms
        return over

    def _read(self) -> Content:
        parts = [*PARTS, *(f"log:{period}" for period in self._periods)]
        pipe = self._client.pipeline(transaction=False)
        pipe.dbsize().hgetall(DEADLINES).hgetall(f"{TAG}state")
        for part in ("waiting", "holes"):
            pipe.zrange(f"{TAG}{part}", 0, -1, withscores=True)
        for part in ("line", "leases"):
            pipe.zrange(f"{TAG}{part}", 0, -1, withscores=True)
        for part in ("control", "tickets"):
            pipe.hgetall(f"{TAG}{part}")
        for part in parts[len(PARTS) :]:
            pipe.lrange(f"{TAG}{part}", 0, -1)
        for part in parts:
            pipe.pttl(f"{TAG}{part}")
        size, deadlines, state, waiting, holes, line, leases, control, tickets, *rest = pipe.execute()
        lists, ttls = rest[: len(self._periods)], dict(zip(parts, rest[len(self._periods) :], strict=True))
        content = Content(
            self.server_ms,
            {name.decode(): value.decode() for name, value in state.items()},
            {member.decode(): int(score) for member, score in waiting},
            {member.decode(): int(score) for member, score in holes},
            {part: there for part, there in zip(TURNS, (control, line, leases, tickets), strict=True) if there},
            {period: [_use(entry) for entry in entries] for period, entries in zip(self._periods, lists, strict=True)},
            {part: int(deadlines[f"{TAG}{part}".encode()]) for part, ttl in ttls.items() if ttl >= 0},
        )
        endless = [part for part, ttl in ttls.items() if ttl == -1]
        assert not endless, f"keys without a time to live: {endless}"
        assert size == content.keys + 1 + bool(deadlines), "there are keys that no script was given"
        return content


def _use(entry: bytes) -> tuple[int, int]:
    slot, cost = entry.split(b":")
    return int(slot), int(cost)
