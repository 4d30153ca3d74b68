"""The throttle's scripts against `tests.model.throttle_model`: random calls, and after each the same answer and content.

Hypothesis makes up the calls of a small fleet and the moves of the server's clock, and shrinks what fails to a few calls.
The scripts are the real ones on the real server; only TIME is the test's, and keys expire by it. Besides what the model
says, the limits themselves are checked: over all uses that really happened, no trailing period holds more than its limit.

`REDISOPT_MODEL_EXAMPLES=20000` makes that many new examples on each server, instead of the same few hundred every time.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, note, settings
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
    LogTerms,
    Reply,
    Terms,
    Text,
    ThrottleModel,
)

T = TypeVar("T")

EXAMPLES = int(os.environ.get("REDISOPT_MODEL_EXAMPLES", "0"))
TAG = "redisopt:v1:{throttle:model}:"
DEADLINES = "redisopt-test:deadlines"
SCRIPTS = [f"throttle_{name}" for name in ("acquire", "charge", "peek", "refund", "register", "reset", "undo")]

# The server would expire keys by its own clock, which stands nearly still here: so their times are only noted.
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
    """The limits of most processes of a fleet, those of processes with another config, and the costs that are asked for."""

    first: Terms
    others: tuple[Terms, ...]
    costs: tuple[int, ...]


def limits(*logs: tuple[int, int, int], burst: int = 0, cooldown: int = 0) -> Terms:
    """Terms of (period, precision, limit) each."""
    return Terms(tuple(LogTerms(*log) for log in logs), burst, cooldown)


SITUATIONS = {
    "one rate": Situation(limits((1000, 1, 3)), (limits((2500, 1, 5)), limits((300, 1, 2))), (1, 2, 3)),
    "two rates": Situation(
        limits((1000, 1, 4), (5000, 1, 9)),
        (limits((1000, 1, 4), (60000, 60, 2000)), limits((700, 70, 3))),
        (1, 2, 3, 4),
    ),
    "a rate with margin, others in slots": Situation(limits((1050, 1, 3)), (limits((1050, 150, 3)),), (1, 2, 3)),
    "a rate, others with a lower limit": Situation(limits((1000, 1, 3)), (limits((1000, 1, 1)),), (1, 2, 3)),
    "a burst": Situation(
        limits((1000, 1, 4), (10000, 1, 20), burst=4, cooldown=700),
        (limits((1000, 1, 5), (10000, 1, 20)), limits((10000, 10, 25))),
        (1, 2, 3, 4),
    ),
    "a long cooldown": Situation(limits((1000, 1, 3), burst=3, cooldown=90000), (limits((400, 1, 2)),), (1, 2, 3)),
    "coarse slots": Situation(limits((2000, 250, 6)), (limits((6000, 500, 12)), limits((900, 1, 6))), (1, 2, 4, 6)),
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
        logs = sorted([*self.own.logs, *kept], key=lambda log: log.period)
        return Terms(tuple(logs), self.own.burst, self.own.cooldown)


@dataclass
class Permit:
    """A use that was granted. It begins from `early` on, `time` at the latest.

    Attributes:
        known_to: the periods that log it.
        from_hole: whether it was given a place that another left.
    """

    id: str
    lane: str
    judged_by: Terms
    time: int
    early: int
    cost: int
    left: int
    known_to: set[int]
    from_hole: bool


@dataclass
class Call:
    """The latest acquire of a lane."""

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
    """All that stands in Redis of the limiter, and until when."""

    state: dict[str, str]
    waiting: dict[str, int]
    holes: dict[str, int]
    lists: dict[int, list[tuple[int, int]]]
    deadlines: dict[str, int]

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return sum(map(bool, (self.state, self.waiting, self.holes, *self.lists.values())))

    def entries(self, period: int) -> list[tuple[int, int]]:
        """Slot and cost of the uses in a log, oldest first, the open slot with them."""
        _, _, newest, newest_cost = map(int, self.state[f"log:{period}"].split())
        return [*reversed(self.lists[period]), *([(newest, newest_cost)] if newest else [])]


class RealLimiter:
    """The limiter in Redis: its scripts by EVALSHA, and all its content."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        self._shas: dict[str, str] = {}
        for name in SCRIPTS:
            source = on_test_clock(name).source.replace("redis.call('PEXPIRE', ", "expire_on_test_clock(")
            self._shas[name] = hashlib.sha1((EXPIRE + source).encode()).hexdigest()
            client.script_load(EXPIRE + source)

    def call(self, script: str, terms: Terms, *args: object) -> str:
        """Call a script with all keys of the limiter, and behind `args` what every script is told of the terms."""
        keys = [f"{TAG}state", f"{TAG}waiting", f"{TAG}holes", *(f"{TAG}log:{log.period}" for log in terms.logs)]
        logs = [number for log in terms.logs for number in (log.period, log.precision, log.limit)]
        return self._evalsha(script, keys, *args, terms.burst, terms.cooldown, terms.periods, *logs)

    def register(self, own: Sequence[LogTerms], others: Sequence[LogTerms]) -> str:
        """Call throttle_register."""
        logs = [*own, *others]
        keys = [f"{TAG}state", *(f"{TAG}log:{log.period}" for log in logs)]
        return self._evalsha(
            "throttle_register", keys, len(own), *(n for log in logs for n in (log.period, log.precision))
        )

    def _evalsha(self, script: str, keys: list[str], *args: object) -> str:
        reply = self._client.evalsha(self._shas[script], len(keys), *keys, *args)
        return reply.decode() if isinstance(reply, bytes) else str(reply)

    def expire(self, deadlines: dict[str, int], server_ms: int) -> set[str]:
        """Delete the keys whose time is over, all of them with the state. Returns which."""
        over = {part for part, deadline in deadlines.items() if deadline < server_ms}
        over |= deadlines.keys() if "state" in over else set()
        if over:
            keys = [f"{TAG}{part}" for part in over]
            self._client.pipeline(transaction=False).delete(*keys).hdel(DEADLINES, *keys).execute()
        return over

    def content(self, periods: Sequence[int]) -> Content:
        """Read everything."""
        parts = ["state", "waiting", "holes", *(f"log:{period}" for period in periods)]
        pipe = self._client.pipeline(transaction=False)
        pipe.dbsize().hgetall(DEADLINES).hgetall(f"{TAG}state")
        for part in ("waiting", "holes"):
            pipe.zrange(f"{TAG}{part}", 0, -1, withscores=True)
        for part in parts[3:]:
            pipe.lrange(f"{TAG}{part}", 0, -1)
        for part in parts:
            pipe.pttl(f"{TAG}{part}")
        size, deadlines, state, waiting, holes, *rest = pipe.execute()
        ttls = dict(zip(parts, rest[len(periods) :], strict=True))
        content = Content(
            {name.decode(): value.decode() for name, value in state.items()},
            {member.decode(): int(score) for member, score in waiting},
            {member.decode(): int(score) for member, score in holes},
            {period: [_use(entry) for entry in entries] for period, entries in zip(periods, rest, strict=False)},
            {part: int(deadlines[f"{TAG}{part}".encode()]) for part, ttl in ttls.items() if ttl >= 0},
        )
        endless = [part for part, ttl in ttls.items() if ttl == -1]
        assert not endless, f"keys without a time to live: {endless}"
        assert size == content.keys + 1 + bool(deadlines), "there are keys that no script was given"
        return content


