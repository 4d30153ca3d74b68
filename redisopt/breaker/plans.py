"""All that one breaker decides, as plans, shared by its sync and its async class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redisopt import events
from redisopt.background import Performer, now
from redisopt.breaker.asking import Asking
from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.breaker.judging import Judge, Kinds
from redisopt.breaker.outage import Outage
from redisopt.breaker.state import GIVEN_BACK, CircuitMetrics, State
from redisopt.breaker.ticket import ProbeLease, Ticket
from redisopt.breaker.watching import StateCallback, Watching
from redisopt.commands import Plan, Stopped, call
from redisopt.errors import CircuitOpen, RedisOptError, Unavailable
from redisopt.leases import Leases
from redisopt.owing import Owing

_GROUP = "probes"


class BreakerPlans:
    """The plans of one breaker.

    Attributes:
        asking: which script is asked for what.
        judge: which calls count as failures.
        leases: of the probes that this process has under way.
        owing: probes that nobody here makes, and that could not be given back yet.
    """

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig,
        record: Kinds,
        ignore: Kinds,
        record_result: Callable[[Any], object] | None,
        on_state_change: StateCallback | None,
    ) -> None:
        self.name = name
        self.config = config
        self.asking = Asking(name, config)
        self.judge = Judge(record, ignore, record_result, config.slow_call_after)
        self._watching = Watching(name, on_state_change)
        self._outage = Outage(name, config, self._watching)
        self.leases: Leases[ProbeLease] = Leases(config.lease_ttl, self._renew)
        self.owing = Owing()

    def attach(self, performer: Performer) -> None:
        """Have `performer` perform what goes on in the background."""
        self.leases.attach(performer, self.leases.keep, f"redisopt-breaker-{self.name}-probes")
        self.owing.attach(performer, self.owing.keep, f"redisopt-breaker-{self.name}-owed")

    # --- a call

    def guard(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Perform `inner` if it may pass, and record how it ended."""
        ticket = yield from self.allow()
        try:
            value = yield from inner()
        except GeneratorExit:  # nothing can be said any more: a probe comes back by its lease
            self._drop(ticket)
            raise
        except Exception as error:
            cause = error.error if isinstance(error, Stopped) else error
            yield from self.let_go(ticket, self.judge.of_error(cause, ticket.seconds))
            raise
        except BaseException:
            yield from self.let_go(ticket, GIVEN_BACK)
            raise
        yield from self.let_go(ticket, self.judge.of_result(value, ticket.seconds))
        return value

    def allow(self) -> Plan[Ticket]:
        """Let a call pass.

        Raises:
            CircuitOpen: it may not.
            Unavailable: Redis is away, and that is for the caller to deal with.
        """
        asked = now()
        try:
            verdict = yield from call(self.asking.allow())
        except Unavailable as error:
            if error.sent and error.lane:  # it may be a probe all the same, which nobody makes
                self.owing.owe(self.asking.undo(error.lane), self.config.lease_ttl)
            return self._outage.allow(error)
        if self._outage.is_on:
            self._outage.over()
        self._watching.see(verdict.state, verdict.generation)
        if verdict.others:
            self._watching.differs(verdict.others)
        if not verdict.passes:
            self._watching.refused(verdict.state, verdict.retry_after)
            raise CircuitOpen(
                f"breaker {self.name!r} is {verdict.state}: come back in {verdict.retry_after:.3g} s",
                retry_after=verdict.retry_after,
                state=verdict.state,
            )
        ticket = Ticket(verdict.state, verdict.generation)
        if verdict.probe:
            ticket.lease = ProbeLease(self.name, verdict.probe, ticket, asked + self.config.lease_ttl)
            self.leases.hold(_GROUP, ticket.lease)
        return ticket

    def settle(self, ticket: Ticket, outcome: int) -> Plan[bool]:
        """Record how a call ended. False, and no more, the second time, and in a forked child: the call is its parent's.

        Raises:
            Unavailable: Redis is away, and that is for the caller to deal with.
        """
        if not ticket.is_ours or not ticket.settle():
            return False
        if ticket.circuit is not None:
            self._outage.record(ticket, outcome)
        elif ticket.is_counted and (outcome != GIVEN_BACK or ticket.is_probe):
            yield from self._record(ticket, outcome)
        return True

    def let_go(self, ticket: Ticket, outcome: int) -> Plan[None]:
        """As `settle`, at the end of a call: it is over, so that Redis is away is logged, and changes nothing."""
        try:
            yield from self.settle(ticket, outcome)
        except RedisOptError as error:
            events.logger.warning("breaker %r: a call could not be recorded: %s", self.name, error)

    def _record(self, ticket: Ticket, outcome: int) -> Plan[None]:
        lease = ticket.lease
        try:
            state, generation = yield from call(
                self.asking.record(ticket.generation, lease.id if lease is not None else "", outcome)
            )
        except Unavailable as error:
            if lease is not None:  # others need not wait for its end
                self.owing.owe(self.asking.record(ticket.generation, lease.id, GIVEN_BACK), self.config.lease_ttl)
            if self._outage.raises:
                raise
            self._outage.record(ticket, outcome, error)
        except (GeneratorExit, Exception):
            raise
        except BaseException:  # interrupted: whether it was recorded is not known, but the probe must not be kept
            if lease is not None and outcome != GIVEN_BACK:
                yield from self._record(ticket, GIVEN_BACK)
            raise
        else:
            self._watching.see(state, generation)
        finally:
            self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        if ticket.lease is not None:
            self.leases.drop(_GROUP, ticket.lease)

    # --- looking, and taking a hand

    def look(self) -> Plan[CircuitMetrics]:
        """How the breaker stands; while Redis is away, that of this process."""
        try:
            metrics = yield from call(self.asking.look())
        except Unavailable as error:
            return self._outage.circuit(error).metrics()
        return metrics

    def tell(self, to: str) -> Plan[State]:
        """Set the state by hand."""
        state, generation = yield from call(self.asking.tell(to))
        self._watching.see(state, generation)
        return state

    # --- probes

    def _renew(self, _: str, held: Sequence[ProbeLease]) -> Plan[Sequence[bool]]:
        for lease in held:
            if lease.ticket() is None:
                self.leases.drop(_GROUP, lease)
        wanted = [lease for lease in held if lease.ticket() is not None]
        renewed: list[bool] = []
        if wanted:
            renewed = yield from call(self.asking.beat([lease.id for lease in wanted]))
        kept = {lease.id for lease, is_renewed in zip(wanted, renewed, strict=True) if is_renewed}
        return [lease.id in kept for lease in held]

    def give_back(self) -> Plan[None]:
        """Give back the probes that are under way in this process: it stops."""
        for lease in self.leases.held(_GROUP):
            ticket = lease.ticket()
            if ticket is not None:
                yield from self.let_go(ticket, GIVEN_BACK)
        self.owing.end()


class BreakerPolicy:
    """A breaker around any call: see `policies`. Made by `CircuitBreaker.policy`."""

    def __init__(self, plans: BreakerPlans) -> None:
        self._plans = plans

    def around(self, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Perform `inner` if it may pass, and record how it ended.

        Raises:
            CircuitOpen, Unavailable: as `CircuitBreaker.execute`.
        """
        return self._plans.guard(inner)

    def __repr__(self) -> str:
        """The name and the config."""
        return f"BreakerPolicy({self._plans.name!r}, {self._plans.config!r})"
