"""Pipelines whose parts have clients of their own: each part asks its own Redis, also in the background."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from redisopt import Timeout
from tests.kinds import Kind
from tests.servers import RunningServer, flavours
from tests.waiting import wait_until

OLD_SOON: Any = {"ttl": 0.05, "ttl_jitter": 0.0, "early_refresh": 0.0, "stale_for": 600.0, "command_timeout": 5.0}


@pytest.fixture
def elsewhere() -> Iterator[RunningServer]:
    """Another server than that of the pipeline, without any keys."""
    server = RunningServer(flavours()[0])
    yield server
    server.close()


def refreshed(twin: Kind, pipeline: Any) -> Callable[[], bool]:
    """Says whether the pipeline gives another value than at first, each one being a number."""
    numbers = itertools.count(1)

    def is_refreshed() -> bool:
        twin.do(twin.pause(0.01))  # of tasks too the loop has to run
        return bool(twin.do(pipeline.execute, twin.function(lambda: next(numbers))) > 1)

    return is_refreshed


def primitives(url: str) -> set[str]:
    """Whose keys a server has."""
    with redis.from_url(url) as client:
        return {key.decode().split("{")[1].split(":")[0] for key in client.scan_iter()}


def test_a_stale_value_of_another_client_is_refreshed(
    elsewhere: RunningServer, twin: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """In the background the cache performs what is inside of it: that asks the pipeline's own server all the same."""
    cache = twin.make("Cache", "values", client=twin.client_of(elsewhere.url), **OLD_SOON)
    breaker = twin.make("CircuitBreaker", "api")
    throttler = twin.make("Throttler", "api", max_concurrent=1)
    debouncer = twin.make("Debouncer", "api", wait=0.001)
    parts = [cache.policy("k"), Timeout(20), breaker, throttler, debouncer.policy(key="k")]
    pipeline = twin.make("Pipeline", parts)
    with caplog.at_level(logging.WARNING, "redisopt"):
        wait_until(refreshed(twin, pipeline), 20)
    assert not caplog.records
    assert primitives(elsewhere.url) == {"cache"}
    assert primitives(twin.url) >= {"breaker", "throttle", "debounce"}
    assert "cache" not in primitives(twin.url)


def test_a_stale_value_in_a_pipeline_of_another_client_is_refreshed(
    elsewhere: RunningServer, twin: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the server changes on the way in."""
    cache = twin.make("Cache", "values", **OLD_SOON)
    far_breaker = twin.make("CircuitBreaker", "far", client=twin.client_of(elsewhere.url))
    near_breaker = twin.make("CircuitBreaker", "near")
    inner = twin.make("Pipeline", [Timeout(20), cache.policy("k"), far_breaker], client=twin.client_of(elsewhere.url))
    pipeline = twin.make("Pipeline", [inner, near_breaker])
    with caplog.at_level(logging.WARNING, "redisopt"):
        wait_until(refreshed(twin, pipeline), 20)
    assert not caplog.records
    assert primitives(elsewhere.url) == {"breaker"}
    assert primitives(twin.url) >= {"cache", "breaker"}
