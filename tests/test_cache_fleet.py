"""A cache under a fleet of real processes: cold keys, kill -9 of a leader, leaders that stand still, and a short ttl under load.

``REDISOPT_TEST_SOAK=60`` has the load run for so many seconds.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from tests.cache_faces import TERMS, CacheFace
from tests.fleet import SOAK, in_threads, run_fleet, wait_for_all
from tests.fragile import Lateness
from tests.servers import RunningServer
from tests.test_debounce_fleet import Member, members
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet

Make = Callable[..., CacheFace]

PATIENT: Any = TERMS | {"command_timeout": 20.0, "wait_timeout": 60.0}
KEY = "redisopt:v1:{cache:test:k}:"


def note(client: redis.Redis, what: str) -> None:
    """Take a note of the server's time (µs) and of what happened then."""
    seconds, micros = client.time()
    pipe: Any = client.pipeline(transaction=True)  # whoever is killed leaves no key without a time to live
    pipe.rpush("log", f"{seconds * 1_000_000 + micros} {what}").expire("log", 3600).execute()


def noted(client: redis.Redis, what: str) -> list[int]:
    """When it happened, by the server's clock in µs."""
    lines: Any = client.lrange("log", 0, -1)
    return [int(line.split()[0]) for line in lines if line.split()[1].decode() == what]


# --- a cold key


def get_at_once(url: str, threads: int, seconds: float) -> list[Any]:
    """The value, as each of some threads of a process gets it."""
    got: list[Any] = []
    with redis.from_url(url) as client, redisopt.Cache(client, "test", **PATIENT) as cache:

        def compute() -> int:
            note(client, "computed")
            time.sleep(seconds)
            return 42

        cache.peek("k")
        wait_for_all()
        in_threads([lambda: got.append(cache.get_or_compute("k", compute))] * threads)
    return got


def test_a_hundred_processes_compute_a_cold_key_once(server: RunningServer, client: redis.Redis) -> None:
    """Of four threads each; all get the value, at most a second after it was there."""
    processes, threads = 100, 4
    shares = run_fleet(get_at_once, *[(server.url, threads, 0.5)] * processes)

    assert [value for share in shares for value in share] == [42] * (processes * threads)
    assert len(noted(client, "computed")) == 1
    counted = redisopt.Cache(client, "test").metrics()
    assert (counted.misses, counted.computed, counted.errors) == (1, 1, 0)
    assert counted.hits + counted.waited == processes * threads - 1


# --- leaders that die or stand still


def be_a_caller(pipe: Any, url: str, fields: dict[str, Any], seconds: float, name: str) -> None:
    """Get the value whenever told so; computing it takes a while."""
    client = redis.from_url(url)
    cache = redisopt.Cache(client, "test", **PATIENT | fields)

    def compute() -> str:
        with redis.from_url(url) as notes:
            note(notes, "computed")
        time.sleep(seconds)
        return name

    cache.peek("k")
    pipe.send("ready")
    while True:
        pipe.recv()
        pipe.send(cache.get_or_compute("k", compute))


def crowd(url: str, fields: dict[str, Any], seconds: float, number: int) -> list[Member]:
    return [Member(be_a_caller, url, fields, seconds, f"caller {each}") for each in range(number)]


def test_a_leader_that_is_killed_has_one_successor(server: RunningServer, client: redis.Redis) -> None:
    """Within its lease and a second; the other twenty that wait get the successor's value."""
    lease = 1.0
    leader = Member(be_a_caller, server.url, {"lease_ttl": lease}, 60.0, "leader")
    waiting = crowd(server.url, {"lease_ttl": lease}, 0.2, 20)
    with members(*waiting):
        leader.pipe.send("get")
        wait_until(lambda: noted(client, "computed"))
        for each in waiting:
            each.pipe.send("get")
        time.sleep(1.2)
        assert len(noted(client, "computed")) == 1, "its lease is renewed"
        with Lateness() as late:
            leader.kill()
            note(client, "killed")
            values = {each.hear() for each in waiting}
    began, (killed,) = noted(client, "computed"), noted(client, "killed")
    print(f"{server.flavour}: a successor began {(began[-1] - killed) / 1e6:.2f} s after the kill, lease_ttl {lease}")

    assert len(began) == 2
    assert len(values) == 1
    assert 0 < (began[1] - killed) / 1e6 <= lease + 1.0 + 4 * late.seconds


def test_a_stale_value_is_served_while_who_refreshes_it_is_killed(server: RunningServer, client: redis.Redis) -> None:
    """At once, all the time; one other refreshes it when the lease is over."""
    lease = 1.0
    fields = {"lease_ttl": lease, "ttl": 0.1, "stale_for": 600.0}
    leader = Member(be_a_caller, server.url, fields, 60.0, "leader")
    with redisopt.Cache(redis.from_url(server.url), "test", **PATIENT | fields) as cache:
        cache.set("k", "old")
        time.sleep(0.15)
        assert leader.ask("get") == "old"
        wait_until(lambda: noted(client, "computed"))
        leader.kill()
        killed, slowest, refreshed = time.monotonic(), 0.0, 0.0

        def compute() -> str:
            nonlocal refreshed
            refreshed = time.monotonic()
            return "new"

        with Lateness() as late:
            while not refreshed:
                began = time.monotonic()
                assert cache.get_or_compute("k", compute) == "old"
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.005)
        assert refreshed - killed <= lease + 1.0 + 4 * late.seconds
        assert slowest < 0.3 + 4 * late.seconds
        wait_until(lambda: cache.get("k") == "new")
    cache._runner.client.close()


