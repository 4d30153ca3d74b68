"""Computing a value under a lease, as plans: to keep it, or to say that it failed."""

from __future__ import annotations

import logging
import random
import weakref
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from redisopt import events
from redisopt.background import now
from redisopt.cache.asking import ALONE_AFTER_REFUSAL, ALONE_FOR, Asking
from redisopt.cache.checking import Checking
from redisopt.cache.copies import Copies, Reading
from redisopt.cache.counting import Counting
from redisopt.cache.flights import Outcome
from redisopt.cache.key_lease import Doer, KeyLease
from redisopt.cache.layout import Place
from redisopt.cache.replies import Found
from redisopt.codec import PayloadError
from redisopt.commands import Plan, Stopped, call
from redisopt.errors import REFUSALS, RedisOptError, Unavailable
from redisopt.leases import Leases
from redisopt.owing import Owing

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


class Computing:
    """The plans of those who compute.

    Attributes:
        leases: of what is being computed here.
        owing: leases that nobody here uses, and that could not be given back yet.
        longest: seconds after which a computation counts as hung.
        forget: is told of a key whose computation hangs, for which nobody here is to wait any more.
    """

    def __init__(self, asking: Asking, counting: Counting, copies: Copies, checking: Checking) -> None:
        self._asking = asking
        self._counting = counting
        self._copies = copies
        self._checking = checking
        self.leases: Leases[KeyLease] = Leases(asking.config.lease_ttl, self._renew)
        self.owing = Owing()
        self._told_again = -inf
        self.longest = asking.config.compute_timeout or inf
        self.forget: Callable[[str], object] = lambda _: None

    def _renew(self, group: str, computations: Sequence[KeyLease]) -> Plan[Sequence[bool]]:
        goes_on: list[bool] = []
        for each in computations:
            each.is_hung = now() - each.began > self.longest
            goes_on.append(not each.is_hung and not each.is_abandoned)
            if not goes_on[-1]:
                self.leases.drop(group, each)
            if each.is_hung:
                self.forget(each.place.name)
                each.interrupt()
                events.logger.warning(
                    "cache %r: computing %r has taken more than compute_timeout (%g s): its lease is renewed no more",
                    self._asking.name,
                    each.place.key,
                    self.longest,
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
        return (yield from self.under(KeyLease(place, caller, asked + self._asking.config.lease_ttl), wish, reading))

    def under(self, lease: KeyLease, wish: Wish, reading: Reading | None) -> Plan[Outcome]:
        """Compute a value under this lease, and keep it."""
        # Without a Cluster one beat renews all: else each entry has a slot of its own.
        group = lease.place.entry if self._asking.clustered else ""
        doer = Doer()
        lease.doer = weakref.ref(doer)
        try:
            self.leases.hold(group, lease)
            versions = yield from self._checking.versions(wish.tags)
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
            events.emit(events.Computed(self._asking.name, lease.place.key, seconds, lease.refreshes, cause))

    def tell_old(self, place: Place, age: float) -> None:
        """An old value is served."""
        if events.listening():
            events.emit(events.ServedOld(self._asking.name, place.key, age))

    def compute_alone(self, wish: Wish) -> Plan[Outcome]:
        """Compute a value that will not be kept, without a lease."""
        try:
            value = yield from wish.compute()
        except Exception as error:
            self._counting.note("errors")
            return Outcome(error=error, shared=not isinstance(error, REFUSALS))
        self._counting.note("uncached")
        return Outcome(value=value, own=True)

    def owe(self, place: Place, caller: str) -> None:
        """This caller may have the lease, and does not use it: it is given back as soon as Redis answers."""
        self.owing.owe(self._asking.fail(place, caller), self._asking.config.lease_ttl)

    def release(self, place: Place, caller: str, *, alone: float = 0.0) -> Plan[None]:
        """There will be no value: the next one may compute at once; for `alone` seconds all may."""
        try:
            yield from call(self._asking.fail(place, caller, alone=alone))
        except Unavailable:
            self.owe(place, caller)
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
        self._copies.put(reading, payload, fence, frozenset(versions), lives[0] / 1000, max(lives) / 1000)
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
            if old is not None and not (yield from self._checking.is_of_use(place, old)):
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
            is_of_use = found is not None and (yield from self._checking.is_of_use(place, found))
        except RedisOptError as error:
            events.logger.debug("cache %r: an old value could not be read: %s", self._asking.name, error)
            return None
        return found if is_of_use else None
