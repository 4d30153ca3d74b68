"""What becomes of calls while Redis is away: each policy, each way of being away, under load."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis

import redisopt
import redisopt.throttle.fleet
from redisopt import ThrottleConfig, events, keys
from redisopt.throttle.local_limiter import Answer, LocalLimiter
from tests.crowds import most_within
from tests.faces import Face
from tests.fragile import WAYS, Crowd, FragileServer, Lateness, run_tasks, run_threads
from tests.outages import client_url, in_time, until_answered
from tests.plans import bare_plans
from tests.waiting import wait_until

pytest_plugins = ["tests.outage_fixtures"]

COMMAND_TIMEOUT = 0.5
PLENTY: Any = {"rates": ["1000000/h"]}
LOCAL_LIMIT = 20
POLICIES = ["raise", "allow", "deny", "local"]


def fields(policy: str) -> Any:
    """The config of a crowd."""
    rates = [f"{LOCAL_LIMIT}/s"] if policy == "local" else PLENTY["rates"]
    return {"rates": rates, "on_unavailable": policy}


# --- under load


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("run", [run_threads, run_tasks])
def test_each_policy_keeps_its_promise_under_load(
    fragile: FragileServer, heard: list[Any], placed_here: list[int], run: Callable[..., None], way: str
) -> None:
    """No call takes longer than its bound; what is decided is what was promised; Redis decides again within a second."""
    stop = threading.Event()
    crowds = {policy: Crowd(4, stop) for policy in POLICIES}
    times: list[float] = []

    def call_on(times: int) -> None:
        enough = {policy: len(crowd.calls) + times for policy, crowd in crowds.items()}
        wait_until(lambda: all(len(crowd.calls) >= enough[policy] for policy, crowd in crowds.items()), timeout=20)

    def story() -> None:
        call_on(50)
        times.append(time.monotonic())
        with fragile.away(way):
            time.sleep(COMMAND_TIMEOUT + 0.2 + late.seconds)
            times.append(time.monotonic())
            time.sleep(1.0)
            call_on(50)
            times.append(time.monotonic())
        times.append(time.monotonic())
        time.sleep(1.0 + late.seconds)
        times.append(time.monotonic())
        call_on(50)
        stop.set()

    with Lateness() as late:
        run(fragile.url, crowds, fields, story)
    away, known, back_begins, back, again = times
    for policy, crowd in crowds.items():
        before, after = crowd.begun_between(0, away), crowd.begun_between(again, again + 60)
        assert len(before) > 20, policy
        assert len(after) > 20, policy
        for got in [*before, *after]:
            assert not isinstance(got, redisopt.Unavailable), policy
            assert getattr(got, "reason", None) != "unavailable", policy
        # A call sleeps more than once. On an idle machine half a second and some milliseconds are all that it takes.
        assert max(call.took for call in crowd.calls) <= COMMAND_TIMEOUT + 0.2 + 2 * late.seconds, policy
        assert crowd.usual_time(known, back_begins) < 0.005, policy
        seen = crowd.begun_between(known, back_begins)
        assert len(seen) > 20, policy
        PROMISES[policy](seen)
        last = max(crowd.outages, key=lambda outage: outage.seconds)
        assert last.policy == policy
        assert back_begins - away - 0.5 < last.seconds < again - away + COMMAND_TIMEOUT
        counted = sum(getattr(call.got, "reason", None) == "unavailable" or uncharged(call.got) for call in crowd.calls)
        # One call of each of the crowd may have been decided after the last look: calls of tasks travel together.
        assert counted - 4 <= last.allowed + last.denied <= counted or policy == "raise"
    assert len(granted_locally(crowds["local"], away, back)) >= LOCAL_LIMIT
    assert len(placed_here) == sum(map(uncharged, permits([call.got for call in crowds["local"].calls])))
    assert most_within(sorted(placed_here), 1000) <= LOCAL_LIMIT
    flips = [type(event) for event in heard if isinstance(event, events.Unreachable | events.Reachable)]
    assert flips.count(events.Unreachable) == flips.count(events.Reachable) == len(POLICIES)


@pytest.fixture
def placed_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The times of all that is granted without Redis, in milliseconds of the clock that decides.

    When a caller notes its grant says little of that: a busy machine may let it stand for any time between the two, and
    others go on.
    """
    times: list[int] = []
    take = LocalLimiter.take

    def note(limiter: LocalLimiter, *args: Any) -> Answer:
        answer = take(limiter, *args)
        if answer.place is not None:
            times.append(answer.place.time_ms)
        return answer

    monkeypatch.setattr(LocalLimiter, "take", note)
    return times


