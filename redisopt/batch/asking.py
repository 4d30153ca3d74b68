"""The scripts of a batcher as commands: which keys and arguments each gets. How they answer stands in `replies`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from redisopt import keys
from redisopt.batch import items, replies
from redisopt.batch.config import MAX_PRIORITIES, BatchConfig
from redisopt.batch.items import Item
from redisopt.batch.replies import Claim, Full, Levels, Look, Oldest, Reading
from redisopt.commands import Arg, Command, Plan, call
from redisopt.config import milliseconds
from redisopt.identity import process_id
from redisopt.replies import text

T = TypeVar("T")

CHUNK = 500
"""Items of one script call; it holds up the server for some milliseconds at most."""

MAX_CALL_BYTES = 4 * 1024 * 1024
"""Payload of one script call, but for one item that is larger. Scripts answer about as much (`max_call_bytes`)."""


class Settled(NamedTuple):
    """What became of one item of a claim, as the script is told: of one that is `done` its result, else its error, for the adder."""

    item: Item
    kind: str
    outcome: bytes = b""
    wait_ms: int = 0
    error: str = ""


class Asking:
    """Every script of one batcher.

    Attributes:
        config: that its calls go by.
        room: the channel on which adders hear that there is room again.
        work: the channel on which workers are called.
    """

    def __init__(self, name: str, config: BatchConfig) -> None:
        self.name = keys.checked_name(name)
        self.config = config
        self._tag = keys.tag("batch", name)
        self.room, self.work = self._key("counts"), self._key("due")
        self._triggers: tuple[Arg, ...] = (config.max_size, config.max_bytes or 0, milliseconds(config.max_delay))
        self._result_ttl = milliseconds(config.result_ttl)
        most_bytes = config.max_bytes or MAX_CALL_BYTES
        self._claiming = (*self._triggers, milliseconds(config.lease_ttl), config.max_deliveries, most_bytes)
        self._levels = config.priorities
        self._lists = lru_cache(maxsize=4096)(self._all_lists)

    def _key(self, part: str) -> str:
        return f"{self._tag}{part}"

    def _keys(self, *parts: str) -> tuple[str, ...]:
        return tuple(f"{self._tag}{part}" for part in parts)

    def _ready(self, partition: str, level: int) -> tuple[str, str]:
        """The lists of a partition's items of this level that wait for their first run, the one to be served first first."""
        end = f":{partition[1:]}" if partition != "=" else ""
        end = end if level == 0 else f"-{level}{end}"
        return self._key(f"front{end}"), self._key(f"ready{end}")

    def _all_lists(self, partition: str, levels: int) -> tuple[str, ...]:
        """The lists of a partition: of what runs again later, of what is due again, and of each level, the highest first."""
        end = f":{partition[1:]}" if partition != "=" else ""
        ready = [name for level in range(levels - 1, -1, -1) for name in self._ready(partition, level)]
        return (*self._keys(f"later{end}", f"again{end}"), *ready)

    def reply(self, adder: str) -> tuple[str, str, str]:
        """The stream of an adder, where its run stands if it is one, and which of its items are counted."""
        run = adder if adder.startswith(items.RUN) else f"run:{adder}"
        return self._key(f"reply:{adder}"), self._key(run), self._key(f"{run}:counted")

    @property
    def gone(self) -> str:
        """The stream of ids that ended without a run, and the channel on which that is told."""
        return self._key("gone")

    # --- adding

    def add(
        self,
        partition: str,
        level: int,
        records: Sequence[tuple[str, bytes]],
        overflow: str,
        rest: int,
        oldest: str | None = None,
    ) -> Command[str | Full | Oldest]:
        """Put records, by id, into a partition: a letter for each. Items of the partition `oldest` make room where there is none."""
        dropped = partition if oldest is None else oldest
        parts = ("state", "items", "held", "outcomes", "finished", "counts", "bytes", "since", "due", "gone")
        queue = -1 if self.config.max_queue is None else self.config.max_queue
        ids, lengths, packed = _packed(records)
        args = (
            partition,
            *self._triggers,
            queue,
            overflow,
            rest,
            self._result_ttl,
            ids,
            lengths,
            packed,
            level,
            dropped,
        )
        lists = (*reversed(self._ready(partition, level)), *reversed(self._ready(dropped, 0)), self._key("tries"))
        replicas = self.config.wait_replicas
        return Command("batch_add", (*self._keys(*parts), *lists), args, replies.read_added, replicas=replicas)

    def join(self) -> Command[list[str]]:
        """Say how we are configured; the other config that is in use, or "", and the latest entry of the stream of those gone."""
        strict = int(self.config.on_conflict == "raise")
        return Command("batch_join", self._keys("state", "gone"), (self.config.triggers, strict), replies.read_texts)

    def run(self, adder: str, total: int, digest: str) -> Command[tuple[int, str]]:
        """Begin a run of so many items with this digest, or go on with it; those on record."""
        return Command("batch_run", self.reply(adder)[1:], (total, digest, self._result_ttl), replies.read_run)

    # --- outcomes

    def read(self, adder: str, last: str, last_gone: str) -> Command[Reading]:
        """What has come for an adder."""
        stream, run, counted = self.reply(adder)
        names = (self._key("outcomes"), stream, self.gone, run, counted)
        return Command("batch_read", names, (last, last_gone, self._result_ttl), replies.read_reading)

    def fetch(self, ids: Sequence[str]) -> Command[list[bytes]]:
        """Where the first of these items stand, one at least: b"waits", b"runs", b"unknown" or the outcome."""
        return Command("batch_fetch", self._keys("items", "held", "outcomes", "state"), tuple(ids), replies.read_list)

    # --- working

    def claiming(self, claim: str, partition: str, most: int) -> Plan[Claim]:
        """Take at most so many items that are due in a partition; with 0, only look."""
        while isinstance(answer := (yield from call(self.claim(claim, process_id(), partition, most))), Levels):
            self._levels = answer.number
        return answer

    def claim(self, claim: str, worker: str, partition: str, most: int) -> Command[Claim | Levels]:
        """See `claiming`: one call, which may be answered with how many levels there are."""
        parts = ("state", "items", "held", "tries", "leases", "claims", "due", "counts", "bytes", "since", "forced")
        names = (*self._keys(*parts), *self._lists(partition, self._levels))
        return Command("batch_claim", names, (claim, worker, partition, most), replies.read_claim, self._claiming)

    def settle(self, claim: str, fence: int, partition: str, settled: Sequence[Settled], *, last: bool) -> Command[int]:
        """Say what became of items of a claim; how many it still held."""
        places: dict[str, int] = {items.NOBODY: 0}
        for each in settled:
            places.setdefault(each.item.adder, len(places))
        replies = [key for adder in list(places)[1:] for key in self.reply(adder)]
        done = [each for each in settled if each.kind == "done"]
        ids, lengths, packed = _packed([(each.item.id, each.outcome) for each in done])
        args: list[Arg] = [ids, " ".join([str(places[each.item.adder]) for each in done]), lengths, packed]
        for it in settled:
            if it.kind != "done":
                args += (it.item.entry, it.kind, places[it.item.adder], it.wait_ms, it.outcome, it.error)
        config = self.config
        limits = (self._result_ttl, milliseconds(config.dead_ttl), config.max_dead)
        parts = (
            "state",
            "items",
            "held",
            "tries",
            "leases",
            "claims",
            "due",
            "outcomes",
            "finished",
            "dead",
            "dead_at",
        )
        names = (*self._keys(*parts), *self._lists(partition, 1)[:2], *replies)
        return Command("batch_settle", names, (claim, fence, partition, int(last), *limits, *args), int)

    def renew(self, claims: Sequence[str]) -> Command[str]:
        """Renew the leases of claims: "1" or "0" for each."""
        return Command(
            "batch_renew", self._keys("leases", "state"), (milliseconds(self.config.lease_ttl), *claims), text
        )

    def release(self, claim: str, partition: str) -> Command[int]:
        """Give back what a claim holds; how many items that was."""
        names = (*self._keys("state", "held", "tries", "leases", "claims", "due"), self._lists(partition, 1)[1])
        return Command("batch_release", names, (claim, partition), int)

    # --- telling and looking

    def cancel(self, ids: Sequence[str]) -> Command[tuple[str, list[str]]]:
        """Cancel items that wait: a letter for each, and the partitions that are to be looked at."""
        parts = ("state", "items", "held", "tries", "outcomes", "finished", "counts", "bytes", "gone", "answers")
        return Command("batch_cancel", self._keys(*parts), (self._result_ttl, *ids), replies.read_cancelled, once=True)

    def waiting(self, partition: str, start: int) -> Command[list[str]]:
        """A page of the items of a partition that wait."""
        return Command("batch_waiting", self._lists(partition, MAX_PRIORITIES), (start, CHUNK), replies.read_texts)

    def tell(self, what: str, partition: str = "", stamp: int = 0) -> Command[tuple[int, bool]]:
        """Pause, resume or flush; the stamp of a flush, and whether it is to go on."""
        return Command(
            "batch_tell", self._keys("state", "due", "forced", "since"), (what, partition, stamp), replies.read_told
        )

    def dead(self, after: int, count: int, ids: Sequence[str] = ()) -> Command[tuple[int, list[tuple[str, bytes]]]]:
        """A page of the dead letter, or what it has of the first of these ids: how many were looked at, and those found."""
        return Command("batch_dead", self._keys("dead", "dead_at"), (after, count, *ids), replies.read_dead)

    def replay(self, partition: str, level: int, ids: Sequence[str]) -> Command[int]:
        """Have dead items of a partition and level run again."""
        parts = ("state", "items", "outcomes", "counts", "bytes", "since", "due", "dead", "dead_at")
        names = (*self._keys(*parts), self._ready(partition, level)[1], self._key("answers"))
        return Command("batch_replay", names, (partition, *self._triggers, level, *ids), int, once=True)

    def look(self) -> Command[Look]:
        """How the batcher stands."""
        return Command(
            "batch_look", self._keys("state", "items", "held", "dead", "since", "claims"), (), replies.read_look
        )


def chunks(things: Sequence[T], stored: Callable[[T], bytes]) -> list[Sequence[T]]:
    """The things parted into what one script call takes, by what is `stored` of each."""
    parts: list[Sequence[T]] = []
    begin, size = 0, 0
    for index, thing in enumerate(things):
        length = len(stored(thing))
        if index > begin and (index - begin >= CHUNK or size + length > MAX_CALL_BYTES):
            parts.append(things[begin:index])
            begin, size = index, 0
        size += length
    return [*parts, things[begin:]] if begin < len(things) else parts


def _packed(records: Sequence[tuple[str, bytes]]) -> tuple[str, str, bytes]:
    """Ids, lengths and values as three arguments: a thousand short ones cost more, here and in the server."""
    values = [value for _, value in records]
    return " ".join([name for name, _ in records]), " ".join(map(str, map(len, values))), b"".join(values)
