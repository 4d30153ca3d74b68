"""What the scripts' replies say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from redisopt.debounce.layout import Layout, Place
from redisopt.debounce.outcome import Pending
from redisopt.errors import StateLost
from redisopt.replies import as_bytes, text


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
    repeats: int = 0
    repeating: float = 0.0


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


class Taken(NamedTuple):
    """A window was taken: the function is to run."""

    fence: str
    attempt: int
    calls: int
    edge: str


class Letter(NamedTuple):
    """A dead letter, as it stands in Redis."""

    partition: int
    window: str
    key: str
    payload: bytes
    collect: str
    attempts: int
    error: str
    died_at: float
    collected: int


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


def read_claim(layout: Layout, reply: Any) -> tuple[float | None, list[Claimed]]:
    """The seconds until there is more to take, None for nothing; and the runs that were taken.

    Raises:
        StateLost: the script answered anything else.
    """
    packed = as_bytes(reply)
    try:
        at = packed.index(b"\n")
        wait_ms = int(packed[:at])
        runs = []
        at += 1
        while at < len(packed):
            start = packed.index(b"\n", at) + 1
            *words, size = packed[at : start - 1].decode().split(" ")
            at = start + int(size)
            runs.append(_claimed(layout, words, packed[start:at]))
    except ValueError:
        raise StateLost(f"a script answered {reply[:100]!r}: has another process this one's lane?") from None
    return (None if wait_ms < 0 else wait_ms / 1000), runs


def _claimed(layout: Layout, words: Sequence[str], payload: bytes) -> Claimed:
    member, window, fence, attempt, calls, edge, collect, waited, collected, repeats, repeating = words
    return Claimed(
        layout.place(unquote(member)),  # whoever encoded the key escaped the escape as well
        window,
        fence,
        int(attempt),
        int(calls),
        edge,
        collect,
        int(waited) / 1000,
        payload,
        int(collected),
        int(repeats),
        int(repeating) / 1000,
    )


def read_fate(reply: Any) -> Fate:
    """What became of a window."""
    status = text(reply[0])
    if status == "pending":
        return Fate(status, due_after=int(reply[1]) / 1000)
    if status == "running":
        return Fate(status, due_after=int(reply[1]) / 1000 if len(reply) > 1 else 1.0)
    if len(reply) == 1:
        return Fate(status)
    _, value, error, calls, edge, attempts, by = reply
    return Fate(status, as_bytes(value), text(error), int(calls), text(edge), int(attempts), text(by))


def read_joined(reply: Any) -> tuple[Placed, str]:
    """Where a call went, and the fence of the run where it is to run now."""
    rest, _, fence = text(reply).rpartition(" ")
    return read_placed(rest), fence


def read_taken(reply: Any) -> Fate | Taken:
    """A window that was taken, or what became of it."""
    if text(reply[0]) != "run":
        return read_fate(reply)
    _, fence, attempt, calls, edge = reply
    return Taken(text(fence), int(attempt), int(calls), text(edge))


def read_payloads(reply: Any) -> list[bytes]:
    """Payloads."""
    return [as_bytes(each) for each in reply]


def read_pending(reply: Any) -> Pending:
    """How a key stands."""
    calls, window, left, running, attempt = text(reply).split(" ")
    return Pending(
        int(calls), "" if window == "-" else window, int(left) / 1000, "" if running == "-" else running, int(attempt)
    )


def read_letter(partition: int, row: Sequence[Any]) -> Letter:
    """A dead letter."""
    window, member, payload, collect, attempts, error, died, collected = row
    key = unquote(text(member))
    return Letter(
        partition,
        text(window),
        key,
        as_bytes(payload),
        text(collect),
        int(attempts),
        text(error),
        int(died) / 1000,
        int(collected),
    )