def uncharged(got: Any) -> bool:
    """Whether it is a permit that was granted without Redis."""
    return isinstance(got, redisopt.Permit | redisopt.AsyncPermit) and not got.charged


def permits(seen: list[Any]) -> list[Any]:
    """The permits among what calls gave."""
    found = [got.permit if isinstance(got, redisopt.Decision) else got for got in seen]
    return [permit for permit in found if isinstance(permit, redisopt.Permit | redisopt.AsyncPermit)]


def granted_locally(crowd: Crowd, begin: float, end: float) -> list[int]:
    """When calls that Redis did not decide were granted, in milliseconds."""
    return [
        round(call.ended * 1000)
        for call in crowd.calls
        if begin <= call.began and call.ended < end and any(map(uncharged, permits([call.got])))
    ]


def all_raise(seen: list[Any]) -> None:
    """The error itself."""
    assert {type(got) for got in seen} == {redisopt.Unavailable}


def all_are_allowed(seen: list[Any]) -> None:
    """Without a charge, and said so."""
    assert len(permits(seen)) == len(seen)
    assert all(map(uncharged, permits(seen)))
    assert {got.reason for got in seen if isinstance(got, redisopt.Decision)} == {"unavailable"}


def all_are_denied(seen: list[Any]) -> None:
    """With the time to come back."""
    assert permits(seen) == []
    for got in seen:
        assert isinstance(got, redisopt.Decision | redisopt.Throttled)
        assert not isinstance(got, redisopt.ThrottleTimeout)
        assert got.reason == "unavailable"
        assert 0 < got.retry_after <= 0.5


def all_are_limited_here(seen: list[Any]) -> None:
    """Some are granted, the rest is refused."""
    assert 0 < len(permits(seen)) < len(seen)
    assert all(map(uncharged, permits(seen)))
    assert {type(got) for got in seen} >= {redisopt.Decision, redisopt.ThrottleTimeout}
    assert {got.reason for got in seen if isinstance(got, redisopt.Decision | redisopt.Throttled)} == {"unavailable"}


PROMISES = {"raise": all_raise, "allow": all_are_allowed, "deny": all_are_denied, "local": all_are_limited_here}


# --- permits without a charge


@pytest.mark.parametrize("policy", ["allow", "local"])
def test_a_permit_that_was_not_charged_gives_nothing_back(
    make: Callable[..., Face], fragile: FragileServer, policy: str
) -> None:
    """Neither now nor when Redis is back."""
    face = make(fragile.url, **PLENTY, on_unavailable=policy)
    charged = face.acquire()
    assert charged.charged
    with fragile.away("hung"):
        permit = face.acquire(cost=3)
        assert not permit.charged
        assert (permit.cost, permit.left) == (3, 0)
        given = [face.refund(permit), face.refund(permit, 1), face.settle(permit, 5), face.release(permit)]
        assert given == [False] * 4
        with pytest.raises(redisopt.Unavailable), in_time(0.0):
            face.refund(charged)
    used = until_answered(lambda: face.peek().remaining)
    assert [face.refund(permit), face.settle(permit, 0)] == [False, False]
    assert face.peek().remaining == used


def test_a_function_is_called_or_not_as_the_policy_says(make: Callable[..., Face], fragile: FragileServer) -> None:
    """`execute` is built on `acquire`."""

    def one() -> int:
        return 1

    async def one_async() -> int:
        return 1

    allowing, denying = (make(fragile.url, **PLENTY, on_unavailable=policy) for policy in ("allow", "deny"))
    function: Any = one if allowing.kind == "sync" else one_async
    with fragile.away("cut off"):
        assert allowing.wait_for(allowing.real.execute(function)) == 1
        with pytest.raises(redisopt.Throttled, match="on_unavailable='deny'"):
            denying.wait_for(denying.real.execute(function))
        with pytest.raises(redisopt.CostExceedsLimit):
            allowing.try_acquire(cost=2_000_000)


