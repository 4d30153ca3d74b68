"""A command of every script of the cache, as its plans send it."""

from __future__ import annotations

from typing import Any

from redisopt.cache.asking import Asking
from redisopt.cache.config import CacheConfig
from redisopt.cache.outcome import COUNTS
from redisopt.commands import Command


def commands() -> list[Command[Any]]:
    """One of each."""
    asking = Asking("test", CacheConfig(), clustered=False)
    place = asking.layout.place("ulm")
    return [
        asking.ask(place, "p:1", 0.5, "", refresh=True),
        asking.store(place, "p:1", b"value", (1, 2, 3), 0.1, {"tag": "0"}),
        asking.put(place, b"value", (1, 2, 3), {"tag": "0"}),
        asking.fail(place, "p:1", "ValueError: no", 1.0),
        asking.renew([(place.entry, "p:1"), (place.entry, "p:2")]),
        asking.delete(place),
        asking.invalidate("tag"),
        asking.versions(["tag", "other"]),
        asking.peek(place),
        asking.count({"hits": 1}, COUNTS),
    ]
