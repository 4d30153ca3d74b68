"""Where the state stands: the redis-cli line for each key, and what it shows, for who has no redis-cli.

No line shows a password: redis-cli takes it from $REDISCLI_AUTH.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import redis
import redis.sentinel

from redisopt import keys
from redisopt.clients import Client

_MOST_FIELDS, _MOST_ENTRIES = 8, 4  # shown of a HASH, and of anything else


def redis_cli(client: Client) -> str:
    """The beginning of a redis-cli command for the Redis that `client` uses."""
    if isinstance(client, redis.RedisCluster):
        node = client.startup_nodes[0]
        settings: dict[str, Any] = client.get_connection_kwargs()  # type: ignore[no-untyped-call]
        settings = {**settings, "host": node.host, "port": node.port}
        words, tls = ["redis-cli", "-c"], bool(settings.get("ssl"))
    else:
        pool = client.connection_pool
        settings = pool.connection_kwargs
        words, tls = ["redis-cli"], issubclass(pool.connection_class, redis.SSLConnection)
        if isinstance(pool, redis.sentinel.SentinelConnectionPool):
            host, port = pool.get_master_address()  # type: ignore[no-untyped-call]
            settings = {**settings, "host": host, "port": port}
    user, db, path = settings.get("username"), int(settings.get("db") or 0), settings.get("path")
    if path:
        words += ["-s", path] + (["-n", str(db)] if db else [])
    else:
        host, port = settings.get("host", "localhost"), settings.get("port", 6379)
        address = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        words += ["-u", f"redis{'s' if tls else ''}://{address}{f'/{db}' if db else ''}"]
    if user:
        words += ["--user", str(user)]
    secret = 'REDISCLI_AUTH="$PASSWORD" ' if settings.get("password") or settings.get("credential_provider") else ""
    return secret + shlex.join(words)


def throttle_keys(name: str, periods_ms: Iterable[int]) -> list[tuple[str, tuple[str, ...]]]:
    """What each key of a throttle is for, and the Redis command that shows it."""
    tag = keys.tag("throttle", name)
    last = str(_MOST_ENTRIES - 1)
    shown = [
        (
            "the clock, the sums of each log, and the latest call of each lane (of a process)",
            ("HGETALL", f"{tag}state"),
        ),
        (
            "who waits until when (ms); a time that has passed is cleared by the next who waits",
            ("ZRANGE", f"{tag}waiting", "0", last, "WITHSCORES"),
        ),
        (
            "places that were given up, as permit and cost, and their time (ms); who asks next takes them",
            ("ZRANGE", f"{tag}holes", "0", last, "WITHSCORES"),
        ),
    ]
    for period in sorted(set(periods_ms)):
        purpose = f"what was granted in {period} ms, as time (ms):cost; the newest is still in the state"
        shown.append((purpose, ("LRANGE", f"{tag}log:{period}", "0", last)))
    return shown


def command_line(client: Client, command: tuple[str, ...]) -> str:
    """A line for the shell that sends `command` to the Redis that `client` uses."""
    return f"{redis_cli(client)} {shlex.join(command)}"


def show(client: Client, commands: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """Each command as a line for the shell, and what it answers now, line by line.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    for purpose, command in commands:
        yield f"# {purpose}"
        yield command_line(client, command)
        reply = client.execute_command(*command)  # type: ignore[no-untyped-call]
        entries = list(_entries(reply))
        yield from (f"    {entry}" for entry in entries[:_MOST_FIELDS])
        if len(entries) > _MOST_FIELDS:
            yield f"    ... and {len(entries) - _MOST_FIELDS} more"
        if not entries:
            yield "    (empty)"


def _entries(reply: Any) -> Iterator[str]:
    """One text for each entry of a HASH, a ZSET or a LIST, in whichever form redis-py gives it; lanes after the rest."""
    if isinstance(reply, dict):
        reply = sorted(reply.items(), key=lambda entry: (_text(entry[0]).startswith("lane:"), entry))
    for entry in reply:
        parts = entry if isinstance(entry, tuple | list) else (entry,)
        yield "  ".join(_text(part) for part in parts)


def _text(part: Any) -> str:
    if isinstance(part, float):
        return f"{part:.0f}"
    return part.decode(errors="replace") if isinstance(part, bytes) else str(part)
