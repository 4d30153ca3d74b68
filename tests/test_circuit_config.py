"""What a circuit breaker may be told, and what it refuses before Redis is touched: by naming the field and the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from pydantic import ValidationError

import redisopt
from redisopt.commands import call
from redisopt.policies import Policy

NOWHERE = "redis://127.0.0.1:1"

BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"failure_rate": 0}, "failure_rate"),
    ({"failure_rate": 1.1}, "failure_rate"),
    ({"failure_rate": float("nan")}, "failure_rate"),
    ({"failure_rate": 50}, "failure_rate"),
    ({"slow_call_after": 0}, "slow_call_after"),
    ({"slow_call_after": 1, "slow_call_rate": 0}, "slow_call_rate"),
    ({"slow_call_rate": 0.5}, "slow_call_rate 0.5 without slow_call_after"),
    ({"window": 0}, "window"),
    ({"window": -1}, "window"),
    ({"window": 1e9}, "window"),
    ({"window_calls": 0}, "window_calls"),
    ({"window_calls": 2.5}, "window_calls"),
    ({"window": 10, "window_calls": 10}, "window 10.0 and window_calls 10"),
    ({"window": None}, "window None and window_calls None"),
    ({"minimum_calls": 0}, "minimum_calls"),
    ({"window_calls": 5, "minimum_calls": 6}, "minimum_calls 6 is more than window_calls 5"),
    ({"open_for": 0}, "open_for"),
    ({"open_for": "soon"}, "open_for"),
    ({"open_growth": 0.5}, "open_growth"),
    ({"open_for": 10, "open_for_max": 9}, "open_for_max 9.0 s is shorter than open_for 10.0 s"),
    ({"open_jitter": -0.1}, "open_jitter"),
    ({"open_jitter": 1.1}, "open_jitter"),
    ({"half_open_calls": 0}, "half_open_calls"),
    ({"half_open_calls": 1001}, "half_open_calls"),
    ({"half_open_for": 0}, "half_open_for"),
    ({"lease_ttl": 0.01}, "lease_ttl"),
    ({"on_unavailable": "ignore"}, "on_unavailable"),
    ({"command_timeout": 0}, "command_timeout"),
    ({"failure_rat": 0.5}, "failure_rat"),
    ({"record": 5}, "record"),
    ({"record": (ValueError, 5)}, "record"),
    ({"record": int}, "record"),
    ({"ignore": "KeyError"}, "ignore"),
    ({"record_result": 200}, "record_result"),
    ({"on_state_change": "log"}, "on_state_change"),
]


async def _coroutine(_: Any) -> bool:
    return True


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("fields", "named"), BAD_FIELDS, ids=[str(fields) for fields, _ in BAD_FIELDS])
def test_a_bad_field_is_named(kind: str, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make(kind, "test", **fields)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("field", ["record", "ignore", "record_result", "on_state_change"])
def test_functions_that_would_have_to_be_awaited_are_refused(kind: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}.*coroutine function"):
        make(kind, "test", **{field: _coroutine})


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "name", ["", "a{b", "a}b", "a\nb", "a\0b", "x" * 1025, "\ud800", 5, None, b"name"], ids=lambda name: repr(name)[:12]
)
def test_a_bad_name_is_refused(kind: str, name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        make(kind, name)


def make(kind: str, name: Any, *args: Any, **fields: Any) -> Any:
    if kind == "sync":
        return redisopt.CircuitBreaker(redis.from_url(NOWHERE), name, *args, **fields)
    return redisopt.AsyncCircuitBreaker(redis.asyncio.from_url(NOWHERE), name, *args, **fields)


def test_the_wrong_client_is_named() -> None:
    with pytest.raises(ValueError, match="Async class"):
        redisopt.CircuitBreaker(redis.asyncio.from_url(NOWHERE), "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sync class"):
        redisopt.AsyncCircuitBreaker(redis.from_url(NOWHERE), "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="connect"):
        redisopt.CircuitBreaker(NOWHERE, "test")  # type: ignore[arg-type]


def test_functions_of_the_other_kind_are_refused() -> None:
    async def coroutine() -> None: ...

    breaker, twin = make("sync", "test"), make("async", "test")
    for take, what in ((breaker.execute, coroutine), (breaker, coroutine), (breaker.execute, 5)):
        with pytest.raises(ValueError, match="function"):
            take(what)
    with pytest.raises(ValueError, match="not a coroutine function"):
        twin(lambda: 1)


def test_a_config_or_fields_not_both() -> None:
    config = redisopt.CircuitBreakerConfig(window_calls=10)
    assert make("sync", "test", config).config == config
    with pytest.raises(ValueError, match="both given"):
        make("sync", "test", config, open_for=1)
    with pytest.raises(ValueError, match="must be a CircuitBreakerConfig"):
        make("sync", "test", {"open_for": 1})


def test_a_config_is_loaded_from_toml_and_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(
        "[breaker.github]\nfailure_rate = 0.25\nwindow_calls = 50\nslow_call_after = 2\nslow_call_rate = 0.9\n"
    )
    config = redisopt.CircuitBreakerConfig.from_toml(path, "breaker.github")
    assert (config.failure_rate, config.window, config.window_calls, config.slow) == (0.25, None, 50, 900_000)
    config = redisopt.CircuitBreakerConfig.from_env("B_", {"B_OPEN_FOR": "5", "B_ON_UNAVAILABLE": "deny"})
    assert (config.open_for, config.on_unavailable, config.window) == (5.0, "deny", 30.0)


def test_a_copy_may_have_another_kind_of_window() -> None:
    config = redisopt.CircuitBreakerConfig(window=60, open_for=5)
    counted = config.model_copy(update={"window_calls": 10})
    assert (counted.window, counted.window_calls, counted.open_for) == (None, 10, 5.0)
    assert counted.model_copy(update={"window": 7}).window_calls is None
    assert counted.model_copy().window_calls == 10
    with pytest.raises(ValidationError, match="open_for"):
        config.model_copy(update={"open_for": -1})


def test_what_the_scripts_are_told() -> None:
    config = redisopt.CircuitBreakerConfig(window_calls=5)
    assert (config.minimum, config.window_ms, config.failures, config.slow) == (5, 0, 500_000, 1_000_001)
    assert config.open_max_ms == 100_000
    assert config.options == "failure_rate=0.5 minimum_calls=5 window_calls=5 open_for=10000ms half_open_calls=3"
    slow = redisopt.CircuitBreakerConfig(slow_call_after=2, slow_call_rate=0.8).options
    assert "window=30000ms slow_call_rate=0.8 slow_call_after=2000ms open_for" in slow
    assert redisopt.CircuitBreakerConfig(open_for_max=60).open_max_ms == 60_000


def test_a_breaker_is_not_pickled_and_says_what_it_is() -> None:
    breaker = make("sync", "github")
    assert repr(breaker).startswith("CircuitBreaker('github', CircuitBreakerConfig(")
    assert repr(breaker.policy()).startswith("BreakerPolicy('github'")
    with pytest.raises(TypeError, match="cannot be pickled"):
        breaker.__reduce__()


def test_its_policy_is_one() -> None:
    policy: Policy = make("sync", "github").policy()
    plan = policy.around(lambda: call(None))  # type: ignore[arg-type]
    assert next(plan).script == "breaker_allow"  # type: ignore[union-attr]
    plan.close()
