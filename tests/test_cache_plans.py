"""The decisions of a cache without Redis: plans that are fed with replies, and an interruption at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import redisopt
from redisopt import awaiting
from redisopt.cache import flights
from redisopt.cache.config import CacheConfig
from redisopt.cache.plans import CachePlans, calling
from redisopt.commands import Command, Invoke, Wait
from redisopt.errors import Unavailable

HIT = [b"\x01", b"hit 5 100 900 9000 msgpack "]
COMPUTE = [b"", b"compute 7"]
WAIT = [b"", b"wait 400"]


class Script:
    """A plan of one call, performed by hand."""

    def __init__(self, clustered: bool = False, **fields: Any) -> None:
        self.plans = CachePlans(
            "test", CacheConfig(**{"ttl_jitter": 0.0, "early_refresh": 0.0} | fields), clustered=clustered
        )
        self.started: list[Any] = []
        self.plans.attach(self)

    def start(self, plan: Any, name: str) -> Any:
        self.started.append((plan, name))
        return lambda: None

    def wake(self, _: str) -> None: ...

    def place(self) -> None: ...

    def call(self, tags: Any = (), timeout: float = 5.0) -> Any:
        return self.plans.get_or_compute("k", calling(len, ("abc",), {}), None, tags, timeout)


def reply(plan: Any, step: Any, raw: Any) -> Any:
    """Give the plan what the script answered."""
    assert isinstance(step, Command)
    return plan.send(step.parse(raw))


def result(plan: Any, step: Any, raw: Any) -> Any:
    """What the plan returns after its last reply."""
    with pytest.raises(StopIteration) as done:
        reply(plan, step, raw)
    return done.value.value


def test_a_hit_is_one_call() -> None:
    plan = Script().call()
    step = next(plan)
    assert step.script == "cache_ask"
    assert result(plan, step, HIT) == 1


def test_who_gets_the_lease_computes_and_stores() -> None:
    plan = Script(ttl=10, stale_for=5, stale_if_error=20).call()
    asked = next(plan)
    step = reply(plan, asked, COMPUTE)
    assert step == Invoke(len, ("abc",), {})
    stored = plan.send(3)
    assert stored.script == "cache_store"
    assert stored.args[:5] == (asked.args[0], b"\x03", 10_000, 15_000, 30_000)
    assert result(plan, stored, b"7") == 3


def test_versions_of_tags_are_read_before_the_computation() -> None:
    plan = Script().call(tags=["a", "b"])
    step = reply(plan, next(plan), COMPUTE)
    assert (step.script, step.keys) == (
        "cache_tags",
        ("redisopt:v1:{cache:test}:tag:a", "redisopt:v1:{cache:test}:tag:b"),
    )
    step = reply(plan, step, [b"5", b"12"])
    assert isinstance(step, Invoke)
    assert plan.send(3).args[7] == "a=5 b=12"


def test_who_waits_asks_again_when_the_lease_ends_or_after_a_second() -> None:
    plan = Script().call()
    step = reply(plan, next(plan), WAIT)
    assert isinstance(step, Wait)
    assert step.permit == "{cache:test:k}"
    assert step.seconds == pytest.approx(0.401)
    step = reply(plan, plan.send(None), [b"", b"wait 9000"])
    assert step.seconds == 1.0
    assert result(plan, plan.send("0"), HIT) == 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """This process's time, set by hand."""
    time = 1000.0
    for module in (awaiting, flights):
        monkeypatch.setattr(module, "now", lambda: time)

    def advance(seconds: float) -> None:
        nonlocal time
        time += seconds

    return advance


def test_who_takes_a_wait_over_waits_for_what_is_left_of_its_own_timeout(clock: Callable[[float], None]) -> None:
    script = Script()
    leader, follower = script.call(timeout=1.0), script.call(timeout=1.25)
    reply(leader, next(leader), WAIT)
    assert isinstance(next(follower), Wait)
    clock(1.0)
    with pytest.raises(redisopt.ResultTimeout):
        reply(leader, leader.send(None), WAIT)
    step = reply(follower, follower.send("0"), WAIT)
    assert isinstance(step, Wait)
    assert step.seconds == 0.25
    clock(0.25)
    with pytest.raises(redisopt.ResultTimeout):
        reply(follower, follower.send(None), WAIT)


@pytest.mark.parametrize("how", ["leased", "alone", "away"])
def test_nobody_waits_for_a_computation_that_hangs(clock: Callable[[float], None], how: str) -> None:
    """Whoever comes, and the first of those that wait, ask Redis: with a lease or without one."""
    script = Script(compute_timeout=600)
    hung, waiting = script.call(), script.call(timeout=900)
    asked = next(hung)
    step = hung.throw(Unavailable("away")) if how == "away" else reply(hung, asked, [b"", ANSWERS[how]])
    assert isinstance(step, Invoke)
    assert isinstance(next(waiting), Wait)
    clock(599)
    assert isinstance(next(script.call()), Wait)
    assert isinstance(waiting.send(None), Wait)
    clock(1)
    first = script.call()
    asked = next(first)
    assert asked.script == "cache_ask"
    assert isinstance(waiting.send(None), Wait)
    reply(first, asked, WAIT)
    first.close()
    assert waiting.send("0").script == "cache_ask"


ANSWERS = {"leased": b"compute 7", "alone": b"alone"}


