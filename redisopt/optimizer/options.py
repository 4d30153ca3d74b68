"""What a call of an optimizer, or an operation, asks for: its options, each checked by its name before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict

from redisopt.keys import checked_key

MAX_COST = 10**12
"""The highest cost of a call: no limit is higher."""

MAX_TIMEOUT = 86_400
"""Seconds of one try, at most."""

_SHOWN = 80  # characters of a bad value that an error repeats


class _Nothing:
    """No fallback: None is one."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Any = _Nothing()


class Options(NamedTuple):
    """What one call goes through, as `optimize` takes it. None stands for what the config says."""

    batch: bool = False
    throttle: bool = False
    debounce: bool = False
    cache: str | None = None
    breaker: bool | None = None
    retry: bool | None = None
    timeout: float | None = None
    key: str = ""
    cost: int = 1
    acquire_timeout: float | None = None


class CallOptions(TypedDict, total=False):
    """`Options` as keywords."""

    batch: bool
    throttle: bool
    debounce: bool
    cache: str | None
    breaker: bool | None
    retry: bool | None
    timeout: float | None
    key: str
    cost: int
    acquire_timeout: float | None


def options_of(fields: Mapping[str, Any]) -> Options:
    """The options that were given as keywords.

    Raises:
        ValueError: there is no such option, or a value is none for it; or it says how to do what is not asked for.
    """
    for option, value in fields.items():
        check = _CHECKS.get(option)
        if check is None:
            raise ValueError(f"there is no option {option!r}: there are {', '.join(Options._fields)}, fallback")
        check(option, value)
    options = Options(**fields)
    for option, needed in _NEEDED.items():
        value = getattr(options, option)
        if value != Options._field_defaults[option] and not any(getattr(options, each) for each in needed):
            raise ValueError(
                f"{option}={shown(value)} does nothing without {' or '.join(f'{each}=True' for each in needed)}"
            )
    return options


def check_text(option: str, value: object) -> None:
    """Refuse what is no key.

    Raises:
        ValueError: it is no text, or too long.
    """
    if not isinstance(value, str):
        raise ValueError(f"{option} must be a str, not {shown(value)}")
    checked_key(value, option)


def check_text_or_none(option: str, value: object) -> None:
    """Refuse what is neither a key nor None."""
    if value is not None:
        check_text(option, value)


def shown(value: object) -> str:
    """A value for an error's message, which no value can make long, or impossible."""
    try:
        text = repr(value)
    except Exception:  # a whole number of thousands of digits, or an object of the user's
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_NEEDED = {"cost": ("throttle",), "acquire_timeout": ("throttle",), "key": ("throttle", "debounce", "batch")}
"""What has to be asked for with an option: whoever names a cost takes it that there is a limit."""


def _check_bool(option: str, value: object) -> None:
    if value is not True and value is not False:
        raise ValueError(f"{option} must be True or False, not {shown(value)}")


def _check_bool_or_none(option: str, value: object) -> None:
    if value is not None and value is not True and value is not False:
        raise ValueError(f"{option} must be True or False, or None as the config says, not {shown(value)}")


def _check_timeout(option: str, value: object) -> None:
    if value is not None and not (_is_number(value) and 0 < value <= MAX_TIMEOUT):  # type: ignore[operator]
        raise ValueError(f"{option} must be seconds above 0, at most {MAX_TIMEOUT:,}, or None, not {shown(value)}")


def _check_acquire_timeout(option: str, value: object) -> None:
    if value is not None and not (_is_number(value) and value >= 0):  # type: ignore[operator]
        raise ValueError(f"{option} must be seconds, at least 0, or None to wait for ever, not {shown(value)}")


def _check_cost(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_COST:
        raise ValueError(f"{option} must be a whole number from 1 to {MAX_COST:,}, not {shown(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "batch": _check_bool,
    "throttle": _check_bool,
    "debounce": _check_bool,
    "cache": check_text_or_none,
    "breaker": _check_bool_or_none,
    "retry": _check_bool_or_none,
    "timeout": _check_timeout,
    "key": check_text,
    "cost": _check_cost,
    "acquire_timeout": _check_acquire_timeout,
}
