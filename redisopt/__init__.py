"""redisopt: many processes share one set of limits through the Redis they already run."""

from redisopt.clients import AsyncClient, Client, connect, connect_async, describe
from redisopt.errors import (
    ConfigConflict,
    CostExceedsLimit,
    RedisOptError,
    StateLost,
    Throttled,
    ThrottleTimeout,
    Unavailable,
)
from redisopt.events import add_hook, remove_hook
from redisopt.throttle.async_throttler import AsyncThrottler
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.decision import Decision, LimitState, Outage, ThrottleMetrics
from redisopt.throttle.permit import AsyncPermit, Permit
from redisopt.throttle.rate import Rate
from redisopt.throttle.throttler import Throttler

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "AsyncPermit",
    "AsyncThrottler",
    "Client",
    "ConfigConflict",
    "CostExceedsLimit",
    "Decision",
    "LimitState",
    "Outage",
    "Permit",
    "Rate",
    "RedisOptError",
    "StateLost",
    "ThrottleConfig",
    "ThrottleMetrics",
    "ThrottleTimeout",
    "Throttled",
    "Throttler",
    "Unavailable",
    "add_hook",
    "connect",
    "connect_async",
    "describe",
    "remove_hook",
]