def _use(entry: bytes) -> tuple[int, int]:
    slot, cost = entry.split(b":")
    return int(slot), int(cost)


def differences(model: ThrottleModel, content: Content, precisions: dict[int, int]) -> Iterator[str]:
    """What stands in Redis and should not, or should and does not."""
    state, now = content.state, model.now
    if not model.on_record:
        if state:
            yield f"state is {state}, should not exist"
        return
    if not state:
        yield "state does not exist"
        return

    def differ(what: str, real: object, right: object) -> Iterator[str]:
        if real != right:
            yield f"{what} is {real}, should be {right}"

    yield from differ("seen", int(state.get("seen", 0)), model.seen)
    yield from differ("since", int(state.get("since", 0)), model.since)
    yield from differ("offset", int(state.get("offset", 0)), model.offset)
    yield from differ("periods", state.get("periods"), " ".join(map(str, model.on_record)))
    for name, right in (("last", model.last), ("cooling", model.cooling)):
        real = int(state.get(name, 0))
        yield from differ(name, real if real > now else "over", right if right > now else "over")
    yield from differ("waiting", {who: time for who, time in content.waiting.items() if time > now}, model.queue)
    yield from differ("holes", content.holes, {hole.member: hole.time for hole in model.holes})
    yield from differ("claims", _numbered(state, "claimed:"), model.claims)
    yield from differ("lanes", sorted(_named(state, "lane:")), sorted(model.lanes))
    for lane, kept in _named(state, "lane:").items():
        number, time, reply = kept.split(" ", 2)
        memory = model.lanes.get(lane)
        if memory and not (
            int(number) == memory.number and int(time) - memory.time in (0, 1) and memory.reply.admits(reply)
        ):
            yield f"lane {lane} remembers {kept}, should {memory}"

    yield from differ("logs", sorted(_named(state, "log:")), sorted(map(str, model.on_record)))
    yield from differ("closed slots", [p for p, e in content.lists.items() if e and p not in model.on_record], [])
    passed = _numbered(state, "passed:")
    yield from differ("passed", [period for period in passed if period not in model.on_record], [])
    for period in model.on_record:
        if f"log:{period}" in state:
            for found in _log_differences(model, content, period, precisions[period]):
                yield f"log {period}: {found}"

    busy = model.last > now or model.cooling > now or content.holes
    if busy and "busy" not in state:
        yield "busy is not set"
    known = r"seen|since(:\d+)?|offset|periods|expires|busy|last|cooling|cooled|lane_cursor|(log|passed|claimed):\d+|lane:\w+"
    yield from differ("unknown fields", [name for name in state if not re.fullmatch(known, name)], [])
    for part, right in _needed_until(model, content):
        deadline = content.deadlines[part] + model.ahead
        if deadline < right:
            yield f"{part} lives {right - deadline} ms too short, until {deadline}"


