"""Which script is asked for what, and what its reply says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from redisopt.commands import Arg, Command
from redisopt.config import milliseconds
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.layout import Layout, Place
from redisopt.errors import StateLost
from redisopt.identity import process_id

CHUNK = 1000
"""Payloads that are read in one script call."""


class Placed(NamedTuple):
    """Where a call went.

    Attributes:
        status: "pending", "leading" or "dropped".
        window: its id.
        number: of the call in it, from 1; 0 where it was dropped.
        due_after: seconds until the window is due.
    """

    status: str
    window: str
    number: int
    due_after: float


class Claimed(NamedTuple):
    """A run that was taken, and where it stands."""

    place: Place
    window: str
    fence: str
    attempt: int
    calls: int
    edge: str
    collect: str
    waited: float
    payload: bytes
    collected: int


class Fate(NamedTuple):
    """What became of a window: "done", "failed", "cancelled", "pending", "running" or "unknown"."""

    status: str
    value: bytes = b""
    error: str = ""
    calls: int = 0
    edge: str = ""
    attempts: int = 0
    by: str = ""
    due_after: float = 0.0


class Asking:
    """The script calls of one debouncer."""

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
        self._claims = [(lease, c.attempts, once, *self._ends, number) for number in range(partitions)]
        self._finishes = [(*self._ends, number) for number in range(partitions)]

    # --- calls

    def submit(self, place: Place, payload: bytes, call_id: str, wait: float) -> Command[Placed]:
        """Put a call into its window."""
        tag = place.tag
        keys = (f"{tag}lanes", f"{tag}state", f"{tag}due", place.window, f"{place.window}:items")
        return Command(
            "debounce_submit", keys, (place.member, call_id, payload), read_placed, self._submit(place, wait), once=True
        )

    def _submit(self, place: Place, wait: float) -> tuple[Arg, ...]:
        constants = self._submits.get((place.partition, wait))
        if constants is None:
            if len(self._submits) >= CHUNK:
                self._submits.clear()
            options = self.config.options_with(wait)
            constants = (milliseconds(wait), *self._terms, options, self.layout.channel, place.partition)
            self._submits[place.partition, wait] = constants
        return constants

    def result(self, place: Place, window: str) -> Command[Fate]:
        """Ask what became of a window."""
        done = f"{place.tag}done:{window}"
        keys = (f"{place.tag}state", place.window, done, f"{done}:waiters")
        return Command("debounce_result", keys, (window, process_id()), read_fate)

    # --- runs

    def claim(self, partition: int, limit: int, executor: str) -> Command[tuple[float | None, list[Claimed]]]:
        """Take what is due, and the seconds until there is more."""
        tag = self.layout.tags[partition]
        keys = (f"{tag}lanes", f"{tag}state", f"{tag}due", f"{tag}leases")

        def read(reply: Any) -> tuple[float | None, list[Claimed]]:
            return (None if reply[0] < 0 else reply[0] / 1000), [self._read_claimed(row) for row in reply[1]]

        return Command("debounce_claim", keys, (limit, executor), read, self._claims[partition], once=True)

    def _read_claimed(self, row: Sequence[Any]) -> Claimed:
        member, window, fence, attempt, calls, edge, collect, waited, payload, collected = row
        # The key itself, since whoever encoded it escaped the escape as well.
        place = self.layout.place(unquote(text(member)))
        return Claimed(
            place,
            text(window),
            text(fence),
            int(attempt),
            int(calls),
            text(edge),
            text(collect),
            int(waited) / 1000,
            as_bytes(payload),
            int(collected),
        )

    def items(self, run: Claimed, start: int) -> Command[list[bytes]]:
        """The next payloads of a run."""
        keys = (run.place.window, f"{run.place.window}:run")
        return Command(
            "debounce_items", keys, (run.fence, start, CHUNK), lambda reply: [as_bytes(each) for each in reply]
        )

    def beat(self, partition: int, runs: Sequence[tuple[Place, str]]) -> Command[list[bool]]:
        """Renew the leases of runs."""
        tag = self.layout.tags[partition]
        keys = (f"{tag}state", f"{tag}leases", *(place.window for place, _ in runs))
        pairs = [part for place, fence in runs for part in (place.member, fence)]
        lease = milliseconds(self.config.lease_ttl)
        return Command("debounce_beat", keys, (lease, *pairs), lambda reply: [each == "1" for each in text(reply)])

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
        args = (run.place.member, run.fence, outcome, value, error, retry_ms)
        return Command("debounce_finish", keys, args, bool, self._finishes[run.place.partition])


def text(value: Any) -> str:
    """A reply as text, whether or not the client decodes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def as_bytes(value: Any) -> bytes:
    """A reply as bytes, likewise."""
    return value.encode() if isinstance(value, str) else bytes(value)


def read_placed(reply: Any) -> Placed:
    """Where a call went.

    Raises:
        StateLost: the script answered anything else.
    """
    try:
        status, window, number, left = text(reply).split(" ")
        return Placed(status, window, int(number), int(left) / 1000)
    except ValueError:
        raise StateLost(f"a script answered {reply!r}: has another process this one's lane?") from None


def read_fate(reply: Any) -> Fate:
    """What became of a window."""
    status = text(reply[0])
    if status == "pending":
        return Fate(status, due_after=int(reply[1]) / 1000)
    if len(reply) == 1:
        return Fate(status)
    _, value, error, calls, edge, attempts, by = reply
    return Fate(status, as_bytes(value), text(error), int(calls), text(edge), int(attempts), text(by))
