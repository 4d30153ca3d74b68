"""Operations that an optimizer knows by name, so that batches and debounced calls of them reach other processes.

What is registered with `batch` or `debounce` is the handler of a `Batcher` or `Debouncer` of the operation's own, named after
the optimizer and the operation. Its limits are theirs, so that a permit is taken before anything is claimed; it is tried again by
them, from Redis. The fallback and the cache stay with the caller.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from redisopt.batch.config import BatchConfig
from redisopt.commands import Plan, invoke
from redisopt.debounce.config import DebounceConfig
from redisopt.errors import REFUSALS, OperationTimeout, ResultCountError
from redisopt.functions import check_function, takes
from redisopt.keys import checked_name
from redisopt.optimizer.options import NOTHING, Options, check_text, check_text_or_none, options_of, shown
from redisopt.optimizer.parts import Kinds
from redisopt.optimizer.plans import OptimizerPlans
from redisopt.policies import Fold

C = TypeVar("C", BatchConfig, DebounceConfig)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operation is registered with: options, of which `key` and `cache` may be functions of a call's arguments."""

    options: Options
    key: str | Callable[..., str]
    cache: str | Callable[..., str] | None
    fallback: Any

    def of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Options:
        """The options of a call with these arguments.

        Raises:
            ValueError: key or cache is no text.
        """
        key = self.key(*args, **kwargs) if callable(self.key) else self.key
        cache = self.cache(*args, **kwargs) if callable(self.cache) else self.cache
        check_text("key", key)
        check_text_or_none("cache", cache)
        return self.options._replace(key=key, cache=cache)


class TryTimedOut(Exception):
    """A run of an operation took longer than its `timeout`. Unlike other timeouts, it counts as an attempt."""


class Registered:
    """One operation: how a call of it goes.

    Attributes:
        name: of the operation.
        function: the user's.
        wanted: what it was registered with.
        batcher, debouncer: of the operation, None where it is not batched or debounced over the fleet.
    """

    def __init__(
        self,
        plans: OptimizerPlans,
        name: str,
        function: Callable[..., Any],
        wanted: Wanted,
        *,
        interruptible: bool,
    ) -> None:
        self.name = _checked_name(name)
        self.function = function
        self.wanted = wanted
        self.batcher: Any = None
        self.debouncer: Any = None
        self._plans = plans
        self._interruptible = interruptible

    @property
    def made(self) -> list[Any]:
        """Its batcher and its debouncer, as far as there are any: then other processes may run it."""
        return [made for made in (self.batcher, self.debouncer) if made is not None]

    def plan(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan[Any]:
        """The plan of a call."""
        options, fallback = self.wanted.of_call(args, kwargs), self.wanted.fallback
        if not self.is_of_fleet:
            return self._plans.around(options, fallback, functools.partial(invoke, self.function, *args, **kwargs))
        if len(args) != 1 or kwargs:
            raise ValueError(
                f"operation {self.name!r} is batched or debounced over the fleet, and so takes one argument, the payload; "
                f"it was called with {len(args) + len(kwargs)}"
            )
        if not self.made:  # what would batch or debounce it is switched off: it is run here
            return self._plans.around(options, fallback, lambda: self._run_alone(args[0]))
        return self._plans.outside(options, fallback, lambda: self._hand_over(args[0], options.key))

    @property
    def is_of_fleet(self) -> bool:
        """Whether it was registered to be batched or debounced: then a call of it has one argument, the payload."""
        return self.wanted.options.batch or self.wanted.options.debounce

    def _run_alone(self, payload: Any) -> Plan[Any]:
        """Run the function for one payload, as a worker would for a batch of one."""
        if not self.wanted.options.batch:
            return (yield from invoke(self.function, payload))
        answer = yield from invoke(self.function, [payload])
        if not isinstance(answer, list | tuple) or len(answer) != 1:
            raise ResultCountError(f"operation {self.name!r} answered a batch of one with {answer!r}")
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]

    def _hand_over(self, payload: Any, key: str) -> Plan[Any]:
        timeout = self._plans.config.result_timeout
        if self.debouncer is None:
            return (yield from invoke(self.batcher.call, payload, key, timeout=timeout))
        ticket = yield from invoke(self.debouncer.submit, payload, key)
        return (yield from invoke(ticket.result, timeout)).value

    def run(self, *args: Any) -> Plan[Any]:
        """The plan of a run of its function, by whoever works."""
        policies = self._plans.each(self.wanted.options, interruptible=self._interruptible)
        try:
            return (yield from Fold(policies).around(functools.partial(invoke, self.function, *args)))
        except OperationTimeout as error:
            raise TryTimedOut(str(error)) from error


