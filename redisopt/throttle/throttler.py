"""`Throttler`: limits that many processes share, for threads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

import redis

from redisopt.commands import Plan, invoke
from redisopt.faces import Face
from redisopt.functions import check_function
from redisopt.keys import checked_key
from redisopt.monitor.monitor import PerformanceMonitor
from redisopt.policies import Bound, Policy
from redisopt.runner import Runner
from redisopt.throttle.around import ThrottlePolicy
from redisopt.throttle.config import ThrottleConfig, ThrottleFields
from redisopt.throttle.joint import Ask, joined
from redisopt.throttle.joint import acquire_all as plan_to_acquire_all
from redisopt.throttle.joint_permit import JointPermit
from redisopt.throttle.permit import Origin, Permit
from redisopt.throttle.plans import ThrottlePlans
from redisopt.throttle.terms import PLAIN, Terms, patience

if TYPE_CHECKING:
    from redisopt.headers import Advice, Headers
    from redisopt.throttle.decision import Decision, Outage, ThrottleMetrics

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Request:
    """What `acquire_all` is to ask of one limiter; made by `Throttler.request`."""

    runner: Runner
    ask: Ask[Permit]


class Throttler(Face[ThrottleConfig]):
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
            margin, max_concurrent, lease_ttl, max_queue, prefetch, on_conflict, group,
            on_unavailable, command_timeout.
        on_throttle: called with the number of waiters in the fleet whenever a call is refused or has to wait.
        on_lost: called with a permit whose lease is lost, in a background thread: within a third of `lease_ttl` after
            somebody else may hold its place, and once.
        monitor: a `PerformanceMonitor`: what `execute` and the decorator call is counted there, as `throttled_operation` with
            the label `throttler`, and reported in `metrics().performance`.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name is not allowed.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    _plans: ThrottlePlans[Permit]

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: ThrottleConfig | None = None,
        *,
        on_throttle: Callable[[int], object] | None = None,
        on_lost: Callable[[Permit], object] | None = None,
        monitor: PerformanceMonitor | None = None,
        **fields: Unpack[ThrottleFields],
    ) -> None:
        self._plans = ThrottlePlans(
            name,
            ThrottleConfig.given(config, fields),
            on_throttle,
            on_lost,
            monitor=monitor,
            awaited=False,
            spread=isinstance(client, redis.RedisCluster),
        )
        self._runner = Runner(client, self.config.command_timeout)
        self._plans.attach(self._runner, functools.partial(Permit, Origin(self._runner, self._plans.returning)))

    @property
    def outage(self) -> Outage | None:
        """Since when Redis has been away and what was decided without it; None while it is there. Asks nobody."""
        return self._plans.outage_policy.outage(self._runner.silence)

    def try_acquire(
        self, cost: int = 1, key: str = "", *, minimum: int | None = None, weight: int = 1
    ) -> Decision[Permit]:
        """Take `cost` now or not at all; never waits.

        Args:
            cost: how much of each limit to take.
            key: which partition of the limiter, such as a user id: each key has limits of its own.
            minimum: with this, be content with less than `cost`, as much as there is but at least `minimum`; the permit's
                cost says how much it was.
            weight: slots of `max_concurrent` that the permit holds.

        Raises:
            ValueError: cost below 1, or a key that is no text or over 1,024 bytes.
            CostExceedsLimit: cost above a limit (also a ValueError).
            Unavailable: Redis did not answer within `command_timeout`, and `on_unavailable` is "raise".
        """
        if self._plans.outage_policy.raises:
            return self._try_acquire(cost, key, minimum, weight)
        asking = invoke(self._try_acquire, cost, key, minimum, weight)
        return self._runner.run(self._plans.outage_policy.try_acquire(asking, cost, key, minimum, weight))

    def _try_acquire(self, cost: int, key: str, minimum: int | None, weight: int) -> Decision[Permit]:
        asking = self._plans.asking
        if asking.shadows:
            return self._runner.run(self._plans.shadow.try_acquire(cost, key, minimum, weight))
        if asking.most_ahead and minimum is None and weight == 1 and asking.travels(cost):
            decision = self._plans.ahead.from_share(cost, key) or self._fetch(cost, key)
            if decision is not None:
                return decision
        return self._runner.run(self._plans.deciding.try_acquire(cost, key, minimum, weight))

    def _fetch(self, cost: int, key: str) -> Decision[Permit] | None:
        """Take a share ahead, and the permit from it; threads wait for the one that does."""
        plans = self._plans
        fetching = plans.keeping.shares.fetching(checked_key(key))
        if not fetching.acquire(timeout=self.config.command_timeout):
            return None
        try:
            decision = plans.ahead.from_share(cost, key)
            if decision is None and self._runner.run(plans.ahead.fetch(cost, key)):
                decision = plans.ahead.from_share(cost, key)
            return decision
        finally:
            fetching.release()

    def acquire(
        self, cost: int = 1, key: str = "", *, timeout: float | None = None, priority: int = 0, weight: int = 1
    ) -> Permit:
        """Take `cost` at the earliest time that all limits allow, after all who asked before, and wait until then.

        The place is given in the one call that asks for it: waiting costs no further call. A caller that is interrupted
        while it waits (Ctrl-C) gives its place back.

        Args:
            cost, key: as `try_acquire`.
            timeout: seconds; a wait that would be longer is refused at once and charges nothing. None: wait for ever.
            priority: from -1,000 to 1,000: of those who wait, higher ones go first. (The first call with another one than
                0, in a limiter that had none for ten minutes, stands behind the places that were given ahead.)
            weight: as `try_acquire`.

        Raises:
            ThrottleTimeout: the wait would outlast `timeout`; its `retry_after` says how long it is.
            QueueFull: as many callers wait as `max_queue` allows.
            Throttled: Redis is away, and `on_unavailable` refuses; its `reason` is "unavailable".
            ValueError, CostExceedsLimit, Unavailable: as `try_acquire`.
        """
        if self._plans.outage_policy.raises:
            return self._acquire_in_redis(cost, key, timeout, weight, priority)
        asking = invoke(self._acquire_in_redis, cost, key, timeout, weight, priority)
        policy: Plan[Permit] = self._plans.outage_policy.acquire(asking, cost, key, timeout, weight)
        return self._runner.run(policy)

    def _acquire_in_redis(self, cost: int, key: str, timeout: float | None, weight: int, priority: int) -> Permit:
        asking = self._plans.asking
        if asking.shadows:
            shadow: Plan[Permit] = self._plans.shadow.acquire(cost, key, timeout, weight, priority)
            return self._runner.run(shadow)
        if asking.most_ahead and weight == 1 and not priority and asking.travels(cost):
            patience(timeout)
            decision = self._plans.ahead.from_share(cost, key) or self._fetch(cost, key)
            if decision is not None and decision.permit is not None:
                return decision.permit
        return self._runner.run(self._plans.deciding.acquire(cost, key, timeout, weight, priority))

    def execute(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wait for one permit, then call ``function(*args, **kwargs)`` and return its result.

        For a cost, a key or a timeout use `acquire`, or the decorator.

        Raises:
            Whatever `function` raises, and what `acquire` raises.
        """
        check_function(function, "function", awaited=False, instead="an AsyncThrottler")
        return self._execute(PLAIN, function, args, kwargs)  # type: ignore[no-any-return]

    def _execute(self, how: Terms, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        cost, key = how.of_call(args, kwargs)
        permit = self.acquire(cost, key, timeout=how.timeout, priority=how.priority, weight=how.weight)
        return self._runner.run(self._plans.run_with(permit, function, args, kwargs))

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        cost: int | Callable[..., int] = 1,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
        priority: int = 0,
        weight: int = 1,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        cost: int | Callable[..., int] = 1,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
        priority: int = 0,
        weight: int = 1,
    ) -> Callable[..., Any]:
        """Decorate a function: each call of it waits for a permit first.

        ``@throttler``, or ``@throttler(cost=2, key=lambda user: user, timeout=5)``; a callable `cost` or `key` is called
        with the arguments of the call.

        Raises:
            ValueError: the function is a coroutine function, which needs `AsyncThrottler`.
        """
        decorate = functools.partial(self._decorate, Terms(cost, key, timeout, weight, priority))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=False, instead="an AsyncThrottler")
        terms.check(self._plans.asking)

        @functools.wraps(function)
        def throttled(*args: Any, **kwargs: Any) -> Any:
            return self._execute(terms, function, args, kwargs)

        return throttled

    def policy(
        self, cost: int = 1, key: str = "", *, timeout: float | None = None, priority: int = 0, weight: int = 1
    ) -> Policy:
        """What goes on around a call, for a `Pipeline`: it waits for a permit, and releases it at the end. Arguments as `acquire`.

        Raises:
            ValueError, CostExceedsLimit: as `acquire`.
        """
        Terms(cost, key, timeout, weight, priority).check(self._plans.asking)
        acquire = functools.partial(self.acquire, cost, key, priority=priority, weight=weight)
        return Bound(ThrottlePolicy(acquire, timeout, self._plans.under), self._runner)

    def request(self, cost: int = 1, key: str = "", *, weight: int = 1) -> Request:
        """What to ask of this limiter in an `acquire_all`; charges nothing yet. Arguments as `try_acquire`."""
        ask = Ask(self._plans, cost, checked_key(key), weight)
        ask.check()
        return Request(self._runner, ask)

    def peek(self, key: str = "", *, cost: int = 1) -> Decision[Permit]:
        """What `try_acquire` would say now, without a permit; changes nothing."""
        return self._runner.run(self._plans.peek(cost, key))

    def metrics(self, key: str = "") -> ThrottleMetrics:
        """How the limiter stands, over the whole fleet. One script call, and those of `PerformanceMonitor.report` with a monitor."""
        return self._runner.run(self._plans.metrics(key))

    def reset(self, key: str = "") -> None:
        """Forget all that was granted for `key`: its limits start anew, and no lease is held any more.

        Callers with a place ahead keep their times; those in the line stand in it anew. Who held a lease learns that it is
        lost when it would be renewed.
        """
        self._runner.run(self._plans.reset(key))

    def update(self, **fields: Unpack[ThrottleFields]) -> None:
        """Have the whole fleet use other limits from its next call on, whatever each process was made with.

        What was granted before still counts, and leases that are held are kept: with lower limits nothing is granted until
        there is room. Callers that wait ask anew (one that began to wait within the last 0.1 s, where its process listens for
        the first time, may keep its time). Each update replaces the one before: fields that it does not name are
        again those that each process was made with, and without fields all are. A process that cannot take it, since it does
        not go with its own other fields, logs that as an error, counts it in `metrics().conflicts`, and goes on as before.
        (On a Cluster, calls with a `key` and no `group` follow within a second.)

        Args:
            fields: of `ThrottleConfig`, but for command_timeout and group: ``update(rates=["20/s"])``.

        Raises:
            pydantic.ValidationError, ValueError: a field is unknown, out of range, or each process's own.
            Unavailable: as `try_acquire`; then whether it was told is not known, and telling it again does no harm.
        """
        self._runner.run(self._plans.telling.update(dict(fields)))

    def pause(self, seconds: float) -> None:
        """Grant nothing to the whole fleet for `seconds`: the far side said so. A shorter pause does not end a longer one.

        Callers that wait ask anew for a place after it, but for those whose time comes within 0.1 s. One script call.

        Raises:
            ValueError: `seconds` is not from 0 to 86,400.
            Unavailable: as `update`.
        """
        self._runner.run(self._plans.telling.pause(seconds))

    def observe(self, headers: Headers, status: int | None = None) -> Advice:
        """Have the whole fleet heed what an API's response says of its limits.

        Where it asks for it, by ``Retry-After`` or by a limit with nothing left until its reset, nobody is granted anything
        for so long, as by `pause`. `redisopt.headers` names the headers that are understood. One script call when
        there is something to heed, else none.

        >>> response = httpx.get(url)
        >>> throttler.observe(response.headers, response.status_code)

        Args:
            headers: the response's, as a mapping or as pairs.
            status: its status code. Below 400 a Retry-After is no reason to pause.

        Returns:
            What was read, with the pause in seconds.

        Raises:
            ValueError: `headers` are none, or `status` is no status code. What a server sends never raises.
            Unavailable: as `update`.
        """
        return self._runner.run(self._plans.telling.observe(headers, status))

    def resume(self) -> None:
        """End a pause now. One script call."""
        self._runner.run(self._plans.telling.resume())

    def close(self) -> None:
        """Give back the leases that are held, and close the connections unless another throttler uses them.

        The client stays open.
        """
        try:
            self._runner.run(self._plans.close())
        finally:
            self._runner.close()


def acquire_all(requests: Iterable[Request], timeout: float | None = None) -> JointPermit:
    """Take what is asked of several limiters and keys, all or nothing, and wait until all of it can be had at once.

    >>> with acquire_all([per_user.request(key="user:42"), everyone.request(cost=120)], timeout=5) as permit:
    ...     call_the_model()

    One script call decides over all, and enforces limits in shadow as well. A caller that waits stands in the line of the
    limiter that refuses longest; that of another may make it wait again. Limiters of one Cluster need one `group`.

    Args:
        requests: of `Throttler.request`, for up to 16 limiters of one client; one that is named twice is charged the sum.
        timeout: seconds; 0 does not wait. None: wait for ever.

    Raises:
        ThrottleTimeout: not within `timeout`; `reason` names the limiter and its limit, `retry_after` is when that would
            grant it. Nothing was charged.
        QueueFull: as `Throttler.acquire`, of the limiter that it would wait for.
        ValueError: there are no requests, too many, not of one client, or a Cluster holds them in different slots.
        CostExceedsLimit, Unavailable: as `Throttler.acquire`.
    """
    runner, asks = joined(requests, Request, "Throttler")
    return JointPermit(runner, runner.run(plan_to_acquire_all(asks, timeout)))
