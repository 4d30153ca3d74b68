"""`CircuitBreaker`: a fleet stops calling what fails; for threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import redis

from redisopt.breaker.config import CircuitBreakerConfig
from redisopt.breaker.judging import Kinds
from redisopt.breaker.passage import Passage
from redisopt.breaker.plans import BreakerPlans, BreakerPolicy
from redisopt.breaker.state import CircuitMetrics, State
from redisopt.breaker.watching import StateCallback
from redisopt.errors import REFUSALS
from redisopt.faces import Named
from redisopt.policies import Bound, Policy
from redisopt.policy_faces import PolicyFace
from redisopt.runner import Runner

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreaker(PolicyFace, Named[CircuitBreakerConfig]):
    """A breaker that all processes share: when too many of their calls fail, none is let through for a while.

    >>> breaker = CircuitBreaker(client, "github", failure_rate=0.5, minimum_calls=20, window=30, open_for=10)
    >>> breaker.execute(requests.get, "https://api.github.com/zen")

    *Closed*, it counts the calls of the fleet in the window; when at least `minimum_calls` are counted, and a share of
    `failure_rate` of them failed, or of `slow_call_rate` was slow, it opens. *Open*, it refuses all with `CircuitOpen` for `open_for`
    seconds of the server's clock. *Half open*, it lets exactly `half_open_calls` probes through, over the whole fleet: their rates
    decide whether it closes, or opens again for longer. A change is decided in Redis, in one script call, and holds for every
    call that any process makes after it; the end of a call that began before it does not count any more.

    A call costs two script calls, one to be let through and one to say how it ended; one where it is refused, or ends with what is
    ignored. Neither grows with the traffic. While Redis is away, `on_unavailable` says what becomes of calls.

    `execute`, and a function that is decorated with the breaker, raise `CircuitOpen` where the function was not called, and
    `Unavailable` where it was not since Redis is away and `on_unavailable` is "raise". A call that is interrupted (Ctrl-C, a cancelled
    task, an `asyncio.timeout` around it) records nothing; if it was a probe, another one takes its place. A timeout that is to
    count as a failure belongs inside the function.

    Thread-safe, and safe to use in a forked child.

    Args:
        client: a `redis.Redis` (of one server or a Sentinel master) or `redis.RedisCluster`.
        name: what is called; the same in all processes that share it. No braces or control characters.
        config: a `CircuitBreakerConfig`; or give its fields as keywords.
        record: exceptions that count as failures: a class, a tuple of them, or a function of the exception. Others count as calls
            that went well. Default: every `Exception`.
        ignore: likewise, exceptions that are not counted at all, whatever `record` says. Default: `Throttled`, `CircuitOpen`
            and `Unavailable`, with which a part of one's own refused within the call, or could not ask its Redis.
        record_result: a function that says of a call's result whether it counts as a failure, such as a response of status 503.
        on_state_change: called with a `redisopt.events.CircuitChanged` when this process sees another state than before: in the
            thread of the call that brought it about, or found it so.

    Raises:
        ValueError: the client is not a sync redis-py client, the name is not allowed, or one of the functions is none.
        pydantic.ValidationError: a field is unknown or out of range (also a ValueError).
    """

    _plans: BreakerPlans

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        name: str,
        config: CircuitBreakerConfig | None = None,
        *,
        record: Kinds = Exception,
        ignore: Kinds = REFUSALS,
        record_result: Callable[[Any], object] | None = None,
        on_state_change: StateCallback | None = None,
        **fields: Any,
    ) -> None:
        self._plans = BreakerPlans(
            name, CircuitBreakerConfig.given(config, fields), record, ignore, record_result, on_state_change
        )
        self._runner = Runner(client, self.config.command_timeout)
        self._plans.attach(self._runner)
        self._policy = Bound(BreakerPolicy(self._plans), self._runner)

    # --- calls

    def allow(self) -> Passage:
        """Let a call through that you make yourself, and whose end you say: as a context manager, or by the passage's methods.

        >>> with breaker.allow():
        ...     call_github()

        One script call, and one at the end. A passage that nobody refers to any more counts as nothing; a probe comes
        back within `lease_ttl` then.

        Raises:
            CircuitOpen, Unavailable: as `execute`.
        """
        return Passage(self._runner, self._plans, self._runner.run(self._plans.allow()))

    def policy(self) -> Policy:
        """The breaker around any call, for whoever puts policies together (see `redisopt.policies`)."""
        return self._policy

    # --- looking, and taking a hand

    def state(self) -> State:
        """The state: "closed", "open", "half_open", "forced_open" or "disabled"; changes nothing. One script call.

        An open one is "open" until a call comes after its time: that call is the first probe. While Redis is away: as `metrics`.
        """
        return self.metrics().state

    def metrics(self) -> CircuitMetrics:
        """How the breaker stands, over the whole fleet; changes nothing. One script call.

        While Redis is away it is the breaker of this process that stands so, where `on_unavailable` is "local".

        Raises:
            Unavailable: Redis is away, and `on_unavailable` is something else.
        """
        return self._runner.run(self._plans.look())

    def force_open(self) -> None:
        """Let nothing through, until `close_circuit` or `reset`: the state is "forced_open". One script call.

        Raises:
            Unavailable: Redis did not answer within `command_timeout`. Telling it again does no harm.
        """
        self._runner.run(self._plans.tell("forced_open"))

    def disable(self) -> None:
        """Let everything through and count nothing, until `close_circuit` or `reset`: the state is "disabled". One script call.

        Raises:
            Unavailable: as `force_open`.
        """
        self._runner.run(self._plans.tell("disabled"))

    def close_circuit(self) -> None:
        """Close it, whatever state it is in, with nothing counted yet. One script call.

        (`close` is another thing: it ends the use of this object.)

        Raises:
            Unavailable: as `force_open`.
        """
        self._runner.run(self._plans.tell("closed"))

    def reset(self) -> None:
        """Close it, and forget all that was counted, and whatever stands in its keys that is not ours. One script call.

        Raises:
            Unavailable: as `force_open`.
        """
        self._runner.run(self._plans.tell("reset"))

    def close(self) -> None:
        """Give back the probes that are under way in this process, and close the connections unless another primitive uses them.

        The client stays open, and the circuit as it is.
        """
        try:
            self._runner.run(self._plans.give_back())
        finally:
            self._runner.close()
