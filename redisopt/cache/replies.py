"""What the scripts' replies say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from redisopt.errors import StateLost
from redisopt.replies import as_bytes, text

VALUES = frozenset({"hit", "stale", "rescued", "refresh", "early"})
"""What a value may be that was found."""


class Found(NamedTuple):
    """A value that Redis has.

    Attributes:
        status: "hit", "stale", "rescued" (its computation failed lately), "refresh" or "early" (whoever asked is to refresh it).
        payload: its bytes.
        fence: which only rises from value to value of a key.
        age: seconds since it was kept.
        fresh_for: seconds.
        ends_in: seconds until it is of no use to anybody, stale or instead of one that cannot be computed.
        codec: in which its bytes are.
        tags: encoded, each with the version that it had.
    """

    status: str
    payload: bytes
    fence: int
    age: float
    fresh_for: float
    ends_in: float
    codec: str
    tags: dict[str, str]

    @property
    def leased(self) -> bool:
        """Whether whoever asked has the key's lease, and is to refresh the value."""
        return self.status in {"refresh", "early"}


class Failed(NamedTuple):
    """A computation failed lately."""

    error: str
    retry_after: float


class Leased(NamedTuple):
    """Whoever asked has the lease, and is to compute the value."""

    fence: int


class Alone(NamedTuple):
    """Somebody has the lease, but what he computes cannot be kept: whoever asked is to compute for itself."""


class BeingComputed(NamedTuple):
    """Somebody computes it; the lease ends in so many seconds unless it is renewed."""

    ends_in: float


class Absent(NamedTuple):
    """There is nothing."""


class Peeked(NamedTuple):
    """How a key stands; see `cache_peek`. Seconds."""

    found: Found | None
    size: int
    took: float
    computed_by: str
    computing_for: float
    failure: str
    retry_after: float


Answer = Found | Failed | Leased | Alone | BeingComputed | Absent


def read_answer(reply: Any) -> Answer:
    """What is known of a key.

    Raises:
        StateLost: the script answered anything else.
    """
    payload, line = reply
    status, _, rest = text(line).partition(" ")
    if status in VALUES:
        return _found(status, payload, rest)
    if status == "compute":
        return Leased(int(rest))
    if status == "wait":
        return BeingComputed(int(rest) / 1000)
    if status == "failed":
        return Failed(text(payload), int(rest) / 1000)
    if status == "alone":
        return Alone()
    if status == "none":
        return Absent()
    raise StateLost(f"a script answered {reply!r}")


def read_failed(reply: Any) -> Found | None:
    """What may be served instead of what could not be computed."""
    payload, line = reply
    status, _, rest = text(line).partition(" ")
    return _found(status, payload, rest) if status in VALUES else None


def read_peeked(reply: Any) -> Peeked:
    """How a key stands."""
    fence, size, age, fresh, ends, took, tags, by, since, failure, retry = reply
    found = _found("", b"", f"{text(fence)} {age} {fresh} {ends}  {text(tags)}") if fence else None
    return Peeked(
        found,
        int(size),
        int(took) / 1000,
        text(by),
        int(since) / 1000,
        text(failure),
        int(retry) / 1000,
    )


def _found(status: str, payload: Any, line: str) -> Found:
    fence, age, fresh, ends, codec, tags = line.split(" ", 5)
    versions = dict(_versions(tags)) if tags else {}
    times = int(age) / 1000, int(fresh) / 1000, int(ends) / 1000
    return Found(status, as_bytes(payload), int(fence), *times, codec, versions)


def _versions(tags: str) -> Iterator[tuple[str, str]]:
    for each in tags.split(" "):
        tag, _, version = each.rpartition("=")
        yield tag, version


def shown(tag: str) -> str:
    """An encoded tag as the user wrote it."""
    return unquote(tag)  # whoever encoded it escaped the escape as well
