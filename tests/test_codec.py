"""Payloads: what goes in comes out, and what would not is refused when it is written."""

from __future__ import annotations

import enum
import math
import timeit
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redisopt.codec import MAX_DEPTH, Codec, PayloadError, decode, encode

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(nested(SCALARS | st.binary()))
def test_msgpack_gives_back_what_it_got(value: Any) -> None:
    assert decode(encode(value)) == value


@given(nested(SCALARS.filter(lambda value: not isinstance(value, float) or math.isfinite(value))))
def test_json_gives_back_what_it_got(value: Any) -> None:
    assert decode(encode(value, "json"), "json") == value


@given(st.binary())
def test_any_bytes_are_a_value_or_one_kind_of_error(payload: bytes) -> None:
    for codec in ("msgpack", "json"):
        try:
            value = decode(payload, codec)
        except PayloadError:
            continue
        assert value is None or isinstance(value, bool | int | float | str | bytes | list | dict)


@pytest.mark.parametrize(
    ("value", "codec", "message"),
    [
        ({1: "one"}, "msgpack", "map key 1"),
        ({"a": [{2: "two"}]}, "msgpack", r"value\['a'\]\[0\] has the map key 2"),
        (b"raw", "json", "bytes, which JSON cannot hold"),
        ({"a": {b"raw": 1}}, "json", r"value\['a'\] has the map key b'raw'"),
        ([0, {"a": ["b", b"raw"]}], "json", r"value\[1\]\['a'\]\[1\] is bytes"),
        (object(), "msgpack", "value is a object"),
        ([1, bytearray(b"raw")], "msgpack", r"value\[1\] is a bytearray"),
        ((1, msgpack.ExtType(5, b"raw")), "msgpack", r"value\[1\] is a ExtType"),
        ({"when": {1, 2}}, "msgpack", r"value\['when'\] is a set"),
        (2**64, "msgpack", "cannot be stored"),
        (math.nan, "json", "cannot be stored"),
        ("\ud800", "msgpack", "cannot be stored"),
    ],
)
def test_what_would_not_come_back_is_refused_when_written(value: Any, codec: Codec, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        encode(value, codec)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_depth_is_bounded_both_ways(codec: Codec) -> None:
    def nest(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    assert decode(encode(nest(MAX_DEPTH), codec), codec) == nest(MAX_DEPTH)
    with pytest.raises(PayloadError, match="nested more than 32 deep"):
        encode(nest(MAX_DEPTH + 1), codec)
    with pytest.raises(PayloadError):
        decode(msgpack.packb(nest(400)) if codec == "msgpack" else b"[" * 400 + b"]" * 400, codec)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_size_is_bounded_both_ways(codec: Codec) -> None:
    with pytest.raises(PayloadError, match="at most 100 are allowed"):
        encode("x" * 100, codec, max_bytes=100)
    with pytest.raises(PayloadError, match="at most 10 are allowed"):
        decode(encode("x" * 100, codec), codec, max_bytes=10)


def test_a_payload_that_claims_more_than_it_has_costs_no_memory() -> None:
    with pytest.raises(PayloadError):
        decode(b"\xdd\xff\xff\xff\xff")


def test_an_extension_is_refused_when_read() -> None:
    with pytest.raises(PayloadError, match=r"payload\[0\] is a ExtType"):
        decode(msgpack.packb([msgpack.ExtType(5, b"")]))


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


class Point(NamedTuple):
    x: float
    y: float


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_types_derived_from_those_that_can_be_stored_come_back_plain(codec: Codec) -> None:
    value = [Colour.RED, Name("ada"), Point(1.0, 2.0), OrderedDict({Name("a"): Colour.RED, "b": [Point(0, 1)]})]

    assert decode(encode(value, codec), codec) == [1, "ada", [1.0, 2.0], {"a": 1, "b": [[0, 1]]}]


def test_a_look_at_the_types_costs_little_beside_the_packing() -> None:
    value = [index / 7 for index in range(1536)]
    payload = msgpack.packb(value)

    def seconds(act: Callable[[], object]) -> float:
        return min(timeit.repeat(act, number=20, repeat=20))

    assert seconds(lambda: encode(value)) < 8 * seconds(lambda: msgpack.packb(value))  # about 2; naming places, 24
    assert seconds(lambda: decode(payload)) < 8 * seconds(
        lambda: msgpack.unpackb(payload)
    )  # about 2; naming places, 22
