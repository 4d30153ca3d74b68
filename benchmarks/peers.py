"""The peers, each set up for the same limit on the same server, as its own documentation says; those not installed are left out."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import redis

LIMIT = 1_000_000  # a second; never reached


def peers(url: str) -> dict[str, Callable[[], Any]]:
    """A callable per peer that asks for one permit."""
    found: dict[str, Callable[[], Any]] = {}
    if importlib.util.find_spec("limits"):
        found["limits, moving window"] = _limits(url)
    if importlib.util.find_spec("pyrate_limiter"):
        found["PyrateLimiter, RedisBucket"] = _pyrate(url)
    if importlib.util.find_spec("throttled"):
        found["throttled-py, sliding window"] = _throttled(url)
    return found


def _limits(url: str) -> Callable[[], Any]:
    limits: Any = importlib.import_module("limits")
    storage = limits.storage.RedisStorage(url.replace("unix://", "redis+unix://"))
    window = limits.strategies.MovingWindowRateLimiter(storage)
    item = limits.parse(f"{LIMIT} per second")
    return lambda: window.hit(item, "key")


def _pyrate(url: str) -> Callable[[], Any]:
    pyrate_limiter: Any = importlib.import_module("pyrate_limiter")
    bucket = pyrate_limiter.RedisBucket.init(
        [pyrate_limiter.Rate(100_000, pyrate_limiter.Duration.SECOND)], redis.from_url(url), "pyrate"
    )
    limiter = pyrate_limiter.Limiter(bucket)
    return lambda: limiter.try_acquire("key", blocking=False)


def _throttled(url: str) -> Callable[[], Any]:
    throttled: Any = importlib.import_module("throttled")
    # Its store takes TCP addresses only, so its client is put in.
    store = throttled.RedisStore(server="redis://localhost:6379")
    store._backend._client = redis.from_url(url)
    throttle = throttled.Throttled(
        using="sliding_window", quota=throttled.per_sec(LIMIT), store=store, key="key", timeout=-1
    )
    ask: Callable[[], Any] = throttle.limit
    return ask
