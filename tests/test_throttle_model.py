"""The throttle's scripts under random calls of a small fleet and random moves of the server's clock.

Two machines make the same moves; hypothesis shrinks what fails to a few calls.

- One config: after every call the same reply and the same content as `tests.model.throttle_model`.
- Several configs on one limiter, which have no simple model: what holds whatever is called. No trailing period holds more
  than the limit of whoever was granted last; nothing that comes back lifts a balance above its limit, so that the logs
  always hold at least what was granted and not given back; a repeated call gets its reply again and changes nothing;
  every key has a time to live; the sums in the state are those of the logs. All of that is checked with one config too.

Every run makes new examples; what fails prints how to see it again, and `--hypothesis-seed=N` repeats a whole run.
`REDISOPT_MODEL_EXAMPLES=2000` makes that many of each machine on each server, instead of the few that are quick.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.clock import START_MS
from tests.model.limiter_in_redis import Content, LimiterInRedis
from tests.model.throttle_model import LANE_MEMORY_MS, LOG_ONLY, LogTerms, Reply, Terms, ThrottleModel

T = TypeVar("T")

EXAMPLES = int(os.environ.get("REDISOPT_MODEL_EXAMPLES", "200"))
SHRINKING_SECONDS = 30  # of what fails; most of it is small by then, and what is not can be seen again all the same


def limits(*logs: tuple[int, int, int], burst: int = 0, cooldown: int = 0) -> Terms:
    """Terms of (period, precision, limit) each."""
    return Terms(tuple(LogTerms(*log) for log in logs), burst, cooldown)


def _default_precision(period: int) -> int:
    return -(-period // 1000)


FLEETS = {
    "one rate": [limits((1000, 1, 3)), limits((2500, 3, 5)), limits((300, 1, 2))],
    "two rates": [
        limits((1000, 1, 4), (5000, 5, 9)),
        limits((1000, 1, 4), (60000, 60, 2000)),
        limits((700, 1, 3)),
    ],
    "a margin, and slots": [limits((1050, 1, 3)), limits((1050, 150, 3))],
    "a lower limit": [limits((1000, 1, 3)), limits((1000, 1, 1))],
    "a burst": [
        limits((1000, 1, 4), (10000, 1, 20), burst=4, cooldown=700),
        limits((1000, 1, 5), (10000, 1, 20)),
        limits((10000, 10, 25)),
    ],
    "a slow burst": [limits((1000, 1, 4), (10000, 1, 5), burst=4, cooldown=30000), limits((1000, 1, 4), (10000, 1, 5))],
    "a long cooldown": [limits((1000, 1, 3), burst=3, cooldown=90000), limits((400, 1, 2))],
    "coarse slots": [limits((2000, 250, 6)), limits((6000, 500, 12)), limits((900, 1, 6))],
    "one slot": [limits((1000, 1000, 5)), limits((3000, 1, 9))],
    "a large limit": [limits((60000, 60, 10_000_000)), limits((3_600_000, 3600, 50_000_000))],
}


@dataclass
class Process:
    """One process: its own terms, and the periods of others that it knows of."""

    own: Terms
    others: tuple[int, ...] = ()

    @property
    def declared(self) -> Terms:
        """All logs that its calls name."""
        kept = [LogTerms(period, _default_precision(period), LOG_ONLY) for period in self.others]
        logs = sorted([*self.own.logs, *kept], key=lambda log: log.period)
        return Terms(tuple(logs), self.own.burst, self.own.cooldown)


@dataclass
class Use:
    """What was granted or charged. It begins from `early` on, `time` at the latest.

    Attributes:
        judged_by: whose limits it was granted within, None for a charge.
        asked: when it was asked for, to the next millisecond.
        left: what has not come back.
        from_hole: whether it was given a place that another had left.
    """

    id: str
    lane: str
    judged_by: Terms | None
    asked: int
    time: int
    early: int
    cost: int
    left: int
    from_hole: bool = False


@dataclass
class Call:
    """The latest acquire of a lane; `declared` is what it named of the limiter, an undo names the same."""

    lane: str
    script: str
    number: int
    args: tuple[str | int, ...]
    declared: Terms
    heard: str = ""
    uses: list[Use] = field(default_factory=list)


class Fleet(RuleBasedStateMachine):
    """A fleet that calls one limiter, and what holds whatever it calls."""

    LANES = ("a", "b", "c", "d", "e", "f")
    real: ClassVar[LimiterInRedis]

    def __init__(self) -> None:
        super().__init__()
        self.numbers = dict.fromkeys(self.LANES, 10)
        self.latest: dict[str, Call] = {}
        self.ids = 0
        self.uses: list[Use] = []
        self.forgotten: list[Use] = []
        self.known_from: dict[int, int] = {}  # the first use that a log knows, where that is not the first of all

    @initialize(fleet=st.sampled_from(list(FLEETS)))
    def start(self, fleet: str) -> None:
        """Lanes e and f belong to processes with other configs."""
        self._start(FLEETS[fleet])

    def _start(self, fleet: list[Terms]) -> None:
        processes = [Process(terms) for terms in fleet]
        self.processes = dict.fromkeys(self.LANES, processes[0])
        self.processes["e"], self.processes["f"] = processes[min(1, len(fleet) - 1)], processes[-1]
        self.is_mixed = len(fleet) > 1
        logs = {(log.period, log.precision) for terms in fleet for log in terms.logs}
        self.periods = sorted({period for period, _ in logs})
        if self.is_mixed:
            logs |= {(period, _default_precision(period)) for period in self.periods}
        self.has_mixed_slots = len(logs) > len(self.periods)
        self.real.start(self.periods)

    # --- what the fleet does

    @rule(
        lane=st.sampled_from(LANES),
        costs=st.lists(st.integers(0, 5), min_size=1, max_size=6),
        content_with=st.sampled_from(["all", "all", "half", "any"]),
    )
    def try_acquire(self, lane: str, costs: list[int], content_with: str) -> None:
        for index in costs:
            cost = self._cost(lane, index)
            self._acquire(lane, cost, {"all": cost, "half": -(-cost // 2), "any": 1}[content_with], 0)

    @rule(
        lane=st.sampled_from(LANES),
        costs=st.lists(st.integers(0, 5), min_size=1, max_size=4),
        patience=st.sampled_from([-1, -1, -1, 1, 20, 500, 1000, 3000, 20_000]),
    )
    def acquire(self, lane: str, costs: list[int], patience: int) -> None:
        for index in costs:
            cost = self._cost(lane, index)
            self._acquire(lane, cost, cost, patience)

    @rule(
        lane=st.sampled_from(LANES),
        runs=st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 5), st.sampled_from([0, 0, -1, -1, 1, 20, 1000, 3000])),
            min_size=1,
            max_size=4,
        ),
    )
    def acquire_many(self, lane: str, runs: list[tuple[int, int, int]]) -> None:
        """The tasks of a process call at the same time: how many, what cost, which patience."""
        self._acquire_many(lane, [(count, self._cost(lane, index), patience) for count, index, patience in runs])

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5))
    def repeat(self, index: int) -> None:
        """The reply was lost, or a copy was under way."""
        self._arrive()
        call = _of(list(self.latest.values()), index)
        number, kept = self._memory(call.lane)
        if number >= call.number:  # a minute after a call no copy of it is under way
            expected = kept if number == call.number else "stale"
            assert expected in (call.heard, "undone", "stale")
            self._repeat(call.lane, call.script, (call.number, *call.args), expected)

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5), behind=st.integers(1, 3))
    def arrive_late(self, index: int, behind: int) -> None:
        """A call arrives after a later one of its lane: its caller has given it up."""
        self._arrive()
        call = _of(list(self.latest.values()), index)
        if self._memory(call.lane)[0] >= call.number:
            self._repeat(call.lane, call.script, (call.number - behind, self._new_id(), *call.args[1:]), "stale")

    @precondition(lambda self: self._left())
    @rule(index=st.integers(0, 40), part=st.sampled_from(["all", "half", "one"]), twice=st.booleans())
    def refund(self, index: int, part: str, twice: bool) -> None:
        """Some of a use; a place in the line is given back whole."""
        use = _of(self._left(), index)
        parts = {"all": use.left, "half": -(-use.left // 2), "one": 1}
        self._refund(use, use.left if use.early > self._now() else parts[part], twice)

    @precondition(lambda self: self._standing_in_line())
    @rule(index=st.integers(0, 10))
    def leave_line(self, index: int) -> None:
        use = _of(self._standing_in_line(), index)
        self._refund(use, use.left, False)

    @precondition(lambda self: self.forgotten)
    @rule(index=st.integers(0, 40))
    def refund_what_is_forgotten(self, index: int) -> None:
        """What was granted before a reset cannot take out what was granted after it."""
        use = _of(self.forgotten, index)
        args = (self._number(use.lane), use.id, use.time, use.asked, use.left)
        assert self._call(use.lane, "refund", *args) == "0"

    @rule(lane=st.sampled_from(LANES), index=st.integers(0, 5), twice=st.booleans())
    def charge(self, lane: str, index: int, twice: bool) -> None:
        args = (self._number(lane), self._cost(lane, index))
        reply = self._call(lane, "charge", *args)
        assert reply == str(args[1])
        time = self._now() + 1
        self.uses.append(Use("", lane, None, time, time, time - 1, args[1], args[1]))
        if twice:
            self._repeat(lane, "charge", args, reply)

    @precondition(lambda self: self.latest)
    @rule(index=st.integers(0, 5))
    def undo(self, index: int) -> None:
        """The caller of the latest call of a lane was interrupted."""
        call = _of(list(self.latest.values()), index)
        is_whole = all(use.left == use.cost and self._may_come_back(use) for use in call.uses)
        if is_whole and self._names_all_on_record(call):
            self._undo(call)

    @rule(lane=st.sampled_from(LANES), index=st.integers(0, 5))
    def undo_before_arrival(self, lane: str, index: int) -> None:
        call = self._new_call(lane, "acquire", self._cost(lane, index), 1, -1)
        if self._names_all_on_record(call):
            self._undo(call)

    @rule(lane=st.sampled_from(LANES), index=st.integers(0, 5))
    def peek(self, lane: str, index: int) -> None:
        self._call(lane, "peek", self._cost(lane, index))

    @rule(lane=st.sampled_from(LANES), really=st.sampled_from([False, False, True]))
    def reset(self, lane: str, really: bool) -> None:
        if really:
            self._call(lane, "reset")
            assert self.real.content.keys <= 1
            self.forgotten += self._left()
            self._forget()

    @precondition(lambda self: self.is_mixed and self.real.content.state)
    @rule(lane=st.sampled_from(LANES))
    def register_again(self, lane: str) -> None:
        self._arrive()
        if self.real.content.state:
            self._register(self.processes[lane])

    # --- what time does

    @rule(micros=st.sampled_from([300, 1000, 1500, 7000, 100_000, 333_333, 1_000_000]))
    def let_pass(self, micros: int) -> None:
        self._set_clock(self.real.clock.now_ms + micros / 1000)

    @rule(index=st.integers(0, 60), nudge=st.sampled_from([0, -1, 1]), micros=st.sampled_from([0, 1, 999]))
    def go_to(self, index: int, nudge: int, micros: int) -> None:
        """To a time at which something ends, just before it or just after."""
        offset = self.real.content.number("offset")
        now = self.real.server_ms + offset
        ahead = sorted({time for time in self._instants() if time + nudge > now})
        if ahead:
            self._set_clock(_of(ahead, index) + nudge - offset + micros / 1000)

    @rule(periods=st.sampled_from([1, 2, 30]))
    def fall_silent(self, periods: int) -> None:
        self._set_clock(self.real.clock.now_ms + periods * max(self.periods) + LANE_MEMORY_MS + 1000)

    @rule(ms=st.sampled_from([-1, -2, -30, -999, -5000, -61_000, -300_000, 30, 1001, 59_000, 240_000]))
    def step_clock(self, ms: int) -> None:
        self._set_clock(self.real.clock.now_ms + ms)

    # --- what always holds

    @invariant()
    def nothing_more_came_back_than_was_granted(self) -> None:
        content = self.real.content
        for period in content.on_record:
            held = sum(content.counting(period).values())
            known = self.uses[self.known_from.get(period, 0) :]
            granted = sum(use.left for use in known if use.time + period > content.now)
            assert held >= granted, f"log {period} holds {held}, granted and not given back is {granted}"

    def _check_window(self, new: Use) -> None:
        """That `new` is within the limits, and whoever begins after it still is."""
        for place, use in enumerate(self.uses):
            for log in use.judged_by.logs if use.judged_by and use.early >= new.early else ():
                used = self._used_in_window(place, log.period)
                assert used <= log.limit, _since_start(
                    f"{used} of {log.limit} in the {log.period} ms until {use.early}"
                )

    def _used_in_window(self, place: int, period: int) -> int:
        """The cost in the period before a use begins, of what was granted before it or on the same terms."""
        use = self.uses[place]
        return sum(
            other.left
            for index, other in enumerate(self.uses[self.known_from.get(period, 0) :], self.known_from.get(period, 0))
            if use.left
            and other.early <= use.early < other.time + period
            and (index <= place or other.judged_by == use.judged_by)
        )

    # --- calling

    def _acquire(self, lane: str, cost: int, least: int, patience: int) -> None:
        call = self._new_call(lane, "acquire", cost, least, patience)
        self._send_call(call)
        basis, _, details = call.heard.partition(" | ")
        granted, time, taken, *_ = map(int, basis.split())
        wait = int(details.split()[0]) if details else 0
        if not granted:
            assert 0 <= patience < wait, "refused although it need not wait so long"
            return
        assert least <= taken <= cost
        assert patience < 0 or wait <= patience
        self._note_use(call, str(call.args[0]), time, wait, taken)

    def _acquire_many(self, lane: str, runs: list[tuple[int, int, int]]) -> None:
        wanted = [(cost, patience) for count, cost, patience in runs for _ in range(count)]
        words = " ".join(f"{count} {cost} {patience}" for count, cost, patience in runs)
        call = self._new_call(lane, "acquire_many", sum(cost for cost, _ in wanted), words)
        self._send_call(call)
        if call.heard == "solo":
            return
        line, _, answers = call.heard.partition("\n")
        numbers = map(int, answers.split())
        each = [answer for count, *answer in zip(*[numbers] * 5, strict=True) for _ in range(count)]
        each = each or [[1, int(line.split()[1]), 0, 0]] * len(wanted)
        for index, ((cost, patience), (granted, time, wait, _)) in enumerate(zip(wanted, each, strict=True)):
            if granted:
                assert patience < 0 or wait <= patience
                self._note_use(call, f"{call.args[0]}.{index}" if index else str(call.args[0]), time, wait, cost)
            else:
                assert 0 <= patience < wait, "refused although it need not wait so long"

    def _new_call(self, lane: str, script: str, *args: str | int) -> Call:
        call = Call(lane, script, self._number(lane), (self._new_id(), *args), self.processes[lane].declared)
        self.latest[lane] = call
        return call

    def _send_call(self, call: Call) -> None:
        call.heard = self._call(call.lane, call.script, call.number, *call.args)
        call.declared = self.processes[call.lane].declared

    def _note_use(self, call: Call, permit: str, time: int, wait: int, cost: int) -> None:
        use = Use(
            id=permit,
            lane=call.lane,
            judged_by=self.processes[call.lane].own,
            asked=time - wait + 1 if wait else time,
            time=time,
            early=time if wait else time - 1,
            cost=cost,
            left=cost,
            from_hole=wait > 0 and time in self.holes_before.values(),
        )
        call.uses.append(use)
        self.uses.append(use)
        self._check_window(use)

    def _refund(self, use: Use, amount: int, twice: bool) -> None:
        args = (self._number(use.lane), use.id, use.time, use.asked, amount)
        reply = self._call(use.lane, "refund", *args)
        use.left -= amount
        assert reply in (str(amount), "0")
        if twice:
            self._repeat(use.lane, "refund", args, reply)

    def _undo(self, call: Call) -> None:
        self._arrive()
        remembered, _ = self._memory(call.lane)
        reply = self._send(call.lane, call.script.replace("acquire", "undo"), call.declared, call.number, *call.args)
        if call.uses and remembered == call.number:
            assert 0 <= int(reply) <= sum(use.left for use in call.uses)
            for use in call.uses:
                use.left = 0
        else:
            assert reply == "0"

    def _call(self, lane: str, script: str, *args: str | int) -> str:
        """Call a script, and again after registering where other periods are on record."""
        for _ in range(3):
            self._arrive()
            self.holes_before = self.real.content.holes
            reply = self._send(lane, script, self.processes[lane].declared, *args)
            if not reply.startswith("register"):
                return reply
            self._learn(self.processes[lane], reply)
        raise AssertionError(f"{script} would have its process register for ever")

    def _send(self, lane: str, script: str, terms: Terms, *args: str | int) -> str:
        what = args if script in ("peek", "reset") else (lane, *args)
        reply = self.real.call(script, terms, *what)
        self._note(f"{script}{what} of {terms.periods}", reply)
        faults = list(self.real.content.faults())
        assert not faults, _since_start("\n".join(faults))
        return reply

    def _repeat(self, lane: str, script: str, args: tuple[str | int, ...], expected: str) -> None:
        before = self.real.content
        reply = self._call(lane, script, *args)
        assert reply == expected, _since_start(f"answered {reply} the second time, {expected} before")
        assert self.real.content == before, "a repeated call changed something"

    def _learn(self, process: Process, reply: str) -> None:
        own = {log.period for log in process.own.logs}
        on_record = set(map(int, reply.split()[1:]))
        process.others = tuple(sorted(on_record - own))
        if not own <= on_record:
            self._register(process)

    def _register(self, process: Process) -> None:
        before = self.real.content.on_record
        reply = self.real.register(process.own, process.declared)
        self._note(f"register {process.own.periods} of {process.declared.periods}", reply)
        if reply.startswith("register"):
            self._learn(process, reply)
            return
        own, after = [log.period for log in process.own.logs], list(map(int, reply.split()))
        assert set(own) <= set(after)
        for period in {*before, *after}:
            if period not in before:
                # It starts from the next longer one; a shorter one does not know all that counts.
                longer = [other for other in before if other > period]
                self.known_from[period] = self.known_from.get(longer[0], 0) if longer else len(self.uses)
        process.others = tuple(period for period in after if period not in own)

    def _arrive(self) -> set[str]:
        """A call arrives; what has expired by then is gone."""
        over = self.real.expire()
        if over:
            self._note("expired", ", ".join(sorted(over)))
        if "state" in over:
            self._forget()
            self.forgotten = []
        return over

    def _forget(self) -> None:
        self.uses = []
        self.known_from = {}

    # --- what the scripts are not asked, since they do it wrong as yet

    def _names_all_on_record(self, call: Call) -> bool:
        """An undo by whom another config has come since leaves that one's logs half done, and may drop its periods."""
        return self.real.content.state.get("periods") in (None, call.declared.periods)

    def _may_come_back(self, use: Use) -> bool:
        """A log that was registered after a use and does not know it takes its refund out of other uses.

        A place that was given up in a coarser slot than the next caller's is not counted when it is moved to now.
        """
        if self.has_mixed_slots and use.early > self._now():
            return False
        return any(use is known for known in self.uses[max(self.known_from.values(), default=0) :])

    # --- choosing

    def _now(self) -> int:
        return self.real.content.now

    def _memory(self, lane: str) -> tuple[int, str]:
        """Number and reply of the latest call of a lane that is remembered."""
        number, _, reply = self.real.content.state.get(f"lane:{lane}", "0 0 ").split(" ", 2)
        return int(number), reply

    def _left(self) -> list[Use]:
        return [use for use in self.uses if use.judged_by and use.left and self._may_come_back(use)]

    def _standing_in_line(self) -> list[Use]:
        waiting = self.real.content.waiting
        return [use for use in self._left() if waiting.get(use.id, 0) > self._now()]

    def _instants(self) -> Iterator[int]:
        content = self.real.content
        yield from (content.number("last"), content.number("cooling"), *content.waiting.values())
        yield from content.holes.values()
        yield from (int(kept.split()[1]) + LANE_MEMORY_MS for kept in content.named("lane:").values())
        yield from (deadline + content.number("offset") for deadline in content.deadlines.values())
        for period in content.on_record:
            for slot, _ in content.entries(period):
                yield from (slot, slot + period)

    def _cost(self, lane: str, index: int) -> int:
        most = self.processes[lane].own.max_cost
        return _of(sorted({cost for cost in (1, 2, 3, most // 3, most // 2, most) if 0 < cost <= most}), index)

    def _number(self, lane: str) -> int:
        self.numbers[lane] += 1
        return self.numbers[lane]

    def _new_id(self) -> str:
        self.ids += 1
        return f"permit-{self.ids}"

    def _set_clock(self, now_ms: float) -> None:
        self.real.clock.set(now_ms)
        self._note("the clock says", f"{now_ms:.3f}")

    def _note(self, what: str, reply: str) -> None:
        note(_since_start(f"    {what} -> {reply}"))


class FleetWithModel(Fleet):
    """A fleet of one config: every reply and all content are the model's."""

    @initialize(terms=st.sampled_from([terms for fleet in FLEETS.values() for terms in fleet]))
    def start(self, terms: Terms) -> None:
        self._start([terms])
        self.model = ThrottleModel(terms)

    def _send(self, lane: str, script: str, terms: Terms, *args: str | int) -> str:
        keys = self.real.content.keys
        reply = super()._send(lane, script, terms, *args)
        content, model = self.real.content, self.model
        if script == "reset":
            assert reply == str(keys)
            model.reset()
        else:
            ask = getattr(model, script)
            expected: Reply = ask(*args) if script == "peek" else ask(lane, *args)
            assert expected.admits(reply), _since_start(f"{script} answered {reply}, should answer {expected}")
        for silent, memory in list(model.lanes.items()):
            if f"lane:{silent}" not in content.state and memory.time + LANE_MEMORY_MS < model.now:
                del model.lanes[silent]  # it may be swept or not
        found = list(_differences(model, content))
        assert not found, _since_start("\n".join(found))
        return reply

    def _arrive(self) -> set[str]:
        over = super()._arrive()
        for part in sorted(over):
            self.model.lose(part)
        self.model.arrive(self.real.server_ms)
        return over

    def _acquire(self, lane: str, cost: int, least: int, patience: int) -> None:
        self._arrive()
        if not (patience and any(burst.time > self.model.now + 1 for burst in self.model.bursts)):
            super()._acquire(lane, cost, least, patience)
            if self.latest[lane].uses:
                self._check_memory()

    def _acquire_many(self, lane: str, runs: list[tuple[int, int, int]]) -> None:
        self._arrive()
        if self._brings_several_bursts(runs):
            runs = [(count, cost, 0) for count, cost, _ in runs]
        super()._acquire_many(lane, runs)
        if self.latest[lane].uses:
            self._check_memory()

    def _brings_several_bursts(self, runs: list[tuple[int, int, int]]) -> bool:
        """Whether more than one would be yet to come."""
        model = copy.deepcopy(self.model)
        words = " ".join(f"{count} {cost} {patience}" for count, cost, patience in runs)
        model.acquire_many("another lane", 1, "", 0, words)
        return sum(burst.time > model.now + 1 for burst in model.bursts) > 1

    def _check_memory(self) -> None:
        """A grant lets go of what is over: a log has an entry for each slot of its period, and for each that is to come."""
        for period, precision in ((log.period, log.precision) for log in self.model.terms.logs):
            slots = [slot for slot, _ in self.real.content.entries(period)]
            ahead = sum(slot > self._now() + precision for slot in slots)
            assert len(slots) <= period / precision + 2 + ahead, f"log {period} has {len(slots)} entries, {ahead} ahead"

    def _may_come_back(self, use: Use) -> bool:
        """Of several cooldowns yet to come the scripts know two: so there is one here at most, and it is not called off."""
        return super()._may_come_back(use) and not (self.model.terms.burst and use.early > self._now())

    def _check_window(self, new: Use) -> None:
        super()._check_window(new)
        burst, cooldown = self.model.terms.burst, self.model.terms.cooldown
        for place, use in enumerate(self.uses):
            if use.judged_by and use.early < new.early < use.time + cooldown and not use.from_hole:
                used = self._used_in_window(place, 1000)
                assert not burst or used < burst, _since_start(f"granted while the burst of {use.early} cooled")


def _differences(model: ThrottleModel, content: Content) -> Iterator[str]:
    """What stands in Redis and should not, or should and does not."""
    state, now = content.state, model.now

    def differ(what: str, real: object, right: object) -> Iterator[str]:
        if real != right:
            yield f"{what} is {real}, should be {right}"

    yield from differ("now", content.now, now)
    for name, number in (("seen", model.seen), ("since", model.since), ("offset", model.offset)):
        yield from differ(name, content.number(name), number)
    for name, ends in (("last", model.last), ("cooling", model.cooling)):
        yield from differ(name, max(now, content.number(name)), max(now, ends))  # what is over may stand or not
    yield from differ("waiting", {who: time for who, time in content.waiting.items() if time > now}, model.queue)
    yield from differ("holes", content.holes, {hole.member: hole.time for hole in model.holes})
    yield from differ("what the fleet was told, the line and the leases", content.turns, {})
    lanes = content.named("lane:")
    yield from differ("lanes", sorted(lanes), sorted(model.lanes))
    for lane in lanes.keys() & model.lanes.keys():
        latest, at, reply = lanes[lane].split(" ", 2)
        memory = model.lanes[lane]
        if int(latest) != memory.number or int(at) - memory.time not in (0, 1) or not memory.reply.admits(reply):
            yield f"lane {lane} remembers {lanes[lane]}, should {memory}"
    yield from differ("periods", state.get("periods"), model.terms.periods if model.on_record else None)
    if not state:
        return

    known = r"seen|since|offset|periods|expires|busy|last|cooling|cooled|lane_cursor|config|(log|passed):\d+|lane:\w+"
    yield from differ("unknown fields", [name for name in state if not re.fullmatch(known, name)], [])
    if (model.last > now or model.cooling > now or content.holes) and "busy" not in state:
        yield "busy is not set"
    served = [0, model.last, model.cooling]
    for log in model.logs:
        period = log.terms.period
        yield from differ(f"what counts in log {period}", content.counting(period), log.counting(now))
        served += [slot - log.terms.precision + 1 for slot in log.counting(now)]

    last_needed = max(served)
    longest = max(log.terms.period for log in model.logs)
    lanes_until = max((memory.time + LANE_MEMORY_MS for memory in model.lanes.values()), default=0)
    needed = {
        "state": max(last_needed + longest + LANE_MEMORY_MS, lanes_until),
        "waiting": max(model.queue.values(), default=0),
        "holes": max((hole.time for hole in model.holes), default=0),
    }
    for part, until in needed.items():
        if content.deadlines.get(part, 0) + model.ahead < until:
            yield f"{part} does not live until {until}"


def _of(options: Sequence[T], index: int) -> T:
    return options[index % len(options)]


def _since_start(text: object) -> str:
    """Times as people read them: since the start."""
    return re.sub(r"\b1[78]\d{11}\b", lambda found: f"T+{int(found[0]) - START_MS}", str(text))


@pytest.mark.timeout(0)  # hypothesis ends by itself, and many examples take as long as they take
def test_the_scripts_do_what_the_model_does(client: redis.Redis) -> None:
    _run(FleetWithModel, client)


@pytest.mark.timeout(0)
def test_several_configs_keep_their_limits_whatever_is_called(client: redis.Redis) -> None:
    _run(Fleet, client)


def _run(machine: type[Fleet], client: redis.Redis) -> None:
    machine.real = LimiterInRedis(client)  # hypothesis makes a machine for each example
    with pytest.MonkeyPatch.context() as patch:
        # Five minutes by default, and no setting. One failure is enough: to look for others takes as many examples again.
        patch.setattr(engine, "MAX_SHRINKING_SECONDS", SHRINKING_SECONDS, raising=False)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                report_multiple_bugs=False,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
