"""The throttle's scripts against `tests.model.throttle_model`: random calls, and after each the same answer and content.

Hypothesis makes up the calls of a small fleet and the moves of the server's clock, and shrinks what fails to a few calls.
The scripts are the real ones on the real server; only TIME is the test's, and keys expire by it. Besides what the model
says, the limits themselves are checked: over all uses that really happened, no trailing period holds more than its limit.

`REDISOPT_MODEL_EXAMPLES=20000` makes that many random examples of each server instead of the same few hundred.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, Verbosity, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.clock import KEY as CLOCK
from tests.clock import START_MS, ServerClock, on_test_clock
from tests.model.throttle_model import (
    LANE_MEMORY_MS,
    LOG_ONLY,
    STALE,
    UNDONE,
    Answer,
    Log,
    LogTerms,
    Reply,
    Returned,
    Terms,
    Text,
    ThrottleModel,
)

SOAK = int(os.environ.get("REDISOPT_MODEL_EXAMPLES", "0"))
TAG = "redisopt:v1:{throttle:model}:"
DEADLINES = "redisopt-test:deadlines"
SCRIPTS = [f"throttle_{name}" for name in ("acquire", "charge", "peek", "refund", "register", "reset", "undo")]

# A test of a minute takes milliseconds, so the server must not expire keys by its own clock: here they are only marked.
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


class Situation(NamedTuple):
    """The limits of a fleet: of most processes, and of those that were started with another config."""

    first: Terms
    others: tuple[Terms, ...]
    costs: tuple[int, ...]


def limits(*logs: tuple[int, int, int], burst: int = 0, cooldown: int = 0) -> Terms:
    """Terms of (period, precision, limit) each."""
    return Terms(tuple(LogTerms(*log) for log in logs), burst, cooldown)


SITUATIONS = {
    "one rate": Situation(limits((1000, 1, 3)), (limits((2500, 1, 5)), limits((300, 1, 2))), (1, 1, 2, 3)),
    "two rates": Situation(
        limits((1000, 1, 4), (5000, 1, 9)), (limits((1000, 1, 4), (60000, 60, 2000)), limits((700, 70, 3))), (1, 2, 3, 4)
    ),
    "a rate with margin, and its like in slots": Situation(
        limits((1050, 1, 3)), (limits((1050, 150, 3)), limits((1050, 1, 1))), (1, 1, 2, 3)
    ),
    "burst": Situation(
        limits((1000, 1, 4), (10000, 1, 20), burst=4, cooldown=700),
        (limits((1000, 1, 5), (10000, 1, 20)), limits((10000, 10, 25))),
        (1, 2, 3, 4),
    ),
    "a long cooldown": Situation(limits((1000, 1, 3), burst=3, cooldown=90000), (limits((400, 1, 2)),), (1, 1, 2, 3)),
    "coarse": Situation(limits((2000, 250, 6)), (limits((6000, 500, 12)), limits((900, 1, 6))), (1, 2, 4, 6)),
    "one slot": Situation(limits((1000, 1000, 5)), (limits((3000, 1, 9)),), (1, 2, 5)),
    "a large limit": Situation(
        limits((60000, 60, 10_000_000)),
        (limits((3_600_000, 3600, 50_000_000)),),
        (1, 999_983, 3_333_333, 5_000_000, 10_000_000),
    ),
}


@dataclass
class Process:
    """One process: its own terms, and the periods of others that it knows of."""

    own: Terms
    others: tuple[int, ...] = ()

    @property
    def declared(self) -> Terms:
        """All logs that its calls name."""
        kept = [LogTerms(period, max(1, period // 1000), LOG_ONLY) for period in self.others]
        return Terms(tuple(sorted([*self.own.logs, *kept], key=lambda log: log.period)), self.own.burst, self.own.cooldown)


@dataclass
class Permit:
    """A use that was granted. `early` and `late` are the times between which it begins; `known_to` the periods that log it."""

    id: str
    process: Process
    judged_by: Terms
    time: int
    left: int
    early: int
    known_to: set[int] = field(default_factory=set)


@dataclass
class Call:
    """The latest acquire of a lane."""

    process: Process
    lane: str
    number: int
    id: str
    cost: int
    least: int
    patience: int
    permit: Permit | None = None
    heard: str = ""


@dataclass
class Content:
    """All that stands in Redis of the limiter."""

    state: dict[str, str]
    waiting: dict[str, int]
    holes: dict[str, int]
    lists: dict[int, list[tuple[int, int]]]
    deadlines: dict[str, int]


class RealLimiter:
    """The limiter in Redis: its scripts by EVALSHA, and all its content."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: Any = client
        self.shas: dict[str, str] = {}
        for name in SCRIPTS:
            source = on_test_clock(name).source
            source = EXPIRE + source.replace("redis.call('PEXPIRE', ", "expire_on_test_clock(")
            self.shas[name] = hashlib.sha1(source.encode()).hexdigest()
            assert self.client.script_load(source) == self.shas[name]

    def call(self, script: str, terms: Terms, *args: object) -> str:
        """Call a script with the limiter's keys, and behind `args` what every script is told of the terms."""
        keys = [f"{TAG}state", f"{TAG}waiting", f"{TAG}holes", *(f"{TAG}log:{log.period}" for log in terms.logs)]
        constants = [terms.burst, terms.cooldown, terms.periods]
        constants += [number for log in terms.logs for number in (log.period, log.precision, log.limit)]
        return self.evalsha(script, keys, [*args, *constants])

    def evalsha(self, script: str, keys: list[str], args: Sequence[object]) -> str:
        """Call a script."""
        reply = self.client.evalsha(self.shas[script], len(keys), *keys, *args)
        return reply.decode() if isinstance(reply, bytes) else str(reply)

    def expire(self, server_ms: int) -> set[str]:
        """Delete the keys whose time is over by the test's clock. Returns their parts."""
        deadlines = {key.decode(): int(when) for key, when in self.client.hgetall(DEADLINES).items()}
        over = [key for key, when in deadlines.items() if when < server_ms]
        if over:
            self.client.pipeline(transaction=False).delete(*over).hdel(DEADLINES, *over).execute()
        return {key.removeprefix(TAG) for key in over}

    def content(self, periods: Sequence[int]) -> Content:
        """Read everything."""
        pipe = self.client.pipeline(transaction=False)
        pipe.keys("*").hgetall(f"{TAG}state").zrange(f"{TAG}waiting", 0, -1, withscores=True)
        pipe.zrange(f"{TAG}holes", 0, -1, withscores=True).hgetall(DEADLINES)
        for period in periods:
            pipe.lrange(f"{TAG}log:{period}", 0, -1)
        keys, state, waiting, holes, deadlines, *lists = pipe.execute()
        present = {key.decode() for key in keys} - {CLOCK, DEADLINES}
        expected = {f"{TAG}{part}" for part in ("state", "waiting", "holes", *(f"log:{period}" for period in periods))}
        assert present <= expected, f"keys of nobody: {present - expected}"
        for key in present:
            assert self.client.pttl(key) > 0, f"{key} has no time to live"
        return Content(
            {name.decode(): value.decode() for name, value in state.items()},
            {member.decode(): int(score) for member, score in waiting},
            {member.decode(): int(score) for member, score in holes},
            {
                period: [(int(time), int(cost)) for time, _, cost in (entry.decode().partition(":") for entry in entries)]
                for period, entries in zip(periods, lists, strict=True)
            },
            {key.decode().removeprefix(TAG): int(when) for key, when in deadlines.items() if key.decode() in present},
        )