def _named(state: dict[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _numbered(state: dict[str, str], prefix: str) -> dict[int, int]:
    return {int(name): int(value) for name, value in _named(state, prefix).items()}


def _log_differences(model: ThrottleModel, content: Content, period: int, precision: int) -> Iterator[str]:
    used, oldest, newest, newest_cost = map(int, content.state[f"log:{period}"].split())
    passed = int(content.state.get(f"passed:{period}", 0))
    entries, log, now = content.entries(period), model.logs[period], model.now
    slots = [slot for slot, _ in entries]
    if slots != sorted(set(slots)):
        yield f"slots are not rising: {slots}"
    if not all(cost > 0 for _, cost in entries) or (newest == 0) != (newest_cost == 0):
        yield f"entries are empty: {entries}, {newest}:{newest_cost}"
    counting = {slot: cost for slot, cost in entries if slot + period > now}
    if counting != log.counting(now):
        yield f"what counts is {counting}, should be {log.counting(now)}"
    if newest + period <= now:
        return  # seen at one glance by the next grant, which starts the log anew
    if passed > len(entries):
        yield f"{passed} of {len(entries)} are passed"
    early = [slot for slot in slots[:passed] if slot + period > max(now, log.line_until)]
    if early:
        yield f"passed and not over: {early}"
    if used != sum(cost for _, cost in entries[passed:]):
        yield f"used is {used}, from {passed} on the entries are {entries}"
    if slots[passed:] and oldest > slots[passed]:
        yield f"oldest is {oldest}, the entries from {passed} on {entries}"
    ahead = sum(slot > now + precision for slot in counting)
    if model.logged and len(entries) > period / precision + 2 + ahead:
        yield f"has {len(entries)} entries, {ahead} of them ahead"


def _needed_until(model: ThrottleModel, content: Content) -> Iterator[tuple[str, int]]:
    """Until when each key must live at least: what is in it counts till then."""
    times = [model.last, model.cooling, *(memory.time + LANE_MEMORY_MS for memory in model.lanes.values())]
    for period, log in model.logs.items():
        counting = [use for use in log.uses if use.cost and use.slot + period > model.now]
        times += [use.time + period for use in counting]
        closed = dict(content.lists[period])
        if closed:
            yield f"log:{period}", max((use.time + period for use in counting if use.slot in closed), default=0)
    yield "state", max(times)
    if content.waiting:
        yield "waiting", max(model.queue.values(), default=0)
    if content.holes:
        yield "holes", max((hole.time for hole in model.holes), default=0)


class ThrottleMachine(RuleBasedStateMachine):
    """A fleet that calls one limiter, beside its model."""

    LANES = ("a", "b", "c", "d", "e", "f")

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushdb()
        self.clock = ServerClock(client)
        self.real = RealLimiter(client)
        self.model = ThrottleModel()
        self.numbers = dict.fromkeys(self.LANES, 10)
        self.latest: dict[str, Call] = {}
        self.permits: list[Permit] = []
        self.forgotten: list[Permit] = []
        self.ids = 0

    @initialize(situation=st.sampled_from(list(SITUATIONS)), mixed=st.sampled_from([False, False, True]))
    def start(self, situation: str, mixed: bool) -> None:
        """Lanes e and f belong to processes with another config, if any do."""
        first, others, self.costs = SITUATIONS[situation]
        fleet = [Process(first), *(Process(terms) for terms in others)] if mixed else [Process(first)]
        self.mixed = mixed
        self.processes = dict.fromkeys(self.LANES, fleet[0])
        self.processes["e"], self.processes["f"] = fleet[min(1, len(fleet) - 1)], fleet[-1]
        logs = [log for process in fleet for log in process.own.logs]
        self.periods = sorted({log.period for log in logs})
        self.precisions = {
            period: min([log.precision for log in logs if log.period == period] + [max(1, period // 1000)] * mixed)
            for period in self.periods
        }
        self.content = self.real.content(self.periods)

    # --- what the fleet does

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4), content_with=st.sampled_from(["all", "half", "any"]))
    def try_acquire(self, lane: str, cost: int, content_with: str) -> None:
        wanted = self._cost(lane, cost)
        self._acquire(lane, wanted, {"all": wanted, "half": -(-wanted // 2), "any": 1}[content_with], 0)

    @rule(lane=st.sampled_from(LANES), costs=st.lists(st.integers(0, 4), min_size=2, max_size=6))
    def try_several(self, lane: str, costs: list[int]) -> None:
        for cost in costs:
            wanted = self._cost(lane, cost)
            self._acquire(lane, wanted, wanted, 0)

    @rule(
        lane=st.sampled_from(LANES), cost=st.integers(0, 4), patience=st.sampled_from([1, 20, 500, 1000, 3000, 20_000])
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
        self._arrive()
        call = _of(list(self.latest.values()), index)
        memory = self.model.lanes.get(call.lane)
        if call.permit is None or (memory and memory.number >= call.number):
            self._send(call)  # of a granted call no copy is under way when its lane has been forgotten

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5), behind=st.integers(1, 3))
    def arrive_late(self, index: int, behind: int) -> None:
        """A call arrives after a later one of its lane: its caller has given it up."""
        call = _of(list(self.latest.values()), index)
        self._send(Call(call.lane, call.number - behind, self._new_id(), call.cost, call.least, -1))

    @precondition(lambda self: self.permits)
    @rule(index=st.integers(0, 40), part=st.sampled_from(["all", "half", "one"]), twice=st.booleans())
    def refund(self, index: int, part: str, twice: bool) -> None:
        """Some of a use; a place in the line is given back whole."""
        permit = _of(self.permits, index)
        if permit.left:
            parts = {"all": permit.left, "half": -(-permit.left // 2), "one": 1}
            self._refund(permit, permit.left if permit.early > self.model.now else parts[part], twice)

    @precondition(lambda self: self.forgotten)
    @rule(index=st.integers(0, 40))
    def refund_what_is_forgotten(self, index: int) -> None:
        """What was granted before a reset cannot take out what was granted after it."""
        permit = _of(self.forgotten, index)
        if permit.left and (permit.time < self.model.since or permit.early > self.model.now + 1):
            self._refund(permit, permit.left, False)

    @precondition(lambda self: self._standing_in_line())
    @rule(index=st.integers(0, 10))
    def leave_line(self, index: int) -> None:
        permit = _of(self._standing_in_line(), index)
        self._refund(permit, permit.left, False)

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4), twice=st.booleans())
    def charge(self, lane: str, cost: int, twice: bool) -> None:
        amount = _of(self.costs, cost)

        def charge(server_ms: int, number: int) -> tuple[Reply, tuple[object, ...]]:
            terms = self.processes[lane].declared
            return self.model.charge(terms, server_ms, lane, number, amount), (lane, number, amount)

        self._call_once("charge", lane, charge, twice)

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5))
    def undo(self, index: int) -> None:
        """The caller of the latest call of a lane was interrupted."""
        call = _of(list(self.latest.values()), index)
        if call.permit is None or call.permit.left == call.permit.cost:
            self._undo(call)

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4))
    def undo_before_arrival(self, lane: str, cost: int) -> None:
        wanted = self._cost(lane, cost)
        self.latest[lane] = Call(lane, self._number(lane), self._new_id(), wanted, wanted, -1)
        self._undo(self.latest[lane])

    @rule(lane=st.sampled_from(LANES), cost=st.integers(0, 4))
    def peek(self, lane: str, cost: int) -> None:
        wanted = self._cost(lane, cost)

        def peek(server_ms: int) -> tuple[Reply, tuple[object, ...]]:
            return self.model.peek(self.processes[lane].declared, server_ms, wanted), (wanted,)

        self._call("peek", lane, peek)

    @rule(lane=st.sampled_from(LANES), really=st.sampled_from([False, False, True]))
    def reset(self, lane: str, really: bool) -> None:
        def reset(server_ms: int) -> tuple[Reply, tuple[object, ...]]:
            keys = self.content.keys
            return self.model.reset(self.processes[lane].declared, server_ms) or Text(str(keys)), ()

        if really:
            self._call("reset", lane, reset)
            self._forget_permits()

    @precondition(lambda self: self.mixed)
    @rule(lane=st.sampled_from(LANES))
    def register_again(self, lane: str) -> None:
        self._arrive()
        if self.content.state:
            self._register(self.processes[lane])

    # --- what time does

    @rule(micros=st.sampled_from([300, 1000, 1500, 7000, 100_000, 333_333, 1_000_000]))
    def let_pass(self, micros: int) -> None:
        self._set_clock(self.clock.now_ms + micros / 1000)

    @rule(index=st.integers(0, 60), nudge=st.sampled_from([0, -1, 1]), micros=st.sampled_from([0, 1, 999]))
    def go_to(self, index: int, nudge: int, micros: int) -> None:
        """To a time at which something ends, just before it or just after."""
        now = self._server_ms() + self.model.offset
        ahead = sorted({time for time in self._instants() if time + nudge > now})
        if ahead:
            self._set_clock(_of(ahead, index) + nudge - self.model.offset + micros / 1000)

    @rule(periods=st.sampled_from([1, 2, 30]))
    def fall_silent(self, periods: int) -> None:
        self._set_clock(self.clock.now_ms + periods * max(self.periods) + LANE_MEMORY_MS + 1000)

    @rule(ms=st.sampled_from([-1, -2, -30, -999, -5000, -61_000, -300_000, 30, 1001, 59_000, 240_000]))
    def step_clock(self, ms: int) -> None:
        self._set_clock(self.clock.now_ms + ms)

    # --- what always holds

    @invariant()
    def no_window_holds_more_than_its_limit(self) -> None:
        for place, permit in enumerate(self.permits):
            for log in permit.judged_by.logs:
                used = self._used_in_window(place, log.period)
                assert used <= log.limit, (
                    f"{used} of {log.limit} in the {log.period} ms until {_since_start(permit.early)}"
                )

    @invariant()
    def nothing_is_granted_in_a_cooldown(self) -> None:
        for place, permit in enumerate(self.permits):
            terms = permit.judged_by
            if terms.burst and not permit.from_hole and self._used_in_window(place, 1000) >= terms.burst:
                for other in self.permits:
                    in_cooldown = permit.early < other.early < permit.time + terms.cooldown
                    assert not (other.judged_by.burst and other.left and in_cooldown), (
                        f"{other.id} was granted while the burst of {permit.id} cooled"
                    )

    def _used_in_window(self, place: int, period: int) -> int:
        """The cost in the period before a permit's use begins, of what was granted before it or on the same terms."""
        permit = self.permits[place]
        if not permit.left:
            return 0
        return sum(
            other.left
            for index, other in enumerate(self.permits)
            if period in other.known_to
            and other.early <= permit.early < other.time + period
            and (index <= place or other.judged_by == permit.judged_by)
        )

    # --- calling

    def _acquire(self, lane: str, cost: int, least: int, patience: int) -> None:
        self.latest[lane] = Call(lane, self._number(lane), self._new_id(), cost, least, patience)
        self._send(self.latest[lane])

    def _send(self, call: Call) -> None:
        lane, process, model = call.lane, self.processes[call.lane], self.model
        memory = None

        def acquire(server_ms: int) -> tuple[Reply, tuple[object, ...]]:
            nonlocal memory
            memory = model.lanes.get(lane)
            what = (lane, call.number, call.id, call.cost, call.least, call.patience)
            return model.acquire(process.declared, server_ms, *what), what

        def renumber() -> None:
            call.number = self._number(lane)

        expected, reply = self._call("acquire", lane, acquire, renumber)
        if memory and call.number <= memory.number:
            assert not call.heard or expected in (STALE, UNDONE) or reply == call.heard
            return
        call.heard = reply
        if isinstance(expected, Answer) and expected.granted:
            early = expected.time if expected.wait else expected.time - 1
            known_to = {period for period, log in model.logs.items() if log.knows(call.id)}
            call.permit = Permit(
                id=call.id,
                lane=lane,
                judged_by=process.own,
                time=expected.time,
                early=early,
                cost=expected.cost,
                left=expected.cost,
                known_to=known_to,
                from_hole=not model.logged,
            )
            self.permits.append(call.permit)

    def _refund(self, permit: Permit, amount: int, twice: bool) -> None:
        def refund(server_ms: int, number: int) -> tuple[Reply, tuple[object, ...]]:
            what = (permit.lane, number, permit.id, permit.time, amount)
            return self.model.refund(self.processes[permit.lane].declared, server_ms, *what), what

        self._call_once("refund", permit.lane, refund, twice)
        permit.left -= amount

    def _undo(self, call: Call) -> None:
        memory = None

        def undo(server_ms: int) -> tuple[Reply, tuple[object, ...]]:
            nonlocal memory
            memory = self.model.lanes.get(call.lane)
            what = (call.lane, call.number, call.id)
            terms = self.processes[call.lane].declared
            return self.model.undo(terms, server_ms, *what), (*what, call.cost, call.least, call.patience)

        self._call("undo", call.lane, undo)
        if call.permit and memory and memory.number == call.number:
            call.permit.left = 0

    def _register(self, process: Process) -> None:
        own = process.own.logs
        others = [log for log in process.declared.logs if log.limit == LOG_ONLY]
        server_ms = self._arrive()
        expected, seeds = self.model.register(own, process.others, server_ms)
        reply = self.real.register(own, others)
        self._note(f"register {own}, others {others}", reply)
        assert expected.admits(reply), f"register answered {reply}, should answer {expected}"
        content = self.real.content(self.periods)
        for period, seed in seeds.items():
            self.model.adopt(period, seed, dict(content.entries(period)))  # what does not agree is found below
        for permit in self.permits:
            permit.known_to = {period for period, log in self.model.logs.items() if log.knows(permit.id)}
        process.others = tuple(sorted(set(self.model.on_record) - {log.period for log in own}))
        self._compare(content)

    def _call(
        self,
        script: str,
        lane: str,
        ask_model: Callable[[int], tuple[Reply, tuple[object, ...]]],
        renumber: Callable[[], None] = lambda: None,
    ) -> tuple[Reply, str]:
        """Call a script, and again after registering where other periods are on record."""
        process = self.processes[lane]
        while True:
            server_ms = self._arrive()
            expected, args = ask_model(server_ms)
            reply = self.real.call(f"throttle_{script}", process.declared, *args)
            self._note(f"{script}{args} of {process.declared.periods}", reply)
            assert expected.admits(reply), _since_start(f"{script} answered {reply}, should answer {expected}")
            content = self.real.content(self.periods)
            if not self.model.wrote and content != self.content:
                assert self.model.is_untidy(), f"{script} changed something"
                self.model.tidy(process.declared)
            self._compare(content)
            if not (isinstance(expected, Text) and expected.text.startswith("register")):
                return expected, reply
            on_record, own = set(map(int, expected.text.split()[1:])), {log.period for log in process.own.logs}
            process.others = tuple(sorted(on_record - own))
            if not own <= on_record:
                self._register(process)
            renumber()

    def _call_once(
        self, script: str, lane: str, ask_model: Callable[[int, int], tuple[Reply, tuple[object, ...]]], twice: bool
    ) -> None:
        number = self._number(lane)

        def renumber() -> None:
            nonlocal number
            number = self._number(lane)

        _, heard = self._call(script, lane, lambda server_ms: ask_model(server_ms, number), renumber)
        if twice:
            _, again = self._call(script, lane, lambda server_ms: ask_model(server_ms, number))
            assert again == heard

    def _compare(self, content: Content) -> None:
        self.content = content
        for lane, memory in list(self.model.lanes.items()):
            if f"lane:{lane}" not in content.state and memory.time + LANE_MEMORY_MS < self.model.now:
                del self.model.lanes[lane]
        for period, time in _numbered(content.state, "claimed:").items():
            if time == self.model.now and period in self.model.on_record:
                self.model.claims[period] = time  # sooner than it must be
        found = list(differences(self.model, content, self.precisions))
        assert not found, _since_start("\n".join(found))

    def _arrive(self) -> int:
        """What the server's clock says when a call arrives; what has expired by then is gone."""
        server_ms = self._server_ms()
        over = self.real.expire(self.content.deadlines, server_ms)
        if over:
            self._note(f"expired: {', '.join(sorted(over))}", "")
            self.content = self.real.content(self.periods)
        for part in sorted(over):
            self.model.lose(part)
        if "state" in over:
            self._forget_permits()
        return server_ms

    # --- choosing

    def _forget_permits(self) -> None:
        self.forgotten += self.permits
        self.permits = []

    def _standing_in_line(self) -> list[Permit]:
        return [permit for permit in self.permits if permit.left and permit.id in self.model.queue]

    def _instants(self) -> Iterator[int]:
        model = self.model
        yield from (model.last, model.cooling, *model.waiting.values(), *(hole.time for hole in model.holes))
        yield from (memory.time + LANE_MEMORY_MS for memory in model.lanes.values())
        yield from (deadline + model.offset for deadline in self.content.deadlines.values())
        for log in model.logs.values():
            for use in log.uses:
                yield from (use.slot, use.slot + log.period)

    def _cost(self, lane: str, index: int) -> int:
        return _of([cost for cost in self.costs if cost <= self.processes[lane].own.max_cost], index)

    def _number(self, lane: str) -> int:
        self.numbers[lane] += 1
        return self.numbers[lane]

    def _new_id(self) -> str:
        self.ids += 1
        return f"permit-{self.ids}"

    def _server_ms(self) -> int:
        return round(self.clock.now_ms * 1000) // 1000

    def _set_clock(self, now_ms: float) -> None:
        self.clock.set(now_ms)
        self._note("the clock says", f"{now_ms:.3f}")

    def _note(self, what: str, reply: str) -> None:
        note(_since_start(f"    {what} -> {reply}"))


def _of(options: Sequence[T], index: int) -> T:
    return options[index % len(options)]


def _since_start(text: object) -> str:
    """Times as people read them: since the start."""
    return re.sub(r"\b1[78]\d{11}\b", lambda found: f"T+{int(found[0]) - START_MS}", str(text))


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_the_scripts_do_what_the_model_does(client: redis.Redis) -> None:
    class Fleet(ThrottleMachine):
        def __init__(self) -> None:
            super().__init__(client)

    always_alike = settings(max_examples=150, derandomize=True)
    chosen = settings(max_examples=EXAMPLES, print_blob=True) if EXAMPLES else always_alike
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            chosen, stateful_step_count=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        ),
    )
