"""Who asks: an id for this process that a person can read in redis-cli, and that no other process has.

`host-pid-random`. Host and pid are for people: in containers many hosts begin alike and every pid is 1. The random part
alone keeps processes apart. A forked child is another process: it gets an id of its own, so that it can neither be taken
for its parent by a script's memory nor release what its parent holds.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import socket

_HOST_LENGTH = 16  # its end: what tells the pods of one deployment apart
_RANDOM_BYTES = 8

_id = ""
_numbers = itertools.count(1)


def process_id() -> str:
    """This process's id, such as ``web-3-4711-9f3ac2d41b7e6058``: the same for its whole life, another one after a fork."""
    return _id


def next_permit_id() -> str:
    """A permit id that no other call of any process has: the process id and a rising number."""
    return f"{_id}:{next(_numbers)}"


def _renew() -> None:
    global _id, _numbers  # noqa: PLW0603 - one identity per process is what this module is for
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().split(".")[0])[-_HOST_LENGTH:].lstrip("-")
    _id = f"{host}-{os.getpid()}-{secrets.token_hex(_RANDOM_BYTES)}"
    _numbers = itertools.count(1)


_renew()
os.register_at_fork(after_in_child=_renew)
