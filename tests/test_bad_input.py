"""Bad arguments and bad configuration: a ValueError that names the field, before Redis is touched.

All throttlers here have a client of an address where nobody listens: to touch Redis would raise Unavailable.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import redis
import redis.asyncio

from redisopt import AsyncThrottler, Rate, ThrottleConfig, Throttler, Unavailable
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


def test_redis_cannot_be_reached_in_these_tests(make: Make) -> None:
    """So that each of the errors below must have come before it was touched."""
    with pytest.raises(Unavailable):
        make(rates=["10/s"]).try_acquire()


# --- rates


@pytest.mark.parametrize("limit", [0, -1, NAN, INF, 1.0, 2.5, True, "10", None, 10**12 + 1, 10**40])
def test_a_limit_is_a_whole_number_from_one(limit: Any) -> None:
    """Up to a million millions."""
    with pytest.raises(ValueError, match=r"limit must be a whole number from 1 to 1,000,000,000,000, not"):
        Rate(limit, 1.0)


@pytest.mark.parametrize("period", [0, 0.0, -1, NAN, INF, -INF, 0.0001, 401 * 86400, 1e300])
def test_a_period_is_within_bounds(period: Any) -> None:
    """From a millisecond to 400 days."""
    with pytest.raises(ValueError, match=r"period must be from 0\.001 s to 400 days, not"):
        Rate(1, period)


@pytest.mark.parametrize("period", [True, "1", None, Decimal(1)])
def test_a_period_is_a_number(period: Any) -> None:
    """Of seconds."""
    with pytest.raises(ValueError, match="period must be seconds as a number, not"):
        Rate(1, period)


@pytest.mark.parametrize("period", [0.0015, 1.00001])
def test_a_period_is_whole_milliseconds(period: float) -> None:
    """Redis counts in those."""
    with pytest.raises(ValueError, match="period must be whole milliseconds, not"):
        Rate(1, period)


NO_RATES = (
    ["", "10", "10/", "/s", "s", "ten/s", "10/fortnight", "10/us", "10/w", "10 per s", "-1/s", "1.5/s", "1e3/s"],
    ["10/-1s", "10/s/s", "10//s", "10/1 0s", "10/s;5/m", "10/1.2.3s", "\u0661\u0660/s", "10/s\x00", "\n", "10/0x1s"],
)


@pytest.mark.parametrize("text", [text for texts in NO_RATES for text in texts])
def test_text_that_is_no_rate_is_refused_with_examples(make: Make, text: str) -> None:
    """The message shows the text, and how a rate is written."""
    with pytest.raises(
        ValueError, match=r"rates[\s\S]*rate [\s\S]*is not a rate: write a rate as '10/s', '500/10s'"
    ) as error:
        make(rates=[text])

    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["0/s", "10/0s", "10/0.5ms", "10/401d", "9999999999999/s", "10/0.0s"])
def test_a_rate_out_of_range_is_refused_with_its_bounds(make: Make, text: str) -> None:
    """The message shows the text and names limit or period."""
    with pytest.raises(ValueError, match=r"rates[\s\S]*rate [\s\S]*(limit|period) must be"):
        make(rates=[text])


@pytest.mark.parametrize("rates", [10, 1.5, [10], [None], None, [["10/s"]], b"10/s", [b"10/s"], object()])
def test_what_is_neither_text_nor_rate_is_refused(make: Make, rates: Any) -> None:
    """And the field is named."""
    with pytest.raises(ValueError, match="rates"):
        make(rates=rates)


@pytest.mark.parametrize(
    "rate",
    [
        {},
        {"limit": 10},
        {"limit": 0, "period": 1.0},
        {"limit": True, "period": 1.0},
        {"limit": 10, "period": 0},
        {"limit": 10, "period": 1.0, "burst": 3},
    ],
)
def test_a_rate_in_parts_is_checked_as_well(make: Make, rate: dict[str, Any]) -> None:
    """As it may stand in a TOML file."""
    with pytest.raises(ValueError, match=r"rates\.0"):
        make(rates=[rate])


@pytest.mark.parametrize("rates", [[], (), ""])
def test_at_least_one_limit_is_needed(make: Make, rates: Any) -> None:
    """A throttle without any would be a mistake."""
    with pytest.raises(ValueError, match="rate"):
        make(rates=rates)


def test_nothing_at_all_is_refused(make: Make) -> None:
    """With an example of what is needed."""
    with pytest.raises(ValueError, match=r"rates is empty: give at least one, such as rates=\['10/s'\]"):
        make()


@pytest.mark.parametrize("rates", [["10/s", "20/s"], ["10/s", "10/1000ms"], ["60/min", "100/h", "60/60s"]])
def test_two_rates_of_one_period_are_refused(make: Make, rates: list[str]) -> None:
    """One of them would never matter."""
    with pytest.raises(ValueError, match="two rates of one period"):
        make(rates=rates)


def test_more_than_sixteen_rates_are_refused(make: Make) -> None:
    """That would be a mistake rather than a wish."""
    with pytest.raises(ValueError, match=r"rates[\s\S]*at most 16"):
        make(rates=[f"10/{seconds}s" for seconds in range(1, 18)])


# --- the other fields


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_burst_size", value) for value in (0, -1, 1.5, NAN, INF, "many", 10**13)]
    + [("cooldown_period", value) for value in (-0.1, NAN, INF, "soon", 86401)]
    + [("precision", value) for value in (0, -1, 0.0001, NAN, INF, "fine")]
    + [("margin", value) for value in (-0.001, NAN, INF, "some", 3601)]
    + [("command_timeout", value) for value in (0, -1, NAN, INF, "short", 61, None)],
)
def test_a_field_out_of_range_is_named(make: Make, field: str, value: Any) -> None:
    """And nothing is made."""
    fields = {"rates": ["10/s"], "max_burst_size": 5, field: value}
    with pytest.raises(ValueError, match=field):
        make(**fields)


@pytest.mark.parametrize("field", ["rate", "max_burst", "cooldown", "timeout", "max_concurrent_", "Rates"])
def test_an_unknown_field_is_named(make: Make, field: str) -> None:
    """So that a slip of the pen is not a limit that does not hold."""
    with pytest.raises(ValueError, match=rf"\b{field}\b"):
        make(rates=["10/s"], **{field: 1})


def test_a_cooldown_needs_a_burst(make: Make) -> None:
    """Nothing would ever start it."""
    with pytest.raises(ValueError, match="cooldown_period needs a max_burst_size"):
        make(rates=["10/s"], cooldown_period=2.0)


@pytest.mark.parametrize(
    "fields",
    [{"rates": ["10/s"]}, {"rates": ["10/500ms"]}, {"max_burst_size": 5}, {"rates": ["1/h"], "max_burst_size": 5}],
)
def test_a_precision_longer_than_a_period_is_refused(make: Make, fields: dict[str, Any]) -> None:
    """The second of a burst is a period too."""
    with pytest.raises(ValueError, match=r"precision 1\.5 s is longer than the period of"):
        make(precision=1.5, **fields)


def test_a_precision_that_would_bloat_the_log_is_refused_with_one_that_would_not(make: Make) -> None:
    """Which can then be used."""
    with pytest.raises(
        ValueError, match=r"precision 0\.001 s would log 100000/d in over 10,000 slots: use 8\.64 or more"
    ):
        make(rates=["100000/d"], precision=0.001)

    assert ThrottleConfig.from_dict({"rates": ["100000/d"], "precision": 8.64}).precision == 8.64


def test_a_config_given_both_ways_is_refused(make: Make) -> None:
    """It is not clear which one is meant."""
    config = ThrottleConfig.from_dict({"rates": ["10/s"]})
    with pytest.raises(ValueError, match="config and the fields margin, precision were both given"):
        make("test", config, margin=1.0, precision=0.1)


@pytest.mark.parametrize("config", [{"rates": ["10/s"]}, "10/s", ["10/s"], 10, ThrottleConfig])
def test_a_config_of_another_type_is_refused(make: Make, config: Any) -> None:
    """With the way to give fields."""
    with pytest.raises(ValueError, match=r"config must be a ThrottleConfig, not .*give fields as keywords"):
        make("test", config)


@pytest.mark.parametrize("on_throttle", [5, "print", True])
def test_an_on_throttle_that_cannot_be_called_is_refused(make: Make, on_throttle: Any) -> None:
    """At once, and not at the first refusal."""
    with pytest.raises(ValueError, match="on_throttle"):
        make(rates=["10/s"], on_throttle=on_throttle)


# --- names and clients


@pytest.mark.parametrize("name", ["a{b", "a}b", "{}", "line\nbreak", "tab\there", "nul\x00", "\x1b", "\x7f", "cr\r"])
def test_a_name_has_no_braces_and_no_control_characters(make: Make, name: str) -> None:
    """Data belongs into keys."""
    with pytest.raises(ValueError, match=r"name .* contains .*put data such as user ids into `key`"):
        make(name, rates=["10/s"])


def test_a_name_is_not_empty(make: Make) -> None:
    """All limiters would have the same."""
    with pytest.raises(ValueError, match="name is empty: give what processes share a name"):
        make("", rates=["10/s"])


@pytest.mark.parametrize("name", ["n" * 1025, "é" * 513, "n" * 1_000_000])
def test_a_long_name_is_refused_in_a_short_message(make: Make, name: str) -> None:
    """With its size and the limit."""
    with pytest.raises(ValueError, match=r"name .* bytes, at most 1,024 are allowed") as error:
        make(name, rates=["10/s"])

    assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", [None, 5, b"github", ["github"], object(), True])
def test_a_name_is_text(make: Make, name: Any) -> None:
    """And nothing else is made into text."""
    with pytest.raises(ValueError, match="name must be a str, not"):
        make(name, rates=["10/s"])


def test_a_name_is_valid_unicode(make: Make) -> None:
    """Redis could not be sent a lone surrogate."""
    with pytest.raises(ValueError, match=r"name .* is not valid Unicode"):
        make("\ud800", rates=["10/s"])


@pytest.mark.parametrize("kind", [Throttler, AsyncThrottler])
@pytest.mark.parametrize(
    ("client", "advice"),
    [
        ("redis://localhost", r"not str: pass a client, such as redisopt\.connect\(url\)"),
        (None, "not NoneType: pass a redis-py client"),
        (5, "not int: pass a redis-py client"),
        (redis.Redis, r"not \w+: pass a redis-py client"),
        (redis.ConnectionPool(), "not ConnectionPool"),
        (redis.Redis().pipeline(), "not Pipeline: pass the client itself, not a pipeline"),
        (redis.asyncio.Redis().pipeline(), "not Pipeline: pass the client itself, not a pipeline"),
    ],
    ids=["a URL", "None", "a number", "a class", "a pool", "a pipeline", "an async pipeline"],
)
def test_a_client_is_a_redis_py_client(kind: Any, client: Any, advice: str) -> None:
    """The message says what was given and what to do."""
    with pytest.raises(ValueError, match=rf"client must be a redis\.\S+ or redis\.\S+, {advice}"):
        kind(client, "test", rates=["10/s"])


def test_an_async_client_needs_the_async_class() -> None:
    """Which the message names."""
    client: Any = redis.asyncio.from_url(NOBODY)
    with pytest.raises(ValueError, match=r"client must be a redis\.Redis .*an async client needs the Async class"):
        Throttler(client, "test", rates=["10/s"])


def test_a_sync_client_needs_the_sync_class() -> None:
    """Which the message names."""
    client: Any = redis.from_url(NOBODY)
    with pytest.raises(
        ValueError, match=r"client must be a redis\.asyncio\.Redis .*a sync client needs the sync class"
    ):
        AsyncThrottler(client, "test", rates=["10/s"])
