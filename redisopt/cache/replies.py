"""What the scripts' replies say."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote

from redisopt.errors import StateLost


class Found(NamedTuple):
    """A value that Redis has.

    Attributes:
        status: "hit", "stale", "rescued" (its computation failed lately), "refresh" or "early" (whoever asked is to refresh it).
        payload: its bytes.
        fence: which only rises from value to value of a key.
        age: seconds since it was kept.
        fresh_for: seconds.
        ends_in: seconds until it is of no use.
        tags: encoded, each with the version that it had.
    """

    status: str
    payload: bytes
    fence: int
    age: float
    fresh_for: float
    ends_in: float
    tags: dict[str, str]


class Failed(NamedTuple):
    """A computation failed lately."""

    error: str
    retry_after: float
    negative: bool


class Compute(NamedTuple):
    """Whoever asked has the lease, and is to compute the value."""

    fence: int


class Computing(NamedTuple):
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


Answer = Found | Failed | Compute | Computing | Absent


def text(value: Any) -> str:
    """A reply as text, whether the client decodes it or not."""
    return value.decode() if isinstance(value, bytes) else str(value)


def as_bytes(value: Any) -> bytes:
    """A reply as bytes, likewise."""
    return value.encode() if isinstance(value, str) else bytes(value)


def read_answer(reply: Any) -> Answer:
    """What is known of a key.

    Raises:
        StateLost: the script answered anything else.
    """
    status = text(reply[0])
    if status in {"hit", "stale", "rescued", "refresh", "early"}:
        return _found(status, *reply[1:])
    if status == "compute":
        return Compute(int(reply[1]))
    if status == "wait":
        return Computing(int(reply[1]) / 1000)
    if status == "failed":
        return Failed(text(reply[1]), int(reply[2]) / 1000, bool(int(reply[3])))
    if status == "none":
        return Absent()
    raise StateLost(f"a script answered {reply!r}")


def read_failed(reply: Any) -> Found | None:
    """What may be served instead of what could not be computed."""
    return _found(text(reply[0]), *reply[1:]) if len(reply) > 1 else None


def read_peeked(reply: Any) -> Peeked:
    """How a key stands."""
    exists, size, age, fresh, ends, took, fence, tags, by, since, failure, retry = reply
    found = _found("", b"", fence, age, fresh, ends, tags) if int(exists) else None
    return Peeked(
        found, int(size), int(took) / 1000, text(by), int(since) / 1000, text(failure), max(0, int(retry)) / 1000
    )


def _found(status: str, payload: Any, fence: Any, age: Any, fresh: Any, ends: Any, tags: Any) -> Found:
    pairs = [part.rpartition("=") for part in text(tags).split(" ") if part]
    return Found(
        status,
        as_bytes(payload),
        int(fence),
        int(age) / 1000,
        int(fresh) / 1000,
        int(ends) / 1000,
        {tag: version for tag, _, version in pairs},
    )


def shown(tag: str) -> str:
    """An encoded tag as the user wrote it."""
    return unquote(tag)  # whoever encoded it escaped the escape as well
