"""Where things stand in Redis: `redisopt:v1:{kind:name:key}:part`.

The braces are a Cluster hash tag: all that one decision needs lies in one slot. `v1` is the layout's version, so that
old and new workers never share a structure that only one of them understands. Names and keys are data: whatever could
end the tag or read as another limiter's key is percent-encoded, so no name can reach what belongs to another.
"""

from __future__ import annotations

import re

PREFIX = "redisopt:v1:"

MAX_NAME_BYTES = 1024
"""Longer names and keys are refused: Redis would take them, but they cost memory and time in every call."""

_SHOWN = 40  # characters of a bad name that an error repeats

# The separator, the tag's braces, the escape itself, glob characters, quotes, and whatever does not print.
_UNSAFE = re.compile(r"""[%:{}*?\[\]\\^"'\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]""")
_FORBIDDEN_IN_NAME = re.compile(r"[{}\x00-\x1f\x7f]")


def checked_name(name: str, field: str = "name") -> str:
    """The name of a limiter, as its developer chose it.

    Raises:
        ValueError: not a str, empty, longer than 1,024 bytes, not UTF-8, or with braces, newlines or other control
            characters in it.
    """
    _check_text(name, field)
    if not name:
        raise ValueError(f"{field} is empty: give what processes share a name, such as 'github'")
    found = _FORBIDDEN_IN_NAME.search(name)
    if found:
        raise ValueError(
            f"{field} {_shown(name)} contains {found[0]!r}: braces and control characters are not allowed in a name; "
            "put data such as user ids into `key`, where they are"
        )
    return name


def checked_key(key: str, field: str = "key") -> str:
    """The key of one partition of a limiter, such as a user id; any text up to 1,024 bytes, "" for none.

    Raises:
        ValueError: not a str, longer than 1,024 bytes, or not UTF-8.
    """
    _check_text(key, field)
    return key


def tag(kind: str, name: str, key: str = "", group: str | None = None) -> str:
    """The prefix of all keys of one primitive, up to and with the colon before the part.

    All of a group share a hash tag, and so a slot.

    >>> tag("throttle", "github", "user:42")
    'redisopt:v1:{throttle:github:user%3A42}:'
    >>> tag("throttle", "github", "user:42", group="apis")
    'redisopt:v1:{group:apis}:throttle:github:user%3A42:'
    """
    inner = f"{kind}:{encoded(name)}:{encoded(key)}" if key else f"{kind}:{encoded(name)}"
    if group is not None:
        return f"{PREFIX}{{group:{encoded(group)}}}:{inner}:"
    return f"{PREFIX}{{{inner}}}:"


def encoded(text: str) -> str:
    """Percent-encode what is not safe inside a tag; letters of any script stay readable."""
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def _check_text(text: object, field: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{field} must be a str, not {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{field} {_shown(text)} is not valid Unicode: it holds a lone surrogate") from None
    if size > MAX_NAME_BYTES:
        raise ValueError(
            f"{field} {_shown(text)} has {size:,} bytes, at most {MAX_NAME_BYTES:,} are allowed: use a hash of it"
        )


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
