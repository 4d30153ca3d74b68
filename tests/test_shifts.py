"""What debouncer and batcher share, by itself: attentive waits, the loop of a worker, leases, waiting for an outcome."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import redis

import redisopt
from redisopt.awaiting import Awaiting, NotYet
from redisopt.background import now
from redisopt.commands import Plan, Sleep, Wait
from redisopt.errors import ResultTimeout, Unavailable
from redisopt.eviction import eviction_policy
from redisopt.leases import Lease, Leases
from redisopt.shifts import Job, Shift
from redisopt.wakes import MAX_KEPT_TEXT, Ears


class Sleeper:
    """One who waits."""

    def __init__(self) -> None:
        self.heard: list[str] = []


def rouse(sleeper: Sleeper, message: str) -> bool:
    sleeper.heard.append(message)
    return True


ATTENTIVE = Wait("worker", 1.0, "channel", attentive=True)


def test_who_is_attentive_misses_nothing_between_two_waits() -> None:
    ears: Ears[Sleeper] = Ears(rouse)
    first, second = Sleeper(), Sleeper()
    assert ears.early(ATTENTIVE) is None
    ears.hear("channel", "1:0")  # before its first wait has begun
    assert ears.early(ATTENTIVE) == "1:0"
    ears.add(ATTENTIVE, first)
    ears.hear("channel", "2:0")
    ears.hear("channel", "3:0")  # it is about to wake, and will see only one
    ears.remove(ATTENTIVE, first)
    ears.hear("channel", "4:0")
    ears.hear("another", "5:0")

    assert first.heard == ["2:0"]
    assert ears.early(ATTENTIVE) == "3:0 4:0"
    ears.add(ATTENTIVE, second)
    ears.wake("worker", "0")
    assert second.heard == ["0"]


def test_too_many_kept_messages_become_one() -> None:
    ears: Ears[Sleeper] = Ears(rouse)
    ears.early(ATTENTIVE)
    for number in range(MAX_KEPT_TEXT):
        ears.hear("channel", f"{number}:0")
    kept = ears.early(ATTENTIVE)
    assert kept is not None
    assert "missed" in kept
    assert len(kept) <= MAX_KEPT_TEXT


def test_a_wait_that_is_not_attentive_ends_the_attention() -> None:
    ears: Ears[Sleeper] = Ears(rouse)
    ears.early(ATTENTIVE)
    ears.early(Wait("worker", 0.0, heard=False))
    ears.hear("channel", "1:0")
    assert ears.early(ATTENTIVE) is None


def test_all_who_wait_under_one_name_are_woken() -> None:
    ears: Ears[Sleeper] = Ears(rouse)
    step, sleepers = Wait("window", 1.0), [Sleeper(), Sleeper()]
    for sleeper in sleepers:
        ears.add(step, sleeper)
    ears.wake("window", "0")
    ears.remove(step, sleepers[0])
    ears.wake("window", "1")
    ears.remove(step, sleepers[1])
    ears.wake("window", "2")
    assert [sleeper.heard for sleeper in sleepers] == [["0"], ["0", "1"]]
    assert ears.early(step) == "2"
    assert not ears.busy


class Source:
    """What there is to do, as the test says."""

    channel = "due"

    def __init__(self, *takes: tuple[Sequence[Job], float] | Exception) -> None:
        self.takes = list(takes)
        self.heard: list[str] = []

    def take(self, free: int) -> Plan[tuple[Sequence[Job], float]]:
        assert free > 0
        yield Sleep(0)
        taken = self.takes.pop(0)
        if isinstance(taken, Exception):
            raise taken
        return taken

    def hear(self, messages: str) -> None:
        self.heard.append(messages)


def nothing() -> Plan[None]:
    yield Sleep(0)


def test_a_worker_sleeps_until_more_is_due_and_takes_no_more_than_it_can() -> None:
    jobs = [Job(nothing, nothing) for _ in range(3)]
    source = Source((jobs[:2], 0.0), Unavailable("away"), ((), 0.25), ((), 60.0))
    shift = Shift(2)
    started: list[Job] = []
    shift.start = started.append
    working = shift.work(source)

    assert next(working) == Wait(shift.id, 0.0, "due", attentive=True)
    assert working.send(None) == eviction_policy("due")
    assert working.send("") == Sleep(0)
    full: Any = working.send(None)
    assert (started, shift.free, full.seconds) == (jobs[:2], 0, 1.0)
    shift.ended(jobs[0])
    assert working.send("0") == Sleep(0)
    away: Any = working.send(None)
    assert away.seconds == 0.2
    assert working.send(None) == Sleep(0)
    due: Any = working.send(None)
    assert due.seconds == 0.25
    assert working.send("3:0") == Sleep(0)
    assert source.heard == ["0", "3:0"]
    idle: Any = working.send(None)
    assert idle.seconds == 1.0
    shift.stop()
    assert working.send(None) == Wait(shift.id, 0.0, heard=False)
    with pytest.raises(StopIteration):
        working.send(None)


def test_an_outcome_is_asked_for_until_it_is_there() -> None:
    awaiting = Awaiting()
    woken: list[str] = []
    looks: list[Any] = [NotYet(), NotYet(0.1), Unavailable("away"), "value"]
    awaiting.wake = woken.append

    def look() -> Plan[Any]:
        yield Sleep(0)
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    waiting = awaiting.outcome("window", look, None)
    assert next(waiting) == Sleep(0)
    for seconds in (1.0, 0.1, 1.0):
        assert waiting.send(None) == Wait("window", seconds)
        assert waiting.send("0") == Sleep(0)
    with pytest.raises(StopIteration) as done:
        waiting.send(None)
    assert done.value.value == "value"
    assert woken == [], "nobody else waited"


def test_an_outcome_that_does_not_come_is_a_timeout() -> None:
    def look() -> Plan[Any]:
        yield Sleep(0)
        return NotYet()

    waiting: Plan[Any] = Awaiting().outcome("window", look, 0)
    next(waiting)
    with pytest.raises(ResultTimeout, match="window has no outcome after 0 s"):
        waiting.send(None)


def test_leases_are_renewed_together_and_a_lost_one_is_told() -> None:
    def renew(group: str, leases: Sequence[Lease]) -> Plan[Sequence[bool]]:
        yield Sleep(0)
        return [lease is not lost for lease in leases]

    keeper: Leases[Lease] = Leases(3.0, renew)
    started: list[str] = []
    performer: Any = SimpleNamespace(
        start=lambda _, name: started.append(name), wake=lambda _: None, place=lambda: None
    )
    keeper.attach(performer, keeper.keep, "started")
    kept, lost = Lease(now() + 3.0), Lease(now() + 3.0)
    for lease in (kept, lost):
        keeper.hold("tag", lease)
    assert started == ["started"]
    beating = keeper.keep()
    beat: Any = next(beating)
    assert beat.seconds == pytest.approx(1.0, abs=0.1)
    before = kept.good_until
    assert beating.send(None) == Sleep(0)
    beating.send(None)
    assert kept.good_until >= before
    assert (kept.lost, lost.lost) == (False, True)
    for lease in (kept, lost):
        keeper.drop("tag", lease)
    with pytest.raises(StopIteration):
        beating.send(None)


@pytest.mark.parametrize(
    ("maxmemory", "policy", "told"),
    [("100mb", "allkeys-lru", True), ("100mb", "noeviction", False), ("0", "allkeys-lru", False)],
)
def test_a_worker_warns_once_where_its_work_may_be_evicted(
    client: redis.Redis, caplog: pytest.LogCaptureFixture, maxmemory: str, policy: str, told: bool
) -> None:
    before: Any = client.config_get("maxmemory*")
    client.config_set("maxmemory", maxmemory)
    client.config_set("maxmemory-policy", policy)
    name = f"evicted {secrets.token_hex(4)}"
    try:
        for _ in range(2):
            with redisopt.Batcher(client, name, handler=lambda items: items) as batcher, batcher.worker():
                assert batcher.call(1, timeout=10) == 1
    finally:
        client.config_set("maxmemory", before["maxmemory"])
        client.config_set("maxmemory-policy", before["maxmemory-policy"])
    assert len([record for record in caplog.records if "evicts keys" in record.message]) == int(told)
