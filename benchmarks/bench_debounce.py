"""What a debounced call costs, and how late a run is, as ratios and times measured in one run.

Contenders run in turn, a block of calls each, for many rounds, and a ratio is the median over the rounds of its p50 over the p50
of the no-op in the same round. Run: `make bench`.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

import redisopt
from benchmarks.bench_throttle import _p50, _script_calls
from redisopt.debounce.executing import Claims
from redisopt.server import EmbeddedServer

ROUNDS = 40
BLOCK = 200
KEYS = 1000
_numbers = itertools.count(1)


def main() -> None:
    """Print every figure."""
    with EmbeddedServer() as server:
        client = redis.from_url(server.url)
        print(f"{server.binary.version}, redis-py {redis.__version__}, {ROUNDS} rounds of {BLOCK} calls each\n")
        latency(client)
        client.flushall()
        growth(client)
        client.flushall()
        lateness(client)
        client.close()


def latency(client: redis.Redis) -> None:
    """`submit`, p50 over a no-op EVALSHA through the same client: into a window that is pending, and into one that it opens."""
    no_op = client.script_load("return 1")
    hot = redisopt.Debouncer(client, "hot", wait=60)
    cold = redisopt.Debouncer(client, "cold", wait=60)
    every = redisopt.Debouncer(client, "every", wait=60, collect="all")
    payload = {"doc": 7, "title": "a payload of about a hundred bytes, as an event of an application would have it"}
    contenders: dict[str, Callable[[], Any]] = {
        "no-op EVALSHA": lambda: client.evalsha(no_op, 0),
        "submit, one key": lambda: hot.submit(payload, "doc:7"),
        "submit, a new key each time": lambda: cold.submit(payload, f"doc:{next(_numbers)}"),
        'submit, one key, collect="all"': lambda: every.submit(payload, "doc:7"),
    }
    p50: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            p50[name].append(_p50(call, BLOCK))
    print("submit against the no-op EVALSHA (p50)")
    for name, figures in p50.items():
        ratio = statistics.median(figure / base for figure, base in zip(figures, p50["no-op EVALSHA"], strict=True))
        print(f"  {name:<32} {statistics.median(figures) / 1000:7.1f} us   x {ratio:.2f}")
    print()


def growth(client: redis.Redis) -> None:
    """Server time of `submit` and of a claim with few and with many keys pending, by the server's own count."""
    memory: Any = client.info("memory")
    print(f"server time per call (commandstats; {memory['mem_allocator']})")
    print("                                         submit               claim")
    first: tuple[float, float] | None = None
    for pending in (10, 1_000, 100_000):
        debouncer = redisopt.Debouncer(client, f"pending {pending}", wait=600, lease_ttl=3600, command_timeout=5)
        plans, its = debouncer._plans, Claims()
        for number in range(pending):
            debouncer.submit(None, f"waits {number}")
        time.sleep(1)  # the server goes on growing its tables meanwhile, and counts that as our calls'
        figures = []
        for round_ in range(5):
            with _script_calls(client) as submits:
                for number in range(200):
                    debouncer.submit(None, f"due {round_} {number}", wait=0)
            with _script_calls(client) as claims:
                for _ in range(200):
                    _, runs = debouncer._runner.run(plans.executing.claim(0, 1, its))
                    assert len(runs) == 1
                    plans.executing.leases.drop(runs[0].claimed.place.tag, runs[0])
            figures.append((submits["usec"] / submits["calls"], claims["usec"] / claims["calls"]))
        submit, claim = (statistics.median(each) for each in zip(*figures, strict=True))
        first = first or (submit, claim)
        ratios = f"{submit:6.1f} us  x {submit / first[0]:.2f}   {claim:6.1f} us  x {claim / first[1]:.2f}"
        print(f"  {f'{pending:,} keys pending':<36} {ratios}")
    print()


def lateness(client: redis.Redis) -> None:
    """How much later than due a run begins, of 1,000 keys that become due within two seconds, by the server's clock."""
    late: list[float] = []
    done = threading.Semaphore(0)
    with redisopt.Debouncer(client, "lateness", wait=0.5, command_timeout=5) as debouncer:

        @debouncer.handler
        def note(due_ms: int) -> None:
            seconds, micros = client.time()
            late.append(seconds * 1000 + micros / 1000 - due_ms)
            done.release()

        with debouncer.worker():
            began = time.monotonic()
            for number in range(KEYS):
                time.sleep(max(0.0, began + number * 2 / KEYS - time.monotonic()))
                seconds, micros = client.time()
                debouncer.submit(seconds * 1000 + micros // 1000 + 500, f"doc:{number}")
            for _ in range(KEYS):
                done.acquire()
    late.sort()
    print(f"{KEYS:,} keys, a worker with one thread: the handler begins so much later than due")
    print(
        f"  p50 {late[KEYS // 2]:.1f} ms   p99 {late[KEYS * 99 // 100]:.1f} ms   max {late[-1]:.1f} ms   min {late[0]:.1f} ms\n"
    )


if __name__ == "__main__":
    main()
