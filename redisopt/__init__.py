"""redisopt: many processes share one set of limits through the Redis they already run."""

from redisopt.batch.async_batcher import AsyncBatcher
from redisopt.batch.bar import progress_bar
from redisopt.batch.batched import async_batched, batched
from redisopt.batch.batcher import Batcher
from redisopt.batch.config import BatchConfig
from redisopt.batch.contract import BatchItemError, Fatal, Retry, Run
from redisopt.batch.outcome import DeadItem
from redisopt.batch.progress import Progress
from redisopt.batch.telling import BatchMetrics
from redisopt.batch.ticket import AsyncBatchTicket, BatchTicket
from redisopt.batch.worker import AsyncBatchWorker, BatchWorker
from redisopt.clients import AsyncClient, Client, connect, connect_async, describe
from redisopt.errors import (
    BatchItemFailed,
    Cancelled,
    ConfigConflict,
    CostExceedsLimit,
    PermitLost,
    QueueFull,
    RedisOptError,
    ResultCountError,
    ResultExpired,
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
    "AsyncBatchTicket",
    "AsyncBatchWorker",
    "AsyncBatcher",
    "AsyncClient",
    "AsyncJointPermit",
    "AsyncPermit",
    "AsyncRequest",
    "AsyncThrottler",
    "BatchConfig",
    "BatchItemError",
    "BatchItemFailed",
    "BatchMetrics",
    "BatchTicket",
    "BatchWorker",
    "Batcher",
    "Cancelled",
    "Client",
    "ConfigConflict",
    "CostExceedsLimit",
    "DeadItem",
    "Decision",
    "Fatal",
    "JointPermit",
    "LimitState",
    "Outage",
    "Permit",
    "PermitLost",
    "Policy",
    "Progress",
    "QueueFull",
    "Rate",
    "RedisOptError",
    "Request",
    "ResultCountError",
    "ResultExpired",
    "Retry",
    "Run",
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
    "async_batched",
    "batched",
    "connect",
    "connect_async",
    "describe",
    "progress_bar",
    "read_headers",
    "remove_hook",
]
