"""A fleet on one limiter: processes, threads and tasks that know nothing of each other but the name.

Histories are judged by the server: a grant counts at its `granted_at`, and the order of asking is the order in which the
server ran the scripts, as MONITOR tells it. No assertion depends on how fast this machine is; the machine only has to be
alive. ``REDISOPT_TEST_SOAK=120`` lets the hungry fleet run for so many seconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from itertools import chain, pairwise
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import events, keys
from redisopt.scripts import script
from tests.crowds import most_within
from tests.fleet import (
    FLEET,
    PATIENT,
    PLENTY,
    SOAK,
    at_millisecond,
    charged,
    in_threads,
    run_fleet,
    wait_for_all,
)
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

RATES = ["10/s", "100/10s"]

# --- what members of a fleet do, each in a process of its own


def be_hungry(url: str, kind: str, rates: list[str], callers: int, seconds: float, skew: float) -> list[int]:
    """Acquire again and again; returns when each was granted. The process's clock is wrong by `skew` seconds."""
    right, right_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: right() + skew, lambda: right_ns() + int(skew * 1e9)
    grants: list[int] = []

    def in_thread(throttler: redisopt.Throttler, end: float) -> None:
        with suppress(redisopt.ThrottleTimeout):
            while True:
                grants.append(at_millisecond(throttler.acquire(timeout=max(0.0, end - time.monotonic()))))

    async def in_task(throttler: redisopt.AsyncThrottler, end: float) -> None:
        with suppress(redisopt.ThrottleTimeout):
            while True:
                grants.append(at_millisecond(await throttler.acquire(timeout=max(0.0, end - time.monotonic()))))

    async def in_tasks() -> None:
        async with (
            redis.asyncio.from_url(url) as client,
            redisopt.AsyncThrottler(client, "fleet", rates=rates, **PATIENT) as it,
        ):
            await it.peek()
            wait_for_all()
            end = time.monotonic() + seconds
            await asyncio.gather(*(in_task(it, end) for _ in range(callers)))

    if kind == "async":
        asyncio.run(in_tasks())
        return grants
    with redis.from_url(url) as client, redisopt.Throttler(client, "fleet", rates=rates, **PATIENT) as it:
        it.peek()
        wait_for_all()
        end = time.monotonic() + seconds
        in_threads([lambda: in_thread(it, end)] * callers)
    return grants


