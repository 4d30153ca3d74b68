"""fakeredis in place of a Redis, where there is none and none can be started. Nothing is shared, and it says so."""

from __future__ import annotations

import importlib
import logging
import os
import threading
import warnings
from typing import Any

from redisopt.errors import Unavailable
from redisopt.server_binary import ADVICE

_log = logging.getLogger("redisopt")
_lock = threading.Lock()
_server: tuple[int, Any] | None = None  # (process id, FakeServer): a forked child must not go on with its parent's data


def _renew_lock_in_child() -> None:
    global _lock  # noqa: PLW0603 - see the line below
    _lock = threading.Lock()  # another thread of the parent may have held it at the fork


os.register_at_fork(after_in_child=_renew_lock_in_child)


def make_stand_in(client_class: str, options: dict[str, Any], *, stacklevel: int) -> Any:
    """Make a client of fakeredis, with a loud notice; those of one process share their data.

    Args:
        client_class: fakeredis's name for it.
        options: for it.
        stacklevel: how many calls up the one stands whom the notice is for, as `warnings.warn` counts them.

    Raises:
        Unavailable: fakeredis is not installed, or not with its Lua.
    """
    global _server  # noqa: PLW0603 - one stand-in per process
    try:
        fakeredis = importlib.import_module("fakeredis")
        importlib.import_module("lupa")  # its Lua
    except ImportError:
        raise Unavailable(f"no Redis was found, no server binary to start, and no fakeredis: {ADVICE}") from None
    notice = (
        "no Redis was found and no server binary to start: limits are kept by fakeredis in this one process and "
        f"NOTHING IS SHARED with other processes. To share them, {ADVICE}"
    )
    warnings.warn(notice, RuntimeWarning, stacklevel=stacklevel + 1)
    _log.warning(notice)
    with _lock:
        if _server is None or _server[0] != os.getpid():
            _server = os.getpid(), fakeredis.FakeServer()
        return getattr(fakeredis, client_class)(server=_server[1], **options)


def is_stand_in(client: object) -> bool:
    """Whether a client is one of fakeredis."""
    return type(client).__module__.startswith("fakeredis")
