"""The least-privilege user of docs/security.md: it may do all that is needed, and nothing else; what is missing is named."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

import redisopt
from redisopt import scripts
from redisopt.testing import server_clock
from tests.batches import BatchFace
from tests.faces import Face
from tests.monitor_faces import MonitorFace
from tests.servers import RunningServer
from tests.waiting import wait_until

SECURITY = Path(__file__).parent.parent / "docs" / "security.md"
USER, PASSWORD = "redisopt", "change-me"

# What it takes to connect and to run a script (the commands of the scripts themselves come on top).
CONNECTION = {
    "ping", "hello", "auth", "client|setname", "client|setinfo", "evalsha", "eval", "script|load", "time", "subscribe"
}  # fmt: skip


def acl_line() -> list[str]:
    """The rule of the documentation, in words."""
    found = re.findall(r"^ACL SETUSER .*$", SECURITY.read_text(), re.MULTILINE)
    assert len(found) == 1
    return str(found[0]).split()


def commands_of_the_scripts(kind: str = "") -> set[str]:
    """Every command that a script calls, of one kind or of any."""
    sources = [scripts.script(name).source for name in scripts.names() if name.startswith(kind)]
    assert not any(re.search(r"redis\.p?call\((?!')", source) for source in sources), "a command that is not a literal"
    return {name.lower() for source in sources for name in re.findall(r"redis\.p?call\('(\w+)'", source)}


def as_user(url: str, user: str, password: str) -> str:
    """The URL for somebody."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


def make_user(admin: Any, rule: list[str]) -> None:
    """Run an ACL SETUSER line."""
    admin.execute_command(*rule)


@pytest.fixture
def admin(server: RunningServer, client: redis.Redis) -> Iterator[redis.Redis]:
    """Whoever may make users; those that were made are gone afterwards."""
    client.acl_log_reset()
    yield client
    client.acl_deluser(USER)
    client.acl_log_reset()


@pytest.fixture(params=["sync", "async"])
def log_in(
    request: pytest.FixtureRequest, server: RunningServer, admin: redis.Redis, loop: asyncio.Runner
) -> Iterator[Callable[..., Face]]:
    """Makes throttles of the user that a rule describes."""
    faces: list[Face] = []

    def log_in(rule: list[str], password: str = PASSWORD, **fields: Any) -> Face:
        make_user(admin, rule)
        url = as_user(server.url, USER, password)
        faces.append(Face(request.param, url, loop, "test", **fields | {"command_timeout": 5.0}))
        return faces[-1]

    yield log_in
    for face in faces:
        face.close()


def test_the_documented_user_may_run_what_the_scripts_use_and_nothing_else() -> None:
    """Whoever changes a script changes the line."""
    granted = {word.removeprefix("+") for word in acl_line() if word.startswith("+")}
    assert granted == CONNECTION | commands_of_the_scripts()


def test_all_of_the_throttle_works_for_the_documented_user(log_in: Callable[..., Face], admin: redis.Redis) -> None:
    """Grants, waits, refunds, places given up, two configs of one name, an unknown script: ACL LOG stays empty."""
    admin.script_flush()
    admin.config_resetstat()
    face = log_in(acl_line(), rates=["9/h", "20/d"], max_burst_size=9, cooldown_period=0.05, on_unavailable="local")
    permits = []
    for _ in range(4):
        permits.append(face.try_acquire(cost=2).permit)
        time.sleep(0.005)  # so that each has a slot of its own
    assert face.refund(permits[0], 1)
    assert face.refund(permits[1])
    assert face.refund(permits[3])
    assert face.settle(permits[2], 5)
    assert face.release(permits[2]) is True
    assert face.wait_for(face.real.execute(answer if face.kind == "sync" else answer_async, "a")) == "a"
    assert face.try_acquire(cost=9, minimum=1).permit.cost == 2
    assert not face.try_acquire()
    with pytest.raises(redisopt.ThrottleTimeout):
        face.acquire(timeout=1.0)
    other = log_in(acl_line(), rates=["30/min"])
    assert other.try_acquire(cost=9)
    assert [limit.remaining for limit in face.metrics().limits][:2] == [0, 2]
    brief = log_in(acl_line(), rates=["50/400ms"])
    for _ in range(30):
        assert brief.try_acquire(key="brief")
        time.sleep(0.02)
    assert brief.acquire(cost=50, key="brief").waited > 0
    assert other.try_acquire()  # the cooldown is over by now
    if face.kind == "async":
        face.wait_for(give_places_up(face.real))
    if face.kind == "async":
        face.wait_for(take_turns(log_in(acl_line(), max_concurrent=1, lease_ttl=0.3).real))
    face.reset()

    assert admin.acl_log() == []
    if face.kind == "async":
        ran = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
        assert commands_of_the_scripts("throttle") - ran == set(), "this test no longer makes the scripts run these"


