"""The debouncer's scripts under random schedules, beside lodash's `debounce` on the same virtual time (see the model).

Real servers run the real scripts; only their clock is the test's. Calls, cancels and flushes come at random times under random
options, some calls are sent twice, at once or much later; whatever the scripts say is due is claimed at that time, as a worker
with nothing else to do would. Every run must come at the same time with the same payloads.

There is no difference to explain: a call in the very millisecond in which its window is due comes after the run on both sides,
since the claim, as the timer, comes first.

`REDISOPT_MODEL_EXAMPLES=2000` makes that many schedules on each server, instead of the few that are quick.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import redisopt.delivery
from redisopt.runner import Runner
from tests.clock import START_MS, ServerClock, on_test_clock
from tests.debounce_scripts import Scripts
from tests.model.debounce_model import LodashDebounce, Options

EXAMPLES = int(os.environ.get("REDISOPT_MODEL_EXAMPLES", "250"))

waits = st.sampled_from([0, 1, 40, 100, 320])
edges = st.sampled_from([(True, True), (True, False), (False, True)])
collects = st.sampled_from(["last", "first", "all"])


@st.composite
def option_sets(draw: st.DrawFn) -> tuple[Options, str]:
    wait = draw(waits)
    max_wait = draw(st.sampled_from([None, wait, wait + 7, 2 * wait, 3 * wait + 1]))
    leading, trailing = draw(edges)
    max_items = draw(st.sampled_from([None, None, None, 1, 3]))
    return Options(wait, max_wait, leading, trailing, max_items), draw(collects)


pauses = st.tuples(
    st.sampled_from([0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9, 1, 1.1, 2.5]), st.integers(0, 3)
)  # in waits, and ms
acts = st.sampled_from(["call"] * 14 + ["call twice", "call again", "cancel", "flush"])
schedules = st.lists(st.tuples(pauses, acts), min_size=1, max_size=30)


def kept(collect: str, payloads: list[Any]) -> list[Any]:
    """What is left of a window's payloads."""
    return payloads if collect == "all" else payloads[-1:] if collect == "last" else payloads[:1]


@pytest.fixture
def virtual(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Runner, ServerClock]]:
    """A runner whose scripts see the test's clock."""
    monkeypatch.setattr(redisopt.delivery, "script", on_test_clock)
    runner = Runner(client, 30.0)
    yield runner, ServerClock(client)
    runner.close()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(option_sets(), schedules)
def test_a_schedule_runs_as_lodash_would(
    virtual: tuple[Runner, ServerClock], options: tuple[Options, str], schedule: list[tuple[tuple[float, int], str]]
) -> None:
    runner, clock = virtual
    terms, collect = options
    scripts = Scripts(
        [runner.run],
        clock,
        wait=terms.wait / 1000,
        max_wait=None if terms.max_wait is None else terms.max_wait / 1000,
        leading=terms.leading,
        trailing=terms.trailing,
        max_items=terms.max_items,
        collect=collect,
    )
    lodash = LodashDebounce(terms)
    start = round(clock.now_ms) + 10_000
    assert start > START_MS

    def go_to(when: float) -> None:
        """Let time pass, with all that is due on the way."""
        while True:
            reached = [
                due for due in (scripts.due, lodash.timer and lodash.timer + start) if due is not None and due <= when
            ]
            if not reached:
                break
            clock.set(min(reached))
            lodash.now = scripts.now - start
            if lodash.timer is not None and lodash.timer <= lodash.now:
                lodash.expire()
            scripts.work()

    clock.set(start)
    now = start
    for number, ((waited, pause), act) in enumerate(schedule):
        now += round(waited * terms.wait) + pause
        go_to(now)
        clock.set(now)
        lodash.now = now - start
        if act.startswith("call") and act != "call again":
            scripts.call(number)
            lodash.call(str(number))
        if act.startswith("call "):
            scripts.call_again(-1 if act == "call twice" else number * 7)
        elif act in ("cancel", "flush"):
            getattr(scripts, act)()
            getattr(lodash, act)()
        if lodash.timer is not None and lodash.timer <= lodash.now:
            lodash.expire()
        scripts.work()
        assert scripts.pending() == lodash.pending
    go_to(float("inf"))

    note(f"{now - start} ms")
    assert scripts.runs == [(when + start, kept(collect, payloads)) for when, payloads in lodash.runs]
    assert scripts.due is None


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 50, 100, 700, 1100]),  # ms that pass before
        st.sampled_from(["call"] * 5 + ["claim"] * 3 + ["done"] * 2 + ["failed", "repeat", "returned", "replay"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps, st.sampled_from([None, 0.15]), st.sampled_from([1, 2]), st.booleans())
def test_every_call_is_covered_whatever_becomes_of_runs(
    virtual: tuple[Runner, ServerClock],
    schedule: list[tuple[int, str]],
    max_wait: float | None,
    max_attempts: int,
    leading: bool,
) -> None:
    """Runs that last, pile up, fail, are given back, outlive their leases, die and are replayed: no call is lost, and no two runs
    that hold a lease overlap."""
    runner, clock = virtual
    lease = 1000
    scripts = Scripts(
        [runner.run],
        clock,
        wait=0.1,
        max_wait=max_wait,
        leading=leading,
        collect="all",
        lease_ttl=lease / 1000,
        max_attempts=max_attempts,
    )
    asking = scripts.asking
    clock.set(round(clock.now_ms) + 10_000)
    called, covered = set(), set()
    held: list[tuple[Any, list[bytes], int]] = []  # a run, its payloads, when its lease ends
    claims = 0

    def claim() -> None:
        nonlocal claims
        claims += 1
        _, runs = scripts.do(asking.claim(0, 5, f"worker {claims % 3}", f"lane {claims % 3}", claims))
        for run in runs:
            assert not [ends for _, _, ends in held if ends > scripts.now], "another run holds the lease"
            payloads = scripts.do(asking.items(run, 0)) if run.collect == "all" else [run.payload]
            assert payloads
            held.append((run, payloads, scripts.now + lease))

    def finish(outcome: str) -> None:
        run, payloads, _ = held.pop()
        retry = None if outcome == "failed" and run.attempt >= max_attempts else 0.05
        if scripts.do(asking.finish(run, outcome, b"", "an error", retry)) and outcome == "done":
            covered.update(payloads)

    def replay() -> int:
        return sum(scripts.do(asking.replay(0, letter.window)) == 1 for letter in scripts.do(asking.dead(0, 0)))

    for number, (pause, act) in enumerate(schedule):
        clock.set(scripts.now + pause)
        if act == "call":
            called.add(str(number).encode())
            scripts.call(number)
        elif act == "claim":
            claim()
        elif act == "replay":
            replay()
        elif held:
            finish(act)
    for _ in range(4 * len(schedule) + 8):
        clock.set(scripts.now + 2 * lease)
        claim()
        if held:
            finish("done")
        elif not replay():
            break

    assert covered == called
    metrics = scripts.do(asking.metrics(scripts.place.tag))
    assert metrics[2:4] == (0, 0)
