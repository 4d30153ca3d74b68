"""One worker of the demo: a program of its own, which shares nothing with the others but Redis.

``python -m redisopt.cli.worker ORDER`` connects as $REDISOPT_URL says, reports that it is ready, waits for a
deadline on stdin, then calls the API under the shared limit as fast as it may until then. Each grant is reported at once,
as a line of JSON on stdout. The end of stdin ends the worker: the demo has stopped it, or is gone, however it went.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NoReturn, Self
from urllib.parse import urlsplit

from redisopt.clients import connect
from redisopt.errors import ThrottleTimeout, Unavailable
from redisopt.throttle.throttler import Throttler

HTTP_TIMEOUT = 5.0
PRETEND_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do, as its one argument says it."""

    limiter: str  # the name of the one that all workers share
    rates: list[str]
    http: str | None

    def __str__(self) -> str:
        """As an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, argument: str) -> Self:
        """The order that `argument` says."""
        return cls(**json.loads(argument))


class _Stop(BaseException):
    """The worker is to end, whatever it is doing. Not an Exception: nothing on the way is to handle it."""


def main() -> None:
    """Do what the order says, and report how it ended."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    with contextlib.suppress(_Stop, BrokenPipeError):  # nobody is left to report to
        _report(*_outcome(Order.read(sys.argv[1])))


def _outcome(order: Order) -> tuple[str, ...]:
    try:
        _work(order)
    except _Stop:
        pass
    except Unavailable as error:
        return "unavailable", str(error)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    return ("done",)


def _work(order: Order) -> None:
    call = _pretend if order.http is None else _getter(order.http)
    with Throttler(connect(), order.limiter, rates=order.rates) as throttler:
        throttler.metrics()  # connects, so that the first call does not have to
        _report("ready")
        if not (deadline_text := os.read(0, 100)):
            return
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
        deadline = float(deadline_text)
        while (left := deadline - time.monotonic()) > 0:
            try:
                permit = throttler.acquire(timeout=left)
            except ThrottleTimeout:
                _report("idle")
                time.sleep(left)
                return
            with permit:
                _report("granted", round(permit.granted_at * 1000), permit.waited)
                if answer := call():
                    _report("answer", answer)


def _report(*message: object) -> None:
    # Unbuffered: what was granted is known to the demo even if this process is killed in the next instant.
    line = json.dumps([part[:500] if isinstance(part, str) else part for part in message])
    os.write(1, line.encode() + b"\n")


def _pretend() -> None:
    time.sleep(PRETEND_SECONDS)


def _getter(url: str) -> Callable[[], str]:
    """A function that GETs `url` once, follows nothing, and returns the status or what went wrong."""
    parts = urlsplit(url)
    connection_class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def get() -> str:
        connection = connection_class(parts.hostname or "", parts.port, timeout=HTTP_TIMEOUT)
        try:
            connection.request("GET", target, headers={"User-Agent": "redisopt-demo"})
            with connection.getresponse() as response:
                response.read(65536)
                return str(response.status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    return get


def _stop_at_end_of_input() -> None:
    while os.read(0, 1):
        pass
    # A signal reaches the main thread inside whatever it waits for, and there the throttle gives its place back.
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Stop


if __name__ == "__main__":
    main()
