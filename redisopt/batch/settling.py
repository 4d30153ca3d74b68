"""What becomes of the items of a batch that is held: said in Redis, or the batch is given back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter

from redisopt import events
from redisopt.background import now
from redisopt.backoff import full_jitter
from redisopt.batch import outcome
from redisopt.batch.asking import Asking, Settled, chunks
from redisopt.batch.contract import Fatal, Retry
from redisopt.batch.items import Item
from redisopt.batch.judging import Verdict
from redisopt.batch.replies import Claimed
from redisopt.codec import PayloadError
from redisopt.commands import Command, Plan, Sleep, call
from redisopt.config import milliseconds
from redisopt.errors import RedisOptError, Unavailable
from redisopt.leases import Lease, Leases

_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_GIVES_UP = 60.0  # seconds after which results that Redis does not take are lost


class Hopeless(Exception):
    """An error after which no further attempt is made."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class ResultLost(Exception):
    """The handler was done with an item, and Redis did not take the result."""


class Held(Lease):
    """A batch that this process holds under a lease.

    Attributes:
        id: of the claim.
        partition: of its items.
        claimed: what was handed out.
        left: the items that are not settled yet, by id.
        settled: how many were settled as what.
    """

    __slots__ = ("claimed", "id", "left", "partition", "settled")

    def __init__(self, claim_id: str, partition: str, claimed: Claimed, good_until: float) -> None:
        super().__init__(good_until)
        self.id = claim_id
        self.partition = partition
        self.claimed = claimed
        self.left = {item.id: item for item in claimed.items}
        self.settled: Counter[str] = Counter()

    def note(self, settled: Sequence[Settled]) -> None:
        """Redis knows what became of these."""
        for each in settled:
            if self.left.pop(each.item.id, None) is not None:
                self.settled[each.kind] += 1

    def __repr__(self) -> str:
        """For people."""
        return f"<batch {self.id} of {len(self.claimed.items)} items>"


class Settling:
    """The plans that end a batch of one batcher.

    Attributes:
        leases: of the batches of this process.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.leases: Leases[Held] = Leases(asking.config.lease_ttl, self._renew)

    def _renew(self, _: str, held: Sequence[Held]) -> Plan[Sequence[bool]]:
        renewed = yield from call(self._asking.renew([each.id for each in held]))
        return [letter == "1" for letter in renewed]

    def give_back(self, held: Held) -> Plan[None]:
        """Have others run what is not settled, at once and with attempts unchanged."""
        self.leases.drop("", held)
        if not held.left:
            return
        held.mark_lost()  # from now on others may run them
        held.left.clear()
        try:
            yield from call(self._asking.release(held.id, held.partition))
        except RedisOptError as error:
            events.logger.warning("%r of %r is given back only when its lease ends: %s", held, self._asking.name, error)

    def settled(self, held: Held, item: Item, verdict: Verdict, luck: float) -> Settled:
        """What becomes of an item by a verdict: its result, or an error. `luck`, from 0 to 1, is that of its backoff."""
        if isinstance(verdict, bytes):
            return Settled(item, "done", verdict)
        config = self._asking.config
        if isinstance(verdict, Hopeless):
            return self.give_up(item, verdict.error)
        if isinstance(
            verdict, Fatal | PayloadError
        ):  # a result that cannot be stored could not be the next time either
            return self.give_up(item, verdict)
        if isinstance(verdict, config.retry_on):
            waited = held.claimed.now_ms - item.since_ms if item.since_ms else 0
            if waited <= milliseconds(config.retry_for):
                wait = full_jitter(item.repeats + 1, config.backoff_base, config.backoff_cap, luck)
                return Settled(item, "repeat", wait_ms=milliseconds(wait), error=outcome.told(verdict))
        if item.attempts + 1 >= config.max_attempts:
            return self.give_up(item, verdict)
        if isinstance(verdict, Retry) and verdict.after is not None:
            wait = verdict.after
        else:
            wait = full_jitter(item.attempts + 1, config.backoff_base, config.backoff_cap, luck)
        return Settled(item, "retry", wait_ms=milliseconds(wait), error=outcome.told(verdict))

    def give_up(self, item: Item, error: BaseException) -> Settled:
        """That no further attempt is made."""
        failed = outcome.failed(error, item.attempts + 1, self._asking.config.codec)
        return Settled(item, "dead", failed, error=outcome.told(error))

    def settle(self, held: Held, settled: Sequence[Settled]) -> Plan[None]:
        """Tell Redis what became of items. Interrupted, that is told once more: it is known, and others are not to do it again."""
        until = now() + _GIVES_UP
        for part in chunks([each for each in settled if each.item.id in held.left], attrgetter("outcome")):
            last = len(part) == len(held.left)
            command = self._asking.settle(held.id, held.claimed.fence, held.partition, part, last=last)
            try:
                kept = yield from self._deliver(held, command, until)
            except GeneratorExit:
                raise
            except RedisOptError as error:
                if not (yield from self._lose(held, part, error, last=last)):
                    return
                continue
            except BaseException:
                with suppress(RedisOptError):
                    yield from call(command)
                    held.note(part)
                raise
            held.note(part)
            if kept < len(part):
                held.mark_lost()
                events.logger.warning(
                    "%d items of %r were settled too late: their lease was lost, and others run them",
                    len(part) - kept,
                    self._asking.name,
                )

    def _deliver(self, held: Held, command: Command[int], until: float) -> Plan[int]:
        """Send it again and again while Redis is away: until others will run the items anyway, and at most until `until`.

        The lease says nothing of that where it can be renewed and this cannot be sent, as over a link too slow for the results.
        """
        pause = _PAUSE
        while True:
            try:
                return (yield from call(command))
            except Unavailable:
                ends = min(until, held.good_until + self._asking.config.lease_ttl)
                if not held.left or now() + pause > ends:
                    raise
            yield Sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _lose(self, held: Held, part: Sequence[Settled], error: RedisOptError, *, last: bool) -> Plan[bool]:
        """Redis does not take the results of items: their attempts have failed, then. False where that cannot be said either."""
        name = self._asking.name
        events.logger.warning("results of %d items of %r are lost, they run again: %s", len(part), name, error)
        if not held.lost:
            lost, luck = ResultLost(f"its result could not be stored: {error}"), random.random()  # noqa: S311
            failed = [each if each.kind != "done" else self.settled(held, each.item, lost, luck) for each in part]
            with suppress(RedisOptError):
                yield from call(self._asking.settle(held.id, held.claimed.fence, held.partition, failed, last=last))
                held.note(failed)
                return True
        # Its lease ends, which counts as a delivery that was lost: not given back, it is not run again and again without a bound.
        held.mark_lost()
        self.leases.drop("", held)
        return False
