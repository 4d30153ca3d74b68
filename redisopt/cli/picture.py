"""What there is to show of the demo at one time, in words and rows; how it is shown is the view's business."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from redisopt.cli.fleet import DEAD, Worker
from redisopt.throttle.rate import Rate


@dataclass(frozen=True, slots=True)
class Picture:
    """The demo at one time.

    Attributes:
        phase: what it is doing: "starting", "running" or "ended".
        elapsed: seconds since the workers were told to start; 0 before.
        seconds: how long they are to run.
        workers: each worker as it stands.
        highest: for each rate, the highest count found in any trailing period.
        granted: permits of the whole fleet.
        in_time: of these, how many came within `elapsed` seconds of the first by the server's time. A busy machine grants
            some a little later: those are not to be held against what the limits allow in `elapsed`.
        per_second: permits granted in the last second.
        in_line: callers that wait, as the limiter counts them; None when it was not asked.
    """

    phase: str
    elapsed: float
    seconds: float
    workers: Sequence[Worker]
    highest: Sequence[tuple[Rate, int]]
    granted: int
    in_time: int
    per_second: int
    in_line: int | None = None

    @property
    def exceeded(self) -> bool:
        """Whether a limit was."""
        return any(count > rate.limit for rate, count in self.highest)

    @property
    def allowed(self) -> int:
        """The most that the limits allow in `elapsed` seconds: the tightest one at the start of each of its periods."""
        elapsed_ms = max(1, round(self.elapsed * 1000))
        return min(rate.limit * -(-elapsed_ms // rate.period_ms) for rate, _ in self.highest)

    @property
    def mean_wait(self) -> float:
        """Seconds that a permit was waited for."""
        return sum(worker.waited for worker in self.workers) / max(1, self.granted)

    def limits(self) -> list[tuple[bool, str]]:
        """For each rate: whether it held, and the count in words."""
        verdicts = []
        for rate, count in self.highest:
            held = count <= rate.limit
            verdict = f"{count:,} of {rate.limit:,}: {'never exceeded' if held else 'EXCEEDED'}"
            verdicts.append((held, f"highest count in any trailing {period_words(rate)}: {verdict}"))
        return verdicts

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows of the table of workers, the whole fleet in the last row."""
        answers = any(worker.answers for worker in self.workers)
        head = ["worker", "pid", "granted", "share", "mean wait", "state"] + (["answers"] if answers else [])
        rows = []
        sum_of_answers: Counter[str] = Counter()
        for worker in self.workers:
            state = f"{worker.state}: {worker.note}" if worker.state == DEAD else worker.state
            share = f"{worker.granted / max(1, self.granted):.1%}"
            wait = f"{worker.waited / max(1, worker.granted):.3f} s"
            row = [str(worker.number), str(worker.pid), f"{worker.granted:,}", share, wait, state]
            rows.append(row + ([_counts(worker.answers)] if answers else []))
            sum_of_answers += worker.answers
        fleet_rate = self._average() if self.phase == "ended" else f"{self.per_second:,}/s now"
        fleet = ["fleet", "", f"{self.granted:,}", "", f"{self.mean_wait:.3f} s", fleet_rate]
        rows.append(fleet + ([_counts(sum_of_answers)] if answers else []))
        return head, rows

    def _average(self) -> str:
        """Permits per second over the whole run; nothing when an unfinished period would make it look like too many."""
        average = self.granted / max(0.001, self.elapsed)
        sustained = min(rate.limit / rate.period for rate, _ in self.highest)
        return f"{average:,.1f}/s on average" if average <= sustained * 1.001 else ""


def period_words(rate: Rate) -> str:
    """The period of a rate: "1 s", "10 s", "500 ms", "1 h"."""
    number, unit = re.findall(r"(\d*)([a-z]+)", str(rate).partition("/")[2])[0]
    return f"{number or 1} {unit}"


def _counts(answers: Counter[str]) -> str:
    return ", ".join(f"{answer} x {count:,}" for answer, count in answers.most_common())
