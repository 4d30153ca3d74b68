"""What many callers cost: tasks that ask at once, shares taken ahead, and callers that wait for a lease. Run: `make bench`."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import threading
import time
from itertools import pairwise
from typing import Any

import redis

import redisopt
from benchmarks.async_peers import Ask, async_peers
from benchmarks.peers import peers
from redisopt.server import EmbeddedServer

TASKS, SECONDS = 256, 1.5
FLEET: Any = multiprocessing.get_context("forkserver")


def main() -> None:
    """Print every figure."""
    with EmbeddedServer() as server:
        asyncio.run(tasks(server.url))
        prefetch(server.url)
        hand_over(server.url)
        waiters(server.url)


async def tasks(url: str) -> None:
    """Decisions a second of many tasks on one limiter, each contender in turn, twice."""
    async with (
        redisopt.connect_async(url) as client,
        redisopt.AsyncThrottler(client, "tasks", rates=["10000000/s"]) as throttler,
    ):
        contenders: dict[str, Ask] = {"redisopt": throttler.try_acquire, **await async_peers(url)}
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(2):
            for name, ask in contenders.items():
                rates[name].append(await _per_second(ask))
    best = max((max(found) for name, found in rates.items() if name != "redisopt"), default=0.0)
    print(f"{TASKS} asyncio tasks on one limiter, decisions a second")
    for name, found in rates.items():
        print(f"  {name:<32} {max(found):9,.0f}" + (f"  x {max(found) / best:.1f} of the best peer" if best else ""))


async def _per_second(ask: Ask) -> float:
    count = 0
    stop = time.monotonic() + SECONDS

    async def work() -> None:
        nonlocal count
        while time.monotonic() < stop:
            await ask()
            count += 1

    await ask()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    return count / SECONDS


def prefetch(url: str) -> None:
    """p50 of `acquire` with a share taken ahead, against the peers' p50."""
    client = redis.from_url(url)
    throttler = redisopt.Throttler(client, "prefetch", rates=["1000000/s"], prefetch=0.05)
    p50 = {"redisopt, prefetch=0.05": _p50(throttler.acquire, 20_000)}
    p50 |= {name: _p50(ask, 2_000) for name, ask in peers(url).items()}
    best = min((found for name, found in p50.items() if not name.startswith("redisopt")), default=0.0)
    print("\nacquire with prefetch, p50")
    for name, found in p50.items():
        print(f"  {name:<32} {found:9.1f} us" + (f"  1/{best / found:.0f} of the best peer" if best else ""))
    throttler.close()
    client.close()


def _p50(call: Any, times: int) -> float:
    for _ in range(200):
        call()
    taken = []
    for _ in range(times):
        started = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - started)
    return statistics.median(taken) / 1000


def _hold(url: str, rounds: int, results: Any) -> None:
    throttler = redisopt.Throttler(redisopt.connect(url), "hand-over", max_concurrent=1)
    for _ in range(rounds):
        permit = throttler.acquire(timeout=60)
        granted = time.time()
        time.sleep(0.003)
        released = time.time()
        permit.release()
        results.put((granted, released))
    throttler.close()


def hand_over(url: str) -> None:
    """From the release of one process to the return of another's acquire, with six processes on one lease."""
    client: Any = redis.from_url(url)
    client.config_resetstat()
    results = FLEET.Queue()
    fleet = [FLEET.Process(target=_hold, args=(url, 100, results)) for _ in range(6)]
    for process in fleet:
        process.start()
    held = sorted(results.get() for _ in range(600))
    for process in fleet:
        process.join()
    gaps = sorted(1000 * (later[0] - earlier[1]) for earlier, later in pairwise(held[12:]))
    print("\nhand-over of a lease, six processes")
    print(
        f"  p50 {gaps[len(gaps) // 2]:.2f} ms, p99 {gaps[int(len(gaps) * 0.99)]:.2f} ms, script calls per grant {_calls(client) / 600:.2f}"
    )
    client.close()


def waiters(url: str) -> None:
    """60 threads, each with a client of its own, on four leases that are held 20 ms."""
    client: Any = redis.from_url(url)
    throttlers = [redisopt.Throttler(redisopt.connect(url), "waiters", max_concurrent=4) for _ in range(60)]
    client.config_resetstat()
    served: list[tuple[int, float]] = []

    def work(throttler: redisopt.Throttler) -> None:
        with throttler.acquire(timeout=60) as permit:
            served.append((permit.fence, permit.granted_at - permit.waited))
            time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(throttler,)) for throttler in throttlers]
    for thread in threads:
        thread.start()
        time.sleep(0.002)
    for thread in threads:
        thread.join()
    inversions = sum(earlier[1] > later[1] + 0.001 for earlier, later in pairwise(sorted(served)))
    print("\n60 waiters on four leases")
    print(f"  script calls per grant {_calls(client) / 60:.2f}, inversions {inversions}")
    for throttler in throttlers:
        throttler.close()
    client.close()


def _calls(client: Any) -> int:
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


if __name__ == "__main__":
    main()
