"""All that one cache decides, shared by its sync and its async class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redisopt.background import Performer
from redisopt.cache.asking import Asking
from redisopt.cache.checking import Checking
from redisopt.cache.computing import Computing, Wish
from redisopt.cache.config import CacheConfig
from redisopt.cache.controlling import Controlling
from redisopt.cache.copies import Copies
from redisopt.cache.counting import Counting
from redisopt.cache.getting import Getting
from redisopt.cache.layout import checked_tag, checked_tags
from redisopt.cache.outcome import CacheEntry, CacheMetrics
from redisopt.cache.refreshing import Refreshing
from redisopt.cache.terms import Terms, checked_named, checked_timeout, checked_ttl
from redisopt.commands import Invoke, Plan


class CachePlans:
    """The plans of one cache. What a caller says is checked here, before Redis is touched."""

    def __init__(self, name: str, config: CacheConfig, *, clustered: bool) -> None:
        self.name = name
        self.config = config
        self._asking = Asking(name, config, clustered=clustered)
        self._counting = Counting(self._asking)
        self._copies = Copies(config, self._asking.layout)
        checking = Checking(self._asking)
        self._computing = Computing(self._asking, self._counting, self._copies, checking)
        self._refreshing = Refreshing(self._asking, self._computing, self._counting)
        self._getting = Getting(self._asking, self._computing, checking, self._refreshing, self._counting, self._copies)
        self._controlling = Controlling(
            self._asking, self._computing, checking, self._counting, self._copies, self._getting.flights
        )

    def attach(self, performer: Performer) -> None:
        """Have `performer` perform what goes on in the background, and wake who waits."""
        self._getting.awaiting.wake = performer.wake
        self._getting.flights.attach(performer)
        self._refreshing.attach(performer)
        self._computing.forget = self._getting.flights.forget
        leases = self._computing.leases
        leases.attach(performer, leases.keep, f"redisopt-cache-{self.name}-leases")
        owing = self._computing.owing
        owing.attach(performer, owing.keep, f"redisopt-cache-{self.name}-owed")
        self._counting.attach(performer, self._counting.keep, f"redisopt-cache-{self.name}-counts")
        self._copies.attach(performer, self._copies.keep, f"redisopt-cache-{self.name}-copies")

    # --- values

    def get_or_compute(
        self, key: str, compute: Callable[[], Plan[Any]], ttl: float | None, tags: Sequence[str], timeout: float | None
    ) -> Plan[Any]:
        """The value of a key, computed by one caller of the fleet with the plan that `compute` makes."""
        place = self._asking.layout.place(key)
        wish = Wish(
            compute,
            checked_ttl(ttl, self.config),
            checked_tags(tags) if tags else (),
            checked_timeout(timeout, self.config),
        )
        return (yield from self._getting.get_or_compute(place, wish))

    def call(
        self, terms: Terms, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Plan[Any]:
        """A call of a decorated function."""
        key = terms.key_of(function, args, kwargs)
        tags = terms.tags_of(args, kwargs)
        compute = calling(function, args, kwargs)
        return (yield from self.get_or_compute(key, compute, terms.ttl, tags, terms.timeout))

    def get(self, key: str, default: Any) -> Plan[Any]:
        """The value of a key, if there is one."""
        return (yield from self._getting.get(self._asking.layout.place(key), default))

    def set(self, key: str, value: Any, ttl: float | None, tags: Sequence[str]) -> Plan[None]:
        """Keep a value."""
        place, found = self._asking.layout.place(key), checked_tags(tags)
        yield from self._controlling.set(place, value, checked_ttl(ttl, self.config), found)

    def delete(self, key: str) -> Plan[bool]:
        """Forget a key."""
        return (yield from self._controlling.delete(self._asking.layout.place(key)))

    def invalidate(self, tag: str) -> Plan[None]:
        """Forget all values of a tag."""
        yield from self._controlling.invalidate(checked_tag(tag))

    # --- looking

    def peek(self, key: str) -> Plan[CacheEntry]:
        """How a key stands."""
        return (yield from self._controlling.peek(self._asking.layout.place(key)))

    def metrics(self) -> Plan[CacheMetrics]:
        """What the fleet has counted."""
        return self._controlling.metrics()

    def check_terms(self, terms: Terms, function: Callable[..., Any] | None = None) -> None:
        """Refuse terms that no call could meet, those of a function's calls where one is given.

        Raises:
            ValueError: key, ttl, tags or timeout; or the function, where it needs a key.
        """
        if function is not None and terms.key is None:
            checked_named(function)
        if isinstance(terms.key, str):
            self._asking.layout.place(terms.key)
        elif terms.key is not None and not callable(terms.key):
            raise ValueError(f"key must be a str, or a function of the call's arguments, not {terms.key!r}")
        if not callable(terms.tags):
            checked_tags(terms.tags)
        checked_ttl(terms.ttl, self.config)
        checked_timeout(terms.timeout, self.config)

    # --- the end

    def end(self) -> Plan[None]:
        """Stop listening, give back what is being refreshed, and hand in what was counted."""
        self._copies.stop()
        yield from self._refreshing.stop()
        self._computing.owing.end()
        yield from self._counting.finish()


class CachePolicy:
    """A `policies.Policy`: what goes on inside is done only where the cache has no value for it."""

    def __init__(self, plans: CachePlans, terms: Terms) -> None:
        """`terms` name a key that is text."""
        plans.check_terms(terms)
        self._plans = plans
        self._terms = terms

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """The value of the key; `inner` computes it, in the background where an old one is served meanwhile."""
        terms = self._terms
        key = terms.key_of(_no_arguments, (), {})
        return (yield from self._plans.get_or_compute(key, inner, terms.ttl, terms.tags_of((), {}), terms.timeout))


def _no_arguments() -> None:
    """What has no arguments."""


def calling(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Plan[Any]]:
    """Makes the plan that calls a function."""

    def compute() -> Plan[Any]:
        return (yield Invoke(function, args, kwargs))

    return compute
