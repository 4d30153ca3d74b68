"""`RetryPolicy`: what is tried again, when, and how often the whole fleet may do so."""

from __future__ import annotations

import dataclasses
import pickle
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import pytest
import redis
import tenacity
from pydantic import ValidationError

import redisopt
from redisopt import events
from redisopt.retry.plans import seconds_asked
from redisopt.testing import ServerClock
from tests.kinds import Kind
from tests.outages import stopped
from tests.servers import RunningServer
from tests.test_batch_outages import full

QUICK: Any = {"backoff_base": 0.001, "backoff_cap": 0.002, "command_timeout": 5.0}


class Fails:
    """A function that fails so many times, and then gives its argument."""

    def __init__(self, times: int, error: Callable[[], BaseException] = ConnectionError) -> None:
        self.left = times
        self.calls: list[float] = []
        self._error = error

    def __call__(self, value: Any = "value") -> Any:
        self.calls.append(time.monotonic())
        if self.left:
            self.left -= 1
            raise self._error()
        return value


class Response:
    """As that of requests and httpx."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status_code = status
        self.headers = headers


class Refused(Exception):
    """As the HTTPError of these."""

    def __init__(self, status: int = 429, **headers: str) -> None:
        super().__init__(f"HTTP {status}")
        self.response = Response(status, {name.replace("_", "-"): value for name, value in headers.items()})


def test_what_fails_is_tried_again_until_it_succeeds(twin: Kind) -> None:
    retry, fails = twin.make("RetryPolicy", "api", **QUICK), Fails(2)
    assert twin.do(retry.execute, twin.function(fails), 42) == 42
    assert len(fails.calls) == 3


def test_a_call_that_succeeds_costs_redis_nothing(twin: Kind, client: redis.Redis) -> None:
    retry = twin.make("RetryPolicy", "api", **QUICK)
    before = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    for _ in range(20):
        twin.do(retry.execute, twin.function(Fails(0)))
    assert client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"] == before
    assert not client.keys()


def test_the_last_error_is_raised_and_says_how_often_it_was_tried(twin: Kind) -> None:
    retry, fails = twin.make("RetryPolicy", "api", max_attempts=4, **QUICK), Fails(9, lambda: TimeoutError("slow"))
    with pytest.raises(TimeoutError, match="slow") as raised:
        twin.do(retry.execute, twin.function(fails))
    assert len(fails.calls) == 4
    assert raised.value.__notes__ == ["redisopt: retry 'api' tried 4 times"]


def test_what_retrying_does_not_help_is_raised_at_once(twin: Kind) -> None:
    retry, fails = twin.make("RetryPolicy", "api", **QUICK), Fails(9, lambda: KeyError("no"))
    with pytest.raises(KeyError):
        twin.do(retry.execute, twin.function(fails))
    assert len(fails.calls) == 1


def test_errors_can_be_named(twin: Kind) -> None:
    retry = twin.make("RetryPolicy", "api", retry_on=("KeyError", "redis.exceptions.ConnectionError"), **QUICK)
    assert retry.config.retry_on == (KeyError, redis.ConnectionError)
    assert twin.do(retry.execute, twin.function(Fails(1, KeyError))) == "value"


def test_a_stop_iteration_of_the_function_passes(server: RunningServer, client: redis.Redis) -> None:
    with redisopt.RetryPolicy(client, "api", **QUICK) as retry, pytest.raises(StopIteration):
        retry.execute(Fails(9, StopIteration))
    with redisopt.RetryPolicy(client, "api", retry_on=(StopIteration,), **QUICK) as retry:
        assert retry.execute(Fails(1, StopIteration)) == "value"


def test_decorated_functions_are_tried_again(twin: Kind) -> None:
    fails = Fails(1)
    again = twin.make("RetryPolicy", "api", **QUICK)(twin.function(fails))
    assert twin.do(again, value=7) == 7


def test_an_error_says_when_to_come_back(twin: Kind) -> None:
    retry = twin.make("RetryPolicy", "api", max_attempts=2, **QUICK)
    fails = Fails(1, lambda: Refused(Retry_After="0.3"))
    assert twin.do(retry.execute, twin.function(fails)) == "value"
    assert fails.calls[1] - fails.calls[0] >= 0.3


def test_who_is_told_to_come_back_too_late_does_not(twin: Kind) -> None:
    retry, fails = (
        twin.make("RetryPolicy", "api", max_retry_after=5, **QUICK),
        Fails(1, lambda: Refused(Retry_After="6")),
    )
    with pytest.raises(Refused):
        twin.do(retry.execute, twin.function(fails))
    assert len(fails.calls) == 1


def test_retry_after_can_be_ignored(twin: Kind) -> None:
    retry = twin.make("RetryPolicy", "api", respect_retry_after=False, **QUICK)
    with pytest.raises(Refused):
        twin.do(retry.execute, twin.function(Fails(1, lambda: Refused(Retry_After="0.1"))))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (redisopt.Throttled("no", retry_after=1.5, reason="10/s"), 1.5),
        (Refused(429, Retry_After="3"), 3.0),
        (Refused(503, retry_after_ms="250"), 0.25),
        (Refused(500), None),
        (Refused(200, Retry_After="3"), None),
        (ConnectionError(), None),
        (redisopt.Unavailable("away"), None),
    ],
)
def test_who_says_when_to_come_back(error: Exception, seconds: float | None) -> None:
    assert seconds_asked(error) == seconds


def test_a_last_try_begins_within_retry_for(twin: Kind) -> None:
    fields = QUICK | {"backoff_base": 0.2, "backoff_cap": 0.2}
    retry = twin.make("RetryPolicy", "api", max_attempts=1000, retry_for=0.5, wait=tenacity.wait_fixed(0.2), **fields)
    fails = Fails(1000)
    with pytest.raises(ConnectionError):
        twin.do(retry.execute, twin.function(fails))
    assert fails.calls[-1] - fails.calls[0] < 0.5
    assert 2 <= len(fails.calls) <= 3


def test_strategies_of_tenacity_take_the_place_of_the_configs(twin: Kind) -> None:
    retry = twin.make(
        "RetryPolicy",
        "api",
        retry=tenacity.retry_if_exception_message(match="again"),
        wait=tenacity.wait_none(),
        stop=tenacity.stop_after_attempt(5),
        **QUICK,
    )
    fails = Fails(9, lambda: RuntimeError("again"))
    with pytest.raises(RuntimeError, match="again"):
        twin.do(retry.execute, twin.function(fails))
    assert len(fails.calls) == 5


def test_the_fleet_tries_again_a_share_of_its_calls(twin: Kind, client: redis.Redis, clock: ServerClock) -> None:
    """Ten in reserve, one for every ten calls, none by time: 10 + 200 / 10."""
    clock.set(1_000_000_000_000)
    terms = QUICK | {"budget": 0.1, "budget_minimum": 0, "budget_reserve": 10, "max_attempts": 2}
    policies = [twin.make("RetryPolicy", "api", **terms) for _ in range(2)]
    tried, notes = 0, set()
    for number in range(205):
        fails = Fails(2)
        with pytest.raises(ConnectionError) as raised:
            twin.do(policies[number % 2].execute, twin.function(fails))
        notes.update(raised.value.__notes__)
        tried += len(fails.calls)
    assert tried - 205 in {29, 30}
    assert len(notes) == 2
    metrics = twin.do(policies[0].metrics)
    assert (metrics.calls, metrics.retries, metrics.refused) == (205, tried - 205, 410 - tried)
    assert metrics.left < 1


def test_time_brings_retries(twin: Kind, client: redis.Redis, clock: ServerClock) -> None:
    clock.set(1_000_000_000_000)
    terms = QUICK | {"budget": 0, "budget_minimum": 0.5, "budget_reserve": 1, "max_attempts": 2}
    retry = twin.make("RetryPolicy", "api", **terms)
    assert twin.do(retry.execute, twin.function(Fails(1))) == "value"
    with pytest.raises(ConnectionError):
        twin.do(retry.execute, twin.function(Fails(1)))
    clock.advance(2.0)
    assert twin.do(retry.execute, twin.function(Fails(1))) == "value"
    clock.advance(-3600.0)
    with pytest.raises(ConnectionError):
        twin.do(retry.execute, twin.function(Fails(1)))
    clock.advance(2.0)
    assert twin.do(retry.execute, twin.function(Fails(1))) == "value"


def test_without_a_budget_redis_is_not_asked(twin: Kind, client: redis.Redis) -> None:
    retry = twin.make("RetryPolicy", "api", budget=None, max_attempts=50, **QUICK)
    assert twin.do(retry.execute, twin.function(Fails(40))) == "value"
    assert not client.keys()


def _fail_often(url: str, calls: int) -> int:
    tries = 0
    with (
        redis.from_url(url) as client,
        redisopt.RetryPolicy(
            client, "api", budget=0.1, budget_minimum=0, budget_reserve=20, max_attempts=3, **QUICK
        ) as retry,
    ):
        for _ in range(calls):
            fails = Fails(9)
            with pytest.raises(ConnectionError):
                retry.execute(fails)
            tries += len(fails.calls)
    return tries


def test_processes_share_the_budget(client: redis.Redis, server: RunningServer) -> None:
    """Eight processes whose calls all fail: 20 in reserve, and a tenth of 800."""
    with get_context("spawn").Pool(8) as pool:
        tries = sum(pool.starmap(_fail_often, [(server.url, 100)] * 8))
    assert 90 <= tries - 800 <= 100


def test_while_redis_is_away_each_process_has_a_budget(twin: Kind, server: RunningServer) -> None:
    terms = QUICK | {"command_timeout": 0.2, "budget": 0, "budget_minimum": 0, "budget_reserve": 3, "max_attempts": 9}
    retry, fails = twin.make("RetryPolicy", "api", **terms), Fails(9)
    with stopped(server), pytest.raises(ConnectionError):
        twin.do(retry.execute, twin.function(fails))
    assert len(fails.calls) == 4


def test_a_retry_is_told(twin: Kind) -> None:
    told: list[Any] = []
    events.add_hook(told.append)
    try:
        twin.do(twin.make("RetryPolicy", "api", **QUICK).execute, twin.function(Fails(1)))
    finally:
        events.remove_hook(told.append)
    (again,) = [event for event in told if isinstance(event, events.TriedAgain)]
    assert (again.name, again.attempt) == ("api", 1)


def test_every_key_has_a_time_to_live(twin: Kind, client: redis.Redis) -> None:
    twin.do(twin.make("RetryPolicy", "a b", **QUICK).execute, twin.function(Fails(1)))
    (key,) = client.keys()
    assert key == b"redisopt:v1:{retry:a%20b}:budget"
    assert 0 < client.pttl(key) <= 3_600_000


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0},
        {"retry_on": (int,)},
        {"retry_on": "no.such.Error"},
        {"backoff_base": 2, "backoff_cap": 1},
        {"budget": -0.1},
        {"budget_reserve": 0},
        {"retries": 3},
        {"retry_for": 0},
    ],
)
def test_bad_fields_are_named(client: redis.Redis, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(reversed(fields)))):
        redisopt.RetryPolicy(client, "api", **fields)


def test_bad_arguments_are_refused(client: redis.Redis) -> None:
    with pytest.raises(ValueError, match="wait must be a strategy"):
        redisopt.RetryPolicy(client, "api", wait=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name"):
        redisopt.RetryPolicy(client, "{}")

    async def fetch() -> None:
        raise AssertionError("it is not called")

    with redisopt.RetryPolicy(client, "api") as retry:
        with pytest.raises(ValueError, match="AsyncRetryPolicy"):
            retry.execute(fetch)  # type: ignore[unused-coroutine]
        with pytest.raises(ValueError, match="AsyncRetryPolicy"):
            retry(fetch)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(retry)


@dataclasses.dataclass(frozen=True)
class Frozen(ConnectionError):
    """An error that can bear no note."""

    code: int = 503


def test_errors_that_bear_no_note_pass_as_they_are(twin: Kind) -> None:
    retry = twin.make("RetryPolicy", "api", **QUICK)
    with pytest.raises(Frozen):
        twin.do(retry.execute, twin.function(Fails(9, Frozen)))


def test_one_error_has_one_note_however_often_it_is_raised(twin: Kind) -> None:
    retry, error = twin.make("RetryPolicy", "api", budget=None, **QUICK), ConnectionError()
    for _ in range(3):
        with pytest.raises(ConnectionError):
            twin.do(retry.execute, twin.function(Fails(9, lambda: error)))
    assert len(error.__notes__) == 1


def test_a_response_that_says_to_come_back_at_once_is_tried_again(twin: Kind) -> None:
    retry = twin.make("RetryPolicy", "api", **QUICK)
    assert twin.do(retry.execute, twin.function(Fails(1, lambda: Refused(429, Retry_After="0")))) == "value"


def test_other_responses_are_not_tried_again_for_their_limits(twin: Kind) -> None:
    retry = twin.make("RetryPolicy", "api", **QUICK)
    fails = Fails(1, lambda: Refused(404, RateLimit_Limit="10", RateLimit_Remaining="0", RateLimit_Reset="1"))
    with pytest.raises(Refused):
        twin.do(retry.execute, twin.function(fails))
    assert len(fails.calls) == 1


def test_our_own_refusals_are_not_tried_again(twin: Kind) -> None:
    """They say when to come back, and would hold up the caller for as long."""
    retry = twin.make("RetryPolicy", "api", **QUICK)
    fails = Fails(1, lambda: redisopt.Throttled("no", retry_after=0.0, reason="10/s"))
    with pytest.raises(redisopt.Throttled):
        twin.do(retry.execute, twin.function(fails))
    assert len(fails.calls) == 1


def test_a_strategy_may_look_at_results(twin: Kind) -> None:
    results = iter([None, None, "found"])
    retry = twin.make("RetryPolicy", "api", retry=tenacity.retry_if_result(lambda result: result is None), **QUICK)
    assert twin.do(retry.execute, twin.function(lambda: next(results))) == "found"
    with pytest.raises(tenacity.RetryError):
        twin.do(retry.execute, twin.function(lambda: None))


def test_what_each_second_brings_is_not_lost_to_frequent_questions(twin: Kind, clock: ServerClock) -> None:
    terms = QUICK | {"budget": 0, "budget_minimum": 0.1, "budget_reserve": 1, "max_attempts": 2}
    retry = twin.make("RetryPolicy", "api", **terms)
    assert twin.do(retry.execute, twin.function(Fails(1))) == "value"
    granted = 0
    for _ in range(2100):
        clock.advance(0.005)
        fails = Fails(1)
        try:
            twin.do(retry.execute, twin.function(fails))
        except ConnectionError:
            continue
        granted += 1
    assert granted == 1


def test_a_full_server_keeps_the_budget(twin: Kind, client: redis.Redis) -> None:
    terms = QUICK | {"budget": 0, "budget_minimum": 0, "budget_reserve": 3, "max_attempts": 2}
    policies = [twin.make("RetryPolicy", "api", **terms) for _ in range(2)]
    granted = 0
    twin.do(policies[0].execute, twin.function(Fails(1)))
    with full(client):
        for number in range(8):
            fails = Fails(1)
            try:
                twin.do(policies[number % 2].execute, twin.function(fails))
            except ConnectionError:
                continue
            granted += 1
    assert granted == 2


# --- what is pending still is no failure


@pytest.mark.parametrize(
    ("retry_on", "tries"),
    [
        (None, 1),
        (("TimeoutError", "OSError"), 1),
        (("TimeoutError", "redisopt.ResultTimeout"), 3),
        ((redisopt.RedisOptError,), 3),
        ((Exception,), 3),
    ],
)
def test_a_result_that_is_pending_still_is_not_asked_for_again(twin: Kind, retry_on: Any, tries: int) -> None:
    """It is a TimeoutError for who waits, and yet no failure of what is called, unless its own name says so."""
    retry = twin.make("RetryPolicy", "test", **QUICK, **({} if retry_on is None else {"retry_on": retry_on}))
    for error, expected in ((redisopt.ResultTimeout, tries), (redisopt.OperationTimeout, 3)):
        fails = Fails(10, error)
        with pytest.raises(error):
            twin.do(retry.execute, twin.function(fails))
        assert len(fails.calls) == expected


class Counted:
    """How often it comes to what is inside."""

    def __init__(self) -> None:
        self.tries = 0

    def around(self, inner: Callable[[], Any]) -> Any:
        self.tries += 1
        return (yield from inner())


def test_what_waits_for_a_window_is_not_submitted_again(twin: Kind) -> None:
    retry, counted = twin.make("RetryPolicy", "test", **QUICK), Counted()
    debouncer = twin.make("Debouncer", "test", wait=60, command_timeout=5.0)
    pipeline = twin.make("Pipeline", [retry, counted, debouncer.policy(key="k", timeout=0.1)])
    with pytest.raises(redisopt.ResultTimeout):
        twin.do(pipeline.execute, twin.function(lambda: 1))
    assert counted.tries == 1
    twin.do(debouncer.cancel, "k")


def test_who_waits_for_anothers_value_waits_once(twin: Kind) -> None:
    retry, counted = twin.make("RetryPolicy", "test", **QUICK), Counted()
    cache = twin.make("Cache", "test", ttl=60, command_timeout=5.0)
    pipeline = twin.make("Pipeline", [retry, counted, cache.policy("k", timeout=0.1)])
    begun, end = threading.Event(), threading.Event()

    def compute() -> int:
        begun.set()
        end.wait(30)
        return 1

    with redis.from_url(twin.url) as own, redisopt.Cache(own, "test", ttl=60, command_timeout=5.0) as other:
        thread = threading.Thread(target=other.get_or_compute, args=("k", compute))
        thread.start()
        assert begun.wait(10)
        with pytest.raises(redisopt.ResultTimeout):
            twin.do(pipeline.execute, twin.function(lambda: 2))
        end.set()
        thread.join()
    assert counted.tries == 1
