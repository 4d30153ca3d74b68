"""How the plans ask a limiter's scripts: with the config that holds now, and again when a script sends them elsewhere.

A script that finds other periods on record than were declared, or that the fleet was told another config since, says so
before it changes anything. Then the plan registers its periods beside the others (see `throttle_register`), or takes the
config that the fleet was told (see `throttle_tell`), and asks again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

from redisopt import events, keys
from redisopt.commands import Arg, Command, Plan, call
from redisopt.errors import ConfigConflict, CostExceedsLimit
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.layout import (
    ELSEWHERE,
    Elsewhere,
    Layout,
    Layouts,
    Unregistered,
    Verdict,
    control_key,
    unregistered,
    verdict_reader,
)
from redisopt.throttle.prefetch import most_ahead

R = TypeVar("R")

_MOMENT = 0.05  # seconds
_CONFLICT_LASTS = 10.0  # seconds after which one that was found is looked for again
_LOOK_EVERY = 1.0  # seconds, where a script cannot see what the fleet was told

LOCAL_FIELDS = frozenset({"command_timeout", "group", "on_conflict", "on_unavailable"})
"""Fields that each process keeps for itself: the fleet cannot be told another value."""


class Standing(NamedTuple):
    """What the fleet was told.

    Attributes:
        version: of the config; "0" for none.
        pause_ms: that a pause still lasts.
        fields: as JSON.
    """

    version: str
    pause_ms: int
    fields: str


class Asking:
    """Asks the scripts of one limiter.

    Attributes:
        name: of the limiter.
        given: the config that the object was made with.
        config: the one that holds: that with what the fleet was told.
        control: the key, and channel, of what the fleet is told.
        conflicts: the limits of other processes that use the name, where they differ.
        conflict, conflicts_until: where that is to be raised: the latest, and until when, by this process's monotonic clock.
        queue: how many callers may wait, as scripts are told: -1 for any number.
        most_ahead: what a process may take ahead, 0 for nothing.
        shadows: whether the limits are only measured.
        must_go_alone: whether no call may travel with others.
    """

    def __init__(self, name: str, config: ThrottleConfig, *, spread: bool = False) -> None:
        self.name = keys.checked_name(name)
        self.given = config
        self.control = control_key(name, config.group)
        self._spread = spread
        self._apart = spread and config.group is None  # keys' scripts cannot see what the fleet is told
        self.conflicts: set[str] = set()
        self.conflict, self.conflicts_until = "", 0.0
        self._looked = float("-inf")
        self._resumes = 0.0
        self.config = config
        self._take("0", "")

    def _take(self, version: str, fields: str) -> None:
        """Take the config that the fleet was told."""
        told = json.loads(fields) if fields else {}
        try:
            self.config = self.given.model_copy(update=told) if told else self.given
        except ValueError as error:  # it does not go with what is this process's own, or is of a later release
            self.conflicts.add(fields)
            events.logger.error(
                "throttle %r: the fleet was told %s, which this process cannot take, so it goes on by %s: %s",
                self.name,
                fields,
                self.config.limits,
                error,
            )
        self.max_cost = self.config.max_cost
        self.queue = -1 if self.config.max_queue is None else self.config.max_queue
        self.must_go_alone = self.config.max_concurrent is not None or self.config.on_conflict == "raise"
        self.most_ahead = most_ahead(self.config)
        self.shadows = self.config.shadow
        self.layouts = Layouts(self.name, self.config, version, spread=self._spread)
        if version != "0":
            events.logger.info("throttle %r: the fleet was told %s", self.name, fields)

    def ask(
        self,
        script: str,
        key: str,
        args: tuple[Any, ...],
        parse: Callable[[Layout], Callable[[Any], R | Elsewhere]],
        *,
        cost: int = 0,
        weight: int = 0,
        once: bool = False,
        undo: str | None = None,
        turn: tuple[Arg, ...] = (),
    ) -> Plan[R]:
        """Call a script, and again when it sends us elsewhere first. `turn` are arguments that few calls differ in.

        Raises:
            CostExceedsLimit: the fleet was told a limit below `cost`, or fewer slots than `weight`.
            ConfigConflict: it is sent elsewhere again and again.
        """
        apart = self.is_apart(key)
        if apart:
            yield from self.look_now_and_then()
        layout = self.layouts.of(key)
        for _ in range(8):
            if apart:
                constants = turn + layout.constants_of(key, self.paused)
            else:
                constants = layout.turn_constants(turn) if turn else layout.constants
            reply = yield Command(script, layout.keys(key), args, parse(layout), constants, once, undo)
            if not isinstance(reply, ELSEWHERE):
                return cast("R", reply)
            layout = yield from self.go(key, reply, cost, weight)
        raise ConfigConflict(
            f"throttle {self.name!r}: its config or the periods on record changed at every try: do processes restart in a loop?"
        )

    def peek(self, cost: int, key: str) -> Plan[Verdict]:
        """What would be decided on `cost`; changes nothing."""
        verdict = yield from self.ask("throttle_peek", key, (cost,), verdict_reader, cost=cost)
        verdict.granted = verdict.wait_ms == 0
        return verdict

    def go(self, key: str, reply: Elsewhere, cost: int, weight: int) -> Plan[Layout]:
        """Do what a script wants done first; returns the layout to ask with then.

        Raises:
            CostExceedsLimit: as `ask`.
        """
        if isinstance(reply, Unregistered):
            return (yield from self._register(key, reply.periods))
        self._take(reply.version, reply.fields)
        self.check_within(cost, weight)
        return self.layouts.of(key)

    def _register(self, key: str, on_record: tuple[int, ...]) -> Plan[Layout]:
        """Learn the periods of other configs, and put ours beside them where they are not on record."""
        layout = self.layouts.learn(key, on_record)
        if self.layouts.has(on_record):
            return layout
        state = layout.keys(key)[0]
        logs = [(period, precision) for period, precision, _ in [*layout.own, *layout.others]]
        names = [f"{state.removesuffix('state')}log:{period}" for period, _ in logs]
        args = (len(layout.own), *(number for log in logs for number in log))
        registered = yield from call(Command("throttle_register", (state, *names), args, unregistered))
        return self.layouts.learn(key, registered.periods)

    # --- what the fleet is told

    def tell(self, what: str, value: Arg = "") -> Plan[Standing]:
        """Tell the fleet, or ask with "" what it was told. One script call."""
        standing = yield from call(Command("throttle_tell", (self.control,), (what, value), _standing))
        if standing.version != self.layouts.version:
            self._take(standing.version, standing.fields)
        self._looked = time.monotonic()
        self._resumes = self._looked + standing.pause_ms / 1000
        return standing

    def look_again(self) -> None:
        """The fleet was told something: do not go by what was seen a moment ago."""
        self._looked = float("-inf")

    def look(self) -> Plan[None]:
        """Ask what the fleet was told, unless that was done a moment ago."""
        if time.monotonic() - self._looked > _MOMENT:
            yield from self.tell("")

    @property
    def is_paused(self) -> bool:
        """Whether the fleet is paused, as far as was last seen."""
        return time.monotonic() < self._resumes

    def is_apart(self, key: str) -> bool:
        """Whether the scripts of a key cannot see what the fleet was told, since that is in another slot of the Cluster."""
        return self._apart and key != ""

    def look_now_and_then(self) -> Plan[None]:
        """Ask what the fleet was told once a second: for keys that are apart."""
        if time.monotonic() - self._looked > _LOOK_EVERY:
            yield from self.tell("")

    @property
    def paused(self) -> int:
        """The ms of a pause left that scripts cannot see; 0 where they can."""
        if not self._apart:
            return 0
        return max(0, round((self._resumes - time.monotonic()) * 1000))

    def conflict_error(self, limits: str) -> ConfigConflict:
        """What is raised where another process uses the name with these limits."""
        return ConfigConflict(
            f"throttle {self.name!r} is {self.config.limits} here and {limits} in another process; nothing was charged"
        )

    def note_conflict(self, limits: str) -> None:
        """Another process uses the name with these limits: warn of it once."""
        if self.config.on_conflict == "raise":
            self.conflict, self.conflicts_until = limits, time.monotonic() + _CONFLICT_LASTS
        if limits not in self.conflicts:
            self.conflicts.add(limits)
            events.logger.warning(
                "throttle %r: another process limits by %s, this one by %s; each call is judged by its own process's limits",
                self.name,
                limits,
                self.config.limits,
            )

    @property
    def tightest(self) -> str:
        """The smallest limit, by name."""
        return min((limit, name) for name, limit, *_ in self.layouts.own.limits)[1]

    def travels(self, cost: int) -> bool:
        """Whether a call of this cost may travel with others. Calls of leases are made one by one, and so are bad ones."""
        return not self.must_go_alone and type(cost) is int and 1 <= cost <= self.max_cost

    def check_within(self, cost: int, weight: int = 0) -> None:
        """Refuse what can never be granted.

        Raises:
            CostExceedsLimit: the cost is above a limit, or the weight above `max_concurrent`.
        """
        if cost > self.max_cost:
            raise CostExceedsLimit(
                f"cost {cost:,} is above the limit {self.tightest} of throttle {self.name!r}, so that no wait could grant it: "
                f"split the work into costs of at most {self.max_cost:,}, or raise the limit"
            )
        slots = self.config.max_concurrent
        if slots is not None and weight > slots:
            raise CostExceedsLimit(
                f"weight {weight:,} is above max_concurrent={slots:,} of throttle {self.name!r}, so that no wait could grant it"
            )


def _standing(reply: Any) -> Standing:
    version, pause_ms, fields = (reply.decode() if isinstance(reply, bytes) else reply).split(" ", 2)
    return Standing(version, int(pause_ms), fields)
