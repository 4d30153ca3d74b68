"""Leases: so many are held at once and never more, by threads, tasks and processes, whatever becomes of those who hold them."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import threading
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from tests.faces import Face
from tests.fleet import FORK, SOAK, in_threads, run_fleet, wait_for_all
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.turns import NOTHING, TERMS, Holder, left_over, part
from tests.waiting import wait_until

Make = Callable[..., Face]


# --- so many, and no more


def test_exactly_so_many_enter(server: RunningServer, client: redis.Redis) -> None:
    """32 threads try at once, each holds what it gets: 4 enter (dramatiq, test_concurrent_rate_limiter)."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=4, **TERMS)
    entered: list[Any] = []
    in_threads([lambda: entered.append(throttler.try_acquire())] * 32)

    permits = [decision.permit for decision in entered if decision]
    assert len(permits) == 4
    assert {decision.reason for decision in entered if not decision} == {"concurrency"}
    assert throttler.metrics().active_operations == 4
    assert [permit.release() for permit in permits] == [True] * 4
    assert left_over(client) == NOTHING
    throttler.close()


def test_one_after_the_other_all_enter(make_throttler: Make) -> None:
    throttler = make_throttler(max_concurrent=1)
    fences = []
    for _ in range(8):
        permit = throttler.acquire(timeout=1)
        fences.append(permit.fence)
        assert throttler.release(permit)
    assert fences == sorted(set(fences))


def test_ids_are_distinct_and_use_returns_to_nothing(make_throttler: Make, client: redis.Redis) -> None:
    """50 tries on a limit of 10 without release (inngest, concurrency_race_test)."""
    throttlers = [make_throttler(max_concurrent=10) for _ in range(5)]
    decisions = [throttler.try_acquire() for throttler in throttlers for _ in range(10)]
    permits = [decision.permit for decision in decisions if decision]

    assert len({permit.id for permit in permits}) == 10
    assert part(client, "state")["in_use"] == "10"
    assert all(throttlers[0].wait_for(permit.release()) for permit in permits)
    assert left_over(client) == NOTHING


def count_up(url: str, loops: int) -> None:
    """Read and write a counter, which nobody else may do meanwhile."""
    client = redisopt.connect(url)
    raw: Any = redis.from_url(url)
    throttler = redisopt.Throttler(client, "test", max_concurrent=1, **TERMS)
    throttler.peek()
    wait_for_all()
    for _ in range(loops):
        with throttler.acquire(timeout=60):
            raw.set("counter", int(raw.get("counter")) + 1, ex=600)
    throttler.close()


def test_processes_exclude_each_other(server: RunningServer, client: redis.Redis) -> None:
    """16 processes on one permit, each reads and writes a counter (redisson, testConcurrencyLoop_MultiInstance)."""
    loops = 100 if SOAK else 25
    client.set("counter", 0, ex=600)
    run_fleet(count_up, *[(server.url, loops)] * 16)

    assert int(client.get("counter") or 0) == 16 * loops
    assert left_over(client) == NOTHING


SLOTS = 7
LONGEST = 0.005 if SOAK else 0.02  # seconds that a lease is held: where few are made, all slots must be in use at once


def enter(url: str, kind: str, leases: int) -> tuple[int, int]:
    """Hold so many leases for a few ms each; returns how many, and the most that were held at once by the server's count."""
    return asyncio.run(_enter_async(url, leases)) if kind == "async" else _enter(url, leases)


