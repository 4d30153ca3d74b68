"""A forked child is another process: it has a name of its own, and nothing of its parent's but the throttler."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import events, spans
from redisopt.identity import process_id
from tests.fleet import LIMIT, PLENTY, charged, fork_each, lanes, permit_of
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet


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


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_that_closes_its_throttler_leaves_no_connection_open(
    server: RunningServer, client: redis.Redis
) -> None:
    """The other throttlers of its parent, which it never used, do not keep them open; its own calls went on as ever."""
    throttler, other = (redisopt.Throttler(client, name, **PLENTY) for name in ("fleet", "other"))
    assert throttler.try_acquire()
    assert other.try_acquire()

    def be_a_child(results: Any) -> None:
        with redis.from_url(server.url) as watcher:
            before = watcher.info("clients")["connected_clients"]
            ids = [permit_of(throttler.try_acquire()).id for _ in range(5)]
            assert watcher.info("clients")["connected_clients"] == before + 1, "each call made a connection"
            throttler.close()
            wait_until(lambda: watcher.info("clients")["connected_clients"] == before)
        results.send((process_id(), ids))

    ids: list[str] = []
    fork_each([be_a_child], ids)
    assert len(ids) == 5
    assert charged(throttler) == 6
    throttler.close()
    other.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("held", [spans, events], ids=["spans", "events"])
def test_a_child_is_not_held_up_by_what_a_thread_of_its_parent_was_doing(held: Any, client: redis.Redis) -> None:
    """Forked at the instant at which another thread began to profile, or to add a hook."""
    monitor = redisopt.PerformanceMonitor(client, "fleet", flush_interval=3600)
    holds, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with held._lock:
            holds.set()
            go_on.wait(60)

    def be_a_child(results: Any) -> None:
        signal.alarm(30)  # ends it where it hangs
        with monitor.profile("op"):
            redisopt.add_hook(lambda _: None)
        results.send((process_id(), []))

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(20)
    try:
        fork_each([be_a_child], [])
    finally:
        go_on.set()
        thread.join()
        monitor.close()
