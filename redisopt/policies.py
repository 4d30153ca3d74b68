"""What all policies are: something that goes on around a call, whatever the call is.

A policy wraps an inner plan and knows no other policy; which ones are there, and in what order, is decided by whoever folds them
(see `pipeline`). The inner plan is handed over as a function that makes it, since a policy may perform it several times, or not at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from redisopt.commands import Command, Invoke, Listen, Plan, Step, Wait, Within


class Policy(Protocol):
    """One policy, for one kind of call; made by `Throttler.policy` and its like. Safe to use by any number of calls at once."""

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """The plan of a call: what goes before `inner`, `inner` itself, and what goes after it."""


class Performs(Protocol):
    """A runner, as far as policies need to know it."""

    @property
    def client(self) -> Any:
        """Whose server it talks to."""

    def run(self, plan: Plan[Any]) -> Any:
        """Perform a plan."""


@dataclass(frozen=True, slots=True, repr=False)
class Bound:
    """A policy, and the runner that performs what it asks of Redis.

    Attributes:
        policy: what goes on around a call.
        runner: of the object that the policy comes from.
    """

    policy: Policy
    runner: Performs

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """As that of the policy: whoever performs it has to use the same client."""
        return self.policy.around(inner)

    def __repr__(self) -> str:
        """The policy's."""
        return repr(self.policy)

    def for_runner(self, runner: Performs) -> Policy:
        """The policy for plans that `runner` performs: where its client is another one than ours, what we ask goes its own way."""
        return self.policy if runner.client is self.runner.client else _Elsewhere(self, runner)


class _Elsewhere:
    """A policy whose server is another one than that of the calls that it goes around.

    Args:
        bound: the policy, and who performs what it asks itself.
        outer: performs the calls that it goes around.
    """

    def __init__(self, bound: Bound, outer: Performs) -> None:
        self._bound = bound
        self._outer = outer

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """The plan, whose own calls of Redis are made by its own runner."""
        return _translated(self._bound.around(lambda: _translated(inner(), self._inner)), self._translate)

    def _inner(self, step: Step) -> _Inner:
        if isinstance(step, Invoke):
            return _Inner(step.function, step.args, step.kwargs, step.final, step=step)
        return _Inner(_perform_alone, (self._outer, step), None, isinstance(step, Command), step=step)

    def _translate(self, step: Any) -> Step:
        if isinstance(step, _Inner):
            return step.step
        if isinstance(step, Within):
            return Within(lambda: _translated(step.plan(), self._translate), step.seconds)
        if isinstance(step, Command | Wait | Listen):
            return Invoke(_perform_alone, (self._bound.runner, step), final=isinstance(step, Command))
        own: Step = step
        return own


@dataclass(frozen=True, slots=True)
class _Inner(Invoke):
    """A step of the inner plan, on its way through a policy that performs its own elsewhere.

    Where the policy performs the inner plan itself, in the background, it never comes out at the other side: its runner then performs
    this as what it is, a call of the runner that the step is meant for.

    Attributes:
        step: the step.
    """

    step: Step = field(kw_only=True)


class Fold:
    """Several policies as one, the first one outermost."""

    __slots__ = ("_arounds", "_outermost")

    def __init__(self, policies: Iterable[Policy]) -> None:
        arounds = [policy.around for policy in policies]
        self._outermost = arounds[0] if arounds else _perform
        self._arounds = arounds[:0:-1]

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """All of them around `inner`."""
        for around in self._arounds:
            inner = functools.partial(around, inner)
        return self._outermost(inner)


def _perform(inner: Callable[[], Plan[Any]]) -> Plan[Any]:
    return inner()


def _perform_alone(runner: Performs, step: Step) -> Any:
    return runner.run(_single(step))


def _single(step: Step) -> Plan[Any]:
    return (yield step)


def _translated(plan: Plan[Any], translate: Callable[[Any], Any]) -> Plan[Any]:
    """`plan` with other steps in place of its own."""
    try:
        step = next(plan)
        while True:
            try:
                answer = yield translate(step)
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as done:
        return done.value
