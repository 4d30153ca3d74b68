"""redisopt: many processes share one set of limits through the Redis they already run."""

from redisopt.clients import AsyncClient, Client, connect, connect_async, describe
from redisopt.errors import (
    ConfigConflict,
    CostExceedsLimit,
    PermitLost,
    QueueFull,
    RedisOptError,
    StateLost,
    Throttled,
    ThrottleTimeout,
    Unavailable,
)
from redisopt.events import add_hook, remove_hook
from redisopt.throttle.async_throttler import AsyncRequest, AsyncThrottler, async_acquire_all
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.decision import Decision, LimitState, Outage, ThrottleMetrics
from redisopt.throttle.headers import Advice, Policy, read_headers
from redisopt.throttle.joint_permit import AsyncJointPermit, JointPermit
from redisopt.throttle.permit import AsyncPermit, Permit
from redisopt.throttle.rate import Rate
from redisopt.throttle.throttler import Request, Throttler, acquire_all

__version__ = "0.1.0"
__all__ = [
    "Advice",
    "AsyncClient",
    "AsyncJointPermit",
    "AsyncPermit",
    "AsyncRequest",
    "AsyncThrottler",
    "Client",
    "ConfigConflict",
    "CostExceedsLimit",
    "Decision",
    "JointPermit",
    "LimitState",
    "Outage",
    "Permit",
    "PermitLost",
    "Policy",
    "QueueFull",
    "Rate",
    "RedisOptError",
    "Request",
    "StateLost",
    "ThrottleConfig",
    "ThrottleMetrics",
    "ThrottleTimeout",
    "Throttled",
    "Throttler",
    "Unavailable",
    "acquire_all",
    "add_hook",
    "async_acquire_all",
    "connect",
    "connect_async",
    "describe",
    "read_headers",
    "remove_hook",
]
