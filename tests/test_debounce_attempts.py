"""What becomes of runs that fail: those whose fault it is, those whose it is not, and how many calls may wait for a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from tests.debounce_faces import DebounceFace
from tests.fragile import FragileServer
from tests.servers import RunningServer
from tests.waiting import wait_until

Make = Callable[..., DebounceFace]
QUICK: Any = {"wait": 0.01, "backoff_base": 0.01, "backoff_cap": 0.02}


def failing(times: int, error: Callable[[], Exception], attempts: list[int]) -> Callable[[Any, redisopt.Run], Any]:
    def act(payload: Any, run: redisopt.Run) -> Any:
        attempts.append(run.attempt)
        if len(attempts) <= times:
            raise error()
        return payload

    return act


def test_no_attempt_is_counted_for_what_is_not_the_runs_fault(make_debouncer: Make, client: redis.Redis) -> None:
    attempts: list[int] = []
    debouncer = make_debouncer(max_attempts=2, **QUICK)
    debouncer.handle(failing(5, ConnectionError, attempts))
    debouncer.start()
    ticket = debouncer.do(debouncer.real.submit, "payload", "key")
    assert debouncer.do(ticket.result, 20).value == "payload"
    assert attempts == [1] * 6
    assert debouncer.do(debouncer.real.metrics).retried == 5
    assert not [
        field
        for key in client.scan_iter("*:key*")
        if client.type(key) == b"hash"
        for field in client.hgetall(key)
        if b"repeats" in field
    ]


def test_attempts_are_counted_once_retry_for_is_over(make_debouncer: Make) -> None:
    attempts: list[int] = []
    debouncer = make_debouncer(max_attempts=2, retry_for=0, **QUICK)
    debouncer.handle(failing(99, ConnectionError, attempts))
    debouncer.start()
    ticket = debouncer.do(debouncer.real.submit, "payload", "key")
    with pytest.raises(redisopt.RunFailed, match="ConnectionError") as failed:
        debouncer.do(ticket.result, 20)
    assert failed.value.attempts == 2
    # The first repeat begins the time; an error of the same ms is still within it.
    assert attempts in ([1, 1, 2], [1, 1, 1, 2])


def test_other_errors_are_counted_between(make_debouncer: Make) -> None:
    attempts: list[int] = []
    errors = iter([ConnectionError(), ValueError(), ConnectionError(), ValueError()])
    debouncer = make_debouncer(max_attempts=2, **QUICK)
    debouncer.handle(failing(99, lambda: next(errors), attempts))
    debouncer.start()
    ticket = debouncer.do(debouncer.real.submit, "payload", "key")
    with pytest.raises(redisopt.RunFailed, match="ValueError"):
        debouncer.do(ticket.result, 20)
    assert attempts == [1, 1, 2, 2]


def test_what_runs_at_most_once_is_not_repeated(make_debouncer: Make) -> None:
    attempts: list[int] = []
    debouncer = make_debouncer(delivery="at_most_once", **QUICK)
    debouncer.handle(failing(99, ConnectionError, attempts))
    debouncer.start()
    ticket = debouncer.do(debouncer.real.submit, "payload", "key")
    with pytest.raises(redisopt.RunFailed):
        debouncer.do(ticket.result, 20)
    assert attempts == [1]


def test_calls_of_a_key_that_wait_for_a_worker_are_bounded(make_debouncer: Make) -> None:
    debouncer = make_debouncer(collect="all", max_queue=3, **QUICK)
    for number in range(3):
        debouncer.do(debouncer.real.submit, number, "key")
    with pytest.raises(redisopt.QueueFull, match="max_queue=3") as refused:
        debouncer.do(debouncer.real.submit, 3, "key")
    assert refused.value.retry_after >= 0
    debouncer.do(debouncer.real.submit, 0, "another")
    assert debouncer.do(debouncer.real.peek, "key").calls == 3
    debouncer.handle()
    debouncer.start()
    wait_until(lambda: len(debouncer.runs) == 2)
    assert sorted(ran.payload for ran in debouncer.runs) == [[0], [0, 1, 2]]
    debouncer.do(debouncer.real.submit, 4, "key")
    debouncer.do(debouncer.real.cancel, "key")


class Unspeakable(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("this is not to be said")


def speechless(*_: object) -> Any:
    raise Unspeakable


def test_an_error_that_cannot_say_what_it_is_fails_its_run_at_once(make_debouncer: Make) -> None:
    debouncer = make_debouncer(max_attempts=1, lease_ttl=30, **QUICK)
    debouncer.handle(speechless)
    debouncer.start()
    with pytest.raises(redisopt.RunFailed, match=r"Unspeakable: .what it says of itself raised RuntimeError"):
        debouncer.result(debouncer.submit("a"), 10)


def test_a_function_whose_error_cannot_say_what_it_is(make_debouncer: Make) -> None:
    debouncer = make_debouncer(lease_ttl=30, **QUICK)

    async def speechless_async() -> Any:
        raise Unspeakable

    function = speechless if debouncer.kind == "sync" else speechless_async
    with pytest.raises(Unspeakable):
        debouncer.execute(function)
    with pytest.raises(Unspeakable):
        debouncer.execute(function, timeout=5)


def test_a_coroutine_that_a_plain_handler_returns_is_a_failure(server: RunningServer, client: redis.Redis) -> None:
    """Nobody would await it, and its work would be lost."""

    async def work(payload: Any) -> Any:
        return payload

    with redisopt.Debouncer(client, "test", max_attempts=1, command_timeout=5.0, **QUICK) as debouncer:
        debouncer.handler(lambda payload: work(payload))
        with debouncer.worker():
            ticket = debouncer.submit("a")
            with pytest.raises(redisopt.RunFailed, match="returned a coroutine, which nobody awaits"):
                ticket.result(10)


def test_a_caller_gets_what_its_function_gave_though_redis_is_gone_meanwhile() -> None:
    """The others cannot be told; but it ran."""
    for kind in ("sync", "async"):
        for raises in (False, True):
            with FragileServer() as server:
                debouncer = DebounceFace(kind, server.url, wait=0.01, lease_ttl=0.5, command_timeout=0.3)
                away = server.away("cut off")

                def act(*, raises: bool = raises, away: Any = away) -> str:
                    away.__enter__()
                    time.sleep(0.6)
                    if raises:
                        raise ValueError("of its own")
                    return "value"

                async def act_async(act: Callable[[], str] = act) -> str:
                    return await asyncio.to_thread(act)

                function = act if kind == "sync" else act_async
                try:
                    if raises:
                        with pytest.raises(ValueError, match="of its own"):
                            debouncer.execute(function)
                    else:
                        assert debouncer.execute(function) == "value"
                finally:
                    away.__exit__(None, None, None)
                debouncer.close()
