"""What a decision costs, as ratios measured in one run: against a script that does nothing, and against the peers.

Every contender runs in turn, a block of calls each, many rounds; a ratio is the median over the rounds of its p50 over
the p50 of the no-op in the same round. So a drift of the machine hits all alike. Run: `make bench`.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import redis

import redisopt
from benchmarks.peers import peers
from redisopt import wire
from redisopt.commands import Command
from redisopt.scripts import script
from redisopt.server import EmbeddedServer

ROUNDS = 60
BLOCK = 200
_numbers = itertools.count(1)


def main() -> None:
    """Print every figure."""
    with EmbeddedServer() as server:
        client = redis.from_url(server.url)
        print(f"{server.binary.version}, redis-py {redis.__version__}, {ROUNDS} rounds of {BLOCK} calls each\n")
        latency(client, server.url)
        server_time(client)
        memory(client)
        waiters(client, server.url)
        client.close()


def latency(client: redis.Redis, url: str) -> None:
    """Uncontended `try_acquire`, p50 over a no-op EVALSHA through the same client."""
    no_op = client.script_load("return 1")
    one = redisopt.Throttler(client, "one-rate", rates=["10000000/s"])
    two = redisopt.Throttler(client, "two-rates", rates=["10000000/s", "100000000/h"])
    contenders: dict[str, Callable[[], Any]] = {
        "no-op EVALSHA": lambda: client.evalsha(no_op, 0),
        "redisopt, one rate": one.try_acquire,
        "redisopt, two rates": two.try_acquire,
        **peers(url),
    }
    p50: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            p50[name].append(_p50(call, BLOCK))
    print("try_acquire against the no-op EVALSHA (p50, uncontended)")
    for name, figures in p50.items():
        ratio = statistics.median(figure / base for figure, base in zip(figures, p50["no-op EVALSHA"], strict=True))
        print(f"  {name:<32} {statistics.median(figures) / 1000:7.1f} us   x {ratio:.2f}")
    print()


def server_time(client: redis.Redis) -> None:
    """Server time of a granted decision, by the server's own count, small limits against ten million.

    Once with one caller, whose every call finds the server's caches cold; once under load, 200 calls at a time.
    """
    print("server time per granted decision (commandstats)          one caller            under load")
    script_load = client.script_load("return 1")
    alone, loaded = [], []
    for rate in ("2000/s", "100000/10s", "10000000/s", "10000000/h"):
        throttler = redisopt.Throttler(client, f"time {rate.replace('/', ' per ')}", rates=[rate])
        command = _command(throttler)
        alone.append(_usec(client, throttler.try_acquire, 1500, pause_every=150))
        loaded.append(_usec(client, partial(_pipelined, client, command), 10, per_call=200, pause_every=1))
        figures = (
            f"{alone[-1]:7.1f} us  x {alone[-1] / alone[0]:.2f}    {loaded[-1]:7.1f} us  x {loaded[-1] / loaded[0]:.2f}"
        )
        print(f"  {rate:<50} {figures}")
    no_op = _usec(client, lambda: client.evalsha(script_load, 0), 1500)
    print(f"  {'no-op EVALSHA':<50} {no_op:7.1f} us\n")


def _usec(
    client: redis.Redis, call: Callable[[], Any], times: int, *, per_call: int = 1, pause_every: int = 0
) -> float:
    calls, usec = 0, 0
    for block in range(max(1, times // (pause_every or times))):
        if block:
            time.sleep(0.11)  # a limit of 2,000 a second is never reached
        with _script_calls(client) as count:
            for _ in range(pause_every or times):
                call()
        calls, usec = calls + count["calls"], usec + count["usec"]
    assert calls == times * per_call
    return usec / calls


def _command(throttler: redisopt.Throttler) -> Command[Any]:
    """What `try_acquire` sends."""
    step = next(throttler._plans.deciding.try_acquire(1, "", None))
    assert isinstance(step, Command)
    return step


def _pipelined(client: redis.Redis, command: Command[Any]) -> None:
    """200 calls of one lane in one go."""
    pipe = client.pipeline(transaction=False)
    for _ in range(200):
        pipe.execute_command(*wire.parts(script(command.script), command, ("bench", next(_numbers)), whole=False))  # type: ignore[no-untyped-call]
    replies = pipe.execute()
    assert all(reply.startswith(b"1 ") for reply in replies)


def memory(client: redis.Redis) -> None:
    """Memory of a limiter whose log is as full as it can be: one grant in every slot."""
    print("memory of a limiter, a grant in every slot of its longest period")
    for rate in ("1000/s", "10000000/s", "10000000/2s"):
        name = f"memory {rate.replace('/', ' per ')}"
        throttler = redisopt.Throttler(client, name, rates=[rate])
        period = redisopt.Rate.parse(rate).period
        until = time.monotonic() + period * 1.1
        while time.monotonic() < until:
            throttler.try_acquire(cost=9 if period > 1 else 1)
        keys = list(client.scan_iter(match=f"redisopt:v1:{{throttle:{name.replace(' ', '%20')}*"))
        size = sum(client.memory_usage(key, samples=0) or 0 for key in keys)
        slots = client.llen(next(key for key in keys if b":log:" in key))
        print(f"  {rate:<32} {size / 1024:7.1f} KiB in {len(keys)} keys, {slots} slots")
    print()


def waiters(client: redis.Redis, url: str) -> None:
    """60 threads that arrive 10 ms apart on 10/s, each with a client of its own."""
    grants: list[tuple[float, float]] = []
    connected, start = threading.Barrier(61), threading.Barrier(61)

    def wait(index: int) -> None:
        own = redisopt.connect(url)
        with redisopt.Throttler(own, "waiters", rates=["10/s"]) as throttler:
            throttler.peek()
            connected.wait()
            start.wait()
            time.sleep(index * 0.01)
            asked = time.monotonic()
            grants.append((asked, throttler.acquire().granted_at))
        own.close()

    threads = [threading.Thread(target=wait, args=(index,)) for index in range(60)]
    for thread in threads:
        thread.start()
    connected.wait()
    with _script_calls(client) as count:
        start.wait()
        for thread in threads:
            thread.join()
    times = sorted(granted for _, granted in grants)
    in_order = [granted for _, granted in sorted(grants)]
    inversions = sum(later < earlier for earlier, later in pairwise(in_order))
    most = max(sum(1 for other in times if start <= other < start + 1) for start in times)
    print("60 waiters, 10 ms apart, on 10/s")
    print(
        f"  script calls per grant {count['calls'] / 60:.2f}, inversions {inversions}, most in a trailing second {most}"
    )
    print(
        f"  {times[-1] - times[0]:.3f} s from first to last grant, ideal 5.09 s (the tenth of the first ten arrives after 0.09 s)"
    )


def _p50(call: Callable[[], Any], times: int) -> float:
    """Median nanoseconds of a call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken)


@contextmanager
def _script_calls(client: redis.Redis) -> Iterator[dict[str, int]]:
    """Counts script calls and their server time, by the server's own statistics."""
    before = _stats(client)
    count: dict[str, int] = {}
    yield count
    count.update({name: value - before[name] for name, value in _stats(client).items()})


def _stats(client: redis.Redis) -> dict[str, int]:
    stats: Any = client.info("commandstats")
    scripts = [stats.get(f"cmdstat_{name}", {"calls": 0, "usec": 0}) for name in ("evalsha", "eval")]
    return {name: sum(script[name] for script in scripts) for name in ("calls", "usec")}


if __name__ == "__main__":
    main()