async def take_turns(throttler: redisopt.AsyncThrottler) -> None:
    """Hold a lease that is renewed while others wait for it, by priority, and one of them leaves; pause all of it."""
    permit = await throttler.acquire(key="turns")
    waiting = [asyncio.ensure_future(throttler.acquire(key="turns", priority=number)) for number in range(3)]
    await asyncio.sleep(0.8)
    waiting[0].cancel()
    assert await permit.release()
    assert await (await waiting[2]).release()
    assert await (await waiting[1]).release()
    await throttler.pause(0.01)
    await throttler.update(max_concurrent=2)
    await throttler.update()


def answer(text: str) -> str:
    return text


async def answer_async(text: str) -> str:
    return text


async def give_places_up(throttler: redisopt.AsyncThrottler) -> None:
    """Have waiters cancelled: one that others stand behind, whose place another takes, then the last of the line, and all.

    Meanwhile more is charged for what was used before.
    """

    async def wait() -> None:
        await throttler.acquire(cost=3, key="line")

    async def queue_is(length: int) -> None:
        while (await throttler.metrics("line")).queue_length != length:
            await asyncio.sleep(0.005)

    for _ in range(2):
        used = await throttler.acquire(cost=3, key="line")
        await asyncio.sleep(0.005)
    await wait()
    waiting = []
    for length in (1, 2, 3):
        waiting.append(asyncio.create_task(wait()))
        await queue_is(length)
    await used.settle(4)
    waiting[1].cancel()
    await queue_is(2)
    waiting.append(asyncio.create_task(wait()))
    await queue_is(3)
    for task in (waiting[2], waiting[3], waiting[0]):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await queue_is(0)


def test_the_documented_user_reaches_nothing_else(server: RunningServer, admin: redis.Redis) -> None:
    """Neither other keys, by script or without, nor commands that tell or change anything."""
    admin.set("secret", "s", ex=60)
    make_user(admin, acl_line())
    with redis.from_url(as_user(server.url, USER, PASSWORD), protocol=2) as user:
        for attempt in (
            ["GET", "secret"],
            ["HGET", "secret", "field"],
            ["EVAL", "return redis.call('HGET', KEYS[1], 'field')", 1, "secret"],
            ["EVAL", "return redis.call('HGET', 'secret', 'field')", 0],
            ["EVAL", "return redis.call('STRLEN', KEYS[1])", 1, "redisopt:x"],
            ["FLUSHALL"],
            ["CONFIG", "GET", "*"],
            ["KEYS", "*"],
            ["ACL", "WHOAMI"],
        ):
            with pytest.raises(
                redis.ResponseError, match=r"(?i)no permission|NOPERM|can't run|can't access|ACL failure"
            ):
                user.execute_command(*attempt)


@pytest.mark.parametrize("missing", ["+evalsha", "+eval", "+hmget", "+hset", "~redisopt:*"])
def test_a_missing_right_is_named_with_advice(log_in: Callable[..., Face], admin: redis.Redis, missing: str) -> None:
    """Whether the server misses it at the call or within the script."""
    admin.script_flush()
    face = log_in([word for word in acl_line() if word != missing], rates=["10/s"])
    with pytest.raises(redisopt.Unavailable, match=r"ACL.*docs/security|least-privilege ACL") as raised:
        face.try_acquire()
    assert isinstance(raised.value.__cause__, redis.RedisError)