def test_a_leader_that_stood_still_cannot_overwrite_a_newer_value(
    server: RunningServer, client: redis.Redis, make_cache: Make
) -> None:
    """SIGSTOP past its lease, SIGCONT when another has computed: it returns its own value, and all others get the newer one."""
    fields = {"lease_ttl": 0.5}
    face = make_cache(**fields)
    leader = Member(be_a_caller, server.url, fields, 0.3, "leader")
    with members(leader):
        leader.pipe.send("get")
        wait_until(lambda: noted(client, "computed"))
        leader.signal(signal.SIGSTOP)
        assert face.compute("k", lambda: "newer") == "newer"
        fence: Any = client.hget(f"{KEY}entry", "fence")
        leader.signal(signal.SIGCONT)
        assert leader.hear() == "leader"
        assert leader.ask("get") == face.get("k") == "newer"
        assert client.hget(f"{KEY}entry", "fence") == fence
        wait_until(lambda: face.metrics().lost == 1)


def test_a_leader_that_stood_still_may_finish_where_nobody_came(
    server: RunningServer, client: redis.Redis, make_cache: Make
) -> None:
    """Nothing newer is there: its value is kept."""
    face = make_cache(lease_ttl=0.5)
    leader = Member(be_a_caller, server.url, {"lease_ttl": 0.5}, 0.3, "leader")
    with members(leader):
        leader.pipe.send("get")
        wait_until(lambda: noted(client, "computed"))
        leader.signal(signal.SIGSTOP)
        time.sleep(0.7)
        leader.signal(signal.SIGCONT)
        assert leader.hear() == "leader"
        assert face.get("k") == "leader"


# --- a short ttl under load


def read_on(url: str, fields: dict[str, Any], seconds: float, rate: float) -> tuple[int, float]:
    """Read for so long at a rate; how often, and the longest that a read took."""
    client = redis.from_url(url)
    with redisopt.Cache(client, "test", **PATIENT | fields) as cache:

        def compute() -> int:
            note(client, "began")
            time.sleep(0.05)
            note(client, "ended")
            return 1

        cache.peek("k")
        wait_for_all()
        reads, slowest, began = 0, 0.0, time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            cache.get_or_compute("k", compute)
            reads += 1
            slowest = max(slowest, time.monotonic() - now)
            time.sleep(max(0.0, random.uniform(0.5, 1.5) / rate - (time.monotonic() - now)))
        wait_for_all()  # whoever closes gives its refresh to others
    client.close()
    return reads, slowest


@pytest.mark.parametrize(
    "fields", [{}, {"stale_for": 60.0}, {"early_refresh": 1.0, "ttl_jitter": 0.1}], ids=["plain", "stale", "early"]
)
def test_no_herd_comes_at_the_end_of_a_ttl(
    server: RunningServer, client: redis.Redis, fields: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """1,000 reads a second by ten processes, of a value of half a second: at most one computation for each ttl, never two at once."""
    seconds, ttl, processes = SOAK or 6.0, 0.5, 10
    rates = 1000 / processes
    got = run_fleet(read_on, *[(server.url, {"ttl": ttl} | fields, seconds, rates)] * processes)
    began, ended = noted(client, "began"), noted(client, "ended")
    reads = sum(each for each, _ in got)
    record_property("reads", reads)
    record_property("computations", len(began))
    print(
        f"{server.flavour} {fields}: {reads:,} reads in {seconds} s, {len(began)} computations, slowest {max(got)[1]:.3f} s"
    )

    # A value lives for its ttl at least, less what jitter and an early refresh take: 0.05 s of computing, rarely five times that.
    shortest = ttl * (1 - fields.get("ttl_jitter", 0.0))
    assert len(began) <= 1 + (seconds + 1) / (shortest if "early_refresh" not in fields else shortest * 0.6)
    assert len(began) >= (seconds - 1) / (ttl + 0.05) * 0.5
    overlaps = sum(later < before for later, before in zip(began[1:], ended, strict=False))
    assert overlaps == 0
    assert reads > seconds * 1000 * 0.25, "the machine was too busy to be put under load"


def test_threads_and_processes_of_many_keys(server: RunningServer, client: redis.Redis) -> None:
    """Every key of a hundred is computed once, whoever gets there first."""
    got = run_fleet(read_many, *[(server.url, 100)] * 10)
    assert sum(got) == 100


def read_many(url: str, keys: int) -> int:
    computed: list[int] = []
    lock = threading.Lock()
    with redis.from_url(url) as client, redisopt.Cache(client, "test", **PATIENT) as cache:

        def compute(number: int) -> int:
            with lock:
                computed.append(number)
            return number

        def read() -> None:
            numbers = list(range(keys))
            random.shuffle(numbers)
            for number in numbers:
                assert cache.get_or_compute(f"k{number}", compute, number) == number

        cache.peek("k")
        wait_for_all()
        in_threads([read] * 3)
    return len(computed)
