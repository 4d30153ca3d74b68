"""What is measured under which name: an operation and its labels, as one text that stands in Redis.

`charge_card`, or `charge_card;region=eu;tier=gold` with labels in their order of names. What could part them is
percent-encoded, so that no label reads as another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from redisopt import keys

OTHER = "other"
"""The label of what came with one label set too many; nobody else may use it."""

MOST_LABELS = 8


def member(name: str, labels: Mapping[str, object] | None = None) -> str:
    """The text of a name with exactly these labels.

    Raises:
        ValueError: a name or label is no text, empty or too long, there are too many labels, or one is called "other".
    """
    base = _encoded(_checked(name))
    if not labels:
        return base
    if not isinstance(labels, Mapping):
        raise ValueError(f"labels must be a mapping of names to values, not {labels!r}")
    if len(labels) > MOST_LABELS:
        raise ValueError(f"labels must be at most {MOST_LABELS}, not {len(labels)}")
    parts = [base]
    for label in sorted(labels, key=str):
        if _checked(label, "labels: a name") == OTHER:
            raise ValueError(f"labels: {OTHER!r} is what measurements with too many label sets get: use another name")
        value = labels[label]
        if not isinstance(value, str | int | float | bool) or not str(value):
            raise ValueError(f"labels: {label!r} must be a short text or a number, not {value!r}")
        parts.append(f"{_encoded(label)}={_encoded(str(value))}")
    return str(keys.checked_key(";".join(parts), "name with its labels"))


def other(name: str) -> str:
    """The text for what came with one label set too many."""
    return f"{_encoded(name)};{OTHER}="


def all_of(name: str) -> str:
    """The text that scripts take for a name with whatever labels."""
    return f"{_encoded(_checked(name))};*"


def base_of(text: str) -> str:
    """The name without its labels, still encoded."""
    return text.partition(";")[0]


def plain(text: str) -> str:
    """The name without its labels, as the user wrote it."""
    return unquote(base_of(text))


def _encoded(text: str) -> str:
    return keys.encoded(text).replace(";", "%3B").replace("=", "%3D")


def _checked(name: object, field: str = "name") -> str:
    checked: str = keys.checked_key(name, field)  # type: ignore[arg-type] # that is what it checks
    if not checked:
        raise ValueError(f"{field} is empty: say what is measured, such as 'charge_card'")
    return checked
