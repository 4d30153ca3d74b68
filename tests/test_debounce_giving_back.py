"""Runs that a worker of a debouncer gives back: nobody here does anything of them any more."""

from __future__ import annotations

import time
from typing import Any

import pytest

from redisopt.commands import Command, Invoke, Plan
from redisopt.debounce.config import DebounceConfig
from redisopt.debounce.executing import Claims, HeldRun
from redisopt.debounce.plans import DebouncePlans
from redisopt.debounce.replies import Claimed


class Nobody:
    """Performs nothing in the background."""

    def start(self, plan: object, name: str) -> Any:
        return lambda: None

    def wake(self, permit: str) -> None: ...

    def place(self) -> None: ...


class Limited:
    """A limiter, and the permit that it grants."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def acquire(self, cost: int = 1, key: str = "", *, timeout: float | None = None) -> Any:
        return self

    def refund(self) -> None:
        self.given.append("refund")

    def release(self) -> None:
        self.given.append("release")


def plans_of(limiter: Limited | None = None) -> DebouncePlans:
    plans = DebouncePlans("test", DebounceConfig(wait=1), None, limiter, None, awaited=False, clustered=False)
    plans.attach(Nobody())
    return plans


def claimed(plans: DebouncePlans, key: str) -> Claimed:
    place = plans.asking.layout.place(key)
    return Claimed(place, f"window {key}", "1", 1, 1, "trailing", "last", 0.0, b"\xc0", 0)


def performed(plan: Plan[Any]) -> list[str]:
    """The scripts that it calls; its functions are called as well."""
    scripts: list[str] = []
    try:
        step = next(plan)
        while True:
            if isinstance(step, Command):
                scripts.append(step.script)
                step = plan.send(True)
            else:
                assert isinstance(step, Invoke)
                step = plan.send(step.function(*step.args, **step.kwargs or {}))
    except StopIteration:
        return scripts


@pytest.mark.parametrize("limited", [False, True])
def test_a_run_that_was_given_back_before_its_thread_began_is_not_run_here(limited: bool) -> None:
    limiter = Limited()
    called: list[Any] = []
    plans = plans_of(limiter if limited else None)
    plans.register(called.append, awaited=False)
    run = HeldRun(claimed(plans, "key"), time.monotonic() + 30)
    due = plans.due()
    job = due._job(run) if due._permits is None else due._job_with_permit(run, due._permits, limiter)
    assert performed(job.give_back()) == ["debounce_finish"]
    assert performed(job.perform()) == []
    assert not called
    assert limiter.given == (["refund", "release"] if limited else [])


def test_an_interruption_while_too_many_are_given_back_gives_back_the_others_too() -> None:
    plans = plans_of()
    plan = plans.executing.claim(0, 1, Claims())
    next(plan)
    step = plan.send((0.0, [claimed(plans, key) for key in "abc"]))
    assert isinstance(step, Command)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the plan goes on until it is over
        plan.throw(KeyboardInterrupt())
        while True:
            plan.send(True)
    assert not any(kept for each in plans.executing.leases._kept.values() for kept in each.values())
