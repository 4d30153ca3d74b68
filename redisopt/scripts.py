"""The Lua scripts: read from `lua/`, with their includes put in, and named by their SHA1.

A line `-- @include name` stands for `lua/include/name.lua`, which holds one local function of that name; it is put in once,
before what uses it. The scripts live once, at the top of the checkout; the wheel carries them inside the package.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_INCLUDE = re.compile(r"^-- @include (\w+)\n", re.MULTILINE)


def _directory() -> Path:
    package = Path(__file__).parent
    return package / "lua" if (package / "lua").is_dir() else package.parent / "lua"


DIRECTORY = _directory()


@dataclass(frozen=True, slots=True)
class Script:
    """One script as the server gets it."""

    name: str
    source: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script in ``lua/<name>.lua``, its includes expanded. Read from disk once per process."""
    source = expanded((DIRECTORY / f"{name}.lua").read_text(encoding="utf-8"))
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def expanded(source: str) -> str:
    """`source` with every include put in where it is first asked for, and dropped where it is asked for again."""
    included: set[str] = set()

    def put_in(found: re.Match[str]) -> str:
        name = found[1]
        if name in included:
            return ""
        included.add(name)
        return _INCLUDE.sub(put_in, (DIRECTORY / "include" / f"{name}.lua").read_text(encoding="utf-8"))

    return _INCLUDE.sub(put_in, source)


def names() -> list[str]:
    """The names of all scripts."""
    return sorted(path.stem for path in DIRECTORY.glob("*.lua"))
