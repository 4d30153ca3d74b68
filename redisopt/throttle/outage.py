"""What a throttle does without Redis: its `on_unavailable`, as plans around those that ask Redis.

Redis is asked first at every call; while it is known to be away that costs nothing (see `breaker`). What is decided here
is not charged to Redis afterwards. "local" needs to know how many processes share the limiter, and asks on the way of calls
that go to Redis anyway (see `fleet`). It also counts what Redis grants this process, so that no window of this process
holds more than its share because Redis went away in the middle of it.

Only here a throttle decides by a clock of its own process, the monotonic one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from redisopt import events
from redisopt.breaker import Silence
from redisopt.commands import Plan, Sleep
from redisopt.config import milliseconds
from redisopt.errors import Throttled, ThrottleTimeout, Unavailable
from redisopt.identity import next_permit_id, process_id
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.decision import Decision, LimitState, Outage
from redisopt.throttle.fleet import Fleet
from redisopt.throttle.grant import Grant
from redisopt.throttle.layout import Layout
from redisopt.throttle.local_limiter import Answer, Limit, LocalLimiter, Place

G = TypeVar("G", bound=Grant)

REASON = "unavailable"
"""Why a call was granted or refused without Redis."""

_UNPROBED = 0.5  # seconds after which to come back where Redis is there, and refuses calls


class OutagePolicy:
    """What one throttle decides without Redis, and the count of it. Thread-safe; a forked child starts anew.

    Attributes:
        counts_fleet: whether it needs to know how many processes share the limiter.
    """

    def __init__(
        self, name: str, config: ThrottleConfig, layout: Layout, on_throttle: Callable[[int], object] | None
    ) -> None:
        self._name = name
        self._policy = config.on_unavailable
        self.counts_fleet = self._policy == "local"
        self._layout = layout
        self._cooldown_ms = milliseconds(config.cooldown_period)
        self._on_throttle = on_throttle
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._fleet = Fleet(self._layout)
        limits = [Limit(name, limit, period, slot) for name, limit, _, period, slot in self._layout.limits]
        self._local = LocalLimiter(tuple(limits), self._cooldown_ms)
        self._since = 0.0
        self._error: Unavailable | None = None  # why the latest call was decided here, while that is so
        self._allowed = self._denied = 0

    # --- around the plans that ask Redis

    def try_acquire(
        self, asking: Plan[Decision[G]], make_permit: Callable[..., G], cost: int, key: str, minimum: int | None
    ) -> Plan[Decision[G]]:
        """What Redis answers, else what the policy does."""
        return self._try_acquire(asking, make_permit, cost, key, minimum)

    def acquire(
        self, asking: Plan[G], make_permit: Callable[..., G], cost: int, key: str, timeout: float | None
    ) -> Plan[G]:
        """What Redis grants, else what the policy does."""
        return self._acquire(asking, make_permit, cost, key, timeout)

    @property
    def raises(self) -> bool:
        """Whether that Redis is away is for the caller to deal with: then no call needs the policy."""
        return self._policy == "raise"

    def _count_fleet(self, key: str) -> Plan[None]:
        """Learn how many processes share `key`, where that is asked for."""
        if self.counts_fleet and self._error is None:
            yield from self._fleet.count(key)

    def _try_acquire(
        self, asking: Plan[Decision[G]], make_permit: Callable[..., G], cost: int, key: str, minimum: int | None
    ) -> Plan[Decision[G]]:
        try:
            yield from self._count_fleet(key)
            decision = yield from asking
        except Unavailable as error:
            answer = self._decide(error, key, cost, cost if minimum is None else minimum, 0.0)
            retry_after = _retry_after(error, answer)
        else:
            self._answered(key, decision.permit)
            return decision
        permit = self._permit(make_permit, key, answer)
        self._tell(key, cost, answer, retry_after)
        tightest = min(answer.states, key=lambda state: state.remaining, default=None)
        return Decision(
            permit is not None,
            tightest.limit if tightest else 0,
            tightest.remaining if tightest else 0,
            0.0 if permit is not None else retry_after,
            max((state.reset_after for state in answer.states), default=0.0),
            REASON,
            answer.queue_size,
            permit,
            answer.states,
        )

    def _acquire(
        self, asking: Plan[G], make_permit: Callable[..., G], cost: int, key: str, timeout: float | None
    ) -> Plan[G]:
        try:
            yield from self._count_fleet(key)
            permit = yield from asking
        except Unavailable as error:
            answer = self._decide(error, key, cost, cost, math.inf if timeout is None else timeout)
            retry_after = _retry_after(error, answer)
            self._tell(key, cost, answer, retry_after)
            if answer.place is None:
                raise self._refusal(error, cost, timeout, answer, retry_after) from error
        else:
            self._answered(key, permit)
            return permit
        if answer.wait_ms:
            try:
                yield Sleep(answer.wait_ms / 1000)
            except BaseException:
                self._local.give_back(key, answer.place)
                raise
        granted = self._permit(make_permit, key, answer)
        assert granted is not None  # noqa: S101 - it has a place
        return granted

    # --- deciding

    def _decide(self, error: Unavailable, key: str, cost: int, least: int, patience: float) -> Answer:
        self._note(error)
        now_ms = int(time.monotonic() * 1000)
        if self._policy == "local":
            answer = self._local.take(key, cost, least, patience * 1000, self._fleet.size(key), now_ms)
        elif self._policy == "allow":
            answer = Answer(Place(now_ms, cost), 0, "", 0, self._states(full=False))
        else:
            answer = Answer(None, None, "", 0, self._states(full=True))
        with self._lock:
            if answer.place is None:
                self._denied += 1
            else:
                self._allowed += 1
        return answer

    def _states(self, *, full: bool) -> tuple[LimitState, ...]:
        return tuple(LimitState(name, limit, 0 if full else limit, 0.0) for name, limit, *_ in self._layout.limits)

    def _permit(self, make_permit: Callable[..., G], key: str, answer: Answer) -> G | None:
        if answer.place is None:
            return None
        waited = (answer.wait_ms or 0) / 1000
        permit = make_permit(next_permit_id(), key, answer.place.cost, round(time.time() * 1000), waited)
        permit.mark_uncharged()
        return permit

    def _refusal(
        self, error: Unavailable, cost: int, timeout: float | None, answer: Answer, retry_after: float
    ) -> Throttled:
        without = f"throttle {self._name!r}, without Redis,"
        if answer.wait_ms is not None:
            return ThrottleTimeout(
                f"{without} would grant {cost} in {retry_after:.3f} s ({answer.waits_for}), longer than timeout={timeout}",
                retry_after=retry_after,
                reason=REASON,
            )
        why = f"{cost} is more than this process's share" if self._policy == "local" else "on_unavailable='deny'"
        return Throttled(f"{without} refused: {why}: {error}", retry_after=retry_after, reason=REASON)

    def _tell(self, key: str, cost: int, answer: Answer, retry_after: float) -> None:
        """Tell whoever listens. A callback that ends the process (SystemExit, Ctrl-C) leaves nothing taken."""
        try:
            if self._on_throttle is not None and (answer.place is None or answer.wait_ms):
                events.notify(self._on_throttle, answer.queue_size)
            if answer.place is None:
                events.emit(events.Refused(self._name, key, cost, REASON, retry_after, answer.queue_size))
            else:
                wait = (answer.wait_ms or 0) / 1000
                events.emit(events.Granted(self._name, key, answer.place.cost, wait, answer.queue_size, REASON))
        except BaseException:
            if answer.place is not None:
                self._local.give_back(key, answer.place)
            raise

    # --- what is known of the outage

    def outage(self, silence: Silence | None) -> Outage | None:
        """What is known of it; `silence` is what the breaker knows."""
        self._be_of_this_process()
        error = self._error
        if silence is not None:
            since, reason = silence.since, silence.reason
        elif (
            error is not None and error.retry_after is None
        ):  # nobody probes: what Redis said to the latest call stands
            since, reason = self._since, str(error)
        else:
            return None
        return Outage(time.monotonic() - since, reason, self._policy, self._allowed, self._denied)

    def _note(self, error: Unavailable) -> None:
        """A call is decided here."""
        self._be_of_this_process()
        if self._error is None:
            self._since = time.monotonic()
            if error.retry_after is None:  # else the breaker has said so
                events.logger.warning("throttle %r: on_unavailable=%r decides: %s", self._name, self._policy, error)
        self._error = error

    def _answered(self, key: str, permit: Grant | None) -> None:
        """A call was decided by Redis."""
        self._be_of_this_process()
        if self._error is not None:
            self._error = None
            self._allowed = self._denied = 0
        if permit is not None and self.counts_fleet:
            self._local.note(key, permit.cost, int(time.monotonic() * 1000))

    def _be_of_this_process(self) -> None:
        if self._process != process_id():
            self._begin()


def _retry_after(error: Unavailable, answer: Answer) -> float:
    if answer.wait_ms is not None:
        return answer.wait_ms / 1000
    return _UNPROBED if error.retry_after is None else error.retry_after