def arrive(url: str, kind: str, rate: str, offsets: list[float]) -> list[tuple[str, int, int]]:
    """Acquire once at each of the offsets; returns permit id, time of the grant and time of the return, by the server."""
    returned: list[tuple[str, int, int]] = []

    def note(permit: redisopt.Permit | redisopt.AsyncPermit, clock: tuple[int, int]) -> None:
        returned.append((permit.id, at_millisecond(permit), clock[0] * 1000 + clock[1] // 1000))

    def in_thread(client: redis.Redis, throttler: redisopt.Throttler, moment: float) -> None:
        time.sleep(max(0.0, moment - time.monotonic()))
        permit = throttler.acquire()
        note(permit, client.time())

    async def in_task(client: redis.asyncio.Redis, throttler: redisopt.AsyncThrottler, offset: float) -> None:
        await asyncio.sleep(offset)
        permit = await throttler.acquire()
        note(permit, await client.time())

    async def in_tasks() -> None:
        async with (
            redis.asyncio.from_url(url) as client,
            redisopt.AsyncThrottler(client, "fleet", rates=[rate], **PATIENT) as it,
        ):
            await it.peek()
            wait_for_all()
            await asyncio.gather(*(in_task(client, it, offset) for offset in offsets))

    if kind == "async":
        asyncio.run(in_tasks())
        return returned
    with redis.from_url(url) as client, redisopt.Throttler(client, "fleet", rates=[rate], **PATIENT) as it:
        it.peek()
        wait_for_all()
        begin = time.monotonic()
        in_threads([lambda at=begin + offset: in_thread(client, it, at) for offset in offsets])  # type: ignore[misc]
    return returned


def call_through_flushes(url: str, seconds: float) -> tuple[int, int]:
    """Acquire without a pause; returns how many were granted, and how often a script had to be sent along."""
    reloaded: list[events.Event] = []
    events.add_hook(lambda event: reloaded.append(event) if isinstance(event, events.ScriptReloaded) else None)
    granted = 0
    with redis.from_url(url) as client, redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        wait_for_all()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            granted += bool(throttler.try_acquire())
    return granted, len(reloaded)


def wait_in_line(url: str, callers: int, results: Any) -> None:
    """Acquire in so many threads; sends what each was granted, when all are done."""
    with redis.from_url(url) as client, redisopt.Throttler(client, "fleet", rates=["3/s"], **PATIENT) as throttler:
        permits: list[redisopt.Permit] = []
        in_threads([lambda: permits.append(throttler.acquire())] * callers)
        results.send([(permit.id, at_millisecond(permit)) for permit in permits])


# --- what a history may look like, and what stands on the server


def allowance(rates: list[str], span_ms: int) -> int:
    """How many grants a limiter that wastes nothing gives within so long, starting with a full burst."""
    parsed = [redisopt.Rate.parse(rate) for rate in rates]
    grants: list[int] = []
    while True:
        at = max((grants[-rate.limit] + rate.period_ms for rate in parsed if len(grants) >= rate.limit), default=0)
        if at >= span_ms:
            return len(grants)
        grants.append(at)


def assert_exact_and_greedy(grants: list[int], rates: list[str], span_ms: int) -> None:
    """No trailing window holds too much, and in the span 99 % of what was allowed was granted."""
    for rate in map(redisopt.Rate.parse, rates):
        assert most_within(grants, rate.period_ms) <= rate.limit
    assert sum(at < grants[0] + span_ms for at in grants) >= 0.99 * allowance(rates, span_ms)


def warm_up(client: redis.Redis) -> None:
    """Let the server know the script, and start to count its calls."""
    with redisopt.Throttler(client, "warm", **PLENTY) as warm:
        warm.try_acquire()
    client.config_resetstat()


def script_calls(client: redis.Redis) -> int:
    """How many there have been since."""
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


# --- exact, greedy, in order


def test_a_hungry_fleet_gets_all_that_is_allowed_and_never_more(server: RunningServer, client: redis.Redis) -> None:
    """Eight processes of eight callers each, threads and tasks, on two rates."""
    seconds = SOAK or {"valkey-9.1": 20.5}.get(server.flavour, 5.5)
    members = [(server.url, kind, RATES, 8, seconds, 0.0) for kind in ["sync", "async"] * 4]
    grants = sorted(chain(*run_fleet(be_hungry, *members)))
    assert_exact_and_greedy(grants, RATES, round(seconds * 1000) - 500)


def test_a_clock_that_is_a_minute_wrong_changes_nothing(server: RunningServer, client: redis.Redis) -> None:
    """One process is ahead and one behind: the limits hold, and each gets its share."""
    skews = [("sync", 60.0), ("async", -60.0), ("sync", 0.0), ("async", 0.0)]
    shares = run_fleet(be_hungry, *((server.url, kind, ["8/s"], 4, 4.5, skew) for kind, skew in skews))
    assert_exact_and_greedy(sorted(chain(*shares)), ["8/s"], 4000)
    assert min(map(len, shares)) >= 0.5 * allowance(["8/s"], 4500) / 4, shares


def test_sixty_waiters_are_served_in_order_without_a_wasted_call(server: RunningServer, client: redis.Redis) -> None:
    """They come 10 ms apart from six processes: one script call each, no inversion, no time lost, none too early."""
    warm_up(client)
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        members = [
            (server.url, kind, "10/s", [0.01 * (member + 6 * number) for number in range(10)])
            for member, kind in enumerate(["sync", "async"] * 3)
        ]
        returned = list(chain(*run_fleet(arrive, *members)))
        calls = script_calls(client)
        asked = permit_ids_in_order(monitor, client)
    granted = {permit: at for permit, at, _ in returned}
    in_order = [granted[permit] for permit in asked]

    assert len(in_order) == len(granted) == 60
    assert [pair for pair in pairwise(in_order) if pair[0] > pair[1]] == []
    assert most_within(in_order, 1000) == 10
    ideal = in_order[9] + 5000 - in_order[0]
    assert in_order[-1] - in_order[0] <= 1.03 * ideal
    assert [each for each in returned if each[2] < each[1] - 1] == [], "came back before its time, rounded up to 1 ms"
    assert calls - 7 <= 1.2 * 60, "without the peeks by which the six connected, one of them in two tries"


def permit_ids_in_order(monitor: Any, client: redis.Redis) -> list[str]:
    """The permit ids of all acquires, in the order in which the server ran them."""
    client.echo("the end")
    alone, together = script("throttle_acquire").sha, script("throttle_acquire_many").sha
    found: list[str] = []
    while (words := monitor.next_command()["command"].split(" "))[0].upper() != "ECHO":
        if words[0] != "EVALSHA" or words[1] not in {alone, together}:
            continue
        _, _, permit, cost, *_ = words[3 + int(words[2]) :]
        calls = int(cost) if words[1] == together else 1  # each is of cost 1
        found += [permit, *(f"{permit}.{index}" for index in range(1, calls))]
    return found


def test_a_killed_waiter_loses_nobody_elses_place(server: RunningServer, client: redis.Redis) -> None:
    """Three processes wait in turn on one line; kill -9 of one leaves the others the times they were given."""
    warm_up(client)
    members = []
    for _ in range(3):
        here, there = FLEET.Pipe(duplex=False)
        member = FLEET.Process(target=wait_in_line, args=(server.url, 6, there))
        member.start()
        there.close()
        members.append((member, here))
    line = f"{keys.tag('throttle', 'fleet')}waiting"
    wait_until(lambda: script_calls(client) >= 18, timeout=30, message="not all have asked")
    waiting: Any = client.zrange(line, 0, -1, withscores=True)
    promised = {permit.decode(): at for permit, at in waiting}
    members[1][0].kill()
    with redisopt.Throttler(client, "fleet", rates=["3/s"], **PATIENT) as throttler:
        last = throttler.acquire()
        granted = dict(members[0][1].recv() + members[2][1].recv())
        assert throttler.metrics().queue_length == 0
    for member, _ in members:
        member.join(10)

    assert len(granted) == 12
    assert {permit: at for permit, at in granted.items() if permit in promised}.items() <= promised.items()
    assert at_millisecond(last) <= max(promised.values()) + 1000


def test_a_script_flush_is_noticed_by_nobody(server: RunningServer, client: redis.Redis) -> None:
    """Every process sends the script along and goes on; each grant is charged once."""
    stop = threading.Event()

    def flush() -> None:
        while not stop.wait(0.01):
            client.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        counts = run_fleet(call_through_flushes, *[(server.url, 1.0)] * 4)
    finally:
        stop.set()
        flusher.join()
    with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        assert charged(throttler) == sum(granted for granted, _ in counts)
    assert min(reloaded for _, reloaded in counts) > 0
