"""What measures an operation: a block, a function, a number of seconds. All of it is local, so both faces have the same."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Any, Self, TypeVar

from redisopt.functions import check_function, is_async
from redisopt.monitor import names
from redisopt.monitor.plans import MonitorPlans
from redisopt.spans import Spans

F = TypeVar("F", bound=Callable[..., Any])


class Measure:
    """A block whose time is measured: enter it with ``with`` or ``async with``, once.

    What it raises counts as an error, and goes on. A cancelled task and Ctrl-C are no measurement.

    Attributes:
        seconds: that it took, once it is over.
    """

    __slots__ = ("_began", "_labels", "_name", "_plans", "seconds")

    def __init__(self, plans: MonitorPlans, name: str, labels: Mapping[str, Any] | None) -> None:
        self._plans = plans
        self._name = name
        self._labels = labels
        self.seconds = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count it."""
        self.seconds = perf_counter() - self._began
        if error is None or isinstance(error, Exception):
            self._plans.tracking.track(self._name, self.seconds, error is not None, self._labels)

    async def __aenter__(self) -> Self:
        """Begin."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count it."""
        self.__exit__(kind, error, trace)


class Profile(Measure):
    """A block of which is measured as well where its time goes.

    Attributes:
        seconds: that it took, once it is over.
        wait: of these, seconds in the line of a throttler, or waiting for the outcome of a debouncer or batcher.
        redis: seconds of script calls.
        operation: all the rest. Of tasks that run at once `wait` and `redis` add up, and nothing may be left for this.
    """

    __slots__ = ("_spans",)

    def __init__(self, plans: MonitorPlans, name: str, labels: Mapping[str, Any] | None) -> None:
        super().__init__(plans, name, labels)
        self._spans = Spans()

    @property
    def wait(self) -> float:
        """Seconds until now."""
        return self._spans.wait

    @property
    def redis(self) -> float:
        """Seconds until now."""
        return self._spans.redis

    @property
    def operation(self) -> float:
        """Seconds, once it is over."""
        return max(0.0, self.seconds - self.wait - self.redis)

    def __enter__(self) -> Self:
        """Begin."""
        self._spans.begin()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count it, and its parts."""
        super().__exit__(kind, error, trace)
        self._spans.end()
        if error is None or isinstance(error, Exception):
            for part in ("wait", "redis", "operation"):
                self._plans.tracking.track(f"{self._name}.{part}", getattr(self, part), None, self._labels)


class Measuring:
    """How operations are measured, in both faces."""

    _plans: MonitorPlans

    def measure(self, name: str, /, **labels: str | float) -> Measure:
        """A block to measure: ``with monitor.measure("charge_card", region="eu"):``, or ``async with``.

        What the block raises counts as an error and goes on. Costs two looks at a clock and one `track`; no Redis call.

        Args:
            name: of the operation.
            labels: what to tell its runs apart by; few values, such as regions, not user ids. See `MonitorConfig.max_label_sets`.

        Raises:
            ValueError: name or labels are no text, empty or too long; before the block begins.
        """
        names.member(name, labels)
        return Measure(self._plans, name, labels)

    def measured(self, name: str, /, **labels: str | float) -> Callable[[F], F]:
        """Decorate a function: each of its calls is measured, of a coroutine function until it is over. See `measure`.

        Raises:
            ValueError: as `measure`; or what is decorated is no function, or a generator function.
        """
        names.member(name, labels)

        def decorate(function: F) -> F:
            plain = inspect.unwrap(function)
            if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
                raise ValueError(
                    f"function {function!r} is a generator function, which does its work after its call: "
                    "measure inside it, with `with monitor.measure(...)`"
                )
            check_function(function, "function", awaited=None)
            if not is_async(function):

                @functools.wraps(function)
                def measured(*args: Any, **kwargs: Any) -> Any:
                    with Measure(self._plans, name, labels):
                        return function(*args, **kwargs)

                return measured  # type: ignore[return-value] # it takes and gives the same

            @functools.wraps(function)
            async def measured_async(*args: Any, **kwargs: Any) -> Any:
                with Measure(self._plans, name, labels):
                    return await function(*args, **kwargs)

            return measured_async  # type: ignore[return-value]

        return decorate

    def profile(self, name: str, /, **labels: str | float) -> Profile:
        """A block to measure, and where its time goes: beside `name` it is counted as ``name.wait``, ``.redis`` and ``.operation``.

        ``wait`` is time in a throttler's line, or waiting for the outcome of a debouncer or batcher; ``redis`` that of script
        calls; ``operation`` the rest. What runs in threads that the block starts is not looked into.

        Raises:
            ValueError: as `measure`.
        """
        names.member(f"{name}.operation", labels)
        return Profile(self._plans, name, labels)

    def track(
        self, name: str, seconds: float, error: object = None, labels: Mapping[str, str | float] | None = None
    ) -> None:
        """Count one run of an operation. In memory, under a lock, in about a microsecond; no Redis call, and no error of Redis.

        Args:
            name: of the operation.
            seconds: that it took, from 0 to 1e9. In quantiles what is shorter than a microsecond counts as that, and what is longer
                than twelve days as those.
            error: the exception, or anything but None and False, where it failed.
            labels: as `measure`.

        Raises:
            ValueError: an argument cannot be counted.
        """
        self._plans.tracking.track(name, seconds, error, labels)