def _enter(url: str, leases: int) -> tuple[int, int]:
    raw: Any = redis.from_url(url)
    throttler = redisopt.Throttler(redisopt.connect(url), "test", max_concurrent=SLOTS, **TERMS)
    inside = []

    def work() -> None:
        for _ in range(leases // 4):
            with throttler.acquire(timeout=60):
                inside.append(raw.incr("inside"))
                time.sleep(random.uniform(0, LONGEST))
                raw.decr("inside")

    wait_for_all()
    in_threads([work] * 4)
    throttler.close()
    return len(inside), max(inside)


async def _enter_async(url: str, leases: int) -> tuple[int, int]:
    inside = []
    async with (
        redis.asyncio.from_url(url) as raw,
        redisopt.connect_async(url) as own,
        redisopt.AsyncThrottler(own, "test", max_concurrent=SLOTS, **TERMS) as throttler,
    ):

        async def work() -> None:
            for _ in range(leases // 4):
                async with throttler.acquire(timeout=60):
                    inside.append(await raw.incr("inside"))
                    await asyncio.sleep(random.uniform(0, LONGEST))
                    await raw.decr("inside")

        wait_for_all()
        await asyncio.gather(*(work() for _ in range(4)))
    return len(inside), max(inside)


@pytest.mark.timeout(900)
def test_a_fleet_never_holds_more_and_reaches_as_many(server: RunningServer, client: redis.Redis) -> None:
    """16 processes, threads and tasks; 100,000 leases when there is time for them."""
    client.set("inside", 0, ex=3600)
    leases = 6_252 if SOAK else 100
    held = run_fleet(enter, *[(server.url, kind, leases) for kind in ["sync", "async"] * 8])

    assert sum(count for count, _ in held) == 16 * leases
    assert max(most for _, most in held) == SLOTS
    assert left_over(client) == NOTHING


# --- holders that die, stand still, or come late


def test_a_dead_holders_permit_is_back_in_time(server: RunningServer, client: redis.Redis) -> None:
    """Five processes that hold 20 each are killed at once: 100 waiters have them within lease_ttl + 0.2 s."""
    terms = {"max_concurrent": 100, "lease_ttl": 2.0} | TERMS
    holders = [Holder(server.url, 20, **terms) for _ in range(5)]
    for holder in holders:
        holder.granted()
    throttler = redisopt.Throttler(client, "test", **terms)
    granted: list[float] = []

    def wait() -> None:
        throttler.acquire(timeout=20)
        granted.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(100)]
    for thread in threads:
        thread.start()
    wait_until(lambda: throttler.metrics().queue_length == 100, 10)
    with Lateness() as late:
        for holder in holders:
            holder.signal(signal.SIGKILL)
        killed = time.monotonic()
        for thread in threads:
            thread.join(20)

    assert len(granted) == 100
    # Renewed at the latest when they died, each lease ends with its 2 s. On an idle machine nothing is late.
    assert max(granted) - killed <= 2.0 + 0.2 + 4 * late.seconds
    throttler.close()


def test_a_holder_that_stood_still_learns_it_and_frees_nobody(server: RunningServer, client: redis.Redis) -> None:
    """SIGSTOP for longer than the lease: another has the place, and keeps it when the first releases."""
    terms: Any = {"max_concurrent": 1, "lease_ttl": 0.5}
    holder = Holder(server.url, **terms)
    holder.granted()
    holder.signal(signal.SIGSTOP)
    throttler = redisopt.Throttler(client, "test", **TERMS | terms)
    permit = throttler.acquire(timeout=5)
    holder.signal(signal.SIGCONT)

    assert holder.ask("lost") == [True]
    assert holder.ask("release") == [False]
    assert throttler.metrics().active_operations == 1
    assert not permit.lost
    assert not throttler.try_acquire()
    assert permit.release()
    holder.kill()
    throttler.close()


@pytest.mark.long
def test_a_lease_is_kept_while_its_holder_lives(make_throttler: Make) -> None:
    """Three times as long as it would last (redisson, testUpdateLeaseTime)."""
    throttler = make_throttler(max_concurrent=1, lease_ttl=0.9)
    other = make_throttler(max_concurrent=1, lease_ttl=0.9)
    permit = throttler.try_acquire().permit
    deadline = time.monotonic() + 2.7
    while time.monotonic() < deadline:
        if throttler.kind == "async":
            throttler.wait_for(asyncio.sleep(0.05))  # its loop has to run
        assert not other.try_acquire()
    assert not permit.lost
    permit.ensure_held()
    assert throttler.release(permit)
    assert other.try_acquire()


def test_a_lease_that_is_lost_says_so(make_throttler: Make, client: redis.Redis) -> None:
    """By `lost`, by PermitLost, by on_lost once; its release returns False."""
    lost: list[str] = []
    throttler = make_throttler(max_concurrent=1, lease_ttl=0.2, on_lost=lambda permit: lost.append(permit.id))
    permit = throttler.try_acquire().permit
    throttler.reset()  # as an operator does who wants it free

    def is_told() -> bool:
        if throttler.kind == "async":
            throttler.wait_for(asyncio.sleep(0.01))
        return bool(lost)

    wait_until(is_told)
    assert permit.lost
    with pytest.raises(redisopt.PermitLost, match="lease_ttl"):
        permit.ensure_held()
    assert throttler.release(permit) is False
    assert lost == [permit.id]


def test_a_permit_that_nobody_has_any_more_is_not_renewed(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(max_concurrent=1, lease_ttl=0.2)
    throttler.try_acquire()

    def is_free() -> bool:
        gc.collect()
        if throttler.kind == "async":
            throttler.wait_for(asyncio.sleep(0.02))
        return bool(throttler.try_acquire())

    wait_until(is_free)


def test_a_second_release_does_nothing(make_throttler: Make) -> None:
    throttler = make_throttler(max_concurrent=2)
    first, second = throttler.try_acquire().permit, throttler.try_acquire().permit
    assert throttler.release(first) is True
    assert throttler.release(first) is False
    assert throttler.metrics().active_operations == 1
    assert throttler.release(second) is True


def test_of_two_sets_only_the_live_one_is_released(server: RunningServer, client: redis.Redis) -> None:
    """Those of a dead process end, those of a live one are released, and nothing is freed twice (testTryReleaseManyExpired)."""
    terms: Any = {"max_concurrent": 10, "lease_ttl": 2.0}
    dead, alive = Holder(server.url, 3, **terms), Holder(server.url, 3, **terms)
    dead.granted(), alive.granted()
    dead.kill()
    throttler = redisopt.Throttler(client, "test", **TERMS | terms)
    wait_until(lambda: throttler.metrics().active_operations == 3, 10)
    assert alive.ask("release") == [True] * 3
    assert throttler.metrics().limits[0].remaining == 10
    assert left_over(client) == NOTHING
    alive.kill()
    throttler.close()


def test_a_child_neither_renews_nor_releases_what_its_parent_holds(server: RunningServer, client: redis.Redis) -> None:
    throttler = redisopt.Throttler(client, "test", max_concurrent=2, lease_ttl=3, **TERMS)
    permit = throttler.acquire()
    here, there = FORK.Pipe()

    def child() -> None:
        own = throttler.acquire(timeout=5)
        there.send((permit.release(), own.id != permit.id, own.release()))

    process = FORK.Process(target=child)
    process.start()
    assert here.poll(20)
    assert here.recv() == (False, True, True)
    process.join(10)
    assert throttler.metrics().active_operations == 1
    assert permit.release()
    throttler.close()


def test_closing_gives_back_what_is_held(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(max_concurrent=3)
    permits = [throttler.acquire() for _ in range(3)]
    throttler.close()
    assert len(permits) == 3
    assert left_over(client) == NOTHING


def test_twenty_thousand_leases_that_ended_are_reaped(client: redis.Redis) -> None:
    """By calls that each do a bounded part of it."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=20_000, lease_ttl=0.1, **TERMS)
    throttler.try_acquire().permit.release()  # type: ignore[union-attr]
    pipe: Any = client.pipeline(transaction=False)
    tag = "redisopt:v1:{throttle:test}:"
    for number in range(20_000):
        pipe.zadd(f"{tag}leases", {f"gone:{number}": 1 + number})
        pipe.hset(f"{tag}tickets", f"gone:{number}", f"held 1 1 0 1 1 {number} concurrency=20000")
    pipe.hset(f"{tag}state", "in_use", 20_000).pexpire(f"{tag}leases", 60_000).pexpire(f"{tag}tickets", 60_000)
    pipe.execute()

    calls = 0
    while part(client, "state")["in_use"] != "1" and calls < 30:
        decision = throttler.try_acquire()
        calls += 1
        assert decision
        assert decision.permit.release() or calls == 30  # type: ignore[union-attr]
        if not part(client, "leases"):
            break
    assert calls <= 21
    assert left_over(client) == NOTHING
    throttler.close()


# --- with rates, weights, and changes


def test_refused_by_one_charged_by_none(make_throttler: Make) -> None:
    """A lease that is not to be had charges no rate, and the other way round (inngest, state_consistency_test)."""
    throttler = make_throttler(rates=["3/min"], max_concurrent=2)
    permits = [throttler.try_acquire().permit for _ in range(2)]
    refused = throttler.try_acquire()
    assert (refused.reason, [limit.remaining for limit in refused.limits]) == ("concurrency", [1, 0])
    throttler.release(permits[0])
    third = throttler.try_acquire()
    throttler.release(third.permit)
    throttler.release(permits[1])
    refused = throttler.try_acquire()
    assert (refused.reason, [limit.remaining for limit in refused.limits]) == ("3/min", [0, 2])


def test_weights_take_slots(make_throttler: Make, client: redis.Redis) -> None:
    """More than there are is refused at once (bottleneck, general.js)."""
    throttler = make_throttler(max_concurrent=2)
    with pytest.raises(redisopt.CostExceedsLimit, match="max_concurrent"):
        throttler.acquire(weight=3)
    heavy = throttler.try_acquire(weight=2).permit
    assert not throttler.try_acquire()
    light = throttler.try_acquire(weight=0)
    assert light
    throttler.release(heavy)
    throttler.release(light.permit)
    assert left_over(client) == NOTHING


def test_weights_wait_in_turn(client: redis.Redis) -> None:
    """Of weights 1, 2, 1, 1, 0 on 2 slots, held 0.1 s each: about 0.4 s in all, never more than two slots."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=2, **TERMS)
    inside, most = [0], [0]
    lock = threading.Lock()

    def job(weight: int) -> None:
        with throttler.acquire(weight=weight, timeout=10):
            with lock:
                inside[0] += weight
                most[0] = max(most[0], inside[0])
            time.sleep(0.1)
            with lock:
                inside[0] -= weight

    started = time.monotonic()
    threads = []
    for weight in (1, 2, 1, 1, 0):
        threads.append(threading.Thread(target=job, args=(weight,)))
        threads[-1].start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(10)
    assert most[0] == 2
    assert 0.3 <= time.monotonic() - started < 0.8
    throttler.close()


def test_the_weights_of_a_killed_client_come_back(server: RunningServer, client: redis.Redis) -> None:
    """2 + 3 + 4 + 5 of a client that is killed, 1 of another that lives (bottleneck, cluster.js)."""
    terms: Any = {"max_concurrent": 20, "lease_ttl": 2.0}
    holders = [Holder(server.url, weight=weight, **terms) for weight in (2, 3, 4, 5)]
    for holder in holders:
        holder.granted()
    throttler = redisopt.Throttler(client, "test", **TERMS | terms)
    permit = throttler.acquire()
    assert throttler.metrics().active_operations == 15
    for holder in holders:
        holder.kill()
    wait_until(lambda: throttler.metrics().active_operations == 1, 10)
    assert permit.release()
    throttler.close()


def test_fewer_slots_end_no_lease_and_grant_none_until_there_is_room(make_throttler: Make) -> None:
    """5 become 2 while 3 are held (redisson, testSetPermits)."""
    throttler = make_throttler(max_concurrent=5)
    permits = [throttler.try_acquire().permit for _ in range(3)]
    throttler.wait_for(throttler.real.update(max_concurrent=2))
    assert throttler.metrics().active_operations == 3
    assert throttler.metrics().limits[0].remaining == 0
    for permit in permits[:2]:
        assert not throttler.try_acquire()
        assert throttler.release(permit)
    assert throttler.try_acquire()
    assert not throttler.try_acquire()
    throttler.wait_for(throttler.real.update())


def test_a_lost_state_is_counted_anew(make_throttler: Make, client: redis.Redis) -> None:
    """The leases are left: those who hold them still do."""
    throttler = make_throttler(max_concurrent=2)
    permit = throttler.acquire()
    client.delete("redisopt:v1:{throttle:test}:state")
    assert throttler.try_acquire()
    assert not throttler.try_acquire()
    assert throttler.release(permit)


def test_a_lease_that_ends_while_there_are_no_slots_frees_its_own(make_throttler: Make, client: redis.Redis) -> None:
    """The fleet was told that there are none, and back: the slots in use are those of the leases that are left."""
    throttler = make_throttler(rates=["1000/s"], max_concurrent=1, lease_ttl=5)
    permit = throttler.acquire()
    throttler.wait_for(throttler.real.update(max_concurrent=None))
    pipes: Any = client
    pipes.zadd("redisopt:v1:{throttle:test}:leases", {permit.id: 1})  # as if nobody had renewed it
    throttler.acquire(priority=1)
    throttler.wait_for(throttler.real.update())
    assert throttler.try_acquire()


def test_leases_are_known_for_as_long_as_they_are_counted(make_throttler: Make, client: redis.Redis) -> None:
    """Else the slot of a holder that dies is in use for a day, where nobody calls until its lease is forgotten."""
    throttler = make_throttler(rates=["10/d"], max_concurrent=2, lease_ttl=0.5)
    pipes: Any = client
    permits = []
    for _ in range(2):
        permits.append(throttler.acquire())
        counted, *known = [
            pipes.pttl(f"redisopt:v1:{{throttle:test}}:{name}") for name in ("state", "leases", "tickets")
        ]
        assert all(ttl >= counted > 86_400_000 for ttl in known)
    for permit in permits:
        throttler.release(permit)


def test_a_full_server_refuses_whole_and_lets_go(server: RunningServer, client: redis.Redis) -> None:
    """Out of memory, an acquire fails typed and changes nothing; a release and a renewal work."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=3, lease_ttl=1.5, **TERMS)
    permits = [throttler.acquire() for _ in range(2)]
    assert throttler.metrics().active_operations == 2
    try:
        client.config_set("maxmemory", 1)
        before = part(client, "leases")
        with pytest.raises(redisopt.Unavailable, match="full"):
            throttler.acquire()
        assert part(client, "leases") == before
        time.sleep(2.0)
        assert not any(permit.lost for permit in permits)
        assert [permit.release() for permit in permits] == [True, True]
    finally:
        client.config_set("maxmemory", 0)
    assert left_over(client) == NOTHING
    throttler.close()


def test_a_fleet_of_wrong_clocks_holds_the_limit(server: RunningServer, client: redis.Redis) -> None:
    """Ten clients whose clocks are -5 to +4 s off (inngest): strict, since no client's clock decides anything."""
    held = list(chain(*run_fleet(enter_skewed, *[(server.url, skew) for skew in range(-5, 5)])))
    assert max(held) <= 3
    assert left_over(client) == NOTHING


def enter_skewed(url: str, skew: float) -> list[int]:
    real = time.time
    time.time = lambda: real() + skew
    raw: Any = redis.from_url(url)
    throttler = redisopt.Throttler(redisopt.connect(url), "test", max_concurrent=3, **TERMS)
    held = []
    wait_for_all()
    for _ in range(10):
        with throttler.acquire(timeout=30):
            held.append(raw.incr("inside"))
            time.sleep(0.001)
            raw.decr("inside")
    raw.expire("inside", 60)
    throttler.close()
    return held
