"""Several limiters at once, as plans: `acquire_all` and what it gives.

One script call decides over all of them (see `throttle_acquire_all`). A caller that is refused stands in the line of the
limiter that refuses longest; when it is its turn there it asks for all again, and moves on to the line of another that
refuses then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from redisopt.background import now
from redisopt.commands import Command, Listen, Plan
from redisopt.errors import ConfigConflict, QueueFull, RedisOptError, Throttled, ThrottleTimeout
from redisopt.identity import next_permit_id
from redisopt.throttle.grant import Grant
from redisopt.throttle.layout import Layout, Verdict, elsewhere
from redisopt.throttle.line import doze
from redisopt.throttle.plans import ThrottlePlans
from redisopt.throttle.returning import Returning
from redisopt.throttle.terms import check_cost, check_weight, patience

G = TypeVar("G", bound=Grant)

MAX_REQUESTS = 16
"""Limiters that one call may join."""


class Asker(Protocol):
    """A runner, as far as joining limiters needs to know it."""

    @property
    def client(self) -> object:
        """Whose server it talks to."""

    @property
    def is_clustered(self) -> bool:
        """Whether keys may lie on different nodes."""


@dataclass(frozen=True, slots=True)
class Ask(Generic[G]):
    """What is asked of one limiter."""

    plans: ThrottlePlans[G]
    cost: int
    key: str
    weight: int

    def check(self) -> None:
        """Refuse what can never be granted.

        Raises:
            ValueError, CostExceedsLimit: as `Throttler.try_acquire`.
        """
        check_cost(self.plans.asking, self.cost)
        check_weight(self.plans.asking, self.weight)

    @property
    def place(self) -> tuple[str, str]:
        """Which limiter and key it is."""
        return self.plans.asking.control, self.key

    @property
    def label(self) -> str:
        """The limiter, as errors name it."""
        return f"{self.plans.name}[{self.key}]" if self.key else self.plans.name


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the script says of all: whether it granted (1), refuses (0) or has the caller wait (2), and who refuses."""

    granted: int
    refuses: int
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """One limiter sends the caller elsewhere first."""

    number: int
    reply: str


def acquire_all(asks: Sequence[Ask[G]], timeout: float | None) -> Plan[tuple[G, ...]]:
    """Take all of `asks` or none, and wait for that; returns the permit of each. Safe to interrupt.

    Raises:
        ThrottleTimeout, QueueFull: as `Throttler.acquire`; `reason` names the limiter and its limit.
    """
    until = inf if patience(timeout) < 0 else now() + patience(timeout) / 1000
    permit = next_permit_id()
    for ask in asks:
        ask.check()
    channel = asks[0].plans.asking.control
    yield Listen(channel)
    standing = 0
    waits: Ask[G] | None = None
    try:
        while True:
            asked = now()
            answer = yield from _ask(asks, permit, int(asked < until), standing)
            refuses = answer.refuses
            if answer.granted == 1:
                for verdict in answer.verdicts:
                    verdict.asked = asked
                granted = zip(asks, answer.verdicts, strict=True)
                return tuple(ask.plans.deciding.permit(permit, ask.key, verdict) for ask, verdict in granted)
            verdict = answer.verdicts[refuses - 1]
            if answer.granted == 0:
                if waits is not None:
                    yield from waits.plans.line.end(waits.key, permit, back=True)
                raise _refusal(asks[refuses - 1], verdict, timeout)
            if standing != refuses:
                if waits is not None:
                    waits.plans.keeping.wait_no_more(waits.key, permit)
                standing, waits = refuses, asks[refuses - 1]
                waits.plans.keeping.wait(waits.key, permit)
            yield from doze(permit, verdict.wait_ms / 1000, until, channel)
    except (GeneratorExit, Throttled):
        raise
    except BaseException:
        if waits is not None:
            yield from waits.plans.line.end(waits.key, permit, back=True)
        raise
    finally:
        if waits is not None:
            waits.plans.keeping.wait_no_more(waits.key, permit)


