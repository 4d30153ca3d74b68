"""Where a cache's values stand in Redis.

Each key has a hash tag of its own, so that a Cluster spreads them. What belongs to the cache as a whole (its counts, and the versions of
tags) has another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from redisopt import keys

MAX_TAGS = 16
"""Tags of one value: each is looked up when it is read."""


class Place(NamedTuple):
    """Where a key stands.

    Attributes:
        key: as the user wrote it.
        name: under which processes wait for it, which nobody else uses.
        message: which tells that it was changed, before a fence.
        entry: its HASH.
        value: its STRING.
        waiters: its SET.
    """

    key: str
    name: str
    message: str
    entry: str
    value: str
    waiters: str

    @property
    def all(self) -> tuple[str, str, str]:
        """The keys."""
        return self.entry, self.value, self.waiters


class Layout:
    """The keys of one cache.

    Attributes:
        channel: on which processes with copies are told of changes.
        counts: of the fleet.
        tags: what the keys of tags' versions begin with.
    """

    def __init__(self, name: str) -> None:
        tag = keys.tag("cache", keys.checked_name(name))
        self._name = name
        self.channel = f"{tag}changes"
        self.counts = f"{tag}counts"
        self.tags = f"{tag}tag:"
        self._place = lru_cache(maxsize=4096)(self._find)

    def place(self, key: str) -> Place:
        """Where `key` stands.

        Raises:
            ValueError: it is no str, empty, or longer than 1,024 bytes.
        """
        try:
            return self._place(key)
        except TypeError:
            keys.checked_key(key)  # what cannot be hashed is no str
            raise

    def _find(self, key: str) -> Place:
        if not keys.checked_key(key):
            raise ValueError("key is empty: give each value a key of its own, such as a user's id")
        tag = keys.tag("cache", self._name, key)
        return Place(
            key, tag[len(keys.PREFIX) : -1], f"key={keys.encoded(key)}=", f"{tag}entry", f"{tag}value", f"{tag}waiters"
        )


def checked_tags(tags: Any) -> tuple[str, ...]:
    """Tags, encoded, each once.

    Raises:
        ValueError: they are no list of texts, there are more than 16, or one is empty or too long.
    """
    if isinstance(tags, str) or not isinstance(tags, Sequence | set | frozenset):
        raise ValueError(f"tags must be a list of str, not {tags!r}")
    found = dict.fromkeys(checked_tag(each) for each in tags)
    if len(found) > MAX_TAGS:
        raise ValueError(f"tags has {len(found)} tags, at most {MAX_TAGS} are allowed: each is looked up at every read")
    return tuple(found)


def checked_tag(tag: Any) -> str:
    """A tag, encoded.

    Raises:
        ValueError: it is no str, empty, or longer than 1,024 bytes.
    """
    if not keys.checked_key(tag, "tag"):
        raise ValueError("tag is empty")
    return keys.encoded(tag)
