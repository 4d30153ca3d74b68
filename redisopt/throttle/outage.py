"""What a throttle does without Redis: its `on_unavailable`, as plans around those that ask Redis.

Redis is asked first at every call; while it is known to be away that costs nothing (see `breaker`). What is decided here
is not charged to Redis afterwards. Here alone a throttle decides by a clock of its own process, the monotonic one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from redisopt import events
from redisopt.commands import Plan, Sleep
from redisopt.errors import Throttled, ThrottleTimeout, Unavailable
from redisopt.identity import next_permit_id, process_id
from redisopt.silence import Silence
from redisopt.throttle.asking import Asking
from redisopt.throttle.decision import Decision, LimitState, Outage
from redisopt.throttle.grant import Grant
from redisopt.throttle.keeping import Keeping
from redisopt.throttle.local_limiter import Answer, Place
from redisopt.throttle.local_share import LocalShare, Wish

G = TypeVar("G", bound=Grant)

REASON = "unavailable"
"""Why a call was granted or refused without Redis."""

_UNPROBED = 0.5  # seconds after which to come back where Redis is there, and refuses calls


class OutagePolicy(Generic[G]):
    """What one throttle decides without Redis, and the count of it. Thread-safe; a forked child starts anew.

    Attributes:
        raises: whether that Redis is away is for the caller to deal with: then no call needs the policy.
        make_permit: as `Deciding.make_permit`.
    """

    make_permit: Callable[..., G]

    def __init__(self, asking: Asking, keeping: Keeping, on_throttle: Callable[[int], object] | None) -> None:
        self._asking = asking
        self._keeping = keeping
        self._on_throttle = on_throttle
        self._policy = asking.given.on_unavailable
        self.raises = self._policy == "raise"
        self._is_local = self._policy == "local"
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._local = LocalShare(self._asking, self._keeping, self._on_throttle)
        self._since = 0.0
        self._error: Unavailable | None = None  # why the latest call was decided here, while that is so
        self._allowed = self._denied = 0

    def _enter(self) -> None:
        if self._process != process_id():
            self._begin()

    # --- around the plans that ask Redis

    def try_acquire(
        self,
        asking: Plan[Decision[G]],
        cost: int,
        key: str,
        minimum: int | None,
        weight: int = 1,
    ) -> Plan[Decision[G]]:
        """What Redis answers, else what the policy does."""
        wish = Wish(key, cost, cost if minimum is None else minimum, weight, 0.0)
        try:
            yield from self._count_fleet(wish)
            decision = yield from asking
        except Unavailable as error:
            permit_id = next_permit_id()
            answer = yield from self._decide(error, permit_id, wish, 0.0)
            retry_after = _retry_after(error, answer)
        else:
            self._answered(wish.key, decision.permit)
            return decision
        self._tell(permit_id, wish, answer, retry_after)
        permit = None if answer.place is None else self._permit(permit_id, wish.key, answer.place, 0.0)
        tightest = min(answer.states, key=lambda state: state.remaining)
        return Decision(
            permit is not None,
            tightest.limit,
            tightest.remaining,
            0.0 if permit is not None else retry_after,
            max(state.reset_after for state in answer.states),
            REASON,
            answer.queue_size,
            permit,
            answer.states,
        )

    def acquire(
        self,
        asking: Plan[G],
        cost: int,
        key: str,
        timeout: float | None,
        weight: int = 1,
    ) -> Plan[G]:
        """What Redis grants, else what the policy does."""
        wish = Wish(key, cost, cost, weight, timeout)
        ends = wish.ends
        try:
            yield from self._count_fleet(wish)
            permit = yield from asking
        except Unavailable as error:
            asked, permit_id = time.monotonic(), next_permit_id()
            answer = yield from self._decide(error, permit_id, wish, ends)
            waited = time.monotonic() - asked if answer.waits_for == "concurrency" else 0.0
            retry_after = _retry_after(error, answer)
            self._tell(permit_id, wish, answer, retry_after)
            if answer.place is None:
                raise self._refusal(error, wish, answer, retry_after) from error
        else:
            self._answered(wish.key, permit)
            return permit
        if answer.wait_ms:
            try:
                yield Sleep(answer.wait_ms / 1000)
            except BaseException:
                self._local.give_back(permit_id, wish.key, answer.place)
                raise
            waited += answer.wait_ms / 1000
        return self._permit(permit_id, wish.key, answer.place, waited)

    def release(self, grant: Grant) -> bool:
        """The work under a permit that was not charged is done. Whether it held slots of this process."""
        self._enter()
        return self._local.release(grant)

    # --- while Redis is there

    def _count_fleet(self, wish: Wish) -> Plan[None]:
        """Learn how many processes share the key, where that is asked for. What is no wish is left to those who refuse it."""
        if self._is_local and self._error is None and isinstance(wish.key, str) and type(wish.cost) is int:
            yield from self._local.count_fleet(wish.key)

    def _answered(self, key: str, permit: Grant | None) -> None:
        """Redis has decided on a call."""
        self._enter()
        if self._error is not None:
            self._error = None
            self._allowed = self._denied = 0
        if permit is not None and permit.charged and self._is_local:
            self._local.note(key, permit.cost)

    # --- deciding

    def _decide(self, error: Unavailable, permit: str, wish: Wish, ends: float) -> Plan[Answer]:
        self._note(error)
        if self._policy == "local":
            answer = yield from self._local.take(permit, wish, ends)
        elif self._policy == "allow":
            answer = Answer(Place(0, wish.cost), 0, "", 0, self._states(full=False))
        else:
            answer = Answer(None, None, "", 0, self._states(full=True))
        with self._lock:
            if answer.place is None:
                self._denied += 1
            else:
                self._allowed += 1
        return answer

    def _states(self, *, full: bool) -> tuple[LimitState, ...]:
        layout = self._asking.layouts.own
        limits = [(name, limit) for name, limit, *_ in layout.limits]
        if layout.slots:
            limits.append(("concurrency", layout.slots))
        return tuple(LimitState(name, limit, 0 if full else limit, 0.0) for name, limit in limits)

    def _permit(self, permit_id: str, key: str, place: Place, waited: float) -> G:
        permit = self.make_permit(permit_id, key, place.cost, round(time.time() * 1000), waited)
        permit.mark_uncharged()
        if self._is_local:
            self._local.hold(permit)
        return permit

    def _refusal(self, error: Unavailable, wish: Wish, answer: Answer, retry_after: float) -> Throttled:
        without = f"throttle {self._asking.name!r}, without Redis,"
        if answer.waits_for:
            return ThrottleTimeout(
                f"{without} would not grant {wish.cost} within timeout={wish.timeout} ({answer.waits_for})",
                retry_after=retry_after,
                reason=REASON,
            )
        why = f"{wish.cost} is more than this process's share" if self._is_local else "on_unavailable='deny'"
        return Throttled(f"{without} refused: {why}: {error}", retry_after=retry_after, reason=REASON)

    def _tell(self, permit: str, wish: Wish, answer: Answer, retry_after: float) -> None:
        """Tell whoever listens. A callback that ends the process (SystemExit, Ctrl-C) leaves nothing taken."""
        name, key, queue_size = self._asking.name, wish.key, answer.queue_size
        try:
            if self._on_throttle is not None and (answer.place is None or answer.wait_ms):
                events.notify(self._on_throttle, queue_size)
            if answer.place is None:
                events.emit(events.Refused(name, key, wish.cost, REASON, retry_after, queue_size))
            else:
                wait = (answer.wait_ms or 0) / 1000
                events.emit(events.Granted(name, key, answer.place.cost, wait, queue_size, REASON))
        except BaseException:
            if answer.place is not None:
                self._local.give_back(permit, key, answer.place)
            raise

    # --- what is known of the outage

    def outage(self, silence: Silence | None) -> Outage | None:
        """What is known of it; `silence` is what the breaker knows."""
        self._enter()
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
        self._enter()
        if self._error is None:
            self._since = time.monotonic()
            if error.retry_after is None:  # else the breaker has said so
                events.logger.warning(
                    "throttle %r: on_unavailable=%r decides: %s", self._asking.name, self._policy, error
                )
        self._error = error


def _retry_after(error: Unavailable, answer: Answer) -> float:
    if answer.wait_ms is not None:
        return answer.wait_ms / 1000
    return _UNPROBED if error.retry_after is None else error.retry_after
