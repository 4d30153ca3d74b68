"""The clock that tests set: the library's own, which users' tests have too."""

from __future__ import annotations

from redisopt.testing import CLOCK_KEY as KEY
from redisopt.testing import START_MS, ServerClock, instead_of_waiting
from redisopt.testing import on_clock as on_test_clock

__all__ = ["KEY", "START_MS", "ServerClock", "instead_of_waiting", "on_test_clock"]