def test_hooks_and_on_throttle_hear_of_what_was_decided_without_redis(
    make: Callable[..., Face], fragile: FragileServer, heard: list[Any]
) -> None:
    """With the reason."""
    told: list[int] = []
    face = make(fragile.url, rates=["2/h"], on_unavailable="local", on_throttle=told.append)
    with fragile.away("cut off"):
        assert face.try_acquire(cost=2)
        assert not face.try_acquire(key="", cost=2)
    decided = [event for event in heard if isinstance(event, events.Granted | events.Refused)]
    assert [event.reason for event in decided] == ["unavailable"] * 2
    assert [type(event) for event in decided] == [events.Granted, events.Refused]
    assert told == [0]


def test_a_server_that_refuses_is_not_away(make: Callable[..., Face], client: redis.Redis) -> None:
    """Each call asks it; the policy decides all the same, and the outage says what Redis says."""
    face = make(client_url(client), **PLENTY, on_unavailable="allow")
    policy: Any = client.config_get("maxmemory-policy")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        before: Any = client.info("commandstats")
        assert [uncharged(face.acquire()) for _ in range(3)] == [True] * 3
        after: Any = client.info("commandstats")
        assert after["cmdstat_evalsha"]["calls"] >= before.get("cmdstat_evalsha", {"calls": 0})["calls"] + 3
        assert face.real._runner.silence is None
        assert "maxmemory" in face.real.outage.reason
        assert face.real.outage.allowed == 3
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", policy["maxmemory-policy"])
    assert face.acquire().charged
    assert face.real.outage is None


# --- local


def test_this_process_has_its_last_known_share(make: Callable[..., Face], fragile: FragileServer) -> None:
    """Of what four processes share, a quarter; what it was granted before counts, and silent ones do not."""
    face = make(fragile.url, rates=["40/h", "1000/d"], on_unavailable="local")
    state = f"{keys.tag('throttle', 'test', 'shared')}state"
    face.try_acquire(cost=3, key="other")
    with redis.from_url(fragile.url) as admin:
        now = int(admin.time()[0]) * 1000
        others = {f"lane:worker-{n}.{lane}": f"1 {now} 1 {now} 1 1" for n in range(3) for lane in range(4)}
        admin.hset(state, mapping={**others, "lane:gone.1": f"1 {now - 61_000} 1 1 1 1"})
        face.try_acquire(cost=4, key="shared")
        admin.delete(state)
    with fragile.away("hung"):
        decision = face.try_acquire(cost=5, key="shared")
        assert (decision.limit, decision.remaining) == (10, 1)
        assert not face.try_acquire(cost=2, key="shared")
        assert face.try_acquire(cost=2, minimum=1, key="shared").permit.cost == 1
        refused = face.try_acquire(cost=11, key="shared")
        assert refused.retry_after <= 0.5, "no wait here could grant it, but Redis may"
        with pytest.raises(redisopt.Throttled, match="this process's share"):
            face.acquire(cost=11, key="shared")
        assert face.try_acquire(cost=10, key="never seen"), "as many share it as shared the latest that was asked for"
        assert not face.try_acquire(key="never seen")


def test_callers_wait_here_in_the_order_of_asking(make: Callable[..., Face], fragile: FragileServer) -> None:
    """As they do in Redis: a wait beyond `timeout` is refused at once."""
    face = make(fragile.url, rates=["2/300ms"], on_unavailable="local")
    with fragile.away("hung"):
        assert [face.acquire().waited for _ in range(2)] == [0, 0]
        with pytest.raises(redisopt.ThrottleTimeout) as refused:
            face.acquire(timeout=0.1)
        assert 0.1 < refused.value.retry_after <= 0.301
        third = face.acquire(timeout=1)
        assert 0.1 < third.waited <= 0.301
        assert not third.charged


