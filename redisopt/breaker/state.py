"""What a circuit breaker is: its states, and what the scripts say of them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, cast, get_args

from redisopt.errors import StateLost
from redisopt.events import CircuitState
from redisopt.replies import text

State: TypeAlias = CircuitState

_STATES = frozenset(get_args(CircuitState))

GIVEN_BACK, FAILED, SLOW = -1, 1, 2
"""Outcomes of a call: that of one that tells nothing; and what makes up the others, 0 being a good one."""


class Verdict(NamedTuple):
    """Whether a call may pass.

    Attributes:
        passes: whether it may.
        state: of the breaker.
        generation: the state's number, which only rises.
        probe: the id of a probe, "" where it is none.
        retry_after: seconds until it is worth to come back.
        others: the rules of another process, where they are not ours.
    """

    passes: bool
    state: State
    generation: int
    probe: str = ""
    retry_after: float = 0.0
    others: str = ""


class CircuitMetrics(NamedTuple):
    """How a circuit breaker stands, over the whole fleet.

    Attributes:
        state: "closed", "open", "half_open", "forced_open" or "disabled".
        since: by the server's clock, in seconds since 1970; None where there was no call yet.
        calls, failures, slow: that are counted in the window; of a half-open one, probes that are over; of an open one, what opened it.
        failure_rate, slow_rate: shares of these calls, 0.0 where there are none.
        probes: under way.
        opened: how often it opened, since `reset` or a month without any call.
        not_permitted: calls that were refused, likewise.
        retry_after: seconds until it is worth to come back; 0.0 where calls pass.
        is_local: whether this is the breaker of this process, which goes on while Redis is away; its times are by the process's clock.
    """

    state: State
    since: float | None
    calls: int
    failures: int
    slow: int
    failure_rate: float
    slow_rate: float
    probes: int
    opened: int
    not_permitted: int
    retry_after: float
    is_local: bool = False


def read_verdict(reply: Any) -> Verdict:
    """Whether a call may pass.

    Raises:
        StateLost: the script answered anything else.
    """
    try:
        line, _, others = text(reply).partition("\n!")
        word, state, generation, *rest = line.split(" ")
        _check_state(state)
        known = cast("State", state)
        if word == "refuse":
            return Verdict(False, known, int(generation), retry_after=int(rest[0]) / 1000)  # noqa: FBT003
        return Verdict(True, known, int(generation), rest[0] if word == "probe" else "", others=others)  # noqa: FBT003
    except (ValueError, IndexError):
        raise _unknown(reply) from None


def read_state(reply: Any) -> tuple[State, int]:
    """The state, and its number.

    Raises:
        StateLost: the script answered anything else.
    """
    try:
        state, generation = text(reply).split(" ")
        _check_state(state)
        return cast("State", state), int(generation)
    except ValueError:
        raise _unknown(reply) from None


def read_metrics(reply: Any) -> CircuitMetrics:
    """How the breaker stands.

    Raises:
        StateLost: the script answered anything else.
    """
    state, *numbers = text(reply).split(" ")
    try:
        _, since, calls, failures, slow, probes, opened, not_permitted, wait = map(int, numbers)
    except ValueError:
        raise _unknown(reply) from None
    _check_state(state)
    counts = (calls, failures, slow, *rates(calls, failures, slow))
    known = cast("State", state)
    return CircuitMetrics(known, since / 1000 or None, *counts, probes, opened, not_permitted, wait / 1000)


def rates(calls: int, failures: int, slow: int) -> tuple[float, float]:
    """The shares of failed and of slow calls."""
    return (failures / calls, slow / calls) if calls else (0.0, 0.0)


def _check_state(state: str) -> None:
    if state not in _STATES:
        raise StateLost(f"the breaker is {state!r}, which is no state of ours: reset() mends it")


def _unknown(reply: Any) -> StateLost:
    return StateLost(
        f"a script answered {reply!r}: has something else written to the breaker's keys? reset() mends them"
    )
