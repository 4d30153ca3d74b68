"""`Debouncer`: many calls in a short time become one run, for a fleet of processes; for threads."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

import redis

from redisopt.commands import invoke
from redisopt.dead import DeadLetter
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.outcome import DebounceMetrics, DebounceResult, Pending
from redisopt.debounce.plans import GRACE, MAX_GRACE, DebouncePlans, Terms
from redisopt.debounce.ticket import RESULT_TIMEOUT, DebounceTicket
from redisopt.faces import Face
from redisopt.functions import check_function, checked_stop
from redisopt.limiters import Limiter
from redisopt.monitor.monitor import PerformanceMonitor
from redisopt.policies import Bound, Policy
from redisopt.runner import Runner
from redisopt.shifts import check_worker
from redisopt.worker_groups import WorkerGroup
from redisopt.workers import Worker

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Callable[..., Any])


class Debouncer(Face[DebounceConfig]):
    """Calls of one key that come within `wait` of each other become one run, whichever processes they come from.

    >>> debouncer = Debouncer(client, "reindex", wait=0.5, max_wait=5)
    >>> @debouncer.handler
    ... def reindex(payload, run): ...
    >>> with debouncer.worker():
    ...     debouncer.submit({"doc": 7}, key="doc:7").result(timeout=10).value

    The semantics are lodash's: `leading`, `trailing` and `max_wait`, whose cap is exact here. When a key is due stands in Redis, in the
    same slot as its calls: any live worker runs it, on the server's clock, and no process owns a timer.

    Thread-safe, and safe to use in a forked child. Each method costs one script call unless it says more (and one a minute, to compare
    its config with those of other processes); none grows with the
    number of keys, but by the logarithm of those that are pending. While Redis is away they raise `Unavailable`.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what is debounced; the same in all processes that share it. No braces or control characters.
        config: a `DebounceConfig`; or give its fields as keywords.
        on_debounce: called with the number of calls in the window whenever a call goes into one that is pending.
        throttler: a `Throttler`: each run waits for a permit first, and what is submitted meanwhile goes into the same run. (A function
            of `execute` waits for it as the run of its window, so that what is called meanwhile opens the next one.)
        monitor: a `PerformanceMonitor`: runs are counted there, as `debounced_operation` with the label `debouncer`, those that
            failed as `debounce_error` as well, and reported in `metrics().performance`.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name is not allowed.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    _plans: DebouncePlans

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: DebounceConfig | None = None,
        *,
        on_debounce: Callable[[int], object] | None = None,
        throttler: Limiter | None = None,
        monitor: PerformanceMonitor | None = None,
        **fields: Any,
    ) -> None:
        self._plans = DebouncePlans(
            name,
            DebounceConfig.given(config, fields),
            on_debounce,
            throttler,
            monitor,
            awaited=False,
            clustered=isinstance(client, redis.RedisCluster),
        )
        self._runner = Runner(client, self.config.command_timeout)
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._plans.attach(self._runner)

    @property
    def name(self) -> str:
        """What is debounced."""
        return self._plans.name

    @property
    def config(self) -> DebounceConfig:
        """When calls are run, and what becomes of a run that fails."""
        return self._plans.config

    # --- calls with a payload

    def handler(self, function: H) -> H:
        """Register the function that runs: of a payload, or of a payload and the `Run`. A decorator.

        Raises:
            ValueError: it takes neither, is a coroutine function, or there is a handler already.
        """
        self._plans.register(function, awaited=False)
        return function

    def submit(
        self, payload: Any = None, key: str = "", *, call_id: str | None = None, wait: float | None = None
    ) -> DebounceTicket:
        """Have the handler run, once it is due; return at once.

        The call is in Redis then, and is run even when this process dies: by the worker of any process, and where none lives,
        by the first one that starts.

        Args:
            payload: None, bool, int, float, str, bytes, lists of these and dicts with str keys, up to `max_payload_bytes`.
            key: which calls belong together, such as a document's id.
            call_id: a name of your own for this call: repeated under the same one within a minute of the first time, also by
                another process, it neither counts nor extends the wait again, and gives the same ticket, also of a window that
                was cancelled since. (What the library sends again by itself counts once in any case.)
            wait: seconds, instead of the config's.

        Raises:
            ValueError: a payload that cannot be stored, a key or call id that is no text or too long, a wait out of range.
            QueueFull: as many calls of the key wait for a worker as `max_queue` allows.
            Unavailable: Redis did not answer within `command_timeout`. Where its `sent` is true, the call may count.
        """
        return DebounceTicket(
            self._runner,
            self._plans.submitting,
            *self._runner.run(self._plans.submitting.submit(key, payload, call_id, wait)),
        )

    # --- calls with a function

    def execute(
        self, function: Callable[..., R], /, *args: Any, key: str = "", timeout: float | None = None, **kwargs: Any
    ) -> R:
        """Wait until the key is due; then one caller of the whole fleet, the newest that lives, runs its function; all get its value.

        A function cannot go to another process: when every process that waits with one dies, nothing runs. (Use `submit` and a
        handler for what must not be lost.) It needs no worker, and its windows are apart from those of `submit`. Where the
        caller whose function runs dies, another one's is run after `lease_ttl`; what a function raises is not tried again. (One
        that stood still for longer than that gets its own value all the same, the others that of the one who took over.)

        Costs a script call, then one a second, one to run and one to say what it gave.

        Args:
            function: called with ``*args, **kwargs``. What it returns must be storable as a payload, for the others.
            key: which calls belong together.
            timeout: seconds to wait until it is run; None: for as long as others keep calling.

        Raises:
            Whatever `function` raises, where this caller ran it.
            RunFailed: it raised in the process that ran it, or its value cannot be stored.
            Cancelled: somebody cancelled the window.
            ResultTimeout: not run within `timeout`.
            StateLost: Redis has lost the window.
            Unavailable: as `submit`.
        """
        check_function(function, "function", awaited=False, instead="an AsyncDebouncer")
        value: R = self._runner.run(
            self._plans.closures.execute(functools.partial(invoke, function, *args, **kwargs), key, timeout)
        )
        return value

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(
        self, *, key: str | Callable[..., str] = "", timeout: float | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def __call__(  # type: ignore[misc] # mypy does not see that `function` may be left out
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        key: str | Callable[..., str] = "",
        timeout: float | None = None,
    ) -> Callable[..., Any]:
        """Decorate a function: its calls are debounced over the fleet, as by `execute`.

        ``@debouncer``, or ``@debouncer(key=lambda user: user, timeout=5)``; a callable `key` is called with the arguments of the
        call.

        Raises:
            ValueError: the function is a coroutine function, which needs `AsyncDebouncer`.
        """
        decorate = functools.partial(self._decorate, Terms(key, timeout))
        return decorate if function is None else decorate(function)

    def _decorate(self, terms: Terms, function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(function, "function", awaited=False, instead="an AsyncDebouncer")
        self._plans.check_terms(terms)

        @functools.wraps(function)
        def debounced(*args: Any, **kwargs: Any) -> Any:
            key = terms.key_of(args, kwargs)
            return self._runner.run(
                self._plans.closures.execute(functools.partial(invoke, function, *args, **kwargs), key, terms.timeout)
            )

        return debounced

    def policy(self, *, key: str = "", timeout: float | None = None) -> Policy:
        """What goes on around a call, for a `Pipeline`: of all calls of a key, that of the newest caller goes on; all get its value.

        Args:
            key, timeout: as `execute`.

        Raises:
            ValueError: as `execute`.
        """
        self._plans.check_terms(Terms(key, timeout))
        return Bound(self._plans.closures.policy(key, timeout), self._runner)

    # --- looking, and taking a hand

    def cancel(self, key: str = "") -> int:
        """Drop what has not been started for `key`; a run under way goes on. The next call begins a new burst.

        Who waits for what is dropped gets `Cancelled`. Two script calls.

        Returns:
            How many calls were dropped.
        """
        return self._runner.run(self._plans.controlling.cancel(key))

    def flush(self, key: str = "", *, timeout: float | None = RESULT_TIMEOUT) -> DebounceResult | None:
        """Have what is pending for `key` run now, and wait for its outcome; None where nothing is pending.

        Some worker runs it, or the caller that waits with a function. Two script calls, and those of `DebounceTicket.result`.

        Args:
            timeout: seconds to wait for the outcome.

        Raises:
            As `DebounceTicket.result`.
        """
        return self._runner.run(self._plans.controlling.flush(key, timeout))

    def peek(self, key: str = "") -> Pending:
        """How a key stands; changes nothing. Two script calls."""
        return self._runner.run(self._plans.controlling.peek(key))

    def metrics(self) -> DebounceMetrics:
        """How the debouncer stands, over the whole fleet and all keys.

        Two script calls for each partition, and those of `PerformanceMonitor.report` with a monitor.
        """
        return self._runner.run(self._plans.controlling.metrics())

    def dead(self) -> list[DeadLetter]:
        """What failed in all its attempts, oldest first in each partition; at most 10,000. A script call for each hundred."""
        return self._runner.run(self._plans.controlling.dead())

    def replay(self, window: str | None = None) -> int:
        """Have a dead letter run again, as if it had never been tried; all of them without `window`. Its tickets hold again.

        One whose key has both a run and a pending window stays a dead letter: try again once they are over.

        Returns:
            How many are to be run.
        """
        return self._runner.run(self._plans.controlling.replay(window))

    # --- runs

    def worker(self, *, concurrency: int = 1, grace: float = GRACE) -> Worker:
        """A worker that calls the handler in the background, for as long as it is entered.

        >>> with debouncer.worker(concurrency=4):
        ...     serve_requests()

        An idle one costs a script call a second for each partition.

        Args:
            concurrency: runs at once, of different keys; each has a thread.
            grace: seconds that its end waits for runs under way; then they are given back, for others to start anew.

        Raises:
            ValueError: there is no handler, or an argument is out of range.
        """
        check_worker(concurrency, grace, MAX_GRACE)
        worker = Worker(
            self._runner, self._plans.due(), f"redisopt-debounce-{self.name}", concurrency=concurrency, grace=grace
        )
        self._workers.add(worker)
        return worker

    def run(self, stop: threading.Event, *, concurrency: int = 1, grace: float = GRACE) -> None:
        """Work in the foreground until `stop` is set, or Ctrl-C. Arguments as `worker`."""
        checked_stop(stop, awaited=False)
        with self.worker(concurrency=concurrency, grace=grace):
            stop.wait()

    # --- the end

    def close(self) -> None:
        """Stop the workers, give back what they hold, and close the connections unless another primitive uses them.

        The client stays open.
        """
        try:
            WorkerGroup(self._workers).stop()
        finally:
            self._runner.close()
