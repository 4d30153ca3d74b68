"""What a worker of a batcher has to do, as plans: a `Source` of `shifts`.

Nobody keeps a timer: the script says when the next batch is due, and every idle worker waits for that on its own side, or for
word that something is due sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from redisopt import events
from redisopt.background import now
from redisopt.batch.adding import Adding
from redisopt.batch.asking import Asking
from redisopt.batch.config import MAX_SIZE, LimitBy
from redisopt.batch.contract import Handler
from redisopt.batch.processing import Processing
from redisopt.batch.replies import Claimed, Due, Elsewhere, Idle
from redisopt.batch.settling import Held
from redisopt.commands import Invoke, Plan, call
from redisopt.errors import ConfigConflict, CostExceedsLimit, RedisOptError, Throttled, Unavailable
from redisopt.identity import next_permit_id
from redisopt.limiters import Limiter
from redisopt.shifts import LOOK_EVERY, Job

_PATIENCE = 1.0  # seconds that a worker waits in a throttler's line before it looks again whether it is to stop
_HOPS = 16  # partitions that are looked at in a row
_TRIES = 3  # calls of which no reply came, or an error, before a claim that may have been made is given back


class _Wanted:
    """A claim that is asked for, under its id, until there is an answer: it may have been made though no reply came.

    Attributes:
        id: of the claim.
        partition: of which items are claimed.
        permit: for it, which is as good as used for as long as the claim may have been made; None without a limiter.
        most: items.
        tries: how many calls had no reply, or an error for one.
    """

    __slots__ = ("id", "most", "partition", "permit", "tries")

    def __init__(self, partition: str, permit: Any, most: int) -> None:
        self.id = next_permit_id()
        self.partition = partition
        self.permit = permit
        self.most = most
        self.tries = 0


class Work:
    """The batches that are due, for one worker."""

    def __init__(
        self,
        asking: Asking,
        adding: Adding,
        processing: Processing,
        handler: Handler,
        limiter: Limiter | None,
        limit_by: LimitBy,
    ) -> None:
        self._asking = asking
        self._adding = adding
        self._conflicts = False
        self._processing = processing
        self._handler = handler
        self._limiter = limiter
        self._limit_by = limit_by
        self._partition = "="
        self._wanted: _Wanted | None = None
        self._most = MAX_SIZE  # less, where replies have been too large to come in time
        self._due = -inf

    @property
    def channel(self) -> str:
        """On which word comes."""
        return self._asking.work

    def hear(self, messages: str) -> None:
        """Word has come: in how many ms something is due; anything else is reason to look."""
        for message in messages.split():
            self._due = min(self._due, now() + int(message) / 1000) if message.isdigit() else -inf

    def take(self, free: int) -> Plan[tuple[Sequence[Job], float]]:
        """Take the next batch, if one is due."""
        del free  # others are taken in further calls, when this one is on its way
        try:
            yield from self._adding.stay()
        except ConfigConflict as conflict:
            if not self._conflicts:
                events.logger.error("a worker takes nothing for as long as this is so: %s", conflict)
            self._conflicts = True
            return [], LOOK_EVERY
        self._conflicts = False
        if now() < self._due:
            return [], self._due - now()
        jobs = yield from self._next()
        return jobs, max(0.0, self._due - now())

    def begin(self) -> Plan[None]:
        """Say how this process is configured.

        Raises:
            ConfigConflict: others are configured otherwise, and `on_conflict` is "raise".
        """
        yield from self._adding.stay()

    def end(self) -> Plan[None]:
        """Nothing more is taken: give back what may have been, and the permit for it."""
        if self._wanted is not None:
            yield from self._abandon(self._wanted)

    def _next(self) -> Plan[list[Job]]:
        if self._wanted is not None and self._wanted.tries >= _TRIES:
            yield from self._give_up(self._wanted)
        for _ in range(_HOPS):
            if self._wanted is None:
                permit, most = None, self._most
                if self._limiter is not None:
                    looked = yield from self._asking.claiming("-", self._partition, 0)
                    if isinstance(looked, Elsewhere):
                        self._partition = looked.partition
                        continue
                    if not isinstance(looked, Due):
                        self._rest(looked)
                        return []
                    permit, most = yield from self._permit(self._limiter, min(looked.number, self._most))
                    if permit is None:
                        return []
                self._wanted = _Wanted(self._partition, permit, most)
            permit = self._wanted.permit
            claimed = yield from self._claim(self._wanted)
            if isinstance(claimed, Held):
                return [self._job(claimed, permit)]
            if permit is not None:
                yield from self._return(permit, 0)
            if isinstance(claimed, Idle):
                self._rest(claimed)
                return []
        return []

    def _rest(self, answer: Any) -> None:
        """Nothing is due: for so long, or until there is word."""
        waits = answer.wait_ms
        self._due = now() + (LOOK_EVERY if waits is None or waits < 0 else min(LOOK_EVERY, waits / 1000))

    def _claim(self, wanted: _Wanted) -> Plan[Held | Idle | None]:
        """Ask for a claim, which is wanted until there is an answer."""
        asked = now()
        try:
            claimed = yield from self._asking.claiming(wanted.id, wanted.partition, wanted.most)
        except GeneratorExit:
            raise
        except RedisOptError as error:  # it may have been made, also where the script ended with an error
            wanted.tries += not isinstance(error, Unavailable) or error.sent
            raise
        except BaseException:
            yield from self._abandon(wanted)
            raise
        self._wanted = None
        if isinstance(claimed, Claimed):
            held = Held(wanted.id, wanted.partition, claimed, asked + self._asking.config.lease_ttl)
            self._processing.leases.hold("", held)
            self._partition = claimed.next_partition or wanted.partition
            self._due = now() + (LOOK_EVERY if claimed.next_ms < 0 else min(LOOK_EVERY, claimed.next_ms / 1000))
            self._most = min(MAX_SIZE, 2 * self._most)
            return held
        if isinstance(claimed, Elsewhere):
            self._partition = claimed.partition
            return None
        return claimed if isinstance(claimed, Idle) else None

    def _give_up(self, wanted: _Wanted) -> Plan[None]:
        """Time and again there was no reply, and each call may have renewed the lease: have others run the items, and ask for fewer."""
        yield from call(self._asking.release(wanted.id, wanted.partition))
        self._wanted = None
        self._most = max(1, min(self._most, wanted.most, self._asking.config.max_size) // 2)
        events.logger.warning(
            "a batch of %r could not be read, or not within command_timeout: it is given back, and %d items are asked for at most",
            self._asking.name,
            self._most,
        )
        if wanted.permit is not None:
            yield from self._return(wanted.permit, 0)

    def _abandon(self, wanted: _Wanted) -> Plan[None]:
        """Nobody will read the reply: give back what may have been claimed, and the permit."""
        self._wanted = None
        try:
            yield from call(self._asking.release(wanted.id, wanted.partition))
        except RedisOptError as error:
            events.logger.debug("what was claimed last is given back only when its lease ends: %s", error)
        if wanted.permit is not None:
            yield from self._return(wanted.permit, 0)

    def _job(self, held: Held, permit: Any) -> Job:
        begun = False

        def perform() -> Plan[None]:
            nonlocal begun
            if held.lost and not held.left:
                return  # it was given back meanwhile, and the permit with it
            begun = True
            try:
                if permit is not None and self._limit_by == "items" and len(held.claimed.items) < permit.cost:
                    yield from self._return(permit, len(held.claimed.items))
                yield from self._processing.process(held, self._handler)
            finally:
                if permit is not None:
                    yield from self._release(permit)

        def give_back() -> Plan[None]:
            yield from self._processing.give_back(held)
            if permit is not None and not begun:
                yield from self._return(permit, 0)  # else when the handler is over

        return Job(perform, give_back)

    # --- joined with a limiter

    def _permit(self, limiter: Limiter, number: int) -> Plan[tuple[Any, int]]:
        """A permit for a batch of `number` items, and for how many it is; None where it is not to be had yet."""
        cost = number if self._limit_by == "items" else 1
        while True:
            try:
                permit = yield Invoke(limiter.acquire, (cost,), {"timeout": _PATIENCE})
            except CostExceedsLimit:
                if cost == 1:
                    raise
                cost = (cost + 1) // 2  # a smaller batch, then
            except Throttled as refused:
                self._due = now() + min(LOOK_EVERY, max(0.001, refused.retry_after - _PATIENCE / 2))
                return None, 0
            else:
                return permit, cost if self._limit_by == "items" else self._most

    def _release(self, permit: Any) -> Plan[None]:
        try:
            yield Invoke(permit.release)
        except RedisOptError as error:
            events.logger.warning("a permit of %r is released only when its lease ends: %s", self._asking.name, error)

    def _return(self, permit: Any, used: int) -> Plan[None]:
        """Give back what a batch did not need: of one that did not come to be, also the slot."""
        for step in [Invoke(permit.settle, (used,))] if used else [Invoke(permit.refund), Invoke(permit.release)]:
            try:
                yield step
            except RedisOptError as error:
                events.logger.warning("a permit for a batch of %r was charged too much: %s", self._asking.name, error)
