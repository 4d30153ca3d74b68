"""Shadow: limits that are measured before they are enforced. They decide and count, and refuse nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import redisopt
from redisopt import events
from tests.clock import ServerClock
from tests.faces import Face

Make = Callable[..., Face]


def test_nobody_is_refused_and_all_is_counted(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["3/min"], shadow=True)
    decisions = [throttler.try_acquire() for _ in range(5)]
    assert all(decisions)
    assert [decision.reason for decision in decisions] == [None] * 3 + ["3/min"] * 2
    assert decisions[4].retry_after == pytest.approx(60, abs=0.01)
    assert [decision.permit.charged for decision in decisions] == [True] * 3 + [False] * 2
    assert throttler.metrics().shadowed == 2
    assert throttler.peek().remaining == 0
    assert throttler.refund(decisions[4].permit) is False
    assert throttler.refund(decisions[0].permit) is True


def test_nobody_waits(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["1/min"], max_concurrent=1, shadow=True)
    permits = [throttler.acquire(timeout=5) for _ in range(3)]
    assert [permit.waited for permit in permits] == [0, 0, 0]
    assert throttler.metrics().shadowed == 2
    assert throttler.metrics().active_operations == 1
    assert [throttler.release(permit) for permit in permits] == [True, False, False]


def test_a_cost_above_a_limit_is_counted_too(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["3/min"], shadow=True)
    throttler.try_acquire()
    decision = throttler.try_acquire(cost=5)
    assert (decision.allowed, decision.reason) == (True, "3/min")
    assert throttler.metrics().shadowed == 1
    for bad in (0, "1", True):
        with pytest.raises(ValueError, match="cost"):
            throttler.try_acquire(cost=bad)


def test_it_can_be_enforced_while_the_fleet_runs(make_throttler: Make, clock: ServerClock) -> None:
    one, other = make_throttler(rates=["1/min"], shadow=True), make_throttler(rates=["1/min"], shadow=True)
    assert [bool(one.try_acquire()) for _ in range(2)] == [True, True]
    one.wait_for(one.real.update(shadow=False))
    assert not other.try_acquire()
    with pytest.raises(redisopt.ThrottleTimeout):
        other.acquire(timeout=5)
    one.wait_for(one.real.update())


def test_hooks_hear_what_would_have_been_refused(make_throttler: Make, clock: ServerClock) -> None:
    heard: list[Any] = []
    redisopt.add_hook(heard.append)
    try:
        throttler = make_throttler(rates=["1/min"], shadow=True)
        for _ in range(3):
            throttler.try_acquire()
    finally:
        redisopt.remove_hook(heard.append)
    assert [type(event) for event in heard if not isinstance(event, events.ScriptReloaded)] == [
        events.Granted,
        events.Refused,
        events.Refused,
    ]


def test_functions_run(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["1/min"], shadow=True)
    if throttler.kind == "sync":
        assert [throttler.real.execute(len, "abc") for _ in range(3)] == [3, 3, 3]
