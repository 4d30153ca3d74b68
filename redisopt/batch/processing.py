"""What a worker does with a batch that it holds: run the handler, and settle what became of each item.

An item that fails is run again later, after a backoff that waits in Redis, or is given up. Errors that are not the items'
fault repeat the batch as a whole. Of a batch whose handler raised something else, the culprits are found (see `isolating`).
What is finished is settled at once, whatever becomes of the rest.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from redisopt import events
from redisopt.background import now
from redisopt.batch.asking import Asking
from redisopt.batch.contract import BatchItemError, BatchRun, Fatal, Handler, Retry
from redisopt.batch.isolating import isolate
from redisopt.batch.items import Item, key_of
from redisopt.batch.judging import Verdict, judge
from redisopt.batch.settling import Held, Hopeless, Settling
from redisopt.codec import PayloadError, decode
from redisopt.commands import Plan, Stopped, invoke
from redisopt.errors import ResultCountError
from redisopt.monitor.watching import Watch


class WorkerLost(Exception):
    """Workers were not heard of again while they ran an item."""


class Processing:
    """The plans that run batches of one batcher.

    Attributes:
        leases: of the batches of this process.
        give_back: a batch, for others to run what is not settled.
    """

    def __init__(self, asking: Asking, watch: Watch) -> None:
        self._asking = asking
        self._watch = watch
        self._settling = Settling(asking)
        self.leases = self._settling.leases
        self.give_back = self._settling.give_back

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
            yield from self._settling.settle(held, [self._settling.give_up(item, lost)])
        items = list(held.left.values())
        if items and (yield from attempt(items)) is not None and len(items) > 1:
            yield from isolate(items, attempt)
        if held.left and not held.lost:
            yield from self.give_back(held)

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
                yield from self._settling.settle(held, [self._settling.give_up(item, error)])
        if not readable:
            return None
        verdicts = yield from self._run(held, handler, readable, values)
        if isinstance(verdicts, Exception):
            if len(readable) > 1 and self._asking.config.isolate:
                return verdicts
            luck = random.random()  # noqa: S311 - no secret. One for all: what failed together runs again together
            yield from self._settling.settle(
                held, [self._settling.settled(held, item, verdicts, luck) for item in readable]
            )
            return verdicts if len(readable) == 1 else None
        luck = random.random()  # noqa: S311
        yield from self._settling.settle(
            held,
            [
                self._settling.settled(held, item, verdict, luck)
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
            return stopped.error if isinstance(stopped.error, StopIteration) else stopped
        except BatchItemError as error:
            return (yield from self._run_without(held, handler, items, values, error))
        except ResultCountError as error:
            verdict: BaseException = error if config.on_wrong_count == "retry" else Hopeless(error)
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
        yield from self._settling.settle(
            held, [self._settling.settled(held, item, _as_error(culprit), luck) for item, culprit in culprits]
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


def _as_error(culprit: object) -> BaseException:
    return culprit if isinstance(culprit, BaseException) else ValueError(f"the handler blamed the item: {culprit!r}")
