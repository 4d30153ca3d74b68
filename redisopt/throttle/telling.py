"""What the whole fleet is told about a limiter, as plans: other limits, a pause, and what a response said."""

from __future__ import annotations

import json
import math
from typing import Any

from redisopt.commands import Plan
from redisopt.headers import Advice, Headers, read_headers
from redisopt.throttle.asking import LOCAL_FIELDS, Asking

LONGEST_PAUSE = 86_400
"""Seconds."""


class Telling:
    """The plans that tell the fleet something; every process hears of it with its next call, and who waits at once."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def update(self, fields: dict[str, Any]) -> Plan[None]:
        """Have the whole fleet use other limits, or with no fields each process its own again."""
        local = sorted(LOCAL_FIELDS & fields.keys())
        if local:
            raise ValueError(f"{local[0]} is each process's own: the fleet cannot be told another")
        told = self._asking.given.model_copy(update=fields)
        value = json.dumps(told.model_dump(mode="json", include=set(fields)), sort_keys=True) if fields else ""
        yield from self._asking.tell("update", value)

    def pause(self, seconds: float) -> Plan[None]:
        """Grant nothing to anybody for so long."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_PAUSE:
            raise ValueError(f"seconds must be from 0 to {LONGEST_PAUSE:,}, not {seconds!r}")
        yield from self._asking.tell("pause", math.ceil(seconds * 1000))

    def observe(self, headers: Headers, status: int | None) -> Plan[Advice]:
        """Pause for as long as a response says that nobody should call."""
        advice = read_headers(headers, status)
        if advice.pause > 0:
            yield from self.pause(advice.pause)
        return advice

    def resume(self) -> Plan[None]:
        """End a pause."""
        yield from self._asking.tell("resume")
