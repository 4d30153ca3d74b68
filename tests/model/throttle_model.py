"""The throttle as plain arithmetic: what the scripts in `lua/throttle_*.lua` must answer, and what must stand in Redis.

A log is a list of uses that is kept for ever, and every question is a sum over all of it. There are no cursors, no open
slot, no passed or dropped uses and no fast path: those are the scripts' ways of being quick, and have to come to the same.
Times are whole milliseconds: `server_ms` is what the server's clock says, everything else is the limiter's own time.

Where a script is free, the model says what is allowed and not what will be: a use that is over may have been dropped or
not, so a refund of it may find something or nothing, and a longer log that starts from a shorter one may get it or not.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

LANE_MEMORY_MS = 60_000
HOLES_LOOKED_AT = 16
LOG_ONLY = -1


@dataclass(frozen=True)
class LogTerms:
    """One log as a process declares it; a limit of LOG_ONLY is that of a log kept for processes with another config."""

    period: int
    precision: int
    limit: int

    def slot(self, time: int) -> int:
        """The end of the slot that `time` lies in."""
        return -(-time // self.precision) * self.precision


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
    def longest(self) -> int:
        """The longest period."""
        return max(log.period for log in self.logs)

    @property
    def periods(self) -> str:
        """The periods as the scripts write them."""
        return " ".join(str(log.period) for log in self.logs)


@dataclass
class Use:
    """A cost that counts from its time to the end of its slot and a period more; without a permit if it stays for good."""

    slot: int
    cost: int
    time: int
    permit: str


@dataclass
class Log:
    """All uses of one period. `line_until` is the time until which uses were let go for the line's sake."""

    period: int
    uses: list[Use] = field(default_factory=list)
    line_until: int = 0

    def used(self, time: int) -> int:
        """The cost that counts for whoever is served at `time`: all uses and reservations that are not over by then."""
        time = max(time, self.line_until)
        return sum(use.cost for use in self.uses if use.slot + self.period > time)

    @property
    def newest(self) -> int:
        """The end of the newest slot, 0 for none."""
        return max((use.slot for use in self.uses if use.cost), default=0)

    def add(self, slot: int, cost: int, time: int, permit: str = "") -> None:
        """Log a use; slots never go back."""
        self.uses.append(Use(max(slot, self.newest), cost, time, permit))

    def knows(self, permit: str) -> bool:
        """Whether the use of a permit was ever logged here."""
        return any(use.permit == permit for use in self.uses)

    def earliest_fit(self, cost: int, limit: int, start: int) -> int:
        """The earliest time from `start` on at which `cost` more fits into `limit`."""
        candidates = {start} | {use.slot + self.period for use in self.uses if use.slot + self.period > start}
        return min(time for time in candidates if self.used(time) + cost <= limit)

    def erase(self, time: int, cost: int) -> int:
        """Take a cost out of the first slot that has as much and does not end before `time`, or nothing.

        The use stands there or in a later slot, which then counts on for the other: longer than it must, never too short.
        """
        slots = [slot for slot, there in self.counting(time).items() if slot >= time and there >= cost]
        if not slots:
            return 0
        left = cost
        for use in self.uses:
            if use.slot == min(slots):
                taken = min(use.cost, left)
                use.cost -= taken
                left -= taken
        return cost

    def counting(self, now: int) -> dict[int, int]:
        """The cost of each slot that counts `now`."""
        slots: dict[int, int] = {}
        for use in self.uses:
            if use.cost and use.slot + self.period > now:
                slots[use.slot] = slots.get(use.slot, 0) + use.cost
        return slots


@dataclass
class Hole:
    """A place in the line that was given up, and is still logged."""

    time: int
    id: str
    cost: int

    @property
    def rank(self) -> tuple[int, bytes]:
        """The order in which holes are looked at: that of a sorted set."""
        return self.time, self.member.encode()

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
        return f"{self._basis()} | {_line(self.wait, self.queue, self.reason, self.cooling, *self.reset)}"

    def _basis(self) -> str:
        return _line(int(self.granted), self.time, self.cost, *self.used)

    def admits(self, reply: str) -> bool:
        """Whether a script may say so."""
        return reply == str(self) or (self.short and reply == self._basis())


