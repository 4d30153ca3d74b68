"""Rates as text, and configs from a dict, a TOML file and the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from redisopt import OptimizerConfig, Rate, RetryConfig, ThrottleConfig
from redisopt.throttle.rate import MAX_LIMIT, MAX_PERIOD

limits = st.integers(1, MAX_LIMIT)
periods_ms = st.one_of(st.integers(1, 100_000), st.integers(1, round(MAX_PERIOD * 1000)))


# --- rates


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", Rate(10, 1.0)),
        ("500/10s", Rate(500, 10.0)),
        ("5000/h", Rate(5000, 3600.0)),
        ("3/500ms", Rate(3, 0.5)),
        ("3/0.5s", Rate(3, 0.5)),
        ("3/.5s", Rate(3, 0.5)),
        ("1/1.5h", Rate(1, 5400.0)),
        ("5_000/d", Rate(5000, 86400.0)),
        ("1,000,000/min", Rate(1_000_000, 60.0)),
        (" 10 / 2 min ", Rate(10, 120.0)),
        ("10/S", Rate(10, 1.0)),
        ("7/sec", Rate(7, 1.0)),
        ("7/second", Rate(7, 1.0)),
        ("7/2seconds", Rate(7, 2.0)),
        ("7/m", Rate(7, 60.0)),
        ("7/minute", Rate(7, 60.0)),
        ("7/3 minutes", Rate(7, 180.0)),
        ("7/hour", Rate(7, 3600.0)),
        ("7/2hours", Rate(7, 7200.0)),
        ("7/day", Rate(7, 86400.0)),
        ("7/30 days", Rate(7, 30 * 86400.0)),
        ("1/1ms", Rate(1, 0.001)),
        ("1/9ms", Rate(1, 0.009)),
        ("1/400d", Rate(1, 400 * 86400.0)),
    ],
)
def test_a_rate_is_written_as_limit_and_period(text: str, rate: Rate) -> None:
    """In any of the usual units."""
    assert Rate.parse(text) == rate


@settings(deadline=None)
@given(limits, periods_ms)
@example(1, 9)
@example(1, 1100)
@example(MAX_LIMIT, round(MAX_PERIOD * 1000))
def test_a_rate_is_read_as_it_was_written(limit: int, period_ms: int) -> None:
    """parse and str are each other's inverse."""
    rate = Rate(limit, period_ms / 1000)

    assert Rate.parse(str(rate)) == rate


@settings(deadline=None)
@given(limits, periods_ms)
@example(1, 17_153_284_427)
def test_a_rate_has_its_period_in_whole_milliseconds(limit: int, period_ms: int) -> None:
    """Exactly."""
    assert Rate(limit, period_ms / 1000).period_ms == period_ms


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (Rate(10, 1), "10/s"),
        (Rate(10, 60), "10/min"),
        (Rate(10, 90), "10/90s"),
        (Rate(10, 7200), "10/2h"),
        (Rate(10, 86400), "10/d"),
        (Rate(10, 0.25), "10/250ms"),
        (Rate(10, 1.5), "10/1500ms"),
        (Rate(1_000_000, 1), "1000000/s"),
    ],
)
def test_a_rate_is_shown_in_the_largest_unit_that_keeps_it_whole(rate: Rate, text: str) -> None:
    """As it stands in reasons and limits."""
    assert str(rate) == text


def test_rates_are_equal_and_hashed_by_value() -> None:
    """However they were written."""
    assert len({Rate(60, 60), Rate.parse("60/min"), Rate.parse("60/60s"), Rate(60, 60.0)}) == 1


def test_a_rate_cannot_be_changed() -> None:
    """It is a value."""
    rate: Any = Rate(10, 1)
    with pytest.raises(AttributeError):
        rate.limit = 20


# --- configs


def test_a_config_takes_rates_as_text_as_objects_and_one_by_itself() -> None:
    """All are the same in the end."""
    forms: list[Any] = ["10/s", ["10/s"], ("10/s",), Rate(10, 1), [Rate(10, 1)]]

    assert {ThrottleConfig(rates=form) for form in forms} == {ThrottleConfig(rates=(Rate(10, 1.0),))}


