"""`Debouncer`: many calls in a short time become one run, for a fleet of processes; for threads."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

import redis

from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.executing import Throttling
from redisopt.debounce.plans import GRACE, DebouncePlans
from redisopt.debounce.ticket import DebounceTicket
from redisopt.runner import Runner
from redisopt.workers import Worker

if TYPE_CHECKING:
    from types import TracebackType

H = TypeVar("H", bound=Callable[..., Any])


class Debouncer:
    """Calls of one key that come within `wait` of each other become one run, whichever processes they come from.

    >>> debouncer = Debouncer(client, "reindex", wait=0.5, max_wait=5)
    >>> @debouncer.handler
    ... def reindex(payload, run): ...
    >>> with debouncer.worker():
    ...     debouncer.submit({"doc": 7}, key="doc:7").result(timeout=10).value

    The semantics are lodash's: `leading`, `trailing` and `max_wait`, whose cap is exact here. When a key is due stands in Redis, in the
    same slot as its calls: any live worker runs it, on the server's clock, and no process owns a timer.

    Thread-safe, and safe to use in a forked child. Each method costs one script call unless it says more; none grows with the
    number of keys, but by the logarithm of those that are pending. While Redis is away they raise `Unavailable`.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what is debounced; the same in all processes that share it. No braces or control characters.
        config: a `DebounceConfig`; or give its fields as keywords.
        on_debounce: called with the number of calls in the window whenever a call goes into one that is pending.
        throttler: a `Throttler`: each run waits for a permit first, and what is called meanwhile goes into the same run.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name is not allowed.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: DebounceConfig | None = None,
        *,
        on_debounce: Callable[[int], object] | None = None,
        throttler: Throttling | None = None,
        **fields: Any,
    ) -> None:
        self._plans = DebouncePlans(
            name,
            DebounceConfig.given(config, fields),
            on_debounce,
            throttler,
            clustered=isinstance(client, redis.RedisCluster),
        )
        self._runner = Runner(client, self.config.command_timeout)
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._plans.awaiting.wake = self._runner.wake
        leases = self._plans.executing.leases
        leases.wake = self._runner.wake
        leases.start = functools.partial(self._runner.start, leases.keep, f"redisopt-debounce-{name}-leases")

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
        self, payload: Any = None, key: str = "", *, call_id: str = "", wait: float | None = None
    ) -> DebounceTicket:
        """Have the handler run, once it is due; return at once.

        The call is in Redis then, and is run even when this process dies: by the worker of any process, and where none lives,
        by the first one that starts.

        Args:
            payload: None, bool, int, float, str, bytes, and lists and dicts of these, up to `max_payload_bytes`.
            key: which calls belong together, such as a document's id.
            call_id: a name of your own for this call: repeated within a minute under the same one, also by another process, it
                neither counts nor extends the wait again, and gives the same ticket. (What the library sends again by itself
                counts once in any case.)
            wait: seconds, instead of the config's.

        Raises:
            ValueError: a payload that cannot be stored, a key or call id that is no text or too long, a wait out of range.
            Unavailable: Redis did not answer within `command_timeout`. Where its `sent` is true, the call may count.
        """
        return DebounceTicket(
            self._runner,
            self._plans.submitting,
            *self._runner.run(self._plans.submitting.submit(key, payload, call_id, wait)),
        )

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
        self._plans.check_worker(concurrency, grace)
        worker = Worker(
            self._runner, self._plans.due(), f"redisopt-debounce-{self.name}", concurrency=concurrency, grace=grace
        )
        self._workers.add(worker)
        return worker

    def run(self, stop: threading.Event, *, concurrency: int = 1, grace: float = GRACE) -> None:
        """Work in the foreground until `stop` is set, or Ctrl-C. Arguments as `worker`."""
        with self.worker(concurrency=concurrency, grace=grace):
            stop.wait()

    # --- the end

    def close(self) -> None:
        """Stop the workers, give back what they hold, and close the connections unless another primitive uses them.

        The client stays open.
        """
        try:
            for worker in list(self._workers):
                worker.stop()
        finally:
            self._runner.close()

    def __reduce__(self) -> Any:
        """Refuse to be pickled: connections cannot go to another process."""
        raise TypeError(f"{self!r} cannot be pickled: make one in each process, they share their windows by the name")

    def __repr__(self) -> str:
        """The name and the config."""
        return f"{type(self).__name__}({self.name!r}, {self.config!r})"

    def __enter__(self) -> Self:
        """The debouncer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
