"""The line: who waits for a lease or by priority is served in order over all processes, and leaves without a trace."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import keys
from tests.faces import Face
from tests.fleet import run_fleet, wait_for_all
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.turns import NOTHING, TERMS, Holder, left_over, part, scripts_run
from tests.waiting import wait_until

Make = Callable[..., Face]


class Waiters:
    """Threads that wait, each let in when the one before stands in the line; and the order in which they were served."""

    def __init__(self, client: redis.Redis, url: str, hold: float = 0.02, **fields: Any) -> None:
        self.client = client
        self.url = url
        self.hold = hold
        self.fields = fields
        self.served: list[Any] = []
        self.failed: list[Any] = []
        self.threads: list[threading.Thread] = []

    def add(self, label: Any, **terms: Any) -> None:
        before = len(part(self.client, "line"))

        def work() -> None:
            # Each with a client of its own, as another process has.
            with redisopt.connect(self.url) as own, redisopt.Throttler(own, "test", **TERMS | self.fields) as throttler:
                try:
                    with throttler.acquire(**{"timeout": 20} | terms):
                        self.served.append(label)
                        time.sleep(self.hold)
                except redisopt.RedisOptError as error:
                    self.failed.append((label, error))

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()
        wait_until(lambda: len(part(self.client, "line")) > before or self.failed)

    def join(self) -> list[Any]:
        for thread in self.threads:
            thread.join(30)
        return self.served


@pytest.mark.parametrize(
    ("priorities", "order"),
    [
        ([0, 0, 5, 0, 0], [2, 0, 1, 3, 4]),
        ([6, 5, 4, 3], [0, 1, 2, 3]),
        ([3, 4, 5, 6], [3, 2, 1, 0]),
        ([-1, 0, 1], [2, 1, 0]),
    ],
)
def test_higher_priorities_go_first(
    server: RunningServer, client: redis.Redis, priorities: list[int], order: list[int]
) -> None:
    """Among equals the first to come (bottleneck, test/priority.js, where the lower number is the more urgent)."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=1, **TERMS)
    permit = throttler.acquire()
    waiters = Waiters(client, server.url, max_concurrent=1)
    for number, priority in enumerate(priorities):
        waiters.add(number, priority=priority)
    assert permit.release()

    assert waiters.join() == order
    assert left_over(client) == NOTHING
    throttler.close()


def test_priorities_hold_among_who_waits_for_rates(server: RunningServer, client: redis.Redis) -> None:
    throttler = redisopt.Throttler(client, "test", rates=["1/300ms"], **TERMS)
    throttler.acquire(priority=1)
    waiters = Waiters(client, server.url, 0, rates=["1/300ms"])
    for number, priority in enumerate([0, 1, 2]):
        waiters.add(number, priority=priority)
    assert waiters.join() == [2, 1, 0]
    throttler.close()


def test_the_oldest_waiter_is_served_and_nobody_jumps_in(server: RunningServer, client: redis.Redis) -> None:
    """aspnetcore-redis, ConcurrencyUnitTests: the oldest first, a full line refuses, a newcomer does not jump in."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=1, max_queue=2, **TERMS)
    permit = throttler.acquire()
    waiters = Waiters(client, server.url, max_concurrent=1, max_queue=2)
    waiters.add("first")
    waiters.add("second")
    refused = throttler.try_acquire()
    assert (refused.reason, refused.queue_size) == ("queue", 2)
    with pytest.raises(redisopt.QueueFull, match="max_queue") as full:
        throttler.acquire(timeout=5)
    assert full.value.reason == "queue full"
    permit.release()
    assert waiters.join() == ["first", "second"]
    assert throttler.try_acquire()
    throttler.close()


def test_no_queue_at_all_lets_only_those_in_who_need_not_wait(make_throttler: Make) -> None:
    """bottleneck's highWater 0."""
    throttler = make_throttler(max_concurrent=1, max_queue=0)
    permit = throttler.acquire()
    with pytest.raises(redisopt.QueueFull):
        throttler.acquire(timeout=5)
    throttler.release(permit)
    assert throttler.acquire()


def test_a_line_for_rates_is_bounded_too(make_throttler: Make) -> None:
    throttler = make_throttler(rates=["1/h"], max_queue=0)
    assert throttler.acquire()
    with pytest.raises(redisopt.QueueFull) as full:
        throttler.acquire()
    assert 3590 < full.value.retry_after <= 3600.1


