"""`Cache`: one process of a fleet computes a value, all use it; for threads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, overload

import redis

from redisopt.cache.config import CacheConfig
from redisopt.cache.outcome import CacheEntry, CacheMetrics
from redisopt.cache.plans import CachePlans, CachePolicy, calling
from redisopt.cache.terms import Key, Tags, Terms
from redisopt.faces import Face
from redisopt.functions import check_function
from redisopt.policies import Bound, Policy
from redisopt.runner import Runner

P = ParamSpec("P")
R = TypeVar("R")


class Cache(Face[CacheConfig]):
    """Values that take long to compute, kept for the whole fleet, and computed by one process at a time.

    >>> cache = Cache(client, "geo", ttl=300, stale_for=3600)
    >>> cache.get_or_compute("ulm", locate, "Ulm")
    >>> @cache(key=lambda city: city, tags=["cities"])
    ... def locate(city): ...
    >>> cache.invalidate("cities")

    Whoever finds nothing gets a lease, and computes; all others wait for it and get its value. The lease is renewed in the
    background while that process lives; when it dies, exactly one other computes after `lease_ttl`. One that stood still and
    lost its lease cannot overwrite what came after it. A value that is stale is served at once for `stale_for` seconds while
    one process of the fleet refreshes it in the background.

    Values are None, bool, int, float, str, bytes, lists of these and dicts with str keys, up to `max_value_bytes`. Who computes gets what the
    function returned, all others what came back from Redis: a tuple comes back as a list.

    Thread-safe, and safe to use in a forked child. A hit costs one script call; a computation two, and one for each third of
    `lease_ttl`; a call that waits one, and one a second. A value with tags costs another one: to read on a Cluster, to compute and
    to set everywhere. What this process has a copy of (`local_ttl`) costs none.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what is cached; the same in all processes that share it. No braces or control characters.
        config: a `CacheConfig`; or give its fields as keywords.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name is not allowed.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    _plans: CachePlans

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: CacheConfig | None = None,
        **fields: Any,
    ) -> None:
        config = CacheConfig.given(config, fields)
        self._plans = CachePlans(name, config, clustered=isinstance(client, redis.RedisCluster))
        self._runner = Runner(client, config.command_timeout)
        self._plans.attach(self._runner)

    # --- values

    def get_or_compute(
        self,
        key: str,
        function: Callable[..., R],
        /,
        *args: Any,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        timeout: float | None = None,
        **kwargs: Any,
    ) -> R:
        """The value of `key`; where there is none, what ``function(*args, **kwargs)`` returns.

        Must not be called for a key from within the function that computes it: that waits for itself, until the timeout.

        Args:
            key: whose value; any text up to 1,024 bytes.
            function: computes it. For a keyword argument of its own named `ttl`, `tags` or `timeout`, pass a partial.
            ttl: seconds that the value is fresh, instead of the config's.
            tags: at most 16, by which the value can be invalidated.
            timeout: seconds to wait for another caller that computes it, instead of the config's `wait_timeout`. What this caller
                computes itself takes as long as it takes.

        Raises:
            Whatever `function` raises, where this caller ran it and no old value may be served.
            ComputeFailed: another caller ran it, and it failed less than `failure_ttl` ago (or `negative_ttl`).
            ResultTimeout: another one did not finish within `timeout`, and no old value may be served.
            ValueError: a key, ttl, tags or timeout that cannot be.
            Unavailable: Redis is away, and `on_unavailable` is "raise".
        """
        check_function(function, "function", awaited=False, instead="an AsyncCache")
        value: R = self._runner.run(
            self._plans.get_or_compute(key, calling(function, args, kwargs), ttl, tags, timeout)
        )
        return value

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(
        self, *, key: Key = None, ttl: float | None = None, tags: Tags = (), timeout: float | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        key: Key = None,
        ttl: float | None = None,
        tags: Tags = (),
        timeout: float | None = None,
    ) -> Callable[..., Any]:
        """Decorate a function: what its calls return is cached, as by `get_or_compute`.

        ``@cache``, or ``@cache(key=lambda user: user, ttl=60, tags=lambda user: [user])``; callables are called with the arguments
        of the call. Without `key`, the key is made of the names of the function and its module, and of its arguments, which must be plain
        values.

        Raises:
            ValueError: the function is a coroutine function, which needs `AsyncCache`; it needs a `key`, since others may have its name; or an
                argument is out of range.
        """
        decorate = functools.partial(self._decorate, Terms(key, ttl, tags, timeout))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=False, instead="an AsyncCache")
        self._plans.check_terms(terms, function)

        @functools.wraps(function)
        def cached(*args: Any, **kwargs: Any) -> Any:
            return self._runner.run(self._plans.call(terms, function, args, kwargs))

        return cached

    def policy(
        self, key: str, *, ttl: float | None = None, tags: Sequence[str] = (), timeout: float | None = None
    ) -> Policy:
        """The cache as a policy around any plan; arguments as `get_or_compute`.

        Where a stale value is served, what goes on inside is performed again in the background, by this cache.

        Raises:
            ValueError: as `get_or_compute`.
        """
        return Bound(CachePolicy(self._plans, Terms(key, ttl, tags, timeout)), self._runner)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, fresh or stale; `default` where there is none, or Redis is away and `on_unavailable` is "compute".

        Starts no refresh, and waits for nobody.

        Raises:
            ValueError: a key that cannot be.
            Unavailable: Redis is away, and `on_unavailable` is "raise".
        """
        return self._runner.run(self._plans.get(key, default))

    def set(self, key: str, value: Any, *, ttl: float | None = None, tags: Sequence[str] = ()) -> None:
        """Keep a value for `key`. Whoever computes one now gets his own, but it is not kept; who waits gets this one.

        Raises:
            ValueError: a value that cannot be stored, or is larger than `max_value_bytes`; key, ttl or tags.
            Unavailable: Redis is away or full. Where its `sent` is true, the value may be kept.
        """
        self._runner.run(self._plans.set(key, value, ttl, tags))

    def delete(self, key: str) -> bool:
        """Forget the value of `key`, and its failure. What is being computed for it now is not kept.

        Returns:
            Whether there was a value.

        Raises:
            ValueError: a key that cannot be.
            Unavailable: Redis is away. Where its `sent` is true, it may be forgotten.
        """
        return self._runner.run(self._plans.delete(key))

    def invalidate(self, tag: str) -> None:
        """Have no value be served again that has this tag, or was begun to be computed under it. O(1), however many there are.

        The values themselves stay in Redis until their time is over, or they are computed anew.

        Raises:
            ValueError: a tag that is no text, empty or too long.
            Unavailable: Redis is away. Where its `sent` is true, they may be invalid.
        """
        self._runner.run(self._plans.invalidate(tag))

    # --- looking

    def peek(self, key: str) -> CacheEntry:
        """How a key stands; changes nothing, and counts as nothing. Raises `Unavailable` while Redis is away."""
        return self._runner.run(self._plans.peek(key))

    def metrics(self) -> CacheMetrics:
        """What the fleet has counted, up to 2 s ago. Raises `Unavailable` while Redis is away."""
        return self._runner.run(self._plans.metrics())

    # --- the end

    def close(self) -> None:
        """Give back the leases of what is being refreshed, hand in what was counted, and close the connections unless another primitive uses them.

        The client stays open, and so do the calls under way.
        """
        try:
            self._runner.run(self._plans.end())
        finally:
            self._runner.close()
