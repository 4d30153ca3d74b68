"""What a caller gets, as plans: a value that is there, one that it computes, or one that it waits for."""

from __future__ import annotations

from functools import partial
from typing import Any

from redisopt import events
from redisopt.awaiting import Awaiting, NotYet
from redisopt.cache.asking import Asking
from redisopt.cache.checking import Checking
from redisopt.cache.computing import Computing, Wish, described
from redisopt.cache.copies import Copies, Reading
from redisopt.cache.counting import Counting
from redisopt.cache.flights import Flight, Flights, Outcome
from redisopt.cache.layout import Place
from redisopt.cache.question import Question, Ready
from redisopt.cache.refreshing import Refreshing
from redisopt.cache.replies import Alone, Failed, Found, Leased
from redisopt.codec import PayloadError
from redisopt.commands import Plan, Stopped
from redisopt.errors import ComputeFailed, ResultTimeout, Unavailable
from redisopt.identity import next_permit_id
from redisopt.wire import is_full


class Getting:
    """The plans of those who want a value.

    Attributes:
        awaiting: who waits here for what other processes compute.
        flights: what callers of this process share.
    """

    def __init__(
        self,
        asking: Asking,
        computing: Computing,
        checking: Checking,
        refreshing: Refreshing,
        counting: Counting,
        copies: Copies,
    ) -> None:
        self._asking = asking
        self._computing = computing
        self._checking = checking
        self._refreshing = refreshing
        self._counting = counting
        self._copies = copies
        self.awaiting = Awaiting()
        self.flights = Flights()
        self._is_away = False

    def get_or_compute(self, place: Place, wish: Wish) -> Plan[Any]:
        """The value of a key, computed by one caller of the fleet."""
        copy = self._copies.get(place)
        if copy is not None:
            self._counting.note("local_hits")
            return self._asking.config.decoded(copy.payload)
        try:
            outcome, is_ours = yield from self.flights.share(place.name, partial(self._find, place, wish), wish.timeout)
        except ResultTimeout:
            return (yield from self._old(place, wish.timeout))
        if not is_ours:
            self._counting.note("waited")
        if outcome.error is not None:
            raise outcome.error if is_ours else self._shared(place, outcome.error)
        if outcome.payload is None or (is_ours and outcome.own):
            return outcome.value
        return self._asking.config.decoded(outcome.payload)

    def get(self, place: Place, default: Any) -> Plan[Any]:
        """The value of a key, if there is one."""
        copy = self._copies.get(place)
        if copy is not None:
            self._counting.note("local_hits")
            return self._asking.config.decoded(copy.payload)
        reading = self._copies.begin(place)
        try:
            answer = yield from Question(self._asking, self._checking, self._refreshing, place).ask()
        except Unavailable as error:
            copy = self._copies.get(place, away=True)
            if self._asking.config.on_unavailable == "raise":
                raise
            self._counting.note("unavailable")
            self._tell_away(error)
            return default if copy is None else self._asking.config.decoded(copy.payload)
        else:
            self._is_away = False
            if not isinstance(answer, Found):
                self._counting.note("misses")
                return default
            try:
                value = self._asking.config.decoded(answer.payload)
            except PayloadError:  # not ours; whoever computes it anew says so
                self._counting.note("misses")
                return default
            self._note(place, answer, reading)
            return value
        finally:
            self._copies.end(reading)

    def _old(self, place: Place, timeout: float) -> Plan[Any]:
        """What is served where the wait for another one took too long.

        Raises:
            ResultTimeout: nothing.
        """
        found = yield from self._computing.old(place, next_permit_id())
        if found is not None:
            try:
                value = self._asking.config.decoded(found.payload)
            except PayloadError:
                pass  # whoever computes it anew says so
            else:
                self._counting.note("rescued")
                self._computing.tell_old(place, found.age)
                return value
        raise ResultTimeout(
            f"cache {self._asking.name!r}: another call computes {place.key!r}, and was not over within {timeout:g} s "
            "(a function that asks for its own key waits for itself)"
        )

    # --- finding

    def _find(self, place: Place, wish: Wish, flight: Flight) -> Plan[Outcome]:
        """What becomes of a key; by one caller of this process at a time."""
        caller = next_permit_id()
        reading = self._copies.begin(place)
        try:
            question = Question(self._asking, self._checking, self._refreshing, place, caller)
            answer = yield from self._wait(question, place, flight.left)
            if isinstance(answer, Unavailable):
                return (yield from self._without_redis(place, caller, wish, answer, flight))
            self._is_away = False
            if isinstance(answer, Leased):
                flight.computes(self._computing.longest)
                outcome = yield from self._computing.compute(place, caller, wish, reading, question.asked)
                self._counting.note("misses" if outcome.own or outcome.error is not None else "rescued")
                return outcome
            if isinstance(answer, Alone):
                self._counting.note("misses")
                flight.computes(self._computing.longest)
                return (yield from self._computing.compute_alone(wish))
            if isinstance(answer, Failed):
                self._counting.note("failed")
                return Outcome(error=self._failure(place, answer.error, answer.retry_after))
            self._note(place, answer.found, reading, waited=question.waited)
            if answer.found.leased:
                yield from self._refreshing.refresh(place, caller, wish, question.asked)
            return Outcome(answer.found.payload, answer.value, own=True)
        finally:
            self._copies.end(reading)

    def _wait(self, question: Question, place: Place, timeout: float) -> Plan[Ready]:
        """Ask until there is a value, or it is for the caller to compute it."""
        try:
            first = yield from question.look()
            if not isinstance(first, NotYet):
                return first
            answers: list[Ready | NotYet] = [first]

            def look() -> Plan[Ready | NotYet]:
                # Word that came since the first look is kept for the wait.
                return answers.pop() if answers else (yield from question.look())

            waiting: Plan[Ready] = self.awaiting.outcome(place.name, look, timeout)
            return (yield from waiting)
        except (Exception, GeneratorExit):
            raise
        except BaseException:  # interrupted while the call was under way, it may have got the lease
            yield from self._computing.release(place, question.caller)
            raise

    def _note(self, place: Place, found: Found, reading: Reading | None, *, waited: bool = False) -> None:
        """A value was found."""
        if found.status == "early":
            self._counting.note("early")
        what = {"hit": "hits", "early": "hits", "rescued": "rescued"}.get(found.status, "stale")
        self._counting.note("waited" if waited and what == "hits" else what)
        if found.status == "rescued":
            self._computing.tell_old(place, found.age)
            events.logger.info(
                "cache %r: %r is %.1f s old: its computation failed", self._asking.name, place.key, found.age
            )
        if found.status == "hit":
            self._copies.put(reading, found.payload, found.fence, frozenset(found.tags), found.fresh_for, found.ends_in)

    # --- without Redis

    def _without_redis(
        self, place: Place, caller: str, wish: Wish, error: Unavailable, flight: Flight
    ) -> Plan[Outcome]:
        config = self._asking.config
        if error.sent:  # the lease may be ours all the same: others need not wait for its end
            self._computing.owe(place, caller)
        refused = error.__cause__ is not None and is_full(error.__cause__)
        if config.on_unavailable == "raise" and not refused:
            raise error
        if refused:
            self._counting.note("uncached")
        self._tell_away(error)
        self._counting.note("misses" if refused else "unavailable")
        copy = self._copies.get(place, away=True)
        if copy is not None:
            return Outcome(copy.payload)
        flight.computes(self._computing.longest)
        try:
            value = yield from wish.compute()
        except Exception as raised:
            outcome = Outcome(error=raised)
        else:
            outcome = Outcome(self._encoded(value), value, own=True)
        return outcome

    def _tell_away(self, error: Unavailable) -> None:
        """Once in an outage."""
        if not self._is_away:
            self._is_away = True
            events.logger.warning(
                "cache %r: on_unavailable=%r decides: %s", self._asking.name, self._asking.config.on_unavailable, error
            )

    def _encoded(self, value: Any) -> bytes | None:
        try:
            return self._asking.config.encoded(value)
        except PayloadError:
            return None

    # --- failures of others

    def _shared(self, place: Place, error: BaseException) -> BaseException:
        """What the callers of this process get that waited for one whose computation failed."""
        if isinstance(error, ComputeFailed):
            return ComputeFailed(str(error), error=error.error, retry_after=error.retry_after)
        cause = error.error if isinstance(error, Stopped) else error
        failure = self._failure(place, described(cause), self._asking.config.failure_ttl)
        failure.__cause__ = cause
        return failure

    def _failure(self, place: Place, error: str, retry_after: float) -> ComputeFailed:
        return ComputeFailed(
            f"cache {self._asking.name!r}: computing {place.key!r} failed: {error}",
            error=error,
            retry_after=retry_after,
        )
