"""Bad arguments of calls: a ValueError that names the argument, before Redis is touched.

All throttlers here have a client of an address where nobody listens: to touch Redis would raise Unavailable.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from redisopt import CostExceedsLimit, Unavailable
from redisopt.identity import next_permit_id
from tests.faces import Face

NOBODY = "unix:///nonexistent"
NAN, INF = math.nan, math.inf

Make = Callable[..., Face]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, loop: asyncio.Runner) -> Iterator[Make]:
    """Makes throttlers whose Redis cannot be reached."""
    faces: list[Face] = []

    def make(name: Any = "test", *args: Any, **fields: Any) -> Face:
        faces.append(Face(request.param, NOBODY, loop, name, *args, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture
def throttler(make: Make) -> Face:
    """With two rates; costs up to 10 are possible."""
    return make(rates=["10/s", "100/min"])


def permit_of(throttler: Face, cost: int = 5) -> Any:
    """A permit that the throttler might have given."""
    return throttler.real._plans.deciding.make_permit(next_permit_id(), "", cost, 1_800_000_000_000)


def test_redis_cannot_be_reached_in_these_tests(throttler: Face) -> None:
    """So that each of the errors below must have come before it was touched."""
    with pytest.raises(Unavailable):
        throttler.try_acquire()


CALLS: dict[str, Callable[[Face, Any], Any]] = {
    "try_acquire": lambda throttler, cost: throttler.try_acquire(cost),
    "acquire": lambda throttler, cost: throttler.acquire(cost),
    "peek": lambda throttler, cost: throttler.peek(cost=cost),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("cost", [1.0, 0.5, NAN, INF, True, False, "1", None, [1], b"1", Decimal(1)])
def test_a_cost_is_a_whole_number(throttler: Face, call: str, cost: Any) -> None:
    """None other is made into one."""
    with pytest.raises(ValueError, match="cost must be a whole number, not"):
        CALLS[call](throttler, cost)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("cost", [0, -1, -(10**20)])
def test_a_cost_is_at_least_one(throttler: Face, call: str, cost: int) -> None:
    """What asks without charging is peek."""
    with pytest.raises(ValueError, match=r"cost must be at least 1, not .*: peek\(\) asks without charging"):
        CALLS[call](throttler, cost)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("cost", [11, 1000, 10**30])
def test_a_cost_above_a_limit_is_refused_with_that_limit(throttler: Face, call: str, cost: int) -> None:
    """No wait could ever grant it."""
    with pytest.raises(CostExceedsLimit, match=r"above the limit 10/s of throttle 'test'.*costs of at most 10,"):
        CALLS[call](throttler, cost)


def test_a_cost_above_the_burst_is_refused_with_that(make: Make) -> None:
    """It is a limit as well."""
    with pytest.raises(CostExceedsLimit, match="above the limit burst"):
        make(rates=["10/s"], max_burst_size=3).acquire(cost=4)


def test_a_cost_above_a_limit_is_a_value_error() -> None:
    """So that one except clause has all bad arguments."""
    assert issubclass(CostExceedsLimit, ValueError)


KEYED: dict[str, Callable[[Face, Any], Any]] = {
    "try_acquire": lambda throttler, key: throttler.try_acquire(key=key),
    "acquire": lambda throttler, key: throttler.acquire(key=key),
    "peek": lambda throttler, key: throttler.peek(key),
    "metrics": lambda throttler, key: throttler.metrics(key),
    "reset": lambda throttler, key: throttler.reset(key),
}


@pytest.mark.parametrize("call", KEYED)
@pytest.mark.parametrize("key", [None, 5, b"user", 1.5, True, ("a", "b"), object()])
def test_a_key_is_text(throttler: Face, call: str, key: Any) -> None:
    """A number is not made into text: 1 and "1" would meet."""
    with pytest.raises(ValueError, match="key must be a str, not"):
        KEYED[call](throttler, key)


@pytest.mark.parametrize("call", KEYED)
def test_a_key_that_cannot_be_hashed_is_refused_as_any_other(throttler: Face, call: str) -> None:
    """With a ValueError that names it."""
    with pytest.raises(ValueError, match="key must be a str, not list"):
        KEYED[call](throttler, ["user"])


@pytest.mark.parametrize("call", KEYED)
@pytest.mark.parametrize("key", ["k" * 1025, "é" * 513, "k" * 1_000_000])
def test_a_long_key_is_refused_in_a_short_message(throttler: Face, call: str, key: str) -> None:
    """With its size and the limit."""
    with pytest.raises(ValueError, match=r"key .* bytes, at most 1,024 are allowed: use a hash of it") as error:
        KEYED[call](throttler, key)

    assert len(str(error.value)) < 300


@pytest.mark.parametrize("call", KEYED)
@pytest.mark.parametrize("key", ["\ud800", "user \udfff"])
def test_a_key_is_valid_unicode(throttler: Face, call: str, key: str) -> None:
    """Redis could not be sent a lone surrogate."""
    with pytest.raises(ValueError, match=r"key .* is not valid Unicode: it holds a lone surrogate"):
        KEYED[call](throttler, key)


@pytest.mark.parametrize("timeout", [-1, -0.001, NAN, -INF, "5", True, False, [5], Decimal(5)])
def test_a_timeout_is_seconds_from_zero(throttler: Face, timeout: Any) -> None:
    """Or None, to wait for ever."""
    with pytest.raises(ValueError, match="timeout must be seconds, at least 0, or None to wait for ever, not"):
        throttler.acquire(timeout=timeout)


@pytest.mark.parametrize("minimum", [0, -1, 6, 1.0, NAN, "1", True, [1]])
def test_a_minimum_is_from_one_to_the_cost(throttler: Face, minimum: Any) -> None:
    """A whole number as the cost is."""
    with pytest.raises(ValueError, match="minimum must be a whole number from 1 to cost 5, not"):
        throttler.try_acquire(cost=5, minimum=minimum)


def test_a_minimum_of_true_is_not_taken_for_one(throttler: Face) -> None:
    """Also where the cost is 1."""
    with pytest.raises(ValueError, match="minimum"):
        throttler.try_acquire(cost=1, minimum=True)


@pytest.mark.parametrize("cost", [0, -1, 6, 1.0, NAN, "1", True, [1], 10**30])
def test_a_refund_is_from_one_to_what_is_left_of_the_permit(throttler: Face, cost: Any) -> None:
    """And leaves the permit as it was where it is not."""
    permit = permit_of(throttler)
    with pytest.raises(ValueError, match="cost must be a whole number from 1 to 5, what is left of this permit, not"):
        throttler.refund(permit, cost)

    assert permit.left == 5


@pytest.mark.parametrize("actual", [-1, 1.0, NAN, INF, "1", True, None, [1]])
def test_an_actual_cost_is_a_whole_number_from_zero(throttler: Face, actual: Any) -> None:
    """And the permit can still be settled where it is not."""
    permit = permit_of(throttler)
    with pytest.raises(ValueError, match="actual must be a whole number, at least 0, not"):
        throttler.settle(permit, actual)

    assert permit.mark_settled()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"cost": 0}, "cost must be at least 1"),
        ({"cost": lambda *_: 1.5}, "cost must be a whole number"),
        ({"cost": 11}, "cost 11 is above the limit"),
        ({"key": 5}, "key must be a str"),
        ({"key": lambda *_: None}, "key must be a str"),
        ({"timeout": -1}, "timeout must be seconds"),
    ],
)
def test_bad_terms_of_a_decorator_are_refused_when_it_is_called_at_the_latest(
    throttler: Face, terms: dict[str, Any], message: str
) -> None:
    """And the function is not called."""
    called: list[int] = []

    def function() -> None:
        called.append(1)

    async def coroutine() -> None:
        called.append(1)

    with pytest.raises(ValueError, match=message):
        throttler.wait_for(throttler.real(**terms)(function if throttler.kind == "sync" else coroutine)())

    assert called == []
