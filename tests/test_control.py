"""What the fleet is told while it runs: other limits, a pause, the end of either. It holds at once, for every process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pydantic
import pytest
import redis

import redisopt
from tests.clock import ServerClock
from tests.faces import Face
from tests.fleet import run_fleet, wait_for_all
from tests.servers import RunningServer
from tests.turns import TERMS, part
from tests.waiting import wait_until

Make = Callable[..., Face]


def tell(face: Face, what: str, *args: Any, **kwargs: Any) -> None:
    face.wait_for(getattr(face.real, what)(*args, **kwargs))


# --- other limits


def test_an_update_holds_for_every_process_at_once(make_throttler: Make, clock: ServerClock) -> None:
    one, other = make_throttler(rates=["5/s"]), make_throttler(rates=["5/s"])
    assert [bool(other.try_acquire()) for _ in range(6)] == [True] * 5 + [False]
    tell(one, "update", rates=["8/s"])
    assert [bool(other.try_acquire()) for _ in range(4)] == [True] * 3 + [False]
    assert str(other.real.config.rates[0]) == "8/s"
    assert make_throttler(rates=["5/s"]).peek().limit == 8
    tell(other, "update")
    refused = one.try_acquire()
    assert (refused.limit, refused.remaining) == (5, 0)
    assert one.real.config.rates == other.real.config.rates


def test_a_lower_limit_is_a_debt_and_not_a_reset(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["10/s"])
    assert throttler.try_acquire(cost=8)
    tell(throttler, "update", rates=["5/s"])
    assert (throttler.peek().remaining, throttler.peek().limit) == (0, 5)
    assert throttler.peek(cost=1).retry_after == pytest.approx(1.001, abs=0.002)
    clock.advance(1.002)
    assert throttler.peek().remaining == 5


def test_another_period_knows_what_was_used(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["10/s"])
    assert throttler.try_acquire(cost=8)
    tell(throttler, "update", rates=["9/10s"])
    assert throttler.peek().remaining == 1
    tell(throttler, "update", rates=["100/s", "20/min"])
    assert [limit.remaining for limit in throttler.peek().limits] == [92, 12]


def test_a_cost_above_a_new_limit_is_refused(make_throttler: Make) -> None:
    one, other = make_throttler(rates=["10/s"]), make_throttler(rates=["10/s"])
    tell(one, "update", rates=["5/s"])
    with pytest.raises(redisopt.CostExceedsLimit, match="5/s"):
        other.acquire(cost=8)
    with pytest.raises(redisopt.CostExceedsLimit):
        one.acquire(cost=8)


def test_leases_can_be_added_and_taken_away(make_throttler: Make) -> None:
    throttler = make_throttler(rates=["100/s"])
    tell(throttler, "update", max_concurrent=1)
    permit = throttler.try_acquire().permit
    assert throttler.try_acquire().reason == "concurrency"
    tell(throttler, "update")
    assert throttler.try_acquire()
    throttler.release(permit)


def test_who_waits_hears_of_an_update(server: RunningServer, client: redis.Redis) -> None:
    """A caller that would have waited an hour is served when the limit rises; one in the line of leases too."""
    for fields, raised, name in (
        ({"rates": ["1/h"]}, {"rates": ["100/h"]}, "rates"),
        ({"max_concurrent": 1}, {"max_concurrent": 2}, "leases"),
    ):
        throttler = redisopt.Throttler(client, name, **TERMS | fields)
        held = throttler.acquire()
        waited: list[float] = []

        def wait(fields: Any = fields, name: str = name, waited: list[float] = waited) -> None:
            with redisopt.connect(server.url) as own, redisopt.Throttler(own, name, **TERMS | fields) as other:
                started = time.monotonic()
                with other.acquire():
                    waited.append(time.monotonic() - started)

        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda throttler=throttler: throttler.metrics().queue_length == 1)  # type: ignore[misc]
        time.sleep(0.2)
        throttler.update(**raised)
        thread.join(10)
        assert len(waited) == 1
        assert waited[0] < 2
        held.release()
        throttler.update()
        throttler.close()


@pytest.mark.parametrize(
    "fields", [{"rates": ["0/s"]}, {"burst": 3}, {"command_timeout": 1.0}, {"group": "g"}, {"max_concurrent": 0}]
)
def test_a_bad_update_is_refused_and_changes_nothing(make_throttler: Make, fields: dict[str, Any]) -> None:
    throttler = make_throttler(rates=["5/s"])
    with pytest.raises((ValueError, pydantic.ValidationError)):
        tell(throttler, "update", **fields)
    assert throttler.peek().limit == 5


def obey(url: str, seconds: float) -> list[int]:
    """Acquire as fast as it goes; the server's ms of each grant."""
    throttler = redisopt.Throttler(redisopt.connect(url), "test", rates=["50/s"], **TERMS)
    granted = []
    throttler.peek()
    wait_for_all()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            granted.append(round(throttler.acquire(timeout=1).granted_at * 1000))
        except redisopt.ThrottleTimeout:
            time.sleep(0.02)
    throttler.close()
    return granted


