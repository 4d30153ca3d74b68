"""The plans of a circuit breaker, fed with replies: what is asked when, and what an interruption leaves behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import redisopt
from redisopt.breaker.plans import BreakerPlans
from redisopt.breaker.state import Verdict
from redisopt.breaker.ticket import Ticket
from redisopt.commands import Command, Invoke, Stopped, invoke


class Bare(BreakerPlans):
    """Without a runner: what would run in the background does not."""

    def __init__(self, **fields: Any) -> None:
        super().__init__("test", redisopt.CircuitBreakerConfig(**fields), Exception, KeyError, None, None)


PASS = Verdict(True, "closed", 7)
PROBE = Verdict(True, "half_open", 8, "lane:1")


def started(plans: BreakerPlans, verdict: Verdict) -> Any:
    """A plan whose call is under way."""
    plan = plans.guard(lambda: invoke(print, "called"))
    allow: Any = next(plan)
    assert (allow.script, allow.once, allow.undo) == ("breaker_allow", True, "breaker_undo")
    assert plan.send(verdict) == Invoke(print, ("called",), {})
    return plan


def record_of(step: Any) -> tuple[Any, ...]:
    """What a step records: the number of the state, the probe, the outcome."""
    assert isinstance(step, Command)
    assert (step.script, step.once) == ("breaker_record", True)
    return step.args


def test_a_call_asks_performs_and_records() -> None:
    plan = started(Bare(), PASS)
    assert record_of(plan.send("value")) == (7, "", 0)
    with pytest.raises(StopIteration) as done:
        plan.send(("closed", 7))
    assert done.value.value == "value"


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError("no"), 1), (Stopped(StopIteration(5)), 1), (TimeoutError(), 1)]
)
def test_what_fails_is_recorded_and_raised(error: Exception, outcome: int) -> None:
    plan = started(Bare(), PASS)
    assert record_of(plan.throw(error)) == (7, "", outcome)
    with pytest.raises(type(error)):
        plan.send(("closed", 7))


@pytest.mark.parametrize(
    "error", [KeyError(), KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(1), GeneratorExit()]
)
def test_what_is_ignored_or_interrupted_records_nothing(error: BaseException) -> None:
    plan = started(Bare(), PASS)
    with pytest.raises(type(error)):
        plan.throw(error)


@pytest.mark.parametrize("error", [KeyError(), KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(1)])
def test_an_interrupted_probe_is_given_back(error: BaseException) -> None:
    plans = Bare()
    plan = started(plans, PROBE)
    assert len(plans.leases.held("probes")) == 1
    assert record_of(plan.throw(error)) == (8, "lane:1", -1)
    with pytest.raises(type(error)):
        plan.send(("half_open", 8))
    assert plans.leases.held("probes") == []


def test_a_probe_whose_coroutine_is_closed_is_not_renewed() -> None:
    plans = Bare()
    plan = started(plans, PROBE)
    plan.close()
    assert plans.leases.held("probes") == []


def test_a_probe_that_is_interrupted_while_it_is_recorded_is_given_back() -> None:
    """Whether it was recorded is not known then: if so, giving it back changes nothing."""
    plan = started(Bare(), PROBE)
    assert record_of(plan.send("value")) == (8, "lane:1", 0)
    assert record_of(plan.throw(asyncio.CancelledError())) == (8, "lane:1", -1)
    with pytest.raises(asyncio.CancelledError):
        plan.send(("half_open", 8))


def test_that_it_cannot_be_recorded_does_not_hide_what_the_call_gave() -> None:
    for policy in ("local", "allow", "deny", "raise"):
        plan = started(Bare(on_unavailable=policy), PASS)
        record_of(plan.send("value"))
        with pytest.raises(StopIteration) as done:
            plan.throw(redisopt.Unavailable("away"))
        assert done.value.value == "value"


def test_a_disabled_breaker_is_not_told_how_the_call_ended() -> None:
    plan = started(Bare(), Verdict(True, "disabled", 9))
    with pytest.raises(StopIteration):
        plan.send("value")


def test_a_refused_call_is_not_made() -> None:
    plan = Bare().guard(lambda: invoke(print))
    next(plan)
    with pytest.raises(redisopt.CircuitOpen) as raised:
        plan.send(Verdict(False, "open", 9, retry_after=2.5))
    assert (raised.value.retry_after, raised.value.state) == (2.5, "open")


def test_a_beat_renews_the_probes_that_somebody_still_holds() -> None:
    plans = Bare()
    tickets: list[Ticket | None] = []
    for number in range(3):
        plan: Any = plans.allow()
        next(plan)
        with pytest.raises(StopIteration) as done:
            plan.send(Verdict(True, "half_open", 8, f"lane:{number}"))
        tickets.append(done.value.value)
        del done
    tickets[1] = None
    gc.collect()
    held = plans.leases.held("probes")
    beat: Any = plans._renew("probes", held)
    step = next(beat)
    assert (step.script, step.args[1:]) == ("breaker_beat", ("lane:0", "lane:2"))
    with pytest.raises(StopIteration) as done:
        beat.send([True, False])
    assert done.value.value == [True, False, False]
    assert [lease.id for lease in plans.leases.held("probes")] == ["lane:0", "lane:2"]


def test_an_answer_that_comes_late_is_no_news() -> None:
    seen: list[str] = []
    plans = BreakerPlans(
        "test",
        redisopt.CircuitBreakerConfig(),
        Exception,
        (),
        None,
        lambda change: seen.append(f"{change.before} > {change.after}"),
    )
    for verdict in (PASS, Verdict(True, "half_open", 9, "lane:1"), PASS, Verdict(True, "closed", 10)):
        plan: Any = plans.allow()
        next(plan)
        with pytest.raises(StopIteration):
            plan.send(verdict)
    assert seen == ["closed > half_open", "half_open > closed"]


def test_an_answer_that_is_none_of_ours_is_said_to_be_lost() -> None:
    asking = Bare().asking
    for reply in (b"nonsense", b"refuse open", b"pass closed x", b"stale", 5):
        with pytest.raises(redisopt.StateLost):
            asking.allow().parse(reply)
    with pytest.raises(redisopt.StateLost):
        asking.record(1, "", 0).parse(b"stale")
