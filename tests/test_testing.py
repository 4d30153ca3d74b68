"""What the library gives to tests of users' own code: fixtures of a real and of a fake Redis, and a clock that tests set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import redis
import redis.asyncio

import redisopt
from redisopt.testing import server_clock
from tests.servers import RunningServer

CONFTEST = 'pytest_plugins = ["redisopt.testing"]\n'

THEIRS = """
import asyncio

import redisopt


def test_no_more_than_two_an_hour(redisopt_client, redisopt_clock):
    throttler = redisopt.Throttler(redisopt_client, "mails", rates=["2/h"])
    assert [bool(throttler.try_acquire()) for _ in range(3)] == [True, True, False]
    redisopt_clock.advance(3601)
    assert throttler.try_acquire()


def test_nobody_waits_in_earnest(redisopt_client, redisopt_clock):
    began = redisopt_clock.now_ms
    throttler = redisopt.Throttler(redisopt_client, "mails", rates=["1/d"])
    for _ in range(3):
        throttler.acquire()
    assert redisopt_clock.now_ms - began >= 2 * 86_400_000


def test_each_test_begins_with_nothing(redisopt_client):
    throttler = redisopt.Throttler(redisopt_client, "mails", rates=["2/h"])
    assert throttler.peek().remaining == 2
    assert throttler.acquire(timeout=0)


def test_fakes_share_their_data(redisopt_fake_client, redisopt_fake_async_client):
    throttler = redisopt.Throttler(redisopt_fake_client, "mails", rates=["2/h"])
    assert throttler.try_acquire()

    async def other():
        async with redisopt.AsyncThrottler(redisopt_fake_async_client, "mails", rates=["2/h"]) as throttler:
            async with throttler.acquire(timeout=0):
                return (await throttler.peek()).remaining

    assert asyncio.run(other()) == 0


def test_a_fake_begins_with_nothing_too(redisopt_fake_client):
    assert redisopt.Throttler(redisopt_fake_client, "mails", rates=["2/h"]).peek().remaining == 2
"""


def test_users_have_the_fixtures_by_one_line(tmp_path: Path) -> None:
    """In a project of their own, with whatever plugins pytest finds."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error", "."]
    ran = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout


def test_a_clock_is_gone_when_it_is_left(client: redis.Redis) -> None:
    """Also by an error; then the server's own holds again."""
    throttler = redisopt.Throttler(client, "test", rates=["1/h"])
    try:
        with server_clock(client) as clock:
            assert throttler.try_acquire()
            clock.advance(3600.001)
            assert throttler.acquire(timeout=0).granted_at >= clock.now_ms / 1000
            raise LookupError
    except LookupError:
        pass
    seconds, _ = client.time()
    assert redisopt.Throttler(client, "another", rates=["1/h"]).acquire().granted_at - seconds < 5


async def test_a_clock_holds_for_the_async_face(server: RunningServer, client: redis.Redis) -> None:
    with server_clock(client) as clock:
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncThrottler(own, "test", rates=["1/d"]) as throttler,
        ):
            began = clock.now_ms
            await throttler.acquire()
            await throttler.acquire()
            assert clock.now_ms - began >= 86_400_000
