"""Bad configuration and bad arguments are refused before Redis is touched, with the field and the value; and what is told apart."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
import redis
import redis.asyncio

import redisopt
from redisopt.backoff import full_jitter
from redisopt.debounce.config import DebounceConfig
from tests.debounce_faces import DebounceFace
from tests.proxy import Proxy
from tests.servers import RunningServer

Make = Callable[..., DebounceFace]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"leading": False, "trailing": False}, "leading and trailing are both off"),
        ({"wait": 1, "max_wait": 0.1}, "max_wait 0.1 s is shorter than wait 1"),
        ({"wait": -0.1}, "wait"),
        ({"wait": float("nan")}, "wait"),
        ({"wait": float("inf")}, "wait"),
        ({"max_wait": -1}, "max_wait"),
        ({"collect": "some"}, "collect"),
        ({"max_items": 0}, "max_items"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"lease_ttl": 0}, "lease_ttl"),
        ({"delivery": "exactly_once"}, "delivery"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"backoff_base": 5, "backoff_cap": 1}, "backoff_cap"),
        ({"result_ttl": 0}, "result_ttl"),
        ({"codec": "pickle"}, "codec"),
        ({"partitions": 0}, "partitions"),
        ({"partitions": 100_000}, "partitions"),
        ({"waits": 1}, "waits"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=told):
        DebounceConfig(**fields)


def test_a_coroutine_function_is_no_reducer() -> None:
    async def reduce(payloads: list[Any]) -> Any:
        return payloads

    with pytest.raises(pydantic.ValidationError, match="collect must be a plain function"):
        DebounceConfig(collect=reduce)  # type: ignore[arg-type]


def test_a_config_comes_from_the_environment_too() -> None:
    config = DebounceConfig.from_env("INDEX_", {"INDEX_WAIT": "2.5", "INDEX_MAX_WAIT": "10", "INDEX_COLLECT": "all"})
    assert (config.wait, config.max_wait, config.collect) == (2.5, 10.0, "all")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"payload": object()}, "value is a object"),
        ({"payload": {1: 2}}, "map key 1"),
        ({"payload": "x" * 2000}, "at most 1,000 are allowed"),
        ({"key": 7}, "key must be a str, not int"),
        ({"key": ["a"]}, "key must be a str, not list"),
        ({"key": "x" * 1025}, "key .* has 1,025 bytes"),
        ({"call_id": 7}, "call_id must be a str"),
        ({"call_id": "x" * 300}, "call_id must be a str of at most 256"),
        ({"call_id": "a\nb"}, "call_id"),
        ({"wait": -1}, "wait must be from 0 to"),
        ({"wait": "1"}, "wait must be from 0 to"),
        ({"wait": 9}, r"wait 9 s is longer than max_wait 5.0 s"),
    ],
)
def test_a_bad_call_is_refused_before_redis_is_touched(
    server: RunningServer, make_debouncer: Make, arguments: dict[str, Any], told: str
) -> None:
    with Proxy(server.url) as proxy:
        kind = make_debouncer().kind
        face = DebounceFace(kind, proxy.url, max_wait=5.0, max_payload_bytes=1000)
        with pytest.raises(ValueError, match=told):
            face.submit(**arguments)
        face.close()
        assert not proxy.seen


def test_bad_timeouts_workers_and_handlers_are_refused(make_debouncer: Make) -> None:
    face = make_debouncer(wait=10)
    ticket = face.submit("a")
    for timeout in (-1, "1", True, float("nan")):
        with pytest.raises(ValueError, match="timeout must be None or a number of seconds"):
            face.do(ticket.result, timeout)
    with pytest.raises(ValueError, match="has no handler to run"):
        face.start()
    face.handle()
    with pytest.raises(ValueError, match="there can be but one"):
        face.handle()
    for how, told in (
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"grace": -1}, "grace"),
    ):
        with pytest.raises(ValueError, match=f"{told} must be"):
            face.start(**how)
    worker = face.start()
    with pytest.raises(ValueError, match="works already"):
        face.do(worker.start)
    face.cancel()


async def coroutine(payload: Any) -> Any:
    return payload


def plain(payload: Any) -> Any:
    return payload


def test_a_handler_of_the_wrong_kind_is_refused(make_debouncer: Make) -> None:
    face = make_debouncer()
    wrong = coroutine if face.kind == "sync" else plain
    with pytest.raises(ValueError, match=r"handler .* coroutine function"):
        face.real.handler(wrong)
    with pytest.raises(ValueError, match=r"function .* coroutine function"):
        face.execute(wrong, 1)
    with pytest.raises(ValueError, match=r"function .* coroutine function"):
        face.real(wrong)
    with pytest.raises(ValueError, match="handler must be a function"):
        face.real.handler(7)

    def none() -> None:
        """Takes no payload."""

    async def none_async() -> None:
        """Takes no payload."""

    with pytest.raises(ValueError, match="must take a payload"):
        face.real.handler(none if face.kind == "sync" else none_async)


def test_what_is_no_client_or_no_throttler_is_refused(client: redis.Redis) -> None:
    with pytest.raises(ValueError, match="an async client needs the Async class"):
        redisopt.Debouncer(redis.asyncio.Redis(), "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name is empty"):
        redisopt.Debouncer(client, "")
    with pytest.raises(ValueError, match="throttler must have an acquire method"):
        redisopt.Debouncer(client, "test", throttler="5/s")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"on_debounce .* coroutine function"):
        redisopt.Debouncer(client, "test", on_debounce=coroutine)
    with redisopt.Debouncer(client, "test") as debouncer, pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(debouncer)


def test_a_failed_run_keeps_what_it_says_in_another_process() -> None:
    failed = redisopt.RunFailed("it failed", window="1", error="ValueError: no", attempts=3)
    again = pickle.loads(pickle.dumps(failed))
    assert (str(again), again.window, again.error, again.attempts) == ("it failed", "1", "ValueError: no", 3)


def test_backoff_has_full_jitter() -> None:
    """From nothing up to a bound that doubles, to the cap."""
    for attempt, bound in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (5000, 3.0)):
        waits = [full_jitter(attempt, 0.5, 3.0) for _ in range(500)]
        assert 0 <= min(waits) < bound * 0.1
        assert bound * 0.9 < max(waits) <= bound


def test_a_callback_that_raises_changes_nothing(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0.02, on_debounce=lambda pending: 1 / 0)
    face.handle()
    face.start()
    assert face.result(face.submit("a")).value == "a"


def test_a_value_that_cannot_be_stored_is_no_failure_of_the_run(make_debouncer: Make) -> None:
    """It is done, and is not done again; who waits is told."""
    face = make_debouncer(wait=0)
    face.handle(lambda *_: object())
    face.start()
    ticket = face.submit("a")
    with pytest.raises(redisopt.RunFailed, match="the handler's value is a object"):
        face.result(ticket)
    assert len(face.runs) == 1
    assert face.dead() == []


def test_json_payloads_can_be_read_in_redis(make_debouncer: Make, client: redis.Redis) -> None:
    face = make_debouncer(wait=0.3, codec="json")
    ticket = face.submit({"doc": 7})
    key = "redisopt:v1:{debounce:test:0}:key:"
    assert client.hget(key, "payload") == b'{"doc":7}'
    assert client.pttl(key) == -1, "what is pending never expires"
    face.handle()
    face.start()
    assert face.result(ticket).value == {"doc": 7}


def test_a_throttler_of_the_other_kind_is_refused(make_debouncer: Make, server: RunningServer) -> None:
    """Its permits would never be awaited, or could not be, and nothing would be throttled."""
    face = make_debouncer()
    plain_client, async_client = redis.from_url(server.url), redis.asyncio.from_url(server.url)
    throttlers: Any = (
        redisopt.Throttler(plain_client, "test", rates=["1/s"]),
        redisopt.AsyncThrottler(async_client, "test", rates=["1/s"]),
    )
    wrong, wanted = (throttlers[1], "a Throttler") if face.kind == "sync" else (throttlers[0], "an AsyncThrottler")
    with pytest.raises(ValueError, match=f"throttler must be {wanted}, not {type(wrong).__name__}"):
        type(face.real)(face.client, "other", throttler=wrong)


def test_a_second_argument_with_a_default_is_the_handlers_own(make_debouncer: Make) -> None:
    face = make_debouncer(wait=0)

    def handle(payload: Any, suffix: str = "!") -> str:
        return f"{payload}{suffix}"

    async def handle_async(payload: Any, suffix: str = "!") -> str:
        return f"{payload}{suffix}"

    mine = handle if face.kind == "sync" else handle_async
    face.real.handler(mine)
    with pytest.raises(ValueError, match=f"has the handler <function .*{mine.__name__}"):
        face.real.handler(mine)
    face.start()
    assert face.result(face.submit("a")).value == "a!"


@pytest.mark.parametrize("stop", [None, 5])
def test_a_foreground_worker_needs_an_event_of_its_kind(make_debouncer: Make, stop: Any) -> None:
    face = make_debouncer()
    face.handle()
    other = asyncio.Event() if face.kind == "sync" else threading.Event()
    for wrong in (stop, other):
        with pytest.raises(ValueError, match=r"stop must be an? (threading|asyncio)\.Event, not"):
            face.run(wrong)


def test_no_call_id_and_no_letter_id(make_debouncer: Make) -> None:
    face = make_debouncer(wait=5)
    tickets = [face.submit("a", call_id=call_id) for call_id in (None, None)]
    assert [ticket.number for ticket in tickets] == [1, 2]
    face.cancel()
    for wrong in (5, [1]):
        with pytest.raises(ValueError, match="window must be the id of a dead letter"):
            face.replay(wrong)
