"""Adding, as plans: items are checked and encoded whole before Redis is touched, then sent, some hundreds in a call.

Ids are made before the first call, so that a call whose reply was lost is sent again without adding anything twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from redisopt import events, keys
from redisopt.background import now
from redisopt.batch import items
from redisopt.batch.asking import Asking, chunks
from redisopt.batch.config import BatchConfig
from redisopt.batch.replies import Full, Oldest
from redisopt.codec import PayloadError, encode
from redisopt.commands import Listen, Plan, Wait, call
from redisopt.errors import ConfigConflict, QueueFull, Unavailable

ROOM_POLL = 0.5
"""Seconds that an adder that waits for room goes without asking: what a lost message costs at most."""

MAX_DROPS = 1000
"""Keys whose items make room for those of one call, one after the other."""

JOIN_EVERY = 20.0
"""Seconds after which it is said again how this process is configured; it is forgotten after a minute."""

NEW, WAITS, ENDED, DROPPED = "nwox"

_numbers = itertools.count(1)


class Wish(NamedTuple):
    """An item that is to be added.

    Attributes:
        id: as it stands in Redis.
        partition, level: where it waits.
        payload: encoded.
    """

    id: str
    partition: str
    level: int
    payload: bytes


def wish(config: BatchConfig, item: object, key: str, item_id: str, priority: int) -> Wish:
    """Check and encode an item; `item_id` is made by us, or by `given_id`.

    Raises:
        ValueError: the item cannot be stored, the key is no text, or the priority is not one of the config's.
    """
    _check_priority(config, priority)
    try:
        payload = encode(item, config.codec, config.max_item_bytes)
    except PayloadError as error:
        raise PayloadError(f"item cannot be added: {error}") from error
    return Wish(item_id, items.word(keys.checked_key(key)), priority, payload)


def given_id(item_id: object, field: str = "id") -> str:
    """An id that the user gave, as it stands in Redis.

    Raises:
        ValueError: it is no text, empty or over 1,024 bytes.
    """
    if not isinstance(item_id, str) or not item_id:
        raise ValueError(f"{field} must be a str that is not empty, not {item_id!r}")
    return keys.encoded(keys.checked_key(item_id, field))


def many(
    config: BatchConfig,
    values: Iterable[Any],
    key: str | Callable[[Any], str],
    ids: Sequence[str] | None,
    priority: int,
    next_id: Callable[[], str],
) -> list[Wish]:
    """Check and encode items; all or none.

    Raises:
        ValueError: one of them cannot be stored; the message says which.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValueError(f"items must be a list, or something else to iterate over, not {type(values).__name__}")
    found = list(values)
    if ids is not None and (isinstance(ids, str | bytes) or not isinstance(ids, Sequence)):
        raise ValueError(f"ids must be a list of ids, one for each item, not {type(ids).__name__}")
    if ids is not None and len(ids) != len(found):
        raise ValueError(f"ids has {len(ids):,} ids for {len(found):,} items")
    if ids is not None and len(set(ids)) < len(ids):
        raise ValueError("ids has the same id twice")
    _check_priority(config, priority)
    if callable(key):
        partitions = [items.word(_key_of(key, index, value)) for index, value in enumerate(found)]
    else:
        partitions = [items.word(keys.checked_key(key))] * len(found)
    stored = [next_id() for _ in found] if ids is None else [given_id(each) for each in ids]
    wishes = []
    for index, value in enumerate(found):
        try:
            payload = encode(value, config.codec, config.max_item_bytes)
        except PayloadError as error:
            raise PayloadError(f"items[{index}] cannot be added: {error}") from error
        wishes.append(Wish(stored[index], partitions[index], priority, payload))
    return wishes


def _key_of(key: Callable[[Any], str], index: int, value: Any) -> str:
    try:
        return keys.checked_key(key(value))
    except ValueError as error:
        raise ValueError(f"items[{index}]: {error}") from error


def _check_priority(config: BatchConfig, priority: object) -> None:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority < config.priorities:
        raise ValueError(
            f"priority must be from 0 to {config.priorities - 1}, not {priority!r}: `priorities` says how many"
        )


