"""Callers that wait while no time passes, and what stands in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tests.clock import instead_of_waiting
from tests.faces import Face


def stored(client: redis.Redis) -> dict[str, Any]:
    """All that redisopt keeps in this database, byte for byte."""
    pipes: Any = client
    read = {
        b"hash": pipes.hgetall,
        b"list": lambda key: pipes.lrange(key, 0, -1),
        b"zset": lambda key: pipes.zrange(key, 0, -1, withscores=True),
    }
    return {key.decode(): read[pipes.type(key)](key) for key in sorted(pipes.scan_iter("redisopt:*", count=1000))}


def shared(client: redis.Redis) -> dict[str, Any]:
    """The same without what each lane keeps for itself, the reply to its latest call."""
    return {
        key: {field: text for field, text in value.items() if not field.startswith(b"lane")}
        if isinstance(value, dict)
        else value
        for key, value in stored(client).items()
    }


def logs(client: redis.Redis) -> dict[str, Any]:
    """What counts against the limits: the closed slots of each log, the cost in use, and time and cost of its open slot."""
    found: dict[str, Any] = {}
    for key, value in stored(client).items():
        if isinstance(value, dict):
            sums = {field: text.split() for field, text in value.items() if field.startswith(b"log:")}
            found |= {f"{key} {field.decode()}": (used, *slot) for field, (used, _, *slot) in sums.items()}
        elif ":log:" in key:
            found[key] = value
    return found


def line(client: redis.Redis) -> list[int]:
    """The times that callers wait for, in the server's milliseconds."""
    return [round(time) for key, value in stored(client).items() if key.endswith(":waiting") for _, time in value]


def join(face: Face, *args: Any, **kwargs: Any) -> Any:
    """Stand in line and stay there: the permit of a caller that waits, at once. Time does not pass.

    To refund such a permit is what a caller does that is interrupted while it waits.
    """
    with _pausing(None):
        return face.acquire(*args, **kwargs)


def interrupt(face: Face, error: type[BaseException], *args: Any, **kwargs: Any) -> None:
    """Stand in line and be interrupted with `error` as soon as the waiting begins."""
    with _pausing(error), pytest.raises(error):
        face.acquire(*args, **kwargs)


@contextmanager
def _pausing(error: type[BaseException] | None) -> Iterator[None]:
    def pause(seconds: float) -> None:
        if error is not None:
            raise error

    with instead_of_waiting(pause):
        yield
