"""All that one limiter can be asked, put together: the plans behind `Throttler` and `AsyncThrottler`.

Nothing here touches a socket, and what is decided is decided by the server's clock. The monotonic clock of the process only
bounds its own waiting, and its leases from the cautious side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from redisopt import events
from redisopt.background import Performer
from redisopt.commands import Plan, invoke
from redisopt.errors import Unavailable
from redisopt.functions import check_function
from redisopt.holding import holding
from redisopt.monitor.watching import Monitor, Watch
from redisopt.throttle.ahead import Ahead
from redisopt.throttle.asking import Asking
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.deciding import Deciding
from redisopt.throttle.decision import Decision, ThrottleMetrics
from redisopt.throttle.grant import Grant
from redisopt.throttle.keeping import Keeping
from redisopt.throttle.layout import cost_reader
from redisopt.throttle.line import Line
from redisopt.throttle.many import Together
from redisopt.throttle.outage import OutagePolicy
from redisopt.throttle.returning import Returning
from redisopt.throttle.shadow import Shadow
from redisopt.throttle.telling import Telling
from redisopt.throttle.terms import check_cost

G = TypeVar("G", bound=Grant)


class ThrottlePlans(Generic[G]):
    """The plans of one limiter, in groups.

    Attributes:
        asking: how scripts are asked, and the config that holds now.
        keeping: the leases and places of this process.
        line: taking turns.
        outage_policy: what is decided while Redis is away.
        returning: how grants come back.
        deciding: on one call.
        together: on calls that travel together.
        ahead: on calls that are granted from memory.
        shadow: where the limits are only measured.
        telling: what the whole fleet is told.
        watch: what is measured of the functions that are called under a permit.
    """

    def __init__(
        self,
        name: str,
        config: ThrottleConfig,
        on_throttle: Callable[[int], object] | None = None,
        on_lost: Callable[[Any], object] | None = None,
        *,
        monitor: Monitor | None = None,
        spread: bool = False,
        awaited: bool = False,
    ) -> None:
        for field, function in (("on_throttle", on_throttle), ("on_lost", on_lost)):
            if function is not None:
                check_function(function, field, awaited=False, instead="a plain function that starts a task")
        self.asking = Asking(name, config, spread=spread)
        self.keeping = Keeping(on_lost)
        self.line = Line(self.asking, self.keeping)
        self.outage_policy: OutagePolicy[G] = OutagePolicy(self.asking, self.keeping, on_throttle)
        self.returning = Returning(self.asking, self.line, self.outage_policy)
        self.deciding: Deciding[G] = Deciding(self.asking, self.keeping, self.line, self.returning, on_throttle)
        self.together = Together(self.asking, self.deciding, self.returning)
        self.ahead = Ahead(self.asking, self.keeping, self.deciding)
        self.shadow = Shadow(self.asking, self.deciding)
        self.telling = Telling(self.asking)
        self._performer: Performer | None = None
        self.watch = Watch(monitor, "throttled_operation", {"throttler": name}, awaited=awaited)

    def attach(self, performer: Performer, make_permit: Callable[..., G]) -> None:
        """Have `performer` do what goes on in the background; `make_permit` takes the arguments of a `Grant` from the id on."""
        self._performer = performer
        self.deciding.make_permit = self.outage_policy.make_permit = make_permit
        self.keeping.attach(performer, self.line.keep, f"redisopt-keep-{self.name}")

    @property
    def name(self) -> str:
        """What the limit is for."""
        return self.asking.name

    @property
    def config(self) -> ThrottleConfig:
        """The config that holds now."""
        return self.asking.config

    def run_with(
        self, permit: Grant, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Plan[Any]:
        """Call the user's function under a permit, and release that."""
        return self.under(permit, functools.partial(invoke, function, *args, **kwargs))

    def under(self, permit: Grant, inner: Callable[[], Plan[Any]]) -> Plan[Any]:
        """Perform a plan under a permit, and release that."""
        let_go = functools.partial(self.returning.let_go, permit)
        watched = functools.partial(self.watch.around, inner)
        return holding(watched, let_go, self._performer, f"redisopt-release-{self.name}")

    def peek(self, cost: int, key: str) -> Plan[Decision[G]]:
        """What `try_acquire` would say."""
        check_cost(self.asking, cost)
        return self.deciding.decision((yield from self.asking.peek(cost, key)), None)

    def metrics(self, key: str) -> Plan[ThrottleMetrics]:
        """How the limiter stands."""
        verdict = yield from self.asking.peek(1, key)
        shadowed = (yield from self.shadow.count(key)) if self.asking.shadows else 0
        return ThrottleMetrics(
            verdict.in_use,
            verdict.queue_size,
            verdict.cost,
            verdict.cooling_ms > 0,
            verdict.states(),
            len(self.asking.conflicts),
            shadowed,
            (yield from self.watch.report()),
        )

    def reset(self, key: str) -> Plan[None]:
        """Forget all that was granted for `key`."""
        yield from self.asking.ask("throttle_reset", key, (), cost_reader)

    def close(self) -> Plan[None]:
        """Give back all that is held, as far as Redis answers; nothing goes on in the background after that."""
        try:
            for key, share in self.keeping.take_shares():
                yield from self.line.end_share(key, share)
            for grant in self.keeping.all_held():
                yield from self.returning.let_go(grant)
            yield from self.line.pay_all()
        except Unavailable as error:
            events.logger.warning("throttle %r: closed without giving back all it held: %s", self.name, error)
        finally:
            self.keeping.end()
