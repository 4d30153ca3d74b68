"""Many calls as one, as plans: what the tasks or threads of a process ask of one limiter and key at the same time.

One script call decides on each of them in the order in which they came (see `throttle_acquire_many`), so that a process of
many tasks costs its server, and itself, as much as one of few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from redisopt.background import now
from redisopt.commands import Plan
from redisopt.identity import next_permit_id
from redisopt.throttle.asking import Asking
from redisopt.throttle.decision import Decision
from redisopt.throttle.layout import Elsewhere, Layout, Verdict, elsewhere

MAX_CALLS = 500
"""Calls that one script call decides."""

Wish = tuple[int, int]
"""What one call wants: its cost, and its patience in ms, as a script is told."""


@dataclass(slots=True)
class Outcomes:
    """What became of each call.

    Attributes:
        permit: id of the first call; the others' are that and ``.1``, ``.2`` and so on.
        verdict: how the limits stand after all of them.
        each: of each call whether it is granted, the time (ms), the wait (ms) and what it waits for; None where all are
            granted now, at the verdict's time.
        asked: by this process's monotonic clock, when they were sent at the earliest.
        shared: the decision that all have in common, but for their permits, once it is made.
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


def acquire_many(asking: Asking, key: str, wishes: Sequence[Wish]) -> Plan[Outcomes | Solo]:
    """Decide on each of `wishes`, at most `MAX_CALLS`, in one script call."""
    permit = next_permit_id()
    queue = -1 if asking.config.max_queue is None else asking.config.max_queue
    total = sum(cost for cost, _ in wishes)
    runs = [(len(list(run)), *wish) for wish, run in groupby(wishes)]
    calls = " ".join(f"{count} {cost} {patience}" for count, cost, patience in runs)
    args = (permit, total, calls, 0, 0, 0, queue)

    def parse(layout: Layout) -> Callable[[Any], Outcomes | Solo | Elsewhere]:
        def read(reply: Any) -> Outcomes | Solo | Elsewhere:
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

        return read

    most = max(cost for cost, _ in wishes)
    outcomes: Plan[Outcomes | Solo] = asking.ask(
        "throttle_acquire_many", key, args, parse, cost=most, once=True, undo="throttle_undo_many"
    )
    asked = now()
    found = yield from outcomes
    if isinstance(found, Outcomes):
        found.asked = asked
        if found.verdict.conflict:
            asking.note_conflict(found.verdict.conflict)
    return found


def _each(answers: str) -> list[tuple[bool, int, int, int]]:
    numbers = list(map(int, answers.split()))
    each: list[tuple[bool, int, int, int]] = []
    for count, granted, time_ms, wait_ms, reason in zip(*[iter(numbers)] * 5, strict=True):
        each += [(granted == 1, time_ms, wait_ms, reason)] * count
    return each
