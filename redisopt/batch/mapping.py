"""Mapping many items through a batcher, as a plan: a run, which any process may go on with after a crash.

The items of a run have ids made of its id and their places, and their outcomes come to a stream of the run, not of a process:
whoever begins the same run again finds there what has ended, adds only the rest, and waits for that.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from redisopt import events
from redisopt.background import now
from redisopt.batch import items, outcome
from redisopt.batch.adding import ENDED, Wish
from redisopt.batch.asking import CHUNK, Asking, chunks
from redisopt.batch.inbox import LOOK_EVERY, LOOKED_AT, look_by_id
from redisopt.batch.progress import EVERY, Pace, Progress
from redisopt.batch.replies import Full, Reading
from redisopt.commands import Listen, Plan, Wait, call
from redisopt.errors import RedisOptError, ResultTimeout

WINDOW = 4 * CHUNK
"""Items that are added before the next look at what has come; those of one key among them together."""

_numbers = itertools.count(1)


class Ended(NamedTuple):
    """Items of a run with their outcomes.

    Attributes:
        order: the places of the items, as they came.
        outcomes: by place.
    """

    order: list[int]
    outcomes: list[bytes]


class Mapping:
    """One run of one process."""

    def __init__(
        self,
        asking: Asking,
        run_id: str,
        digest: str,
        wishes: Sequence[Wish],
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self._asking = asking
        self._adder = items.RUN + run_id
        self._digest = digest
        self._wishes = wishes
        self._places = {wish.id: place for place, wish in enumerate(wishes)}
        self._outcomes: dict[int, bytes] = {}
        self._gone = 0  # of these, those that ended without a run
        self._on_progress = on_progress
        self._pace = Pace(len(wishes), self._tell)
        self._last, self._last_gone = "0-0", "0-0"
        self._standing: list[int] = []
        self._to_add: deque[Wish] = deque()
        self._waiting: dict[str, None] = {}  # ids of those that were added and have no outcome, in their order
        self._permit = f"{self._adder}/{next(_numbers)}"

    def run(self, last_gone: str, timeout: float) -> Plan[Ended]:
        """Add what has not ended, and wait until all has; or for `timeout` seconds.

        Raises:
            ValueError: another run has this id.
            ResultTimeout: nothing has ended for `timeout` seconds.
            Unavailable: Redis has been away for so long.
        """
        self._last_gone = last_gone
        asking, total = self._asking, len(self._wishes)
        known, digest = yield from call(asking.run(self._adder, total, self._digest))
        if (known, digest) != (total, self._digest):
            raise ValueError(
                f"run_id is that of a run of {known:,} other items, and these are {total:,}: give each run its own"
            )
        stream = asking.reply(self._adder)[0]
        yield Listen(stream)
        while (yield from self._read()):
            pass
        # What has ended and was forgotten since, or is to run again, is added, unless it waits.
        self._outcomes = {place: found for place, found in self._outcomes.items() if found}
        self._gone = sum(map(_is_gone, self._outcomes.values()))
        self._to_add = deque(wish for place, wish in enumerate(self._wishes) if place not in self._outcomes)
        failure, latest, heard = None, now(), now()
        while len(self._outcomes) < total:
            before, to_add, failure = len(self._outcomes), len(self._to_add), None
            try:
                yield from self._add()
                more = yield from self._read()
                if not more and now() > heard + LOOK_EVERY:
                    heard = now()
                    yield from self._look()
            except RedisOptError as error:
                failure, more = error, False
            self._report()
            grows = len(self._to_add) < to_add
            if len(self._outcomes) > before:
                latest = heard = now()
            elif now() > latest + timeout:
                raise failure or ResultTimeout(
                    f"no item of the run has ended for {timeout} s; begin it again with its run_id"
                )
            if not more and not grows and len(self._outcomes) < total:
                yield Wait(self._permit, EVERY, stream)
        self._report(last=True)
        return Ended(list(self._outcomes), [self._outcomes[place] for place in range(total)])

    def _report(self, *, last: bool = False) -> None:
        self._pace.report(self._standing, self._gone, now(), last=last)

    def _tell(self, progress: Progress) -> None:
        name, run = self._asking.name, self._adder.removeprefix(items.RUN)
        done, failed, total, retried = progress.done, progress.failed, progress.total, progress.retried
        events.emit(events.Progressed(name, run, done, failed, total, retried))
        if self._on_progress is not None:
            events.notify(self._on_progress, progress)

    def _add(self) -> Plan[None]:
        """Add some of what is left, as much as there is room for. Interrupted, all of that is added once more."""
        window = list(itertools.islice(self._to_add, WINDOW))
        added = yield from self._add_some(window)
        for each in window:
            self._to_add.popleft()
            if each.id in added and self._places[each.id] not in self._outcomes:
                self._waiting[each.id] = None
        self._to_add.extendleft(each for each in reversed(window) if each.id not in added)

    def _add_some(self, wishes: Sequence[Wish]) -> Plan[set[str]]:
        """Add these until there is no more room; returns the ids of those that were."""
        by_place: dict[tuple[str, int], list[Wish]] = {}
        for each in wishes:
            by_place.setdefault((each.partition, each.level), []).append(each)
        added: set[str] = set()
        for (partition, level), some in by_place.items():
            head = items.head(partition, level, self._adder)
            for chunk in chunks([(each.id, head + each.payload) for each in some], itemgetter(1)):
                number = yield from self._add_chunk(partition, level, chunk)
                added.update(item_id for item_id, _ in chunk[:number])
                if number < len(chunk):
                    return added
        return added

    def _add_chunk(self, partition: str, level: int, chunk: Sequence[tuple[str, bytes]]) -> Plan[int]:
        """Add as many of these as there is room for; returns how many."""
        answer = yield from call(self._asking.add(partition, level, chunk, "block", 0))
        if not isinstance(answer, str):
            chunk = chunk[: answer.room] if isinstance(answer, Full) else []
            if not chunk:
                return 0
            answer = yield from call(self._asking.add(partition, level, chunk, "block", 0))
            if not isinstance(answer, str):
                return 0
        ended = [item_id for (item_id, _), letter in zip(chunk, answer, strict=True) if letter == ENDED]
        ids = [item_id for item_id in ended if self._places[item_id] not in self._outcomes]
        yield from look_by_id(self._asking, ids, self._note)
        return len(chunk)

    def _read(self) -> Plan[bool]:
        reading: Reading = yield from call(self._asking.read(self._adder, self._last, self._last_gone))
        self._last, self._last_gone = reading.last, reading.last_gone
        self._standing = reading.standing or self._standing
        for item_id, found in reading.outcomes.items():
            self._note(item_id, found)
        return reading.more

    def _look(self) -> Plan[None]:
        """No word has come for a while: look by id at those that should have ended next."""
        yield from look_by_id(self._asking, list(itertools.islice(self._waiting, LOOKED_AT)), self._note)

    def _note(self, item_id: str, found: bytes) -> None:
        place = self._places.get(item_id)
        if place is not None and place not in self._outcomes:
            self._outcomes[place] = found
            self._gone += _is_gone(found)
            self._waiting.pop(item_id, None)


def _is_gone(found: bytes) -> bool:
    """Whether an item ended without a run."""
    return not found.startswith((b"done", b"failed"))


def digest(wishes: Sequence[Wish]) -> str:
    """What tells the items of a run from others, also in their ids: so none is taken for one of another run, or of a user's own."""
    hashed = hashlib.blake2b(digest_size=4)
    for each in wishes:
        hashed.update(f"{each.partition} {len(each.payload)} ".encode())
        hashed.update(each.payload)
    return hashed.hexdigest()


def results(asking: Asking, wishes: Sequence[Wish], ended: Ended, *, ordered: bool, collects: bool) -> list[object]:
    """The results of a run; with `collects`, the errors of those that failed stand in their places.

    Raises:
        BatchItemFailed, Cancelled, ResultExpired: the first that failed, unless they are collected.
    """
    config = asking.config
    found: list[object] = []
    failures: list[Exception] = []
    for place in range(len(wishes)) if ordered else ended.order:
        try:
            found.append(outcome.read(ended.outcomes[place], wishes[place].id, config.codec, config.max_item_bytes))
        except Exception as error:
            failures.append(error)
            found.append(error)
    if failures and not collects:
        if len(failures) > 1:
            failures[0].add_note(f"{len(failures):,} of {len(wishes):,} items failed; errors='collect' gives them all")
        raise failures[0]
    return found
