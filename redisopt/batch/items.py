"""Items as they stand in Redis: a record is ``<ms when it was added> <partition> <level> <adder>``, a newline and the payload.

The record of an item says all that a script or a worker needs to know of it, so that it can wait, run, die and be replayed
without a second structure. An entry, ``<ms when it was added>:<id>``, is its place in a list.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from redisopt import keys

NOBODY = "-"
"""The adder of an item whose result nobody waits for."""

RUN = "run:"
"""How the adder begins where it is a run, which any process may go on with."""


class Item(NamedTuple):
    """An item as it was claimed.

    Attributes:
        entry: of the list that it was in.
        id: as it stands in Redis.
        adder: who is told of its outcome.
        payload: encoded.
        attempts: that failed.
        lost: deliveries that ended with their worker.
        repeats: runs that did not count.
        since_ms: when there was the first of those, 0 for never.
    """

    entry: str
    id: str
    adder: str
    payload: bytes
    attempts: int = 0
    lost: int = 0
    repeats: int = 0
    since_ms: int = 0

    @property
    def name(self) -> str:
        """The id as its adder knows it."""
        return unquote(self.id) if "%" in self.id else self.id


def word(key: str) -> str:
    """The partition of a key, as one word that is never empty."""
    return "=" + keys.encoded(key)


def key_of(partition: str) -> str:
    """The key of a partition."""
    return unquote(partition[1:])


def head(partition: str, level: int, adder: str) -> bytes:
    """How the record of an item begins, behind its time, which the script knows; its payload follows."""
    return f"{partition} {level} {adder}\n".encode()


def header(stored: bytes) -> tuple[str, int, str, bytes]:
    """Partition, level, adder and payload of a record."""
    line, _, payload = stored.partition(b"\n")
    _, partition, level, adder = line.decode().split(" ")
    return partition, int(level), adder, payload


def claimed(entries: str, lengths: str, records: bytes) -> list[Item]:
    """Items that were handed out, as the script lists them."""
    found: list[Item] = []
    adders: dict[bytes, str] = {}
    at = 0
    for entry, length in zip(entries.split(" "), map(int, lengths.split(" ")), strict=True):
        if not length:
            continue  # it is gone meanwhile
        newline = records.index(b"\n", at)
        line = records[at:newline]
        adder = adders.get(line)
        if adder is None:
            adder = adders[line] = line.decode().rpartition(" ")[2]
        payload = records[newline + 1 : at + length]
        at += length
        added, item_id, *tries = entry.split(":")
        found.append(Item(f"{added}:{item_id}" if tries else entry, item_id, adder, payload, *map(int, tries[:4])))
    return found
