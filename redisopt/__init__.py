"""redisopt: many processes share one set of limits through the Redis they already run."""

from redisopt.clients import AsyncClient, Client, connect, connect_async, describe
from redisopt.dead import DeadLetter
from redisopt.debounce.async_debouncer import AsyncDebouncer
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.debouncer import Debouncer
from redisopt.debounce.outcome import DebounceMetrics, DebounceResult, Pending, Run
from redisopt.debounce.ticket import AsyncDebounceTicket, DebounceTicket
from redisopt.errors import (
    Cancelled,
    ConfigConflict,
    CostExceedsLimit,
    PermitLost,
    QueueFull,
    RedisOptError,
    ResultExpired,
    ResultTimeout,
    RunFailed,
    RunLost,
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
from redisopt.workers import AsyncWorker, Worker

__version__ = "0.1.0"
__all__ = [
    "Advice",
    "AsyncClient",
    "AsyncDebounceTicket",
    "AsyncDebouncer",
    "AsyncJointPermit",
    "AsyncPermit",
    "AsyncRequest",
    "AsyncThrottler",
    "AsyncWorker",
    "Cancelled",
    "Client",
    "ConfigConflict",
    "CostExceedsLimit",
    "DeadLetter",
    "DebounceConfig",
    "DebounceMetrics",
    "DebounceResult",
    "DebounceTicket",
    "Debouncer",
    "Decision",
    "JointPermit",
    "LimitState",
    "Outage",
    "Pending",
    "Permit",
    "PermitLost",
    "Policy",
    "QueueFull",
    "Rate",
    "RedisOptError",
    "Request",
    "ResultExpired",
    "ResultTimeout",
    "Run",
    "RunFailed",
    "RunLost",
    "StateLost",
    "ThrottleConfig",
    "ThrottleMetrics",
    "ThrottleTimeout",
    "Throttled",
    "Throttler",
    "Unavailable",
    "Worker",
    "acquire_all",
    "add_hook",
    "async_acquire_all",
    "connect",
    "connect_async",
    "describe",
    "read_headers",
    "remove_hook",
]
