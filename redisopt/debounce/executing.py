"""Runs, as plans: to take them, to call the handler under a lease, and to say what became of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redisopt import events
from redisopt.background import now
from redisopt.backoff import full_jitter
from redisopt.codec import PayloadError, decode, encode
from redisopt.commands import Plan, Sleep, Stopped, call, invoke
from redisopt.debounce.asking import Asking
from redisopt.debounce.outcome import Run
from redisopt.debounce.replies import Claimed
from redisopt.errors import RedisOptError, StateLost, Unavailable
from redisopt.identity import process_id
from redisopt.leases import Leases
from redisopt.monitor.watching import Watch

MAX_ERROR = 1000
"""Characters of an error that are kept."""

MOST_AT_ONCE = 100
"""Runs that are taken in one script call."""

_AGAIN = 0.5  # seconds between tries to say what became of a run
_GIVES_UP = 60.0  # seconds after which another has taken it over


class _Unread(Exception):
    """The payloads of a run could not be read, since Redis was away."""


class HeldRun(Run):
    """A run that this process holds.

    Attributes:
        claimed: how it stands in Redis.
        called: whether its handler was called.
        given_back: whether it is somebody else's: its handler must not be called any more.
    """

    __slots__ = ("called", "claimed", "given_back")

    def __init__(self, claimed: Claimed, good_until: float) -> None:
        edge: Any = claimed.edge
        super().__init__(
            claimed.window,
            claimed.place.key,
            claimed.attempt,
            int(claimed.fence),
            claimed.calls,
            edge,
            claimed.waited,
            good_until,
        )
        self.claimed = claimed
        self.called = self.given_back = False


_workers = itertools.count(1)


class Claims:
    """The claims of one worker in one partition. One keeps its number until it is answered.

    Attributes:
        number: of the next one, or of the one that was not answered.
    """

    __slots__ = ("_worker", "number")

    def __init__(self) -> None:
        self._worker = next(_workers)
        self.number = 1

    @property
    def lane(self) -> str:
        """Whose numbers these are: of this process, also in a forked child."""
        return f"{process_id()}:claims:{self._worker}"


def as_text(error: BaseException) -> str:
    """An error of the user's function as it is kept, whatever it says of itself."""
    cause = error.error if isinstance(error, Stopped) else error
    try:
        said = str(cause)
    except Exception as broken:
        said = f"(what it says of itself raised {type(broken).__name__})"
    return f"{type(cause).__name__}: {said}"[:MAX_ERROR]


