"""What tests of leases and of the line look at, and processes that hold and wait."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import redis

import redisopt
from redisopt import keys
from tests.fleet import FLEET
from tests.waiting import wait_until

TERMS: Any = {"command_timeout": 5.0}


def part(client: redis.Redis, name: str, key: str = "", limiter: str = "test") -> Any:
    """The content of one of a limiter's keys."""
    pipes: Any = client
    where = f"{keys.tag('throttle', limiter, key)}{name}"
    kind = pipes.type(where)
    if kind == b"zset":
        return [member.decode() for member in pipes.zrange(where, 0, -1)]
    if kind == b"hash":
        return {field.decode(): value.decode() for field, value in pipes.hgetall(where).items()}
    return {}


OF_PROCESSES = ("alive:", "missed:")
"""What is noted of a process and not of a permit: that it was heard of, and that it did not come for what it was granted.
Its next beat, or another's, looks after that; where nobody beats any more it goes with the rest of the tickets, a minute later.
"""


def left_over(client: redis.Redis, key: str = "") -> dict[str, Any]:
    """Whatever of leases and of the line should be gone when nobody holds or waits."""
    tickets = {name: text for name, text in part(client, "tickets", key).items() if not name.startswith(OF_PROCESSES)}
    return {
        "line": part(client, "line", key) or None,
        "leases": part(client, "leases", key) or None,
        "tickets": tickets or None,
        "in_use": int(part(client, "state", key).get("in_use", 0)) or None,
    }


NOTHING = {"line": None, "leases": None, "tickets": None, "in_use": None}


def scripts_run(client: redis.Redis) -> int:
    """How many script calls the server has run since its counts were reset."""
    stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


class Holder:
    """A process that takes permits and holds them, or waits for one."""

    def __init__(self, url: str, count: int = 1, *, weight: int = 1, **fields: Any) -> None:
        here, there = FLEET.Pipe()
        self.process = FLEET.Process(target=_hold, args=(url, count, weight, fields, there), daemon=True)
        self.process.start()
        there.close()
        self.pipe = here
        assert here.poll(20), "the process hangs"
        assert here.recv() == "ready"

    def granted(self, timeout: float = 20.0) -> float:
        """Wait until it has all of them; the process's time of the latest."""
        assert self.pipe.poll(timeout), "it was not granted anything"
        return float(self.pipe.recv())

    def ask(self, what: str) -> Any:
        """Have it say "lost", or "release" them and say what came of it."""
        self.pipe.send(what)
        assert self.pipe.poll(20), "the process hangs"
        return self.pipe.recv()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.join(10)


def _hold(url: str, count: int, weight: int, fields: dict[str, Any], pipe: Any) -> None:
    client = redisopt.connect(url)
    lost: list[str] = []
    throttler = redisopt.Throttler(client, "test", on_lost=lambda permit: lost.append(permit.id), **TERMS | fields)
    pipe.send("ready")
    permits = [throttler.acquire(timeout=30, weight=weight) for _ in range(count)]
    pipe.send(time.time())
    while True:
        what = pipe.recv()
        if what == "lost":
            wait_until(lambda: len(lost) == count, 5)
            pipe.send([permit.lost for permit in permits])
        else:
            pipe.send([permit.release() for permit in permits])
