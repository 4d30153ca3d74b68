"""`Batcher`: items of many processes, handed out together, for threads."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import redis

from redisopt.batch.config import BatchConfig, LimitBy
from redisopt.batch.contract import checked_handler
from redisopt.batch.helping import Helping
from redisopt.batch.outcome import DeadItem
from redisopt.batch.plans import GRACE, BatchPlans
from redisopt.batch.progress import Progress
from redisopt.batch.telling import BatchMetrics
from redisopt.batch.ticket import BatchTicket
from redisopt.batch.worker import BatchWorker
from redisopt.faces import Face
from redisopt.functions import checked_stop
from redisopt.limiters import Limiter
from redisopt.monitor.monitor import PerformanceMonitor
from redisopt.runner import Runner
from redisopt.worker_groups import WorkerGroup

H = TypeVar("H", bound=Callable[..., Any])


class Batcher(Face[BatchConfig]):
    """Items that any process adds are handed out in batches to whoever works, and each adder gets its own result.

    >>> batcher = Batcher(client, "embed", max_size=64, max_delay=0.05)
    >>> @batcher.handler
    ... def embed(texts):
    ...     return model.encode(texts)
    >>> with batcher.worker(concurrency=2):
    ...     vector = batcher.call("a text")

    A batch is due at `max_size` items, at `max_bytes`, or `max_delay` after its first item. Workers pull: one script decides,
    pops and leases. Once an item is added it is handed out at least once, until it succeeds, is cancelled, or goes to the dead
    letter; it may run again where a worker dies or its lease lapses, so handlers should be idempotent. One outcome is
    recorded for each id. Thread-safe, and safe to use in a forked child.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what the batches are of; the same in all processes that share them. No braces or control characters.
        config: a `BatchConfig`; or give its fields as keywords.
        handler: as the decorator `handler` takes it.
        limiter: a `Throttler` that batches wait for: the permit is taken before the batch is claimed, so that nothing is held
            meanwhile.
        limit_by: what a batch costs there: 1 ("batch"), or as much as it has items ("items").
        monitor: a `PerformanceMonitor`: calls of the handler are counted there, as `batched_operation` with the label `batcher`,
            and reported in `metrics().performance`.

    Raises:
        ValueError: the client is not a sync redis-py client, or the name, handler or limiter will not do.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    _plans: BatchPlans

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: BatchConfig | None = None,
        *,
        handler: Callable[..., Any] | None = None,
        limiter: Limiter | None = None,
        limit_by: LimitBy = "batch",
        monitor: PerformanceMonitor | None = None,
        **fields: Any,
    ) -> None:
        given = BatchConfig.given(config, fields)
        checked = None if handler is None else checked_handler(handler, awaited=False)
        self._plans = BatchPlans(name, given, checked, limiter, limit_by, monitor, awaited=False)
        self._runner = Runner(client, given.command_timeout)
        self._plans.attach(self._runner)
        self._workers: weakref.WeakSet[BatchWorker] = weakref.WeakSet()
        self._helping = Helping(self.worker, self._others_work)

    @property
    def name(self) -> str:
        """What the batches are of."""
        return self._plans.asking.name

    @property
    def config(self) -> BatchConfig:
        """The config that it was made with."""
        return self._plans.config

    # --- adding

    def _ticket(self, item_id: str) -> BatchTicket:
        return BatchTicket(self._runner, self._plans, item_id)

    def add(
        self, item: Any, key: str = "", *, id: str | None = None, priority: int = 0, timeout: float | None = None
    ) -> BatchTicket:
        """Add an item, and return at once. One script call.

        Args:
            item: None, bool, int, float, str, bytes, a list of these or a dict with str keys.
            key: which partition it belongs to: items of one key are batched together, in the order in which they came.
            id: of the item, such as that of an order: while it waits or runs, and for `result_ttl` after it ended, it is not
                added again, and the ticket is for the one that was.
            priority: from 0 to `priorities` - 1: within its partition, items of a higher one go first.
            timeout: with `overflow` "block", seconds to wait for room; None for as long as it takes.

        Raises:
            ValueError: the item cannot be stored, or another argument is wrong; nothing was added.
            QueueFull: `max_queue` items wait already.
            ConfigConflict: another process has other triggers, and `on_conflict` is "raise".
            Unavailable: Redis did not answer within `command_timeout`, or is full.
        """
        return self._runner.run(self._plans.add(self._ticket, [(item, key, id, priority)], None, timeout))[0]

    def add_many(
        self,
        items: Iterable[Any],
        key: str | Callable[[Any], str] = "",
        *,
        ids: Sequence[str] | None = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> list[BatchTicket]:
        """Add many items, in their order. One script call for 500 of them.

        All are checked before the first is sent. A call is added whole or not at all; of several calls, those before one that
        fails stay added.

        Args:
            items: as `add`.
            key: one for all, or a function of the item.
            ids: one for each item, all different.
            priority, timeout: as `add`.

        Raises:
            ValueError, QueueFull, ConfigConflict, Unavailable: as `add`; a ValueError names the item.
        """
        return self._runner.run(self._plans.add_many(self._ticket, items, key, ids, priority, None, timeout))

    def call(
        self, item: Any, key: str = "", *, id: str | None = None, priority: int = 0, timeout: float | None = None
    ) -> Any:
        """Add an item, wait for its own result, and return that. `timeout` is for the result.

        Raises:
            What `add` and `BatchTicket.result` raise.
        """
        tickets = self._plans.add(self._ticket, [(item, key, id, priority)], None, timeout, listens=True)
        return self._runner.run(tickets)[0].result(timeout)

    def result(self, id: str, timeout: float | None = None) -> Any:
        """The result of an item by its id, whoever has added it; asks at growing intervals, twice a second in the end.

        Raises:
            What `BatchTicket.result` raises.
        """
        return self._runner.run(self._plans.result_of(id, timeout))

    def map(
        self,
        items: Iterable[Any],
        key: str | Callable[[Any], str] = "",
        *,
        priority: int = 0,
        on_progress: Callable[[Progress], object] | None = None,
        run_id: str | None = None,
        ordered: bool = True,
        errors: str = "raise",
        timeout: float | None = None,
    ) -> list[Any]:
        """Have many items run, and return their results.

        Where this batcher has a handler and no worker, the caller works as well: a worker runs until this has ended, and all others
        that go on meanwhile.

        Args:
            items, key, priority: as `add_many`. Where `max_queue` is less than the items, they are added as there is room.
            on_progress: called with a `Progress`, at most ten times a second and once at the end. What it raises is logged.
            run_id: a name for the run: after a crash, the same items under the same name go on where they were, in any process,
                and only what had not ended is run. Outcomes are kept for `result_ttl`.
            ordered: whether the results are in the order of the items, or in that in which they came.
            errors: "raise" the first error once all have ended, or "collect" errors in the places of results.
            timeout: seconds in which nothing ends after which this gives up; None for `result_ttl`.

        Raises:
            BatchItemFailed, Cancelled, QueueFull, ResultExpired: an item has no result, and `errors` is "raise".
            ResultTimeout: nothing has ended for `timeout` seconds. The items go on.
            ValueError: as `add_many`; or a run of other items has this `run_id`.
            Unavailable: Redis is away when this begins, or was for all of `timeout`.
        """
        plan = self._plans.map(items, key, priority, run_id, on_progress, errors, timeout, None, ordered=ordered)
        if self._plans.handler is None:
            return self._runner.run(plan)
        with self._helping:
            return self._runner.run(plan)

    def _others_work(self) -> bool:
        return any(worker.is_working for worker in list(self._workers) if worker is not self._helping.worker)

    # --- working

    def handler(self, function: H) -> H:
        """Decorate the function that batches are handed to: ``(items)`` or ``(items, run)``, see `redisopt.batch.contract`.

        Raises:
            ValueError: it cannot be called so, or is a coroutine function, which needs `AsyncBatcher`; or there is one already.
        """
        self._plans.register(function, awaited=False)
        return function

    def worker(self, concurrency: int = 1, *, grace: float = GRACE) -> BatchWorker:
        """A worker that hands batches to the handler in the background, for as long as it is entered.

        >>> with batcher.worker(concurrency=2):
        ...     serve_requests()

        An idle one costs a script call a second.

        Args:
            concurrency: batches that run at once, each in a thread.
            grace: seconds that its end waits for batches that run; then they are given back, for others to run at once.

        Raises:
            ValueError: there is no handler, or an argument is out of range.
            ConfigConflict (when it starts): another process has other triggers, and `on_conflict` is "raise".
        """
        work = self._plans.work(concurrency, grace)
        worker = BatchWorker(self._runner, work, f"redisopt-batch-{self.name}", concurrency=concurrency, grace=grace)
        worker.stopped = self._helping.look  # maps that go on need somebody who works
        self._workers.add(worker)
        return worker

    @property
    def works(self) -> bool:
        """Whether a worker of this object runs in this process."""
        return any(worker.is_working for worker in list(self._workers))

    def run(self, stop: threading.Event | None = None, *, concurrency: int = 1, grace: float = GRACE) -> None:
        """Work in the foreground until `stop` is set, or Ctrl-C. Arguments as `worker`.

        Raises:
            ValueError, ConfigConflict: as `worker`; or `stop` is not an event of threads.
        """
        event = threading.Event() if stop is None else checked_stop(stop, awaited=False)
        with self.worker(concurrency, grace=grace):
            event.wait()

    # --- telling and looking

    def flush(self, key: str | None = None) -> None:
        """Have what waits for its first run, of one key or of all, be due now. What is added after this has returned is not forced out.

        Items that failed wait out their backoff.
        """
        self._runner.run(self._plans.telling.flush(key))

    def pause(self) -> None:
        """Hand out nothing to the whole fleet, until `resume`; what runs goes on, and items may be added."""
        self._runner.run(self._plans.telling.pause())

    def resume(self) -> None:
        """End a pause: what is due runs at once."""
        self._runner.run(self._plans.telling.resume())

    def cancel(self, id: str) -> bool:
        """Have an item not run at all; its adder gets `Cancelled`. False where it is too late, or there is no such item."""
        return self._runner.run(self._plans.cancel(id))

    def cancel_key(self, key: str) -> int:
        """Have all items of a key that wait not run at all, as `cancel`; returns how many. Four script calls for each 500 or so.

        Raises:
            ValueError: the key is no text, or too long.
            Unavailable: Redis did not answer within `command_timeout`; some may be cancelled.
        """
        return self._runner.run(self._plans.telling.cancel_key(key))

    def dead(self, count: int = 100, after: int = 0) -> list[DeadItem]:
        """Items that were given up, and why: at most `count`, after the first `after`, the oldest first."""
        return self._runner.run(self._plans.telling.dead(count, after))

    def replay(self, ids: Iterable[str] | None = None) -> int:
        """Have items of the dead letter run again, all of them or these, with attempts reset. Returns how many."""
        return self._runner.run(self._plans.telling.replay(ids))

    def metrics(self) -> BatchMetrics:
        """How the batcher stands, over the whole fleet. One script call, and those of `PerformanceMonitor.report` with a monitor."""
        return self._runner.run(self._plans.telling.metrics())

    # --- the end

    def close(self) -> None:
        """Stop its workers, give back what they hold, and close the connections unless another primitive uses them.

        The client stays open. Who waits for a result goes on waiting: until a worker elsewhere, or one that is started later, has it, or
        the timeout.
        """
        for worker in list(self._workers):
            worker.stopped = _nothing
        try:
            WorkerGroup(self._workers).stop()
        finally:
            self._runner.close()


def _nothing() -> None:
    """No more is to be done when a worker has stopped: all do."""
