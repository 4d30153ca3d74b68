"""Computing a value under a lease, as plans: to keep it, to say that it failed, or to refresh it in the background."""

from __future__ import annotations

import logging
import random
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from redisopt import events
from redisopt.background import Performer, now
from redisopt.cache.asking import ALONE_AFTER_REFUSAL, ALONE_FOR, Asking
from redisopt.cache.copies import Copies, Reading
from redisopt.cache.counting import Counting
from redisopt.cache.flights import Outcome
from redisopt.cache.layout import Place
from redisopt.cache.replies import Found
from redisopt.codec import PayloadError
from redisopt.commands import Plan, Stopped, call
from redisopt.errors import CircuitOpen, RedisOptError, Throttled, Unavailable
from redisopt.identity import process_id
from redisopt.leases import Lease, Leases

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

REFUSALS = (Throttled, CircuitOpen, Unavailable)
"""Errors by which nothing was computed: a limit or a breaker let nobody through, or Redis was away."""

_TOLD_EVERY = 60.0  # seconds between warnings of values that cannot be kept


def described(error: BaseException) -> str:
    """An error as text, whatever its own text does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__} (its text cannot be had)"


class Wish(NamedTuple):
    """How a value is wanted.

    Attributes:
        compute: makes the plan that computes it.
        ttl: seconds that it is fresh.
        tags: encoded.
        timeout: seconds to wait for another one that computes it.
    """

    compute: Callable[[], Plan[Any]]
    ttl: float
    tags: tuple[str, ...]
    timeout: float


class Doer:
    """Who computes: only the plan that does refers to it, so that it is gone when that is."""

    __slots__ = ("__weakref__",)


class KeyLease(Lease):
    """A computation of this process, which holds the key's lease.

    Attributes:
        place: of the key.
        caller: the id that has the lease.
        loop: the event loop that it belongs to, None for threads.
        began: when.
        doer: who computes.
    """

    __slots__ = ("began", "caller", "doer", "loop", "place")

    def __init__(self, place: Place, caller: str, good_until: float, loop: AbstractEventLoop | None = None) -> None:
        super().__init__(good_until)
        self.place = place
        self.caller = caller
        self.loop = loop
        self.began = now()
        self.doer: weakref.ref[Doer] | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody computes any more: an interruption can come at any instant, also where the lease was being dropped."""
        return self.doer is not None and self.doer() is None

    def __repr__(self) -> str:
        return f"the computation of {self.place.name}"


