"""A fleet on one limiter: processes, threads and tasks that know nothing of each other but the name.

Histories are judged by the server: a grant counts at its `granted_at`, and the order of asking is the order in which the
server ran the scripts, as MONITOR tells it. No assertion depends on how fast this machine is; the machine only has to be
alive. ``REDISOPT_TEST_SOAK=120`` lets the hungry fleet run for so many seconds.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import chain, pairwise
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import events, keys
from redisopt.identity import process_id
from redisopt.scripts import script
from tests.clock import ServerClock
from tests.crowds import most_within
from tests.faces import Face
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

RATES = ["10/s", "100/10s"]
LIMIT = 1_000_000
PATIENT: Any = {"command_timeout": 10.0}  # the machine may be busy, and that is not what is tested here
PLENTY: Any = {"rates": [f"{LIMIT}/h"], **PATIENT}
SOAK = float(os.environ.get("REDISOPT_TEST_SOAK", "0"))

FLEET: Any = multiprocessing.get_context("forkserver")  # forks from a clean process, and imports only once
FLEET.set_forkserver_preload(["redisopt", "redis.asyncio", "pytest"])
FORK: Any = multiprocessing.get_context("fork")

_start: Any = None


def _join_fleet(barrier: Any) -> None:
    global _start
    _start = barrier
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


def run_fleet(work: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    """Call `work` in a process for each of the arguments; `work` waits for the others at `_start`."""
    barrier = FLEET.Barrier(len(arguments), timeout=30)
    with ProcessPoolExecutor(len(arguments), FLEET, _join_fleet, (barrier,)) as pool:
        return [future.result(timeout=SOAK + 60) for future in [pool.submit(work, *each) for each in arguments]]


def in_threads(jobs: Sequence[Callable[[], Any]]) -> None:
    """Call each in a thread of its own, until all are done."""
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def at_millisecond(permit: redisopt.Permit | redisopt.AsyncPermit) -> int:
    """When it was granted, by the server."""
    return round(permit.granted_at * 1000)


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
            _start.wait()
            end = time.monotonic() + seconds
            await asyncio.gather(*(in_task(it, end) for _ in range(callers)))

    if kind == "async":
        asyncio.run(in_tasks())
        return grants
    with redis.from_url(url) as client, redisopt.Throttler(client, "fleet", rates=rates, **PATIENT) as it:
        it.peek()
        _start.wait()
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
            _start.wait()
            await asyncio.gather(*(in_task(client, it, offset) for offset in offsets))

    if kind == "async":
        asyncio.run(in_tasks())
        return returned
    with redis.from_url(url) as client, redisopt.Throttler(client, "fleet", rates=[rate], **PATIENT) as it:
        it.peek()
        _start.wait()
        begin = time.monotonic()
        in_threads([lambda at=begin + offset: in_thread(client, it, at) for offset in offsets])  # type: ignore[misc]
    return returned


def call_through_flushes(url: str, seconds: float) -> tuple[int, int]:
    """Acquire without a pause; returns how many were granted, and how often a script had to be sent along."""
    reloaded: list[events.Event] = []
    events.add_hook(lambda event: reloaded.append(event) if isinstance(event, events.ScriptReloaded) else None)
    granted = 0
    with redis.from_url(url) as client, redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        _start.wait()
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


def charged(throttler: redisopt.Throttler) -> int:
    """What the logs of a limiter of plenty hold."""
    return LIMIT - throttler.peek().remaining


def warm_up(client: redis.Redis) -> None:
    """Let the server know the script, and start to count its calls."""
    with redisopt.Throttler(client, "warm", **PLENTY) as warm:
        warm.try_acquire()
    client.config_resetstat()


def script_calls(client: redis.Redis) -> int:
    """How many there have been since."""
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


def lanes(client: redis.Redis) -> list[str]:
    """The lanes that the limiter remembers."""
    state: Any = client.hkeys(f"{keys.tag('throttle', 'fleet')}state")
    return [name.decode().removeprefix("lane:") for name in state if name.startswith(b"lane:")]


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
    found = []
    while (words := monitor.next_command()["command"].split(" "))[0].upper() != "ECHO":
        if words[:2] == ["EVALSHA", script("throttle_acquire").sha]:
            found.append(words[3 + int(words[2]) + 2])
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


# --- forks


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12 and later warn of it; this is the test of it
def test_a_forked_child_uses_its_parents_throttler_also_while_a_thread_is_in_a_call(
    server: RunningServer, client: redis.Redis
) -> None:
    """Replies go to who asked, each call is charged once, and no two processes share a lane."""
    throttler = redisopt.Throttler(client, "fleet", **PLENTY)
    ids: list[str] = []
    stop = threading.Event()

    def call_on() -> None:
        while not stop.is_set():
            ids.append(permit_of(throttler.try_acquire()).id)

    def be_a_child(results: Any) -> None:
        results.send((process_id(), [permit_of(throttler.try_acquire()).id for _ in range(50)]))

    threads = [threading.Thread(target=call_on) for _ in range(3)]
    names = [process_id(), *fork_each([be_a_child] * 2, ids)]
    for thread in threads:
        thread.start()
    names += fork_each([be_a_child] * 6, ids)
    stop.set()
    for thread in threads:
        thread.join()

    assert len(set(names)) == 9
    assert len(set(ids)) == len(ids) == charged(throttler)
    assert {lane.rpartition(".")[0] for lane in lanes(client)} == set(names)
    assert {permit.partition(":")[0] for permit in ids} == set(names)
    throttler.close()


def permit_of(decision: Any) -> Any:
    """The permit of a decision that was sure to be granted."""
    assert decision.permit is not None
    return decision.permit


def fork_each(works: list[Callable[[Any], None]], ids: list[str]) -> list[str]:
    """Fork a child for each; collects the permit ids that they got, and returns the children's names."""
    children = []
    for work in works:
        here, there = FORK.Pipe(duplex=False)
        child = FORK.Process(target=work, args=(there,))
        child.start()
        there.close()
        children.append((child, here))
    names = []
    for child, here in children:
        assert here.poll(20), "a child hangs"
        name, got = here.recv()
        child.join(10)
        names.append(name)
        ids += got
    return names


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore::ResourceWarning")
def test_the_end_of_a_forked_child_does_not_cut_its_parents_event_loop_off(
    server: RunningServer, client: redis.Redis
) -> None:
    """The child drops its copies of the parent's connections; the parent goes on reading from the originals."""

    async def call(times: int) -> int:
        for _ in range(times):
            await throttler.try_acquire()
        return LIMIT - (await throttler.peek()).remaining

    def be_a_child(results: Any) -> None:
        gc.collect()
        results.send((process_id(), [str(asyncio.run(call(10)))]))

    throttler = redisopt.AsyncThrottler(
        redis.asyncio.from_url(server.url), "fleet", **PLENTY | {"command_timeout": 2.0}
    )
    with asyncio.Runner() as runner:
        assert runner.run(call(10)) == 10
        counts: list[str] = []
        fork_each([be_a_child], counts)
        assert counts == ["20"]
        assert runner.run(call(10)) == 30
        runner.run(throttler.aclose())