def test_so_many_permits_are_held_here_at_once(make: Callable[..., Face], fragile: FragileServer) -> None:
    """Leases that Redis granted count; who waits has his turn when another is released, or is forgotten by its holder."""
    face = make(fragile.url, max_concurrent=3, on_unavailable="local")
    lease = face.acquire()
    with fragile.away("hung"):
        first, second = face.acquire(), face.acquire()
        assert not first.charged
        assert second.is_lease is False
        refused = face.try_acquire()
        assert (refused.allowed, refused.limit, refused.remaining) == (False, 3, 0)
        with pytest.raises(redisopt.ThrottleTimeout, match="concurrency"):
            face.acquire(timeout=0.05)
        assert face.release(first)
        assert not face.release(first)
        third = face.acquire(timeout=0.05)
        releasing = threading.Timer(0.2, face.real._plans.outage_policy.release, [second])
        releasing.start()
        fourth = face.acquire(timeout=5)
        releasing.join()
        assert 0.1 < fourth.waited < 1.0
        del third
        gc.collect()
        assert face.try_acquire()
    until_answered(face.peek)
    wait_until(lambda: face.metrics().active_operations == 1)
    assert lease.is_lease


def test_a_caller_who_waits_in_line_when_redis_goes_away_has_his_answer_from_the_policy(
    fragile: FragileServer,
) -> None:
    """His place is given back when Redis is there again."""

    async def main() -> None:
        async with (
            redisopt.connect_async(fragile.url) as own,
            redisopt.AsyncThrottler(own, "line", max_concurrent=1, on_unavailable="allow") as throttler,
        ):
            lease = await throttler.acquire()
            waiting = asyncio.create_task(waits(throttler))
            while (await throttler.metrics()).queue_length != 1:
                await asyncio.sleep(0.01)
            with fragile.away("cut off"):
                permit = await waiting
                assert not permit.charged
            while throttler.outage is not None:
                await asyncio.sleep(0.01)
            assert await lease.release()
            async with throttler.acquire(timeout=2) as next_one:
                assert next_one.charged

    async def waits(throttler: redisopt.AsyncThrottler) -> redisopt.AsyncPermit:
        return await throttler.acquire()

    asyncio.run(main())


def test_a_limit_that_the_fleet_was_told_holds_here_as_well(make: Callable[..., Face], fragile: FragileServer) -> None:
    """But what each process does without Redis is its own affair."""
    face = make(fragile.url, name="told", rates=["2/h"], on_unavailable="local")
    face.wait_for(face.real.update(rates=["5/h"]))
    with pytest.raises(ValueError, match="on_unavailable is each process's own"):
        face.wait_for(face.real.update(on_unavailable="allow"))
    assert face.try_acquire()
    with fragile.away("hung"):
        assert [bool(face.try_acquire()) for _ in range(5)] == [True] * 4 + [False]


def test_how_many_processes_there_are_is_asked_once_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each key, by calls that ask Redis anyway; never by one that comes while the throttle goes on without Redis."""
    now = 1000.0
    monkeypatch.setattr(redisopt.throttle.fleet, "time", SimpleNamespace(monotonic=lambda: now))
    plans = bare_plans(ThrottleConfig(rates=("10/s",), on_unavailable="local"))  # type: ignore[arg-type]

    def scripts(key: str, *, away: bool = False) -> list[str]:
        called: list[str] = []
        plan = plans.outage_policy.try_acquire(plans.deciding.try_acquire(1, key, None), 1, key, None)
        step: Any = next(plan)
        with contextlib.suppress(StopIteration):
            while len(called) < 9:
                called.append(step.script)
                if away:
                    step = plan.throw(redisopt.Unavailable("away"))
                step = plan.send(step.parse(b"3" if step.script == "throttle_fleet" else b"1 1000 1 1"))
        return called

    assert scripts("a") == ["throttle_fleet", "throttle_acquire"]
    assert scripts("a") == ["throttle_acquire"]
    assert scripts("b") == ["throttle_fleet", "throttle_acquire"]
    now += 9.9
    assert scripts("a") == ["throttle_acquire"]
    now += 0.2
    assert scripts("a", away=True) == ["throttle_fleet"]
    now += 10
    assert scripts("a") == ["throttle_acquire"]
    assert scripts("a") == ["throttle_fleet", "throttle_acquire"]
