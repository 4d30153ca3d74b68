"""What the scripts of a batcher answer, and how that is read."""

from __future__ import annotations

from typing import Any, NamedTuple

from redisopt.batch import items
from redisopt.batch.items import Item
from redisopt.replies import as_bytes, text


class Full(NamedTuple):
    """A script's answer that only `room` more items may wait."""

    room: int


class Oldest(NamedTuple):
    """A script's answer that the oldest that wait are of this partition: they are to make room first."""

    partition: str


class Idle(NamedTuple):
    """A script's answer that nothing is due: for so many ms, or (-1) until there is word. None: for as long as the fleet is paused."""

    wait_ms: int | None


class Elsewhere(NamedTuple):
    """A script's answer that something is due in another partition."""

    partition: str


class Levels(NamedTuple):
    """A script's answer that there are so many levels of priority, and that it is to be given the lists of all."""

    number: int


class Due(NamedTuple):
    """A script's answer that so many items are due."""

    number: int


class Claimed(NamedTuple):
    """A batch that is ours for now.

    Attributes:
        now_ms: when it was handed out.
        fence: rises from batch to batch.
        reason: what made it due: "size", "bytes", "delay", "flush" or "again".
        next_partition, next_ms: where, and in how many ms, there is something to do next; "" and -1 for none.
        items: of it.
    """

    now_ms: int
    fence: int
    reason: str
    next_partition: str
    next_ms: int
    items: list[Item]


Claim = Idle | Elsewhere | Due | Claimed
"""What a worker is told."""


class Reading(NamedTuple):
    """What has come for an adder.

    Attributes:
        last, last_gone: where the next reading goes on, as only the script knows.
        more: whether there is more to read at once.
        standing: total, done, failed, retried, begin and now (ms) of its run; empty where it is none.
        outcomes: by id; b"" for one that is forgotten.
    """

    last: str
    last_gone: str
    more: bool
    standing: list[int]
    outcomes: dict[str, bytes]


class Look(NamedTuple):
    """How a batcher stands."""

    now_ms: int
    unfinished: int
    running: int
    dead: int
    oldest_ms: int | None
    claims: int
    state: dict[str, str]


def read_list(reply: Any) -> list[bytes]:
    """Values."""
    return [as_bytes(each) for each in reply]


def read_texts(reply: Any) -> list[str]:
    """Texts."""
    return [text(each) for each in reply]


def read_pairs(reply: Any) -> list[tuple[str, bytes]]:
    """Names with values."""
    return [(text(name), as_bytes(value)) for name, value in zip(reply[::2], reply[1::2], strict=True)]


def read_added(reply: Any) -> str | Full | Oldest:
    """What became of items that were to be added."""
    answer = text(reply)
    if answer.startswith("oldest "):
        return Oldest(answer[7:])
    return Full(int(answer[5:])) if answer.startswith("full ") else answer


def read_told(reply: Any) -> tuple[int, bool]:
    """The stamp of a flush, and whether it goes on."""
    stamp, more = text(reply).split(" ")
    return int(stamp), more == "1"


def read_run(reply: Any) -> tuple[int, str]:
    """The total and the digest of a run."""
    total, digest = text(reply).split(" ")
    return int(total), digest


def read_cancelled(reply: Any) -> tuple[str, list[str]]:
    """A letter for each item, and partitions."""
    letters, *partitions = text(reply).split(" ")
    return letters, partitions


def read_dead(reply: Any) -> tuple[int, list[tuple[str, bytes]]]:
    """How many of the dead letter were looked at, and those found, by id."""
    return int(reply[0]), read_pairs(reply[1:])


def read_reading(reply: Any) -> Reading:
    """What has come for an adder."""
    last, last_gone, more, standing = map(text, reply[:4])
    outcomes = dict(read_pairs(reply[4:]))
    return Reading(last, last_gone, more == "1", [int(number) for number in standing.split()], outcomes)


def read_claim(reply: Any) -> Claim | Levels:
    """What a worker is told."""
    kind = text(reply[0])
    if kind == "levels":
        return Levels(int(reply[1]))
    if kind == "items":
        now, fence, reason, partition, wait = map(text, reply[1:6])
        found = items.claimed(text(reply[6]), text(reply[7]), as_bytes(reply[8]))
        return Claimed(int(now), int(fence), reason, partition, int(wait), found)
    if kind == "wait":
        return Idle(int(reply[1]))
    if kind == "go":
        return Elsewhere(text(reply[1]))
    return Due(int(reply[1])) if kind == "due" else Idle(None)


def read_look(reply: Any) -> Look:
    """How a batcher stands."""
    now, unfinished, running, dead, oldest, claims = reply[:6]
    state = {name: value.decode() for name, value in read_pairs(reply[6:])}
    return Look(int(now), int(unfinished), int(running), int(dead), int(oldest) if oldest else None, int(claims), state)