def _ask(asks: Sequence[Ask[G]], permit: str, waits: int, standing: int) -> Plan[_Answer]:
    for _ in range(8 * len(asks)):
        keys: list[str] = []
        args: list[Any] = [permit, waits, standing]
        layouts = [ask.plans.asking.layouts.of(ask.key) for ask in asks]
        for ask, layout in zip(asks, layouts, strict=True):
            keys += layout.keys(ask.key)
            logs, queue = len(layout.own) + len(layout.others), ask.plans.asking.queue
            args += [logs, ask.cost, ask.weight, queue, *layout.constants_of(ask.key)]
        command: Command[_Answer | _Elsewhere] = Command(
            "throttle_acquire_all",
            tuple(keys),
            tuple(args),
            partial(_answer, layouts=tuple(layouts)),
            once=True,
            undo="throttle_undo_all",
        )
        answer = yield command
        if isinstance(answer, _Answer):
            return answer
        ask = asks[answer.number - 1]
        yield from ask.plans.asking.go(ask.key, elsewhere(answer.reply), ask.cost)
    raise ConfigConflict("acquire_all: a config changed at every try: do processes restart in a loop?")


def _answer(reply: Any, layouts: Sequence[Layout]) -> _Answer | _Elsewhere:
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    if text.startswith("elsewhere "):
        _, number, rest = text.split(" ", 2)
        return _Elsewhere(int(number), rest)
    first, *lines = text.split("\n")
    if not lines:
        elsewhere(text)  # raises: it is neither
    granted, refuses = map(int, first.split())
    verdicts = []
    for layout, line in zip(layouts, lines, strict=True):
        verdict = layout.read(line)
        assert isinstance(verdict, Verdict)  # noqa: S101 - of a limiter that sends elsewhere there are no lines
        verdicts.append(verdict)
    return _Answer(granted, refuses, tuple(verdicts))


def _refusal(ask: Ask[G], verdict: Verdict, timeout: float | None) -> Throttled:
    retry_after, reason = verdict.wait_ms / 1000, f"{ask.label}: {verdict.reason}"
    if verdict.reason == "queue full":
        return QueueFull(
            f"{ask.label} has as many callers waiting as max_queue allows", retry_after=retry_after, reason=reason
        )
    return ThrottleTimeout(
        f"{reason} would not grant {ask.cost} for another {retry_after:.3f} s, longer than timeout={timeout}; nothing was charged",
        retry_after=retry_after,
        reason=reason,
    )


def joined(requests: Sequence[Any], kind: type, maker: str) -> list[Ask[Any]]:
    """What `requests` ask for, with those of one limiter and key added up.

    Raises:
        ValueError: there are none, too many, other things than `kind` (which `maker` makes), not of one client, or a Cluster
            may hold them in different slots.
    """
    if not requests:
        raise ValueError("requests is empty: give at least one, such as throttler.request(cost=2)")
    found: dict[tuple[str, str], Ask[Any]] = {}
    for request in requests:
        if not isinstance(request, kind):
            raise ValueError(f"requests must be made by {maker}.request(), not {request!r}")
        ask: Ask[Any] = request.ask  # type: ignore[attr-defined]
        known = found.get(ask.place)
        if known is not None:
            ask = Ask(known.plans, known.cost + ask.cost, ask.key, known.weight + ask.weight)
        found[ask.place] = ask
    if len(found) > MAX_REQUESTS:
        raise ValueError(f"requests names {len(found)} limiters, at most {MAX_REQUESTS} are joined in one call")
    first: Asker = requests[0].runner
    if any(request.runner.client is not first.client for request in requests):
        raise ValueError("requests must be of throttlers with the same client: one server decides over all of them")
    asks = list(found.values())
    if first.is_clustered:
        _check_one_slot(asks)
    return asks


def _check_one_slot(asks: Sequence[Ask[Any]]) -> None:
    if len({ask.plans.config.group or ask.place for ask in asks}) > 1:
        labels = ", ".join(ask.label for ask in asks)
        raise ValueError(
            f"requests names limiters that a Cluster holds in different slots ({labels}): give them one group, as "
            "Throttler(client, name, group='apis', ...)"
        )


def release_all(grants: Sequence[Grant], returning: Sequence[Returning]) -> Plan[bool]:
    """Release each; the first failure is raised when all were tried."""
    freed, failure = True, None
    for grant, its in zip(grants, returning, strict=True):
        try:
            freed = (yield from its.release(grant)) and freed
        except RedisOptError as error:
            failure = error
    if failure is not None:
        raise failure
    return freed