def test_a_wait_ends_with_its_timeout(make_throttler: Make, client: redis.Redis) -> None:
    """At once for one of 0, and nothing is left of it (PyrateLimiter, test_acquire_path)."""
    throttler = make_throttler(max_concurrent=1)
    permit = throttler.acquire(timeout=0)
    for timeout in (0, 0.2):
        with Lateness() as late:
            started = time.monotonic()
            with pytest.raises(redisopt.ThrottleTimeout) as refused:
                throttler.acquire(timeout=timeout)
            took = time.monotonic() - started
        assert timeout <= took < timeout + 0.05 + 4 * late.seconds
        assert refused.value.reason == "concurrency"
    throttler.release(permit)
    assert left_over(client) == NOTHING


def test_a_wait_that_the_rates_make_too_long_is_refused_at_once(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(rates=["1/min"], max_concurrent=5)
    throttler.acquire()
    started = time.monotonic()
    with pytest.raises(redisopt.ThrottleTimeout, match="1/min"):
        throttler.acquire(timeout=5)
    assert time.monotonic() - started < 2, "it is not waited for"
    assert part(client, "line") == {}


def test_who_waits_for_one_key_delays_no_other(make_throttler: Make) -> None:
    throttler = make_throttler(max_concurrent=1)
    permit = throttler.acquire(key="a")
    with pytest.raises(redisopt.ThrottleTimeout):
        throttler.acquire(key="a", timeout=0.1)
    assert throttler.acquire(key="b", timeout=0).waited == 0
    throttler.release(permit)


async def test_waiting_does_not_block_the_loop(server: RunningServer, client: redis.Redis) -> None:
    """otovo, test_async_semaphore: n tasks on c slots, each 0.1 s, take about n / c times as long."""
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", max_concurrent=3, **TERMS) as throttler,
    ):

        async def work() -> None:
            async with throttler.acquire():
                await asyncio.sleep(0.1)

        with Lateness() as late:
            started = time.monotonic()
            await asyncio.gather(*(work() for _ in range(10)), asyncio.sleep(0.4))
            took = time.monotonic() - started
        assert 0.4 <= took < 0.65 + 8 * late.seconds
    assert left_over(client) == NOTHING


async def test_a_thousand_tasks_wait_on_a_pool_of_two(server: RunningServer, client: redis.Redis) -> None:
    """Over one connection that hears for all; in order."""
    pool = redis.asyncio.ConnectionPool.from_url(server.url, max_connections=2)
    served: list[int] = []
    async with (
        redis.asyncio.Redis(connection_pool=pool) as own,
        redisopt.AsyncThrottler(own, "test", max_concurrent=5, **TERMS) as throttler,
    ):

        async def work(number: int) -> None:
            async with throttler.acquire(timeout=60) as permit:
                served.append(permit.fence)
                assert number >= 0

        await asyncio.gather(*(work(number) for number in range(1000)))
    await pool.disconnect()
    assert len(set(served)) == 1000
    assert left_over(client) == NOTHING


# --- in order, at little cost


