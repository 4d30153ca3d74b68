"""`redisopt demo`: several processes at full speed on one shared limit, and a count that shows that it holds.

The workers are programs of their own (see `worker`). Each reports the server's time of each of its grants; from these
alone, not from what the library says of itself, the highest count in any trailing window is computed (see `window`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import redis

from redisopt.address import ENVIRONMENT_VARIABLE
from redisopt.cli.fleet import DEAD, DONE, FAILED, LOST, Fleet, Worker
from redisopt.cli.look import command_line, show, throttle_keys
from redisopt.cli.picture import Picture
from redisopt.cli.view import View, view_for_stdout
from redisopt.cli.window import GrantLog
from redisopt.cli.worker import Order
from redisopt.clients import Client, connect, describe
from redisopt.errors import RedisOptError, Unavailable
from redisopt.server_binary import ADVICE
from redisopt.stand_in import is_stand_in
from redisopt.throttle.rate import Rate
from redisopt.throttle.throttler import Throttler

_START_TIMEOUT = 30.0  # for the first workers to be ready, and a second more for each
_GRACE = 0.5  # for workers to end by themselves when their time is over
_SHOWN_PIDS = 8
_PATIENCE = 3.0  # for workers to end when asked to


class BadUrl(ValueError):
    """The URL of the Redis cannot be used; the message does not repeat it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to show. Checked before it comes here."""

    workers: int
    seconds: float
    rates: tuple[Rate, ...]
    url: str | None
    http: str | None


def run(options: Options) -> int:
    """Run the demo. Returns 0 when every limit held, 1 when one did not or the demo could not go on, 130 after Ctrl-C.

    Raises:
        BadUrl: the URL of the Redis cannot be used.
    """
    view = view_for_stdout()
    try:
        client = _open(options.url)
        # A name of its own: no other run shares its limit, and nothing of anybody else's is touched.
        limiter = f"redisopt-demo-{secrets.token_hex(4)}"
        with Throttler(client, limiter, rates=options.rates) as throttler:
            throttler.metrics()  # is anybody there?
            try:
                return Demo(options, client, limiter, throttler, view).run()
            finally:
                view.stop()  # whatever happened, the terminal gets its cursor back
    except (RedisOptError, redis.RedisError) as error:
        return _failed(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return _failed(f"it could not go on: {error}")


def _open(url: str | None) -> Client:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of fakeredis: said below
        try:
            client = connect(url)
        except ValueError as error:
            raise BadUrl(str(error)) from None
    if is_stand_in(client):
        raise Unavailable(
            "no Redis was found and no server binary to start, only fakeredis, which several processes cannot share, "
            f"so there is nothing to show: {ADVICE}"
        )
    return client


def _failed(message: str) -> int:
    sys.stderr.write(f"redisopt demo: {' '.join(message.split())}\n")
    return 1


class Demo:
    """One run: what has been counted so far, and what is to be said about it."""

    def __init__(self, options: Options, client: Client, limiter: str, throttler: Throttler, view: View) -> None:
        self._options = options
        self._client = client
        self._limiter = limiter
        self._keys = throttle_keys(limiter, (rate.period_ms for rate in options.rates))
        self._throttler = throttler
        self._view = view
        self._log = GrantLog(rate.period_ms for rate in options.rates)
        self._began: float | None = None
        self._ended: float | None = None
        self._newest_seen = 0.0  # when, on our clock, the newest grant arrived
        self._signal = 0  # the one that has interrupted it
        self._unanswered = 0  # questions in a row that Redis did not answer
        self._in_line: int | None = None

    def run(self) -> int:
        """Start the workers, show how they do, end them, and sum up."""
        options = self._options
        self._introduce()
        order = Order(self._limiter, [str(rate) for rate in options.rates], options.http)
        # The URL may hold a password: the environment of a process is its owner's alone, its arguments are everybody's.
        environment = {**os.environ, **({ENVIRONMENT_VARIABLE: options.url} if options.url else {})}
        with _on_interrupt(self._interrupt), Fleet(options.workers, order, environment) as fleet:
            pids = [str(worker.pid) for worker in fleet.workers]
            shown = ", ".join(pids[:_SHOWN_PIDS]) + (", ..." if len(pids) > _SHOWN_PIDS else "")
            self._view.say(f"Workers: processes {shown} (kill one: the others go on)")
            start_by = time.monotonic() + _START_TIMEOUT + options.workers
            self._follow(fleet, lambda: fleet.starting and time.monotonic() < start_by)
            if not self._signal:
                self._began = time.monotonic()
                deadline = self._began + options.seconds
                fleet.begin(deadline)
                self._follow(fleet, lambda: not fleet.ended and time.monotonic() < deadline + _GRACE)
                self._ended = min(time.monotonic(), deadline)
            self._count(fleet.stop(_PATIENCE))
            if self._signal and self._began is None:
                self._view.stop()
                self._view.say("Interrupted before the workers began.")
                return self._interrupted_code
            return self._sum_up(self._picture("ended", fleet.workers))

    def _introduce(self) -> None:
        options, say = self._options, self._view.say
        rates = " and ".join(str(rate) for rate in options.rates)
        say(
            f"redisopt demo: {options.workers} processes, {options.seconds:g} s, one limit: {rates}. Ctrl-C ends it.",
            "bold",
        )
        say(f"API: {'a pretended one' if options.http is None else options.http}")
        say(f"Server: {describe(self._client)}{self._version()}")
        say(f"See it meanwhile: {command_line(self._client, self._keys[0][1])}")

    def _version(self) -> str:
        """The version of a server that was not started by us, if we may ask."""
        with contextlib.suppress(redis.RedisError, AttributeError):
            facts = self._client.info("server")  # a cluster answers with the facts of each node
            name = "Valkey" if "valkey_version" in facts else "Redis"
            version = facts.get("valkey_version") or facts.get("redis_version")
            if version and version not in describe(self._client):
                return f", {name} {version}"
        return ""

    def _interrupt(self, signal_number: int) -> None:
        self._signal = signal_number

    @property
    def _interrupted_code(self) -> int:
        """The exit code by which shells know that a signal ended it; 0 when none did."""
        return 128 + self._signal if self._signal else 0

    def _follow(self, fleet: Fleet, going_on: Callable[[], bool]) -> None:
        """Read what workers report and show it, while `going_on` and nothing is lost or interrupted."""
        next_picture = time.monotonic() + (self._view.interval if self._began else 0.0)
        while going_on() and not self._signal and not self._lost(fleet.workers):
            self._count(fleet.read(min(0.1, max(0.0, next_picture - time.monotonic()))))
            if (now := time.monotonic()) >= next_picture:
                self._ask()
                self._view.draw(self._picture("running" if self._began else "starting", fleet.workers))
                next_picture = max(next_picture + self._view.interval, now)

    def _count(self, times: Iterator[int]) -> None:
        for time_ms in times:
            self._log.add(time_ms)
            if time_ms == self._log.newest:
                self._newest_seen = time.monotonic()

    def _ask(self) -> None:
        try:
            self._in_line = self._throttler.metrics().queue_length
            self._unanswered = 0
        except Unavailable:
            self._in_line = None
            self._unanswered += 1

    def _lost(self, workers: Sequence[Worker]) -> str:
        """Why Redis is taken for lost; empty when it is not."""
        told = next((worker.note for worker in workers if worker.state == LOST), "")
        return told or ("it did not answer twice in a row" if self._unanswered > 1 else "")

    def _picture(self, phase: str, workers: list[Worker]) -> Picture:
        elapsed = 0.0 if self._began is None else (self._ended or time.monotonic()) - self._began
        log, recent = self._log, 0
        if len(log):  # what the server's clock says now, by ours since the newest grant
            now_ms = log.newest + round((time.monotonic() - self._newest_seen) * 1000)
            recent = log.count_after(now_ms - 1000)
        highest = [(rate, log.highest(rate.period_ms)) for rate in self._options.rates]
        in_time = log.count_within(max(1, round(elapsed * 1000)))
        seconds = self._options.seconds
        return Picture(phase, elapsed, seconds, workers, highest, len(log), in_time, recent, self._in_line)

    def _sum_up(self, picture: Picture) -> int:
        """Show where it ended and say what came of it, the verdict last. Returns the exit code."""
        say, view = self._view.say, self._view
        view.stop()
        lost = self._lost(picture.workers) or self._show_keys()
        view.table(picture)
        say("")
        if self._signal:
            say("Interrupted: this is the sum so far.")
        for worker in picture.workers:
            if worker.state in (DEAD, FAILED):
                say(f"worker {worker.number} {worker.state}: {worker.note}", "red")
        share = picture.in_time / picture.allowed
        allowed = f"at most {picture.allowed:,} that the limits allow in {picture.elapsed:.1f} s"
        say(f"granted {picture.in_time:,} of {allowed}: {share:.1%}")
        nobody_waited = not picture.mean_wait and all(worker.state == DONE for worker in picture.workers)
        if nobody_waited and 0 < picture.in_time < picture.allowed:
            say("nobody had to wait: the workers asked for less than the limits allow; try a lower --rate")
        for held, words in picture.limits():
            say(words, "bold green" if held else "bold red")
        return self._exit_code(picture, lost)

    def _exit_code(self, picture: Picture, lost: str) -> int:
        if lost:
            return _failed(f"Redis was lost after {picture.elapsed:.1f} s: {lost}")
        if all(worker.state in (DEAD, FAILED) for worker in picture.workers):
            return _failed("no worker is left")
        if not picture.granted and not self._signal:
            return _failed("nothing was granted")
        return 1 if picture.exceeded else self._interrupted_code

    def _show_keys(self) -> str:
        """Show what stands in Redis now. Returns why it could not be shown."""
        say = self._view.say
        say("")
        say("What stands in Redis, and how to see it:", "bold")
        try:
            for line in show(self._client, self._keys):
                say(line, "dim" if line.startswith("#") else "")
        except redis.RedisError as error:
            return str(error)
        if describe(self._client).startswith("embedded"):
            say("This server ends with the demo: type these lines in another terminal while it runs (--seconds 60).")
        else:
            say("Each of these keys expires by itself.")
        return ""


@contextlib.contextmanager
def _on_interrupt(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` at Ctrl-C or a plea to end, in place of breaking off what is under way."""
    before = {
        number: signal.signal(number, lambda number, _: act(number)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
