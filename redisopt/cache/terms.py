"""On what terms a function's calls are cached: the key, or how to find it in the call's arguments, the ttl, the tags and the timeout."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from redisopt.cache.config import MAX_SECONDS, CacheConfig

MAX_SHOWN = 200
"""Characters of a key that was made of arguments; a longer one ends in a hash."""

_PLAIN = (bool, int, float, str, bytes)

Key = str | Callable[..., str] | None
Tags = Sequence[str] | Callable[..., Sequence[str]]


@dataclass(frozen=True, slots=True)
class Terms:
    """As the decorator got them."""

    key: Key = None
    ttl: float | None = None
    tags: Tags = ()
    timeout: float | None = None

    def key_of(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The key of a call."""
        if self.key is None:
            return key_of_call(function, args, kwargs)
        return self.key(*args, **kwargs) if callable(self.key) else self.key

    def tags_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[str]:
        """The tags of a call's value."""
        return self.tags(*args, **kwargs) if callable(self.tags) else self.tags


def checked_named(function: Any) -> None:
    """Refuse a function whose name others have as well, so that no key can be made of it.

    Raises:
        ValueError: it is a lambda, is defined within another function or in the program itself, or is an object without a name.
    """
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if name is None or module is None:
        why = "has no name"
    elif "<lambda>" in name or "<locals>" in name:
        why = "is a lambda, or defined within a function, as others of its name may be"
    elif module == "__main__":
        why = "is defined in the program itself, whose module is called __main__ as any other's is"
    else:
        return
    raise ValueError(
        f"function {function!r} {why}: no key can be made of it, give one, such as @cache(key=lambda city: city)"
    )


def key_of_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """A key that is the same for calls that are the same: the function's name, and its arguments by theirs.

    >>> def city(name, country="de"): ...
    >>> key_of_call(city, ("Ulm",), {})
    "geo.city(name='Ulm',country='de')"

    Raises:
        ValueError: an argument is no plain value, nor a tuple, list or dict of such, so that nobody can tell which calls are the same.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    key = f"{name}({','.join(f'{each}={_shown(value, name, each)}' for each, value in bound.arguments.items())})"
    if len(key) <= MAX_SHOWN:
        return key
    return f"{key[: MAX_SHOWN - 65]}#{hashlib.sha256(key.encode()).hexdigest()}"


def _shown(value: Any, function: str, argument: str) -> str:
    if value is None or type(value) in _PLAIN:
        return repr(value)
    if type(value) in {tuple, list}:
        begin, end = "()" if type(value) is tuple else "[]"
        return f"{begin}{','.join(_shown(each, function, argument) for each in value)}{end}"
    if type(value) is dict:
        entries = sorted(
            f"{_shown(name, function, argument)}:{_shown(each, function, argument)}" for name, each in value.items()
        )
        return f"{{{','.join(entries)}}}"
    raise ValueError(
        f"argument {argument} of {function} is a {type(value).__name__}, which makes no key: give one, "
        "such as @cache(key=lambda user: user.id)"
    )


def checked_ttl(ttl: Any, config: CacheConfig) -> float:
    """The ttl of a value.

    Raises:
        ValueError: it is neither None nor a number of seconds from 0.001 to a month.
    """
    if ttl is None:
        return config.ttl
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0.001 <= ttl <= MAX_SECONDS:  # noqa: PLR2004 - a ms
        raise ValueError(f"ttl must be from 0.001 to {MAX_SECONDS:,} seconds, not {ttl!r}")
    return float(ttl)


def checked_timeout(timeout: Any, config: CacheConfig) -> float:
    """The bound of a wait.

    Raises:
        ValueError: it is neither None nor a number of seconds.
    """
    if timeout is None:
        return config.wait_timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0 or not isfinite(timeout):
        raise ValueError(f"timeout must be None or a number of seconds, at least 0, not {timeout!r}")
    return float(timeout)
