"""What goes on around a call of an optimizer: which policies, and in which order. Shared by its sync and its async class.

From the outside in: the fallback, the monitor, the cache, the debouncer, retries, the batch, the limits, the breaker, the timeout, and the
operation. So each try has a permit of its own, which is what an API with a limit wants; the breaker sees the operation alone, neither
the wait for a permit nor what the limits refuse; and where it has opened, a retry is stopped by it. Where closures are batched, the
limits go around the batch, and the breaker and the timeout around each closure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from redisopt.commands import Plan, invoke
from redisopt.functions import check_function
from redisopt.keys import checked_name
from redisopt.monitor.watching import Watch
from redisopt.optimizer.config import OptimizerConfig
from redisopt.optimizer.options import NOTHING, Options
from redisopt.optimizer.parts import Parts
from redisopt.pipeline.fallback import Fallback
from redisopt.pipeline.timeout import Timeout
from redisopt.policies import Fold, Policy

MAX_KNOWN = 1000
"""Combinations of options whose policies are kept."""


_SECTIONS = {
    "batch": "batching",
    "cache": "caching",
    "throttle": "throttling",
    "debounce": "debouncing",
    "breaker": "breaking",
    "retry": "retrying",
}

MEASURED = "optimized_operation"
"""The name under which a monitor counts all calls."""


class OptimizerPlans:
    """The plans of one optimizer."""

    def __init__(self, name: str, config: OptimizerConfig, parts: Parts, *, awaited: bool) -> None:
        self.name = checked_name(name)
        self.config = config
        self.parts = parts
        self._known: dict[Options, Fold] = {}
        self._awaited = awaited
        self._watch = Watch(parts.monitor, MEASURED, {}, awaited=awaited)

    def check(self, option: str, value: bool | None) -> bool:  # noqa: FBT001 - the value of an option
        """Whether a part is to be used: it was asked for, and is not switched off.

        Raises:
            ValueError: the config has no such section.
        """
        if value is None:
            section = getattr(self.config, _SECTIONS[option])
            return section is not None and section.enabled
        return value and self._has(option)

    def _has(self, option: str) -> bool:
        """Whether the part of an option that was asked for is not switched off.

        Raises:
            ValueError: the config has no such section.
        """
        section = getattr(self.config, _SECTIONS[option])
        if section is None:
            raise ValueError(
                f"the option {option} needs a section {_SECTIONS[option]!r} in the config of the optimizer {self.name!r}"
            )
        return bool(section.enabled)

    def check_sections(self, options: Options, *, caches: bool) -> None:
        """Refuse an operation whose options need sections that the config has not.

        Raises:
            ValueError: naming the option.
        """
        for option in ("batch", "throttle", "debounce", "breaker", "retry"):
            self.check(option, getattr(options, option))
        if caches:
            self._has("cache")

    def optimize(
        self, operation: Callable[..., Any], args: tuple[Any, ...], options: Options, fallback: Any
    ) -> Plan[Any]:
        """Perform an operation with what it asks for around it."""
        check_function(operation, "operation", awaited=None if self._awaited else False, instead="an AsyncOptimizer")
        return self.around(options, fallback, functools.partial(invoke, operation, *args))

    def around(self, options: Options, fallback: Any, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """`inner`, with all that a call asks for around it."""
        inside = self._known.get(options)
        if inside is None:
            inside = Fold(self._inside(options))
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[options] = inside
        outside = self._outside(options, fallback)
        return Fold([*outside, inside]).around(inner) if outside else inside.around(inner)

    def outside(self, options: Options, fallback: Any, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """`inner`, with what stays with the caller around it."""
        return Fold(self._outside(options, fallback)).around(inner)

    def _outside(self, options: Options, fallback: Any) -> list[Policy]:
        policies: list[Policy] = []
        if fallback is not NOTHING:
            policies.append(self.answered(fallback))
        if self.parts.monitor is not None:
            policies.append(self._watch)
        if options.cache is not None and self._has("cache"):
            policies.append(self._of(self.parts.cache.policy(options.cache)))
        return policies

    def answered(self, fallback: Any) -> Policy:
        """What answers where all of it fails.

        Raises:
            ValueError: it is a function of other arguments, or a coroutine function outside of asyncio.
        """
        answer = fallback if isinstance(fallback, Fallback) else Fallback(fallback)
        if answer.is_awaited and not self._awaited:
            raise ValueError(f"fallback {fallback!r} is a coroutine function: use an AsyncOptimizer")
        return answer

    def _inside(self, options: Options) -> list[Policy]:
        parts = self.parts
        policies: list[Policy] = []
        if self.check("debounce", options.debounce):
            policies.append(self._of(parts.debouncer.policy(key=options.key, timeout=self.config.result_timeout)))
        if self.check("retry", options.retry):
            policies.append(self._of(parts.retry.policy()))
        limits: list[Policy] = []
        if self.check("throttle", options.throttle):
            limits.append(self._of(parts.throttler.policy(options.cost, options.key, timeout=options.acquire_timeout)))
        if self.check("batch", options.batch) and parts.grouping is not None:
            place = (options.throttle, options.key, options.cost, options.acquire_timeout)
            limits = [parts.grouping.policy(place, limits)]
        return [*policies, *limits, *self.each(options)]

    def each(self, options: Options, *, interruptible: bool = True) -> list[Policy]:
        """What goes on around each try of an operation; no timeout where it would only run on, beside its next try."""
        policies: list[Policy] = []
        if self.check("breaker", options.breaker):
            policies.append(self._of(self.parts.breaker.policy()))
        timeout = self.config.timeout if options.timeout is None else options.timeout
        if timeout is not None and interruptible:
            policies.append(Timeout(timeout))
        return policies

    def _of(self, policy: Any) -> Policy:
        """A part's policy: all parts have the optimizer's client."""
        return policy.policy  # type: ignore[no-any-return]