def test_a_config_has_defaults_for_all_but_the_limits() -> None:
    """Which this test writes down."""
    config = ThrottleConfig(rates=(Rate(10, 1),))

    assert config.model_dump(exclude={"rates"}) == {
        "command_timeout": 0.5,
        "max_burst_size": None,
        "cooldown_period": 0.0,
        "precision": None,
        "margin": 0.0,
        "max_concurrent": None,
        "lease_ttl": 10.0,
        "max_queue": None,
        "group": None,
        "prefetch": 0.0,
        "shadow": False,
        "on_conflict": "warn",
        "on_unavailable": "raise",
    }


def test_a_config_cannot_be_changed() -> None:
    """Many calls are judged by it at once."""
    config: Any = ThrottleConfig(rates=(Rate(10, 1),))
    with pytest.raises(ValidationError, match="frozen"):
        config.margin = 1.0


def test_every_field_of_a_config_says_what_it_is_for() -> None:
    """With its unit."""
    fields = ThrottleConfig.model_json_schema()["properties"]

    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_a_config_is_loaded_from_a_dict() -> None:
    """Field by field."""
    fields = {"rates": ["10/s", "50/h"], "max_burst_size": 50, "cooldown_period": 2, "margin": 0.1, "precision": 0.5}

    assert ThrottleConfig.from_dict(fields) == ThrottleConfig(
        rates=(Rate(10, 1), Rate(50, 3600)), max_burst_size=50, cooldown_period=2.0, margin=0.1, precision=0.5
    )


def test_an_unknown_field_of_a_dict_is_named() -> None:
    """It might have been meant as a limit."""
    with pytest.raises(ValidationError, match="cooldown_seconds"):
        ThrottleConfig.from_dict({"rates": ["10/s"], "cooldown_seconds": 2})


# --- TOML

TOML = """
title = "limits"

[throttle.github]
rates = ["10/s", "5000/h"]
max_burst_size = 50
cooldown_period = 2

[throttle.parts]
rates = [{ limit = 10, period = 1.0 }]

[throttle.wrong]
rates = ["10/fortnight"]
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A file with several configs."""
    path = tmp_path / "limits.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def test_a_config_is_loaded_from_a_table_of_a_toml_file(toml: Path) -> None:
    """By its dotted name; the path may be text."""
    expected = ThrottleConfig(rates=(Rate(10, 1), Rate(5000, 3600)), max_burst_size=50, cooldown_period=2.0)

    assert ThrottleConfig.from_toml(toml, "throttle.github") == expected
    assert ThrottleConfig.from_toml(str(toml), "throttle.github") == expected


def test_a_rate_may_be_written_in_parts(toml: Path) -> None:
    """As a table of limit and period."""
    assert ThrottleConfig.from_toml(toml, "throttle.parts") == ThrottleConfig(rates=(Rate(10, 1),))


