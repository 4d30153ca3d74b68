"""A debouncer that is joined with a limiter: whatever runs waits for a permit, and gives back what it has not used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.server import EmbeddedServer
from tests.debounce_faces import DebounceFace
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., DebounceFace]


@contextmanager
def limiter(face: DebounceFace, url: str, **fields: Any) -> Iterator[Any]:
    """One of the face's kind, with a client of its own."""
    if face.loop is None:
        with (
            redis.from_url(url) as client,
            redisopt.Throttler(client, "runs", command_timeout=5.0, **fields) as throttler,
        ):
            yield throttler
        return
    client_: Any = redis.asyncio.from_url(url)
    throttler_ = redisopt.AsyncThrottler(client_, "runs", command_timeout=5.0, **fields)
    yield throttler_
    face.do(throttler_.aclose)
    face.do(client_.aclose)


def giving(face: DebounceFace, value: str) -> Callable[[], Any]:
    async def give() -> str:
        return value

    return (lambda: value) if face.loop is None else give


@pytest.mark.parametrize("leading", [False, True])
def test_a_function_waits_for_a_permit(
    make_debouncer: Make, server: RunningServer, client: redis.Redis, leading: bool
) -> None:
    own = make_debouncer()
    with limiter(own, server.url, rates=["2/s"]) as throttler:
        face = make_debouncer("joined", wait=0.01, leading=leading, throttler=throttler)
        starts = []
        for key in "abcd":
            assert face.execute(giving(face, key), key=key) == key
            seconds, micros = client.time()
            starts.append(seconds + micros / 1e6)
        assert starts[2] - starts[0] >= 0.9  # by its end, which is later than its permit
        assert face.do(throttler.peek).remaining < 2


def test_a_function_that_gets_no_permit_leaves_its_window_to_the_next_caller(
    make_debouncer: Make, client: redis.Redis
) -> None:
    kind = make_debouncer().kind
    granted: list[bool] = []

    class Permit:
        def __init__(self) -> None:
            self.given: list[str] = []

        def refund(self) -> Any:
            return self._note("refund")

        def release(self) -> Any:
            return self._note("release")

        def _note(self, what: str) -> Any:
            self.given.append(what)
            return None if kind == "sync" else nothing()

    async def nothing() -> None:
        pass

    permit = Permit()

    class Limiter:
        def acquire(self, cost: int = 1, key: str = "", *, timeout: float | None = None) -> Any:
            assert (cost, key) == (1, "")
            assert timeout is None or 0 < timeout <= 2

            def grant() -> Permit:
                if not granted:
                    raise redisopt.Throttled("no", reason="a test", retry_after=1.0)
                return permit

            async def grant_async() -> Permit:
                return grant()

            return grant() if kind == "sync" else grant_async()

        if kind == "async":

            async def aclose(self) -> None:
                pass

    face = make_debouncer("joined", wait=0.0, throttler=Limiter())
    with pytest.raises(redisopt.Throttled):
        face.execute(giving(face, "a"))
    granted.append(True)
    assert face.execute(giving(face, "b"), timeout=2) == "b"
    assert permit.given == ["release"]


@pytest.mark.parametrize("leading", [False, True])
def test_who_gets_no_permit_in_time_is_told_so(
    make_debouncer: Make, server: RunningServer, client: redis.Redis, leading: bool
) -> None:
    own = make_debouncer()
    with limiter(own, server.url, rates=["1/h"]) as throttler:
        face = make_debouncer("joined", wait=0.01, leading=leading, throttler=throttler)
        assert face.execute(giving(face, "first"), key="a") == "first"
        began = time.monotonic()
        with pytest.raises(redisopt.ResultTimeout, match=r"after 1\.5 s"):
            face.execute(giving(face, "second"), key="b", timeout=1.5)
        assert time.monotonic() - began < 10
        assert face.metrics().running == 0


def test_a_permit_is_held_by_what_runs_on_after_a_timeout(server: RunningServer, client: redis.Redis) -> None:
    go_on = threading.Event()
    with (
        redisopt.Throttler(client, "runs", max_concurrent=1, command_timeout=5.0) as throttler,
        redisopt.Debouncer(client, "test", wait=0.0, throttler=throttler, command_timeout=5.0) as debouncer,
    ):
        pipeline = redisopt.Pipeline(client, [debouncer, redisopt.Timeout(0.1)])
        with pytest.raises(redisopt.OperationTimeout):
            pipeline.execute(go_on.wait, 10)
        assert throttler.metrics().active_operations == 1
        go_on.set()
        wait_until(lambda: throttler.metrics().active_operations == 0)


def test_a_worker_with_a_limiter_empties_a_full_server(
    make_debouncer: Make, server: RunningServer, client: redis.Redis
) -> None:
    """The limits stand on another server, which has room."""
    own = make_debouncer()
    with EmbeddedServer() as roomy, limiter(own, roomy.url, rates=["100/s"]) as throttler:
        face = make_debouncer("joined", wait=0.0, throttler=throttler)
        face.handle()
        ticket = face.submit("a")
        client.config_set("maxmemory", 1)
        try:
            face.start()
            wait_until(lambda: face.runs)
        finally:
            client.config_set("maxmemory", 0)
        assert face.result(ticket).value == "a"
