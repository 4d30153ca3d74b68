"""Coalescing: what many tasks ask at the same time is decided in one script call, in order, for each by itself."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
import redis

import redisopt
from redisopt import events
from tests.servers import RunningServer
from tests.turns import TERMS, scripts_run


async def test_a_crowd_costs_few_script_calls(server: RunningServer, client: redis.Redis) -> None:
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["1000/h"], **TERMS) as throttler,
    ):
        await throttler.peek()
        client.config_resetstat()
        decisions = await asyncio.gather(*(throttler.try_acquire() for _ in range(1200)))

        assert scripts_run(client) <= 5
        assert [decision.allowed for decision in decisions] == [True] * 1000 + [False] * 200
        assert {decision.reason for decision in decisions[1000:]} == {"1000/h"}
        ids = [decision.permit.id for decision in decisions[:1000] if decision.permit]
        assert len(set(ids)) == 1000
        assert (await throttler.peek()).remaining == 0


async def test_waiters_are_served_in_the_order_of_asking(server: RunningServer, client: redis.Redis) -> None:
    """Of different costs, with different patience."""
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["10/200ms"], **TERMS) as throttler,
    ):
        calls = [throttler.acquire(1 + number % 3, timeout=5) for number in range(30)]
        calls.append(throttler.acquire(timeout=0.05))
        *permits, hasty = await asyncio.gather(*calls, return_exceptions=True)

        assert isinstance(hasty, redisopt.ThrottleTimeout)
        times = [permit.granted_at for permit in permits if isinstance(permit, redisopt.AsyncPermit)]
        assert len(times) == 30
        assert all(earlier <= later for earlier, later in pairwise(times))
        used = [
            (round(permit.granted_at * 1000), permit.cost)
            for permit in permits
            if isinstance(permit, redisopt.AsyncPermit)
        ]
        for at, _ in used:
            assert sum(cost for other, cost in used if at - 200 < other <= at) <= 10


async def test_keys_and_bad_calls_do_not_disturb_each_other(server: RunningServer, client: redis.Redis) -> None:
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["2/h"], **TERMS) as throttler,
    ):
        results = await asyncio.gather(
            throttler.try_acquire(key="a"),
            throttler.try_acquire(key="b"),
            throttler.try_acquire(0),
            throttler.try_acquire(3),
            throttler.try_acquire(key="\ud800"),
            throttler.try_acquire(2, key="a"),
            throttler.try_acquire(key=3),  # type: ignore[arg-type]
            throttler.try_acquire(key=[]),  # type: ignore[arg-type]
            return_exceptions=True,
        )
        good = [result.allowed for result in results if isinstance(result, redisopt.Decision)]
        assert good == [True, True, False]
        assert [type(result) for result in results if isinstance(result, Exception)] == [
            ValueError,
            redisopt.CostExceedsLimit,
            ValueError,
            ValueError,
            ValueError,
        ]


async def test_whoever_is_cancelled_is_not_charged(server: RunningServer, client: redis.Redis) -> None:
    """At whatever moment of the batch, and alone among many."""
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["100000/h"], **TERMS) as throttler,
    ):
        charged = 0
        for turns in range(30):
            tasks = [asyncio.create_task(throttler.try_acquire(2)) for _ in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            charged += 2 * sum(isinstance(result, redisopt.Decision) for result in results)
        assert (await throttler.peek()).remaining == 100_000 - charged


async def test_each_call_is_told_of(server: RunningServer, client: redis.Redis) -> None:
    heard: list[events.Event] = []
    redisopt.add_hook(heard.append)
    try:
        async with (
            redisopt.connect_async(server.url) as own,
            redisopt.AsyncThrottler(own, "test", rates=["3/h"], **TERMS) as throttler,
        ):
            await asyncio.gather(*(throttler.try_acquire() for _ in range(5)))
    finally:
        redisopt.remove_hook(heard.append)
    assert sum(isinstance(event, events.Granted) for event in heard) == 3
    assert sum(isinstance(event, events.Refused) for event in heard) == 2


async def test_a_burst_begins_its_cooldown_in_the_middle_of_a_crowd(server: RunningServer, client: redis.Redis) -> None:
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", max_burst_size=4, cooldown_period=30, **TERMS) as throttler,
    ):
        decisions = await asyncio.gather(*(throttler.try_acquire() for _ in range(10)))
        assert [decision.allowed for decision in decisions] == [True] * 4 + [False] * 6
        assert {decision.reason for decision in decisions[4:]} == {"cooldown"}


async def test_a_full_line_refuses_the_rest_of_a_crowd(server: RunningServer, client: redis.Redis) -> None:
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["2/300ms"], max_queue=3, **TERMS) as throttler,
    ):
        results = await asyncio.gather(*(throttler.acquire(timeout=5) for _ in range(8)), return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["AsyncPermit"] * 5 + ["QueueFull"] * 3


async def test_an_error_reaches_every_caller_by_itself(server: RunningServer, client: redis.Redis) -> None:
    client.set("redisopt:v1:{throttle:test}:state", "not a hash", ex=60)
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["2/h"], **TERMS) as throttler,
    ):
        results = await asyncio.gather(*(throttler.try_acquire() for _ in range(5)), return_exceptions=True)
        assert {type(result) for result in results} == {redisopt.StateLost}
        assert len({id(result) for result in results}) == 5
        with pytest.raises(redisopt.StateLost):
            await throttler.try_acquire()
