"""All that one batcher can be asked, put together: the plans behind `Batcher` and `AsyncBatcher`."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

from redisopt.background import Performer, now
from redisopt.batch import mapping, outcome
from redisopt.batch.adding import DROPPED, NEW, Adding, Wish, given_id, many, wish
from redisopt.batch.asking import Asking
from redisopt.batch.config import BatchConfig, LimitBy
from redisopt.batch.contract import Handler, checked_handler
from redisopt.batch.inbox import Expected, Fetching, Inbox
from redisopt.batch.processing import Processing
from redisopt.batch.progress import Progress
from redisopt.batch.telling import Telling
from redisopt.batch.working import Work
from redisopt.commands import Listen, Plan
from redisopt.functions import check_function
from redisopt.identity import process_id
from redisopt.limiters import Limiter, checked_limiter
from redisopt.monitor.watching import Monitor, Watch
from redisopt.shifts import check_worker

T = TypeVar("T", bound="Ticket")

GRACE, MAX_GRACE = 5.0, 3600
"""Seconds that a worker which stops waits for what it runs, by default and at most."""

Place = asyncio.AbstractEventLoop | None
"""Who reads outcomes: an event loop, or the threads of this process."""


class Ticket(Expected):
    """What both kinds of tickets know.

    Attributes:
        inbox: where the outcome comes.
        ours: whether we are its adder, who is told.
        dropped: whether it was not added, since too many waited.
        first: another ticket of this id, which waited before and whose outcome is this one's too.
    """

    __slots__ = ("dropped", "first", "inbox", "ours")

    def __init__(self, item_id: str) -> None:
        super().__init__(item_id)
        self.inbox: Any = None
        self.ours = True
        self.dropped = False
        self.first: Expected | None = None

    @property
    def name(self) -> str:
        """The id as the user knows it."""
        return unquote(self.id)

    def __repr__(self) -> str:
        """For people."""
        return f"<{type(self).__name__} {self.name}>"


class BatchPlans:
    """The plans of one batcher.

    Attributes:
        asking: its scripts as commands, and the config.
        adding: how items come in.
        processing: how batches are run, and which ones this process holds.
        telling: what the fleet is told, and how it stands.
        handler: of the batches; None as long as there is none.
    """

    def __init__(
        self,
        name: str,
        config: BatchConfig,
        handler: Handler | None,
        limiter: Limiter | None,
        limit_by: LimitBy,
        monitor: Monitor | None,
        *,
        awaited: bool,
    ) -> None:
        checked_limiter(limiter, "limiter", awaited=awaited)
        if limit_by not in ("batch", "items"):
            raise ValueError(f"limit_by must be 'batch' or 'items', not {limit_by!r}")
        self.asking = Asking(name, config)
        self.adding = Adding(self.asking)
        watch = Watch(monitor, "batched_operation", {"batcher": name}, awaited=awaited)
        self.processing = Processing(self.asking, watch)
        self._fetching = Fetching(self.asking)
        self.telling = Telling(self.asking, watch)
        self.handler: Handler | None = handler
        self._limiter, self._limit_by = limiter, limit_by
        self._lock = threading.Lock()
        self._of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = weakref.WeakKeyDictionary()
        self._of_threads: Inbox | None = None
        self._process = process_id()

    def attach(self, performer: Performer) -> None:
        """Have `performer` do what goes on in the background."""
        self._performer = performer
        self._fetching.awaiting.wake = performer.wake
        leases = self.processing.leases
        leases.attach(performer, leases.keep, f"redisopt-batch-{self.asking.name}-leases")

    @property
    def config(self) -> BatchConfig:
        """The config that it was made with."""
        return self.asking.config

    # --- adding

    def inbox(self, place: Place) -> Plan[Inbox]:
        """Where the outcomes of items come that are added here; the first time, this joins the batcher."""
        known = self.known_inbox(place)
        if known is not None:
            return known
        last_gone = yield from self.adding.join()
        with self._lock:
            made = Inbox(self.asking, self._performer, last_gone, place)
            if place is not None:
                return self._of_loops.setdefault(place, made)
            self._of_threads = self._of_threads or made
            return self._of_threads

    def known_inbox(self, place: Place) -> Inbox | None:
        """Where the outcomes of items come that are added here, once this has joined the batcher."""
        if self._process != process_id():  # a forked child reads its own
            self._lock, self._process = threading.Lock(), process_id()
            self._of_loops, self._of_threads = weakref.WeakKeyDictionary(), None
        return self._of_threads if place is None else self._of_loops.get(place)

    def add(
        self,
        tickets: Callable[[str], T],
        values: Sequence[tuple[Any, str, str | None, int]],
        place: Place,
        timeout: float | None,
        *,
        listens: bool = False,
    ) -> Plan[list[T]]:
        """Add items, given with key, id and priority; a ticket for each."""
        inbox = yield from self.inbox(place)
        wishes = [
            wish(self.config, item, key, inbox.next_id() if item_id is None else given_id(item_id), priority)
            for item, key, item_id, priority in values
        ]
        return (yield from self.add_wishes(tickets, wishes, inbox, timeout, listens=listens))

    def add_many(
        self,
        tickets: Callable[[str], T],
        values: Iterable[Any],
        key: str | Callable[[Any], str],
        ids: Sequence[str] | None,
        priority: int,
        place: Place,
        timeout: float | None,
    ) -> Plan[list[T]]:
        """Add many items; a ticket for each."""
        inbox = yield from self.inbox(place)
        wishes = many(self.config, values, key, ids, priority, inbox.next_id)
        return (yield from self.add_wishes(tickets, wishes, inbox, timeout))

    def add_wishes(
        self,
        tickets: Callable[[str], T],
        wishes: Sequence[Wish],
        inbox: Inbox,
        timeout: float | None,
        *,
        listens: bool = False,
    ) -> Plan[list[T]]:
        """Add what was checked. The tickets expect their outcomes before these can come."""
        yield from self.adding.stay()
        made = [tickets(each.id) for each in wishes]
        for ticket in made:
            ticket.inbox = inbox
        if others := inbox.expect(made):
            for ticket in made:
                first = others.get(ticket.id)
                ticket.first = None if first is ticket else first
        if listens:
            yield Listen(self.asking.gone)
            inbox.listens()
        letters = yield from self.adding.add(wishes, inbox.adder, _checked_timeout(timeout))
        for ticket, letter in zip(made, letters, strict=True):
            ticket.added = True
            if letter == DROPPED:
                ticket.dropped = True
            elif letter != NEW and not ticket.id.startswith(inbox.prefix):
                ticket.ours = False  # it may be that of another adder, who is told
        return made

    # --- outcomes

    def result(self, ticket: Ticket, timeout: float | None) -> Plan[Any]:
        """The result of an item."""
        seconds = _seconds(timeout, self.config.result_ttl)
        if ticket.dropped:
            return outcome.read(b"dropped\n", ticket.name, self.config.codec, self.config.max_item_bytes)
        if ticket.outcome is None:
            if ticket.ours and seconds > 0 and ticket.inbox.is_here():
                ticket.outcome = yield from ticket.inbox.wait(ticket.first or ticket, now() + seconds)
            else:
                ticket.outcome = yield from self._fetching.fetch(ticket.id, seconds)
        return self._read(ticket, ticket.name)

    def result_of(self, item_id: str, timeout: float | None) -> Plan[Any]:
        """The result of an item that anybody may have added."""
        expected = Expected(given_id(item_id))
        expected.outcome = yield from self._fetching.fetch(expected.id, _seconds(timeout, self.config.result_ttl))
        return self._read(expected, item_id)

    def _read(self, item: Expected, name: str) -> Any:
        return outcome.read(item.outcome or b"", name, self.config.codec, self.config.max_item_bytes)

    def cancel_one(self, stored: str) -> Plan[bool]:
        """Cancel an item, by the id that stands in Redis."""
        return (yield from self.telling.cancel([stored])) == "c"

    def cancel(self, item_id: str) -> Plan[bool]:
        """Cancel an item."""
        return (yield from self.cancel_one(given_id(item_id)))

    # --- mapping

    def map(
        self,
        values: Iterable[Any],
        key: str | Callable[[Any], str],
        priority: int,
        run_id: str | None,
        on_progress: Callable[[Progress], object] | None,
        errors: str,
        timeout: float | None,
        place: Place,
        *,
        ordered: bool,
    ) -> Plan[list[Any]]:
        """Have many items run, and wait for all."""
        if errors not in ("raise", "collect"):
            raise ValueError(f"errors must be 'raise' or 'collect', not {errors!r}")
        if on_progress is not None:
            check_function(on_progress, "on_progress", awaited=False, instead="a plain function that starts a task")
        patience = _seconds(timeout, self.config.result_ttl)
        inbox = yield from self.inbox(place)
        yield from self.adding.stay()
        run = inbox.next_id() if run_id is None else given_id(run_id, "run_id")
        wishes = many(self.config, values, key, None, priority, lambda: "")
        if not wishes:
            return []
        digest = mapping.digest(wishes)
        wishes = [each._replace(id=f"{run}.{digest}.{number}") for number, each in enumerate(wishes)]
        mapped = mapping.Mapping(self.asking, run, digest, wishes, on_progress)
        ended = yield from mapped.run(inbox.last_gone, patience)
        return mapping.results(self.asking, wishes, ended, ordered=ordered, collects=errors == "collect")

    # --- working

    def register(self, handler: Any, *, awaited: bool) -> None:
        """Have batches handed to `handler`.

        Raises:
            ValueError: it cannot be called so, or is of the other kind; or there is one already.
        """
        checked = checked_handler(handler, awaited=awaited)
        if self.handler is not None:
            raise ValueError(
                f"batch {self.asking.name!r} has a handler already, and there can be but one: not {handler!r}"
            )
        self.handler = checked

    def work(self, concurrency: object, grace: object) -> Work:
        """What a worker of so many batches at a time has to do.

        Raises:
            ValueError: there is no handler, or an argument is out of range.
        """
        check_worker(concurrency, grace, MAX_GRACE)
        if self.handler is None:
            raise ValueError("handler is not set: decorate a function with @batcher.handler, or pass handler=")
        return Work(self.asking, self.adding, self.processing, self.handler, self._limiter, self._limit_by)


def _seconds(timeout: float | None, otherwise: float) -> float:
    checked = _checked_timeout(timeout)
    return otherwise if checked is None else checked


def _checked_timeout(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ValueError(f"timeout must be seconds, at least 0, or None, not {timeout!r}")
    return min(float(timeout), threading.TIMEOUT_MAX)
