"""What a guarded call costs, as ratios measured in one run.

Contenders run in turn, a block of calls each, for many rounds, and a ratio is the median over the rounds of its p50 over the p50
of two no-ops in the same round. Run: `make bench`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import redis

import redisopt
from benchmarks.bench_throttle import _p50, _script_calls
from redisopt.server import EmbeddedServer

ROUNDS = 40
BLOCK = 200


def main() -> None:
    """Print every figure."""
    with EmbeddedServer() as server:
        client = redis.from_url(server.url)
        print(f"{server.binary.version}, redis-py {redis.__version__}, {ROUNDS} rounds of {BLOCK} calls each\n")
        latency(client)
        server_time(client)
        client.close()


def latency(client: redis.Redis) -> None:
    """`execute` of a function that does nothing, closed; and a refusal of an open one."""
    no_op = client.script_load("return 1")
    timed = redisopt.CircuitBreaker(client, "timed", window=30)
    counted = redisopt.CircuitBreaker(client, "counted", window_calls=100)
    forced = redisopt.CircuitBreaker(client, "forced")
    forced.force_open()

    def two_no_ops() -> None:
        client.evalsha(no_op, 0)
        client.evalsha(no_op, 0)

    def refused() -> None:
        try:
            forced.execute(int)
        except redisopt.CircuitOpen:
            return
        raise AssertionError

    contenders: dict[str, Callable[[], Any]] = {
        "two no-op EVALSHA": two_no_ops,
        "execute, time-based window": lambda: timed.execute(int),
        "execute, the last 100 calls": lambda: counted.execute(int),
        "a refusal (one script call)": refused,
    }
    p50: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            p50[name].append(_p50(call, BLOCK))
    print("execute against two no-op EVALSHA (p50)")
    for name, figures in p50.items():
        ratio = statistics.median(figure / base for figure, base in zip(figures, p50["two no-op EVALSHA"], strict=True))
        print(f"  {name:<32} {statistics.median(figures) / 1000:7.1f} us   x {ratio:.2f}")
    print()


def server_time(client: redis.Redis) -> None:
    """Of an `allow` and of the record of its end, by the server's own count, after few calls and after many."""
    print("server time per script call (commandstats)     allow      record")
    for before, window in ((10, {"window": 0.5}), (20_000, {"window": 0.5}), (20_000, {"window_calls": 10_000})):
        breaker = redisopt.CircuitBreaker(client, f"{before} {window}".translate({123: None, 125: None}), **window)
        for _ in range(before):
            breaker.execute(int)
        with _script_calls(client) as allows:
            passages = [breaker.allow() for _ in range(1000)]
        with _script_calls(client) as records:
            for passage in passages:
                passage.succeed()
        figures = (allows["usec"] / allows["calls"], records["usec"] / records["calls"])
        print(f"  {f'after {before:,} calls, {window}':<42} {figures[0]:7.1f} us {figures[1]:7.1f} us")
    print()


if __name__ == "__main__":
    main()
