"""What it costs to measure: a `track`, a flush, a report, and the memory of a name over a full day. Run: `make bench`.

Durations are lognormal, 99 % of them within two decades. What is compared is measured in turn, a block each, for many rounds.
"""

from __future__ import annotations

import gc
import random
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any
from unittest import mock

import redis

import redisopt
from benchmarks.bench_throttle import _script_calls
from redisopt import commands, driving, runner
from redisopt.monitor.history import History
from redisopt.monitor.packing import pack, unpack
from redisopt.monitor.series import Series
from redisopt.server import EmbeddedServer
from redisopt.testing import server_clock

SIGMA = 0.9
PATIENT: Any = {"flush_interval": 3600, "command_timeout": 30}


def main() -> None:
    """Print every figure."""
    random.seed(1)
    pool = [random.lognormvariate(-3, SIGMA) for _ in range(100_000)]
    with EmbeddedServer() as server, redis.from_url(server.url) as client:
        print(f"{server.binary.version}, redis-py {redis.__version__}\n")
        for figure in (track, flush, minutes_end, memory, hot_path):
            figure(client, pool)
            client.flushall()


def best(call: Callable[[], Any], times: int, rounds: int = 15) -> tuple[float, float]:
    """Microseconds of one call, the fastest block and the median one."""
    blocks = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(times):
            call()
        blocks.append((time.perf_counter() - began) / times * 1e6)
    return min(blocks), statistics.median(blocks)


def track(client: redis.Redis, pool: list[float]) -> None:
    """In memory, by one thread and by four."""
    monitor = redisopt.PerformanceMonitor(client, "track", **PATIENT)
    labels = {"region": "eu"}

    def block() -> None:
        with monitor.measure("block"):
            pass

    calls: dict[str, Callable[[], Any]] = {
        "an empty call": lambda: None,
        "track": lambda: monitor.track("op", 0.0123),
        "track with a label": lambda: monitor.track("op", 0.0123, None, labels),
        "measure, an empty block": block,
    }
    print("measuring, microseconds a call           best   median")
    for name, call in calls.items():
        print("  {:<36} {:7.2f}  {:7.2f}".format(name, *best(call, 20_000)))

    def work() -> None:
        for seconds in pool:
            monitor.track("op", seconds)

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"  four threads, a call of any          {(time.perf_counter() - began) / 4 / len(pool) * 1e6:8.2f}\n")
    monitor.close()


def flush(client: redis.Redis, pool: list[float]) -> None:
    """A flush within a minute, of 50 durations for each name: the script's time by the server's own count, and the client's."""
    print("a flush, 50 durations a name             script calls   server us   us a name   client ms")
    for names in (1, 50, 1000):
        monitor = redisopt.PerformanceMonitor(client, f"flush {names}", **PATIENT)
        spent = []
        with server_clock(client), _script_calls(client) as calls:
            for _ in range(20):
                for name in range(names):
                    for seconds in random.choices(pool, k=50):
                        monitor.track(f"op {name}", seconds)
                began = time.perf_counter()
                monitor.flush()
                spent.append(time.perf_counter() - began)
        server = calls["usec"] / calls["calls"]
        name_us = server * calls["calls"] / 20 / names
        spent_ms = statistics.median(spent) * 1000
        print(f"  {names:>5} names {calls['calls'] / 20:31.0f} {server:13.0f} {name_us:11.1f} {spent_ms:11.1f}")
        monitor.close()
    print()


def minutes_end(client: redis.Redis, pool: list[float]) -> None:
    """The longest script call where minutes and hours end, of 500 names that two processes flush six times a minute."""
    monitors = [redisopt.PerformanceMonitor(client, "minutes", **PATIENT) for _ in range(2)]
    client.config_set("slowlog-log-slower-than", 0)
    client.config_set("slowlog-max-len", 10_000)
    with server_clock(client) as clock:
        for _ in range(5 * 6):
            for monitor in monitors:
                for name in range(500):
                    for seconds in random.choices(pool, k=20):
                        monitor.track(f"op {name}", seconds)
                monitor.flush()
            clock.advance(10)
        log: Any = client.slowlog_get(10_000)
        calls = sorted(entry["duration"] for entry in log if entry["command"].upper().startswith(b"EVALSHA"))
        for monitor in monitors:
            monitor.close()
    client.config_set("slowlog-log-slower-than", 10_000)
    print(
        "500 names, 20 durations each, through five minutes' ends: "
        f"script call p50 {calls[len(calls) // 2] / 1000:.1f} ms, longest {calls[-1] / 1000:.1f} ms\n"
    )


