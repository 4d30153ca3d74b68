"""The scripts of a circuit breaker, and the breaker of a process, under random schedules, beside a model on the same virtual time.

Real servers run the real scripts; only their clock is the test's, and it is set back now and then. Calls come from several lanes,
end in any order or never, are undone, renewed, and sent twice: a copy must be answered alike and change nothing.

`REDISOPT_MODEL_EXAMPLES=2000` makes that many schedules on each server, instead of the few that are quick.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import redisopt
from redisopt.breaker import local_circuit
from redisopt.breaker.asking import Asking
from redisopt.breaker.local_circuit import LocalCircuit
from redisopt.breaker.state import CircuitMetrics
from redisopt.breaker.ticket import Ticket
from redisopt.commands import Command
from tests.clock import START_MS, ServerClock, on_test_clock
from tests.model.breaker_model import Circuit, Rules

EXAMPLES = int(os.environ.get("REDISOPT_MODEL_EXAMPLES", "500"))
LANES = 3

_numbers = itertools.count(1)

relaxed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    counted = draw(st.booleans())
    return Rules(
        failures=draw(st.sampled_from([1, 250_000, 500_000, 333_333, 1_000_000])),
        slow=draw(st.sampled_from([1_000_001, 500_000, 1_000_000])),
        minimum=draw(st.integers(1, 6)) if not counted else 1,
        window=None if counted else draw(st.sampled_from([100, 2_500, 10_000])),
        window_calls=draw(st.integers(1, 6)) if counted else None,
        open_for=draw(st.sampled_from([250, 1_000, 4_000])),
        growth=draw(st.sampled_from([1.0, 1.5, 2.0])),
        open_max=draw(st.sampled_from([4_000, 10_000])),
        jitter=draw(st.sampled_from([0, 0, 100_000, 1_000_000])),
        half_open_calls=draw(st.integers(1, 4)),
        half_open_for=draw(st.sampled_from([None, None, 2_000])),
        lease=draw(st.sampled_from([500, 3_000])),
    )


calls = ["call"] * 6 + ["begin"] * 5 + ["end"] * 6 + ["wait"] * 5
rare = ["undo", "renew", "again", "stale", "back", "look", "closed", "forced_open", "disabled", "reset", "evict"]
acts = st.tuples(
    st.sampled_from(calls + rare),
    st.integers(0, LANES - 1),
    st.sampled_from([0, 0, 1, 1, 1, 2, 3, -1]),
    st.sampled_from([0, 1, 9, 10, 11, 100, 249, 250, 251, 999, 1_000, 2_500, 4_000, 10_000]),
)
schedules = st.lists(acts, min_size=1, max_size=60)


def config_of(rules: Rules) -> redisopt.CircuitBreakerConfig:
    slow_share = min(rules.slow, 1_000_000) / 1_000_000
    fields: dict[str, Any] = {
        "failure_rate": rules.failures / 1_000_000,
        "slow_call_after": None if rules.slow > 1_000_000 else 1.0,
        "minimum_calls": rules.minimum,
        "open_for": rules.open_for / 1000,
        "open_growth": rules.growth,
        "open_for_max": rules.open_max / 1000,
        "open_jitter": rules.jitter / 1_000_000,
        "half_open_calls": rules.half_open_calls,
        "half_open_for": None if rules.half_open_for is None else rules.half_open_for / 1000,
        "lease_ttl": rules.lease / 1000,
    }
    if rules.slow <= 1_000_000:
        fields["slow_call_rate"] = slow_share
    window = {"window": rules.window / 1000} if rules.window is not None else {"window_calls": rules.window_calls}
    return redisopt.CircuitBreakerConfig(**fields | window)


class Sent:
    """A script call, so that it can be sent again."""

    def __init__(self, command: Command[Any], lane: str, number: int) -> None:
        self.command, self.lane, self.number = command, lane, number

    def send(self, client: redis.Redis) -> Any:
        command = self.command
        lane = (self.lane, self.number) if command.once else ()
        args = (*command.keys, *lane, *command.args, *command.constants)
        source = on_test_clock(command.script)
        try:
            return client.evalsha(source.sha, len(command.keys), *args)
        except redis.exceptions.NoScriptError:
            return client.eval(source.source, len(command.keys), *args)


class Side:
    """The scripts beside the model, in step."""

    def __init__(self, client: redis.Redis, clock: ServerClock, rules: Rules) -> None:
        self.client, self.clock, self.rules = client, clock, rules
        self.asking = Asking(f"model {next(_numbers)}", config_of(rules))
        self.model = Circuit(rules, key=self.asking.look().keys[0])
        self.exists = False
        self.seen = self.offset = 0
        self.numbers = [0] * LANES
        self.latest: list[tuple[Sent, Any] | None] = [
            None
        ] * LANES  # of each lane, what was written last, and the reply
        self.open: list[
            tuple[int, str, Sent]
        ] = []  # what is under way: number of its state, probe, how it was asked for

    def tick(self) -> None:
        """The model's time: the server's, which never goes back behind what was written."""
        now = round(self.clock.now_ms) + self.offset
        self.model.now = max(now, self.seen)

    def wrote(self) -> None:
        self.offset = self.model.now - round(self.clock.now_ms)
        self.seen = self.model.now

    def send(self, command: Command[Any], lane: int, *, writes: bool) -> Any:
        self.numbers[lane] += 1
        sent = Sent(command, f"lane-{lane}", self.numbers[lane])
        reply = sent.send(self.client)
        if writes:
            self.latest[lane] = (sent, reply)
            self.wrote()
        return command.parse(reply)

    def begin(self, lane: int) -> None:
        self.tick()
        was_new = not self.exists
        if was_new:
            self.model.tell("closed")
            self.exists = True
        probe = f"lane-{lane}:{self.numbers[lane] + 1}"
        was_closed = self.model.state == "closed" and not was_new
        word, wait = self.model.allow(probe)
        verdict = self.send(self.asking.allow(), lane, writes=not was_closed)
        assert verdict[:5] == (
            word != "refuse", self.model.state, self.model.generation, probe if word == "probe" else "", wait / 1000,
        )  # fmt: skip
        assert not verdict.others
        if verdict.passes and self.model.state != "disabled":
            sent = Sent(self.asking.allow(), f"lane-{lane}", self.numbers[lane])
            self.open.append((verdict.generation, verdict.probe, sent))

    def end(self, lane: int, index: int, outcome: int) -> None:
        if not self.open:
            return
        generation, probe, _ = self.open.pop(index % len(self.open))
        if outcome < 0 and not probe:
            return
        self.tick()
        writes = self.model.record(generation, probe, outcome, f"lane-{lane}:{self.numbers[lane] + 1}")
        state = self.send(self.asking.record(generation, probe, outcome), lane, writes=writes)
        assert state == (self.model.state, self.model.generation)

    def undo(self) -> None:
        if not self.open:
            return
        _, probe, sent = self.open.pop()
        lane = int(sent.lane[-1])
        if sent.number != self.numbers[lane]:
            return
        self.tick()
        self.model.undo(probe)
        undo = Sent(sent.command._replace(script="breaker_undo"), sent.lane, sent.number)
        reply = undo.send(self.client)
        assert reply == b"undone"
        self.latest[lane] = (undo, reply)
        self.wrote()

    def renew(self) -> None:
        probes = [probe for _, probe, _ in self.open if probe]
        if not probes or not self.exists:
            return
        self.tick()
        renewed = [self.model.renew(probe) for probe in probes]
        assert (
            Sent(self.asking.beat(probes), "", 0).send(self.client) == "".join("01"[each] for each in renewed).encode()
        )
        self.wrote()

    def tell(self, lane: int, to: str) -> None:
        self.tick()
        self.model.tell(to)
        self.exists = True
        if to == "reset":
            self.latest = [None] * LANES
        state = self.send(self.asking.tell(to), lane, writes=True)
        assert state == (self.model.state, self.model.generation)

    def evict(self) -> None:
        """The list of the last calls is gone, as on a server that evicts keys."""
        self.client.delete(self.asking.allow().keys[2])
        self.model.evict()

    def again(self, lane: int) -> None:
        """A copy of what a lane wrote last is answered alike; one of an earlier call is known to be that."""
        latest = self.latest[lane]
        if latest is not None:
            assert latest[0].send(self.client) == latest[1]

    def stale(self, lane: int) -> None:
        latest = self.latest[lane]
        if latest is not None and latest[0].number > 1:
            sent = latest[0]
            assert Sent(sent.command, sent.lane, sent.number - 1).send(self.client) == b"stale"

    def check(self) -> None:
        self.tick()
        model = self.model
        metrics = Sent(self.asking.look(), "", 0).send(self.client)
        found: CircuitMetrics = self.asking.look().parse(metrics)
        assert (found.state, found[2:5], found.probes) == (model.state, model.counts(), model.under_way)
        assert (found.opened, found.not_permitted) == (model.opened, model.not_permitted)
        assert model.under_way + len(model.results) <= self.rules.half_open_calls
        if model.state == "open":
            assert found.retry_after == max(0, model.open_until - model.now) / 1000


@pytest.fixture
def clock_of(client: redis.Redis) -> Iterator[ServerClock]:
    """A clock that the scripts see."""
    return ServerClock(client)  # type: ignore[return-value] # a plain value does for a fixture


@relaxed
@given(rule_sets(), schedules)
def test_the_scripts_do_as_the_model(
    client: redis.Redis, clock_of: ServerClock, rules: Rules, schedule: list[tuple[str, int, int, int]]
) -> None:
    clock = clock_of
    clock.set(START_MS)
    side = Side(client, clock, rules)
    for act, lane, outcome, pause in schedule:
        if act == "call":
            side.begin(lane)
            side.end(lane, -1, outcome)
        elif act == "begin":
            side.begin(lane)
        elif act == "end":
            side.end(lane, pause, outcome)
        elif act in {"wait", "back"}:
            clock.set(clock.now_ms + (pause if act == "wait" else -pause))
        elif act in {"undo", "renew", "evict"}:
            getattr(side, act)()
        elif act in {"again", "stale"}:
            getattr(side, act)(lane)
        elif act != "look":
            side.tell(lane, act)
        side.check()


@relaxed
@given(rule_sets(), schedules)
def test_the_breaker_of_a_process_does_as_the_model(rules: Rules, schedule: list[tuple[str, int, int, int]]) -> None:
    """Its probes have no leases, and jitter is its own."""
    rules = Rules(**{**vars(rules), "jitter": 0, "lease": 3_600_000, "window": rules.window and 2_500})
    model = Circuit(rules)
    time = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_circuit, "now", lambda: time)
        changes: list[Any] = []
        circuit = LocalCircuit(config_of(rules), "closed", lambda *change: changes.append(change))
        under_way: list[tuple[int, int, Ticket]] = []
        for number, (act, _, outcome, pause) in enumerate(schedule):
            model.now = round(time * 1000)
            if act in {"call", "begin"}:
                ticket = Ticket("closed")
                verdict = circuit.allow(ticket)
                word, _ = model.allow(str(id(ticket)))
                assert (verdict.passes, bool(verdict.probe), verdict.state) == (
                    word != "refuse", word == "probe", model.state,
                )  # fmt: skip
                if verdict.passes:
                    under_way.append((verdict.generation, model.generation, ticket))
            if act in {"call", "end"} and under_way:
                local, generation, ticket = under_way.pop(-1 if act == "call" else number % len(under_way))
                circuit.record(local, ticket, outcome)
                model.record(generation, str(id(ticket)), outcome)
            if act in {"wait", "back"}:
                time += round(pause / 250) / 4  # a float that is exact
                model.now = round(time * 1000)
            found = circuit.metrics()
            assert (found.state, found[2:5], found.probes) == (model.state, model.counts(), model.under_way)
            assert (found.opened, found.not_permitted) == (model.opened, model.not_permitted)
    assert len(changes) >= model.opened