class Operations:
    """The operations of one optimizer."""

    def __init__(self, kinds: Kinds, runner: Any, plans: OptimizerPlans) -> None:
        self._kinds = kinds
        self._runner = runner
        self._plans = plans
        self._known: dict[str, Registered] = {}
        self._workers: list[Any] = []

    def register(
        self,
        function: Callable[..., Any],
        name: str,
        key: str | Callable[..., str],
        cache: str | Callable[..., str] | None,
        fallback: Any,
        options: Mapping[str, Any],
    ) -> Registered:
        """Have an operation known by its name.

        Raises:
            ValueError: the function is of the other kind, the name is taken or has a dot, or an option is unknown or
                needs a section.
        """
        awaited = self._kinds.awaited
        check_function(
            function, "function", awaited=awaited, instead="an Optimizer" if awaited else "an AsyncOptimizer"
        )
        if not isinstance(name, str):
            raise ValueError(f"name must be a str, not {shown(name)}")
        for option, value, check in (("key", key, check_text), ("cache", cache, check_text_or_none)):
            if not callable(value):
                check(option, value)
        wanted = Wanted(options_of(options), key, cache, fallback)
        if fallback is not NOTHING:
            self._plans.answered(fallback)
        found = name or getattr(function, "__name__", "")
        if not found:
            raise ValueError(f"name is needed, since {function!r} has none of its own")
        if any(worker.is_working for worker in self._workers):
            raise ValueError(f"operation {found!r} comes too late: register it before worker() is entered")
        self._plans.check_sections(wanted.options, caches=cache is not None)
        registered = Registered(self._plans, found, function, wanted, interruptible=awaited)
        if registered.name in self._known:
            raise ValueError(f"name {found!r} is taken by another operation of the optimizer {self._plans.name!r}")
        self._join(registered, wanted.options)
        self._known[registered.name] = registered
        return registered

    def named(self, name: str, options: Mapping[str, Any]) -> Registered:
        """The operation of this name.

        Raises:
            ValueError: there is none; or there are options, which it was registered with.
        """
        if options:
            raise ValueError(
                f"operation {name!r} has the options that it was registered with; {next(iter(options))!r} is one more"
            )
        if name not in self._known:
            raise ValueError(
                f"there is no operation {name!r}: register it with @optimizer.operation, in each process that calls it"
            )
        return self._known[name]

    def made(self) -> list[Any]:
        """The batchers and debouncers of all of them."""
        return [made for registered in self._known.values() for made in registered.made]

    def workers(self, concurrency: int) -> list[Any]:
        """A worker of each.

        Raises:
            ValueError: there is nothing to work on, or the argument is out of range.
        """
        made = self.made()
        if not made:
            raise ValueError(f"the optimizer {self._plans.name!r} has no operation that is batched or debounced")
        workers = [each.worker(concurrency=concurrency) for each in made]
        self._workers = [*(worker for worker in self._workers if worker.is_working), *workers]
        return workers

    def stop_taking(self) -> None:
        """Have all workers take nothing more, so that those that are stopped last do not go on meanwhile."""
        for worker in self._workers:
            worker.stop_taking()

    def having(self, what: str) -> dict[str, Any]:
        """Those that are batched, or debounced, by name."""
        return {
            name: getattr(registered, what) for name, registered in self._known.items() if getattr(registered, what)
        }

    def _join(self, registered: Registered, options: Options) -> None:
        """Give an operation the batcher and the debouncer that it is registered with."""
        plans, kinds, client = self._plans, self._kinds, self._runner.client
        limiter = plans.parts.throttler if plans.check("throttle", options.throttle) else None
        name, monitor = f"{plans.name}.{registered.name}", plans.parts.monitor
        batches, debounces = plans.check("batch", options.batch), plans.check("debounce", options.debounce)
        batching = plans.config.part("batching", BatchConfig) if batches else None
        debouncing = plans.config.part("debouncing", DebounceConfig) if debounces else None
        if batching is not None:
            registered.batcher = kinds.batcher(
                client, name, _patient(batching), handler=self._handler(registered), limiter=limiter, monitor=monitor
            )
        if debouncing is not None:
            throttler = limiter if batching is None else None
            registered.debouncer = kinds.debouncer(
                client, name, _patient(debouncing), throttler=throttler, monitor=monitor
            )
            registered.debouncer.handler(self._handler(registered) if batching is None else self._to_batch(registered))

    def _handler(self, registered: Registered) -> Callable[..., Any]:
        """What runs the function, of as many arguments as it has: the payload, or the payload and the run."""
        perform, run = self._runner.run, registered.run
        if takes(registered.function, 1):
            return self._as_kind(lambda payload: perform(run(payload)), 1)
        if takes(registered.function, 2):
            return self._as_kind(lambda payload, about: perform(run(payload, about)), 2)
        raise ValueError(f"operation {registered.function!r} must take a payload, or a payload and the run")

    def _to_batch(self, registered: Registered) -> Callable[..., Any]:
        """What has a payload batched that was debounced."""
        return self._as_kind(lambda payload, run: registered.batcher.call(payload, run.key), 2)

    def _as_kind(self, function: Callable[..., Any], count: int) -> Callable[..., Any]:
        if not self._kinds.awaited:
            return function

        async def of_payload(payload: Any) -> Any:
            return await function(payload)

        async def of_both(payload: Any, about: Any) -> Any:
            return await function(payload, about)

        return of_payload if count == 1 else of_both


def _checked_name(name: str) -> str:
    """The name of an operation. A dot stands between it and that of its optimizer, and so not in itself.

    Raises:
        ValueError: it is no name, or has a dot.
    """
    if "." in checked_name(name):
        raise ValueError(
            f"name {name!r} of an operation has a dot: what batches or debounces it is named after its optimizer and "
            "itself, with a dot between them, so that another optimizer's operation could have the same"
        )
    return name


def _patient(config: C) -> C:
    """The config of a worker that also tries again, without counting it, what the parts around its handler refuse."""
    return config.model_copy(update={"retry_on": (*config.retry_on, *REFUSALS)})
