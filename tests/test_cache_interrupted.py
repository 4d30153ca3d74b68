"""Interruptions at random instants, as a signal handler that raises makes them: no key is held up for longer than a lease."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redisopt
from tests.cache_faces import TERMS
from tests.servers import RunningServer
from tests.waiting import wait_until


class Interruption(BaseException):
    """What the handler raises."""


@pytest.fixture
def interrupted() -> Iterator[None]:
    """SIGALRM raises."""

    def interrupt(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where it comes in a finalizer
@pytest.mark.usefixtures("interrupted")
def test_no_lease_outlives_an_interrupted_call(server: RunningServer, client: redis.Redis) -> None:
    """Some thousand calls, each interrupted where it just is."""
    with redisopt.Cache(redis.from_url(server.url), "test", lease_ttl=0.5, **TERMS) as cache:
        keys = [f"k{number}" for number in range(3000)]
        interruptions = 0
        for key in keys:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.0008))
                cache.get_or_compute(key, int)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption:
                interruptions += 1
            except RuntimeError as error:
                assert "lock" in str(error), "an interruption that a lock turned into this"  # noqa: PT017
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert interruptions > len(keys) / 20
        wait_until(lambda: not held(cache, keys), 3.0)
        began = time.monotonic()
        for key in keys[-200:]:
            assert cache.get_or_compute(key, int, timeout=5) == 0
        assert time.monotonic() - began < 10


def held(cache: Any, keys: list[str]) -> list[str]:
    """The keys that are being computed."""
    return [key for key in keys if cache.peek(key).computed_by]