class Adding:
    """The plans that add to one batcher."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._conflicts: set[str] = set()
        self._joined = -inf

    def join(self) -> Plan[str]:
        """Begin to use the batcher; returns where to begin to read of those that are gone.

        Raises:
            ConfigConflict: others are configured otherwise, and `on_conflict` is "raise".
        """
        config = self._asking.config
        other, latest = yield from call(self._asking.join())
        text = f"batch {self._asking.name!r} has {config.triggers} here and {other} in another process"
        if other and config.on_conflict == "raise":
            raise ConfigConflict(text)
        self._joined = now()
        if other and other not in self._conflicts:
            self._conflicts.add(other)
            events.logger.warning("%s; each call goes by its own process's config", text)
        return latest

    def stay(self) -> Plan[None]:
        """Join again, if that was some time ago: others may have come, and are to know of us.

        Raises:
            ConfigConflict: as `join`; Redis may be away.
        """
        if now() > self._joined + JOIN_EVERY:
            try:
                yield from self.join()
            except Unavailable as error:
                events.logger.debug("it is not known how others are configured: %s", error)

    def add(self, wishes: Sequence[Wish], adder: str, timeout: float | None) -> Plan[str]:
        """Add items; a letter for each says what became of it.

        Raises:
            QueueFull: they do not fit into `max_queue`. What was sent before, of more than fit in a call, stays added.
            Unavailable: as every call; sent again with the same ids, it adds nothing twice.
        """
        letters = [""] * len(wishes)
        by_place: dict[tuple[str, int], list[int]] = {}
        for index, each in enumerate(wishes):
            by_place.setdefault((each.partition, each.level), []).append(index)
        rest = len(wishes)
        until = None if timeout is None else now() + timeout
        for (partition, level), indexes in by_place.items():
            head = items.head(partition, level, adder)
            records = [(wishes[index].id, head + wishes[index].payload) for index in indexes]
            at = 0
            for chunk in chunks(records, itemgetter(1)):
                rest -= len(chunk)
                answer = yield from self._add_chunk(partition, level, chunk, rest, until, len(wishes))
                for index, letter in zip(indexes[at:], answer, strict=False):
                    letters[index] = letter
                at += len(chunk)
        return "".join(letters)

    def _add_chunk(
        self,
        partition: str,
        level: int,
        chunk: Sequence[tuple[str, bytes]],
        rest: int,
        until: float | None,
        number: int,
    ) -> Plan[str]:
        config = self._asking.config
        blocks = config.overflow == "block"
        overflow = "refuse" if config.overflow == "raise" else config.overflow
        # Whoever waits for room takes it as it comes; else there is to be room for all before any is added.
        rest = 0 if blocks else rest
        size = len(chunk) if not blocks else min(len(chunk), config.max_queue or len(chunk))
        permit, letters, begun = f"room:{next(_numbers)}", "", False
        while chunk:
            part = chunk[:size]
            answer = yield from call(self._asking.add(partition, level, part, overflow, rest))
            asked = 0
            while isinstance(answer, Oldest):  # what waits longest is elsewhere
                asked += 1
                if asked > MAX_DROPS:
                    answer = Full(0)
                    break
                oldest = answer.partition
                answer = yield from call(self._asking.add(partition, level, part, overflow, rest, oldest))
            if not isinstance(answer, Full):
                letters += answer
                chunk = chunk[len(part) :]
                size = min(len(chunk), config.max_queue or len(chunk))
                continue
            left = ROOM_POLL if until is None else min(ROOM_POLL, until - now())
            if not blocks or left <= 0:
                raise QueueFull(
                    f"batch {self._asking.name!r} has room for {answer.room:,} items, and {number:,} were to be added"
                    + ("" if not letters else f"; {len(letters):,} were")
                    + ("" if config.max_queue is None or number <= config.max_queue else ": so many never have room"),
                    retry_after=0.0,
                    reason="queue full",
                )
            if answer.room:
                size = answer.room  # what fits now, in the order of the items
                continue
            if not begun:
                begun = True
                yield Listen(self._asking.room)
            else:
                yield Wait(permit, left, self._asking.room)
        return letters
