"""Payloads as bytes: msgpack, or JSON where a person shall read them in redis-cli. Never pickle.

What is refused is refused when it is written, with one error type that says what to do, so that no item is stored that
nobody can read again: msgpack itself packs maps with integer keys that it then will not unpack.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from types import NoneType
from typing import Any, Literal

import msgpack

MAX_DEPTH = 32
"""Lists and maps nested deeper are refused."""

MAX_PAYLOAD_BYTES = 1024 * 1024
"""The default bound for one payload."""

Codec = Literal["msgpack", "json"]

_SCALARS = frozenset({NoneType, bool, int, float, str})
_EXACT = {  # per codec, the types of scalars and of map keys; types derived from them are looked at more closely
    "msgpack": (_SCALARS | {bytes}, frozenset({str, bytes})),
    "json": (_SCALARS, frozenset({str})),
}


class PayloadError(ValueError):
    """The value cannot be stored, or the stored bytes are not a payload."""


def encode(value: object, codec: Codec = "msgpack", max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """The payload of `value`: None, bool, int of 64 bits, float, str, bytes (msgpack only), and lists and maps of these.

    Tuples come back as lists. O(size of the value).

    Raises:
        PayloadError: a type, depth, size or map key that would not come back as it went.
    """
    _check(value, codec, "value")
    try:
        payload = (
            msgpack.packb(value)
            if codec == "msgpack"
            else json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        )
    except (ValueError, OverflowError, TypeError) as error:
        raise PayloadError(f"value cannot be stored as {codec}: {error}") from error
    if len(payload) > max_bytes:
        raise PayloadError(
            f"value has {len(payload):,} bytes as {codec}, at most {max_bytes:,} are allowed: store it elsewhere and pass its id"
        )
    return bytes(payload)


def decode(payload: bytes, codec: Codec = "msgpack", max_bytes: int = MAX_PAYLOAD_BYTES) -> Any:
    """The value of `payload`, which may come from anybody: bounded in size, depth and number of elements.

    Raises:
        PayloadError: not a payload of this codec, or beyond its bounds.
    """
    if len(payload) > max_bytes:
        raise PayloadError(f"payload has {len(payload):,} bytes, at most {max_bytes:,} are allowed")
    try:
        if codec == "msgpack":
            # An element takes a byte at least, so the buffer's own size bounds their number, and the memory with it.
            value = msgpack.unpackb(
                payload, max_array_len=len(payload), max_map_len=len(payload) // 2, max_ext_len=0, strict_map_key=True
            )
        else:
            value = json.loads(payload)
    except (ValueError, OverflowError, TypeError, RecursionError, msgpack.StackError) as error:
        raise PayloadError(f"payload is not {codec}: {error}") from error
    _check(value, codec, "payload")
    return value


def _check(value: object, codec: Codec, what: str) -> None:
    """Refuse what the codec would change on the way, naming the place."""
    if not _fits((value,), *_EXACT[codec], MAX_DEPTH):
        _find_fault(value, codec, MAX_DEPTH, what)


def _fits(elements: Collection[Any], scalars: frozenset[type], keys: frozenset[type], depth: int) -> bool:
    """Whether all of them surely come back as they went. What is not sure is `_find_fault`'s to judge.

    Notes no places, and looks at types, of which a long list of numbers has one: a walk that names the place of every
    element takes ten times as long as msgpack.
    """
    if scalars.issuperset(map(type, elements)):
        return True
    if depth == 0:
        return False
    for element in elements:
        kind = type(element)
        if kind is dict:
            if not keys.issuperset(map(type, element)) or not _fits(element.values(), scalars, keys, depth - 1):
                return False
        elif kind is list or kind is tuple:
            if not _fits(element, scalars, keys, depth - 1):
                return False
        elif kind not in scalars and not issubclass(kind, (int, float, str)):
            return False
    return True


def _find_fault(value: object, codec: Codec, depth: int, where: str) -> None:
    """Raise for the first element that would not come back as it went; none, when only types of their own looked odd."""
    if value is None or isinstance(value, bool | int | float | str):
        return
    if isinstance(value, bytes):
        if codec == "json":
            raise PayloadError(f"{where} is bytes, which JSON cannot hold: use codec='msgpack' or decode it")
        return
    if not isinstance(value, list | tuple | dict) or isinstance(value, msgpack.ExtType):
        raise PayloadError(
            f"{where} is a {type(value).__name__}: only None, bool, int, float, str, bytes, list and dict can be stored"
        )
    if depth == 0:
        raise PayloadError(f"{where} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        for key, element in value.items():
            if not isinstance(key, str | bytes) or (codec == "json" and isinstance(key, bytes)):
                raise PayloadError(f"{where} has the map key {key!r}: keys must be str")
            _find_fault(element, codec, depth - 1, f"{where}[{key!r}]")
    else:
        for index, element in enumerate(value):
            _find_fault(element, codec, depth - 1, f"{where}[{index}]")
