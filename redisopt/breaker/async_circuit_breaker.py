"""`AsyncCircuitBreaker`: the twin of `CircuitBreaker` for asyncio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import redis.asyncio

from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.breaker.judging import Kinds
from redisopt.breaker.passage import AsyncPassage, Entry
from redisopt.breaker.plans import BreakerPlans, BreakerPolicy
from redisopt.breaker.state import CircuitMetrics, State
from redisopt.breaker.watching import StateCallback
from redisopt.errors import REFUSALS
from redisopt.faces import Named
from redisopt.policies import Bound, Policy
from redisopt.policy_faces import AsyncPolicyFace
from redisopt.runner import AsyncRunner

P = ParamSpec("P")
R = TypeVar("R")


class AsyncCircuitBreaker(AsyncPolicyFace, Named[CircuitBreakerConfig]):
    """A breaker that all processes share: when too many of their calls fail, none is let through for a while; see `CircuitBreaker`.

    >>> breaker = AsyncCircuitBreaker(client, "github", failure_rate=0.5, minimum_calls=20, window=30, open_for=10)
    >>> async with breaker.allow():
    ...     await call_github()

    Args:
        client: a `redis.asyncio.Redis` (of one server or a Sentinel master) or `redis.asyncio.RedisCluster`.
        name, config, record, ignore, record_result, on_state_change, fields: as `CircuitBreaker`.

    Raises:
        ValueError, pydantic.ValidationError: as `CircuitBreaker`.
    """

    _plans: BreakerPlans

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        config: CircuitBreakerConfig | None = None,
        *,
        record: Kinds = Exception,
        ignore: Kinds = REFUSALS,
        record_result: Callable[[Any], object] | None = None,
        on_state_change: StateCallback | None = None,
        **fields: Any,
    ) -> None:
        self._plans = BreakerPlans(
            name, CircuitBreakerConfig.given(config, fields), record, ignore, record_result, on_state_change
        )
        self._runner = AsyncRunner(client, self.config.command_timeout)
        self._plans.attach(self._runner)
        self._policy = Bound(BreakerPolicy(self._plans), self._runner)

    # --- calls

    def allow(self) -> Entry:
        """See `CircuitBreaker.allow`: await it for the passage, or enter it with ``async with``."""
        return Entry(self._allow())

    async def _allow(self) -> AsyncPassage:
        return AsyncPassage(self._runner, self._plans, await self._runner.run(self._plans.allow()))

    def policy(self) -> Policy:
        """See `CircuitBreaker.policy`."""
        return self._policy

    # --- looking, and taking a hand

    async def state(self) -> State:
        """See `CircuitBreaker.state`."""
        return (await self.metrics()).state

    async def metrics(self) -> CircuitMetrics:
        """See `CircuitBreaker.metrics`."""
        return await self._runner.run(self._plans.look())

    async def force_open(self) -> None:
        """See `CircuitBreaker.force_open`."""
        await self._runner.run(self._plans.tell("forced_open"))

    async def disable(self) -> None:
        """See `CircuitBreaker.disable`."""
        await self._runner.run(self._plans.tell("disabled"))

    async def close_circuit(self) -> None:
        """See `CircuitBreaker.close_circuit`."""
        await self._runner.run(self._plans.tell("closed"))

    async def reset(self) -> None:
        """See `CircuitBreaker.reset`."""
        await self._runner.run(self._plans.tell("reset"))

    async def aclose(self) -> None:
        """See `CircuitBreaker.close`."""
        try:
            await self._runner.run(self._plans.give_back())
        finally:
            await self._runner.aclose()
