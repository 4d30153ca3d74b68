"""Work that waits in Redis must not be evicted: whoever begins to work looks once whether the server might do that."""

from __future__ import annotations

from redisopt import events
from redisopt.commands import Command, Plan, call
from redisopt.errors import RedisOptError
from redisopt.replies import text

_MOST_TOLD = 1000

_told: set[str] = set()


def warn_of_eviction(key: str) -> Plan[None]:
    """Log a warning, once in this process, where the server that has `key` may evict it. One script call."""
    if key in _told or len(_told) >= _MOST_TOLD:
        return
    _told.add(key)
    try:
        policy = yield from call(eviction_policy(key))
    except RedisOptError as error:
        _told.discard(key)
        events.logger.debug("whether keys are evicted could not be asked: %s", error)
        return
    if policy:
        events.logger.warning(
            "%s: the server evicts keys when its memory is full (maxmemory-policy %s), so that work that waits there can be lost: "
            "use noeviction",
            key,
            policy,
        )


def eviction_policy(key: str) -> Command[str]:
    """Ask the server that has `key` for its policy; "" where nothing is evicted."""
    return Command("eviction_policy", (key,), (), text)
