"""A command of every script of the monitor, as its plans send it."""

from __future__ import annotations

from typing import Any

from redisopt.commands import Command
from redisopt.monitor.asking import Asking
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.sketch import Tally
from redisopt.monitor.tracking import Delta, Part


def commands() -> list[Command[Any]]:
    """One of each."""
    asking = Asking("test", MonitorConfig())
    deltas = [Delta(member, Tally(1, 0, 0.5, 0.5, 0.5), b"") for member in ("op", "op;region=eu")]
    return [asking.flush("lane", Part(1, deltas, 0)), asking.pack(["op"]), asking.read(60, ["op;*", "other"])]