def test_a_wrong_password_is_named_with_advice(log_in: Callable[..., Face]) -> None:
    """At once: no retry would go better."""
    face = log_in(acl_line(), password="wrong", rates=["10/s"])
    with pytest.raises(redisopt.Unavailable, match="check the user and password") as raised:
        face.try_acquire()
    assert "wrong" not in str(raised.value)


def test_a_missing_password_is_named_with_advice(make_throttler: Callable[..., Face], admin: redis.Redis) -> None:
    """The server wants a user, and the URL names none."""
    make_user(admin, ["ACL", "SETUSER", "default", "resetpass", ">secret"])
    try:
        with pytest.raises(redisopt.Unavailable, match="check the user and password"):
            make_throttler(rates=["10/s"]).try_acquire()
    finally:
        make_user(admin, ["ACL", "SETUSER", "default", "nopass"])


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_all_of_a_batcher_works_for_the_documented_user(kind: str, server: RunningServer, admin: redis.Redis) -> None:
    """Results, retries, the dead letter, runs, cancels and what is dropped: ACL LOG stays empty."""
    make_user(admin, acl_line())
    admin.config_resetstat()
    url = as_user(server.url, USER, PASSWORD)
    fields: Any = {
        "max_size": 2,
        "max_delay": 0.01,
        "max_bytes": 5000,
        "max_attempts": 1,
        "max_queue": 5,
        "overflow": "drop_old",
    }

    def handle(items: list[Any]) -> list[Any]:
        return [ValueError("no") if item == 3 else item for item in items]

    batcher = BatchFace(kind, url, "test", handle, **fields)
    admin.rpush("redisopt:v1:{batch:test}:front", *["1:gone"] * 1100)  # as many items that are cancelled leave behind
    tickets = batcher.add_many(range(3))
    assert batcher.wait_for(tickets[1].cancel())
    batcher.add(4, key="customer")
    assert batcher.cancel_key("customer") == 1
    dropped = batcher.add_many(range(10, 14))
    batcher.flush(key="")
    batcher.flush()
    assert batcher.map(range(5), errors="collect")[4] == 4
    with batcher.worker():
        assert [each.id for each in batcher.dead()]
        assert batcher.replay() == 1
        assert batcher.result(dropped[3]) == 13
        with pytest.raises(redisopt.QueueFull):
            batcher.result(tickets[0])
        batcher.pause()
        batcher.resume()
        wait_until(lambda: batcher.metrics().dead == 1)
    batcher.close()

    # Whoever was to hear messages for the test before may have found its user gone.
    assert [entry for entry in admin.acl_log() if entry["reason"] != "auth"] == []
    ran = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    assert commands_of_the_scripts("batch") - ran == set(), "this test no longer makes the scripts run these"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_all_of_a_monitor_works_for_the_documented_user(kind: str, server: RunningServer, admin: redis.Redis) -> None:
    """Minutes and hours that roll over, reports, names and metrics: ACL LOG stays empty."""
    make_user(admin, [*acl_line(), "~redisopt-test:*"])  # where the clock stands that this test sets
    admin.config_resetstat()
    with server_clock(admin) as clock:
        monitor = MonitorFace(kind, as_user(server.url, USER, PASSWORD), max_names=2)
        for _ in range(130):
            for name in ("op", "other", "refused"):
                monitor.real.track(name, 0.1)
            monitor.flush()
            clock.advance(60)
        assert monitor.names() == ["op", "other"]
        assert monitor.report("op", "day").count == 130
        assert monitor.metrics().dropped == 130
        monitor.close()

    assert [entry for entry in admin.acl_log() if entry["reason"] != "auth"] == []
    ran = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")} | {"time"}
    swept = {"hscan", "hget", "hdel"}  # of lanes, now and then
    assert commands_of_the_scripts("monitor") - ran - swept == set(), "this test no longer makes the scripts run these"
