"""What a breaker does without Redis: its `on_unavailable`.

Redis is asked first at every call; while it is known to be away that costs nothing (see `silence`). A breaker of this process begins
in the state that the shared one was last seen in, and is given up when Redis answers again: then the shared state rules.
"""

from __future__ import annotations

import threading
from typing import NoReturn

from redisopt import events
from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.breaker.local_circuit import LocalCircuit
from redisopt.breaker.state import State
from redisopt.breaker.ticket import Ticket
from redisopt.breaker.watching import Watching
from redisopt.errors import CircuitOpen, Unavailable
from redisopt.identity import process_id

_UNPROBED = 0.5  # seconds after which to come back where Redis is there, and refuses calls


class Outage:
    """What one breaker decides without Redis. Thread-safe; a forked child starts anew.

    Attributes:
        is_on: whether the latest call was decided here.
        raises: whether that Redis is away is for the caller to deal with.
    """

    def __init__(self, name: str, config: CircuitBreakerConfig, watching: Watching) -> None:
        self._name = name
        self._config = config
        self._watching = watching
        self.raises = config.on_unavailable == "raise"
        self._is_local = config.on_unavailable == "local"
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._circuit: LocalCircuit | None = None
        self.is_on = False

    def allow(self, error: Unavailable) -> Ticket:
        """Decide on a call that Redis could not be asked about.

        Raises:
            Unavailable: `on_unavailable` is "raise".
            CircuitOpen: it is not let through.
        """
        if self.raises:
            raise error
        circuit = self._enter(error)
        if circuit is not None:
            ticket = Ticket("closed", 0, circuit)
            verdict = circuit.allow(ticket)
            if not verdict.passes:
                self._refuse(verdict.state, verdict.retry_after, error)
            ticket.state, ticket.generation = verdict.state, verdict.generation
            ticket.is_probe = bool(verdict.probe)
            return ticket
        if self._config.on_unavailable == "deny":
            self._refuse("unavailable", _UNPROBED if error.retry_after is None else error.retry_after, error)
        return Ticket("unavailable")

    def record(self, ticket: Ticket, outcome: int, error: Unavailable | None = None) -> None:
        """How a call ended that was let through here, or whose end Redis could not be told."""
        if ticket.circuit is not None:
            if ticket.circuit is self._circuit:  # else Redis has answered since, and the shared state rules
                ticket.circuit.record(ticket.generation, ticket, outcome)
        elif error is not None:
            circuit = self._enter(error)
            if circuit is not None:
                circuit.record(None, None, outcome)

    def over(self) -> None:
        """Redis has answered."""
        if self._process == process_id() and self.is_on:
            with self._lock:
                self.is_on, self._circuit = False, None

    def circuit(self, error: Unavailable) -> LocalCircuit:
        """The breaker of this process.

        Raises:
            Unavailable: there is none.
        """
        circuit = self._enter(error)
        if circuit is None:
            raise error
        return circuit

    def _enter(self, error: Unavailable) -> LocalCircuit | None:
        """Redis is away. The breaker of this process, where there is to be one."""
        if self._process != process_id():
            self._begin()
        with self._lock:
            if not self.is_on:
                self.is_on = True
                if error.retry_after is None:  # else the links have said so
                    events.logger.warning(
                        "breaker %r: on_unavailable=%r decides: %s", self._name, self._config.on_unavailable, error
                    )
            if self._is_local and self._circuit is None:
                self._circuit = self._new_circuit()
            return self._circuit

    def _new_circuit(self) -> LocalCircuit:
        def tell(before: State, after: State) -> None:
            if circuit is self._circuit:
                self._watching.tell(before, after, is_local=True)

        circuit = LocalCircuit(self._config, self._watching.state, tell)
        return circuit

    def _refuse(self, state: str, retry_after: float, error: Unavailable) -> NoReturn:
        self._watching.refused(state, retry_after)
        raise CircuitOpen(
            f"breaker {self._name!r}, without Redis, is {state}: {error}", retry_after=retry_after, state=state
        ) from error