# --- many at once in one process


@pytest.mark.parametrize("options", [{}, {"max_connections": 4}])
def test_any_number_of_tasks_share_one_async_client(
    server: RunningServer, client: redis.Redis, options: dict[str, int]
) -> None:
    """256 at once never run out of connections, whatever the client's pool allows, and are granted in the order of asking."""

    async def acquire_all() -> list[int]:
        async with (
            redis.asyncio.from_url(server.url, **options) as own,
            redisopt.AsyncThrottler(own, "fleet", **PLENTY) as throttler,
        ):
            permits = [
                permit for _ in range(4) for permit in await asyncio.gather(*(throttler.acquire() for _ in range(256)))
            ]
            return [at_millisecond(permit) for permit in permits]

    times = asyncio.run(acquire_all())
    with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        assert len(times) == 1024 == charged(throttler)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncio's word on a loop that ends with connections open
def test_one_async_throttler_serves_one_event_loop_after_another(server: RunningServer, client: redis.Redis) -> None:
    """As in a program that calls asyncio.run for each job; what the earlier loops had connected is closed."""
    throttler = redisopt.AsyncThrottler(redis.asyncio.from_url(server.url), "fleet", **PLENTY)

    async def call(last: bool) -> int:
        await asyncio.gather(*[throttler.acquire() for _ in range(8)])
        used = LIMIT - (await throttler.peek()).remaining
        if last:
            await throttler.aclose()
        return used

    before = client.info("clients")["connected_clients"]
    assert [asyncio.run(call(last)) for last in (False, False, True)] == [8, 16, 24]
    gc.collect()
    wait_until(lambda: client.info("clients")["connected_clients"] == before)


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_client_has_as_many_lanes_as_calls_under_way(server: RunningServer, client: redis.Redis, kind: str) -> None:
    """After 10,000 calls, not 10,000: what a limiter remembers of its callers does not grow with what they do."""

    def call_in_thread(throttler: redisopt.Throttler) -> None:
        for _ in range(1250):
            throttler.try_acquire()

    async def call_in_tasks() -> None:
        async def call(throttler: redisopt.AsyncThrottler) -> None:
            for _ in range(50):
                await throttler.try_acquire()

        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncThrottler(own, "fleet", **PLENTY) as throttler,
        ):
            await asyncio.gather(*(call(throttler) for _ in range(200)))

    if kind == "threads":
        with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
            in_threads([lambda: call_in_thread(throttler)] * 8)
    else:
        asyncio.run(call_in_tasks())
    with redisopt.Throttler(client, "fleet", **PLENTY) as throttler:
        assert charged(throttler) == 10_000
    assert 1 <= len(lanes(client)) <= {"threads": 8, "tasks": 32}[kind]


def test_lanes_of_clients_that_are_gone_go_away(
    make_throttler: Callable[..., Face], client: redis.Redis, clock: ServerClock
) -> None:
    """After a minute of silence newcomers sweep them out, a few at a time."""
    for _ in range(60):
        make_throttler("fleet", **PLENTY).try_acquire()
    clock.advance(61)
    newcomers = 20
    for _ in range(newcomers):
        make_throttler("fleet", **PLENTY).try_acquire()
    assert len(lanes(client)) <= newcomers + 10
