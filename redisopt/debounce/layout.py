"""Where a debouncer's windows stand in Redis.

A key belongs to one of a few partitions, by its CRC-32, and all that a partition holds has one hash tag: so the times that
windows are due, and the windows themselves, are changed by one script.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import NamedTuple

from redisopt import keys

_FUNCTIONS = "call:"


class Place(NamedTuple):
    """Where a key stands.

    Attributes:
        key: as the user wrote it.
        member: the same, encoded.
        partition: its number.
        tag: of the partition, with which all its keys begin.
        window: its HASH.
    """

    key: str
    member: str
    partition: int
    tag: str
    window: str


def holds_functions(tag: str) -> bool:
    """Whether the windows under a tag are those of callers that hold functions."""
    return tag.endswith(_FUNCTIONS)


class Layout:
    """The keys of one debouncer.

    Attributes:
        partitions: their number.
        channel: on which workers are told when something is due.
        tags: of the partitions.
    """

    def __init__(self, name: str, partitions: int) -> None:
        self.partitions = partitions
        self.channel = f"{keys.tag('debounce', keys.checked_name(name))}due"
        self.tags = tuple(keys.tag("debounce", name, str(number)) for number in range(partitions))
        self._place = lru_cache(maxsize=4096)(self._find)

    def place(self, key: str) -> Place:
        """Where `key` stands.

        Raises:
            ValueError: it is no str, or longer than 1,024 bytes.
        """
        try:
            return self._place(key)
        except TypeError:
            keys.checked_key(key)  # what cannot be hashed is no str
            raise

    def closures(self, key: str) -> Place:
        """Where `key` stands for callers that hold functions: beside the windows of payloads, apart from them."""
        place = self.place(key)
        tag = f"{place.tag}{_FUNCTIONS}"
        return place._replace(tag=tag, window=f"{tag}key:{place.member}")

    def of_member(self, member: str) -> int:
        """The partition of an encoded key."""
        return zlib.crc32(member.encode()) % self.partitions

    def _find(self, key: str) -> Place:
        member = keys.encoded(keys.checked_key(key))
        partition = self.of_member(member)
        tag = self.tags[partition]
        return Place(key, member, partition, tag, f"{tag}key:{member}")
