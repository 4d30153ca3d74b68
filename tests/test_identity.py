"""The id of a process: no other has it, and a person can read it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator

import pytest

from redisopt import identity
from redisopt.links import Link


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a container, whose processes all are number 1, on a host with a long name."""
    before = identity._id
    monkeypatch.setattr(socket, "gethostname", lambda: "payments-api-worker-7d4f9c6b5-x2k9q.cluster.local")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    yield
    identity._id = before


def renewed() -> str:
    """The id of another process."""
    identity._renew()
    return identity.process_id()


@pytest.mark.usefixtures("pod")
def test_processes_of_one_host_and_pid_differ_in_64_random_bits() -> None:
    """Two containers of one deployment may share all the rest."""
    ids = {renewed() for _ in range(1000)}

    assert len({name.rpartition("-")[2] for name in ids}) == 1000
    assert all(re.search(r"-1-[0-9a-f]{16}$", name) for name in ids)


@pytest.mark.usefixtures("pod")
def test_the_end_of_a_hosts_name_is_kept_and_the_whole_stays_short() -> None:
    """It is what tells pods apart; a lane, which stands in Redis, is little longer than an id."""
    assert re.fullmatch(r"[a-z0-9-]*c6b5-x2k9q-1-[0-9a-f]{16}", renewed())
    assert len(Link().lane) < 45
