"""The plans of a throttle, without Redis: replies are fed, steps are compared."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from redisopt.commands import Command, Invoke, Plan, Wait
from redisopt.errors import ConfigConflict, CostExceedsLimit, StateLost, ThrottleTimeout, Unavailable
from redisopt.identity import next_permit_id
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.grant import Grant
from redisopt.throttle.plans import ThrottlePlans
from redisopt.throttle.terms import Terms
from tests.plans import bare_plans

NOW_MS = 1_800_000_000_000


def plans(*rates: str, **fields: Any) -> ThrottlePlans[Grant]:
    return bare_plans(ThrottleConfig(rates=rates or ("10/s",), **fields))  # type: ignore[arg-type]


def script(step: object) -> str:
    assert isinstance(step, Command), step
    return step.script


def answer(plan: Plan[Any], step: Any, reply: bytes) -> Any:
    """Answer a script call; the next step, or what the plan returns."""
    try:
        return plan.send(step.parse(reply))
    except StopIteration as done:
        return done.value


def test_a_decision_is_one_command() -> None:
    plan = plans().deciding.try_acquire(3, "user:42", None)
    step = next(plan)

    assert isinstance(step, Command)
    assert step.script == "throttle_acquire"
    parts = ("state", "waiting", "holes", "line", "leases", "tickets", "log:1000")
    keys = [f"redisopt:v1:{{throttle:test:user%3A42}}:{part}" for part in parts]
    keys.insert(3, "redisopt:v1:{throttle:test}:control")
    assert step.keys == tuple(keys)
    assert step.args[1:] == (3, 3, 0)
    assert step.constants == (1, 0, -1, 0, 0, 0, 10_000, "0", "10/s", "1000", 1000, 1, 10)
    assert step.once
    assert step.undo == "throttle_undo"

    decision = answer(plan, step, b"1 %d 3 7" % NOW_MS)
    assert decision.allowed
    assert decision.remaining == 3
    assert decision.permit.cost == 3
    assert decision.permit.granted_at == NOW_MS / 1000


def test_a_refusal_says_what_refused_and_when_to_come_back() -> None:
    plan = plans("10/s", "100/min").deciding.try_acquire(1, "", None)
    decision = answer(plan, next(plan), b"0 %d 0 3 100 | 2500 0 2 0 990 60000" % NOW_MS)

    assert not decision
    assert decision.reason == "100/min"
    assert decision.retry_after == 2.5
    assert decision.reset_after == 60.0
    assert (decision.limit, decision.remaining) == (100, 0)
    assert [state.remaining for state in decision.limits] == [7, 0]
    assert decision.permit is None


def test_one_call_gives_a_waiting_caller_its_place() -> None:
    plan = plans().deciding.acquire(1, "", 5.0)
    step = next(plan)

    waiting = answer(plan, step, b"1 %d 1 10 | 250 3 1 0 1000" % NOW_MS)
    assert isinstance(waiting, Wait)
    assert waiting.seconds == 0.25
    assert waiting.attentive
    last = plan.send(None)
    assert isinstance(last, Wait)
    assert not last.attentive
    with pytest.raises(StopIteration) as done:
        plan.send(None)
    assert done.value.value.waited == 0.25


def test_a_wait_longer_than_the_timeout_is_refused_without_a_second_call() -> None:
    plan = plans().deciding.acquire(1, "", 1.0)
    step = next(plan)

    assert isinstance(step, Command)
    assert step.args[3] == 1000
    with pytest.raises(ThrottleTimeout) as refused:
        answer(plan, step, b"0 %d 0 10 | 2500 0 1 0 990" % NOW_MS)
    assert refused.value.retry_after == 2.5
    assert refused.value.reason == "10/s"


@pytest.mark.parametrize("interruption", [asyncio.CancelledError(), KeyboardInterrupt()])
def test_a_caller_that_gives_up_gives_its_place_back(interruption: BaseException) -> None:
    plan = plans().deciding.acquire(2, "", None)
    answer(plan, next(plan), b"1 %d 2 10 | 250 1 1 0 1000" % NOW_MS)
    step = plan.throw(interruption)

    assert isinstance(step, Command)
    assert step.script == "throttle_refund"
    assert step.args[1:] == (NOW_MS, NOW_MS - 249, 2)
    assert isinstance(answer(plan, step, b"2"), Wait)
    with pytest.raises(type(interruption)):
        plan.send(None)


def test_an_interruption_goes_on_when_the_place_cannot_be_given_back() -> None:
    plan = plans().deciding.acquire(2, "", None)
    answer(plan, next(plan), b"1 %d 2 10 | 250 1 1 0 1000" % NOW_MS)
    plan.throw(asyncio.CancelledError())
    assert isinstance(plan.throw(Unavailable("Redis is away")), Wait)
    with pytest.raises(asyncio.CancelledError):
        plan.send(None)


def test_a_plan_that_nobody_performs_any_more_asks_for_nothing() -> None:
    plan = plans().deciding.acquire(2, "", None)
    answer(plan, next(plan), b"1 %d 2 10 | 250 1 1 0 1000" % NOW_MS)
    plan.close()


def test_periods_of_another_config_are_registered_and_kept_up() -> None:
    own = plans("10/s")
    plan = own.deciding.try_acquire(1, "", None)
    registering = answer(plan, next(plan), b"register 60000")

    assert script(registering) == "throttle_register"
    assert registering.args == (1, 1000, 1, 60000, 60)
    again = answer(plan, registering, b"1000 60000")
    assert script(again) == "throttle_acquire"
    assert again.constants == (1, 0, -1, 0, 0, 0, 10_000, "0", "10/s", "1000 60000", 1000, 1, 10, 60000, 60, -1)
    assert answer(plan, again, b"1 %d 1 1 1" % NOW_MS).allowed


def test_periods_that_change_at_every_try_are_a_conflict() -> None:
    plan = plans("10/s").deciding.try_acquire(1, "", None)
    step = next(plan)

    def keep_changing() -> None:
        nonlocal step
        for number in range(20):
            step = answer(plan, step, b"register %d" % (2000 + number))

    with pytest.raises(ConfigConflict, match="periods on record"):
        keep_changing()


def test_a_foreign_answer_is_state_lost() -> None:
    plan = plans().deciding.try_acquire(1, "", None)
    with pytest.raises(StateLost, match="stale"):
        answer(plan, next(plan), b"stale")


def test_a_burst_shares_the_log_of_a_rate_of_one_second() -> None:
    step = next(plans("10/s", max_burst_size=5, cooldown_period=2.0).deciding.try_acquire(1, "", None))

    assert isinstance(step, Command)
    assert step.constants == (1, 0, -1, 5, 2000, 0, 10_000, "0", "10/s,burst=5/2000ms", "1000", 1000, 1, 5)


def test_a_margin_lengthens_every_period_and_not_the_burst() -> None:
    step = next(plans("10/s", max_burst_size=5, margin=0.25).deciding.try_acquire(1, "", None))

    assert isinstance(step, Command)
    limits = "10/s,burst=5/0ms,margin=250ms"
    assert step.constants == (1, 0, -1, 5, 0, 0, 10_000, "0", limits, "1000 1250", 1000, 1, 5, 1250, 1, 10)


def test_the_smallest_limit_of_a_log_names_the_refusal() -> None:
    plan = plans("10/s", max_burst_size=5).deciding.try_acquire(1, "", None)

    assert answer(plan, next(plan), b"0 %d 0 5 | 900 0 1 0 1000" % NOW_MS).reason == "burst"


def test_a_function_is_called_and_its_permit_released() -> None:
    grant = Grant(None, next_permit_id(), "", 1, NOW_MS)
    plan = plans().run_with(grant, max, (1, 2), {"key": abs})

    assert next(plan) == Invoke(max, (1, 2), {"key": abs})
    with pytest.raises(StopIteration) as done:
        plan.send(2)
    assert done.value.value == 2
    assert grant.mark_released() is False


def test_cost_and_key_can_be_found_in_the_arguments() -> None:
    terms = Terms(cost=lambda tokens, _user: tokens, key=lambda _tokens, user: user)

    assert terms.of_call((7, "ada"), {}) == (7, "ada")


@pytest.mark.parametrize("cost", [0, -1, True, 1.0, "1", None])
def test_a_bad_cost_never_becomes_a_command(cost: Any) -> None:
    with pytest.raises(ValueError, match="cost"):
        next(plans().deciding.try_acquire(cost, "", None))


def test_a_cost_above_a_limit_names_the_limit() -> None:
    with pytest.raises(CostExceedsLimit, match=r"cost 11 is above the limit 10/s"):
        next(plans("10/s", "100/min").deciding.try_acquire(11, "", None))


def test_settling_asks_only_for_the_difference() -> None:
    own = plans()
    permit = next_permit_id()

    def settled(actual: int) -> tuple[str, tuple[Any, ...]] | None:
        step = next(own.returning.settle(Grant(None, permit, "", 5, NOW_MS), actual), None)
        return (step.script, step.args) if isinstance(step, Command) else None

    assert settled(3) == ("throttle_refund", (permit, NOW_MS, NOW_MS, 2))
    assert settled(8) == ("throttle_charge", (3,))
    assert settled(5) is None


def test_a_second_refund_asks_nothing() -> None:
    own, grant = plans(), Grant(None, next_permit_id(), "", 5, NOW_MS)
    first = own.returning.refund(grant, None)
    answer(first, next(first), b"5")

    with pytest.raises(StopIteration) as done:
        next(own.returning.refund(grant, None))
    assert done.value.value is False
