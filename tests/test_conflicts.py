"""Two processes that use one name with different limits: each call is judged by its own, and they hear of each other."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

import redisopt
from tests.faces import Face

Make = Callable[..., Face]


def test_a_conflict_is_logged_once_and_counted(make_throttler: Make, caplog: pytest.LogCaptureFixture) -> None:
    one = make_throttler(rates=["10/min"])
    assert one.try_acquire()
    other = make_throttler(rates=["20/min"])
    with caplog.at_level(logging.WARNING, "redisopt"):
        for _ in range(3):
            assert other.try_acquire()
    assert [record.getMessage() for record in caplog.records if "another process" in record.getMessage()] == [
        "throttle 'test': another process limits by 10/min, this one by 20/min; each call is judged by its own process's limits"
    ]
    assert other.metrics().conflicts == 1
    assert [one.peek().remaining, other.peek().remaining] == [6, 16]


def test_alike_configs_are_no_conflict(make_throttler: Make) -> None:
    for timeout in (1.0, 2.0):
        face = make_throttler(rates=["10/min"], command_timeout=timeout)
        assert face.try_acquire()
        assert face.metrics().conflicts == 0


def test_a_conflict_raises_where_it_should(make_throttler: Make) -> None:
    """And charges nothing, leases included."""
    one = make_throttler(rates=["10/min"], max_concurrent=5)
    assert one.try_acquire()
    strict = make_throttler(rates=["20/min"], max_concurrent=5, on_conflict="raise")
    with pytest.raises(redisopt.ConfigConflict, match="10/min,concurrency=5"):
        strict.try_acquire()
    assert one.peek().limits[0].remaining == 9
    assert one.metrics().active_operations == 1


def test_what_the_fleet_was_told_is_no_conflict(make_throttler: Make) -> None:
    one, other = make_throttler(rates=["10/min"]), make_throttler(rates=["10/min"])
    assert one.try_acquire()
    one.wait_for(one.real.update(rates=["20/min"]))
    assert other.try_acquire()
    one.wait_for(one.real.update())
    assert make_throttler(rates=["10/min"]).try_acquire()
    assert [face.metrics().conflicts for face in (one, other)] == [0, 0]
