"""Which script is asked for what."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from redisopt.commands import Arg, Command
from redisopt.config import milliseconds
from redisopt.debounce.config import MAX_SECONDS, DebounceConfig
from redisopt.debounce.layout import Layout, Place, holds_functions
from redisopt.debounce.outcome import Pending
from redisopt.debounce.replies import (
    Claimed,
    Fate,
    Letter,
    Placed,
    Taken,
    read_claim,
    read_fate,
    read_joined,
    read_letter,
    read_payloads,
    read_pending,
    read_placed,
    read_taken,
)
from redisopt.identity import process_id
from redisopt.replies import text

CHUNK = 1000
"""Payloads that are read in one script call."""

LETTERS = 100
"""Dead letters that are read in one script call."""

KEEP_MS = 60_000
"""How long a window of functions outlives its callers, which ask about it once a second."""

_TERMS_MS = (MAX_SECONDS + 86_400) * 1000  # how long it is known how keys are spread: longer than any wait
_LIVES_MS = 90_000  # how long after it said so a process is thought to live; one that does says so once a minute

GRACE_MS = 250
"""How long each newer process has to come for a window, before the function of an older one runs."""


class Asking:
    """The script calls of one debouncer.

    Attributes:
        layout: where its windows stand.
    """

    def __init__(self, name: str, config: DebounceConfig, partitions: int) -> None:
        self.name = name
        self.config = config
        self.layout = Layout(name, partitions)
        c = config
        self._ends = (milliseconds(c.dead_ttl), milliseconds(c.result_ttl), self.layout.channel)
        self._terms = (
            -1 if c.max_wait is None else milliseconds(c.max_wait),
            int(c.leading),
            int(c.trailing),
            c.word,
            c.max_items or 0,
            c.max_bytes or 0,
        )
        lease, once = milliseconds(c.lease_ttl), int(c.delivery == "at_most_once")
        self._submits: dict[tuple[int, float], tuple[Arg, ...]] = {}
        self._claims = [(lease, c.attempts, once, *self._ends, number, c.max_dead) for number in range(partitions)]
        self._finishes = [(*self._ends, number, 0, c.max_dead) for number in range(partitions)]
        self._joins: dict[float, tuple[Arg, ...]] = {}

    def agree(self, instead: int = 0) -> Command[tuple[int, str]]:
        """Say how keys are spread and run here; the partitions and the options of others, 0 and "" where they are the same."""

        def read(reply: Any) -> tuple[int, str]:
            return int(text(reply[0]) or 0), text(reply[1])

        c = self.config
        args = (self.layout.partitions, c.shared, instead, int(c.on_conflict == "raise"), _TERMS_MS, _LIVES_MS)
        return Command("debounce_agree", (f"{self.layout.tags[0]}terms",), args, read)

    # --- calls

    def submit(self, place: Place, payload: bytes, call_id: str, wait: float) -> Command[Placed]:
        """Put a call into its window."""
        tag = place.tag
        keys = (f"{tag}state", f"{tag}due", place.window, f"{place.window}:items")
        return Command(
            "debounce_submit", keys, (place.member, call_id, payload), read_placed, self._submit(place, wait), once=True
        )

    def _submit(self, place: Place, wait: float) -> tuple[Arg, ...]:
        constants = self._submits.get((place.partition, wait))
        if constants is None:
            if len(self._submits) >= CHUNK:
                self._submits.clear()
            options = self.config.options_with(wait)
            bound = self.config.max_queue or 0
            constants = (
                milliseconds(wait),
                *self._terms,
                options,
                self.layout.channel,
                place.partition,
                bound,
                self._ends[1],
            )
            self._submits[place.partition, wait] = constants
        return constants

    def result(self, place: Place, window: str) -> Command[Fate]:
        """Ask what became of a window."""
        done = f"{place.tag}done:{window}"
        keys = (f"{place.tag}state", place.window, done, f"{done}:waiters")
        return Command("debounce_result", keys, (window, process_id()), read_fate)

    # --- runs

    def claim(
        self, partition: int, limit: int, executor: str, lane: str, number: int
    ) -> Command[tuple[float | None, list[Claimed]]]:
        """Take what is due, and the seconds until there is more. One of the same number in its lane is answered alike."""
        tag = self.layout.tags[partition]
        keys = (f"{tag}state", f"{tag}due", f"{tag}leases")

        read = functools.partial(read_claim, self.layout)
        return Command("debounce_claim", keys, (lane, number, limit, executor), read, self._claims[partition])

    def items(self, run: Claimed, start: int) -> Command[list[bytes]]:
        """The next payloads of a run."""
        keys = (run.place.window, f"{run.place.window}:run")
        return Command("debounce_items", keys, (run.fence, start, CHUNK), read_payloads)

    def beat(self, tag: str, runs: Sequence[tuple[Place, str]]) -> Command[list[bool]]:
        """Renew the leases of runs."""
        keys = (f"{tag}state", f"{tag}leases", *(place.window for place, _ in runs))
        pairs = [part for place, fence in runs for part in (place.member, fence)]
        lease = milliseconds(self.config.lease_ttl)
        keep = KEEP_MS if holds_functions(tag) else 0
        return Command(
            "debounce_beat", keys, (lease, keep, *pairs), lambda reply: [each == "1" for each in text(reply)]
        )

    def finish(
        self, run: Claimed, outcome: str, value: bytes = b"", error: str = "", retry: float | None = None
    ) -> Command[bool]:
        """A run is done, has failed, or is given back."""
        tag, window = run.place.tag, run.place.window
        done, letter = f"{tag}done:{run.window}", f"{tag}dead:{run.window}"
        keys = (
            *(f"{tag}{part}" for part in ("state", "due", "leases")),
            window,
            f"{window}:run",
            done,
            f"{done}:waiters",
            f"{tag}dead",
            letter,
            f"{letter}:items",
        )
        retry_ms = -1 if retry is None else milliseconds(retry)
        ends = self._finishes[run.place.partition]
        if holds_functions(tag):
            ends = (0, *self._ends[1:], run.place.partition, KEEP_MS, 0)  # of a function there is no dead letter
        args = (run.place.member, run.fence, outcome, value, error, retry_ms)
        return Command("debounce_finish", keys, args, bool, ends)

    # --- of callers that hold functions

    def join(self, place: Place, holder: str, attempt: str, wait: float) -> Command[tuple[Placed, str]]:
        """Put a call into its window; and the fence of the run, where its function is to run now."""
        constants = self._joins.get(wait)
        if constants is None:
            if len(self._joins) >= CHUNK:
                self._joins.clear()
            max_wait, leading, trailing, _, max_items, _ = self._terms
            lease = milliseconds(self.config.lease_ttl)
            options = self.config.options_with(wait)
            constants = (
                milliseconds(wait),
                max_wait,
                leading,
                trailing,
                max_items,
                options,
                lease,
                KEEP_MS,
                self._ends[1],
            )
            self._joins[wait] = constants
        tag = place.tag
        keys = (
            *(f"{tag}{part}" for part in ("state", "due", "leases")),
            place.window,
            f"{place.window}:callers",
        )
        args = (place.member, process_id(), holder, attempt)
        return Command("debounce_join", keys, args, read_joined, constants, once=True, undo="debounce_unjoin")

    def take(self, place: Place, window: str, holder: str, attempt: str) -> Command[Fate | Taken]:
        """Take a window, to run one's function, where it is time and one's turn."""
        tag, done = place.tag, f"{place.tag}done:{window}"
        keys = (
            *(f"{tag}{part}" for part in ("state", "due", "leases")),
            place.window,
            f"{place.window}:callers",
            done,
            f"{done}:waiters",
            f"{place.window}:items",
        )
        c = self.config
        constants = (milliseconds(c.lease_ttl), c.attempts, GRACE_MS, KEEP_MS, milliseconds(c.result_ttl))
        args = (window, place.member, process_id(), holder, attempt)
        return Command("debounce_take", keys, args, read_taken, constants)

    def leave(self, place: Place, holder: str, which: str, attempt: str) -> Command[int]:
        """No caller of the holder waits any more, for one window or ("") for any; and who attempted to take one gave up."""
        keys = (
            *(f"{place.tag}{part}" for part in ("state", "due", "leases")),
            place.window,
            f"{place.window}:callers",
        )
        args = (place.member, holder, which, attempt)
        return Command("debounce_leave", keys, args, int, (KEEP_MS, milliseconds(self.config.result_ttl)))

    # --- looking, and taking a hand

    def cancel(self, place: Place) -> Command[int]:
        """Drop what has not been started."""
        keys = (
            *(f"{place.tag}{part}" for part in ("state", "due", "leases")),
            place.window,
            f"{place.window}:items",
            f"{place.window}:run",
        )
        return Command("debounce_cancel", keys, (place.member, milliseconds(self.config.result_ttl)), int, once=True)

    def flush(self, place: Place) -> Command[tuple[str, int] | None]:
        """Have what is pending run now."""
        tag = place.tag
        functions = int(holds_functions(tag))

        def read(reply: Any) -> tuple[str, int] | None:
            window, _, calls = text(reply).partition(" ")
            return (window, int(calls)) if window else None

        keys = (f"{tag}state", f"{tag}due", place.window)
        return Command("debounce_flush", keys, (place.member, self.layout.channel, place.partition, functions), read)

    def peek(self, place: Place) -> Command[Pending]:
        """How a key stands."""
        return Command("debounce_peek", (f"{place.tag}state", place.window), (), read_pending)

    def metrics(self, tag: str) -> Command[tuple[int, ...]]:
        """How a partition stands."""
        keys = tuple(f"{tag}{part}" for part in ("state", "due", "leases", "dead"))
        return Command("debounce_metrics", keys, (), lambda reply: tuple(map(int, text(reply).split(" "))))

    def dead(self, partition: int, start: int) -> Command[list[Letter]]:
        """The next dead letters."""
        keys = (f"{self.layout.tags[partition]}dead",)
        args = (start, LETTERS)
        return Command("debounce_dead", keys, args, lambda reply: [read_letter(partition, row) for row in reply])

    def letter_items(self, letter: Letter, start: int) -> Command[list[bytes]]:
        """The next payloads of a dead letter."""
        where = f"{self.layout.tags[letter.partition]}dead:{letter.window}"
        return Command("debounce_items", (where, f"{where}:items"), ("", start, CHUNK), read_payloads)

    def replay(self, partition: int, window: str) -> Command[int]:
        """Have a dead letter run again: 1; 0 where there is none, -1 where its key is busy."""
        tag = self.layout.tags[partition]
        keys = tuple(f"{tag}{part}" for part in ("state", "due", "dead"))
        return Command(
            "debounce_replay", keys, (window, self.layout.channel, partition, self.config.word), int, once=True
        )