def test_a_fleet_follows_an_update(server: RunningServer, client: redis.Redis) -> None:
    """Four processes on 50/s that become 10/s after a second: from then on no second holds more than is allowed."""
    throttler = redisopt.Throttler(client, "test", rates=["50/s"], **TERMS)
    told: list[int] = []

    def update() -> None:
        wait_until(lambda: throttler.metrics().operations_per_second > 20, 40)
        throttler.update(rates=["10/s"])
        seconds, micros = client.time()
        told.append(seconds * 1000 + micros // 1000)

    thread = threading.Thread(target=update)
    thread.start()
    granted = sorted(ms for each in run_fleet(obey, *[(server.url, 4.0)] * 4) for ms in each)
    thread.join(40)
    after = [ms for ms in granted if ms > told[0] + 1000]
    assert all(later - ms >= 1000 for ms, later in zip(after, after[10:], strict=False))
    assert len(after) >= 10
    throttler.update()
    throttler.close()


# --- a pause


def test_a_pause_stops_everybody_until_it_ends(make_throttler: Make, clock: ServerClock) -> None:
    one, other = make_throttler(rates=["5/s"]), make_throttler(rates=["5/s"])
    assert other.try_acquire()
    tell(one, "pause", 30)
    refused = other.try_acquire()
    assert (refused.allowed, refused.reason) == (False, "paused")
    assert refused.retry_after == pytest.approx(30, abs=0.01)
    with pytest.raises(redisopt.ThrottleTimeout, match="paused"):
        other.acquire(timeout=29)
    assert other.acquire(timeout=31).waited == pytest.approx(30, abs=0.01)
    assert other.try_acquire()


def test_a_shorter_pause_does_not_end_a_longer_one(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["5/s"])
    tell(throttler, "pause", 30)
    tell(throttler, "pause", 1)
    assert throttler.peek().retry_after == pytest.approx(30, abs=0.01)
    tell(throttler, "resume")
    assert throttler.try_acquire()


def test_a_pause_holds_for_every_key_and_for_leases(make_throttler: Make, clock: ServerClock) -> None:
    throttler = make_throttler(rates=["5/s"], max_concurrent=2)
    permit = throttler.try_acquire(key="a").permit
    tell(throttler, "pause", 10)
    assert throttler.try_acquire(key="b").reason == "paused"
    assert throttler.release(permit)
    assert throttler.try_acquire(key="a").reason == "paused"


@pytest.mark.parametrize("seconds", [-1, float("nan"), "3", True, 86_401])
def test_a_bad_pause_is_refused(make_throttler: Make, seconds: Any) -> None:
    with pytest.raises(ValueError, match="seconds"):
        tell(make_throttler(rates=["5/s"]), "pause", seconds)


def test_a_pause_is_over_when_the_servers_clock_was_set_back(make_throttler: Make, clock: ServerClock) -> None:
    """Rather than to last a minute longer; a few ms back change nothing."""
    throttler = make_throttler(rates=["5/s"])
    tell(throttler, "pause", 10)
    clock.advance(-0.01)
    assert not throttler.try_acquire()
    clock.advance(-60)
    assert throttler.try_acquire()


async def test_waiters_ask_for_a_place_after_a_pause(server: RunningServer, client: redis.Redis) -> None:
    """Those that had one within it; nobody is granted anything meanwhile, and the limit holds afterwards."""
    async with (
        redisopt.connect_async(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["5/500ms"], **TERMS) as throttler,
    ):
        started = time.monotonic()
        tasks = [asyncio.create_task(throttler.acquire()) for _ in range(20)]
        await asyncio.sleep(0.2)
        await throttler.pause(1.0)
        permits = await asyncio.gather(*tasks)
        times = sorted(round(permit.granted_at * 1000) for permit in permits)
        assert [later - ms for ms, later in zip(times, times[5:], strict=False) if later - ms < 500] == []
        gap = max(later - ms for ms, later in pairwise(times))
        assert gap >= 900
        assert time.monotonic() - started < 20, "they are served after it"
        assert (await throttler.metrics()).queue_length == 0


def test_a_resume_is_heard_of(server: RunningServer, client: redis.Redis) -> None:
    throttler = redisopt.Throttler(client, "test", rates=["5/s"], **TERMS)
    throttler.pause(60)
    waited: list[float] = []

    def wait() -> None:
        started = time.monotonic()
        throttler.acquire()
        waited.append(time.monotonic() - started)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: throttler.metrics().queue_length == 1)
    time.sleep(0.2)
    throttler.resume()
    thread.join(10)
    assert len(waited) == 1
    assert waited[0] < 3
    throttler.close()


def test_what_was_told_expires_when_nobody_uses_it(make_throttler: Make, client: redis.Redis) -> None:
    throttler = make_throttler(rates=["5/s"])
    tell(throttler, "update", rates=["6/s"])
    month = 30 * 86_400_000
    assert 0 < client.pttl("redisopt:v1:{throttle:test}:control") <= month
    tell(throttler, "pause", 1)
    assert client.pttl("redisopt:v1:{throttle:test}:control") > month - 60_000
    tell(throttler, "update")
    assert "override" not in part(client, "control")
    assert client.pttl("redisopt:v1:{throttle:test}:control") <= 61_000


def test_a_response_can_pause_the_fleet(make_throttler: Make) -> None:
    one, other = make_throttler(rates=["10/s"]), make_throttler(rates=["10/s"])
    advice = one.wait_for(one.real.observe({"Retry-After": "30"}, 429))
    assert advice.pause == 30
    refused = other.try_acquire()
    assert (refused.allowed, refused.reason) == (False, "paused")
    one.wait_for(one.real.resume())
    assert one.wait_for(one.real.observe({"X-RateLimit-Remaining": "5"}, 200)).pause == 0
    assert other.try_acquire()
    with pytest.raises(ValueError, match="headers"):
        one.wait_for(one.real.observe("Retry-After: 3"))
