"""The loop of a worker: it takes what is to be done, hands it out, and sleeps until there may be more.

What there is to do, and when, is the primitive's to say (`Source`); how it is done at once, in threads or tasks, is that of
`workers`. A worker sleeps on the client's side until the next due time, or until word comes (see `wakes`); it looks once a
second in any case, so that a lost word costs no more.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from redisopt import events
from redisopt.commands import Plan, Wait
from redisopt.errors import RedisOptError, Unavailable
from redisopt.eviction import warn_of_eviction

LOOK_EVERY = 1.0
"""Seconds between two looks at what there is to do, at most."""

MAX_CONCURRENCY = 1000
"""Jobs that one worker does at once."""

_AFTER_FAILURE = 0.2  # seconds

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Some work that was taken.

    Attributes:
        perform: the plan that does it and says so in Redis. Interrupted, it gives the work back.
        give_back: the plan that gives it back, when whoever performs it cannot be interrupted: a thread.
    """

    perform: Callable[[], Plan[object]]
    give_back: Callable[[], Plan[object]]


def check_worker(concurrency: object, grace: object, most_grace: int) -> None:
    """Refuse a worker that could not work.

    Raises:
        ValueError: naming the argument.
    """
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= MAX_CONCURRENCY:
        raise ValueError(f"concurrency must be a whole number from 1 to {MAX_CONCURRENCY:,}, not {concurrency!r}")
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace <= most_grace:
        raise ValueError(f"grace must be from 0 to {most_grace:,} seconds, not {grace!r}")


class Source(Protocol):
    """What there is to do."""

    @property
    def channel(self) -> str:
        """On which word comes that there is something to do."""

    def take(self, free: int) -> Plan[tuple[Sequence[Job], float]]:
        """Take at most `free` jobs that are due. With them, the seconds until there may be more."""

    def hear(self, messages: str) -> None:
        """Word has come, one or several, parted by spaces."""


class Shift:
    """One worker: how much it does at once, what is under way, and whether it is to stop. Thread-safe.

    Attributes:
        start: called with a job that is to be done, in a thread or task of its own.
        wake: called with an id, to end a wait of this process.
        id: under which the worker waits.
        stopping: whether it takes nothing more.
    """

    def __init__(self, concurrency: int) -> None:
        self.start: Callable[[Job], object] = lambda _: None
        self.wake: Callable[[str], object] = lambda _: None
        self.id = f"worker:{next(_numbers)}"
        self.stopping = False
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._jobs: set[Job] = set()
        self._complained = False

    @property
    def free(self) -> int:
        """How many more jobs it may take."""
        return self._concurrency - len(self._jobs)

    @property
    def jobs(self) -> list[Job]:
        """What is under way."""
        with self._lock:
            return list(self._jobs)

    def stop(self) -> None:
        """Take nothing more: what is taken at this moment is given back."""
        with self._lock:
            self.stopping = True
        self.wake(self.id)

    def ended(self, job: Job) -> None:
        """A job is over."""
        with self._lock:
            self._jobs.discard(job)
        self.wake(self.id)

    def work(self, source: Source) -> Plan[None]:
        """Take and hand out until told to stop."""
        yield Wait(self.id, 0.0, source.channel, attentive=True)  # from now on no word is missed
        yield from warn_of_eviction(source.channel)
        while not self.stopping:
            jobs: Sequence[Job] = ()
            seconds = LOOK_EVERY
            if self.free > 0:
                try:
                    jobs, seconds = yield from source.take(self.free)
                    self._could_look()
                except RedisOptError as error:
                    self._could_not_look(source, error)
                    seconds = _AFTER_FAILURE
                except Exception:
                    events.logger.exception("a worker could not take what is due")
                if not self._accept(jobs):
                    for job in jobs:
                        yield from _given_back(job)
                    break
                for job in jobs:
                    self.start(job)
                if jobs and self.free > 0 and seconds <= 0:
                    continue
            if self.free == 0:
                seconds = LOOK_EVERY  # or until a job is over
            if self.stopping:
                break
            heard = yield Wait(self.id, max(0.0, min(seconds, LOOK_EVERY)), source.channel, attentive=True)
            if heard is not None:
                try:
                    source.hear(heard)
                except Exception:  # whatever it was, it was not one of ours
                    events.logger.exception("a worker was sent %.100r on %r", heard, source.channel)
        yield Wait(self.id, 0.0, heard=False)  # nothing is to be kept for it any more

    def _accept(self, jobs: Sequence[Job]) -> bool:
        """Note that jobs are under way, unless this is to stop."""
        with self._lock:
            if not self.stopping:
                self._jobs.update(jobs)
            return not self.stopping

    def _could_look(self) -> None:
        self._complained = False

    def _could_not_look(self, source: Source, error: RedisOptError) -> None:
        """Say so once, until it can again. Of a server that is away, the breaker says so."""
        if isinstance(error, Unavailable) or self._complained:
            events.logger.debug("a worker could not look: %s", error)
            return
        self._complained = True
        events.logger.error("a worker of %s can take nothing, and goes on trying: %s", source.channel, error)


def _given_back(job: Job) -> Plan[None]:
    try:
        yield from job.give_back()
    except RedisOptError as error:
        events.logger.debug("what was taken by a worker that stops comes back when its lease ends: %s", error)
