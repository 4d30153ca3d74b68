"""Which Redis serves where no URL is given: the one that $REDISOPT_URL names, else an embedded server.

There is one embedded server for a process and for the children that start after it: they inherit its URL in
$REDISOPT_URL. Where it ends before its owner, the owner's next search starts another, with nothing of its state.
"""

from __future__ import annotations

import logging
import os
import threading

from redisopt import server_binary
from redisopt.address import ENVIRONMENT_VARIABLE
from redisopt.server import EmbeddedServer

_log = logging.getLogger("redisopt")
_lock = threading.RLock()  # a logging handler may itself connect
_embedded: EmbeddedServer | None = None


def _renew_lock_in_child() -> None:
    global _lock  # noqa: PLW0603 - see the line below
    _lock = threading.RLock()  # another thread of the parent may have held it at the fork


os.register_at_fork(after_in_child=_renew_lock_in_child)


def find_url() -> str | None:
    """Return $REDISOPT_URL, starting the embedded server that it names if it is not set; None without a binary."""
    global _embedded  # noqa: PLW0603 - one server per process
    with _lock:  # two threads must not start two servers
        lost = _embedded if _embedded is not None and _embedded.ended else None
        url = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
        if url and (lost is None or lost.url != url):
            return url
        if lost is not None:
            lost.close()
            _log.warning(
                "the %s has ended before its owner, and its state is lost: limits begin anew on another server, "
                "which processes that have the old URL do not find",
                lost,
            )
        if _embedded is None or _embedded.closed:
            if (binary := server_binary.find_server()) is None:
                return None
            _embedded = EmbeddedServer(binary)
            _log.info("started %s: %s, process %d", _embedded, binary.path, _embedded.pid)
        _embedded.share()
        return _embedded.url


def embedded_at(url: str) -> EmbeddedServer | None:
    """The embedded server of this process, or of the one that it was forked from, if this is its URL."""
    return _embedded if _embedded is not None and _embedded.url == url else None
