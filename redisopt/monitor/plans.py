"""All that one monitor decides, shared by its sync and its async class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from redisopt import events
from redisopt.background import Background, Performer, now
from redisopt.commands import Plan, call
from redisopt.errors import RedisOptError, Unavailable
from redisopt.functions import check_function
from redisopt.monitor import names, slots
from redisopt.monitor.asking import Asking, Found, names_at_once
from redisopt.monitor.config import MonitorConfig
from redisopt.monitor.report import Breach, MonitorMetrics, PerformanceReport, report_of
from redisopt.monitor.sketch import Tally, merged
from redisopt.monitor.slots import MINUTE, Window
from redisopt.monitor.thresholds import Thresholds
from redisopt.monitor.tracking import Tracking

IDLE_BEATS = 12
"""Beats without anything to flush after which the background rests: to start it takes longer than to let it sleep on."""

PACKED_AT_ONCE = 8
"""Names that one script call packs, about a quarter of a millisecond each, so that nobody else waits for long."""

PACKED_WITHIN = 30.0
"""Seconds after the turn of a minute in which its names are packed, a share with each flush. Redis says again what was left."""


class _Beats:
    """How long the background of one place has had nothing to do."""

    def __init__(self) -> None:
        self.idle = 0

    def inherit(self, other: Self, /) -> None:
        """Nothing is kept for one event loop alone."""


class MonitorPlans(Background[_Beats]):
    """The plans of one monitor.

    Attributes:
        name, config: as the user gave them.
        tracking: what this process has measured.
        thresholds: what is watched.
    """

    def __init__(
        self, name: str, config: MonitorConfig, on_threshold: Callable[[Breach], object] | None, *, awaited: bool
    ) -> None:
        if on_threshold is not None:
            check_function(on_threshold, "on_threshold", awaited=False, instead="a plain function that starts a task")
        self.name = name
        self.config = config
        self.asking = Asking(name, config)
        self.thresholds = Thresholds(name, config.thresholds, on_threshold)
        self.tracking = Tracking(config, self.run)
        self._awaited = awaited
        self._closed = False
        self._failed = 0
        self._pace = self._unpacked = 0
        super().__init__(_Beats)

    # --- in the background

    def run(self) -> bool:
        """There is something to do in the background. Whether it is done: not outside of an event loop, where that is needed."""
        self._enter()
        with self._lock:
            if self._closed:
                return True  # nobody is to ask again
            if self._awaited and self._place() is None:
                return False
            self._here().idle = 0
            self._run()
            return True

    def keep(self) -> Plan[None]:
        """What runs in the background."""
        try:
            yield from self.beat(lambda: 0.0 if self._closed else self.config.flush_interval, self._due, self._beat)
        except BaseException:
            self.tracking.unattended = True  # its event loop ends; another one may go on
            raise

    def _due(self) -> Sequence[None]:
        self._enter()
        with self._lock:
            beats = self._here()
            beats.idle = 0 if self.tracking.pending or self.thresholds.watched else beats.idle + 1
            if self._closed or beats.idle > IDLE_BEATS:
                self._rest()
                return []
            return [None]

    def _beat(self, _: None) -> Plan[None]:
        try:
            yield from self._flush()
            if self.thresholds.names:
                yield from self._check()
        except RedisOptError as error:
            events.logger.debug("monitor %r: what was measured is kept until Redis answers: %s", self.name, error)
        except Exception:
            events.logger.exception("monitor %r: a beat failed", self.name)

    def _check(self) -> Plan[None]:
        wanted = self.thresholds.names
        elapsed, tallies = yield from self._read(MINUTE, [names.all_of(name) for name in wanted])
        reports = {name: report_of(tallies.get(names.member(name), Tally()), elapsed) for name in wanted}
        self.thresholds.check(reports)

    def _read(self, seconds: float, wanted: Sequence[str]) -> Plan[tuple[float, dict[str, Tally]]]:
        """What there is of some names in a window, by the name without labels; and how long the window is.

        A part with each call, and added up before the next one: neither the server nor an event loop stands still.
        """
        reading = yield from call(self.asking.read(seconds, wanted))
        start, at_once = slots.start_of(reading.at, seconds), names_at_once(seconds)
        rest, tallies = reading.rest, _added_up({}, reading.found, start, seconds)
        for first in range(0, len(rest), at_once):
            more = yield from call(self.asking.read(seconds, rest[first : first + at_once], later=True))
            tallies = _added_up(tallies, more.found, start, seconds)
        return max(reading.at - start, 1e-3), tallies

    # --- asked for

    def flush(self) -> Plan[None]:
        """Have Redis know all that was measured until now."""
        if self.thresholds.watched:
            self.run()
        yield from self._flush()

    def _flush(self) -> Plan[None]:
        waited = self.tracking.part() is not None
        self.tracking.hand_out(_minute())
        moved = yield from self._send()
        if waited or moved:  # what has gathered since, or counts as "other" now
            self.tracking.hand_out(_minute())
            yield from self._send()

    def _send(self) -> Plan[bool]:
        """Send what was handed out. Returns whether some of it is to be handed out once more."""
        moved = False
        while (part := self.tracking.part()) is not None:
            try:
                flushed = yield from call(self.asking.flush(self.tracking.lane, part))
            except RedisOptError:
                self._failed += 1
                raise
            moved = self.tracking.done(part, flushed.refused) or moved
            to_pack = self._share([part.deltas[number - 1].member for number in flushed.to_pack])
            for first in range(0, len(to_pack), PACKED_AT_ONCE):
                yield from call(self.asking.pack(to_pack[first : first + PACKED_AT_ONCE]))
        return moved

    def _share(self, to_pack: list[str]) -> list[str]:
        """What to pack now of what there is."""
        if len(to_pack) > self._unpacked:  # a minute is over
            self._pace = math.ceil(len(to_pack) * min(1.0, self.config.flush_interval / PACKED_WITHIN))
        share = to_pack[: max(PACKED_AT_ONCE, self._pace)]
        self._unpacked = len(to_pack) - len(share)
        return share

    def report(
        self, name: str, window: Window | float, labels: Mapping[str, Any] | None, *, local: bool
    ) -> Plan[PerformanceReport]:
        """How an operation did: in the fleet, or here."""
        seconds = slots.seconds_of(window)
        wanted = names.all_of(name) if labels is None else names.member(name, labels)
        if local:
            at = now()
            start = slots.start_of(at, seconds)
            return report_of(merged(self.tracking.tallies(name, labels, start, seconds)), at - start)
        yield from self._flush_first()
        elapsed, tallies = yield from self._read(seconds, [wanted])
        return report_of(merged(tallies.values()), elapsed)

    def _flush_first(self) -> Plan[None]:
        """Before something is read; a server that is full takes nothing, and can be read all the same."""
        try:
            yield from self.flush()
        except Unavailable as error:
            events.logger.warning(
                "monitor %r: what was measured here lately is not in the report: %s", self.name, error
            )

    def names(self) -> Plan[list[str]]:
        """What the fleet measures."""
        yield from self._flush_first()
        found = yield from call(self.asking.names())
        return sorted({names.plain(member) for member in found})

    def metrics(self) -> Plan[MonitorMetrics]:
        """How the monitor does."""
        found = yield from call(self.asking.names())
        tracking = self.tracking
        return MonitorMetrics(
            len(found),
            tracking.pending,
            tracking.flushed,
            tracking.folded,
            tracking.dropped,
            self._failed,
            self.thresholds.breached,
        )

    def close(self) -> Plan[None]:
        """Flush what there is, as far as Redis answers, and let the background end."""
        try:
            yield from self._flush()
        except RedisOptError as error:
            lost = self.tracking.pending
            events.logger.warning("monitor %r: closed with %d measurements unflushed: %s", self.name, lost, error)
        finally:
            self._enter()
            with self._lock:
                self._closed = True
            self.wake(self.id)


def _minute() -> int:
    return int(now() // MINUTE)


def _added_up(known: Mapping[str, Tally], found: Sequence[Found], start: float, seconds: float) -> dict[str, Tally]:
    """What is known of a window by the name without labels, and what was found in addition."""
    tallies = dict(known)
    for base, rows in itertools.groupby(found, lambda each: names.base_of(each.member)):
        totals = (slots.total(row.minutes, row.hours, start, seconds) for row in rows)
        tallies[base] = merged(itertools.chain([tallies.get(base, Tally())], totals))
    return tallies


def attach(plans: MonitorPlans, performer: Performer) -> None:
    """Have `performer` do what goes on in the background."""
    plans.attach(performer, plans.keep, f"redisopt-monitor-{plans.name}")
    if plans.thresholds.watched:
        plans.run()
