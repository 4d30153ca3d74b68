"""What a process keeps in the background, when something goes wrong there: leases stay, debts are paid, nobody hangs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
import redisopt.throttle.keeping
import redisopt.wakes
from tests.faces import Face
from tests.fragile import FragileServer
from tests.proxy import Fate, Proxy, Words, is_script
from tests.servers import RunningServer
from tests.turns import NOTHING, TERMS, left_over, part
from tests.waiting import wait_until

Make = Callable[..., Face]


def cut(fate: Fate) -> Callable[[Words], Fate]:
    """That fate for all script calls."""
    return lambda words: fate if is_script(words) else Fate.PASS


# --- debts


def test_a_release_that_failed_is_made_good_as_soon_as_redis_answers(
    server: RunningServer, client: redis.Redis
) -> None:
    """Not with the next renewal, which may be minutes away."""
    with Proxy(server.url) as proxy:
        own = redis.from_url(proxy.url)
        throttler = redisopt.Throttler(own, "test", max_concurrent=1, lease_ttl=600, command_timeout=0.3)
        permit = throttler.acquire()
        with proxy.during(cut(Fate.CUT_REQUEST)), pytest.raises(redisopt.Unavailable):
            permit.release()
        wait_until(lambda: left_over(client) == NOTHING, 10)
        throttler.close()


@pytest.mark.parametrize("priority", [0, 5])
def test_a_call_whose_reply_is_lost_leaves_nobody_in_the_line(
    server: RunningServer, client: redis.Redis, priority: int
) -> None:
    """Nor a lease, also where there are only rates."""
    for terms in ({"rates": ["1/h"]}, {"max_concurrent": 1, "lease_ttl": 600}):
        client.flushdb()
        busy = redisopt.Throttler(client, "test", **TERMS | terms)
        permit = busy.acquire()
        with Proxy(server.url) as proxy:
            own = redis.from_url(proxy.url)
            throttler = redisopt.Throttler(own, "test", command_timeout=0.3, **terms)
            with proxy.during(cut(Fate.CUT_REPLY)), pytest.raises(redisopt.Unavailable) as raised:
                throttler.acquire(priority=priority)
            assert raised.value.sent
            wait_until(lambda: not throttler._plans.keeping.owed(""), 10)  # noqa: B023 - it is called here
            assert part(client, "line") == {}
            throttler.close()
        permit.release()
        busy.close()


def test_what_was_granted_together_and_never_heard_of_comes_back(server: RunningServer, client: redis.Redis) -> None:
    """All leases of an acquire_all whose reply is lost for good."""
    with Proxy(server.url) as proxy:
        own = redis.from_url(proxy.url)
        terms: Any = {"max_concurrent": 1, "lease_ttl": 600, "command_timeout": 0.3}
        first, second = (redisopt.Throttler(own, name, **terms) for name in ("first", "second"))
        redisopt.acquire_all([first.request(), second.request()]).release()
        with proxy.during(cut(Fate.CUT_REPLY)), pytest.raises(redisopt.Unavailable):
            redisopt.acquire_all([first.request(), second.request()])
        wait_until(
            lambda: [part(client, "state", limiter=name)["in_use"] for name in ("first", "second")] == ["0"] * 2, 10
        )
        first.close()
        second.close()


def test_calls_that_redis_refused_owe_nothing_and_cost_no_lease(server: RunningServer, client: redis.Redis) -> None:
    """A full server refuses whole: whoever asks it again and again must not keep this process from its renewals."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=9, lease_ttl=1.0, on_unavailable="allow", **TERMS)
    permit = throttler.acquire()
    admin: Any = client
    admin.config_set("maxmemory", 1)
    try:
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            assert not permit.lost
            assert throttler.try_acquire()
    finally:
        admin.config_set("maxmemory", 0)
    assert not throttler._plans.keeping.owed("")
    assert permit.release()
    throttler.close()


def test_an_error_says_whether_the_call_may_have_taken_effect(server: RunningServer, client: redis.Redis) -> None:
    with Proxy(server.url) as proxy:
        own = redis.from_url(proxy.url)
        throttler = redisopt.Throttler(own, "test", rates=["9/s"], command_timeout=0.2)
        throttler.try_acquire()
        with proxy.during(cut(Fate.CUT_REPLY)), pytest.raises(redisopt.Unavailable) as lost:
            throttler.try_acquire()
        wait_until(lambda: throttler.outage is None)
        throttler.close()
    nowhere = redis.Redis(unix_socket_path="/nonexistent/redis.sock")
    throttler = redisopt.Throttler(nowhere, "test", rates=["9/s"], command_timeout=0.2)
    with throttler, pytest.raises(redisopt.Unavailable) as unreachable:
        throttler.try_acquire()
    assert (lost.value.sent, unreachable.value.sent) == (True, False)


