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
from redisopt.batch.asking import Asking, Claimed, Due, Elsewhere, Idle
from redisopt.batch.config import MAX_SIZE
from redisopt.batch.contract import Handler
from redisopt.batch.limiter import LimitBy, Limiter
from redisopt.batch.processing import Held, Processing
from redisopt.commands import Invoke, Plan, call
from redisopt.errors import CostExceedsLimit, RedisOptError, Throttled
from redisopt.identity import next_permit_id, process_id
from redisopt.shifts import LOOK_EVERY, Job

_PATIENCE = 1.0  # seconds that a worker waits in a throttler's line before it looks again whether it is to stop
_HOPS = 16  # partitions that are looked at in a row


class Work:
    """The batches that are due, for one worker."""

    def __init__(
        self, asking: Asking, processing: Processing, handler: Handler, limiter: Limiter | None, limit_by: LimitBy
    ) -> None:
        self._asking = asking
        self._processing = processing
        self._handler = handler
        self._limiter = limiter
        self._limit_by = limit_by
        self._partition = "="
        self._claim: str | None = None  # one whose reply may have been lost: it is asked for again
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
        if now() < self._due:
            return [], self._due - now()
        jobs = yield from self._next()
        return jobs, max(0.0, self._due - now())

    def _next(self) -> Plan[list[Job]]:
        for _ in range(_HOPS):
            permit, most = None, MAX_SIZE
            if self._limiter is not None and self._claim is None:
                looked = yield from call(self._asking.claim("-", process_id(), self._partition, 0))
                if isinstance(looked, Elsewhere):
                    self._partition = looked.partition
                    continue
                if not isinstance(looked, Due):
                    self._rest(looked)
                    return []
                permit, most = yield from self._permit(self._limiter, looked.number)
                if permit is None:
                    return []
            claimed = yield from self._take(permit, most)
            if isinstance(claimed, Held):
                return [self._job(claimed, permit)]
            if isinstance(claimed, Idle):
                self._rest(claimed)
                return []
        return []

    def _rest(self, answer: Any) -> None:
        """Nothing is due: for so long, or until there is word."""
        waits = answer.wait_ms
        self._due = now() + (LOOK_EVERY if waits is None or waits < 0 else min(LOOK_EVERY, waits / 1000))

    def _take(self, permit: Any, most: int) -> Plan[Held | Idle | None]:
        """Claim a batch. What a permit was taken for in vain is given back."""
        held: Held | None = None
        try:
            self._claim = self._claim or next_permit_id()
            asked = now()
            claimed = yield from call(self._asking.claim(self._claim, process_id(), self._partition, most))
            claim, self._claim = self._claim, None
            if isinstance(claimed, Claimed):
                held = Held(claim, self._partition, claimed, asked + self._asking.config.lease_ttl)
                self._processing.leases.hold("", held)
                self._partition = claimed.next_partition or self._partition
                self._due = now() + (LOOK_EVERY if claimed.next_ms < 0 else min(LOOK_EVERY, claimed.next_ms / 1000))
                return held
            if isinstance(claimed, Elsewhere):
                self._partition = claimed.partition
                return None
            return claimed if isinstance(claimed, Idle) else None
        finally:
            if permit is not None and held is None:
                yield from self._return(permit, 0)

    def _job(self, held: Held, permit: Any) -> Job:
        def perform() -> Plan[None]:
            try:
                if permit is not None and self._limit_by == "items" and len(held.claimed.items) < permit.cost:
                    yield from self._return(permit, len(held.claimed.items))
                yield from self._processing.process(held, self._handler)
            finally:
                if permit is not None:
                    yield Invoke(permit.release)

        return Job(perform, lambda: self._processing.give_back(held))

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
                return permit, cost if self._limit_by == "items" else MAX_SIZE

    def _return(self, permit: Any, used: int) -> Plan[None]:
        """Give back what a batch did not need."""
        try:
            if used:
                yield Invoke(permit.settle, (used,))
            else:
                yield Invoke(permit.refund)
                yield Invoke(permit.release)
        except RedisOptError as error:
            events.logger.warning("a permit for a batch of %r was charged too much: %s", self._asking.name, error)
