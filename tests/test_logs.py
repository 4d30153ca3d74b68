"""Structured logs: quiet by default, and every event with its fields once they are asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redisopt
from redisopt import events
from redisopt.logs import LEVELS
from tests.kinds import Kind


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.DEBUG, "redisopt")
    hook = redisopt.log_events()
    yield caplog
    hook.stop()


def told(logs: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The fields of each event of this name."""
    records = [record for record in logs.records if hasattr(record, "redisopt")]
    return [record.redisopt for record in records if record.redisopt["event"] == event]


def test_what_was_granted_and_refused_is_logged(twin: Kind, logs: pytest.LogCaptureFixture) -> None:
    throttler = twin.make("Throttler", "api", rates=["1/h"])
    twin.do(throttler.try_acquire, key="ada")
    twin.do(throttler.try_acquire, key="ada")
    (granted,), (refused,) = told(logs, "Granted"), told(logs, "Refused")
    assert (granted["name"], granted["key"], granted["cost"]) == ("api", "ada", 1)
    assert refused["reason"] == "1/h"


def test_batches_and_their_progress_are_logged(twin: Kind, logs: pytest.LogCaptureFixture) -> None:
    def handle(items: list[Any]) -> list[Any]:
        return [redisopt.Fatal("bad") if item == 3 else item for item in items]

    batcher = twin.make("Batcher", "embed", max_size=10, max_delay=0.01, handler=twin.function(handle))
    twin.do(batcher.map, range(10), run_id="tuesday", errors="collect")
    assert sum(ran["done"] for ran in told(logs, "BatchRan")) == 9
    assert sum(ran["dead"] for ran in told(logs, "BatchRan")) == 1
    last = told(logs, "Progressed")[-1]
    assert (last["name"], last["run"], last["done"], last["failed"], last["total"]) == ("embed", "tuesday", 9, 1, 10)
    levels = {record.levelno for record in logs.records if "BatchRan" in record.message}
    assert max(levels) == logging.WARNING


def test_debounced_runs_are_logged_and_why_they_failed(twin: Kind, logs: pytest.LogCaptureFixture) -> None:
    debouncer = twin.make("Debouncer", "save", wait=0.01, max_attempts=1)

    def handle(payload: Any, run: redisopt.Run) -> None:
        if payload == "bad":
            raise ValueError("no such document")

    debouncer.handler(two(twin, handle))

    async def work_async() -> None:
        async with debouncer.worker():
            for payload in ("good", "bad"):
                ticket = await debouncer.submit(payload, key=payload)
                await ticket.wait() if hasattr(ticket, "wait") else await _quiet(ticket.result(10))

    if twin.name == "sync":
        with debouncer.worker():
            debouncer.submit("good", key="good").result(10)
            with pytest.raises(redisopt.RunFailed):
                debouncer.submit("bad", key="bad").result(10)
    else:
        twin.do(work_async)
    good, bad = sorted(told(logs, "WindowRan"), key=lambda ran: ran["error"] is not None)
    assert (good["name"], good["key"], good["calls"], good["error"]) == ("save", "good", 1, None)
    assert bad["error"] == "ValueError: no such document"


def two(twin: Kind, act: Any) -> Any:
    """As a handler of two arguments of either twin."""
    if twin.name == "sync":
        return act

    async def act_async(payload: Any, run: Any) -> Any:
        return act(payload, run)

    return act_async


async def _quiet(awaitable: Any) -> None:
    try:
        await awaitable
    except redisopt.RunFailed:
        return


def test_fields_can_be_written_as_json(twin: Kind, logs: pytest.LogCaptureFixture) -> None:
    pipeline = twin.make("Pipeline", [redisopt.Fallback("stale")])

    def fail() -> None:
        raise ConnectionError("down")

    twin.do(pipeline.execute, twin.function(fail))
    (record,) = [record for record in logs.records if "FellBack" in record.message]
    assert json.loads(json.dumps(record.__dict__["redisopt"])) == {
        "event": "FellBack",
        "error": "ConnectionError: down",
    }
    assert record.levelno == logging.WARNING
    assert "error='ConnectionError: down'" in record.message


def test_nothing_is_logged_of_single_calls_by_default(twin: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "redisopt")
    throttler = twin.make("Throttler", "api", rates=["1/h"])
    twin.do(throttler.try_acquire)
    twin.do(throttler.try_acquire)
    assert [record.message for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_what_is_stopped_logs_no_more(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mine")
    hook = redisopt.log_events(logging.getLogger("mine"))
    hook.stop()
    with redisopt.Throttler(client, "api", rates=["1/s"]) as throttler:
        throttler.try_acquire()
    assert not caplog.records
    hook.stop()


@pytest.mark.parametrize("into", ["redisopt", "mine"])
def test_a_change_of_a_circuit_is_logged_once_with_its_fields(
    twin: Kind, caplog: pytest.LogCaptureFixture, into: str
) -> None:
    caplog.set_level(logging.DEBUG, "redisopt")
    caplog.set_level(logging.DEBUG, "mine")
    hook = redisopt.log_events(logging.getLogger(into))
    breaker = twin.make("CircuitBreaker", "api", minimum_calls=1)
    twin.do(breaker.force_open)
    hook.stop()
    records = [record for record in caplog.records if record.name == into and hasattr(record, "redisopt")]
    (record,) = [record for record in records if record.__dict__["redisopt"]["event"] == "CircuitChanged"]
    assert record.__dict__["redisopt"] == {
        "event": "CircuitChanged",
        "name": "api",
        "before": "closed",
        "after": "forced_open",
        "is_local": False,
    }


def test_every_event_has_a_level() -> None:
    assert set(events.Event.__args__) == set(LEVELS)


def test_a_logger_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="logger must be"):
        redisopt.log_events("redisopt")  # type: ignore[arg-type]
