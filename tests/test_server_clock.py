"""A server whose clock is set a minute back or forward under load: what the fleet then sees in real time.

The server runs under libfaketime, which changes what TIME says while the real clock goes on. Here the callers' monotonic
clock judges, since the server's is what is wrong. A hungry crowd takes all it gets; beside what a right clock would have
allowed, one window's worth too much is admitted at most, and nobody is stalled for longer than one window.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.server import EmbeddedServer
from tests.servers import binary, flavours
from tests.waiting import wait_until

LIMIT, PERIOD = 10, 1.0
STEP_AFTER, SECONDS = 1.75, 6.0
LATE = 0.3  # what a busy machine may add between a grant and its note here

LIBRARY = next(
    (
        library
        for directory in ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")
        for library in sorted(Path(directory).glob("**/libfaketime*.1*"))
        if "MT" not in library.name
    ),
    None,
)

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(
        LIBRARY is None, reason="libfaketime is not installed (Debian: faketime), so no clock can be set"
    ),
]


Ask = Callable[[redisopt.AsyncThrottler, list[float], float], Coroutine[Any, Any, None]]


class SetClock:
    """A server whose clock can be set."""

    def __init__(self, flavour: str, directory: Path) -> None:
        self._file = directory / "clock"
        self._write(0)
        environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # setting a clock does not
        }
        self.server = EmbeddedServer(binary=binary(flavour), env=environment)
        self.url = self.server.url

    def step(self, seconds: int) -> None:
        """Set the clock to so many seconds beside the right time, and see that it is."""
        self._write(seconds)
        with redis.from_url(self.url) as client:
            wait_until(lambda: abs(client.time()[0] - time.time() - seconds) < 5)

    def _write(self, seconds: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.replace(self._file)  # at once: the server may read at any time


@pytest.fixture(params=[flavour for flavour in flavours() if flavour != "other"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SetClock]:
    """A server of each flavour, of its own for each test."""
    running = SetClock(request.param, tmp_path)
    yield running
    running.server.close()


async def crowd(server: SetClock, step: int, ask: Ask, callers: int) -> tuple[list[float], float]:
    """So many callers take what they get, while the clock is set; when they got it, and when that was."""
    times: list[float] = []
    async with redis.asyncio.from_url(server.url) as client:
        rates = [f"{LIMIT}/{PERIOD:g}s"]
        async with redisopt.AsyncThrottler(client, "stepped", rates=rates, command_timeout=5) as throttler:
            await throttler.try_acquire()
            begin = time.monotonic()
            times.append(begin)
            asking = [asyncio.create_task(ask(throttler, times, begin + SECONDS)) for _ in range(callers)]
            await asyncio.sleep(STEP_AFTER)
            await asyncio.to_thread(server.step, step)
            stepped = time.monotonic()
            await asyncio.gather(*asking)
    return sorted(times), stepped


async def wait_in_line(throttler: redisopt.AsyncThrottler, times: list[float], end: float) -> None:
    """Wait for one grant after another."""
    with suppress(redisopt.ThrottleTimeout):
        while True:
            await throttler.acquire(timeout=max(0.0, end - time.monotonic()))
            times.append(time.monotonic())


async def ask_again(throttler: redisopt.AsyncThrottler, times: list[float], end: float) -> None:
    """Never wait; ask again after a refusal."""
    while time.monotonic() < end:
        if await throttler.try_acquire():
            times.append(time.monotonic())
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("step", [-60, 60])
@pytest.mark.parametrize(("ask", "callers"), [(ask_again, 3), (wait_in_line, 40)], ids=["asking", "waiting"])
def test_a_clock_that_is_set_a_minute_off_costs_one_window_at_most(
    server: SetClock, step: int, ask: Ask, callers: int
) -> None:
    """Whether nobody waits or a line of several windows stands: admitted too much, and stalled, by one window at most.

    A step ahead under a line is the one that goes on: those who stand in it keep their places, and newcomers are served
    beside them until it is gone. Then no single window holds more than one window's worth too much.
    """
    times, stepped = asyncio.run(crowd(server, step, ask, callers))
    before = [at for at in times if at < stepped]
    after = [at for at in times if at >= stepped]
    allowed = LIMIT * (1 + int((times[-1] - times[0] + LATE) / PERIOD))

    fullest = max(sum(begin <= at < begin + PERIOD - LATE for at in times) for begin in times)
    assert fullest <= 2 * LIMIT
    if ask is ask_again or step < 0:
        assert len(times) <= allowed + LIMIT, f"{len(before)} before and {len(after)} after the step"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) <= 2 * PERIOD + LATE, "a window to wait for, and one that the clock took"
