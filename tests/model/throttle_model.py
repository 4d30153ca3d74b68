"""The throttle of one config as plain arithmetic: what the scripts must answer, and what must stand in Redis after.

A log is the cost of each slot, kept for ever, and every question is a sum over all of it. There are no cursors, no open
slot, no passed or dropped uses and no fast path: those are the scripts' ways of being quick, and have to come to the same.
Times are whole milliseconds: `server_ms` is what the server's clock says, everything else is the limiter's own time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

LANE_MEMORY_MS = 60_000
HOLES_LOOKED_AT = 16
LOG_ONLY = -1


@dataclass(frozen=True)
class LogTerms:
    """One log as a process declares it; a limit of LOG_ONLY is that of a log kept for processes with another config."""

    period: int
    precision: int
    limit: int


@dataclass(frozen=True)
class Terms:
    """What a process declares: logs with rising periods; with a burst, one of them has the period 1000."""

    logs: tuple[LogTerms, ...]
    burst: int = 0
    cooldown: int = 0

    @property
    def max_cost(self) -> int:
        """The largest cost that every limit allows."""
        return min(log.limit for log in self.logs if log.limit != LOG_ONLY)

    @property
    def periods(self) -> str:
        """The periods as the scripts write them."""
        return _line(log.period for log in self.logs)


@dataclass
class Log:
    """All uses of one period: a cost counts until a period after the end of its slot."""

    terms: LogTerms
    slots: dict[int, int] = field(default_factory=dict)

    def slot(self, time: int) -> int:
        """The end of the slot that `time` lies in."""
        return -(-time // self.terms.precision) * self.terms.precision

    def end(self, slot: int) -> int:
        """From when on a slot does not count any more."""
        return slot + self.terms.period

    def counting(self, time: int) -> dict[int, int]:
        """The slots that count for whoever is served at `time`: all, also those to come, that are not over by then."""
        return {slot: cost for slot, cost in self.slots.items() if self.end(slot) > time}

    def used(self, time: int) -> int:
        """The cost of those."""
        return sum(self.counting(time).values())

    @property
    def newest(self) -> int:
        """The end of the newest slot, 0 for none."""
        return max(self.slots, default=0)

    def add(self, time: int, cost: int) -> None:
        """Log a use. Where the slot after its own is open already, it is logged there."""
        is_open = self.newest <= time + self.terms.precision
        slot = max(self.slot(time), self.newest if is_open else 0)
        self.slots[slot] = self.slots.get(slot, 0) + cost

    def between(self, start: int, end: int) -> int:
        """The cost of the uses after `start`, up to those at `end`."""
        return sum(cost for slot, cost in self.slots.items() if start < slot < end + self.terms.precision)

    def erase(self, time: int, cost: int) -> int:
        """Take the cost of a use out of its slot, or nothing where there is not as much. Returns what was taken out.

        Its slot is the first that does not end before `time` and has as much.
        """
        slot = min((slot for slot, there in self.slots.items() if slot >= time and there >= cost), default=None)
        if slot is None:
            return 0
        self.slots[slot] -= cost
        if not self.slots[slot]:
            del self.slots[slot]
        return cost

    def earliest_fit(self, cost: int, start: int) -> int:
        """The earliest time from `start` on at which `cost` more is within the limit."""
        times = [start, *(self.end(slot) for slot in self.counting(start))]
        return min(time for time in times if self.used(time) + cost <= self.terms.limit)


@dataclass
class Hole:
    """A place in the line that was given up, and is still logged."""

    time: int
    id: str
    cost: int

    @property
    def member(self) -> str:
        """The hole as Redis keeps it."""
        return f"{self.id} {self.cost}"


@dataclass(frozen=True)
class Answer:
    """A decision, in the words of lua/include/describe.lua. `short` allows the line without what comes after the bar."""

    granted: bool
    time: int
    cost: int
    used: tuple[int, ...]
    wait: int
    queue: int
    reason: int
    cooling: int
    reset: tuple[int, ...]
    short: bool = False

    def __str__(self) -> str:
        return f"{self._basis()} | {_line((self.wait, self.queue, self.reason, self.cooling, *self.reset))}"

    def _basis(self) -> str:
        return _line((int(self.granted), self.time, self.cost, *self.used))

    def admits(self, reply: str) -> bool:
        """Whether a script may say so."""
        return reply == str(self) or (self.short and reply == self._basis())


@dataclass(frozen=True)
class Text:
    """A reply of one word."""

    text: str

    def __str__(self) -> str:
        return self.text

    def admits(self, reply: str) -> bool:
        """Whether a script may say so."""
        return reply == self.text


@dataclass(frozen=True)
class Answers:
    """What throttle_acquire_many answers: how it stands after all calls, and what became of each."""

    total: Answer
    each: tuple[Answer, ...]

    def __str__(self) -> str:
        runs = ((len(list(run)), words) for words, run in groupby(map(self._words, self.each)))
        return f"{self.total}\n{' '.join(f'{count} {words}' for count, words in runs)}"

    @staticmethod
    def _words(one: Answer) -> str:
        return _line((int(one.granted), one.time, one.wait, one.reason))

    def admits(self, reply: str) -> bool:
        """Whether a script may say so. Where all are granted now it need not say so of each."""
        if reply == str(self):
            return True
        if not all(one.granted and not one.wait for one in self.each):
            return False
        return replace(self.total, cost=sum(one.cost for one in self.each)).admits(reply)


Reply = Answer | Answers | Text
STALE, UNDONE, SOLO = Text("stale"), Text("undone"), Text("solo")


@dataclass(frozen=True)
class Memory:
    """The latest call of a lane that is remembered."""

    number: int
    time: int
    reply: Reply


@dataclass(frozen=True)
class Burst:
    """A second that reached the burst size at `time`: nothing is granted until `end`."""

    time: int
    end: int


class ThrottleModel:
    """One limiter. `arrive`, then the method of a script with the script's own arguments.

    Attributes:
        now: the limiter's time of the latest call.
        last: the time of the last place in the line; whoever comes is served after it.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.now = self.server_ms = 0
        self.forget()

    def _start(self) -> None:
        self.on_record = False
        self.last = 0
        self.logs = [Log(log) for log in self.terms.logs]
        self.bursts: list[Burst] = []
        self.waiting: dict[str, int] = {}
        self.holes: list[Hole] = []
        self.lanes: dict[str, Memory] = {}

    def forget(self) -> None:
        """All keys outlived their time."""
        self.seen = self.offset = self.since = 0
        self._start()

    def lose(self, part: str) -> None:
        """A key outlived its time. What was in it is over, unless the clock is set back after that and before a write."""
        if part == "state":
            self.forget()
        elif part == "waiting":
            self.waiting = {}
        elif part == "holes":
            self.holes = []
        for log in self.logs:
            if part == f"log:{log.terms.period}":
                log.slots = {slot: cost for slot, cost in log.slots.items() if slot == log.newest}

    def arrive(self, server_ms: int) -> None:
        """A call arrives. A limiter's time is the server's and an offset, which grows when the clock is set back."""
        self.server_ms = server_ms
        self.now = max(server_ms + self.offset, self.seen - 1)

    @property
    def ahead(self) -> int:
        """By how much the limiter's time is ahead of the server's."""
        return self.now - self.server_ms

    # --- the scripts

    def acquire(self, lane: str, number: int, permit: str, cost: int, least: int, patience: int) -> Reply:
        """throttle_acquire."""
        if known := self._recall(lane, number):
            return known
        self._tidy()
        return self._remember(lane, number, self._acquire(permit, cost, least, patience))

    def acquire_many(self, lane: str, number: int, permit: str, _: int, calls: str) -> Reply:
        """throttle_acquire_many: one after the other."""
        if known := self._recall(lane, number):
            return known
        self._tidy()
        if self.holes:
            return SOLO
        each = [
            self._acquire(_nth(permit, index), cost, cost, patience)
            for index, (cost, patience) in enumerate(wishes(calls))
        ]
        return self._remember(lane, number, Answers(self._standing([one for one in each if one.granted]), tuple(each)))

    def charge(self, lane: str, number: int, cost: int) -> Reply:
        """throttle_charge."""
        if known := self._recall(lane, number):
            return known
        self._erase_overdue_holes()
        for log in self.logs:
            log.add(self.now + 1, cost)
        if self._is_burst(self.now - 999, self.now + 1):
            self._cool(self.now + 1)
        self._save()
        return self._remember(lane, number, Text(str(cost)))

    def refund(self, lane: str, number: int, permit: str, time: int, asked: int, cost: int) -> Reply:
        """throttle_refund."""
        if known := self._recall(lane, number):
            return known
        self._erase_overdue_holes()
        returned = self._give_back(permit, time, cost) if asked >= self.since else 0
        self._save()
        return self._remember(lane, number, Text(str(returned)))

    def undo(self, lane: str, number: int, permit: str, *_: int) -> Reply:
        """throttle_undo."""
        known = self._recall(lane, number)
        if known == STALE:
            return Text("0")
        self._erase_overdue_holes()
        granted = isinstance(known, Answer) and known.granted
        returned = self._give_back(permit, known.time, known.cost) if isinstance(known, Answer) and granted else 0
        self._save()
        self._remember(lane, number, UNDONE)
        return Text(str(returned))

    def undo_many(self, lane: str, number: int, permit: str, _: int, calls: str) -> Reply:
        """throttle_undo_many."""
        known = self._recall(lane, number)
        if known == STALE:
            return Text("0")
        self._erase_overdue_holes()
        returned = 0
        for index, one in enumerate(known.each if isinstance(known, Answers) else ()):
            if one.granted:
                returned += self._give_back(_nth(permit, index), one.time, one.cost)
        self._save()
        self._remember(lane, number, UNDONE)
        return Text(str(returned))

    def peek(self, cost: int) -> Reply:
        """throttle_peek."""
        self._tidy()
        place, reason = self._place(cost)
        return self._refusal(place, self._granted_last_second(), reason)

    def reset(self) -> None:
        """throttle_reset. Nothing that was granted before, even within this millisecond, can be given back after."""
        if self.seen:
            self.since = self.seen = self.seen + 1
            self.now = max(self.now, self.seen - 1)
        self._start()

    # --- what they have in common

    def _save(self) -> None:
        if not self.on_record:
            self.on_record, self.since = True, max(self.since, self.now + 1)
        self.seen, self.offset = self.now + 1, self.ahead

    def _tidy(self) -> None:
        """What also a call that grants nothing writes down: that the clock was set back, that a hole is overdue."""
        if self._erase_overdue_holes() or self.ahead > self.offset:
            self._save()

    def _recall(self, lane: str, number: int) -> Reply | None:
        memory = self.lanes.get(lane)
        if memory is None or number > memory.number:
            return None
        return memory.reply if number == memory.number else STALE

    def _remember(self, lane: str, number: int, reply: Reply) -> Reply:
        self.lanes[lane] = Memory(number, self.now, reply)
        return reply

    @property
    def cooling(self) -> int:
        """When the latest cooldown ends, also of a burst yet to come."""
        return max((burst.end for burst in self.bursts), default=0)

    def _cool(self, time: int) -> None:
        self.bursts.append(Burst(time, time + self.terms.cooldown))

    def _is_burst(self, start: int, end: int) -> bool:
        """Whether a second's uses, those after `start`, complete a burst."""
        second = next((log for log in self.logs if log.terms.period == 1000), None)
        return bool(second and self.terms.burst and second.between(start, end) >= self.terms.burst)

    def _is_cooling(self, time: int) -> bool:
        return any(burst.time < time < burst.end for burst in self.bursts)

    def _ms_of_cooldown(self) -> int:
        """What is left of the cooldown that is on."""
        return max([0, *(burst.end - self.now for burst in self.bursts if burst.time <= self.now + 1)])

    @property
    def queue(self) -> dict[str, int]:
        """Who waits now, and until when."""
        return {permit: time for permit, time in self.waiting.items() if time > self.now}

    def _acquire(self, permit: str, cost: int, least: int, patience: int) -> Answer:
        if place := self._take_hole(cost, patience):
            self._save()
            if place > self.now:
                self.waiting[permit] = place
            return self._grant(place, cost, self.now, 0)

        if least < cost:
            free = min(log.terms.limit - log.used(max(self.now, self.last)) for log in self.logs)
            cost = max(least, min(cost, free))
        place, reason = self._place(cost)
        if 0 <= patience < place - self.now:
            return self._refusal(place, 0, reason)

        time = self._begin(place)
        for log in self.logs:
            log.add(time, cost)
            if self.terms.burst and log.terms.period == 1000 and log.used(place) >= self.terms.burst:
                self._cool(time)
        if place > self.now:
            self.last = self.waiting[permit] = time
        self._save()
        return self._grant(place, cost, place, reason)

    def _place(self, cost: int) -> tuple[int, int]:
        """The earliest time for `cost` after all who came before, and what it waits for."""
        time, reason = max(self.now, self.last), 0
        if self.cooling > time:
            time, reason = self.cooling, -1
        for index, log in enumerate(self.logs, start=1):
            fits = log.earliest_fit(cost, time)
            if fits > time:
                time, reason = fits, index
        return time, reason

    def _begin(self, place: int) -> int:
        """The time of a use: now is within this millisecond, so it is logged at the next."""
        return max(place, self.now + 1)

    def _grant(self, place: int, cost: int, counted_at: int, reason: int) -> Answer:
        time, wait, cooling = self._begin(place), place - self.now, self._ms_of_cooldown()
        return Answer(
            granted=True,
            time=time,
            cost=cost,
            used=tuple(log.used(max(counted_at, self.last)) for log in self.logs),
            wait=wait,
            queue=len(self.queue),
            reason=reason,
            cooling=cooling,
            reset=tuple(log.end(log.newest) - self.now for log in self.logs),
            # Without the details a client takes it that nobody cools and that the slot of this time is the newest.
            short=not wait and not cooling and all(log.newest == log.slot(time) for log in self.logs),
        )

    def _refusal(self, place: int, cost: int, reason: int) -> Answer:
        used = tuple(log.used(max(self.now, self.last)) for log in self.logs)
        return Answer(
            granted=False,
            time=place,
            cost=cost,
            used=used,
            wait=place - self.now,
            queue=len(self.queue),
            reason=reason,
            cooling=self._ms_of_cooldown(),
            reset=tuple(log.end(log.newest) - self.now if n else 0 for log, n in zip(self.logs, used, strict=True)),
        )

    def _standing(self, granted: list[Answer]) -> Answer:
        """How it stands after many calls, as if the last of those granted were what was asked."""
        used = tuple(log.used(max(self.now, self.last)) for log in self.logs)
        time, cooling = granted[-1].time if granted else self.now, self._ms_of_cooldown()
        return Answer(
            granted=True,
            time=time,
            cost=0,
            used=used,
            wait=0,
            queue=len(self.queue),
            reason=0,
            cooling=cooling,
            reset=tuple(log.end(log.newest) - self.now if n else 0 for log, n in zip(self.logs, used, strict=True)),
            short=not cooling and all(log.newest == log.slot(time) for log in self.logs),
        )

    def _granted_last_second(self) -> int:
        """From the first log that covers a second, else from the longest, scaled."""
        log = next((log for log in self.logs if log.terms.period >= 1000), self.logs[-1])
        span = min(log.terms.period, 1000)
        recent = [cost for slot, cost in log.slots.items() if 0 < slot + span - self.now <= span + log.terms.precision]
        return sum(recent) * 1000 // span

    # --- the line

    def _take_hole(self, cost: int, patience: int) -> int:
        """A place that was given up is had now where all that is used until then leaves room, else at its time; or 0."""
        in_order = sorted(self.holes, key=lambda hole: (hole.time, hole.member.encode()))
        for hole in in_order[:HOLES_LOOKED_AT]:
            if cost > hole.cost:
                continue
            is_now = self._bears(self.now, hole.time) and not self._is_cooling(self.now)
            if is_now and not self._is_burst(self.now - 1000, hole.time):
                for log in self.logs:
                    if log.erase(hole.time, cost):
                        log.add(self.now + 1, cost)
                self._shrink(hole, cost)
                return self.now
            in_time = patience < 0 or hole.time - self.now <= patience
            if in_time and self._bears(hole.time, hole.time) and not self._is_cooling(hole.time):
                if self._is_burst(hole.time - 1000, hole.time):
                    self._cool(hole.time)
                self._shrink(hole, cost)
                return hole.time
        return 0

    def _bears(self, start: int, end: int) -> bool:
        """Whether every limit bears all that is used from a period before `start` until `end`."""
        return all(log.between(start - log.terms.period, end) <= log.terms.limit for log in self.logs)

    def _shrink(self, hole: Hole, cost: int) -> None:
        hole.cost -= cost
        if not hole.cost:
            self.holes.remove(hole)

    def _erase_overdue_holes(self) -> bool:
        return self._erase_holes([hole for hole in self.holes if hole.time <= self.now])

    def _erase_holes(self, holes: list[Hole]) -> bool:
        for hole in holes:
            self.holes.remove(hole)
            self._erase(hole.time, hole.cost)
        return bool(holes)

    def _erase(self, time: int, cost: int) -> int:
        """Take a use out of every log in which it is not over. Returns what was taken out."""
        return max([log.erase(time, cost) for log in self.logs if log.end(time) > self.now], default=0)

    def _give_back(self, permit: str, time: int, cost: int) -> int:
        if time <= self.now + 1:
            return self._erase(time, cost)  # it has begun
        if permit not in self.waiting:
            return 0  # a place that was given up
        del self.waiting[permit]
        if time < self.last:
            self.holes.append(Hole(time, permit, cost))
            return cost

        self._erase(time, cost)
        self.last = max(self.queue.values(), default=0)
        self._erase_holes([hole for hole in self.holes if hole.time > self.last])
        self._call_off_bursts()
        return cost

    def _call_off_bursts(self) -> None:
        """Of the bursts yet to come only those stand that the places still given come to."""

        def stands(burst: Burst) -> bool:
            return burst.time <= self.last and self._is_burst(burst.time - 1000, burst.time)

        self.bursts = [burst for burst in self.bursts if burst.time <= self.now + 1 or stands(burst)]


def _line(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def wishes(calls: str) -> list[tuple[int, int]]:
    """Cost and patience of each of many calls, from what their script is told: how many, cost and patience of each run."""
    numbers = map(int, calls.split())
    runs = zip(numbers, numbers, numbers, strict=True)
    return [(cost, patience) for count, cost, patience in runs for _ in range(count)]


def _nth(permit: str, index: int) -> str:
    return f"{permit}.{index}" if index else permit
