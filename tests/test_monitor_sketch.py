"""Sketches: how near their quantiles are, that they merge in any order, and that Python and Lua pack them alike."""

from __future__ import annotations

import math
import random
from math import inf

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from redisopt import scripts
from redisopt.monitor.packing import loose, pack, unpack
from redisopt.monitor.sketch import INDEXES, Tally, index_of, merged, value_of

DURATIONS = st.floats(1e-6, 1e6)
BUCKETS = st.dictionaries(
    st.integers(0, INDEXES - 1), st.one_of(st.integers(1, 40), st.integers(1, 2**40)), max_size=60
)


def tally_of(values: list[float]) -> Tally:
    buckets: dict[int, int] = {}
    for value in values:
        buckets[index_of(value)] = buckets.get(index_of(value), 0) + 1
    return Tally(len(values), 0, sum(values), min(values, default=inf), max(values, default=0.0), buckets)


@settings(deadline=None)
@given(DURATIONS)
def test_a_bucket_stands_for_what_is_in_it_within_one_percent(seconds: float) -> None:
    assert abs(value_of(index_of(seconds)) / seconds - 1) <= 1 / 101 + 1e-9


@pytest.mark.parametrize("seconds", [0, 1e-9, 1e-6])
def test_what_is_too_short_to_tell_counts_as_a_microsecond(seconds: float) -> None:
    assert index_of(seconds) == 0


def test_what_is_too_long_to_tell_counts_as_the_longest() -> None:
    assert index_of(1e9) == INDEXES - 1
    assert tally_of([1e9]).quantile(0.5) == 1e9, "it is between the shortest and the longest"
    assert value_of(INDEXES - 1) > 1e6


@pytest.mark.parametrize("q", [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("sigma", [0.01, 0.9, 1.5])
def test_a_quantile_is_within_one_percent_of_an_exact_one(q: float, sigma: float) -> None:
    random.seed(7)
    values = sorted(random.lognormvariate(-3, sigma) for _ in range(20_001))
    exact = values[max(math.ceil(q * 20_001), 1) - 1]

    assert abs(tally_of(values).quantile(q) / exact - 1) <= 0.01


def test_of_nothing_every_quantile_is_0() -> None:
    assert Tally().quantile(0.5) == 0.0
    assert merged([]) == Tally()


@settings(deadline=None)
@given(st.lists(st.lists(DURATIONS, max_size=20), min_size=3, max_size=3))
def test_merging_is_associative_and_commutative_and_loses_nothing(parts: list[list[float]]) -> None:
    a, b, c = (tally_of(values) for values in parts)
    left, right, turned = merged([merged([a, b]), c]), merged([a, merged([b, c])]), merged([c, b, a])

    for other in (right, turned):
        assert left.buckets == other.buckets
        assert (left.count, left.min, left.max) == (other.count, other.min, other.max)
        assert math.isclose(left.sum, other.sum)
    assert left.buckets == tally_of([value for values in parts for value in values]).buckets
    assert sum(left.buckets.values()) == left.count == sum(map(len, parts))


def test_one_long_duration_does_not_spoil_the_short_ones() -> None:
    """A cache's hits beside one hung call: over all decades that there are."""
    tally = tally_of([50e-6] * 100_000 + [2e-6, 100.0, 1e6])
    packed = pack(merged([tally, tally]).buckets)

    assert unpack(packed) == {index: 2 * count for index, count in tally.buckets.items()}
    assert len(packed) < 300
    for q, exact in ((0.0, 2e-6), (0.5, 50e-6), (1.0, 1e6)):
        assert tally.quantile(q) == pytest.approx(exact, rel=0.01)


@settings(deadline=None)
@given(BUCKETS)
def test_what_is_packed_can_be_unpacked(buckets: dict[int, int]) -> None:
    assert unpack(pack(buckets)) == unpack(loose(buckets)) == buckets


@settings(deadline=None)  # the machine may be busy
@given(BUCKETS, BUCKETS)
def test_packs_one_after_another_add_up(some: dict[int, int], others: dict[int, int]) -> None:
    both = {index: some.get(index, 0) + others.get(index, 0) for index in some | others}
    assert unpack(pack(some) + loose(others)) == both


def test_a_busy_minute_takes_less_than_two_hundred_bytes() -> None:
    """6,000 durations over two decades."""
    random.seed(7)
    assert len(pack(tally_of([random.lognormvariate(-3, 0.9) for _ in range(6000)]).buckets)) < 200


@pytest.mark.parametrize("packs", [b"\0", b"\0\0\0\0\0\0\0", b"\0\x09\0\0\0\0\0", b"{}" * 20])
def test_what_is_no_pack_is_refused(packs: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        unpack(packs)


MERGE = """
-- @include pack_buckets
-- @include unpack_buckets
local counts = {}
unpack_buckets(ARGV[1], counts)
return pack_buckets(counts)
"""


def test_a_server_packs_as_python_does(client: redis.Redis) -> None:
    source = scripts.expanded(MERGE)

    @settings(max_examples=200, deadline=None)
    @given(BUCKETS, BUCKETS)
    def merges(one: dict[int, int], other: dict[int, int]) -> None:
        both = {index: one.get(index, 0) + other.get(index, 0) for index in one | other}
        assert client.eval(source, 0, pack(one) + loose(other)) == pack(both)

    merges()


@pytest.mark.parametrize("packs", [b"\0", b"\0" * 40, b"{" * 40, b"\xff" * 300])
def test_a_server_gets_through_what_is_no_pack(client: redis.Redis, packs: bytes) -> None:
    assert isinstance(client.eval(scripts.expanded(MERGE), 0, packs), bytes)
