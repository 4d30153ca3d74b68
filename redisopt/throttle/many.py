"""Many calls as one, as plans: what the tasks of a process ask of one limiter and key at the same time.

One script call decides on each of them in the order in which they came (see `throttle_acquire_many`), so that a process of
many tasks costs its server, and itself, as much as one of few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import inf
from typing import Any, Generic, TypeVar

from redisopt import events
from redisopt.background import now
from redisopt.commands import Plan
from redisopt.errors import CostExceedsLimit
from redisopt.identity import next_permit_id
from redisopt.throttle.asking import Asking
from redisopt.throttle.deciding import Deciding
from redisopt.throttle.decision import Decision
from redisopt.throttle.grant import Grant
from redisopt.throttle.layout import Elsewhere, Layout, Verdict, elsewhere
from redisopt.throttle.line import Place
from redisopt.throttle.returning import Returning

G = TypeVar("G", bound=Grant)

MAX_CALLS = 500
"""Calls that one script call decides."""

Wish = tuple[int, int]
"""What one call wants: its cost, and its patience in ms, as a script is told."""

ONE_NOW: Wish = (1, 0)
"""What most calls want; those that want the same are told apart from others faster when it is one object."""


@dataclass(slots=True)
class Outcomes:
    """What became of each call.

    Attributes:
        permit: id of the first call; the others' are that and ``.1``, ``.2`` and so on.
        verdict: how the limits stand after all of them.
        each: of each call whether it is granted, the time (ms), the wait (ms) and what it waits for; None where all are
            granted now, at the verdict's time.
        shared: the decision on all of them but for their permits, where it is one: all are granted now, and nobody is to be
            told.
        asked: by this process's monotonic clock, when they were sent at the earliest.
    """

    permit: str
    verdict: Verdict
    each: list[tuple[bool, int, int, int]] | None
    asked: float = 0.0
    shared: Decision[Any] | None = None

    def permit_of(self, index: int) -> str:
        """The id of a call's permit."""
        return f"{self.permit}.{index}" if index else self.permit

    def verdict_of(self, index: int, wish: Wish) -> Verdict:
        """The verdict on one call; the limits in it are as they stand after all of them."""
        verdict = replace(self.verdict, granted=True, cost=wish[0], asked=self.asked)
        if self.each is not None:
            verdict.granted, verdict.time_ms, verdict.wait_ms, verdict.waits_for = self.each[index]
            if not verdict.granted:
                verdict.cost = 0
        return verdict


@dataclass(frozen=True, slots=True)
class Solo:
    """The calls have to be made one by one."""


class Together(Generic[G]):
    """Decides for one limiter on the calls that travel together."""

    def __init__(self, asking: Asking, deciding: Deciding[G], returning: Returning) -> None:
        self._asking = asking
        self._deciding = deciding
        self._returning = returning

    def acquire(self, key: str, wishes: Sequence[Wish]) -> Plan[Outcomes | Solo]:
        """Decide on each of `wishes`, at most `MAX_CALLS`, in one script call."""
        asking = self._asking
        permit = next_permit_id()
        runs = [(len(list(run)), *wish) for wish, run in groupby(wishes)]
        calls = " ".join(f"{count} {cost} {patience}" for count, cost, patience in runs)
        total = sum(count * cost for count, cost, _ in runs)
        args = (permit, total, calls, 0, 0, 0, asking.queue)

        def parse(layout: Layout) -> Callable[[Any], Outcomes | Solo | Elsewhere]:
            return partial(_read, layout, permit)

        most = max(cost for _, cost, _ in runs)
        if most > asking.max_cost:
            return Solo()  # the fleet was told other limits since: each is to learn by itself whether it can be granted
        outcomes: Plan[Outcomes | Solo] = asking.ask(
            "throttle_acquire_many", key, args, parse, cost=most, once=True, undo="throttle_undo_many"
        )
        asked = now()
        try:
            found = yield from outcomes
        except CostExceedsLimit:  # so it has been told just now
            return Solo()
        if isinstance(found, Outcomes):
            found.asked = asked
            if found.each is None and not events.listening():
                found.shared = self._deciding.decision(found.verdict, None)
            if found.verdict.conflict:
                asking.note_conflict(found.verdict.conflict)
        return found

    def decided(self, outcomes: Outcomes, index: int, wish: Wish, key: str) -> Decision[G] | None:
        """As `decide`, for the case that most are: there is a `shared` decision. None for every other."""
        shared = outcomes.shared
        if shared is None:
            return None
        permit_id = f"{outcomes.permit}.{index}" if index else outcomes.permit
        return shared.granting(self._deciding.make_permit(permit_id, key, wish[0], outcomes.verdict.time_ms))

    def decide(self, outcomes: Outcomes, index: int, wish: Wish, key: str) -> Plan[Decision[G]]:
        """What `try_acquire` answers to one of many calls."""
        verdict = outcomes.verdict_of(index, wish)
        permit = None
        if verdict.granted:
            permit = self._deciding.permit(outcomes.permit_of(index), key, verdict)
        yield from self._deciding.tell(verdict, permit, wish[0], key)
        return self._deciding.decision(verdict, permit)

    def await_turn(self, outcomes: Outcomes, index: int, wish: Wish, key: str, timeout: float | None) -> Plan[G]:
        """What `acquire` does with the answer to one of many calls."""
        until = outcomes.asked + wish[1] / 1000 if wish[1] >= 0 else inf
        place = Place(outcomes.permit_of(index), key, wish[0], 1, 0, until)
        return (yield from self._deciding.await_turn(place, outcomes.verdict_of(index, wish), timeout))

    def give_up(self, outcomes: Outcomes, index: int, wish: Wish, key: str) -> Plan[None]:
        """Give back what one of many calls was granted, whose caller was cancelled."""
        verdict = outcomes.verdict_of(index, wish)
        if verdict.granted:
            yield from self._returning.abandon(self._deciding.permit(outcomes.permit_of(index), key, verdict))


def _read(layout: Layout, permit: str, reply: Any) -> Outcomes | Solo | Elsewhere:
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    if text == "solo":
        return Solo()
    if not text.startswith(("0 ", "1 ")):
        return elsewhere(text)
    text, mark, other = text.partition("\n!")
    line, _, answers = text.partition("\n")
    verdict = layout.read(line + mark + other)
    assert isinstance(verdict, Verdict)  # noqa: S101 - it begins as one
    return Outcomes(permit, verdict, _each(answers) if answers else None)


def _each(answers: str) -> list[tuple[bool, int, int, int]]:
    numbers = list(map(int, answers.split()))
    each: list[tuple[bool, int, int, int]] = []
    for count, granted, time_ms, wait_ms, reason in zip(*[iter(numbers)] * 5, strict=True):
        each += [(granted == 1, time_ms, wait_ms, reason)] * count
    return each