class Executing:
    """The plans of those who run.

    Attributes:
        leases: of the runs of this process.
        watch: what is measured of them.
    """

    def __init__(self, asking: Asking, watch: Watch) -> None:
        self._asking = asking
        self.watch = watch
        self.leases: Leases[HeldRun] = Leases(asking.config.lease_ttl, self._renew)

    def _renew(self, tag: str, runs: Sequence[HeldRun]) -> Plan[Sequence[bool]]:
        pairs = [(run.claimed.place, run.claimed.fence) for run in runs]
        return (yield from call(self._asking.beat(tag, pairs)))

    def claim(self, partition: int, limit: int, claims: Claims) -> Plan[tuple[float | None, list[HeldRun]]]:
        """Take what is due in a partition, at most `limit` runs; and the seconds until there is more, None for nothing.

        What was not answered is asked again, under its number in `claims`: it may have taken something.
        """
        limit = min(limit, MOST_AT_ONCE)
        asked = now()
        claim = self._asking.claim(partition, limit, process_id(), claims.lane, claims.number)
        try:
            seconds, claimed = yield from call(claim)
        except (Exception, GeneratorExit):
            raise
        except BaseException:
            yield from self._unclaim(partition, claims)
            raise
        claims.number += 1
        runs = self._held(claimed, asked)
        try:
            for run in runs[limit:]:
                yield from self.give_back(run)  # it was taken when more could be done at once
        except GeneratorExit:
            raise
        except BaseException:
            for run in runs:
                if not run.given_back:
                    yield from self.give_back(run)
            raise
        return seconds, runs[:limit]

    def look(self, partition: int) -> Plan[float | None]:
        """The seconds until something is due in a partition, None for nothing."""
        seconds, _ = yield from call(self._asking.claim(partition, 0, process_id(), "-", 0))
        return seconds

    def _unclaim(self, partition: int, claims: Claims) -> Plan[None]:
        """Whoever claimed was interrupted: what that took is given back."""
        asked = now()
        try:
            _, claimed = yield from call(self._asking.claim(partition, -1, process_id(), claims.lane, claims.number))
        except RedisOptError as error:
            events.logger.debug("an interrupted claim could not be undone: %s", error)
            return
        claims.number += 1
        for run in self._held(claimed, asked):
            yield from self.give_back(run)

    def _held(self, claimed: Sequence[Claimed], asked: float) -> list[HeldRun]:
        runs = [HeldRun(each, asked + self._asking.config.lease_ttl) for each in claimed]
        for run in runs:
            self.leases.hold(run.claimed.place.tag, run)
        return runs

    def perform(self, run: HeldRun, handler: Callable[..., Any]) -> Plan[None]:
        """Call the handler and say what became of it. Interrupted, the run is given back."""
        began = now()
        try:
            try:
                payload = yield from self._payload(run.claimed)
                if run.given_back:
                    return
                run.called = True
                value = yield from self.watch.around(partial(invoke, handler, payload, run))
            except GeneratorExit:
                raise
            except _Unread:
                yield from self.give_back(run)  # it was not started
            except Exception as error:
                self._tell(run, now() - began, error.error if isinstance(error, Stopped) else error)
                yield from self._fail(run, error)
            except BaseException:
                yield from self.give_back(run)
                raise
            else:
                self._tell(run, now() - began, None)
                yield from self.finish(run, *self.stored(run, value))
        finally:
            self.leases.drop(run.claimed.place.tag, run)

    def _tell(self, run: HeldRun, seconds: float, error: BaseException | None) -> None:
        events.emit(events.WindowRan(self._asking.name, run.key, run.window, run.calls, run.attempt, seconds, error))

    def give_back(self, run: HeldRun) -> Plan[None]:
        """Somebody else is to have it, at once. It does not count as an attempt. What runs at most once has failed instead."""
        run.given_back = True
        try:
            if run.called and self._asking.config.delivery == "at_most_once":
                yield from call(
                    self._asking.finish(run.claimed, "failed", error="Interrupted: its executor was stopped")
                )
            else:
                yield from call(self._asking.finish(run.claimed, "returned"))
        except RedisOptError as error:
            events.logger.warning("%r could not be given back: it is taken over when its lease ends: %s", run, error)
        finally:
            self.leases.drop(run.claimed.place.tag, run)

    def _payload(self, claimed: Claimed) -> Plan[Any]:
        """What the handler gets."""
        config = self._asking.config
        payloads: list[bytes] = []
        if claimed.collect == "all":
            if not claimed.collected:
                raise StateLost(f"window {claimed.window}: the payloads that it collected are gone: were they evicted?")
            while len(payloads) < claimed.collected:
                try:
                    some = yield from call(self._asking.items(claimed, len(payloads)))
                except Unavailable as error:
                    raise _Unread from error
                if not some:
                    raise StateLost(f"window {claimed.window}: the payloads that it collected went away")
                payloads += some
        else:
            payloads = [claimed.payload]
        values = [decode(each, config.codec, config.max_payload_bytes) for each in payloads]
        if callable(config.collect):
            return config.collect(values)
        if config.collect == "all":
            return values
        return values[-1 if config.collect == "last" else 0]

    def stored(self, run: HeldRun, value: Any) -> tuple[str, bytes, str]:
        """How a value is handed to those who wait for it. The run is done, even where it cannot be."""
        config = self._asking.config
        try:
            return "done", encode(value, config.codec, config.max_payload_bytes), ""
        except PayloadError as error:
            events.logger.warning("%r is done, but nobody can be told its value: %s", run, error)
            return "done", b"", f"{type(error).__name__}: the handler's {error}"[:MAX_ERROR]

    def _fail(self, run: HeldRun, error: BaseException) -> Plan[None]:
        config = self._asking.config
        cause = error.error if isinstance(error, Stopped) else error
        text = as_text(error)
        outcome, retry = "failed", None
        if self._is_repeated(run, cause):
            outcome, retry = "repeat", full_jitter(run.claimed.repeats + 1, config.backoff_base, config.backoff_cap)
        elif run.attempt < config.attempts:
            retry = full_jitter(run.attempt, config.backoff_base, config.backoff_cap)
        then = "it is a dead letter now" if retry is None else f"it is tried again in {retry:.3f} s"
        events.logger.warning("debounce %r: %r failed, %s", self._asking.name, run, then, exc_info=cause)
        yield from self.finish(run, outcome, b"", text, retry)

    def _is_repeated(self, run: HeldRun, cause: BaseException) -> bool:
        """Whether the run failed by no fault of its own, so that it is tried again and no attempt is counted."""
        config = self._asking.config
        is_transient = config.delivery == "at_least_once" and isinstance(cause, config.retry_on)
        return is_transient and run.claimed.repeating <= config.retry_for

    def finish(
        self, run: HeldRun, outcome: str, value: bytes = b"", error: str = "", retry: float | None = None
    ) -> Plan[None]:
        """Say what became of a run, also where Redis comes back only later: its lease is renewed meanwhile."""
        until = now() + _GIVES_UP
        said = self._asking.finish(run.claimed, outcome, value, error, retry)
        while True:
            try:
                try:
                    ours = yield from call(said)
                    break
                except Unavailable:
                    if now() > until or run.lost:
                        raise
                    yield Sleep(_AGAIN)
            except (Exception, GeneratorExit):
                raise
            except BaseException:  # interrupted: it may not have been heard, and is over all the same
                with suppress(RedisOptError):
                    yield from call(said)
                raise
        if not ours:
            run.mark_lost()
            events.logger.warning(
                "debounce %r: %r is not ours any more: what became of it here does not count",
                self._asking.name,
                run,
            )