@dataclass(frozen=True)
class Text:
    """A reply of one word or a list of periods."""

    text: str

    def __str__(self) -> str:
        return self.text

    def admits(self, reply: str) -> bool:
        """Whether a script may say so."""
        return reply == self.text


Reply = Answer | Text
STALE, UNDONE = Text("stale"), Text("undone")


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


@dataclass(frozen=True)
class Seed:
    """What a new log may start with: the cost that each slot must have, and all uses that it may have, newest first."""

    least: dict[int, int]
    uses: list[Use]

    def chosen(self, slots: dict[int, int]) -> list[Use]:
        """The uses that make up these slots: of each the newest. None other can be missing than those that were over."""
        left = {slot: max(cost, self.least.get(slot, 0)) for slot, cost in slots.items()}
        chosen = []
        for use in self.uses:
            if use.cost <= left.setdefault(use.slot, 0):
                left[use.slot] -= use.cost
                chosen.append(use)
        return chosen


class ThrottleModel:
    """One limiter. Every method is one script call.

    Attributes:
        now: the limiter's time of the latest call.
        wrote: whether that call may have changed anything.
        logged: whether it logged a use.
        ahead: by how much the limiter's time was ahead of the server's.
    """

    def __init__(self) -> None:
        self.now = 0
        self.ahead = 0
        self.wrote = self.logged = False
        self.forget()

    def forget(self) -> None:
        """Start anew: the keys were deleted, or outlived their time."""
        self.seen = 0
        self.offset = 0
        self.on_record: tuple[int, ...] = ()
        self.logs: dict[int, Log] = {}
        self.since = 0
        self.last = 0
        self.bursts: list[Burst] = []
        self.waiting: dict[str, int] = {}
        self.holes: list[Hole] = []
        self.lanes: dict[str, Memory] = {}
        self.claims: dict[int, int] = {}

    def lose(self, part: str) -> None:
        """A key outlived its time. What was in it is over, unless the clock is set back after that and before a write."""
        if part == "state":
            self.forget()
        elif part == "waiting":
            self.waiting = {}
        elif part == "holes":
            self.holes = []
        elif log := self.logs.get(int(part.removeprefix("log:"))):
            log.uses = [use for use in log.uses if use.slot == log.newest]

    # --- the scripts

    def acquire(
        self, terms: Terms, server_ms: int, lane: str, number: int, permit: str, cost: int, least: int, patience: int
    ) -> Reply:
        """throttle_acquire."""
        self._look_at_clock(server_ms)
        if known := self._recall(lane, number):
            return known
        if unregistered := self._unregistered(terms):
            return unregistered
        self._open(terms)
        if self.is_untidy():
            self.tidy(terms)
        if patience and (hole := self._take_hole(terms, cost, patience)):
            self.waiting[permit] = hole.time
            for log_of_hole in self.logs.values():
                if log_of_hole.knows(hole.id):
                    log_of_hole.uses.append(Use(hole.time, 0, hole.time, permit))
            return self._remember(lane, number, self._grant(terms, hole.time, cost, hole.time - self.now, self.now, 0))

        if least < cost:
            free = min(log.limit - self._log(log).used(self.now) for log in terms.logs if log.limit != LOG_ONLY)
            cost = max(least, min(cost, free))
        place, reason = self._place(terms, cost)
        if 0 <= patience < place - self.now:
            return self._refusal(terms, place, 0, reason)

        time = place if place > self.now else self.now + 1
        self.logged = True
        for log in terms.logs:
            self._log(log).add(log.slot(time), cost, time, permit)
            if terms.burst and log.period == 1000 and self._log(log).used(place) >= terms.burst:
                self.bursts.append(Burst(time, time + terms.cooldown))
        if place > self.now:
            self.last = time
            self.waiting[permit] = time
            for log in terms.logs:
                self._log(log).line_until = time
        self._save(terms)
        return self._remember(lane, number, self._grant(terms, time, cost, place - self.now, place, reason))

    def charge(self, terms: Terms, server_ms: int, lane: str, number: int, cost: int) -> Reply:
        """throttle_charge."""
        self._look_at_clock(server_ms)
        if known := self._recall(lane, number):
            return known
        if unregistered := self._unregistered(terms):
            return unregistered
        self._open(terms)
        self._erase_overdue_holes(terms)
        self.logged = True
        for log in terms.logs:
            self._log(log).add(log.slot(self.now + 1), cost, self.now + 1)
        self._save(terms)
        return self._remember(lane, number, Text(str(cost)))

    def refund(self, terms: Terms, server_ms: int, lane: str, number: int, permit: str, time: int, cost: int) -> Reply:
        """throttle_refund."""
        self._look_at_clock(server_ms)
        if known := self._recall(lane, number):
            return known
        if unregistered := self._unregistered(terms):
            return unregistered
        self._open(terms)
        self._erase_overdue_holes(terms)
        returned = self._give_back(terms, permit, time, cost)
        self._save(terms)
        return self._remember(lane, number, Text(str(returned)))

    def undo(self, terms: Terms, server_ms: int, lane: str, number: int, permit: str) -> Reply:
        """throttle_undo."""
        self._look_at_clock(server_ms)
        known = self._recall(lane, number)
        if known == STALE:
            return Text("0")
        granted = isinstance(known, Answer)
        if unregistered := self._unregistered(terms):
            if granted:
                return unregistered
            self._remember(lane, number, UNDONE)  # such a call will not be granted either
            return Text("0")
        self._open(terms)
        self._erase_overdue_holes(terms)
        returned = 0
        if isinstance(known, Answer):
            returned = self._give_back(terms, permit, known.time, known.cost)
        self._save(terms)
        self._remember(lane, number, UNDONE)
        return Text(str(returned))

    def peek(self, terms: Terms, server_ms: int, cost: int) -> Reply:
        """throttle_peek."""
        self._look_at_clock(server_ms)
        if unregistered := self._unregistered(terms):
            return unregistered
        as_if = copy.deepcopy(self)
        as_if._open(terms)
        as_if._erase_overdue_holes(terms)
        place, reason = as_if._place(terms, cost)
        return as_if._refusal(terms, place, as_if._granted_last_second(terms), reason)

    def reset(self, terms: Terms, server_ms: int) -> Reply | None:
        """throttle_reset. None when everything is to be deleted."""
        self._look_at_clock(server_ms)
        if unregistered := self._unregistered(terms):
            return unregistered
        self.forget()
        self.wrote = True
        return None

    def register(
        self, own: tuple[LogTerms, ...], others: tuple[int, ...], server_ms: int
    ) -> tuple[Reply, dict[int, Seed]]:
        """throttle_register. Also returns what each new log may start with: tell `adopt` what it did."""
        self._look_at_clock(server_ms)
        own_periods = [log.period for log in own]
        self.wrote = True
        if not set(self.on_record) <= {*own_periods, *others}:
            return Text(f"register {' '.join(map(str, self.on_record))}"), {}
        seeds = {log.period: self._seed(log) for log in own if log.period not in self.on_record}
        kept = set(own_periods)
        for period in self.on_record:
            if period in own_periods:
                continue
            claimed = self.claims.setdefault(period, self.now)
            if claimed + period + 60_000 >= self.now:
                kept.add(period)
            else:
                del self.claims[period], self.logs[period]
        for period in own_periods:
            self.claims[period] = self.now
            self.logs.setdefault(period, Log(period))
        self.on_record = tuple(sorted(kept))
        self.seen, self.offset = self.now + 1, self.ahead
        return Text(" ".join(map(str, self.on_record))), seeds

    def adopt(self, period: int, seed: Seed, slots: dict[int, int]) -> None:
        """Take over what a new log started with."""
        self.logs[period].uses = seed.chosen(slots)

    def is_untidy(self) -> bool:
        """Whether a call finds something to write down: that the clock was set back, that a hole is overdue."""
        return self.ahead > self.offset or any(hole.time <= self.now for hole in self.holes)

    def tidy(self, terms: Terms) -> None:
        """Write it down. Any call may do so, also one that otherwise only reads."""
        self._erase_overdue_holes(terms)
        self._save(terms)

    # --- what they have in common

    def _look_at_clock(self, server_ms: int) -> None:
        """A limiter's time is the server's and an offset, which grows when the server's clock is set back."""
        self.now = max(server_ms + self.offset, self.seen - 1)
        self.ahead = self.now - server_ms
        self.wrote = self.logged = False

    def _save(self, terms: Terms) -> None:
        self.wrote = True
        self.seen = self.now + 1
        self.offset = self.ahead
        if any(log.limit == LOG_ONLY for log in terms.logs):
            for log in terms.logs:
                if log.limit != LOG_ONLY and log.period in self.on_record:
                    self.claims[log.period] = self.now

    def _recall(self, lane: str, number: int) -> Reply | None:
        memory = self.lanes.get(lane)
        if memory is None or number > memory.number:
            return None
        return memory.reply if number == memory.number else STALE

    def _remember(self, lane: str, number: int, reply: Reply) -> Reply:
        self.wrote = True
        self.lanes[lane] = Memory(number, self.now, reply)
        return reply

    def _unregistered(self, terms: Terms) -> Reply | None:
        if self.on_record and self.on_record != tuple(log.period for log in terms.logs):
            return Text(f"register {' '.join(map(str, self.on_record))}")
        return None

    def _open(self, terms: Terms) -> None:
        if not self.on_record:
            self.since = self.now + 1
            self.on_record = tuple(log.period for log in terms.logs)
            self.logs = {period: Log(period) for period in self.on_record}

    def _log(self, log: LogTerms) -> Log:
        return self.logs[log.period]

    @property
    def cooling(self) -> int:
        """When the latest cooldown ends, also of a burst yet to come."""
        return max((burst.end for burst in self.bursts), default=0)

    def _ms_of_cooldown(self, terms: Terms) -> int:
        """What is left of the cooldown that is on."""
        begun = [burst.end for burst in self.bursts if terms.burst and burst.time <= self.now + 1]
        return max(0, max(begun, default=0) - self.now)

    @property
    def queue(self) -> dict[str, int]:
        """Who waits now, and until when."""
        return {permit: time for permit, time in self.waiting.items() if time > self.now}

    def _place(self, terms: Terms, cost: int) -> tuple[int, int | None]:
        """The earliest time for `cost` after all who came before, and what it waits for."""
        time, reason = self.now, None
        if self.last > time:
            time, reason = self.last, 0
        if terms.burst and self.cooling > time:
            time, reason = self.cooling, -1
        for index, log in enumerate(terms.logs, start=1):
            if log.limit != LOG_ONLY:
                fits = self._log(log).earliest_fit(cost, log.limit, time)
                if fits > time:
                    time, reason = fits, index
        return time, reason

    def _grant(self, terms: Terms, time: int, cost: int, wait: int, counted_at: int, reason: int | None) -> Answer:
        newest = [self._log(log).newest for log in terms.logs]
        return Answer(
            granted=True,
            time=time,
            cost=cost,
            used=tuple(self._log(log).used(counted_at) for log in terms.logs),
            wait=wait,
            queue=len(self.queue) if wait else 0,
            reason=reason or 0,
            cooling=self._ms_of_cooldown(terms),
            reset=tuple(slot + log.period - self.now for log, slot in zip(terms.logs, newest, strict=True)),
            # Without the details a client takes it that nobody cools and that the slot of this time is the newest.
            short=wait == 0 and self._ms_of_cooldown(terms) == 0 and newest == [log.slot(time) for log in terms.logs],
        )

    def _refusal(self, terms: Terms, place: int, cost: int, reason: int | None) -> Answer:
        used = tuple(self._log(log).used(self.now) for log in terms.logs)
        return Answer(
            granted=False,
            time=place,
            cost=cost,
            used=used,
            wait=place - self.now,
            queue=len(self.queue),
            reason=reason or 0,
            cooling=self._ms_of_cooldown(terms),
            reset=tuple(
                self._log(log).newest + log.period - self.now if count else 0
                for log, count in zip(terms.logs, used, strict=True)
            ),
        )

    def _granted_last_second(self, terms: Terms) -> int:
        chosen = next((log for log in terms.logs if log.period >= 1000), terms.logs[-1])
        span = min(chosen.period, 1000)
        uses = self._log(chosen).uses
        recent = [use.cost for use in uses if self.now - span < use.slot <= self.now + chosen.precision]
        return sum(recent) * 1000 // span

    # --- the line

    def _take_hole(self, terms: Terms, cost: int, patience: int) -> Hole | None:
        for hole in sorted(self.holes, key=lambda hole: hole.rank)[:HOLES_LOOKED_AT]:
            in_time = patience < 0 or hole.time - self.now <= patience
            if cost <= hole.cost and in_time and self._allowed(terms, hole.time):
                hole.cost -= cost
                if not hole.cost:
                    self.holes.remove(hole)
                return hole
        return None

    def _allowed(self, terms: Terms, time: int) -> bool:
        """Whether the period until a hole, as it is logged, is within the limits: the hole may be of another config."""
        for log in terms.logs:
            slot = max(log.precision, log.period // 1000)  # of a process that keeps the log for others
            until_then = [cost for end, cost in self._log(log).counting(time).items() if end < time + slot]
            if log.limit != LOG_ONLY and sum(until_then) > log.limit:
                return False
        return True

    def _erase_overdue_holes(self, terms: Terms) -> bool:
        overdue = [hole for hole in self.holes if hole.time <= self.now]
        for hole in overdue:
            self.holes.remove(hole)
            self._erase(terms, hole.id, hole.time, hole.cost)
        return bool(overdue)

    def _erase(self, terms: Terms, permit: str, time: int, cost: int) -> int:
        """Take a use out of every log that knows it and in which it is not over. Returns what was taken out."""
        logs = [self.logs[log.period] for log in terms.logs if log.period in self.logs]
        known = [log for log in logs if log.knows(permit) and time + log.period > self.now]
        return max([log.erase(time, cost) for log in known], default=0)

    def _give_back(self, terms: Terms, permit: str, time: int, cost: int) -> int:
        if time <= self.now or (permit not in self.waiting and time == self.now + 1):
            return self._erase(terms, permit, time, cost)
        if permit not in self.waiting:
            return 0  # a place that was given up or forgotten
        del self.waiting[permit]
        if time < self.last:
            self.holes.append(Hole(time, permit, cost))
            return cost

        self._erase(terms, permit, time, cost)
        self.last = max(self.queue.values(), default=0)
        for hole in [hole for hole in self.holes if hole.time > self.last]:
            self.holes.remove(hole)
            self._erase(terms, hole.id, hole.time, hole.cost)
        for log in self.logs.values():
            log.line_until = min(log.line_until, max(self.last, self.now))
        for terms_of_log in terms.logs:
            # What was charged stands at the end of the line that was: it comes back to where the line ends now.
            end = terms_of_log.slot(max(self.last, self.now + 1))
            for use in self._log(terms_of_log).uses:
                use.slot = min(use.slot, end)
        if terms.burst and self.bursts and self.bursts[-1].time > self.now + 1:
            self._call_off_bursts(terms)
        return cost

    def _call_off_bursts(self, terms: Terms) -> None:
        """Of the bursts yet to come only those stand that the places still given come to."""
        slots = self.logs[1000].counting(self.now)

        def stands(burst: Burst) -> bool:
            second = [cost for slot, cost in slots.items() if burst.time - 1000 < slot <= burst.time]
            return burst.time <= self.last and sum(second) >= terms.burst

        self.bursts = [burst for burst in self.bursts if burst.time <= self.now + 1 or stands(burst)]

    # --- registering

    def _seed(self, new: LogTerms) -> Seed:
        """A new log starts from the shortest period that is longer, else from the longest.

        Of older uses than its source's period it has some and lacks others: none of those can be refunded in it.
        """
        if not self.on_record:
            return Seed({}, [])
        longer = [period for period in self.on_record if period >= new.period]
        source = self.logs[longer[0] if longer else self.on_record[-1]]
        seed = Seed({}, [])
        for use in sorted(source.uses, key=lambda use: -use.slot):
            slot = new.slot(use.slot)
            counts = use.slot + source.period > self.now
            if use.slot + new.period > self.now and (use.cost or counts):
                permit = use.permit if use.time + source.period > self.now else ""
                seed.uses.append(Use(slot, use.cost, use.time, permit))
                if counts:
                    seed.least[slot] = seed.least.get(slot, 0) + use.cost
        return seed


def _line(*numbers: int) -> str:
    return " ".join(map(str, numbers))