class Computing:
    """The plans of those who compute.

    Attributes:
        leases: of what is being computed here.
        forget: is told of a key whose computation hangs, for which nobody here is to wait any more.
    """

    def __init__(self, asking: Asking, counting: Counting, copies: Copies) -> None:
        self._asking = asking
        self._counting = counting
        self._copies = copies
        self.leases: Leases[KeyLease] = Leases(asking.config.lease_ttl, self._renew)
        self._performer: Performer | None = None
        self._has_warned = False
        self._told_again = -inf
        self._longest = asking.config.compute_timeout or inf
        self.forget: Callable[[str], object] = lambda _: None
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._refreshes: set[KeyLease] = set()

    def _enter(self) -> None:
        if self._process != process_id():
            self._begin()  # a forked child: what is being refreshed is its parent's

    def attach(self, performer: Performer) -> None:
        """Have `performer` refresh values in the background."""
        self._performer = performer

    def _renew(self, group: str, computations: Sequence[KeyLease]) -> Plan[Sequence[bool]]:
        goes_on: list[bool] = []
        for each in computations:
            is_hung = now() - each.began > self._longest
            goes_on.append(not is_hung and not each.is_abandoned)
            if not goes_on[-1]:
                self.leases.drop(group, each)
            if is_hung:
                self.forget(each.place.name)
                events.logger.warning(
                    "cache %r: computing %r has taken more than compute_timeout (%g s): its lease is renewed no more",
                    self._asking.name,
                    each.place.key,
                    self._longest,
                )
            elif not goes_on[-1]:
                yield from self.release(each.place, each.caller)
        if not any(goes_on):
            return goes_on
        entries = [(each.place.entry, each.caller) for each, goes in zip(computations, goes_on, strict=True) if goes]
        renewed = iter((yield from call(self._asking.renew(entries))))
        return [goes and next(renewed) for goes in goes_on]

    # --- computing

    def compute(self, place: Place, caller: str, wish: Wish, reading: Reading | None, asked: float) -> Plan[Outcome]:
        """Compute a value whose lease the caller has had since `asked`, and keep it."""
        return (yield from self._under(KeyLease(place, caller, asked + self._asking.config.lease_ttl), wish, reading))

    def _under(self, lease: KeyLease, wish: Wish, reading: Reading | None) -> Plan[Outcome]:
        # Without a Cluster one beat renews all: else each entry has a slot of its own.
        group = lease.place.entry if self._asking.clustered else ""
        doer = Doer()
        lease.doer = weakref.ref(doer)
        try:
            self.leases.hold(group, lease)
            versions = yield from self._versions(wish.tags)
            began = now()
            try:
                value = yield from wish.compute()
            except GeneratorExit:
                raise
            except Exception as error:
                self._tell(lease, now() - began, error)
                return (yield from self._failed(lease, error))
            took = now() - began
            self._tell(lease, took)
            return (yield from self._keep(lease, wish, value, took, versions, reading))
        except GeneratorExit:
            raise
        except BaseException:
            yield from self.release(lease.place, lease.caller)
            raise
        finally:
            del doer
            self.leases.drop(group, lease)

    def _tell(self, lease: KeyLease, seconds: float, error: Exception | None = None) -> None:
        if events.listening():
            cause = error.error if isinstance(error, Stopped) else error
            events.emit(events.Computed(self._asking.name, lease.place.key, seconds, lease in self._refreshes, cause))

    def tell_old(self, place: Place, age: float) -> None:
        """An old value is served."""
        if events.listening():
            events.emit(events.ServedOld(self._asking.name, place.key, age))

    def _versions(self, tags: tuple[str, ...]) -> Plan[Mapping[str, str] | None]:
        """The versions that tags have before the computation begins; None where they are not to be had."""
        if not tags:
            return {}
        try:
            return (yield from call(self._asking.versions(tags, keep=True)))
        except Unavailable as error:
            events.logger.debug("cache %r: tags could not be read: %s", self._asking.name, error)
            return None

    def compute_alone(self, wish: Wish) -> Plan[Outcome]:
        """Compute a value that will not be kept, without a lease."""
        try:
            value = yield from wish.compute()
        except Exception as error:
            self._counting.note("errors")
            return Outcome(error=error, shared=not isinstance(error, REFUSALS))
        self._counting.note("uncached")
        return Outcome(value=value, own=True)

    def release(self, place: Place, caller: str, *, alone: float = 0.0) -> Plan[None]:
        """There will be no value: the next one may compute at once; for `alone` seconds all may."""
        try:
            yield from call(self._asking.fail(place, caller, alone=alone))
        except RedisOptError as error:
            events.logger.debug(
                "cache %r: a lease could not be given back, and ends by itself: %s", self._asking.name, error
            )

    # --- what became of it

    def _keep(
        self,
        lease: KeyLease,
        wish: Wish,
        value: Any,
        took: float,
        versions: Mapping[str, str] | None,
        reading: Reading | None,
    ) -> Plan[Outcome]:
        config, place = self._asking.config, lease.place
        lives = self.lives(wish.ttl, value)
        if value is None and config.negative_ttl is not None:
            self._counting.note("negative")
        if lives is None:
            yield from self.release(place, lease.caller, alone=ALONE_FOR)
            return Outcome(value=value, own=True)
        payload: bytes | None = None
        try:
            payload = config.encoded(value)
            if versions is None:
                raise Unavailable("the versions of its tags could not be read")
            fence = yield from call(self._asking.store(place, lease.caller, payload, lives, took, versions))
        except (PayloadError, Unavailable) as error:
            self._counting.note("uncached")
            level = logging.WARNING if now() >= self._told_again else logging.DEBUG
            if level == logging.WARNING:
                self._told_again = now() + _TOLD_EVERY
            events.logger.log(level, "cache %r: the value of %r is not kept: %s", self._asking.name, place.key, error)
            yield from self.release(place, lease.caller, alone=ALONE_FOR)
            return Outcome(payload, value, own=True)
        if fence is None:
            self._counting.note("lost")
            events.logger.info(
                "cache %r: what was computed for %r is not kept: it was set, deleted or computed by another meanwhile",
                self._asking.name,
                place.key,
            )
            return Outcome(payload, value, own=True, shared=False)
        self._counting.note("computed")
        self._copies.put(reading, payload, fence, frozenset(versions), lives[0] / 1000)
        return Outcome(payload, value, own=True)

    def lives(self, ttl: float, value: Any) -> tuple[int, int, int] | None:
        """For how long a value is kept, see `CacheConfig.lives`; None for not at all."""
        config = self._asking.config
        if value is None and config.negative_ttl is not None:
            fresh = config.lives(config.negative_ttl)[0]
            return (fresh, fresh, fresh) if config.negative_ttl else None
        return config.lives(ttl * (1 - config.ttl_jitter * random.random()))  # noqa: S311 - spreads load

    def _failed(self, lease: KeyLease, error: Exception) -> Plan[Outcome]:
        config, place = self._asking.config, lease.place
        cause = error.error if isinstance(error, Stopped) else error
        negative = isinstance(cause, config.negative_errors)
        self._counting.note("negative" if negative else "errors")
        keep, alone = (config.negative_ttl or 0.0) if negative else config.failure_ttl, 0.0
        if isinstance(cause, REFUSALS) and not negative:
            keep, alone = 0.0, ALONE_AFTER_REFUSAL  # it is this caller's, and says nothing of the value
        text = described(cause)
        old: Found | None = None
        try:
            old = yield from call(self._asking.fail(place, lease.caller, text, keep, negative=negative, alone=alone))
            if old is not None and not (self.can_read(place, old) and (yield from self.holds(old))):
                old = None
        except RedisOptError as trouble:
            events.logger.debug("cache %r: a failure could not be kept: %s", self._asking.name, trouble)
            old = None
        if old is None:
            return Outcome(error=error, shared=keep > 0)
        events.logger.warning(
            "cache %r: computing %r failed, its value of %.1f s ago is served: %s",
            self._asking.name,
            place.key,
            old.age,
            text,
        )
        self.tell_old(place, old.age)
        return Outcome(old.payload)

    def old(self, place: Place, caller: str) -> Plan[Found | None]:
        """The value that may be served where computing it fails; asked for by one who gives up, and its lease back if it got one."""
        if not self._asking.config.stale_if_error:
            return None
        try:
            found = yield from call(self._asking.fail(place, caller))
            is_of_use = found is not None and self.can_read(place, found) and (yield from self.holds(found))
        except RedisOptError as error:
            events.logger.debug("cache %r: an old value could not be read: %s", self._asking.name, error)
            return None
        return found if is_of_use else None

    def can_read(self, place: Place, found: Found) -> bool:
        """Whether the value is in this cache's codec: the bytes of another one could be read as something else. Warns once where not."""
        codec = self._asking.config.codec
        if found.codec != codec and not self._has_warned:
            self._has_warned = True
            events.logger.warning(
                "cache %r: the value of %r is %s, and is computed anew as %s: give all processes the same codec (told once)",
                self._asking.name,
                place.key,
                found.codec,
                codec,
            )
        return found.codec == codec

    def holds(self, found: Found) -> Plan[bool]:
        """Whether no tag of a value was invalidated since. Asks only on a Cluster: else the script has looked."""
        if not self._asking.clustered or not found.tags:
            return True
        versions = yield from call(self._asking.versions(tuple(found.tags)))
        return all(versions[tag] == version for tag, version in found.tags.items())

    # --- refreshing

    @property
    def has_room(self) -> bool:
        """Whether one more value may be refreshed here."""
        self._enter()
        return len(self._refreshes) < self._asking.config.max_refreshes

    def refresh(self, place: Place, caller: str, wish: Wish, asked: float) -> Plan[None]:
        """Compute a value in the background whose lease the caller has had since `asked`."""
        assert self._performer is not None  # noqa: S101 - the faces attach one before there is a call
        self._enter()
        lease = KeyLease(place, caller, asked + self._asking.config.lease_ttl, self._performer.place())

        def perform() -> Plan[None]:
            try:
                outcome = yield from self._under(lease, wish, None)
            finally:
                self._refreshes.discard(lease)
            if outcome.error is not None:
                cause = outcome.error.error if isinstance(outcome.error, Stopped) else outcome.error
                events.logger.warning("cache %r: refreshing %r failed", self._asking.name, place.key, exc_info=cause)

        with self._lock:
            for over in [each for each in self._refreshes if each.loop is not None and each.loop.is_closed()]:
                self._refreshes.discard(over)
            has_room = self.has_room
            if has_room:
                self._refreshes.add(lease)
        if not has_room:  # other threads were faster
            yield from self.release(place, caller)
            return
        try:
            self._performer.start(perform, f"redisopt-cache-{self._asking.name}-refresh")
        except RuntimeError as error:  # no thread is to be had
            self._refreshes.discard(lease)
            events.logger.warning("cache %r: %r is not refreshed: %s", self._asking.name, place.key, error)
            yield from self.release(place, caller)
            return
        self._counting.note("refreshed")

    def stop(self) -> Plan[None]:
        """Give back what is being refreshed by threads, or in this event loop: others may do it at once."""
        self._enter()
        here = self._performer and self._performer.place()
        with self._lock:
            refreshes = [each for each in self._refreshes if each.loop is here]
        for lease in refreshes:
            yield from self.release(lease.place, lease.caller)
