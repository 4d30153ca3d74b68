"""Runs, as plans: to take what is due, to call the handler under a lease, and to say what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Protocol

from redisopt import events
from redisopt.background import now
from redisopt.backoff import full_jitter
from redisopt.codec import PayloadError, decode, encode
from redisopt.commands import Invoke, Plan, Sleep, Stopped, call, invoke
from redisopt.debounce.asking import Asking
from redisopt.debounce.outcome import Run
from redisopt.debounce.replies import Claimed
from redisopt.errors import RedisOptError, StateLost, Throttled, Unavailable
from redisopt.identity import process_id
from redisopt.leases import Leases
from redisopt.monitor.watching import Watch
from redisopt.shifts import LOOK_EVERY, Job

MAX_ERROR = 1000
"""Characters of an error that are kept."""

MOST_AT_ONCE = 100
"""Runs that are taken in one script call."""

_PATIENCE = 1.0  # seconds that an executor waits in a throttler's line before it looks again whether it is to stop
_AGAIN = 0.5  # seconds between tries to say what became of a run
_GIVES_UP = 60.0  # seconds after which another has taken it over


class _Unread(Exception):
    """The payloads of a run could not be read, since Redis was away."""


class Throttling(Protocol):
    """What a debouncer asks of a throttler: permits, one for each run."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        """A permit, or something that is awaited for one, with `release` and `refund`. Raises `Throttled`."""


class HeldRun(Run):
    """A run that this process holds, how it stands in Redis, and whether its handler was called."""

    __slots__ = ("called", "claimed")

    def __init__(self, claimed: Claimed, good_until: float) -> None:
        edge: Any = claimed.edge
        super().__init__(
            claimed.window,
            claimed.place.key,
            claimed.attempt,
            int(claimed.fence),
            claimed.calls,
            edge,
            claimed.waited,
            good_until,
        )
        self.claimed = claimed
        self.called = False


class Executing:
    """The plans of those who run.

    Attributes:
        leases: of the runs of this process.
        watch: what is measured of them.
    """

    def __init__(self, asking: Asking, watch: Watch) -> None:
        self._asking = asking
        self.watch = watch
        self.leases: Leases[HeldRun] = Leases(asking.config.lease_ttl, self._renew)

    def _renew(self, tag: str, runs: Sequence[HeldRun]) -> Plan[Sequence[bool]]:
        pairs = [(run.claimed.place, run.claimed.fence) for run in runs]
        return (yield from call(self._asking.beat(tag, pairs)))

    def claim(self, partition: int, limit: int) -> Plan[tuple[float | None, list[HeldRun]]]:
        """Take what is due in a partition, at most `limit` runs; and the seconds until there is more, None for nothing."""
        asked = now()
        limit = min(limit, MOST_AT_ONCE)
        seconds, claimed = yield from call(self._asking.claim(partition, limit, process_id()))
        runs = [HeldRun(each, asked + self._asking.config.lease_ttl) for each in claimed]
        for run in runs:
            self.leases.hold(run.claimed.place.tag, run)
        return seconds, runs

    def perform(self, run: HeldRun, handler: Callable[..., Any]) -> Plan[None]:
        """Call the handler and say what became of it. Interrupted, the run is given back."""
        began = now()
        try:
            try:
                payload = yield from self._payload(run.claimed)
                run.called = True
                value = yield from self.watch.around(partial(invoke, handler, payload, run))
            except GeneratorExit:
                raise
            except _Unread:
                yield from self.give_back(run)  # it was not started
            except Exception as error:
                self._tell(run, now() - began, error.error if isinstance(error, Stopped) else error)
                yield from self._fail(run, error)
            except BaseException:
                yield from self.give_back(run)
                raise
            else:
                self._tell(run, now() - began, None)
                yield from self.finish(run, *self.stored(run, value))
        finally:
            self.leases.drop(run.claimed.place.tag, run)

    def _tell(self, run: HeldRun, seconds: float, error: BaseException | None) -> None:
        events.emit(events.WindowRan(self._asking.name, run.key, run.window, run.calls, run.attempt, seconds, error))

    def give_back(self, run: HeldRun) -> Plan[None]:
        """Somebody else is to have it, at once. It does not count as an attempt. What runs at most once has failed instead."""
        try:
            if run.called and self._asking.config.delivery == "at_most_once":
                yield from call(
                    self._asking.finish(run.claimed, "failed", error="Interrupted: its executor was stopped")
                )
            else:
                yield from call(self._asking.finish(run.claimed, "returned"))
        except RedisOptError as error:
            events.logger.warning("%r could not be given back: it is taken over when its lease ends: %s", run, error)
        finally:
            self.leases.drop(run.claimed.place.tag, run)

    def _payload(self, claimed: Claimed) -> Plan[Any]:
        """What the handler gets."""
        config = self._asking.config
        payloads: list[bytes] = []
        if claimed.collect == "all":
            if not claimed.collected:
                raise StateLost(f"window {claimed.window}: the payloads that it collected are gone: were they evicted?")
            while len(payloads) < claimed.collected:
                try:
                    some = yield from call(self._asking.items(claimed, len(payloads)))
                except Unavailable as error:
                    raise _Unread from error
                if not some:
                    raise StateLost(f"window {claimed.window}: the payloads that it collected went away")
                payloads += some
        else:
            payloads = [claimed.payload]
        values = [decode(each, config.codec, config.max_payload_bytes) for each in payloads]
        if callable(config.collect):
            return config.collect(values)
        if config.collect == "all":
            return values
        return values[-1 if config.collect == "last" else 0]

    def stored(self, run: HeldRun, value: Any) -> tuple[str, bytes, str]:
        """How a value is handed to those who wait for it. The run is done, even where it cannot be."""
        config = self._asking.config
        try:
            return "done", encode(value, config.codec, config.max_payload_bytes), ""
        except PayloadError as error:
            events.logger.warning("%r is done, but nobody can be told its value: %s", run, error)
            return "done", b"", f"{type(error).__name__}: the handler's {error}"[:MAX_ERROR]

    def _fail(self, run: HeldRun, error: BaseException) -> Plan[None]:
        config = self._asking.config
        cause = error.error if isinstance(error, Stopped) else error
        text = f"{type(cause).__name__}: {cause}"[:MAX_ERROR]
        outcome, retry = "failed", None
        if self._is_repeated(run, cause):
            outcome, retry = "repeat", full_jitter(run.claimed.repeats + 1, config.backoff_base, config.backoff_cap)
        elif run.attempt < config.attempts:
            retry = full_jitter(run.attempt, config.backoff_base, config.backoff_cap)
        then = "it is a dead letter now" if retry is None else f"it is tried again in {retry:.3f} s"
        events.logger.warning("debounce %r: %r failed, %s", self._asking.name, run, then, exc_info=cause)
        yield from self.finish(run, outcome, b"", text, retry)

    def _is_repeated(self, run: HeldRun, cause: BaseException) -> bool:
        """Whether the run failed by no fault of its own, so that it is tried again and no attempt is counted."""
        config = self._asking.config
        is_transient = config.delivery == "at_least_once" and isinstance(cause, config.retry_on)
        return is_transient and run.claimed.repeating <= config.retry_for

    def finish(
        self, run: HeldRun, outcome: str, value: bytes = b"", error: str = "", retry: float | None = None
    ) -> Plan[None]:
        """Say what became of a run, also where Redis comes back only later: its lease is renewed meanwhile."""
        until = now() + _GIVES_UP
        while True:
            try:
                ours = yield from call(self._asking.finish(run.claimed, outcome, value, error, retry))
                break
            except Unavailable:
                if now() > until or run.lost:
                    raise
                yield Sleep(_AGAIN)
        if not ours:
            run.mark_lost()
            events.logger.warning(
                "debounce %r: %r was taken over by another executor: what became of it here does not count",
                self._asking.name,
                run,
            )


class Due:
    """What a worker of one debouncer has to do: a `Source` of `shifts`.

    It keeps in mind when each partition has something due: what the last claim there said, or word that came since.
    """

    def __init__(
        self,
        asking: Asking,
        executing: Executing,
        handler: Callable[..., Any],
        throttler: Throttling | None,
    ) -> None:
        self._asking = asking
        self._executing = executing
        self._handler = handler
        self._throttler = throttler
        self._due = [-inf] * asking.layout.partitions

    @property
    def channel(self) -> str:
        """On which word comes."""
        return self._asking.layout.channel

    def hear(self, messages: str) -> None:
        """Word has come: ``<partition>:<ms until something is due there>``; anything else is reason to look everywhere."""
        for message in messages.split():
            partition, _, left = message.partition(":")
            if partition.isdigit() and left.isdigit() and int(partition) < len(self._due):
                number = int(partition)
                self._due[number] = min(self._due[number], now() + int(left) / 1000)
            else:
                self._due = [-inf] * len(self._due)

    def take(self, free: int) -> Plan[tuple[Sequence[Job], float]]:
        """Take what is due, from the partition on that has waited longest."""
        jobs: list[Job] = []
        for partition in sorted(range(len(self._due)), key=self._due.__getitem__):
            if now() < self._due[partition] or len(jobs) >= free:
                break
            try:
                if self._throttler is None:
                    jobs += yield from self._claim(partition, free - len(jobs))
                else:
                    jobs += yield from self._claim_with_permit(partition, self._throttler)
            except RedisOptError:
                if not jobs:
                    raise
                break  # those are ours, and are to be done
        return jobs, max(0.0, min(self._due) - now())

    def _claim(self, partition: int, limit: int) -> Plan[list[Job]]:
        seconds, runs = yield from self._executing.claim(partition, limit)
        self._due[partition] = now() + (LOOK_EVERY if seconds is None else min(seconds, LOOK_EVERY))
        return [self._job(run) for run in runs]

    def _claim_with_permit(self, partition: int, throttler: Throttling) -> Plan[list[Job]]:
        """Wait for a permit first, and take a run only then: what is called meanwhile still goes into its window."""
        yield from self._claim(partition, 0)  # only to look
        if now() < self._due[partition]:
            return []
        try:
            permit = yield Invoke(throttler.acquire, (), {"timeout": _PATIENCE})
        except Throttled as refused:
            self._due[partition] = now() + min(max(0.001, refused.retry_after - _PATIENCE / 2), LOOK_EVERY)
            return []
        jobs: list[Job] = []
        try:
            _, runs = yield from self._executing.claim(partition, 1)
            jobs = [self._job(run, permit) for run in runs]
            return jobs
        finally:
            if not jobs:
                yield Invoke(permit.refund)
                yield Invoke(permit.release)

    def _job(self, run: HeldRun, permit: Any = None) -> Job:
        def perform() -> Plan[None]:
            try:
                yield from self._executing.perform(run, self._handler)
            finally:
                if permit is not None:
                    yield Invoke(permit.release)

        return Job(perform, lambda: self._executing.give_back(run))