class ThrottleMachine(RuleBasedStateMachine):
    """A fleet that calls one limiter, beside its model."""

    LANES = ("a", "b", "c", "d", "e", "f")
    """The last two belong to processes with another config, where there are such."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushdb()
        self.clock = ServerClock(client)
        self.real = RealLimiter(client)
        self.model = ThrottleModel()
        self.numbers = dict.fromkeys(self.LANES, 10)
        self.latest: dict[str, Call] = {}
        self.permits: list[Permit] = []
        self.ids = 0

    @initialize(situation=st.sampled_from(sorted(SITUATIONS)), mixed=st.sampled_from([False, False, True]))
    def start(self, situation: str, mixed: bool) -> None:
        first, others, self.costs = SITUATIONS[situation]
        processes = [Process(first), *(Process(terms) for terms in others if mixed)]
        self.processes = {lane: processes[0] for lane in self.LANES}
        self.processes["e"], self.processes["f"] = processes[-1], processes[len(processes) // 2]
        self.mixed = mixed
        self.periods = sorted({log.period for process in processes for log in process.own.logs})
        self.content = self.real.content(self.periods)

    # --- the fleet

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4), spared=st.sampled_from([0, 0, 0, 1, 2]))
    def try_acquire(self, lane: str, cost: int, spared: int) -> None:
        wanted = self._cost(lane, cost)
        self._acquire(lane, wanted, max(1, wanted - self.costs[spared]) if spared else wanted, 0)

    @rule(lane=st.sampled_from(LANES), costs=st.lists(st.integers(0, 4), min_size=2, max_size=6))
    def try_several(self, lane: str, costs: list[int]) -> None:
        for cost in costs:
            wanted = self._cost(lane, cost)
            self._acquire(lane, wanted, wanted, 0)

    @rule(
        lane=st.sampled_from(LANES),
        cost=st.integers(0, 4),
        patience=st.sampled_from([1, 20, 500, 1000, 3000, 20000]),
    )
    def acquire_within(self, lane: str, cost: int, patience: int) -> None:
        wanted = self._cost(lane, cost)
        self._acquire(lane, wanted, wanted, patience)

    @rule(lane=st.sampled_from(LANES), costs=st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def acquire(self, lane: str, costs: list[int]) -> None:
        for cost in costs:
            wanted = self._cost(lane, cost)
            self._acquire(lane, wanted, wanted, -1)

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5))
    def repeat(self, index: int) -> None:
        """The reply was lost, or a copy was under way."""
        self._send(self._of(list(self.latest.values()), index))

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5), behind=st.integers(1, 3))
    def send_late(self, index: int, behind: int) -> None:
        """A call that its caller has long given up arrives after a later one."""
        call = self._of(list(self.latest.values()), index)
        self._send(Call(call.process, call.lane, call.number - behind, self._new_id(), call.cost, call.least, -1))

    @precondition(lambda self: self.permits)
    @rule(index=st.integers(0, 40), part=st.sampled_from([0, 0, 1, 2]))
    def refund(self, index: int, part: int) -> None:
        """All of a permit, the smallest part of it, or half."""
        permit = self._of(self.permits, index)
        if permit.left:
            self._refund(permit, (permit.left, 1, -(-permit.left // 2))[part])

    @precondition(lambda self: self._places())
    @rule(index=st.integers(0, 10))
    def leave_line(self, index: int) -> None:
        permit = self._of(self._places(), index)
        self._refund(permit, permit.left)

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4))
    def charge(self, lane: str, cost: int) -> None:
        amount, process = self.costs[cost % len(self.costs)], self.processes[lane]
        while True:
            number, server_ms = self._number(lane), self._arrive()
            expected = self.model.charge(process.declared, server_ms, lane, number, amount)
            self._told("charge", expected, process.declared, lane, number, amount)
            if not self._registers(process, expected):
                return

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5))
    def undo(self, index: int) -> None:
        """The caller of the latest call of a lane was interrupted."""
        call = self._of(list(self.latest.values()), index)
        if call.permit is None or call.permit.left == call.permit.left_at_first:
            self._undo(call)

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4))
    def undo_before_arrival(self, lane: str, cost: int) -> None:
        wanted = self._cost(lane, cost)
        call = Call(self.processes[lane], lane, self._number(lane), self._new_id(), wanted, wanted, -1)
        self.latest[lane] = call
        self._undo(call)

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4))
    def peek(self, lane: str, cost: int) -> None:
        wanted, process = self._cost(lane, cost), self.processes[lane]
        while True:
            expected = self.model.peek(process.declared, self._arrive(), wanted)
            self._told("peek", expected, process.declared, wanted, reads=True)
            if not self._registers(process, expected):
                return

    @rule(lane=st.sampled_from(LANES), sure=st.sampled_from([False, False, True]))
    def reset(self, lane: str, sure: bool) -> None:
        process = self.processes[lane]
        while sure:
            expected = self.model.reset(process.declared, self._arrive())
            keys = sum(bool(part) for part in (self.content.state, self.content.waiting, self.content.holes))
            keys += sum(bool(entries) for entries in self.content.lists.values())
            self._told("reset", expected or Text(str(keys)), process.declared)
            if expected is None:
                self._forget_permits()
            if expected is None or not self._registers(process, expected):
                return

    @precondition(lambda self: self.mixed)
    @rule(lane=st.sampled_from(LANES))
    def register(self, lane: str) -> None:
        """A process that registers again changes nothing."""
        self._register(self.processes[lane])

    # --- time

    @rule(micros=st.sampled_from([300, 1000, 1500, 7000, 100_000, 333_333, 1_000_000]))
    def let_pass(self, micros: int) -> None:
        self._set_clock(self.clock.now_ms + micros / 1000)

    @rule(index=st.integers(0, 60), nudge=st.sampled_from([0, 0, -1, 1]), micros=st.sampled_from([0, 1, 999]))
    def go_to(self, index: int, nudge: int, micros: int) -> None:
        """To a time at which something happens, just before it or just after."""
        ahead = sorted({time for time in self._instants() if time + nudge > self.model.now})
        if ahead:
            self._set_clock(self._of(ahead, index) + nudge - self.model.offset + micros / 1000)

    @rule(periods=st.sampled_from([1, 2, 30]))
    def fall_silent(self, periods: int) -> None:
        """Until everything is over, or nearly."""
        self._set_clock(self.clock.now_ms + periods * max(self.periods) + 61_000)

    @rule(ms=st.sampled_from([-1, -2, -30, -999, -5000, -61_000, -300_000, 30, 1001, 59_000, 240_000]))
    def step_clock(self, ms: int) -> None:
        self._set_clock(self.clock.now_ms + ms)

    # --- calls

    def _acquire(self, lane: str, cost: int, least: int, patience: int) -> None:
        call = Call(self.processes[lane], lane, self._number(lane), self._new_id(), cost, least, patience)
        self.latest[lane] = call
        self._send(call)

    def _send(self, call: Call) -> None:
        process, model = call.process, self.model
        while True:
            server_ms, before = self._arrive(), self.content
            known = model.lanes.get(call.lane)
            expected = model.acquire(
                process.declared, server_ms, call.lane, call.number, call.id, call.cost, call.least, call.patience
            )
            repeated = known is not None and call.number <= known.number
            refused = isinstance(expected, Answer) and not expected.granted
            reply = self._told(
                "acquire",
                expected,
                process.declared,
                call.lane,
                call.number,
                call.id,
                call.cost,
                call.least,
                call.patience,
                reads=repeated or (refused and not model.changed),
            )
            if repeated:
                assert reply == call.heard or expected in (STALE, UNDONE)
                return
            if not self._registers(process, expected):
                break
            call.number = self._number(call.lane)
        call.heard = reply
        if isinstance(expected, Answer) and expected.granted:
            early = expected.time if expected.wait else expected.time - 1
            call.permit = Permit(call.id, process, process.own, expected.time, expected.cost, early, set(model.on_record))
            if before.holes and self._from_hole(before, call.permit):
                call.permit.judged_by = first
            self.permits.append(call.permit)
