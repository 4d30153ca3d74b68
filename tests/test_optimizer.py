"""`Optimizer`: every combination of its options, what each part does in it, and operations that other processes run."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from pydantic import ValidationError

import redisopt
from redisopt import OptimizerConfig
from redisopt.optimizer.grouping import Grouping
from redisopt.optimizer.options import Options
from redisopt.optimizer.plans import MEASURED
from tests.kinds import Kind
from tests.outages import stopped
from tests.servers import RunningServer
from tests.waiting import wait_until

SECTIONS: dict[str, Any] = {
    "batching": {"max_size": 8, "max_delay": 0.002},
    "throttling": {"rates": ["1000000/s"], "max_concurrent": 100},
    "debouncing": {"wait": 0.005, "max_wait": 1},
    "caching": {"ttl": 60, "failure_ttl": 0, "early_refresh": 0},
    "breaking": {"minimum_calls": 1_000_000},
    "retrying": {"backoff_base": 0.001, "backoff_cap": 0.001, "budget": None},
    "monitoring": {"flush_interval": 0.5},
    "command_timeout": 5.0,
}
BOOLS = ("batch", "throttle", "debounce", "breaker", "retry")
SWITCHES = (*BOOLS, "cache", "timeout", "fallback")


class Combination(NamedTuple):
    """Which of the options a call has."""

    on: frozenset[str]

    @property
    def options(self) -> dict[str, Any]:
        """As `optimize` takes them, but for the keys."""
        found: dict[str, Any] = {name: name in self.on for name in BOOLS}
        if "timeout" in self.on:
            found["timeout"] = 20.0
        if "fallback" in self.on:
            found["fallback"] = "fallback"
        return found

    def key(self, of: str) -> str:
        """A key of its own, so that no call meets another's."""
        return f"{of} {' '.join(sorted(self.on))}"


COMBINATIONS = [
    Combination(frozenset(chosen))
    for count in range(len(SWITCHES) + 1)
    for chosen in itertools.combinations(SWITCHES, count)
]


@pytest.fixture
def optimizer(twin: Kind) -> Any:
    return twin.make("Optimizer", "api", **SECTIONS)


def ends(twin: Kind, optimizer: Any, combination: Combination, operation: Callable[[], Any], of: str) -> Any:
    """What a call gives, or the error that it raises."""
    try:
        return twin.do(optimizer.optimize, twin.function(operation), **keys_of(combination, of), **combination.options)
    except Exception as error:
        return type(error)


def keys_of(combination: Combination, of: str) -> dict[str, Any]:
    key = combination.key(of)
    of_part = {"key": key} if combination.on & {"throttle", "debounce", "batch"} else {}
    return of_part | {"cache": key} if "cache" in combination.on else of_part


def raise_it(error: Exception) -> Any:
    raise error


# --- every combination


def test_every_combination_gives_the_value(twin: Kind, optimizer: Any) -> None:
    for combination in COMBINATIONS:
        assert ends(twin, optimizer, combination, lambda: 42, "value") == 42, combination


def test_every_combination_ends_with_the_error_or_its_fallback(twin: Kind, optimizer: Any) -> None:
    for combination in COMBINATIONS:
        calls: list[int] = []

        def fail(calls: list[int] = calls) -> None:
            calls.append(1)
            raise KeyError("no")

        expected = "fallback" if "fallback" in combination.on else KeyError
        assert ends(twin, optimizer, combination, fail, "error") == expected, combination
        assert len(calls) == 1, combination


def test_every_combination_tries_again_what_it_is_told_to(twin: Kind, optimizer: Any) -> None:
    for combination in COMBINATIONS:
        calls: list[int] = []

        def fail_once(calls: list[int] = calls) -> str:
            calls.append(1)
            if len(calls) == 1:
                raise ConnectionError("reset by peer")
            return "second"

        retried, answered = "retry" in combination.on, "fallback" in combination.on
        expected = "second" if retried else "fallback" if answered else ConnectionError
        assert ends(twin, optimizer, combination, fail_once, "again") == expected, combination


