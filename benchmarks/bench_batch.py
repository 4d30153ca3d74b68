"""What a batcher costs, beside the least that any could: a raw pipelined RPUSH of the same payloads in the same run.

Rounds alternate between the contenders; the figures are medians over the rounds. Run with ``--items`` and ``--deep`` for other
sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import redis

import redisopt
from redisopt.codec import encode
from redisopt.server import EmbeddedServer

ROUNDS = 5
SIZE = 500
PAYLOAD = "x" * 190  # 200 bytes with its frame


def per_second(items: int, function: Any) -> float:
    """Items a second."""
    begin = time.perf_counter()
    function()
    return items / (time.perf_counter() - begin)


def push(client: redis.Redis, payloads: list[bytes]) -> None:
    """The same payloads, with one RPUSH for each in pipelines."""
    for start in range(0, len(payloads), SIZE):
        pipe = client.pipeline(transaction=False)
        for payload in payloads[start : start + SIZE]:
            pipe.rpush("raw", payload)
        pipe.execute()


def drain(batcher: redisopt.Batcher, items: int) -> None:
    """Have one process claim and settle all that waits, two batches at a time."""
    with batcher.worker(concurrency=2):
        while batcher.metrics().pending + batcher.metrics().running > 0:
            time.sleep(0.005)
    assert batcher.metrics().done % items == 0


def throughput(client: redis.Redis, items: int) -> None:
    """add_many, and claim and done, beside the RPUSH."""
    payloads = [encode(PAYLOAD)] * items
    values = [PAYLOAD] * items
    rows: dict[str, list[float]] = {"add_many": [], "claim and done": []}
    raw = []
    for number in range(ROUNDS):
        client.flushdb()
        raw.append(per_second(items, lambda: push(client, payloads)))
        client.delete("raw")
        with redisopt.Batcher(
            client, f"bench-{number}", handler=_answer, max_size=SIZE, max_delay=0, command_timeout=10
        ) as batcher:
            rows["add_many"].append(per_second(items, lambda b=batcher: b.add_many(values)) / raw[-1])
            rows["claim and done"].append(per_second(items, lambda b=batcher: drain(b, items)) / raw[-1])
    print(f"raw pipelined RPUSH: {statistics.median(raw):,.0f} items/s")
    for name, ratios in rows.items():
        print(f"{name}: {statistics.median(ratios):.2f} of that")


def _answer(items: list[Any]) -> list[Any]:
    return [None] * len(items)


def round_trip(client: redis.Redis, calls: int) -> None:
    """add -> handler -> own result, one at a time."""
    for where in ("same process", "another process"):
        client.flushdb()
        batcher = redisopt.Batcher(client, "bench", max_size=1, handler=_answer, command_timeout=5)
        with contextlib.ExitStack() as stack:
            if where == "same process":
                stack.enter_context(batcher.worker())
            else:
                stack.enter_context(other_process(client))
            for _ in range(20):
                batcher.call(1, timeout=10)
            took = []
            for _ in range(calls):
                begin = time.perf_counter()
                batcher.call(1, timeout=10)
                took.append((time.perf_counter() - begin) * 1000)
        batcher.close()
        print(f"round trip, worker in {where}: p50 {quantile(took, 0.5):.2f} ms, p99 {quantile(took, 0.99):.2f} ms")


@contextlib.contextmanager
def other_process(client: redis.Redis) -> Any:
    """A worker in a process of its own."""
    path = client.connection_pool.connection_kwargs["path"]
    program = (
        "import redis, redisopt, sys\n"
        f"client = redis.Redis(unix_socket_path={path!r})\n"
        "redisopt.Batcher(client, 'bench', max_size=1, handler=lambda items: items, command_timeout=5).run()"
    )
    worker = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait()


def delay(client: redis.Redis, batches: int) -> None:
    """How late batches start that their delay makes due, by the server's clock."""
    client.flushdb()
    late: list[float] = []
    began = threading.Event()
    clock = redis.Redis(connection_pool=client.connection_pool)

    def handle(items: list[float]) -> list[float]:
        seconds, micros = clock.time()
        late.append((seconds + micros / 1e6 - items[0] - 0.03) * 1000)
        began.set()
        return items

    with redisopt.Batcher(client, "bench", max_size=100, max_delay=0.03, handler=handle) as batcher, batcher.worker():
        for _ in range(batches):
            began.clear()
            seconds, micros = client.time()
            batcher.add(seconds + micros / 1e6)
            began.wait(5)
    print(f"start minus due, by delay: p50 {quantile(late, 0.5):.1f} ms, p99 {quantile(late, 0.99):.1f} ms")


def depth(client: redis.Redis, deep: int) -> None:
    """Items a second through a queue that is deep."""
    rates: dict[int, float] = {}
    values = [PAYLOAD] * 10_000
    queued = 1000
    while queued <= deep:
        client.flushdb()
        counting = Counting()
        with redisopt.Batcher(
            client, f"deep-{queued}", handler=counting, max_size=SIZE, max_delay=0, command_timeout=10
        ) as batcher:
            batcher.pause()
            for start in range(0, queued, len(values)):
                batcher.add_many(values[: min(len(values), queued - start)])
            batcher.resume()
            figures = []
            for _ in range(ROUNDS):
                batcher.add_many(values)
                figures.append(per_second(len(values), lambda b=batcher, c=counting: c.work_off(b)))
            rates[queued] = statistics.median(figures)
        queued *= 10
    for queued, rate in rates.items():
        print(f"{queued:,} queued: {rate:,.0f} items/s worked off, {rates[1000] / rate:.2f} times as long")


class Counting:
    """A handler that stops its worker when as many items have come as were added."""

    def __call__(self, items: list[Any]) -> list[Any]:
        """Handle some."""
        self._left -= len(items)
        if self._left <= 0:
            self._stop.set()
        return [None] * len(items)

    def work_off(self, batcher: redisopt.Batcher) -> None:
        """Claim and settle them."""
        self._stop, self._left = threading.Event(), 10_000
        batcher.run(self._stop)


def quantile(values: list[float], share: float) -> float:
    """The value that so large a share is not above."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--deep", type=int, default=1_000_000)
    options = parser.parse_args()
    with EmbeddedServer() as server, redis.from_url(server.url) as client:
        throughput(client, options.items)
        round_trip(client, 2000)
        delay(client, 200)
        depth(client, options.deep)


if __name__ == "__main__":
    main()
