"""What a worker does with a batch that it holds: run the handler, and settle what became of each item.

An item that fails is run again later, after a backoff that waits in Redis, or is given up. Errors that are not the items'
fault repeat the batch as a whole. Of a batch whose handler raised something else, the culprits are found (see `isolating`).
What is finished is settled at once, whatever becomes of the rest.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Any

from redisopt import events
from redisopt.background import now
from redisopt.backoff import full_jitter
from redisopt.batch import outcome
from redisopt.batch.asking import Asking, Settled, chunks
from redisopt.batch.contract import BatchItemError, BatchRun, Fatal, Handler, Retry
from redisopt.batch.isolating import isolate
from redisopt.batch.items import Item, key_of
from redisopt.batch.judging import Verdict, judge
from redisopt.batch.replies import Claimed
from redisopt.codec import PayloadError, decode
from redisopt.commands import Command, Plan, Sleep, Stopped, call, invoke
from redisopt.config import milliseconds
from redisopt.errors import RedisOptError, ResultCountError
from redisopt.leases import Lease, Leases
from redisopt.monitor.watching import Watch

_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class WorkerLost(Exception):
    """Workers were not heard of again while they ran an item."""


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


class Processing:
    """The plans that run batches of one batcher.

    Attributes:
        leases: of the batches of this process.
    """

    def __init__(self, asking: Asking, watch: Watch) -> None:
        self._asking = asking
        self._watch = watch
        self.leases: Leases[Held] = Leases(asking.config.lease_ttl, self._renew)

    def _renew(self, _: str, held: Sequence[Held]) -> Plan[Sequence[bool]]:
        renewed = yield from call(self._asking.renew([each.id for each in held]))
        return [letter == "1" for letter in renewed]

    def process(self, held: Held, handler: Handler) -> Plan[None]:
        """Run a batch, and settle all of it; what could not be run is given back. Interrupted, all that is left is."""
        began = now()
        try:
            yield from self._process(held, handler)
            self._tell(held, now() - began)
        except GeneratorExit:
            raise
        except BaseException:
            yield from self.give_back(held)
            raise
        finally:
            self.leases.drop("", held)

    def _tell(self, held: Held, seconds: float) -> None:
        kinds = held.settled
        name, key, size = self._asking.name, key_of(held.partition), len(held.claimed.items)
        again = kinds["retry"] + kinds["repeat"]
        events.emit(events.BatchRan(name, key, size, kinds["done"], kinds["dead"], again, seconds))

    def _process(self, held: Held, handler: Handler) -> Plan[None]:
        attempt = partial(self._attempt, held, handler)
        most = self._asking.config.max_deliveries
        for item in [each for each in held.claimed.items if each.lost >= most]:
            lost = WorkerLost(f"{item.lost} workers were not heard of again while they ran it")
            yield from self._settle(held, [self._give_up(item, lost)])
        items = list(held.left.values())
        if items and (yield from attempt(items)) is not None and len(items) > 1:
            yield from isolate(items, attempt)
        if held.left and not held.lost:
            yield from self.give_back(held)

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

    def _attempt(self, held: Held, handler: Handler, items: Sequence[Item]) -> Plan[Exception | None]:
        """Run some items, and settle them unless it is not clear whose fault it was that the handler raised."""
        if held.lost:
            return None  # others run them
        values, readable = [], []
        for item in [each for each in items if each.id in held.left]:
            try:
                values.append(decode(item.payload, self._asking.config.codec, max(1, len(item.payload))))
                readable.append(item)
            except PayloadError as error:
                yield from self._settle(held, [self._give_up(item, error)])
        if not readable:
            return None
        verdicts = yield from self._run(held, handler, readable, values)
        if isinstance(verdicts, Exception):
            if len(readable) > 1 and self._asking.config.isolate:
                return verdicts
            luck = random.random()  # noqa: S311 - no secret. One for all: what failed together runs again together
            yield from self._settle(held, [self._settled(held, item, verdicts, luck) for item in readable])
            return verdicts if len(readable) == 1 else None
        luck = random.random()  # noqa: S311
        yield from self._settle(
            held,
            [
                self._settled(held, item, verdict, luck)
                for item, verdict in zip(readable, verdicts, strict=True)
                if verdict is not None
            ],
        )
        return None

    def _run(
        self, held: Held, handler: Handler, items: Sequence[Item], values: list[Any]
    ) -> Plan[Sequence[Verdict | None] | Exception]:
        """The handler's verdict on each item, None for those that it was not asked about; or what it raised."""
        config = self._asking.config
        run = BatchRun(
            [item.name for item in items],
            [item.attempts + 1 for item in items],
            key_of(held.partition),
            held.claimed.fence,
            lambda: held.lost,
        )
        try:
            answer = yield from self._watch.around(partial(invoke, handler, values, run))
            return judge(config, items, answer)
        except GeneratorExit:
            raise
        except Stopped as stopped:
            return stopped.error
        except BatchItemError as error:
            return (yield from self._run_without(held, handler, items, values, error))
        except ResultCountError as error:
            verdict: BaseException = error if config.on_wrong_count == "retry" else _Hopeless(error)
            return [verdict] * len(items)
        except Exception as error:
            whole = isinstance(error, (Retry, Fatal, *config.retry_on))
            return [error] * len(items) if whole else error

    def _run_without(
        self, held: Held, handler: Handler, items: Sequence[Item], values: list[Any], error: BatchItemError
    ) -> Plan[Sequence[Verdict | None] | Exception]:
        """The handler named culprits: those failed; the others run again without them."""
        named = [error.errors.get(item.name) for item in items]
        others = [index for index, culprit in enumerate(named) if culprit is None]
        if len(others) == len(items):
            return error  # it names none of these
        luck = random.random()  # noqa: S311
        culprits = [(item, culprit) for item, culprit in zip(items, named, strict=True) if culprit is not None]
        yield from self._settle(
            held, [self._settled(held, item, _as_error(culprit), luck) for item, culprit in culprits]
        )
        verdicts: list[Verdict | None] = [None] * len(items)
        if others and not held.lost:
            rest = [items[index] for index in others]
            again = yield from self._run(held, handler, rest, [values[index] for index in others])
            if isinstance(again, Exception):
                if len(rest) == 1 or not self._asking.config.isolate:
                    again = [again] * len(rest)
                else:
                    yield from isolate(rest, partial(self._attempt, held, handler))
                    return verdicts
            for index, verdict in zip(others, again, strict=True):
                verdicts[index] = verdict
        return verdicts

    # --- what becomes of an item

    def _settled(self, held: Held, item: Item, verdict: Verdict, luck: float) -> Settled:
        if isinstance(verdict, bytes):
            return Settled(item, "done", verdict)
        config = self._asking.config
        if isinstance(verdict, _Hopeless):
            return self._give_up(item, verdict.error)
        if isinstance(
            verdict, Fatal | PayloadError
        ):  # a result that cannot be stored could not be the next time either
            return self._give_up(item, verdict)
        if isinstance(verdict, config.retry_on):
            waited = held.claimed.now_ms - item.since_ms if item.since_ms else 0
            if waited <= milliseconds(config.retry_for):
                wait = full_jitter(item.repeats + 1, config.backoff_base, config.backoff_cap, luck)
                return Settled(item, "repeat", wait_ms=milliseconds(wait), error=outcome.told(verdict))
        if item.attempts + 1 >= config.max_attempts:
            return self._give_up(item, verdict)
        if isinstance(verdict, Retry) and verdict.after is not None:
            wait = verdict.after
        else:
            wait = full_jitter(item.attempts + 1, config.backoff_base, config.backoff_cap, luck)
        return Settled(item, "retry", wait_ms=milliseconds(wait), error=outcome.told(verdict))

    def _give_up(self, item: Item, error: BaseException) -> Settled:
        failed = outcome.failed(error, item.attempts + 1, self._asking.config.codec)
        return Settled(item, "dead", failed, error=outcome.told(error))

    def _settle(self, held: Held, settled: Sequence[Settled]) -> Plan[None]:
        """Tell Redis what became of items. Interrupted, that is told once more: it is known, and others are not to do it again."""
        for part in chunks([each for each in settled if each.item.id in held.left], attrgetter("outcome")):
            last = len(part) == len(held.left)
            command = self._asking.settle(held.id, held.claimed.fence, held.partition, part, last=last)
            try:
                kept = yield from self._deliver(held, command, len(part))
            except GeneratorExit:
                raise
            except BaseException:
                with suppress(RedisOptError):
                    yield from call(command)
                    held.note(part)
                raise
            if kept is None:
                return
            held.note(part)
            if kept < len(part):
                held.mark_lost()
                events.logger.warning(
                    "%d items of %r were settled too late: their lease was lost, and others run them",
                    len(part) - kept,
                    self._asking.name,
                )

    def _deliver(self, held: Held, command: Command[int], number: int) -> Plan[int | None]:
        """Send it again and again while Redis is away: until others will run the items anyway, and then None."""
        pause = _PAUSE
        while True:
            try:
                return (yield from call(command))
            except RedisOptError as error:
                if now() + pause > held.good_until + self._asking.config.lease_ttl:
                    events.logger.warning(
                        "results of %d items of %r are lost, they run again: %s", number, self._asking.name, error
                    )
                    return None
            yield Sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class _Hopeless(Exception):
    """An error after which no further attempt is made."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _as_error(culprit: object) -> BaseException:
    return culprit if isinstance(culprit, BaseException) else ValueError(f"the handler blamed the item: {culprit!r}")
