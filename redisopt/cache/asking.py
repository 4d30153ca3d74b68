"""Which script is asked for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from redisopt.cache.config import MAX_SECONDS, CacheConfig
from redisopt.cache.layout import Layout, Place
from redisopt.cache.replies import Answer, Found, Peeked, read_answer, read_failed, read_peeked
from redisopt.commands import Arg, Command
from redisopt.config import milliseconds
from redisopt.errors import StateLost
from redisopt.replies import text

KEEP_TAGS_MS = (2 * MAX_SECONDS + 86_400) * 1000
"""How long a tag's version is kept: longer than any value that was computed under the one before."""

KEEP_COUNTS_MS = 7 * 86_400 * 1000

ALONE_FOR = 60.0
"""Seconds for which nobody waits for a key whose value could not be kept, unless it can be again."""

ALONE_AFTER_REFUSAL = 1.0
"""Likewise, after a limit or a breaker refused the computation."""

MAX_ERROR = 1000
"""Characters of an error that are kept."""


class Asking:
    """The script calls of one cache.

    Attributes:
        layout: where its values stand.
        clustered: whether the versions of a value's tags have to be asked for apart, since they lie in another slot.
    """

    def __init__(self, name: str, config: CacheConfig, *, clustered: bool) -> None:
        self.name = name
        self.config = config
        self.layout = Layout(name)
        self.clustered = clustered
        self._tags = "" if clustered else self.layout.tags
        self._ask: tuple[Arg, ...] = (milliseconds(config.lease_ttl), self._tags)

    def ask(self, place: Place, caller: str, eager: float, refused: str, *, refresh: bool) -> Command[Answer]:
        """What is known of a key, and whether the caller is to compute it. Without a caller it is only read."""
        args: tuple[Arg, ...] = (caller, int(refresh), f"{eager:.3f}", refused)
        return Command("cache_ask", place.all, args, read_answer, self._ask)

    def store(
        self,
        place: Place,
        caller: str,
        payload: bytes,
        lives: tuple[int, int, int],
        took: float,
        tags: Mapping[str, str],
    ) -> Command[int | None]:
        """Keep what was computed under the caller's lease: its fence; None where the lease was lost."""
        args = (
            caller,
            payload,
            *lives,
            ceil(took * 1000),
            self.config.codec,
            _versions(tags),
            place.name,
            self.layout.channel,
            place.message,
        )
        return Command("cache_store", place.all, args, lambda reply: int(reply) if reply else None)

    def put(self, place: Place, payload: bytes, lives: tuple[int, int, int], tags: Mapping[str, str]) -> Command[int]:
        """Keep a value, whoever computes one: its fence."""
        args = (payload, *lives, self.config.codec, _versions(tags), place.name, self.layout.channel, place.message)
        return Command("cache_put", place.all, args, _number, once=True)

    def fail(
        self,
        place: Place,
        caller: str,
        error: str = "",
        keep: float = 0.0,
        *,
        negative: bool = False,
        alone: float = 0.0,
    ) -> Command[Found | None]:
        """A computation ended without a value. What may be served instead.

        Args:
            place, caller: whose.
            error: why.
            keep: seconds for which it is not tried again.
            negative: whether that is an answer.
            alone: seconds for which nobody is to wait for another one's computation.
        """
        args = (
            caller,
            error[:MAX_ERROR],
            milliseconds(keep),
            int(negative),
            milliseconds(alone),
            self._tags,
            place.name,
            self.layout.channel,
            place.message,
        )
        return Command("cache_fail", place.all, args, read_failed)

    def renew(self, entries: Sequence[tuple[str, str]]) -> Command[list[bool]]:
        """Keep the leases of computations: of each its entry and its caller."""
        args: tuple[Arg, ...] = (milliseconds(self.config.lease_ttl), *(caller for _, caller in entries))
        return Command(
            "cache_renew", tuple(entry for entry, _ in entries), args, lambda reply: [bool(int(each)) for each in reply]
        )

    def delete(self, place: Place) -> Command[bool]:
        """Forget a key."""
        args = (place.name, self.layout.channel, place.message)
        return Command("cache_delete", place.all, args, lambda reply: bool(_number(reply)), once=True)

    def invalidate(self, tag: str) -> Command[int]:
        """Have no value hold that was computed under this tag before."""
        return Command(
            "cache_invalidate", (self.layout.tags + tag,), (KEEP_TAGS_MS, self.layout.channel, f"tag={tag}"), int
        )

    def versions(self, tags: Sequence[str], *, keep: bool = False) -> Command[dict[str, str]]:
        """The versions of tags, "" for none; with `keep` all have one, since a value is to be computed under them."""
        found = tuple(self.layout.tags + tag for tag in tags)
        return Command(
            "cache_tags",
            found,
            (KEEP_TAGS_MS if keep else 0,),
            lambda reply: dict(zip(tags, map(text, reply), strict=True)),
        )

    def peek(self, place: Place) -> Command[Peeked]:
        """How a key stands."""
        return Command("cache_peek", (place.entry, place.value), (self._tags,), read_peeked)

    def count(self, counts: Mapping[str, int], names: Sequence[str]) -> Command[list[int]]:
        """Add what was counted here; what the fleet has counted, in the order of `names`."""

        def read(reply: Any) -> list[int]:
            return list(map(_number, text(reply).split(" ")))

        args: list[Arg] = [KEEP_COUNTS_MS]
        for name in names:
            args += (name, counts.get(name, 0))
        return Command("cache_count", (self.layout.counts,), tuple(args), read, once=True)


def _number(reply: Any) -> int:
    try:
        return int(reply)
    except ValueError:
        raise StateLost(f"a script answered {reply!r}: has another process this one's lane?") from None


def _versions(tags: Mapping[str, str]) -> str:
    return " ".join(f"{tag}={version}" for tag, version in tags.items())
