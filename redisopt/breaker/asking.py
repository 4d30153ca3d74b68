"""Which script is asked for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redisopt import keys
from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.breaker.state import CircuitMetrics, State, Verdict, read_metrics, read_state, read_verdict
from redisopt.commands import Arg, Command
from redisopt.config import milliseconds
from redisopt.replies import text


class Asking:
    """The script calls of one breaker."""

    def __init__(self, name: str, config: CircuitBreakerConfig) -> None:
        tag = keys.tag("breaker", keys.checked_name(name))
        c = config
        self.name = name
        self.config = config
        self._keys = (f"{tag}state", f"{tag}probes", f"{tag}last")
        opens: tuple[Arg, ...] = (
            milliseconds(c.open_for),
            repr(c.open_growth),
            c.open_max_ms,
            round(c.open_jitter * 1_000_000),
            c.half_open_calls,
        )
        self._lease = milliseconds(c.lease_ttl)
        self._record_terms = (*opens, c.failures, c.slow, c.minimum, c.window_ms, c.window_calls or 0)
        # The same for every call: its number is the runner's.
        self._allow = Command(
            "breaker_allow",
            self._keys,
            (),
            self._read_verdict,
            (*opens, milliseconds(c.patience), self._lease, c.options),
            once=True,
            undo="breaker_undo",
        )
        self._latest: tuple[Any, Verdict] | None = None

    def allow(self) -> Command[Verdict]:
        """Whether a call may pass."""
        return self._allow

    def undo(self, lane: tuple[Arg, ...]) -> Command[Any]:
        """Take back an `allow` whose reply did not come, by its lane and number."""
        return Command("breaker_undo", self._keys, lane, text, self._allow.constants)

    def record(self, generation: int, probe: str, outcome: int) -> Command[tuple[State, int]]:
        """How a call ended: 0 well, 1 failed, 2 slow, 3 both, or given back."""
        args = (generation, probe, outcome)
        return Command("breaker_record", self._keys, args, read_state, self._record_terms, once=True)

    def beat(self, probes: Sequence[str]) -> Command[list[bool]]:
        """Renew the leases of probes."""
        args: tuple[Arg, ...] = (self._lease, *probes)
        return Command("breaker_beat", self._keys[:2], args, lambda reply: [each == "1" for each in text(reply)])

    def tell(self, to: str) -> Command[tuple[State, int]]:
        """Set the state by hand."""
        return Command("breaker_tell", self._keys, (to,), read_state, (self.config.options,), once=True)

    def look(self) -> Command[CircuitMetrics]:
        """How the breaker stands."""
        args = (milliseconds(self.config.open_for), self.config.window_ms)
        return Command("breaker_look", self._keys[:2], args, read_metrics)

    def _read_verdict(self, reply: Any) -> Verdict:
        """As `read_verdict`; a closed breaker answers the same thing again and again."""
        latest = self._latest
        if latest is not None and latest[0] == reply:
            return latest[1]
        verdict = read_verdict(reply)
        self._latest = (reply, verdict)
        return verdict
