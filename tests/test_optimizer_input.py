"""Options of calls and operations that cannot be: a ValueError that names the option and shows the value.

Redis cannot be reached here: to touch it would raise Unavailable.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest

import redisopt
from redisopt.optimizer.options import Options
from tests.kinds import Kind

SECTIONS: dict[str, Any] = {
    "batching": {},
    "throttling": {"rates": ["10/s"]},
    "debouncing": {},
    "caching": {},
    "breaking": {},
    "retrying": {"max_attempts": 1},
    "monitoring": {"flush_interval": 60},
    "command_timeout": 0.2,
}


class Unshowable:
    """Whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError


HUGE, NAN, INF = 10**5000, math.nan, math.inf
NEVER: list[Any] = [[1], {"a": 1}, {1}, b"x", object(), Unshowable()]
NO_BOOL: list[Any] = [*NEVER, 0, 1, -1, 1.0, "yes", NAN, HUGE]
NO_TEXT: list[Any] = [*NEVER, 0, -1, 1.5, True, NAN, HUGE, "x" * 1025, "\ud800"]
NO_SECONDS: list[Any] = [*NEVER, "1", True, -1, -0.5, NAN]
WRONG: dict[str, list[Any]] = {
    "batch": [*NO_BOOL, None],
    "throttle": [*NO_BOOL, None],
    "debounce": [*NO_BOOL, None],
    "breaker": NO_BOOL,
    "retry": NO_BOOL,
    "cache": NO_TEXT,
    "key": [*NO_TEXT, None],
    "timeout": [*NO_SECONDS, 0, 86_401, INF, HUGE],
    "acquire_timeout": [*NO_SECONDS, -INF],
    "cost": [*NEVER, None, "1", True, 0, -1, 1.0, NAN, INF, 10**12 + 1, HUGE],
}


@pytest.fixture(params=["sync", "async"])
def twin(request: pytest.FixtureRequest, loop: asyncio.Runner) -> Iterator[Kind]:
    """Of whose server nobody knows."""
    kind = Kind(request.param, "unix:///nonexistent", loop)
    yield kind
    kind.close()


@pytest.fixture
def optimizer(twin: Kind) -> Any:
    return twin.make("Optimizer", "api", **SECTIONS)


def named(error: BaseException, option: str, value: object) -> bool:
    """Whether an error says what was wrong, and no more than a few lines of it."""
    try:
        text = repr(value)
    except Exception:
        text = "cannot be shown"
    said = str(error)
    return said.startswith(f"{option} ") and len(said) < 400 and (text[:20] in said or ascii(value)[:20] in said)


@pytest.mark.parametrize("how", [{"cost": 2}, {"acquire_timeout": 1.0}, {"key": "user:42"}])
def test_how_to_do_what_is_not_asked_for_is_refused(twin: Kind, optimizer: Any, how: dict[str, Any]) -> None:
    """Whoever names a cost takes it that there is a limit."""
    (option,) = how
    with pytest.raises(ValueError, match=f"^{option}=.* does nothing without throttle=True"):
        twin.do(optimizer.optimize, twin.function(lambda: 1), **how)


def test_all_options_are_in_the_table() -> None:
    assert set(WRONG) == set(Options._fields)


@pytest.mark.parametrize("option", WRONG)
def test_a_call_names_the_option_that_is_wrong(twin: Kind, optimizer: Any, option: str) -> None:
    for value in WRONG[option]:
        with pytest.raises(ValueError, match=option) as raised:
            twin.do(optimizer.optimize, twin.function(lambda: 1), **{option: value})
        assert named(raised.value, option, value)


@pytest.mark.parametrize("option", WRONG)
def test_an_operation_names_the_option_that_is_wrong(twin: Kind, optimizer: Any, option: str) -> None:
    """When it is registered, and not when it is called."""
    for how, value in itertools.product(({}, {"batch": True}, {"debounce": True, "throttle": True}), WRONG[option]):
        with pytest.raises(ValueError, match=option) as raised:
            optimizer.operation(twin.function(lambda payload: payload), name="one", **how | {option: value})
        assert named(raised.value, option, value)
    assert not optimizer._operations._known


def test_the_name_of_an_operation_is_a_text(twin: Kind, optimizer: Any) -> None:
    for value in (*NEVER, None, 0, True, 1.5, HUGE):
        with pytest.raises(ValueError, match="name must be a str") as raised:
            optimizer.operation(twin.function(lambda payload: payload), name=value)
        assert named(raised.value, "name", value)


@pytest.mark.parametrize("how", [{}, {"batch": True}, {"debounce": True}])
@pytest.mark.parametrize("option", ["key", "cache"])
def test_what_a_function_of_the_call_gives_is_checked_as_well(
    twin: Kind, optimizer: Any, option: str, how: dict[str, Any]
) -> None:
    given: list[Any] = []
    fields: Any = {"name": "one", option: lambda _: given[-1], **how}
    operation = optimizer.operation(**fields)(twin.function(lambda payload: payload))
    for value in (*NEVER, 7, True):
        given.append(value)
        with pytest.raises(ValueError, match=f"{option} must be a str") as raised:
            twin.do(operation, 1)
        assert named(raised.value, option, value)


def test_a_fallback_can_be_called_with_the_error_or_nothing(twin: Kind, optimizer: Any) -> None:
    async def answer() -> None:
        raise AssertionError("it is not called")

    wrong = [(lambda a, b: a, "must take the error"), (answer, "is a coroutine function: use an AsyncOptimizer")]
    for fallback, said in wrong if twin.name == "sync" else wrong[:1]:
        with pytest.raises(ValueError, match=f"fallback .*{said}"):
            twin.do(optimizer.optimize, twin.function(lambda: 1), fallback=fallback)
        with pytest.raises(ValueError, match=f"fallback .*{said}"):
            optimizer.operation(twin.function(lambda payload: payload), name="one", fallback=fallback)


@pytest.mark.parametrize("value", [None, 7, [1], {"a": 1}])
def test_what_is_no_function_is_refused(twin: Kind, optimizer: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="operation must be a function"):
        twin.do(optimizer.optimize, value)
    with pytest.raises(ValueError, match="function must be a function"):
        optimizer.operation(name="one")(value)


def test_redis_cannot_be_reached_here(twin: Kind, optimizer: Any) -> None:
    """So that all errors above came before it was touched."""
    with pytest.raises(redisopt.Unavailable):
        twin.do(optimizer.optimize, twin.function(lambda: 1), throttle=True)


@pytest.mark.parametrize("ignore", [5, [ValueError], (ValueError, 5), "ValueError"])
def test_what_the_breaker_would_ignore_is_checked_before_there_is_one(twin: Kind, ignore: Any) -> None:
    with pytest.raises(ValueError, match="ignore"):
        twin.make("Optimizer", "bare", ignore=ignore)
