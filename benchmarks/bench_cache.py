"""What a cached call costs, and how soon those that wait have the value, as ratios and times measured in one run.

Contenders run in turn, a block of calls each, for many rounds, and a ratio is the median over the rounds of its p50 over the p50
of the no-op in the same round. Run: `make bench`.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

import redisopt
from benchmarks.bench_throttle import _p50
from redisopt.server import EmbeddedServer

ROUNDS = 40
BLOCK = 200
WAITS = 40


def main() -> None:
    """Print every figure."""
    with EmbeddedServer() as server:
        client = redis.from_url(server.url)
        print(f"{server.binary.version}, redis-py {redis.__version__}, {ROUNDS} rounds of {BLOCK} calls each\n")
        latency(client)
        memory(client)
        waking(server.url)
        client.close()


def latency(client: redis.Redis) -> None:
    """A hit, p50 over a no-op EVALSHA through the same client; and what redis-py's own GET of the bytes takes."""
    no_op = client.script_load("return 1")
    value = {"doc": 7, "title": "a payload of about a hundred bytes, as an answer of a service would have it"}
    cache = redisopt.Cache(client, "bench", ttl=3600, command_timeout=5)
    near = redisopt.Cache(client, "near", ttl=3600, local_ttl=3600, command_timeout=5)
    cache.set("tagged", value, tags=["a", "b"])
    cache.set("plain", value)
    near.set("plain", value)
    time.sleep(0.5)  # until it listens: then its copies hold
    contenders: dict[str, Callable[[], Any]] = {
        "no-op EVALSHA": lambda: client.evalsha(no_op, 0),
        "GET of the bytes": lambda: client.get("redisopt:v1:{cache:bench:plain}:value"),
        "get": lambda: cache.get("plain"),
        "get_or_compute, a hit": lambda: cache.get_or_compute("plain", _never),
        "the same with two tags": lambda: cache.get_or_compute("tagged", _never),
        "the same from a copy": lambda: near.get_or_compute("plain", _never),
    }
    p50: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            p50[name].append(_p50(call, BLOCK))
    print("hits against the no-op EVALSHA (p50)")
    for name, figures in p50.items():
        ratio = statistics.median(figure / base for figure, base in zip(figures, p50["no-op EVALSHA"], strict=True))
        print(f"  {name:<24} {statistics.median(figures) / 1000:7.1f} us   x {ratio:.2f}")
    client.config_resetstat()
    for _ in range(2000):
        cache.get("plain")
    ran: Any = client.info("commandstats")
    print(f"  server time of a hit     {ran['cmdstat_evalsha']['usec_per_call']:7.1f} us\n")
    cache.close()
    near.close()


def _never() -> Any:
    raise AssertionError


def memory(client: redis.Redis) -> None:
    """What a value of 100 bytes takes in Redis."""
    cache = redisopt.Cache(client, "memory", ttl=3600, command_timeout=5)
    cache.get_or_compute("city:4711", lambda: "x" * 98)
    parts = [f"redisopt:v1:{{cache:memory:city%3A4711}}:{part}" for part in ("entry", "value")]
    sizes: list[Any] = [client.memory_usage(part) for part in parts]
    print(f"a value of 100 bytes takes {sum(sizes)} bytes in Redis: {sizes[0]} and {sizes[1]}\n")
    cache.close()


def waking(url: str) -> None:
    """How long after it is kept a value reaches a caller of another client that waits for it."""
    clients = [redis.from_url(url) for _ in range(2)]
    first, second = (redisopt.Cache(client, "waking", command_timeout=5) for client in clients)
    late: list[float] = []
    for number in range(WAITS):

        def compute() -> float:
            time.sleep(0.05)
            return time.perf_counter()

        leader = threading.Thread(target=first.get_or_compute, args=(f"k{number}", compute))
        leader.start()
        time.sleep(0.02)
        done = second.get_or_compute(f"k{number}", _never)
        late.append((time.perf_counter() - done) * 1000)
        leader.join()
    late = sorted(late[1:])  # the first one connects
    print(f"a value reaches who waits for it: p50 {late[len(late) // 2]:.2f} ms   max {late[-1]:.2f} ms")
    first.close()
    second.close()
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