def memory(client: redis.Redis, pool: list[float]) -> None:
    """A name that was measured for a day and an hour, flushed four times a minute: in Redis, in the process, and its reports."""
    print(
        "a name after a full day         Redis bytes (minutes + hours)   in the process   report ms: minute, hour, day"
    )
    for rate in (1, 10, 100):
        monitor = redisopt.PerformanceMonitor(client, f"{rate}/s", **PATIENT)
        minute = [0]
        with server_clock(client) as clock, mock.patch("redisopt.monitor.plans._minute", lambda m=minute: m[0]):
            for _ in range(25 * 60):
                for _ in range(4):
                    for seconds in random.choices(pool, k=rate * 15):
                        monitor.track("op", seconds)
                    monitor.flush()
                    clock.advance(15)
                minute[0] += 1
            clock.advance(-15)
            tag = f"redisopt:v1:{{monitor:{rate}/s}}:"
            used = [client.memory_usage(f"{tag}{kind}:op", samples=0) or 0 for kind in ("minutes", "hours")]
            spent = []
            for window in ("minute", "hour", "day"):
                began = time.perf_counter()
                monitor.report("op", window)
                spent.append((time.perf_counter() - began) * 1000)
            local = copied(monitor._plans.tracking._members["op"])
            monitor.close()
        times = ", ".join(f"{each:.1f}" for each in spent)
        print(f"  {rate:>3} runs a second {sum(used):20,} ({used[0]:,} + {used[1]:,}) {local:16,}   {times}")
    example = {index: random.randrange(1, 50) for index in range(300, 560)}
    packed = pack(example)
    print(
        f"  260 buckets: {len(packed)} bytes, packed in {best(lambda: pack(example), 200)[0]:.0f} us, "
        f"unpacked in {best(lambda: unpack(packed), 200)[0]:.0f} us\n"
    )


def copied(series: Series) -> int:
    """The bytes of a name in the process, by those of a copy."""
    gc.collect()
    tracemalloc.start()
    twin = Series(str(series.name) + "x", str(series.member) + "x")
    twin.history = History()
    for kind in ("_minutes", "_hours"):
        setattr(twin.history, kind, [bytes(bytearray(each)) for each in getattr(series.history, kind)])
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used


def hot_path(client: redis.Redis, _: list[float]) -> None:
    """`try_acquire` with the runner's question whether anybody profiles, against one that does not ask."""
    throttler = redisopt.Throttler(client, "hot", rates=["1000000/s"], command_timeout=5)

    def unasked(self: Any, plan: Any) -> Any:
        if self._users is not self._links.users:
            self._enter()
        try:
            return driving.drive(plan, self._perform)
        except commands.Stopped as stopped:
            error = stopped.error
        raise error

    asked = runner.Runner.run

    def ratio(one: Any, other: Any) -> float:
        ratios = []
        for number in range(120):
            p50 = {}
            for turn, way in ((0, one), (1, other)) if number % 2 else ((1, other), (0, one)):
                with mock.patch.object(runner.Runner, "run", way):
                    p50[turn] = _p50(throttler.try_acquire)
            ratios.append(p50[0] / p50[1])
        return statistics.median(ratios)

    ratios = ratio(asked, unasked), ratio(asked, asked)
    plain = statistics.median(_p50(throttler.try_acquire) for _ in range(20))
    monitor = redisopt.PerformanceMonitor(client, "hot", **PATIENT)
    with monitor.profile("op"):
        profiled = statistics.median(_p50(throttler.try_acquire) for _ in range(20))
    print(
        f"try_acquire, p50 {plain:.1f} us, in a profile {profiled:.1f} us; asking whether anybody profiles x {ratios[0]:.3f} "
        f"(what differs in nothing x {ratios[1]:.3f})\n"
    )
    throttler.close()
    monitor.close()


def _p50(call: Callable[[], Any], times: int = 300) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1e6


if __name__ == "__main__":
    main()
