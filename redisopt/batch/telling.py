"""What the fleet is told of a batcher, and what a person may know of it, as plans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from redisopt import keys
from redisopt.batch import items
from redisopt.batch.adding import given_id
from redisopt.batch.asking import CHUNK, Asking
from redisopt.batch.outcome import DeadItem
from redisopt.codec import PayloadError, decode
from redisopt.commands import Plan, call
from redisopt.monitor.report import PerformanceReport
from redisopt.monitor.watching import Watch

REASONS = ("size", "bytes", "delay", "flush", "again")


@dataclass(frozen=True, slots=True)
class BatchMetrics:
    """How a batcher stands, over the whole fleet.

    Attributes:
        pending: items that wait, for their first run or for another one.
        running: items that workers hold.
        batches: that workers hold.
        oldest_age: seconds that the longest waiting item has waited for its first run, 0 for none.
        paused: whether nothing is handed out.
        added, done, failed, retried, reclaimed, cancelled, dropped: items since the batcher was first used (or not for a
            month); `failed` were given up, `reclaimed` taken back from workers that were not heard of.
        dead: items in the dead letter now.
        flushed_by: batches by what made them due: size, bytes, delay, flush, or that items ran again.
        performance: of the handler's calls in the fleet's last minute, where the batcher has a monitor.
    """

    pending: int
    running: int
    batches: int
    oldest_age: float
    paused: bool
    added: int
    done: int
    failed: int
    retried: int
    reclaimed: int
    cancelled: int
    dropped: int
    dead: int
    flushed_by: dict[str, int] = field(default_factory=dict)
    performance: PerformanceReport | None = None


class Telling:
    """The plans that tell and look."""

    def __init__(self, asking: Asking, watch: Watch) -> None:
        self._asking = asking
        self._watch = watch

    def flush(self, key: str | None) -> Plan[None]:
        """Have all that waits be due now."""
        if key is not None:
            yield from call(self._asking.tell("flush", items.word(keys.checked_key(key))))
            return
        stamp, more = 0, True
        while more:
            stamp, more = yield from call(self._asking.tell("flush", "", stamp))

    def pause(self) -> Plan[None]:
        """Hand out nothing."""
        yield from call(self._asking.tell("pause"))

    def resume(self) -> Plan[None]:
        """End a pause."""
        yield from call(self._asking.tell("resume"))

    def cancel(self, ids: Iterable[str]) -> Plan[str]:
        """Cancel items, by the ids that stand in Redis; a letter for each."""
        found, letters = list(ids), ""
        for start in range(0, len(found), CHUNK):
            some, partitions = yield from call(self._asking.cancel(found[start : start + CHUNK]))
            letters += some
            for partition in partitions:
                yield from self._asking.claiming("-", partition, 0)  # what was due for them is not any more
        return letters

    def cancel_key(self, key: str) -> Plan[int]:
        """Cancel what waits of one key. What workers take meanwhile moves the rest up, so it is gone through until none is found."""
        partition, cancelled = items.word(keys.checked_key(key)), 0
        while True:
            start, found = 0, 0
            while ids := (yield from call(self._asking.waiting(partition, start))):
                found += (yield from self.cancel(ids)).count("c")
                start += CHUNK
            cancelled += found
            if not found:
                return cancelled

    def dead(self, count: int, after: int) -> Plan[list[DeadItem]]:
        """A page of the dead letter, the oldest first."""
        for name, number in (("count", count), ("after", after)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise ValueError(f"{name} must be a whole number, at least 0, not {number!r}")
        found: list[DeadItem] = []
        while len(found) < count:
            looked_at, page = yield from call(self._asking.dead(after, min(count - len(found), CHUNK)))
            if not looked_at:
                break
            after += looked_at
            found += [self._dead(item_id, text) for item_id, text in page]
        return found

    def _dead(self, item_id: str, text: bytes) -> DeadItem:
        numbers, error, stored = text.split(b"\n", 2)
        died, attempts, lost = map(int, numbers.split())
        partition, _, _, payload = items.header(stored)
        config = self._asking.config
        try:
            item = decode(payload, config.codec, max(1, len(payload)))
        except PayloadError:
            item = payload
        name = items.Item("", item_id, "", b"").name
        reason = error.decode(errors="replace")
        return DeadItem(name, items.key_of(partition), item, attempts, reason, died / 1000, lost)

    def replay(self, ids: Iterable[str] | None) -> Plan[int]:
        """Have dead items run again; all of them where no ids are given."""
        replayed = 0
        if ids is not None:
            if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
                raise ValueError(f"ids must be a list of ids, such as replay([id]), not {ids!r}")
            wanted = list(dict.fromkeys(given_id(each) for each in ids))  # twice is once
            at = 0
            while at < len(wanted):
                looked_at, page = yield from call(self._asking.dead(0, 0, wanted[at : at + CHUNK]))
                at += looked_at
                replayed += yield from self._replay(page)
            return replayed
        left, after = (yield from call(self._asking.look())).dead, 0  # those that die again meanwhile stay
        while left > 0:
            looked_at, page = yield from call(self._asking.dead(after, min(left, CHUNK)))
            if not looked_at:
                break
            left -= looked_at
            number = yield from self._replay(page)
            after += looked_at - number
            replayed += number
        return replayed

    def _replay(self, page: list[tuple[str, bytes]]) -> Plan[int]:
        by_place: dict[tuple[str, int], list[str]] = {}
        for item_id, text in page:
            partition, level, _, _ = items.header(text.split(b"\n", 2)[2])
            by_place.setdefault((partition, min(level, self._asking.config.priorities - 1)), []).append(item_id)
        replayed = 0
        for (partition, level), ids in by_place.items():
            replayed += yield from call(self._asking.replay(partition, level, ids))
        return replayed

    def metrics(self) -> Plan[BatchMetrics]:
        """How the batcher stands."""
        look = yield from call(self._asking.look())

        def count(name: str) -> int:
            return int(look.state.get(name, 0))

        return BatchMetrics(
            pending=look.unfinished - look.running,
            running=look.running,
            batches=look.claims,
            oldest_age=0.0 if look.oldest_ms is None else max(0, look.now_ms - look.oldest_ms) / 1000,
            paused="paused" in look.state,
            added=count("added"),
            done=count("done"),
            failed=count("failed"),
            retried=count("retried"),
            reclaimed=count("reclaimed"),
            cancelled=count("cancelled"),
            dropped=count("dropped"),
            dead=look.dead,
            flushed_by={reason: count(f"by_{reason}") for reason in REASONS},
            performance=(yield from self._watch.report()),
        )