def test_a_config_is_loaded_from_a_whole_toml_file(tmp_path: Path) -> None:
    """Without the name of a table."""
    path = tmp_path / "one.toml"
    path.write_text('rates = "10/s"', encoding="utf-8")

    assert ThrottleConfig.from_toml(path) == ThrottleConfig(rates=(Rate(10, 1),))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("throttle.gitlab", "table 'throttle.gitlab' is not in .*limits.toml': there is no 'gitlab'"),
        ("limits", "there is no 'limits'"),
        ("throttle.github.rates.first", "there is no 'first'"),
        ("title", "table 'title' in .* is a value, not a table"),
        ("throttle.wrong", r"rates\.0[\s\S]*'10/fortnight' is not a rate"),
        ("", "title"),
    ],
)
def test_a_table_that_is_no_config_is_named(toml: Path, table: str, message: str) -> None:
    """With the part that is missing or wrong."""
    with pytest.raises(ValueError, match=message):
        ThrottleConfig.from_toml(toml, table)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    """With what is wrong and where."""
    path = tmp_path / "limits.toml"
    path.write_text("margin = 1\nrates = ]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"limits\.toml' is not TOML: .*line 2"):
        ThrottleConfig.from_toml(path)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """The usual error names it."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        ThrottleConfig.from_toml(tmp_path / "nowhere.toml")


# --- the environment


def test_a_config_is_loaded_from_the_environment() -> None:
    """Of the variables with a prefix; the others are somebody else's."""
    environ = {
        "REDISOPT_GITHUB_RATES": "10/s, 5000/h",
        "REDISOPT_GITHUB_MAX_BURST_SIZE": "50",
        "REDISOPT_GITHUB_COOLDOWN_PERIOD": "2.5",
        "REDISOPT_OTHER_RATES": "1/s",
        "PATH": "/usr/bin",
    }

    assert ThrottleConfig.from_env("REDISOPT_GITHUB_", environ) == ThrottleConfig(
        rates=(Rate(10, 1), Rate(5000, 3600)), max_burst_size=50, cooldown_period=2.5
    )


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read when it is asked for."""
    monkeypatch.setenv("REDISOPT_TEST_RATES", "10/s")

    assert ThrottleConfig.from_env("REDISOPT_TEST_") == ThrottleConfig(rates=(Rate(10, 1),))


def test_none_is_said_as_a_text_where_there_is_no_other_way(tmp_path: Path) -> None:
    assert RetryConfig.from_env("API_", {"API_BUDGET": "none"}).budget is None
    path = tmp_path / "api.toml"
    path.write_text('[retrying]\nbudget = "None"\n[throttling]\nrates = ["1/s"]\ngroup = "none"\n')
    config = OptimizerConfig.from_toml(path)
    assert config.retrying is not None
    assert config.throttling is not None
    assert (config.retrying.budget, config.throttling.group) == (None, "none")
    with pytest.raises(ValidationError, match="command_timeout"):
        RetryConfig.from_env("API_", {"API_COMMAND_TIMEOUT": "none"})


def test_a_limit_in_the_environment_may_have_thousands_separators() -> None:
    """As elsewhere: the comma that parts rates comes after a unit."""
    assert ThrottleConfig.from_env("T_", {"T_RATES": "1,000/min,50_000/d"}).rates == (
        Rate(1000, 60),
        Rate(50_000, 86400),
    )


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"T_RATES": "10/s", "T_COOLDOWN": "2"}, "cooldown"),
        ({"T_RATES": "10/fortnight"}, "'10/fortnight' is not a rate"),
        ({"T_RATES": "10/s", "T_MARGIN": "some"}, "margin"),
        ({"T_RATES": "10/s", "T_MARGIN": "nan"}, "margin"),
        ({"T_RATES": "10/s", "T_MAX_BURST_SIZE": "5.5"}, "max_burst_size"),
        ({"T_RATES": "10/s", "T_MAX_BURST_SIZE": ""}, "max_burst_size"),
        ({"T_RATES": ""}, "rates"),
        ({}, "rates"),
    ],
)
def test_a_mistake_in_the_environment_is_named(environ: dict[str, str], message: str) -> None:
    """By the field and what is wrong with it."""
    with pytest.raises(ValidationError, match=message):
        ThrottleConfig.from_env("T_", environ)


def test_a_copy_with_changes_is_checked_like_any_other() -> None:
    """Pydantic's own copy is not: a margin of -5 s would switch the limit off."""
    config = ThrottleConfig.from_dict({"rates": ["3/s"], "margin": 0.5})
    changed = config.model_copy(update={"rates": ["5/s"]})

    assert (changed.rates, changed.margin) == ((Rate(5, 1),), 0.5)
    for update in ({"margin": -5}, {"marginn": 5}, {"command_timeout": 0}):
        with pytest.raises(ValidationError, match=next(iter(update))):
            config.model_copy(update=update)


def test_the_environment_is_never_told_of() -> None:
    """$REDISOPT_URL may share the prefix, and hold a password."""
    with pytest.raises(ValidationError, match="url") as raised:
        ThrottleConfig.from_env("REDISOPT_", {"REDISOPT_URL": "redis://u:hunter2@h:1", "REDISOPT_RATES": "1/s"})
    assert "hunter2" not in str(raised.value)
    with pytest.raises(ValueError, match="prefix is empty"):
        ThrottleConfig.from_env("", {"SECRET": "hunter2"})


def test_several_rates_can_be_one_text_everywhere() -> None:
    """As in the environment."""
    assert ThrottleConfig.from_dict({"rates": "10/s,5000/h"}).rates == (Rate(10, 1), Rate(5000, 3600))


def test_fields_that_are_no_dict_are_refused() -> None:
    """With the field's name."""
    nothing: Any = None
    with pytest.raises(ValueError, match="fields must be a dict"):
        ThrottleConfig.from_dict(nothing)