@pytest.mark.parametrize("policy", ["raise", "allow", "deny", "local"])
def test_without_redis_every_combination_ends_as_its_policies_say(
    twin: Kind, server: RunningServer, policy: str
) -> None:
    sections = SECTIONS | {"throttling": {"rates": ["1000000/s"], "on_unavailable": policy}, "command_timeout": 0.2}
    optimizer = twin.make("Optimizer", "api", **sections)
    with stopped(server, 90):
        for combination in COMBINATIONS:
            away: type[Exception] | None = None
            if "throttle" in combination.on:
                away = {"raise": redisopt.Unavailable, "deny": redisopt.Throttled}.get(policy)
            if "debounce" in combination.on:
                away = redisopt.Unavailable
            expected: Any = "fallback" if away and "fallback" in combination.on else away or "value"
            assert ends(twin, optimizer, combination, lambda: "value", "away") == expected, combination


def test_what_a_combination_held_is_given_back(twin: Kind, optimizer: Any) -> None:
    for combination, error in itertools.product(COMBINATIONS, (None, KeyError())):
        ends(twin, optimizer, combination, functools.partial(raise_it, error) if error else dict, "held")
    wait_until(lambda: twin.do(optimizer.throttler.metrics).active_operations == 0)
    grouping = optimizer._plans.parts.grouping
    assert (grouping.metrics.pending, grouping.metrics.running) == (0, 0)


# --- what each part does


def test_what_is_switched_off_is_passed_by(twin: Kind, client: redis.Redis) -> None:
    sections: dict[str, Any] = {
        name: section | {"enabled": False} if isinstance(section, dict) else section
        for name, section in SECTIONS.items()
    }
    optimizer = twin.make("Optimizer", "off", **sections)
    for combination in COMBINATIONS:
        assert ends(twin, optimizer, combination, lambda: 42, "off") == 42
    assert not client.keys()
    assert optimizer.throttler is optimizer.debouncer is optimizer.breaker is optimizer.monitor is None


@pytest.mark.parametrize("option", [*BOOLS, "cache"])
def test_what_the_config_has_not_is_refused_by_name(twin: Kind, option: str) -> None:
    optimizer = twin.make("Optimizer", "bare")
    with pytest.raises(ValueError, match=f"the option {option} needs a section"):
        twin.do(optimizer.optimize, twin.function(lambda: 1), **{option: "key" if option == "cache" else True})
    if option == "cache":
        return
    assert twin.do(optimizer.optimize, twin.function(lambda: 1), **{option: False}) == 1


@pytest.mark.parametrize("batch", [False, True])
def test_a_permit_is_held_by_what_runs_on_after_its_timeout(
    server: RunningServer, client: redis.Redis, batch: bool
) -> None:
    """A thread cannot be interrupted: the far side is still called, and the next try has to wait for its end."""
    go_on, calls = threading.Event(), []

    def call() -> None:
        calls.append(1)
        go_on.wait(10)

    fields: Any = {"throttling": {"max_concurrent": 1}, "retrying": {"max_attempts": 3}, "command_timeout": 5.0}
    fields["batching"] = {"max_size": 2, "max_delay": 0.01}
    with redisopt.Optimizer(client, "api", timeout=0.1, **fields) as optimizer:
        throttler: Any = optimizer.throttler
        with pytest.raises(redisopt.RedisOptError):
            optimizer.optimize(call, throttle=True, batch=batch, acquire_timeout=0.3)
        assert len(calls) == 1
        assert throttler.metrics().active_operations == 1
        go_on.set()
        wait_until(lambda: throttler.metrics().active_operations == 0)


