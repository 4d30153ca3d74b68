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
from redisopt.breaker.async_circuit_breaker import AsyncCircuitBreaker
from redisopt.breaker.circuit_breaker import CircuitBreaker
from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.breaker.passage import AsyncPassage, Passage
from redisopt.breaker.plans import BreakerPolicy
from redisopt.breaker.state import CircuitMetrics
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
    CircuitOpen,
    ConfigConflict,
    CostExceedsLimit,
    OperationTimeout,
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
from redisopt.headers import Advice, Policy, read_headers
from redisopt.logs import LogEvents, log_events
from redisopt.monitor.async_monitor import AsyncPerformanceMonitor
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.measuring import Measure, Profile
from redisopt.monitor.monitor import PerformanceMonitor
from redisopt.monitor.report import Breach, MonitorMetrics, PerformanceReport
from redisopt.optimizer.async_optimizer import AsyncOperation, AsyncOptimizer
from redisopt.optimizer.config import OptimizerConfig
from redisopt.optimizer.metrics import OptimizerMetrics
from redisopt.optimizer.optimizer import Operation, Optimizer
from redisopt.pipeline.fallback import Fallback
from redisopt.pipeline.pipeline import AsyncPipeline, Pipeline
from redisopt.pipeline.timeout import Timeout
from redisopt.retry.budget import RetryMetrics
from redisopt.retry.config import RetryConfig
from redisopt.retry.retrying import AsyncRetryPolicy, RetryPolicy
from redisopt.throttle.async_throttler import AsyncRequest, AsyncThrottler, async_acquire_all
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.decision import Decision, LimitState, Outage, ThrottleMetrics
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
    "AsyncCircuitBreaker",
    "AsyncClient",
    "AsyncDebounceTicket",
    "AsyncDebouncer",
    "AsyncJointPermit",
    "AsyncOperation",
    "AsyncOptimizer",
    "AsyncPassage",
    "AsyncPerformanceMonitor",
    "AsyncPermit",
    "AsyncPipeline",
    "AsyncRequest",
    "AsyncRetryPolicy",
    "AsyncThrottler",
    "AsyncWorker",
    "BatchConfig",
    "BatchItemError",
    "BatchItemFailed",
    "BatchMetrics",
    "BatchRun",
    "BatchTicket",
    "Batcher",
    "Breach",
    "BreakerPolicy",
    "Cancelled",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitMetrics",
    "CircuitOpen",
    "Client",
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
    "Fallback",
    "Fatal",
    "JointPermit",
    "LimitState",
    "LogEvents",
    "Measure",
    "MonitorConfig",
    "MonitorMetrics",
    "Operation",
    "OperationTimeout",
    "Optimizer",
    "OptimizerConfig",
    "OptimizerMetrics",
    "Outage",
    "Passage",
    "Pending",
    "PerformanceMonitor",
    "PerformanceReport",
    "Permit",
    "PermitLost",
    "Pipeline",
    "Policy",
    "Profile",
    "Progress",
    "QueueFull",
    "Rate",
    "RedisOptError",
    "Request",
    "ResultCountError",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "RetryConfig",
    "RetryMetrics",
    "RetryPolicy",
    "Run",
    "RunFailed",
    "RunLost",
    "StateLost",
    "ThrottleConfig",
    "ThrottleMetrics",
    "ThrottleTimeout",
    "Throttled",
    "Throttler",
    "Timeout",
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
    "log_events",
    "progress_bar",
    "read_headers",
    "remove_hook",
]
