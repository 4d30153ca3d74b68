"""A fleet for tests: processes that start at one moment, threads, forks, and what a limiter then holds."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import redis

import redisopt
from redisopt import keys

LIMIT = 1_000_000
PATIENT: Any = {"command_timeout": 10.0}  # the machine may be busy, and that is not what is tested here
PLENTY: Any = {"rates": [f"{LIMIT}/h"], **PATIENT}
SOAK = float(os.environ.get("REDISOPT_TEST_SOAK", "0"))

FLEET: Any = multiprocessing.get_context("forkserver")  # forks from a clean process, and imports only once
FLEET.set_forkserver_preload(["redisopt", "redis.asyncio", "pytest"])
FORK: Any = multiprocessing.get_context("fork")

_barrier: Any = None


def wait_for_all() -> None:
    """Go on when all members of the fleet are here."""
    _barrier.wait()


def _join_fleet(barrier: Any) -> None:
    global _barrier
    _barrier = barrier
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


def run_fleet(work: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    """Call `work` in a process for each of the arguments; `work` waits for the others with `wait_for_all`."""
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


def charged(throttler: redisopt.Throttler) -> int:
    """What the logs of a limiter of plenty hold."""
    return LIMIT - throttler.peek().remaining


def lanes(client: redis.Redis) -> list[str]:
    """The lanes that the limiter remembers."""
    state: Any = client.hkeys(f"{keys.tag('throttle', 'fleet')}state")
    return [name.decode().removeprefix("lane:") for name in state if name.startswith(b"lane:")]


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
