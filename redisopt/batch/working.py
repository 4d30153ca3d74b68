"""What a worker does, as a plan: claim what is due, run it, and wait until something is due or a worker is called.

Nobody keeps a timer: the script says when the next batch is due, and every idle worker waits for that on its own side, or for
word that something is due sooner. A lost message costs a second at most. Whatever goes wrong is logged, and the worker goes on.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from redisopt import events
from redisopt.batch.asking import Asking, Claimed, Due, Elsewhere
from redisopt.batch.config import MAX_SIZE
from redisopt.batch.holding import Holding
from redisopt.batch.limiter import LimitBy, Limiter
from redisopt.batch.processing import Held, Processing
from redisopt.commands import Invoke, Plan, Wait, call
from redisopt.errors import CostExceedsLimit, RedisOptError, Throttled
from redisopt.identity import next_permit_id, process_id

POLL = 1.0
"""Seconds that an idle worker goes without asking: what a lost message costs at most."""

_FIRST_PAUSE = 0.05  # seconds, after an error
_numbers = itertools.count(1)

now = time.monotonic


class Slot:
    """One of the batches that a worker runs at a time.

    Attributes:
        id: under which it waits.
        partition: where to ask next.
        claim: the id of a claim whose reply may have been lost: it is asked for again.
        held: what it runs.
    """

    def __init__(self) -> None:
        self.id = f"worker:{next(_numbers)}"
        self.partition = "="
        self.claim: str | None = None
        self.held: Held | None = None


class Working:
    """The plans of one worker.

    Attributes:
        slots: of it.
    """

    def __init__(
        self,
        asking: Asking,
        processing: Processing,
        holding: Holding,
        limiter: Limiter | None,
        limit_by: LimitBy,
        slots: int,
    ) -> None:
        self._asking = asking
        self._processing = processing
        self._holding = holding
        self._limiter = limiter
        self._limit_by = limit_by
        self.slots = [Slot() for _ in range(slots)]

    @property
    def stops(self) -> bool:
        """Whether no further batch is to be claimed."""
        return self._processing.stopping

    def stop(self) -> None:
        """Claim no further batch, and begin no further run."""
        self._processing.stopping = True

    def give_back(self) -> Plan[None]:
        """Have others run at once what is not finished."""
        for slot in self.slots:
            if slot.held is not None and slot.held.left:
                self._holding.drop(slot.held)
                yield from self._processing.give_back(slot.held)

    def work(self, slot: Slot) -> Plan[None]:
        """Claim and run batches until told to stop."""
        pause = _FIRST_PAUSE
        while not self.stops:
            try:
                yield from self._once(slot)
                pause = _FIRST_PAUSE
            except Exception as error:
                if not isinstance(error, RedisOptError):
                    events.logger.exception("a worker of %r goes on after an error", self._asking.name)
                elif pause == _FIRST_PAUSE:
                    events.logger.warning("a worker of %r cannot work, and tries again: %s", self._asking.name, error)
                yield Wait(slot.id, pause, heard=False)
                pause = min(2 * pause, POLL)
        yield Wait(slot.id, 0.0, heard=False)  # nothing is kept for it any more
        if slot.claim is not None:  # it may have been granted
            yield from call(self._asking.release(slot.claim, slot.partition))

    def _once(self, slot: Slot) -> Plan[None]:
        permit, most = None, MAX_SIZE
        if self._limiter is not None and slot.claim is None:
            looked = yield from call(self._asking.claim("-", process_id(), slot.partition, 0))
            if not isinstance(looked, Due):
                yield from self._wait(slot, looked)
                return
            permit, most = yield from self._permit(slot, looked.number)
            if permit is None:
                return
        claimed: Any = None
        try:
            slot.claim = slot.claim or next_permit_id()
            asked = now()
            claimed = yield from call(self._asking.claim(slot.claim, process_id(), slot.partition, most))
        finally:
            if permit is not None and not isinstance(claimed, Claimed):
                yield from self._return(permit, 0)
        claim, slot.claim = slot.claim, None
        if not isinstance(claimed, Claimed):
            yield from self._wait(slot, claimed)
            return
        held = slot.held = Held(claim, slot.partition, claimed, asked + self._asking.config.lease_ttl)
        self._holding.hold(held)
        try:
            if permit is not None and self._limit_by == "items" and len(claimed.items) < most:
                yield from self._return(permit, len(claimed.items))
            yield from self._processing.process(held)
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._processing.give_back(held)
            raise
        finally:
            self._holding.drop(held)
            slot.held = None
        if permit is not None:
            yield Invoke(permit.release)
        slot.partition = claimed.next_partition or slot.partition

    def _wait(self, slot: Slot, answer: Any) -> Plan[None]:
        """Until something is due, by the script's answer, or there is word."""
        if isinstance(answer, Elsewhere):
            slot.partition = answer.partition
            return
        seconds = POLL if answer.wait_ms is None or answer.wait_ms < 0 else min(POLL, answer.wait_ms / 1000)
        until = now() + seconds
        while (left := until - now()) > 0 and not self.stops:
            message = yield Wait(slot.id, left, self._asking.work, attentive=True)
            calls = [] if message is None else message.split(" ")
            if not calls or not all(each.isdigit() for each in calls):
                return
            until = min(until, now() + min(map(int, calls)) / 1000)

    # --- joined with a limiter

    def _permit(self, slot: Slot, number: int) -> Plan[tuple[Any, int]]:
        """A permit for a batch of `number` items, and for how many it is; None where it is not to be had yet."""
        cost = number if self._limit_by == "items" else 1
        while True:
            try:
                permit = yield Invoke(self._limiter.acquire, (cost,), {"timeout": POLL})  # type: ignore[union-attr]
            except CostExceedsLimit:
                if cost == 1:
                    raise
                cost = (cost + 1) // 2  # a smaller batch, then
            except Throttled as refused:
                yield Wait(slot.id, min(POLL, max(0.001, refused.retry_after)), heard=False)
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