def test_a_wait_ends_with_its_timeout() -> None:
    plan = Script().call(timeout=0)
    with pytest.raises(redisopt.ResultTimeout):
        reply(plan, next(plan), WAIT)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("steps", ["ask", "wait", "compute", "store"])
def test_who_is_interrupted_gives_the_lease_back(interruption: type[BaseException], steps: str) -> None:
    plan = Script().call()
    step = next(plan)
    caller = step.args[0]
    if steps == "wait":
        reply(plan, step, WAIT)
    elif steps != "ask":
        reply(plan, step, COMPUTE)
        if steps == "store":
            plan.send(3)
    released = plan.throw(interruption())
    assert (released.script, released.args[:3]) == ("cache_fail", (caller, "", 0))
    with pytest.raises(interruption):
        reply(plan, released, [b"", b"kept"])


def test_a_closed_plan_sends_nothing() -> None:
    for raw in (WAIT, COMPUTE):
        plan = Script().call()
        reply(plan, next(plan), raw)
        plan.close()


def test_a_stale_value_is_returned_before_it_is_refreshed() -> None:
    script = Script(stale_for=60)
    plan = script.call()
    assert result(plan, next(plan), [b"\x02", b"refresh 5 1000 0 9000 msgpack "]) == 2
    ((refresh, name),) = [each for each in script.started if "refresh" in each[1]]
    assert name == "redisopt-cache-test-refresh"
    background = refresh()
    assert isinstance(next(background), Invoke)
    assert background.send(3).script == "cache_store"


def test_a_failure_is_kept_for_others_but_a_refusal_is_not() -> None:
    for error, keep in (
        (ValueError("no"), 1000),
        (redisopt.OperationTimeout("no"), 1000),
        (redisopt.ResultTimeout("no"), 1000),
        (redisopt.RunFailed("no"), 1000),
        (redisopt.BatchItemFailed("id", "E", "no", 1), 1000),
        (redisopt.Throttled("no", retry_after=1, reason="10/s"), 0),
        (redisopt.CircuitOpen("no"), 0),
        (Unavailable("no"), 0),
    ):
        plan = Script().call()
        reply(plan, next(plan), COMPUTE)
        failed = plan.throw(error)
        assert (failed.script, failed.args[2]) == ("cache_fail", keep)
        with pytest.raises(type(error)):
            reply(plan, failed, [b"", b"kept"])


def test_an_old_value_is_served_where_the_computation_fails() -> None:
    plan = Script(stale_if_error=60).call()
    reply(plan, next(plan), COMPUTE)
    failed = plan.throw(ValueError("no"))
    assert result(plan, failed, [b"\x02", b"rescued 5 1000 0 9000 msgpack "]) == 2


def test_without_redis_the_value_is_computed_or_not() -> None:
    plan = Script().call()
    next(plan)
    assert plan.throw(Unavailable("away")) == Invoke(len, ("abc",), {})
    with pytest.raises(StopIteration) as done:
        plan.send(3)
    assert done.value.value == 3
    plan = Script(on_unavailable="raise").call()
    next(plan)
    with pytest.raises(Unavailable):
        plan.throw(Unavailable("away"))


def test_what_may_have_got_a_lease_gives_it_back() -> None:
    """The reply was lost for good: the value is computed without Redis, and the lease is owed from then on."""
    script = Script()
    plan = script.call()
    asked = next(plan)
    assert isinstance(plan.throw(Unavailable("no answer", sent=True)), Invoke)
    (owed,) = script.plans._computing.owing._here()
    assert (owed.script, owed.args[0]) == ("cache_fail", asked.args[0])
    with pytest.raises(StopIteration) as done:
        plan.send(3)
    assert done.value.value == 3


def test_a_full_server_is_not_away() -> None:
    """The value is computed though `on_unavailable` says "raise"."""
    plan = Script(on_unavailable="raise").call()
    next(plan)
    error = Unavailable("full")
    error.__cause__ = Exception("OOM command not allowed when used memory > 'maxmemory'.")
    assert isinstance(plan.throw(error), Invoke)


def test_a_value_that_redis_refuses_is_returned() -> None:
    plan = Script().call()
    reply(plan, next(plan), COMPUTE)
    plan.send(3)
    released = plan.throw(Unavailable("full"))
    assert released.script == "cache_fail"
    with pytest.raises(StopIteration) as done:
        plan.throw(Unavailable("full"))
    assert done.value.value == 3


def test_on_a_cluster_an_invalidated_value_is_refused() -> None:
    plan = Script(clustered=True).call()
    step = reply(plan, next(plan), [b"\x02", b"hit 5 100 900 9000 msgpack a=1 b=3"])
    assert step.script == "cache_tags"
    step = reply(plan, step, [b"1", b"4"])
    assert (step.script, step.args[3]) == ("cache_ask", "5")
    assert isinstance(reply(plan, step, COMPUTE), Invoke)


def test_a_value_of_another_codec_is_refused() -> None:
    plan = Script().call()
    step = reply(plan, next(plan), [b"\xc1", b"hit 5 100 900 9000 msgpack "])
    assert (step.script, step.args[3]) == ("cache_ask", "5")
    assert isinstance(reply(plan, step, COMPUTE), Invoke)


def test_a_script_that_answers_anything_else_is_lost_state() -> None:
    plan = Script().call()
    with pytest.raises(redisopt.StateLost):
        reply(plan, next(plan), [b"", b"nonsense"])
