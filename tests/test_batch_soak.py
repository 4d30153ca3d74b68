"""A fleet under fire: adders and workers are killed at random, the server once, and no item is lost.

Every id is acknowledged or dead, none is left, and no run of an id starts after its acknowledgement. `REDISOPT_TEST_ITEMS` and
`REDISOPT_TEST_KILLS` make it larger: 100000 and 50 are the figures that it has to hold.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from tests.batches import PATIENT, WorkerProcess, in_process
from tests.servers import binary
from tests.waiting import wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

ITEMS = int(os.environ.get("REDISOPT_TEST_ITEMS", "4000"))
KILLS = int(os.environ.get("REDISOPT_TEST_KILLS", "8"))
ADDERS, WORKERS = 8, 4
CHUNK = 100
FIELDS: Any = {
    **PATIENT,
    "max_size": 100,
    "max_delay": 0.02,
    "lease_ttl": 1.0,
    "max_deliveries": 1000,
    "max_attempts": 3,
    "backoff_base": 0.05,
    "result_ttl": 3600.0,
}
STARTS, ADDED = "redisopt-test:starts", "redisopt-test:added"


class DurableServer:
    """A server with an append-only file, that can be killed and started again."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="redisopt-test-"))
        self.url = f"unix://{self._directory}/s"
        self.start()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", f"{self._directory}/s", "--save", "", "--dir", str(self._directory)]
        durable = ["--appendonly", "yes", "--appendfsync", "everysec"]
        self._process = subprocess.Popen([binary("valkey-9.1"), *options, *durable], stdout=subprocess.DEVNULL)
        with redis.from_url(self.url) as probe:
            wait_until(lambda: _answers(probe), 60)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def make_noting(url: str) -> Any:
    """A handler that notes which ids start when, before it does anything; one item in 500 is bad."""
    client = redis.from_url(url, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.2), 50))

    def handle(items: list[Any], run: Any) -> list[Any]:
        seconds, micros = client.time()
        at = seconds * 1000 + micros // 1000
        pipe = client.pipeline(transaction=False)
        for name in run.ids:
            pipe.hset(STARTS, name, at)  # the latest start
        pipe.execute()
        time.sleep(0.05)  # so that kills hit batches that run
        return [ValueError("bad") if item % 500 == 7 else item for item in items]

    return handle


def add_all(url: str, adder: int) -> None:
    """Add one adder's share, from where an earlier life of it has come."""
    client = redis.from_url(url, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.2), 50))
    batcher = redisopt.Batcher(redis.from_url(url), "soak", **FIELDS)
    items = list(range(adder, ITEMS, ADDERS))
    done = int(client.hget(ADDED, str(adder)) or 0)
    while done < len(items):
        some = items[done : done + CHUNK]
        try:
            batcher.add_many(some, key=f"k{adder % 3}", ids=[f"i{item}" for item in some])
        except redisopt.Unavailable:
            time.sleep(0.1)
            continue
        done += len(some)
        client.hset(ADDED, str(adder), done)


def test_no_item_is_lost_though_processes_and_the_server_are_killed() -> None:
    server = DurableServer()
    chance = random.Random(5)
    workers = [WorkerProcess(server.url, "soak", make_noting, **FIELDS) for _ in range(WORKERS)]
    adders = [in_process(add_all, server.url, adder) for adder in range(ADDERS)]
    over = threading.Event()
    looker = redisopt.Batcher(redis.from_url(server.url), "soak", **FIELDS)

    def ended() -> int:
        try:
            metrics = looker.metrics()
        except redisopt.Unavailable:
            return 0
        return metrics.done + metrics.dead

    began, kills, restarted = time.monotonic(), 0, False
    try:
        while not over.is_set() and time.monotonic() < began + 800:
            if kills < KILLS and (ended() >= ITEMS * kills / (KILLS + 1) or chance.random() < 0.1):
                kills += 1
                if chance.random() < 0.5:
                    victim = chance.randrange(WORKERS)
                    workers[victim].kill()
                    workers[victim] = WorkerProcess(server.url, "soak", make_noting, **FIELDS)
                else:
                    place = chance.randrange(ADDERS)
                    if adders[place].is_alive():
                        os.kill(adders[place].pid, signal.SIGKILL)
                    adders[place].join(10)
                    adders[place] = in_process(add_all, server.url, place)
            if not restarted and kills >= KILLS // 2:
                restarted = True
                time.sleep(1.2)  # what the file does not hold yet is lost with power, not with the process
                server.kill()
                server.start()
            time.sleep(0.05)
            if kills >= KILLS and restarted and ended() >= ITEMS:
                break
        took = time.monotonic() - began
        metrics = looker.metrics()
        check(redis.from_url(server.url), metrics)
        print(f"{ITEMS:,} items, {kills} kills, in {took:.1f} s: {metrics}")
    finally:
        for worker in workers:
            worker.kill()
        for adder in adders:
            if adder.is_alive():
                os.kill(adder.pid, signal.SIGKILL)
        looker.close()
        server.kill()


def check(client: Any, metrics: redisopt.BatchMetrics) -> None:
    """Each id in exactly one place, and no start after its end."""
    tag = "redisopt:v1:{batch:soak}:"
    outcomes: dict[bytes, bytes] = dict(client.hscan_iter(f"{tag}outcomes", count=1000))
    dead = set(client.hkeys(f"{tag}dead"))
    bad = {f"i{item}".encode() for item in range(7, ITEMS, 500)}

    assert set(outcomes) == {f"i{item}".encode() for item in range(ITEMS)}
    assert dead == bad == {name for name, outcome in outcomes.items() if outcome.startswith(b"failed")}
    assert (metrics.pending, metrics.running) == (0, 0)
    assert not client.exists(
        *(f"{tag}{part}" for part in ("items", "held", "leases", "claims", "tries", "due", "since"))
    )
    ends = {}
    for entry in client.lrange(f"{tag}finished", 0, -1):
        ms, *names = entry.split()
        for name in names:
            assert name not in ends, f"{name} has two outcomes"
            ends[name] = int(ms) - 3_600_000
    late = [name for name, at in client.hscan_iter(STARTS, count=1000) if int(at) > ends[name] + 1]
    assert not late, f"{len(late)} ids were run after their end: {late[:5]}"