def stand(url: str, kind: str, delays: list[float], hold: float) -> list[tuple[int, float]]:
    """Callers that come after so many seconds; each one's fence and when it came, by its permit."""
    if kind == "async":
        return asyncio.run(_stand_async(url, delays, hold))
    came: list[tuple[int, float]] = []
    throttler = redisopt.Throttler(redisopt.connect(url), "test", max_concurrent=2, **TERMS)

    def work(delay: float) -> None:
        time.sleep(delay)
        with throttler.acquire(timeout=60) as permit:
            came.append((permit.fence, permit.granted_at - permit.waited))
            time.sleep(hold)

    throttler.peek()
    wait_for_all()
    threads = [threading.Thread(target=work, args=(delay,)) for delay in delays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    throttler.close()
    return came


async def _stand_async(url: str, delays: list[float], hold: float) -> list[tuple[int, float]]:
    came: list[tuple[int, float]] = []
    async with (
        redisopt.connect_async(url) as own,
        redisopt.AsyncThrottler(own, "test", max_concurrent=2, **TERMS) as throttler,
    ):

        async def work(delay: float) -> None:
            await asyncio.sleep(delay)
            async with throttler.acquire(timeout=60) as permit:
                came.append((permit.fence, permit.granted_at - permit.waited))
                await asyncio.sleep(hold)

        await throttler.peek()
        wait_for_all()
        await asyncio.gather(*(work(delay) for delay in delays))
    return came


def test_sixty_waiters_in_six_processes_keep_their_order(server: RunningServer, client: redis.Redis) -> None:
    """At most three script calls a grant, but for the beats that show that they live; no inversion by the server's times."""
    client.config_resetstat()
    members = [
        (server.url, kind, [0.01 * (member + 6 * number) for number in range(10)], 0.02)
        for member, kind in enumerate(["sync", "async"] * 3)
    ]
    came = sorted(pair for each in run_fleet(stand, *members) for pair in each)

    assert len(came) == 60
    # Whoever had its lease first (by the fence) came first, to the millisecond in which permits are told.
    assert [pair for pair in pairwise(came) if pair[0][1] > pair[1][1] + 0.0015] == []
    beats = 6 * 2 * 2  # of six processes, two a second
    assert scripts_run(client) - 6 - beats <= 3 * 60
    assert left_over(client) == NOTHING


def test_what_is_freed_at_once_passes_on_to_the_next(server: RunningServer, client: redis.Redis) -> None:
    """Three slots of one release serve three processes, of weights 2 and 1, at once; who needs more than is left waits."""
    terms = {"max_concurrent": 3}
    throttler = redisopt.Throttler(client, "test", **TERMS | terms)
    permit = throttler.acquire(weight=3)
    waiters = []
    for number, weight in enumerate((2, 1, 2), start=1):
        waiters.append(Holder(server.url, weight=weight, **terms))
        wait_until(lambda number=number: len(part(client, "line")) == number)  # type: ignore[misc]
    with Lateness() as late:
        permit.release()
        released = time.time()
        first, second = waiters[0].granted(), waiters[1].granted()
    assert max(first, second) - released < 0.05 + 4 * late.seconds
    assert not waiters[2].pipe.poll(0.05)

    assert waiters[0].ask("release") == [True]
    assert waiters[2].granted() >= first
    for waiter in waiters[1:]:
        assert waiter.ask("release") == [True]
        waiter.kill()
    waiters[0].kill()
    assert left_over(client) == NOTHING
    throttler.close()


# --- those who leave or die


def test_who_is_next_is_served_when_the_head_is_killed(server: RunningServer, client: redis.Redis) -> None:
    """Within a second, and in order; the head's place leaves no trace."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=1, **TERMS)
    permit = throttler.acquire()
    head = Holder(server.url, max_concurrent=1)
    wait_until(lambda: len(part(client, "line")) == 1)
    waiters = Waiters(client, server.url, 0, max_concurrent=1)
    waiters.add("second")
    waiters.add("third")
    with Lateness() as late:
        head.kill()
        permit.release()
        started = time.monotonic()
        assert waiters.join() == ["second", "third"]
        took = time.monotonic() - started
    assert took < 1.0 + 4 * late.seconds
    assert part(client, "line") == {}
    assert part(client, "state")["in_use"] == "0"
    throttler.close()


def test_many_dead_at_the_head_cost_as_much_as_one(server: RunningServer, client: redis.Redis) -> None:
    terms = {"max_concurrent": 1}
    throttler = redisopt.Throttler(client, "test", **TERMS | terms)
    permit = throttler.acquire()
    dead = []
    for number in range(1, 5):
        dead.append(Holder(server.url, **terms))
        wait_until(lambda number=number: len(part(client, "line")) == number)  # type: ignore[misc]
    waiters = Waiters(client, server.url, 0, **terms)
    waiters.add("alive")
    for holder in dead:
        holder.kill()
    time.sleep(3.2)  # by now nothing was heard of them for as long as makes a process silent
    with Lateness() as late:
        permit.release()
        started = time.monotonic()
        assert waiters.join() == ["alive"]
        took = time.monotonic() - started
    assert took < 0.5 + 4 * late.seconds
    throttler.close()


async def test_ten_thousand_cancelled_waiters_leave_nothing(server: RunningServer, client: redis.Redis) -> None:
    """At random moments, some in the millisecond of their grant or of their release."""
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", max_concurrent=5, **TERMS) as throttler,
    ):

        async def hold(seconds: float) -> None:
            async with throttler.acquire():
                await asyncio.sleep(seconds)

        for _ in range(10):
            tasks = [asyncio.create_task(hold(random.uniform(0, 0.004))) for _ in range(1000)]
            await asyncio.sleep(0.05)
            for task in random.sample(tasks, len(tasks)):
                if random.random() < 0.1:
                    await asyncio.sleep(random.uniform(0, 0.003))
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} <= {asyncio.CancelledError, type(None)}
        assert left_over(client) == NOTHING
        assert await throttler.try_acquire()


async def test_who_is_cancelled_after_others_were_served_instead_leaves_nothing(
    server: RunningServer, client: redis.Redis
) -> None:
    """It did not come for its grant in time, as where a thousand are cancelled at once and the loop has much to do."""
    terms: Any = TERMS | {"max_concurrent": 1}
    with redisopt.Throttler(client, "test", **terms) as other:
        permit = other.acquire()
        async with (
            redisopt.connect_async(server.url) as own,
            redisopt.AsyncThrottler(own, "test", **terms) as throttler,
        ):
            waiter = asyncio.ensure_future(throttler.acquire())
            while not part(client, "line"):
                await asyncio.sleep(0.01)
            permit.release()
            time.sleep(0.4)  # the loop is busy meanwhile
            with other.acquire():
                states = sorted(text.split()[0] for text in part(client, "tickets").values() if " " in text)
                assert states == ["held", "silent"]
                waiter.cancel()
                await asyncio.gather(waiter, return_exceptions=True)
            assert left_over(client) == NOTHING


def test_a_waiter_that_gives_up_leaves_the_line(make_throttler: Make, client: redis.Redis) -> None:
    """A timeout or a cancelled task: those behind move up."""
    throttler = make_throttler(max_concurrent=1)
    permit = throttler.acquire()
    with pytest.raises(redisopt.ThrottleTimeout):
        throttler.acquire(timeout=0.05)
    assert part(client, "line") == {}
    throttler.release(permit)
    assert throttler.acquire(timeout=0)


def test_a_beat_bears_that_tickets_are_lost(server: RunningServer, client: redis.Redis) -> None:
    """Evicted, say. Who stands in the line without one stands in it anew."""
    terms: Any = {
        "max_concurrent": 1,
        "lease_ttl": 1.0,
    }  # the holder's ticket is lost as well, and its lease ends by itself
    throttler = redisopt.Throttler(client, "test", **TERMS, **terms)
    permit = throttler.acquire()
    waiters = Waiters(client, server.url, 0, **terms)
    waiters.add("waiter")
    client.delete(f"{keys.tag('throttle', 'test')}tickets")
    time.sleep(0.7)  # over a beat
    permit.release()
    assert waiters.join() == ["waiter"]
    throttler.close()


def test_a_reset_lets_who_waits_stand_anew(server: RunningServer, client: redis.Redis) -> None:
    """Deleting all keys, too: it heals by itself (bottleneck, "Redis data is missing")."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=1, **TERMS)
    for lose in (throttler.reset, client.flushdb, client.script_flush):
        permit = throttler.acquire(timeout=2)
        waiters = Waiters(client, server.url, 0, max_concurrent=1)
        waiters.add("waits")
        lose()
        if lose == client.script_flush:
            permit.release()
        assert waiters.join() == ["waits"]
        permit.release()
    throttler.close()


def test_a_lost_message_costs_less_than_a_second(server: RunningServer, client: redis.Redis) -> None:
    """The connections that hear are cut: the beat finds what was granted."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=1, **TERMS)
    permit = throttler.acquire()
    waiters = Waiters(client, server.url, 0, max_concurrent=1)
    waiters.add("waits")
    client.client_kill_filter(_type="pubsub")
    with Lateness() as late:
        permit.release()
        started = time.monotonic()
        assert waiters.join() == ["waits"]
        took = time.monotonic() - started
    assert took < 1.0 + 4 * late.seconds
    throttler.close()


def test_idle_keys_expire(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(max_concurrent=1, lease_ttl=0.5)
    throttler.release(throttler.acquire())
    pipes: Any = client
    ttls = {key: pipes.pttl(key) for key in pipes.scan_iter("redisopt:*")}
    assert ttls
    assert all(0 < ttl <= 2 * 62_000 for ttl in ttls.values()), ttls
