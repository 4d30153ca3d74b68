"""redisopt: many processes share one set of limits through the Redis they already run.

Each name is loaded when it is first used: to import the package costs next to nothing, and who throttles does not pay for batches.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from redisopt.cache.async_cache import AsyncCache
    from redisopt.cache.cache import Cache
    from redisopt.cache.config import CacheConfig
    from redisopt.cache.outcome import CacheEntry, CacheMetrics
    from redisopt.clients import AsyncClient, Client, connect, connect_async, describe
    from redisopt.codec import PayloadError
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
        ComputeFailed,
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
    from redisopt.headers import Advice, QuotaPolicy, read_headers
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
    from redisopt.policies import Policy
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

_HOMES = {
    "batch.async_batcher": "AsyncBatcher",
    "batch.bar": "progress_bar",
    "batch.batched": "async_batched batched",
    "batch.batcher": "Batcher",
    "batch.config": "BatchConfig",
    "batch.contract": "BatchItemError BatchRun Fatal Retry",
    "batch.outcome": "DeadItem",
    "batch.progress": "Progress",
    "batch.telling": "BatchMetrics",
    "batch.ticket": "AsyncBatchTicket BatchTicket",
    "breaker.async_circuit_breaker": "AsyncCircuitBreaker",
    "breaker.circuit_breaker": "CircuitBreaker",
    "breaker.config": "CircuitBreakerConfig",
    "breaker.passage": "AsyncPassage Passage",
    "breaker.plans": "BreakerPolicy",
    "breaker.state": "CircuitMetrics",
    "cache.async_cache": "AsyncCache",
    "cache.cache": "Cache",
    "cache.config": "CacheConfig",
    "cache.outcome": "CacheEntry CacheMetrics",
    "clients": "AsyncClient Client connect connect_async describe",
    "codec": "PayloadError",
    "dead": "DeadLetter",
    "debounce.async_debouncer": "AsyncDebouncer",
    "debounce.config": "DebounceConfig",
    "debounce.debouncer": "Debouncer",
    "debounce.outcome": "DebounceMetrics DebounceResult Pending Run",
    "debounce.ticket": "AsyncDebounceTicket DebounceTicket",
    "errors": "BatchItemFailed Cancelled CircuitOpen ComputeFailed ConfigConflict CostExceedsLimit OperationTimeout PermitLost QueueFull RedisOptError ResultCountError ResultExpired ResultTimeout RunFailed RunLost StateLost ThrottleTimeout Throttled Unavailable",
    "events": "add_hook remove_hook",
    "headers": "Advice QuotaPolicy read_headers",
    "logs": "LogEvents log_events",
    "monitor.async_monitor": "AsyncPerformanceMonitor",
    "monitor.config": "MonitorConfig",
    "monitor.measuring": "Measure Profile",
    "monitor.monitor": "PerformanceMonitor",
    "monitor.report": "Breach MonitorMetrics PerformanceReport",
    "optimizer.async_optimizer": "AsyncOperation AsyncOptimizer",
    "optimizer.config": "OptimizerConfig",
    "optimizer.metrics": "OptimizerMetrics",
    "optimizer.optimizer": "Operation Optimizer",
    "pipeline.fallback": "Fallback",
    "pipeline.pipeline": "AsyncPipeline Pipeline",
    "pipeline.timeout": "Timeout",
    "policies": "Policy",
    "retry.budget": "RetryMetrics",
    "retry.config": "RetryConfig",
    "retry.retrying": "AsyncRetryPolicy RetryPolicy",
    "throttle.async_throttler": "AsyncRequest AsyncThrottler async_acquire_all",
    "throttle.config": "ThrottleConfig",
    "throttle.decision": "Decision LimitState Outage ThrottleMetrics",
    "throttle.joint_permit": "AsyncJointPermit JointPermit",
    "throttle.permit": "AsyncPermit Permit",
    "throttle.rate": "Rate",
    "throttle.throttler": "Request Throttler acquire_all",
    "workers": "AsyncWorker Worker",
}
"""Where each public name is defined, by module."""

_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Advice",
    "AsyncBatchTicket",
    "AsyncBatcher",
    "AsyncCache",
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
    "Cache",
    "CacheConfig",
    "CacheEntry",
    "CacheMetrics",
    "Cancelled",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitMetrics",
    "CircuitOpen",
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
    "PayloadError",
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
    "QuotaPolicy",
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


def __getattr__(name: str) -> Any:
    """Load a public name, or a module of the package, when it is first asked for."""
    home = _MODULE_OF.get(name)
    if home is not None:
        found = getattr(importlib.import_module(f"redisopt.{home}"), name)
    elif name.startswith("_"):
        raise AttributeError(f"module 'redisopt' has no attribute {name!r}")
    else:
        try:
            found = importlib.import_module(f"redisopt.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"redisopt.{name}":
                raise  # an extra is not installed
            raise AttributeError(f"module 'redisopt' has no attribute {name!r}") from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
