"""`RetryPolicy` and `AsyncRetryPolicy`: what fails is tried again, within the fleet's budget."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from tenacity.retry import RetryBaseT
from tenacity.stop import StopBaseT
from tenacity.wait import WaitBaseT

from redisopt.faces import Named
from redisopt.policies import Bound, Policy
from redisopt.policy_faces import AsyncPolicyFace, PolicyFace
from redisopt.retry.budget import RetryMetrics
from redisopt.retry.config import RetryConfig
from redisopt.retry.plans import RetryPlans
from redisopt.runner import AsyncRunner, Runner


class RetryPolicy(PolicyFace, Named[RetryConfig]):
    """What fails is tried again, after a random and growing time, and as often as the fleet's budget allows.

    >>> retry = RetryPolicy(client, "github", max_attempts=4, retry_on=("ConnectionError", "httpx.TransportError"))
    >>> retry.execute(call_github)

    The budget is what keeps retries from finishing off what is half down: over the whole fleet they are at most a share of the
    calls (`budget`), and `budget_minimum` a second. Only a retry costs Redis anything, one script call; while Redis is away, each
    process has a budget of its own.

    A `ResultTimeout` of a debouncer, a batcher or a cache inside is not tried again, though it is a `TimeoutError`, unless
    `retry_on` names it: what was waited for is pending still, and another try would submit it again.

    Only retry what may be done twice. Thread-safe, and safe to use in a forked child.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what is called; processes that use the same one share its budget. No braces or control characters.
        config: a `RetryConfig`; or give its fields as keywords.
        retry, wait, stop: strategies of tenacity that replace the config's, such as ``tenacity.wait_fixed(1)``.

    Raises:
        ValueError: the client is not a sync redis-py client, the name is not allowed, or a strategy is none.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    _plans: RetryPlans

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: RetryConfig | None = None,
        *,
        retry: RetryBaseT | None = None,
        wait: WaitBaseT | None = None,
        stop: StopBaseT | None = None,
        **fields: Any,
    ) -> None:
        self._plans = RetryPlans(name, RetryConfig.given(config, fields), retry, wait, stop)
        self._runner = Runner(client, self.config.command_timeout)

    def policy(self) -> Policy:
        """What goes on around a call, for a `Pipeline`."""
        return Bound(self._plans, self._runner)

    def metrics(self) -> RetryMetrics:
        """How retries stand, over the whole fleet. One script call.

        Raises:
            Unavailable: Redis did not answer within `command_timeout`.
        """
        return self._runner.run(self._plans.budget.look())


class AsyncRetryPolicy(AsyncPolicyFace, Named[RetryConfig]):
    """The twin of `RetryPolicy`; `execute` and `metrics` are awaited.

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, retry, wait, stop, fields: as `RetryPolicy`.

    Raises:
        ValueError, pydantic.ValidationError: as `RetryPolicy`.
    """

    _plans: RetryPlans

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: RetryConfig | None = None,
        *,
        retry: RetryBaseT | None = None,
        wait: WaitBaseT | None = None,
        stop: StopBaseT | None = None,
        **fields: Any,
    ) -> None:
        self._plans = RetryPlans(name, RetryConfig.given(config, fields), retry, wait, stop)
        self._runner = AsyncRunner(client, self.config.command_timeout)

    def policy(self) -> Policy:
        """See `RetryPolicy.policy`."""
        return Bound(self._plans, self._runner)

    async def metrics(self) -> RetryMetrics:
        """See `RetryPolicy.metrics`."""
        return await self._runner.run(self._plans.budget.look())
