"""The scripts as files: their headers tell the truth, their includes are one function each, and every server compiles them."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from typing import Any

import pytest
import redis

from redisopt import scripts
from redisopt.batch.asking import Asking, Settled
from redisopt.batch.config import BatchConfig
from redisopt.batch.items import Item, head
from redisopt.breaker.asking import Asking as BreakerAsking
from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.commands import Command, Listen, Plan, Sleep
from redisopt.eviction import eviction_policy
from redisopt.identity import next_permit_id, process_id
from redisopt.retry.budget import RetryBudget
from redisopt.retry.config import RetryConfig
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.grant import Grant
from redisopt.throttle.joint import Ask, acquire_all
from redisopt.throttle.layout import Unregistered, Verdict
from redisopt.throttle.line import Place
from tests import cache_commands, debounce_commands, monitor_commands
from tests.plans import bare_plans

FIELDS: Any = {"rates": ("10/s", "100/10s"), "max_burst_size": 5}
CONFIG, LOCAL = ThrottleConfig(**FIELDS), ThrottleConfig(**FIELDS, on_unavailable="local")


def commands() -> list[Command[Any]]:
    """A command of every script, as the plans send it."""
    plans = bare_plans(CONFIG)
    grant = Grant(None, next_permit_id(), "", 2, 1000)
    first_steps: list[Plan[Any]] = [
        plans.deciding.try_acquire(1, "", None),
        bare_plans(LOCAL).deciding.try_acquire(1, "", None),
        plans.deciding.acquire(1, "", 5.0),
        plans.peek(1, ""),
        plans.metrics(""),
        plans.returning.refund(grant, 1),
        plans.returning.settle(grant, 5),
        plans.reset(""),
        plans.telling.pause(1.0),
        plans.together.acquire("", [(1, 0), (2, -1)]),
        plans.ahead.fetch(1, ""),
        plans.shadow.count("", more=1),
        plans.line.release(Grant(None, f"{process_id()}:1", "", 2, 1000)),
        plans.line.end("", "id", back=True),
        acquire_all([Ask(plans, 1, "", 1), Ask(plans, 2, "key", 1)], 0.0),
        RetryBudget("test", RetryConfig()).spend(),
        RetryBudget("test", RetryConfig()).look(),
    ]
    found = [next(plan) for plan in first_steps]
    found = [
        plan.send(None) if isinstance(step, Listen) else step for plan, step in zip(first_steps, found, strict=True)
    ]
    place = Place("id", "", 1, 1, 0, math.inf)
    standing = plans.line.stand(place, Verdict(plans.asking.layouts.of(""), False, True, 0, 0, [0]), lambda _: never())
    next(standing)
    found.append(standing.send(None))
    plans.keeping.wait("", "id")
    beating = plans.line.keep()
    next(beating)
    found.append(beating.send(None))
    local = bare_plans(CONFIG.model_copy(update={"on_unavailable": "local"}))
    found.append(next(local.outage_policy.try_acquire(plans.peek(1, ""), 1, "", None)))
    registering = plans.deciding.try_acquire(1, "", None)
    next(registering)
    found.append(registering.send(Unregistered((60_000,))))
    undos = [
        command._replace(script=command.undo) for command in found if isinstance(command, Command) and command.undo
    ]
    return [
        command
        for command in [
            *found,
            *undos,
            eviction_policy("redisopt:v1:{test}:due"),
            *batch_commands(),
            *debounce_commands.commands(),
            *monitor_commands.commands(),
            *breaker_commands(),
            *cache_commands.commands(),
        ]
        if isinstance(command, Command)
    ]


def batch_commands() -> list[Command[Any]]:
    """A command of every script of a batcher."""
    asking = Asking("test", BatchConfig(priorities=2))
    records = [("id", head("=", 0, "p:1") + b"1"), ("other", head("=", 0, "p:1") + b"2")]
    items = [Item("1:id", "id", "p:1", b"1"), Item("1:other", "other", "run:1", b"2")]
    settled = [Settled(items[0], "done", b"1"), Settled(items[1], "retry", wait_ms=5, error="E: e")]
    return [
        asking.join(),
        asking.add("=key", 1, records, "refuse", 0),
        asking.claim("claim", "worker", "=", 10),
        asking.settle("claim", 7, "=", settled, last=True),
        asking.renew(["claim"]),
        asking.release("claim", "="),
        asking.read("p:1", "0-0", "0-0"),
        asking.fetch(["id"]),
        asking.cancel(["id"]),
        asking.tell("flush"),
        asking.waiting("=", 0),
        asking.dead(0, 10, ["id"]),
        asking.replay("=", 0, ["id"]),
        asking.look(),
        asking.run("run:1", 2, "ab12"),
    ]


def breaker_commands() -> list[Command[Any]]:
    """A command of every script of a circuit breaker."""
    asking = BreakerAsking("test", CircuitBreakerConfig())
    allow = asking.allow()
    assert allow.undo is not None
    return [
        allow,
        allow._replace(script=allow.undo),
        asking.record(1, "", 0),
        asking.beat(["one", "two"]),
        asking.tell("closed"),
        asking.look(),
    ]


def never() -> Plan[Verdict]:
    """Nobody has to ask anew."""
    yield Sleep(0)
    raise AssertionError


def header(script: str) -> str:
    found = re.match(r"--\[\[\n(.*?)\n\]\]", scripts.script(script).source, re.DOTALL)
    assert found, f"{script}.lua does not start with its contract"
    return found[1]


def test_every_script_is_sent_by_a_plan() -> None:
    assert set(scripts.names()) == {command.script for command in commands()}


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.script)
def test_the_header_lists_exactly_what_python_sends(command: Command[Any]) -> None:
    text = header(command.script)
    for what, sent in (
        ("KEYS", len(command.keys)),
        ("ARGV", 2 * command.once + len(command.args) + len(command.constants)),
    ):
        single = [int(number) for number in re.findall(rf"^{what}\[(\d+)\]", text, re.MULTILINE)]
        repeated = re.search(rf"^{what}\[(\d+)\.\.\] (.*)", text, re.MULTILINE)

        assert single == list(range(1, len(single) + 1))
        if repeated is None:
            assert len(single) == sent
        else:
            # One key, or as many numbers as the header names in a row, for each log or run.
            group = 1 if what == "KEYS" else len(re.findall(r"\w+ \(", repeated[2])) or 1
            assert int(repeated[1]) == len(single) + 1
            assert (sent - len(single)) % group == 0
            assert sent > len(single)


@pytest.mark.parametrize("name", scripts.names())
def test_a_header_names_the_script_and_says_what_it_returns(name: str) -> None:
    text = header(name)

    assert text.startswith(f"{name}: ")
    assert "\nReturns " in text


@pytest.mark.parametrize("path", sorted((scripts.DIRECTORY / "include").glob("*.lua")), ids=lambda path: path.stem)
def test_an_include_is_one_commented_function_of_its_name(path: Any) -> None:
    source = path.read_text()

    assert source.startswith("-- ")
    assert re.findall(r"^local function (\w+)\(", source, re.MULTILINE) == [path.stem]


def test_every_include_is_used() -> None:
    asked_for = {
        name
        for path in scripts.DIRECTORY.rglob("*.lua")
        for name in re.findall(r"^-- @include (\w+)$", path.read_text(), re.MULTILINE)
    }

    assert asked_for == {path.stem for path in (scripts.DIRECTORY / "include").glob("*.lua")}


@pytest.mark.parametrize("name", scripts.names())
def test_an_include_is_put_in_once_and_before_its_use(name: str) -> None:
    source = scripts.script(name).source
    functions = re.findall(r"^local function (\w+)\(", source, re.MULTILINE)

    assert "@include" not in source
    assert len(functions) == len(set(functions))


@pytest.mark.parametrize("name", scripts.names())
def test_the_server_compiles_a_script_to_the_sha_that_we_send(name: str, client: redis.Redis) -> None:
    assert client.script_load(scripts.script(name).source) == scripts.script(name).sha


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_passes_the_linter(name: str) -> None:
    luacheck = shutil.which("luacheck")
    if luacheck is None:
        pytest.skip("luacheck is not installed: apt install lua-check")
    lint = subprocess.run(
        [luacheck, "--config", str(scripts.DIRECTORY / ".luacheckrc"), "--no-color", "-"],
        input=scripts.script(name).source,
        text=True,
        capture_output=True,
        check=False,
    )

    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_a_script_sets_no_global_and_reads_the_clock_once() -> None:
    for name in scripts.names():
        source = scripts.script(name).source
        assert len(re.findall(r"redis\.call\('TIME'\)", source)) <= 1 + ("plain_" in source)
