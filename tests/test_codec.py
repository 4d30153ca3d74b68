"""Payloads: what goes in comes out, and what would not is refused when it is written."""

from __future__ import annotations

import math
from typing import Any

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
        (object(), "msgpack", "value is a object"),
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