# --- event loops and threads


def test_leases_outlive_the_event_loop_that_another_began_in(server: RunningServer, client: redis.Redis) -> None:
    """Two loops in two threads: each renews its own, so that the end of one costs the other nothing."""
    throttler = redisopt.AsyncThrottler(
        redis.asyncio.from_url(server.url), "test", max_concurrent=3, lease_ttl=0.6, **TERMS
    )
    first_holds, second_holds = threading.Event(), threading.Event()
    lost: list[bool] = []

    async def first() -> None:
        permit = await throttler.acquire()
        first_holds.set()
        await asyncio.to_thread(second_holds.wait, 10)
        await permit.release()

    async def second() -> None:
        await asyncio.to_thread(first_holds.wait, 10)
        permit = await throttler.acquire()
        second_holds.set()
        thread = threads[0]
        await asyncio.to_thread(thread.join, 10)
        await asyncio.sleep(1.2)  # two lease_ttl: without a renewal it is over
        lost.append(permit.lost)
        await permit.release()

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert lost == [False]


def test_a_new_event_loop_renews_what_a_closed_one_held(server: RunningServer, client: redis.Redis) -> None:
    async def run() -> list[bool]:
        return [held.lost, (await throttler.acquire()).lost, await _lost_after(held, 1.2)]

    async def _lost_after(permit: redisopt.AsyncPermit, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return permit.lost

    async def acquire() -> redisopt.AsyncPermit:
        return await throttler.acquire()

    throttler = redisopt.AsyncThrottler(
        redis.asyncio.from_url(server.url), "test", max_concurrent=3, lease_ttl=0.6, **TERMS
    )
    held = asyncio.run(acquire())
    assert asyncio.run(run()) == [False, False, False]


def test_without_a_thread_to_be_had_a_lease_is_given_all_the_same(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and the next that is to be kept tries again, for all."""
    real = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name.startswith(("redisopt-keep", "redisopt-wakes")):
            raise RuntimeError("can't start new thread")
        real(thread)

    throttler = redisopt.Throttler(client, "test", max_concurrent=2, lease_ttl=0.6, **TERMS)
    monkeypatch.setattr(threading.Thread, "start", fail)
    first = throttler.acquire()
    assert "can't start new thread" in caplog.text
    monkeypatch.undo()

    second = throttler.acquire()
    time.sleep(1.2)  # two lease_ttl
    assert [first.lost, second.lost] == [False, False]
    assert throttler.metrics().active_operations == 2
    with pytest.raises(redisopt.ThrottleTimeout):
        throttler.acquire(timeout=0.1)  # it can be waited for as well
    throttler.close()


def test_the_thread_that_listens_survives_that_its_connection_is_closed_under_it(client: redis.Redis) -> None:
    """redis-py closes a connection when a write on it fails, in whichever thread that was."""
    throttler = redisopt.Throttler(client, "test", max_concurrent=1, **TERMS)
    permit = throttler.acquire()
    with pytest.raises(redisopt.ThrottleTimeout):
        throttler.acquire(timeout=0.2)
    wakes = redisopt.runner._wakes[client]
    wait_until(lambda: wakes._ears.listening)
    for _ in range(3):
        wait_until(lambda: wakes._connection is not None)
        with contextlib.suppress(AttributeError):  # it is about to be made anew
            wakes._connection.disconnect()
        time.sleep(0.05)
    wait_until(lambda: wakes._ears.listening, 10)

    threading.Timer(0.2, permit.release).start()
    began = time.monotonic()
    throttler.acquire(timeout=10).release()
    assert time.monotonic() - began < 5
    throttler.close()


def test_limiters_that_come_and_go_are_not_listened_to_for_ever(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redisopt.wakes, "MAX_CHANNELS", 5)
    for number in range(20):
        with redisopt.Throttler(client, f"tenant {number}", rates=["1/200ms"], **TERMS) as throttler:
            throttler.acquire()
            throttler.acquire()  # waits, and listens
    channels: Any = client
    wait_until(lambda: len(channels.pubsub_channels("redisopt:*")) <= 7)


def test_a_permit_may_be_collected_in_the_middle_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python collects cycles at any allocation, also of a thread that holds the lock of those who wait."""
    fragile = FragileServer()
    throttler = redisopt.Throttler(
        redis.from_url(fragile.url), "test", max_concurrent=1, on_unavailable="local", command_timeout=0.2
    )
    throttler.acquire().release()
    fragile.stop()
    cycle: dict[str, Any] = {"permit": throttler.acquire()}
    cycle["itself"] = cycle
    assert not cycle["permit"].charged
    del cycle
    add = redisopt.wakes.Ears.add

    def collecting(*args: Any) -> None:
        add(*args)
        gc.collect()

    monkeypatch.setattr(redisopt.wakes.Ears, "add", collecting)
    granted: list[Any] = []
    thread = threading.Thread(target=lambda: granted.append(throttler.acquire(timeout=5)), daemon=True)
    thread.start()
    thread.join(10)
    assert len(granted) == 1
    throttler.close()


# --- what others cannot take, and callbacks that end the process


def test_an_update_that_a_process_cannot_take_leaves_it_as_it_was(
    make_throttler: Make, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Its leases are renewed and released, its calls go on by what it had, and it says so once."""
    ours = make_throttler(rates=["10/s"], precision=0.5, max_concurrent=5, lease_ttl=1.0)
    permit = ours.acquire()
    with redisopt.Throttler(client, "test", rates=["10/s"], max_concurrent=5) as other:
        other.update(rates=["5/100ms"])
        until = time.monotonic() + 1.2  # over lease_ttl
        while time.monotonic() < until:
            ours.peek()  # which lets an event loop run
        assert not permit.lost
        assert ours.try_acquire()
        assert ours.real.config.rates[0].limit == 10
        assert ours.metrics().conflicts == 1
        assert ours.release(permit)
        assert caplog.text.count("cannot take") == 1
        other.update()
    assert ours.try_acquire()


def test_a_callback_that_ends_the_process_leaves_nobody_in_the_line(make_throttler: Make, client: redis.Redis) -> None:
    def leave(_: int) -> None:
        raise SystemExit

    throttler = make_throttler(max_concurrent=1, on_throttle=leave)
    permit = throttler.acquire()
    with pytest.raises(SystemExit):
        throttler.acquire(timeout=5)
    assert part(client, "line") == {}
    assert throttler.release(permit)


def test_a_forked_child_refunds_nothing_of_its_parents(client: redis.Redis) -> None:
    throttler = redisopt.Throttler(client, "test", rates=["10/h"], **TERMS)
    first, second = throttler.acquire(5), throttler.acquire(5)
    child = os.fork()
    if not child:
        os._exit(int(first.refund()) + 2 * int(first.settle(1)))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert first.refund()
    assert throttler.peek().remaining == 5
    assert second.settle(5)
    throttler.close()


async def test_a_coroutine_that_is_closed_is_not_charged(server: RunningServer, client: redis.Redis) -> None:
    async with (
        redis.asyncio.from_url(server.url) as own,
        redisopt.AsyncThrottler(own, "test", rates=["10/h"], **TERMS) as throttler,
    ):
        await throttler.peek()
        calls: list[Any] = [throttler.acquire(), throttler.try_acquire()]
        for call in calls:
            call.send(None)
        await asyncio.sleep(0)  # so that it is sent
        for call in calls:
            call.close()
        for _ in range(100):
            if (await throttler.peek()).remaining == 10:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(await throttler.peek())


def test_a_slow_fetch_of_one_key_holds_up_no_other(server: RunningServer, client: redis.Redis) -> None:
    """Threads wait for the one that takes a share of their key; of another key's they know nothing."""
    shares = redisopt.throttle.keeping.Keeping().shares
    with shares.fetching("a"):
        assert shares.fetching("b").acquire(timeout=0)
        assert not shares.fetching("a").acquire(timeout=0)


def test_limits_of_leases_have_headers_too(make_throttler: Make) -> None:
    decision = make_throttler(rates=["10/s"], max_concurrent=4).try_acquire()
    assert decision.headers()["RateLimit-Policy"] == '"default:10/s";q=10;w=1, "default:concurrency";q=4'


def test_the_minimum_counts_in_shadow_too(make_throttler: Make) -> None:
    throttler = make_throttler(rates=["10/s"], shadow=True)
    with pytest.raises(ValueError, match="minimum"):
        throttler.try_acquire(5, minimum="nonsense")
    assert throttler.try_acquire(8).permit.cost == 8
    assert throttler.try_acquire(8, minimum=1).permit.cost == 2
