"""What becomes of an item, as it stands in Redis: a line, and the payload of the result or of the error.

In the line are a word, until when (ms) the outcome is kept, and of an item that ran the fence of its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redisopt.codec import Codec, PayloadError, decode, encode
from redisopt.dead import DeadLetter
from redisopt.errors import BatchItemFailed, Cancelled, QueueFull, ResultExpired, StateLost

MAX_REASON = 1000
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True)
class DeadItem(DeadLetter):
    """An item that was given up; its payload, the raw bytes where they cannot be read any more.

    Attributes:
        deliveries_lost: how many of its workers were not heard of again while they had it.
    """

    deliveries_lost: int = 0


def done(value: object, codec: Codec, max_bytes: int) -> bytes:
    """The result of an item that succeeded, as it is stored.

    Raises:
        PayloadError: the result cannot be stored.
    """
    return encode(value, codec, max_bytes)


def failed(error: BaseException, attempts: int, codec: Codec) -> bytes:
    """The error of an item that was given up, as it is stored."""
    return encode([type(error).__name__, reason(error), attempts], codec)


def reason(error: BaseException) -> str:
    """What an error says, whatever becomes of asking it."""
    try:
        text = str(error)
    except Exception as broken:  # an error of the user's own
        text = f"(its text cannot be had: {type(broken).__name__})"
    return text.encode(errors="replace").decode()[:MAX_REASON]


def told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(reason(error).split())}"


def read(stored: bytes, item_id: str, codec: Codec, max_bytes: int) -> Any:
    """The result in an outcome.

    Raises:
        BatchItemFailed: the item was given up.
        Cancelled: it was cancelled.
        QueueFull: it was dropped, since too many waited.
        ResultExpired: there is no outcome (any more).
        StateLost: it cannot be read, as where the worker has another codec.
    """
    try:
        return _read(stored, item_id, codec, max_bytes)
    except PayloadError as error:
        raise StateLost(f"the outcome of item {item_id!r} cannot be read: {error}") from error


def _read(stored: bytes, item_id: str, codec: Codec, max_bytes: int) -> Any:
    head, _, payload = stored.partition(b"\n")
    kind = head.split(b" ")[0]
    if kind == b"done":
        return decode(payload, codec, max(max_bytes, len(payload)))
    if kind == b"failed":
        found = decode(payload, codec)
        if not isinstance(found, list) or len(found) != 3:  # noqa: PLR2004 - as `failed` writes it
            raise PayloadError(f"the outcome of item {item_id!r} is not one that redisopt wrote")
        raise BatchItemFailed(item_id, *found)
    if kind == b"cancelled":
        raise Cancelled(f"item {item_id!r} was cancelled")
    if kind == b"dropped":
        raise QueueFull(
            f"item {item_id!r} was dropped: more waited than max_queue", retry_after=0.0, reason="queue full"
        )
    raise ResultExpired(
        f"what became of item {item_id!r} is not known: it ended longer than result_ttl ago, or was never added"
    )
