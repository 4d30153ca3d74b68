"""redisopt: many processes share one set of limits through the Redis they already run."""

from redisopt.batch.async_batcher import AsyncBatcher
from redisopt.batch.bar import progress_bar
from redisopt.batch.batched import async_batched, batched
from redisopt.batch.batcher import Batcher
from redisopt.batch.config import BatchConfig
from redisopt.batch.contract import BatchItemError, BatchRun, Fatal, Retry
from redisopt.batch.outcome import DeadItem
from redisopt.batch.progress import Progress
from redisopt.batch.telling import BatchMetrics
from redisopt.batch.ticket import AsyncBatchTicket, BatchTicket
from redisopt.cache.async_cache import AsyncCache
from redisopt.cache.cache import Cache
from redisopt.cache.config import CacheConfig
from redisopt.cache.outcome import CacheEntry, CacheMetrics
from redisopt.clients import AsyncClient, Client, connect, connect_async, describe
from redisopt.dead import DeadLetter
from redisopt.debounce.async_debouncer import AsyncDebouncer
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.debouncer import Debouncer
from redisopt.debounce.outcome import DebounceMetrics, DebounceResult, Pending, Run
from redisopt.debounce.ticket import AsyncDebounceTicket, DebounceTicket
from redisopt.errors import (
    BatchItemFailed,
    Cancelled,
    ComputeFailed,
    ConfigConflict,
    CostExceedsLimit,
    PermitLost,
    QueueFull,
    RedisOptError,
    ResultCountError,
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
    "AsyncBatchTicket",
    "AsyncBatcher",
    "AsyncCache",
    "AsyncClient",
    "AsyncDebounceTicket",
    "AsyncDebouncer",
    "AsyncJointPermit",
    "AsyncPermit",
    "AsyncRequest",
    "AsyncThrottler",
    "AsyncWorker",
    "BatchConfig",
    "BatchItemError",
    "BatchItemFailed",
    "BatchMetrics",
    "BatchRun",
    "BatchTicket",
    "Batcher",
    "Cache",
    "CacheConfig",
    "CacheEntry",
    "CacheMetrics",
    "Cancelled",
    "Client",
    "ComputeFailed",
    "ConfigConflict",
    "CostExceedsLimit",
    "DeadItem",
    "DeadLetter",
    "DebounceConfig",
    "DebounceMetrics",
    "DebounceResult",
    "DebounceTicket",
    "Debouncer",
    "Decision",
    "Fatal",
    "JointPermit",
    "LimitState",
    "Outage",
    "Pending",
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
    "ResultTimeout",
    "Retry",
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
    "async_batched",
    "batched",
    "connect",
    "connect_async",
    "describe",
    "progress_bar",
    "read_headers",
    "remove_hook",
]
