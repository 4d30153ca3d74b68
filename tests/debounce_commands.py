"""A command of every script of the debouncer, as its plans send it."""

from __future__ import annotations

from typing import Any

from redisopt.commands import Command
from redisopt.debounce.asking import Asking
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.replies import Claimed


def commands() -> list[Command[Any]]:
    """One of each."""
    asking = Asking("test", DebounceConfig(), 1)
    place = asking.layout.place("doc:7")
    run = Claimed(place, "1", "2", 1, 3, "trailing", "all", 0.1, b"", 3)
    join = asking.join(place, "holder", "attempt", 0.5)
    return [
        asking.agree(),
        asking.submit(place, b"payload", "", 0.5),
        asking.result(place, "1"),
        asking.claim(0, 1, "executor", "lane", 1),
        asking.items(run, 0),
        asking.beat(place.tag, [(place, "2"), (place, "3")]),
        asking.finish(run, "done"),
        join,
        join._replace(script="debounce_unjoin"),
        asking.take(place, "1", "holder", "attempt"),
        asking.leave(place, "holder", "", "attempt"),
        asking.cancel(place),
        asking.flush(place),
        asking.peek(place),
        asking.metrics(place.tag),
        asking.dead(0, 0),
        asking.replay(0, "1"),
    ]
