"""Calls through a client whose connections are not redis-py's: each in a thread, and no more of them than can be borne."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from redisopt.deadlines import MAX_OVERDUE
from tests.faces import Face
from tests.outages import PLENTY, Unknown, client_url, in_time, stopped, until_answered
from tests.servers import RunningServer
from tests.waiting import wait_until

pytest_plugins = ["tests.outage_fixtures"]

request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


def threads_of_calls() -> int:
    """How many calls are still under way."""
    return sum(thread.name == "redisopt-call" for thread in threading.enumerate())


@pytest.mark.parametrize("kind", ["sync"])
def test_calls_that_were_given_up_do_not_pile_up(
    make: Callable[..., Face], server: RunningServer, client: redis.Redis
) -> None:
    """Nor do probes. Beyond eight that still run, a call is refused at once; when the server is back, all goes on."""
    face = make(server.url, "unknown", rates=["1000/h"], command_timeout=0.05)
    patient = redisopt.Throttler(face.client, "test", rates=["1000/h"], command_timeout=0.1)
    wait_until(lambda: threads_of_calls() == 0)
    with stopped(server):
        for _ in range(3 * MAX_OVERDUE):
            with pytest.raises(redisopt.Unavailable), in_time():
                face.try_acquire()
        wait_until(lambda: face.real._runner._links._overdue._number == MAX_OVERDUE)
        with pytest.raises(redisopt.Unavailable, match="given up"), in_time(0.0):
            patient.try_acquire()
        assert threads_of_calls() == MAX_OVERDUE
    wait_until(lambda: threads_of_calls() == 0)
    assert until_answered(face.peek)


@pytest.mark.parametrize("kind", ["sync"])
def test_a_call_sees_the_context_of_its_caller(
    make: Callable[..., Face], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tracing needs it, which hooks into the client."""
    seen: list[str] = []
    send = Unknown.__getattr__

    def note(self: Any, name: str) -> Any:
        seen.append(request.get())
        return send(self, name)

    monkeypatch.setattr(Unknown, "__getattr__", note)
    face = make(client_url(client), "unknown", **PLENTY)
    token = request.set("mine")
    face.try_acquire()
    request.reset(token)
    assert set(seen) == {"mine"}


@pytest.mark.parametrize("kind", ["sync"])
@pytest.mark.parametrize("which", ["ours", "unknown"])
def test_a_process_that_may_start_no_more_threads_is_told_that_redis_is_unavailable(
    make: Callable[..., Face], client: redis.Redis, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Also for the connect of our own connections."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    face = make(client_url(client), which, rates=["5/h"], command_timeout=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(redisopt.Unavailable, match="can't start new thread"):
            face.try_acquire()
    assert face.try_acquire()
