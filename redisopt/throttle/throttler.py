"""`Throttler`: limits that many processes share, for threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from redisopt.functions import check_function
from redisopt.runner import Runner
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.permit import Permit
from redisopt.throttle.plans import PLAIN, Terms, ThrottlePlans

if TYPE_CHECKING:
    from types import TracebackType

    import redis

    from redisopt.throttle.decision import Decision, Outage, ThrottleMetrics

P = ParamSpec("P")
R = TypeVar("R")


class Throttler:
    """Limits shared by every process that uses the same Redis and the same name.

    >>> throttler = Throttler(client, "github", rates=["10/s", "5000/h"])
    >>> with throttler.acquire(timeout=5):
    ...     call_github()

    Thread-safe, and safe to use in a forked child. Every method costs one script call, whose server time does not grow with
    the limit; `acquire` costs one however long it waits. (benchmarks/README.md has the figures.)

    While Redis is away, a call takes `command_timeout` until that is known to the client, and then ends at once; Redis is
    probed in the background. What becomes of `try_acquire`, `acquire` and all that is built on them is the config's
    `on_unavailable`; everything else raises `Unavailable`, refunds as well. What was granted without Redis is not charged
    to it afterwards.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what the limit is for; the same in all processes that share it. No braces or control characters.
        config: a `ThrottleConfig`; or give its fields as keywords: rates, max_burst_size, cooldown_period, precision,
            margin, command_timeout, on_unavailable.
        on_throttle: called with the number of waiters in the fleet whenever a call is refused or has to wait.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name is not allowed.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: ThrottleConfig | None = None,
        *,
        on_throttle: Callable[[int], object] | None = None,
        **fields: Any,
    ) -> None:
        self._plans = ThrottlePlans(name, ThrottleConfig.given(config, fields), on_throttle)
        self._runner = Runner(client, self.config.command_timeout)
        self._permit = functools.partial(Permit, self._runner, self._plans)

    @property
    def name(self) -> str:
        """What the limit is for."""
        return self._plans.name

    @property
    def config(self) -> ThrottleConfig:
        """The limits that this object's calls are judged by."""
        return self._plans.config

    @property
    def outage(self) -> Outage | None:
        """Since when Redis has been away and what was decided without it; None while it is there. Asks nobody."""
        return self._plans.outage_policy.outage(self._runner.silence)

    def try_acquire(self, cost: int = 1, key: str = "", *, minimum: int | None = None) -> Decision[Permit]:
        """Take `cost` now or not at all; never waits.

        Args:
            cost: how much of each limit to take.
            key: which partition of the limiter, such as a user id: each key has limits of its own.
            minimum: with this, be content with less than `cost`, as much as there is but at least `minimum`; the permit's
                cost says how much it was.

        Raises:
            ValueError: cost below 1, or a key that is no text or over 1,024 bytes.
            CostExceedsLimit: cost above a limit (also a ValueError).
            Unavailable: Redis did not answer within `command_timeout`, and `on_unavailable` is "raise".
        """
        return self._runner.run(self._plans.try_acquire(self._permit, cost, key, minimum))

    def acquire(self, cost: int = 1, key: str = "", *, timeout: float | None = None) -> Permit:
        """Take `cost` at the earliest time that all limits allow, after all who asked before, and wait until then.

        The place is given in the one call that asks for it: waiting costs no further call. A caller that is interrupted
        while it waits (Ctrl-C) gives its place back.

        Args:
            cost, key: as `try_acquire`.
            timeout: seconds; a wait that would be longer is refused at once and charges nothing. None: wait for ever.

        Raises:
            ThrottleTimeout: the wait would outlast `timeout`; its `retry_after` says how long it is.
            Throttled: Redis is away, and `on_unavailable` refuses; its `reason` is "unavailable".
            ValueError, CostExceedsLimit, Unavailable: as `try_acquire`.
        """
        return self._runner.run(self._plans.acquire(self._permit, cost, key, timeout))

    def execute(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wait for one permit, then call ``function(*args, **kwargs)`` and return its result.

        For a cost, a key or a timeout use `acquire`, or the decorator.

        Raises:
            Whatever `function` raises, and what `acquire` raises.
        """
        check_function(function, "function", awaited=False, instead="an AsyncThrottler")
        return self._runner.run(self._plans.execute(self._permit, PLAIN, function, args, kwargs))  # type: ignore[no-any-return]

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(
        self, *, cost: int | Callable[..., int] = 1, key: str | Callable[..., str] = "", timeout: float | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        cost: int | Callable[..., int] = 1,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
    ) -> Callable[..., Any]:
        """Decorate a function: each call of it waits for a permit first.

        ``@throttler``, or ``@throttler(cost=2, key=lambda user: user, timeout=5)``; a callable `cost` or `key` is called
        with the arguments of the call.

        Raises:
            ValueError: the function is a coroutine function, which needs `AsyncThrottler`.
        """
        decorate = functools.partial(self._decorate, Terms(cost, key, timeout))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=False, instead="an AsyncThrottler")
        self._plans.check_terms(terms)

        @functools.wraps(function)
        def throttled(*args: Any, **kwargs: Any) -> Any:
            return self._runner.run(self._plans.execute(self._permit, terms, function, args, kwargs))

        return throttled

    def peek(self, key: str = "", *, cost: int = 1) -> Decision[Permit]:
        """What `try_acquire` would say now, without a permit; changes nothing."""
        return self._runner.run(self._plans.peek(cost, key))

    def metrics(self, key: str = "") -> ThrottleMetrics:
        """How the limiter stands, over the whole fleet. One script call."""
        return self._runner.run(self._plans.metrics(key))

    def reset(self, key: str = "") -> None:
        """Forget all that was granted for `key`: its limits start anew. Callers that wait keep their times."""
        self._runner.run(self._plans.reset(key))

    def close(self) -> None:
        """Close the connections, unless another throttler uses them. The client stays open."""
        self._runner.close()

    def __reduce__(self) -> Any:
        """Refuse to be pickled: connections cannot go to another process."""
        raise TypeError(f"{self!r} cannot be pickled: make one in each process, they share their limits by the name")

    def __repr__(self) -> str:
        """The name and the limits."""
        return f"{type(self).__name__}({self.name!r}, {self.config!r})"

    def __enter__(self) -> Self:
        """The throttler itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
