"""`Pipeline` and `AsyncPipeline`: any policies, in any order, around any function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import redis
import redis.asyncio

from redisopt.config import Config
from redisopt.faces import AsyncClosing, Closing
from redisopt.functions import is_async
from redisopt.pipeline.fallback import Fallback
from redisopt.policies import Bound, Fold, Policy
from redisopt.policy_faces import AsyncPolicyFace, PolicyFace
from redisopt.runner import AsyncRunner, Runner

COMMAND_TIMEOUT = 0.5
"""Seconds that one call of a policy to Redis may take in a pipeline, unless it is told otherwise."""

Part = Policy | Closing | AsyncClosing | Callable[..., Policy]
"""What a pipeline is made of."""


class _Folded:
    """Policies that are folded anew for each call, since some depend on its arguments."""

    def __init__(self, runner: Runner | AsyncRunner, policies: Iterable[Part]) -> None:
        if isinstance(policies, str | bytes) or not isinstance(policies, Iterable):
            raise ValueError(f"policies must be a list of policies, not {policies!r}")
        self._runner = runner
        self._parts = [_part(each, runner) for each in policies]

    def policy(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Policy:
        """All in one, for a call with these arguments."""
        return Fold(
            [part if hasattr(part, "around") else _placed(part(*args, **kwargs), self._runner) for part in self._parts]
        )

    def __repr__(self) -> str:
        """The policies, from the outermost to the innermost one."""
        return repr(self._parts)


class Pipeline(PolicyFace):
    """Policies around a function, the first one outermost.

    >>> pipeline = Pipeline(
    ...     client,
    ...     [Fallback([]), breaker, lambda user: throttler.policy(key=user), retry, Timeout(2)],
    ... )
    >>> pipeline.execute(fetch, "ada")

    Policies do not know each other: what is around a retry happens once for a call, what is inside of it for each try. The
    `Optimizer` is such a pipeline, in an order that suits most. Thread-safe, and safe to use in a forked child.

    Args:
        client: that performs what the policies ask. One whose own client is another one asks its own.
        policies: each a policy, such as ``throttler.policy(timeout=5)``; an object that is one by itself, such as a `Throttler`, a
            `CircuitBreaker` or a `RetryPolicy`; or a function of the call's arguments that returns a policy.
        command_timeout: seconds that one call to Redis may take.

    Raises:
        ValueError: the client is not a sync redis-py client; or what is no policy, or one of asyncio.
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        policies: Iterable[Part],
        *,
        command_timeout: float = COMMAND_TIMEOUT,
    ) -> None:
        self._runner = Runner(client, _checked_timeout(command_timeout))
        self._folded = _Folded(self._runner, policies)

    def policy(self, *args: Any, **kwargs: Any) -> Policy:
        """Its policies as one, for a call with these arguments: a pipeline can be part of another."""
        return Bound(self._folded.policy(args, kwargs), self._runner)

    def _policy_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Policy:
        return self._folded.policy(args, kwargs)

    def __repr__(self) -> str:
        """Its policies, from the outermost to the innermost one."""
        return f"Pipeline({self._folded!r})"


class AsyncPipeline(AsyncPolicyFace):
    """The twin of `Pipeline`, for coroutine functions and the policies of the Async classes.

    Args:
        client: a `redis.asyncio.Redis` or `redis.asyncio.RedisCluster`.
        policies, command_timeout: as `Pipeline`.

    Raises:
        ValueError: as `Pipeline`.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        policies: Iterable[Part],
        *,
        command_timeout: float = COMMAND_TIMEOUT,
    ) -> None:
        self._runner = AsyncRunner(client, _checked_timeout(command_timeout))
        self._folded = _Folded(self._runner, policies)

    def policy(self, *args: Any, **kwargs: Any) -> Policy:
        """Its policies as one, for a call with these arguments: a pipeline can be part of another."""
        return Bound(self._folded.policy(args, kwargs), self._runner)

    def _policy_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Policy:
        return self._folded.policy(args, kwargs)

    def __repr__(self) -> str:
        """Its policies, from the outermost to the innermost one."""
        return f"AsyncPipeline({self._folded!r})"


def _placed(policy: object, runner: Runner | AsyncRunner) -> Policy:
    """A policy for plans that `runner` performs.

    Raises:
        ValueError: it is no policy, or of the other kind.
    """
    awaited = isinstance(runner, AsyncRunner)
    around = getattr(policy, "around", None)
    if isinstance(policy, type) or not callable(around):
        has_one = " (use its policy())" if hasattr(policy, "policy") else ""
        raise ValueError(f"policies must have policies in it, such as throttler.policy(), not {policy!r}{has_one}")
    if is_async(around):
        raise ValueError(f"policies has {policy!r}, whose around must be a generator, not a coroutine function")
    if isinstance(policy, Fallback) and not awaited and policy.is_awaited:
        raise ValueError(f"policies has {policy!r}, whose answer is a coroutine function: use an AsyncPipeline")
    if isinstance(policy, Bound):
        if isinstance(policy.runner, AsyncRunner) is not awaited:
            wanted = "an Async class, such as AsyncThrottler" if awaited else "a sync class, such as Throttler"
            raise ValueError(f"policies must be of {wanted}, not {policy.policy!r}")
        return policy.for_runner(runner)
    found: Any = policy
    return found  # type: ignore[no-any-return]


def _part(part: Part, runner: Runner | AsyncRunner) -> Policy | Callable[..., Policy]:
    if isinstance(part, type) or callable(getattr(part, "around", None)):
        return _placed(part, runner)
    own = getattr(part, "policy", None)
    if callable(own):
        try:
            policy = own()
        except TypeError as error:
            raise ValueError(f"policies has {part!r}, which is not one by itself: use its policy(…): {error}") from None
        return _placed(policy, runner)
    if not callable(part):
        raise ValueError(f"policies must have policies in it, such as throttler.policy(), not {part!r}")
    return part


def _checked_timeout(command_timeout: float) -> float:
    """Seconds, bounded as in every config."""
    return Config(command_timeout=command_timeout).command_timeout
