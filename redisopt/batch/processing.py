"""What a worker does with a batch that it holds: run the handler, and settle what became of each item.

An item that fails is run again later, after a backoff that waits in Redis, or is given up. Errors that are not the items'
fault repeat the batch as a whole. Of a batch whose handler raised something else, the culprits are found (see `isolating`).
What is finished is settled at once, whatever becomes of the rest.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from redisopt import events
from redisopt.batch import outcome
from redisopt.batch.asking import CHUNK, MAX_CALL_BYTES, Asking, Claimed, Settled
from redisopt.batch.contract import BatchItemError, Fatal, Handler, Retry, Run
from redisopt.batch.isolating import isolate
from redisopt.batch.items import Item, key_of
from redisopt.batch.judging import Verdict, judge
from redisopt.codec import PayloadError, decode
from redisopt.commands import Invoke, Plan, Sleep, Stopped, call
from redisopt.config import milliseconds
from redisopt.errors import RedisOptError, ResultCountError

_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class WorkerLost(Exception):
    """Workers were not heard of again while they ran an item."""


class Held:
    """A batch that this process holds under a lease.

    Attributes:
        id: of the claim.
        partition: of its items.
        claimed: what was handed out.
        left: the items that are not settled yet, by id.
        good_until: when the lease is over at the latest, by this process's monotonic clock.
        lost: whether it is lost.
    """

    __slots__ = ("__weakref__", "claimed", "good_until", "id", "left", "lost", "partition", "runs")

    def __init__(self, claim_id: str, partition: str, claimed: Claimed, good_until: float) -> None:
        self.id = claim_id
        self.partition = partition
        self.claimed = claimed
        self.left = {item.id: item for item in claimed.items}
        self.good_until = good_until
        self.lost = False
        self.runs: list[Run] = []

    def lose(self) -> None:
        """Others may run its items."""
        self.lost = True
        for run in self.runs:
            run.lost = True


class Processing:
    """The plans that run batches of one batcher.

    Attributes:
        stopping: whether no further run is to be begun.
    """

    def __init__(self, asking: Asking, handler: Handler) -> None:
        self._asking = asking
        self._handler = handler
        self.stopping = False

    def process(self, held: Held) -> Plan[None]:
        """Run a batch, and settle all of it; what could not be run is given back."""
        attempt = partial(self._attempt, held)
        config = self._asking.config
        doomed = [item for item in held.claimed.items if item.lost >= config.max_deliveries]
        for item in doomed:
            lost = WorkerLost(f"{item.lost} workers were not heard of again while they ran it")
            yield from self._settle(held, [self._give_up(item, lost)])
        items = [item for item in held.claimed.items if item.lost < config.max_deliveries]
        if items and (yield from attempt(items)) is not None and len(items) > 1:
            yield from isolate(items, attempt)
        if held.left and not held.lost:
            yield from self.give_back(held)

    def give_back(self, held: Held) -> Plan[None]:
        """Have others run what is not settled, at once and with attempts unchanged."""
        held.left.clear()
        try:
            yield from call(self._asking.release(held.id, held.partition))
        except RedisOptError as error:
            events.logger.warning("a batch of %r is given back only when its lease ends: %s", self._asking.name, error)

    def _attempt(self, held: Held, items: Sequence[Item]) -> Plan[Exception | None]:
        """Run some items, and settle them unless it is not clear whose fault it was that the handler raised."""
        if self.stopping or held.lost:
            return None  # they stay in what is left
        values, readable = [], []
        for item in [each for each in items if each.id in held.left]:
            try:
                values.append(decode(item.payload, self._asking.config.codec, max(1, len(item.payload))))
                readable.append(item)
            except PayloadError as error:
                yield from self._settle(held, [self._give_up(item, error)])
        if not readable:
            return None
        verdicts = yield from self._run(held, readable, values)
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

    def _run(self, held: Held, items: Sequence[Item], values: list[Any]) -> Plan[Sequence[Verdict | None] | Exception]:
        """The handler's verdict on each item, None for those that it was not asked about; or what it raised."""
        config = self._asking.config
        run = Run(
            [item.name for item in items],
            [item.attempts + 1 for item in items],
            key_of(held.partition),
            held.claimed.fence,
            held.lost,
        )
        held.runs.append(run)
        try:
            answer = yield Invoke(self._handler, (values, run))
            return judge(config, items, answer)
        except GeneratorExit:
            raise
        except Stopped as stopped:
            return stopped.error
        except BatchItemError as error:
            return (yield from self._run_without(held, items, values, error))
        except ResultCountError as error:
            verdict: BaseException = error if config.on_wrong_count == "retry" else _Hopeless(error)
            return [verdict] * len(items)
        except Exception as error:
            whole = isinstance(error, (Retry, Fatal, *config.retry_on))
            return [error] * len(items) if whole else error
        finally:
            held.runs.remove(run)

    def _run_without(
        self, held: Held, items: Sequence[Item], values: list[Any], error: BatchItemError
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
        if others and not self.stopping and not held.lost:
            rest = [items[index] for index in others]
            again = yield from self._run(held, rest, [values[index] for index in others])
            if isinstance(again, Exception):
                if len(rest) == 1 or not self._asking.config.isolate:
                    again = [again] * len(rest)
                else:
                    yield from isolate(rest, partial(self._attempt, held))
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
        if isinstance(verdict, Fatal):
            return self._give_up(item, verdict)
        if isinstance(verdict, config.retry_on):
            waited = held.claimed.now_ms - item.since_ms if item.since_ms else 0
            if waited <= milliseconds(config.retry_for):
                wait = backoff(config.backoff_base, config.backoff_cap, item.repeats, luck)
                return Settled(item, "repeat", wait_ms=wait, error=outcome.told(verdict))
        if item.attempts + 1 >= config.max_attempts:
            return self._give_up(item, verdict)
        if isinstance(verdict, Retry) and verdict.after is not None:
            wait = milliseconds(verdict.after)
        else:
            wait = backoff(config.backoff_base, config.backoff_cap, item.attempts, luck)
        return Settled(item, "retry", wait_ms=wait, error=outcome.told(verdict))

    def _give_up(self, item: Item, error: BaseException) -> Settled:
        failed = outcome.failed(error, item.attempts + 1, self._asking.config.codec)
        return Settled(item, "dead", failed, error=outcome.told(error))

    def _settle(self, held: Held, settled: Sequence[Settled]) -> Plan[None]:
        """Tell Redis, again and again while it is away: until others will run the items anyway."""
        for part in _parts([each for each in settled if each.item.id in held.left]):
            for each in part:
                del held.left[each.item.id]
            command = self._asking.settle(held.id, held.partition, part, last=not held.left)
            pause = _PAUSE
            while True:
                try:
                    kept = yield from call(command)
                    break
                except RedisOptError as error:
                    if time.monotonic() + pause > held.good_until + self._asking.config.lease_ttl:
                        events.logger.warning(
                            "results of %d items of %r are lost, they run again: %s",
                            len(part),
                            self._asking.name,
                            error,
                        )
                        return
                yield Sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            if kept < len(part):
                held.lose()
                events.logger.warning(
                    "%d items of %r were settled too late: their lease was lost, and others run them",
                    len(part) - kept,
                    self._asking.name,
                )


class _Hopeless(Exception):
    """An error after which no further attempt is made."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _as_error(culprit: object) -> BaseException:
    return culprit if isinstance(culprit, BaseException) else ValueError(f"the handler blamed the item: {culprit!r}")


def _parts(settled: Sequence[Settled]) -> list[Sequence[Settled]]:
    parts: list[Sequence[Settled]] = []
    begin, size = 0, 0
    for index, each in enumerate(settled):
        if index > begin and (index - begin >= CHUNK or size + len(each.outcome) > MAX_CALL_BYTES):
            parts.append(settled[begin:index])
            begin, size = index, 0
        size += len(each.outcome)
    return [*parts, settled[begin:]] if begin < len(settled) else parts


def backoff(base: float, cap: float, number: int, luck: float) -> int:
    """Milliseconds before the retry of this number, from 0: exponential, with full jitter, which `luck` decides, from 0 to 1."""
    return milliseconds(luck * min(cap, base * 2.0 ** min(number, 60)))
