"""A call that was let through, as data; and the lease of one that is a probe."""

from __future__ import annotations

import weakref

from redisopt.background import now
from redisopt.breaker.local_circuit import LocalCircuit
from redisopt.identity import process_id
from redisopt.leases import Lease


class Ticket:
    """A call that was let through, and has not been recorded yet.

    Attributes:
        state: that the breaker is in: "closed", "half_open" or "disabled"; "unavailable" where it is let through without Redis.
        generation: the state's number.
        circuit: the breaker of this process that let it through, None where Redis did.
        lease: of a probe of the fleet.
        is_counted: whether its end is of interest to anybody.
        began: by this process's monotonic clock.
    """

    __slots__ = (
        "__weakref__", "_process", "_settled", "began", "circuit", "generation", "is_counted", "is_probe", "lease", "state",
    )  # fmt: skip

    def __init__(self, state: str, generation: int = 0, circuit: LocalCircuit | None = None) -> None:
        self.state = state
        self.generation = generation
        self.circuit = circuit
        self.lease: ProbeLease | None = None
        self.is_probe = state == "half_open"
        self.is_counted = state in {"closed", "half_open"}
        self.began = now()
        self._process = process_id()
        self._settled = False

    @property
    def is_ours(self) -> bool:
        """Whether this process was let through: a forked child must not say the end of its parent's call."""
        return self._process == process_id()

    @property
    def seconds(self) -> float:
        """Since it was let through."""
        return now() - self.began

    @property
    def settled(self) -> bool:
        """Whether its end was said."""
        return self._settled

    def settle(self) -> bool:
        """Its end is said. False when it was before."""
        was, self._settled = self._settled, True
        return not was


class ProbeLease(Lease):
    """A probe of the fleet. A ticket that nobody refers to any more is not renewed.

    Attributes:
        breaker: the name of the breaker.
        id: of the probe.
        ticket: whose it is.
    """

    __slots__ = ("breaker", "id", "ticket")

    def __init__(self, breaker: str, probe: str, ticket: Ticket, good_until: float) -> None:
        super().__init__(good_until)
        self.breaker = breaker
        self.id = probe
        self.ticket = weakref.ref(ticket)

    def __repr__(self) -> str:
        """What tells it apart."""
        return f"probe {self.id} of breaker {self.breaker!r}"
