"""What a worker of a debouncer has to do, and when: it takes what is due in each partition, under a permit where there is a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from redisopt import events
from redisopt.background import now
from redisopt.commands import Plan
from redisopt.debounce.agreeing import Agreeing
from redisopt.debounce.asking import Asking
from redisopt.debounce.executing import Claims, Executing, HeldRun
from redisopt.debounce.permits import Permits
from redisopt.errors import ConfigConflict, RedisOptError, Throttled
from redisopt.shifts import LOOK_EVERY, Job

_PATIENCE = 1.0  # seconds that a worker waits in a throttler's line before it looks again whether it is to stop
_AFTER_FAILURE = 0.2  # seconds until a partition that could not be asked is asked again


class Due:
    """What a worker of one debouncer has to do: a `Source` of `shifts`.

    It keeps in mind when each partition has something due: what the last claim there said, or word that came since.
    """

    def __init__(
        self,
        asking: Asking,
        agreeing: Agreeing,
        executing: Executing,
        handler: Callable[..., Any],
        permits: Permits | None,
    ) -> None:
        self._asking = asking
        self._agreeing = agreeing
        self._executing = executing
        self._handler = handler
        self._permits = permits
        self._due = [-inf] * asking.layout.partitions
        self._claims = [Claims() for _ in self._due]

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
        """Take what is due, from the partition on that has waited longest. One that cannot be asked keeps nothing from the others."""
        if now() >= self._agreeing.until:
            try:
                yield from self._agreeing.ensure()
            except ConfigConflict:
                return [], LOOK_EVERY  # it was logged, and holds until nothing is left elsewhere
        jobs: list[Job] = []
        failure: RedisOptError | None = None
        answered = False
        try:
            for partition in sorted(range(len(self._due)), key=self._due.__getitem__):
                if now() < self._due[partition] or len(jobs) >= free:
                    break
                try:
                    if self._permits is None:
                        jobs += yield from self._claim(partition, free - len(jobs))
                    else:
                        jobs += yield from self._claim_with_permit(partition, self._permits)
                    answered = True
                except Exception as error:
                    self._due[partition] = now() + _AFTER_FAILURE
                    if jobs:
                        events.logger.warning("debounce %r: a worker could not take more: %s", self._asking.name, error)
                        break  # those are ours, and are to be done
                    if not isinstance(error, RedisOptError):
                        raise
                    failure = error
        except GeneratorExit:
            raise
        except BaseException:
            for job in jobs:
                yield from job.give_back()
            raise
        if failure is not None and not answered:
            raise failure
        return jobs, max(0.0, min(self._due) - now())

    def _claim(self, partition: int, limit: int) -> Plan[list[Job]]:
        seconds, runs = yield from self._executing.claim(partition, limit, self._claims[partition])
        self._heard(partition, seconds)
        return [self._job(run) for run in runs]

    def _heard(self, partition: int, seconds: float | None) -> None:
        self._due[partition] = now() + (LOOK_EVERY if seconds is None else min(seconds, LOOK_EVERY))

    def _claim_with_permit(self, partition: int, permits: Permits) -> Plan[list[Job]]:
        """Wait for a permit first, and take a run only then: what is called meanwhile still goes into its window."""
        self._heard(partition, (yield from self._executing.look(partition)))
        if now() < self._due[partition]:
            return []
        try:
            permit = yield from permits.acquire(_PATIENCE)
        except Throttled as refused:
            self._due[partition] = now() + min(max(0.001, refused.retry_after - _PATIENCE / 2), LOOK_EVERY)
            return []
        jobs: list[Job] = []
        try:
            _, runs = yield from self._executing.claim(partition, 1, self._claims[partition])
            jobs = [self._job_with_permit(run, permits, permit) for run in runs]
            return jobs
        finally:
            if not jobs:
                yield from permits.give_back(permit)

    def _job(self, run: HeldRun) -> Job:
        def perform() -> Plan[None]:
            if not run.given_back:
                yield from self._executing.perform(run, self._handler)

        return Job(perform, partial(self._executing.give_back, run))

    def _job_with_permit(self, run: HeldRun, permits: Permits, permit: Any) -> Job:
        def perform() -> Plan[None]:
            if run.given_back:
                return  # and its permit with it
            try:
                yield from self._executing.perform(run, self._handler)
            finally:
                yield from (permits.release(permit) if run.called else permits.give_back(permit))

        def give_back() -> Plan[None]:
            yield from self._executing.give_back(run)
            if not run.called:
                yield from permits.give_back(permit)  # else when the handler is over

        return Job(perform, give_back)