def test_a_permit_is_held_while_the_operation_runs(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", throttling={"max_concurrent": 2})
    in_use: list[int] = []
    with redis.from_url(twin.url) as client, redisopt.Throttler(client, "api", max_concurrent=2) as watcher:
        look = twin.function(lambda: in_use.append(watcher.metrics().active_operations))
        twin.do(optimizer.optimize, look, throttle=True)
        twin.do(optimizer.optimize, look)
    assert in_use == [1, 0]


def test_who_may_not_wait_is_refused(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", throttling={"rates": ["1/h"]})
    call: dict[str, Any] = {"throttle": True, "acquire_timeout": 0}
    assert twin.do(optimizer.optimize, twin.function(lambda: 1), key="ada", **call) == 1
    with pytest.raises(redisopt.ThrottleTimeout):
        twin.do(optimizer.optimize, twin.function(lambda: 1), key="ada", **call)
    assert twin.do(optimizer.optimize, twin.function(lambda: 1), key="bob", **call) == 1
    with pytest.raises(redisopt.CostExceedsLimit):
        twin.do(optimizer.optimize, twin.function(lambda: 1), cost=2, **call)


def test_what_was_computed_is_not_computed_again(twin: Kind, optimizer: Any) -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        return 42

    for _ in range(3):
        assert twin.do(optimizer.optimize, twin.function(compute), cache="answer", throttle=True) == 42
    assert len(calls) == 1
    metrics = twin.do(optimizer.metrics)
    assert (metrics.caching.computed, metrics.throttling.performance.count) == (1, 1)
    operation = registered(twin, optimizer, lambda payload: calls.append(payload), name="note", cache=str)
    for payload in (7, 7, 8):
        twin.do(operation, payload)
    assert calls == [1, 7, 8]


def test_a_stale_value_is_better_than_an_error(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", caching={"ttl": 0.05, "ttl_jitter": 0, "stale_if_error": 60})
    assert twin.do(optimizer.optimize, twin.function(lambda: "good"), cache="k") == "good"
    time.sleep(0.1)
    assert twin.do(optimizer.optimize, twin.function(raise_it), OSError(), cache="k") == "good"


def test_the_breaker_opens_for_the_operations_failures_alone(twin: Kind) -> None:
    """Not for a limit of our own, nor for what is to be ignored."""
    optimizer = twin.make(
        "Optimizer", "api", breaking={"minimum_calls": 3}, throttling={"rates": ["1/h"]}, ignore=(LookupError,)
    )
    for _ in range(4):
        twin.do(optimizer.optimize, twin.function(lambda: 1), throttle=True, acquire_timeout=0, fallback=None)
        with pytest.raises(redisopt.ThrottleTimeout):
            twin.do(optimizer.optimize, twin.function(lambda: 1), throttle=True, acquire_timeout=0)
        with pytest.raises(KeyError):
            twin.do(optimizer.optimize, twin.function(raise_it), KeyError())
    assert twin.do(optimizer.breaker.state) == "closed"
    for _ in range(20):
        with pytest.raises((OSError, redisopt.CircuitOpen)):
            twin.do(optimizer.optimize, twin.function(raise_it), OSError())
    with pytest.raises(redisopt.CircuitOpen):
        twin.do(optimizer.optimize, twin.function(lambda: 1))
    assert twin.do(optimizer.optimize, twin.function(lambda: 1), breaker=False) == 1
    assert twin.do(optimizer.optimize, twin.function(lambda: 1), fallback="closed today") == "closed today"


def test_timeouts_open_the_breaker(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", breaking={"minimum_calls": 2}, timeout=0.02)
    for _ in range(2):
        with pytest.raises(redisopt.OperationTimeout):
            twin.do(optimizer.optimize, twin.pause(0.3))
    assert twin.do(optimizer.breaker.state) == "open"


def test_a_try_that_takes_too_long_is_given_up(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", timeout=0.05)
    with pytest.raises(redisopt.OperationTimeout):
        twin.do(optimizer.optimize, twin.pause(1.0))
    assert twin.do(optimizer.optimize, twin.pause(0.2), timeout=5.0) is None


def test_of_many_calls_the_newest_is_run(twin: Kind, server: RunningServer) -> None:
    optimizer = twin.make("Optimizer", "api", **SECTIONS | {"debouncing": {"wait": 0.2}})
    ran: list[int] = []

    def save(number: int) -> int:
        ran.append(number)
        return number

    values = at_once(twin, optimizer, save, 5, debounce=True, throttle=True, key="doc:1")
    assert len(ran) == 1
    assert list(values) == [ran[0]] * 5


def at_once(twin: Kind, optimizer: Any, operation: Callable[[int], Any], count: int, **options: Any) -> list[Any]:
    """So many calls at the same time, in threads or in tasks."""
    if twin.name == "sync":
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda number: optimizer.optimize(operation, number, **options), range(count)))

    async def gather() -> list[Any]:
        function = twin.function(operation)
        return await asyncio.gather(*(optimizer.optimize(function, number, **options) for number in range(count)))

    return list(twin.do(gather))


def test_closures_of_a_batch_share_a_permit(twin: Kind) -> None:
    """Twelve closures, four to a batch: three permits; each has its own outcome."""
    sections = SECTIONS | {"batching": {"max_size": 4, "max_delay": 5}, "throttling": {"rates": ["1000/h"]}}
    optimizer = twin.make("Optimizer", "api", **sections)

    def square(number: int) -> int:
        if number == 7:
            raise LookupError("seven")
        return number * number

    def call(number: int) -> Any:
        try:
            return square(number)
        except LookupError as error:
            return str(error)

    values = at_once(twin, optimizer, call, 12, batch=True, throttle=True)
    assert values == [number * number if number != 7 else "seven" for number in range(12)]
    metrics = twin.do(optimizer.metrics)
    assert metrics.closures.batches == 3
    assert metrics.closures.done == 12
    assert metrics.throttling.limits[0].remaining == 997


def test_a_batch_is_due_after_its_delay(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", batching={"max_size": 100, "max_delay": 0.1})
    began = time.monotonic()
    assert twin.do(optimizer.optimize, twin.function(lambda: 1), batch=True) == 1
    assert 0.1 <= time.monotonic() - began < 3.0


def test_a_batch_that_is_refused_is_refused_to_all(twin: Kind) -> None:
    sections = SECTIONS | {"batching": {"max_size": 3, "max_delay": 5}, "throttling": {"rates": ["1/h"]}}
    optimizer = twin.make("Optimizer", "api", **sections)
    twin.do(optimizer.optimize, twin.function(lambda: 1), throttle=True)
    values = at_once(
        twin,
        optimizer,
        lambda number: number,
        3,
        batch=True,
        throttle=True,
        acquire_timeout=0,
        fallback=lambda error: type(error),
    )
    assert values == [redisopt.ThrottleTimeout] * 3


def test_a_task_that_is_cancelled_leaves_its_batch(server: RunningServer, client: redis.Redis) -> None:
    async def main() -> None:
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncOptimizer(own, "api", batching={"max_size": 3, "max_delay": 5}) as optimizer,
        ):

            async def give(value: int) -> int:
                return value

            tasks = [asyncio.create_task(optimizer.optimize(give, number, batch=True)) for number in range(2)]
            await asyncio.sleep(0.05)
            tasks[0].cancel()
            third = asyncio.create_task(optimizer.optimize(give, 2, batch=True))
            assert list(await asyncio.gather(tasks[1], third)) == [1, 2]
            assert tasks[0].cancelled() or await asyncio.wait([tasks[0]])
            assert optimizer._plans.parts.grouping is not None
            await asyncio.sleep(0.1)
            metrics = optimizer._plans.parts.grouping.metrics
            assert (metrics.pending, metrics.running) == (0, 0)

    asyncio.run(main())


def test_calls_are_measured(twin: Kind, optimizer: Any) -> None:
    for _ in range(3):
        twin.do(optimizer.optimize, twin.function(lambda: None), throttle=True)
    with pytest.raises(KeyError):
        twin.do(optimizer.optimize, twin.function(raise_it), KeyError())
    metrics = twin.do(optimizer.metrics)
    assert (metrics.performance.count, metrics.performance.errors) == (4, 1)
    assert metrics.throttling.performance.count == 3
    assert twin.do(optimizer.monitor.report, MEASURED).count == 4


def test_whoever_wants_to_know_is_told(twin: Kind) -> None:
    told: list[Any] = []
    optimizer = twin.make(
        "Optimizer",
        "api",
        throttling={"rates": ["1/h"]},
        breaking={"minimum_calls": 2},
        callbacks={"on_throttle": told.append, "on_state_change": told.append},
    )
    call: dict[str, Any] = {"throttle": True, "acquire_timeout": 0, "fallback": None}
    for _ in range(2):
        twin.do(optimizer.optimize, twin.function(lambda: 1), **call)
    for _ in range(3):
        twin.do(optimizer.optimize, twin.function(raise_it), OSError(), fallback=None)
    assert told[0] == 0
    assert [each.after for each in told if isinstance(each, redisopt.events.CircuitChanged)] == ["open"]


# --- operations


@contextmanager
def working(twin: Kind, optimizer: Any) -> Iterator[None]:
    """A worker, in the background of the test."""
    if twin.name == "sync":
        with optimizer.worker():
            yield
        return
    worker = optimizer.worker()
    twin.do(worker.start)
    yield
    twin.do(worker.stop)


def registered(twin: Kind, optimizer: Any, act: Callable[[Any], Any], **how: Any) -> Any:
    if twin.name == "sync":
        return optimizer.operation(act, **how)

    async def operate(payload: Any) -> Any:
        return act(payload)

    return optimizer.operation(operate, **how)


@pytest.mark.parametrize("throttle", [False, True])
@pytest.mark.parametrize("how", ["plain", "batch", "debounce", "both"])
def test_an_operation_is_called_by_itself_or_by_name(twin: Kind, optimizer: Any, how: str, throttle: bool) -> None:
    options: dict[str, Any] = {"batch": how in {"batch", "both"}, "debounce": how in {"debounce", "both"}}

    def shout(payload: Any) -> Any:
        return [each.upper() for each in payload] if options["batch"] else payload.upper()

    operation = registered(twin, optimizer, shout, name="shout", throttle=throttle, **options)
    with working(twin, optimizer) if how != "plain" else contextmanager(lambda: iter([None]))():
        assert twin.do(operation, "ada") == "ADA"
        assert twin.do(optimizer.optimize, "shout", "bob") == "BOB"
    assert operation.name == "shout"
    assert (operation.batcher is not None, operation.debouncer is not None) == (options["batch"], options["debounce"])
    metrics = twin.do(optimizer.metrics)
    assert list(metrics.batching) == (["shout"] if options["batch"] else [])
    assert list(metrics.debounced) == (["shout"] if options["debounce"] else [])
    if throttle:
        assert metrics.throttling.operations_per_second > 0


def test_an_operation_has_its_fallback(twin: Kind, optimizer: Any) -> None:
    operation = registered(twin, optimizer, lambda payload: raise_it(KeyError(payload)), name="bad", fallback="none")
    assert twin.do(operation, 1) == "none"


def test_an_operation_may_want_to_know_of_its_run(client: redis.Redis) -> None:
    with redisopt.Optimizer(client, "api", **SECTIONS) as optimizer:

        @optimizer.operation(debounce=True)
        def save(payload: Any, run: redisopt.Run) -> tuple[Any, int]:
            return payload, run.attempt

        with optimizer.worker():
            assert save("x") == ["x", 1]
        assert save.name == "save"


def test_items_are_not_blamed_for_an_open_breaker(client: redis.Redis) -> None:
    """While it is open they wait, and no attempt is counted."""
    sections = SECTIONS | {"breaking": {"minimum_calls": 1, "open_for": 0.3, "open_jitter": 0}}
    with redisopt.Optimizer(client, "api", **sections) as optimizer:

        @optimizer.operation(batch=True)
        def embed(items: list[Any]) -> list[Any]:
            return items

        optimizer.breaker.force_open()  # type: ignore[union-attr]
        with optimizer.worker():
            assert embed.batcher is not None
            ticket = embed.batcher.add(7)
            batcher = embed.batcher
            wait_until(lambda: batcher.metrics().retried > 0)
            optimizer.breaker.reset()  # type: ignore[union-attr]
            assert ticket.result(20) == 7
            assert batcher.metrics().failed == 0


def _work(url: str, ready: Any, over: Any) -> None:
    with redis.from_url(url) as client, redisopt.Optimizer(client, "fleet", **SECTIONS) as optimizer:

        @optimizer.operation(batch=True, throttle=True)
        def double(items: list[int]) -> list[int]:
            return [item * 2 for item in items]

        with optimizer.worker():
            ready.set()
            over.wait(60)


def test_operations_are_run_by_other_processes(client: redis.Redis, server: RunningServer) -> None:
    context = get_context("spawn")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=_work, args=(server.url, ready, over))
    process.start()
    try:
        assert ready.wait(60)
        with redisopt.Optimizer(client, "fleet", **SECTIONS) as optimizer:

            @optimizer.operation(batch=True, throttle=True)
            def double(items: list[int]) -> list[int]:
                raise AssertionError("it is run elsewhere")

            assert [double(number) for number in range(5)] == [0, 2, 4, 6, 8]
    finally:
        over.set()
        process.join(30)


def test_who_runs_in_the_foreground_ends_when_told_to(client: redis.Redis) -> None:
    with redisopt.Optimizer(client, "api", **SECTIONS) as optimizer:
        stop = threading.Event()

        @optimizer.operation(debounce=True)
        def save(payload: Any) -> Any:
            stop.set()
            return payload

        assert save.debouncer is not None
        save.debouncer.submit(1)
        optimizer.run(stop)


# --- bad input


def test_wrong_calls_are_refused(twin: Kind, optimizer: Any) -> None:
    one = twin.function(lambda: 1)
    with pytest.raises(ValueError, match="there is no option 'thrott'"):
        twin.do(optimizer.optimize, one, thrott=True)
    with pytest.raises(ValueError, match="throttle must be True or False"):
        twin.do(optimizer.optimize, one, throttle="yes")
    with pytest.raises(ValueError, match="key must be a str"):
        twin.do(optimizer.optimize, one, throttle=True, key=7)
    with pytest.raises(ValueError, match="timeout must be seconds"):
        twin.do(optimizer.optimize, one, timeout=-1)
    with pytest.raises(ValueError, match="there is no operation 'nope'"):
        twin.do(optimizer.optimize, "nope", 1)
    with pytest.raises(ValueError, match="operation must be a function"):
        twin.do(optimizer.optimize, 42)
    operation = registered(twin, optimizer, lambda payload: payload, name="one", batch=True)
    with pytest.raises(ValueError, match="takes one argument"):
        twin.do(operation, 1, 2)
    with pytest.raises(ValueError, match="is taken"):
        registered(twin, optimizer, lambda payload: payload, name="one")
    with pytest.raises(ValueError, match="one more"):
        twin.do(optimizer.optimize, "one", 1, throttle=True)
    with pytest.raises(ValueError, match="must take a payload"):
        optimizer.operation(twin.function(lambda a, b, c: 1), name="three", batch=True)


def test_who_has_nothing_to_work_on_is_told(twin: Kind, optimizer: Any) -> None:
    with pytest.raises(ValueError, match="no operation that is batched or debounced"):
        optimizer.worker()


def test_functions_of_the_other_kind_are_refused(client: redis.Redis) -> None:
    async def fetch() -> None:
        raise AssertionError("it is not called")

    with redisopt.Optimizer(client, "api") as optimizer:
        with pytest.raises(ValueError, match="AsyncOptimizer"):
            optimizer.optimize(fetch)  # type: ignore[unused-coroutine]
        with pytest.raises(ValueError, match="AsyncOptimizer"):
            optimizer.operation(fetch)


# --- the config


def test_a_config_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "api.toml"
    path.write_text(
        """
[api]
timeout = 5
[api.throttling]
rates = ["10/s"]
[api.retrying]
retry_on = ["ConnectionError"]
enabled = false
"""
    )
    config = OptimizerConfig.from_toml(path, "api")
    assert config.timeout == 5
    assert config.throttling is not None and str(config.throttling.rates[0]) == "10/s"  # noqa: PT018
    assert config.retrying is not None and not config.retrying.enabled  # noqa: PT018
    assert config.debouncing is None


def test_a_config_comes_from_the_environment() -> None:
    config = OptimizerConfig.from_env(
        "API_",
        {
            "API_TIMEOUT": "5",
            "API_THROTTLING_RATES": "10/s,5000/h",
            "API_BREAKING_ENABLED": "false",
            "API_MONITORING_FLUSH_INTERVAL": "2",
            "OTHER": "x",
        },
    )
    assert config.timeout == 5
    assert config.throttling is not None and len(config.throttling.rates) == 2  # noqa: PT018
    assert config.breaking is not None and not config.breaking.enabled  # noqa: PT018
    assert config.monitoring is not None and config.monitoring.flush_interval == 2  # noqa: PT018
    with pytest.raises(ValidationError, match="throttling"):
        OptimizerConfig.from_env("API_", {"API_THROTTLING": "10/s"})
    with pytest.raises(ValueError, match="prefix is empty"):
        OptimizerConfig.from_env("", {})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"throttling": {"rate": "1/s"}}, "throttling.rate"),
        ({"throtling": {}}, "throtling"),
        ({"timeout": 0}, "timeout"),
        ({"debouncing": {"wait": -1}}, "debouncing.wait"),
        ({"batching": {"max_size": 0}}, "batching.max_size"),
    ],
)
def test_bad_sections_are_named(client: redis.Redis, fields: Any, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        redisopt.Optimizer(client, "api", **fields)


def test_a_section_has_the_optimizers_command_timeout_unless_it_has_its_own(client: redis.Redis) -> None:
    config = OptimizerConfig.from_dict(
        {"command_timeout": 2, "throttling": {"rates": ["1/s"]}, "debouncing": {"command_timeout": 1}}
    )
    with redisopt.Optimizer(client, "api", config) as optimizer:
        assert optimizer.throttler is not None and optimizer.debouncer is not None  # noqa: PT018
        assert optimizer.throttler.config.command_timeout == 2
        assert optimizer.debouncer.config.command_timeout == 1


def test_options_and_their_sections_are_all_named() -> None:
    assert set(OptimizerConfig.sections()) == {
        "batching",
        "throttling",
        "debouncing",
        "caching",
        "breaking",
        "retrying",
        "monitoring",
    }
    assert set(BOOLS) <= set(Options._fields)


def test_a_batch_whose_process_forks_is_not_the_childs() -> None:
    grouping = Grouping(object(), 3, 1.0)  # type: ignore[arg-type]
    assert grouping.metrics == (0, 0, 0, 0)


def test_nothing_is_logged_of_calls(twin: Kind, optimizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "redisopt")
    twin.do(optimizer.optimize, twin.function(lambda: 1), throttle=True, batch=True, debounce=True)
    assert not caplog.records


# --- what reviewers found


def test_each_try_has_a_permit_of_its_own(twin: Kind) -> None:
    sections = SECTIONS | {"throttling": {"rates": ["100/h"]}}
    optimizer = twin.make("Optimizer", "api", **sections)
    with pytest.raises(ConnectionError):
        twin.do(optimizer.optimize, twin.function(raise_it), ConnectionError(), throttle=True)
    assert twin.do(optimizer.throttler.peek).remaining == 97


def test_an_open_breaker_stops_retries_at_once(twin: Kind) -> None:
    """It says when to come back, but not to retries of calls that it refuses."""
    optimizer = twin.make(
        "Optimizer", "api", breaking={"minimum_calls": 2}, retrying={"max_attempts": 9, "backoff_base": 0.001}
    )
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ConnectionError

    began = time.monotonic()
    with pytest.raises(redisopt.CircuitOpen):
        twin.do(optimizer.optimize, twin.function(fail))
    assert len(calls) == 2
    assert time.monotonic() - began < 5.0


def test_waiting_for_a_permit_is_no_slow_call(twin: Kind) -> None:
    sections: Any = {"breaking": {"minimum_calls": 3, "slow_call_after": 0.2}, "throttling": {"rates": ["2/500ms"]}}
    optimizer = twin.make("Optimizer", "api", **sections, command_timeout=5.0)
    values = at_once(twin, optimizer, lambda number: number, 6, throttle=True)
    assert sorted(values) == list(range(6))
    metrics = twin.do(optimizer.breaker.metrics)
    assert (metrics.state, metrics.slow) == ("closed", 0)


def test_what_a_fallback_answered_was_an_error(twin: Kind, optimizer: Any) -> None:
    assert twin.do(optimizer.optimize, twin.function(raise_it), KeyError(), fallback=0) == 0
    assert twin.do(optimizer.metrics).performance.errors == 1


def test_a_batch_that_is_switched_off_is_one_of_one(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", batching={"enabled": False}, debouncing={"enabled": False})

    def measure(texts: list[str]) -> list[Any]:
        return [LookupError(text) if text == "bad" else len(text) for text in texts]

    operation = registered(twin, optimizer, measure, name="measure", batch=True)
    assert twin.do(operation, "abc") == 3
    with pytest.raises(LookupError):
        twin.do(operation, "bad")
    saved = registered(twin, optimizer, lambda payload: f"saved {payload}", name="save", debounce=True)
    assert twin.do(saved, "x") == "saved x"
    wrong = registered(twin, optimizer, lambda _: 7, name="wrong", batch=True)
    with pytest.raises(redisopt.ResultCountError):
        twin.do(wrong, "x")


@pytest.mark.parametrize("how", ["batch", "debounce"])
def test_who_calls_what_nobody_works_on_is_not_kept_waiting(twin: Kind, how: str) -> None:
    optimizer = twin.make("Optimizer", "api", **SECTIONS, result_timeout=0.3)
    operation = registered(twin, optimizer, lambda payload: payload, name="idle", fallback="nobody", **{how: True})
    assert twin.do(operation, 1) == "nobody"
    made = operation.batcher or operation.debouncer
    with working(twin, optimizer):  # and it runs all the same
        wait_until(lambda: (twin.do(made.metrics)).done == 1)


def test_a_run_that_takes_too_long_is_an_attempt(server: RunningServer, client: redis.Redis) -> None:
    """In asyncio it is cancelled. (In threads it could not be: there it would run on beside its next try.)"""

    async def main() -> None:
        runs: list[int] = []
        sections = SECTIONS | {"batching": {"max_size": 1, "max_delay": 0.01, "max_attempts": 2, "backoff_base": 0.01}}
        async with (
            redis.asyncio.from_url(server.url) as own,
            redisopt.AsyncOptimizer(own, "api", **sections, timeout=0.1) as optimizer,
        ):

            @optimizer.operation(batch=True)
            async def slow(items: list[Any]) -> list[Any]:
                runs.append(1)
                await asyncio.sleep(30)
                return items

            async with optimizer.worker():
                with pytest.raises(redisopt.BatchItemFailed, match="TryTimedOut"):
                    await slow(1)
        assert len(runs) == 2

    asyncio.run(main())


def test_closures_that_wait_when_it_is_closed_are_told(server: RunningServer, client: redis.Redis) -> None:
    async def main() -> None:
        async with redis.asyncio.from_url(server.url) as own:
            for begins in (True, False):
                optimizer = redisopt.AsyncOptimizer(own, "api", batching={"max_size": 9, "max_delay": 0.3})

                async def give() -> int:
                    return 1

                task = asyncio.create_task(optimizer.optimize(give, batch=True))
                await asyncio.sleep(0.05 if begins else 0)
                await optimizer.aclose()
                with pytest.raises(redisopt.Cancelled, match="closed"):
                    await asyncio.wait_for(task, 10)

    asyncio.run(main())


def test_operations_are_registered_before_anybody_works(twin: Kind, optimizer: Any) -> None:
    registered(twin, optimizer, lambda payload: payload, name="first", batch=True)
    with working(twin, optimizer), pytest.raises(ValueError, match="comes too late"):
        registered(twin, optimizer, lambda payload: payload, name="second", batch=True)
    registered(twin, optimizer, lambda payload: payload, name="third", batch=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"callbacks": {"on_foo": print}}, "there is no callback 'on_foo'"),
        ({"callbacks": {"on_throttle": 3}}, "on_throttle must be a function"),
        ({"callbacks": print}, "callbacks must be a dict"),
    ],
)
def test_wrong_callbacks_are_named(twin: Kind, arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        twin.make("Optimizer", "api", **SECTIONS, **arguments)


@pytest.mark.parametrize("name", ["", "a{b", 7])
def test_bad_names_are_refused_also_without_sections(twin: Kind, name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        twin.make("Optimizer", name)


def test_operations_are_checked_when_they_are_registered(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "bare")
    for option in ({"cache": "k"}, {"breaker": True}, {"retry": True}):
        with pytest.raises(ValueError, match="needs a section"):
            registered(twin, optimizer, lambda payload: payload, name="x", **option)
    with pytest.raises(ValueError, match="name is needed"):
        optimizer.operation(functools.partial(twin.function(lambda: 1)))


@pytest.mark.parametrize("how", [{}, {"batch": True}, {"debounce": True}])
def test_names_of_operations_have_no_dot(twin: Kind, client: redis.Redis, how: Any) -> None:
    """Or v1.send of one optimizer would be what send of another one, "api.v1", is."""
    optimizer = twin.make("Optimizer", "api", **SECTIONS)
    with pytest.raises(ValueError, match=r"name 'v1\.send' of an operation has a dot"):
        registered(twin, optimizer, lambda payload: payload, name="v1.send", **how)
    assert not client.keys("*batch*")
    other = twin.make("Optimizer", "api.v1", **SECTIONS)
    operation = registered(twin, other, lambda payload: payload, name="send", batch=True)
    assert operation.batcher.name == "api.v1.send"


def test_one_error_to_ignore_needs_no_tuple(twin: Kind) -> None:
    optimizer = twin.make("Optimizer", "api", breaking={"minimum_calls": 1}, ignore=KeyError)
    with pytest.raises(KeyError):
        twin.do(optimizer.optimize, twin.function(raise_it), KeyError())
    assert twin.do(optimizer.breaker.state) == "closed"


def test_stops_of_the_wrong_kind_are_refused(twin: Kind, optimizer: Any) -> None:
    registered(twin, optimizer, lambda payload: payload, name="first", batch=True)
    wrong: Any = asyncio.Event() if twin.name == "sync" else threading.Event()
    for stop in (wrong, 3):
        with pytest.raises(ValueError, match="stop must be"):
            twin.do(optimizer.run, stop)
