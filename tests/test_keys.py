"""Keys and names are data: whatever is in them, each has limits of its own, and none reaches another's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from redisopt import keys
from tests.clock import ServerClock
from tests.faces import Face
from tests.lines import join, stored

Make = Callable[..., Face]

AWKWARD = {
    "braces": "{user}",
    "a closing brace": "}:leases",
    "an opening brace": "{",
    "newlines": "a\nb\r\nc",
    "NUL": "a\x00b",
    "glob characters": "*?[a-z]^\\",
    "the separator": "throttle:test:user",
    "an escape": "%3A",
    "an escaped escape": "%253A",
    "quotes": "\"'`$(reboot)",
    "blanks": " \t\u2028\u3000",
    "unicode": "ключ-キー-🔑-e\u0301",
    "1 KiB": "k" * 1024,
    "1 KiB of unicode": "é" * 512,
    "1 KiB that is escaped": "%" * 1024,
    "digits": "42",
    "a part's name": "state",
}

text = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("%:{}*?[]\\^\"' \n\r\x00\x7f\u2028\ufeff3A7BDabc")),
    max_size=12,
)
names = text.filter(bool)


@pytest.mark.parametrize("key", AWKWARD.values(), ids=AWKWARD)
def test_an_awkward_key_has_limits_of_its_own(make_throttler: Make, clock: ServerClock, key: str) -> None:
    """It is charged, waited for, refunded and reset as any other."""
    throttler = make_throttler(rates=["3/s"])
    permit = throttler.try_acquire(cost=3, key=key).permit
    assert (permit.key, throttler.peek(key).remaining, throttler.peek().remaining) == (key, 0, 3)
    assert join(throttler, key=key).waited == 1.001
    throttler.reset(key)
    throttler.refund(throttler.try_acquire(cost=2, key=key).permit)

    assert throttler.peek(key).remaining == 3


def test_awkward_keys_are_separate_from_each_other(make_throttler: Make, clock: ServerClock) -> None:
    """Each is used once more than the one before."""
    throttler = make_throttler(rates=["100/s"])
    for used, key in enumerate(AWKWARD.values(), 1):
        throttler.try_acquire(cost=used, key=key)

    assert [throttler.peek(key).remaining for key in AWKWARD.values()] == [99 - used for used in range(len(AWKWARD))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b:c"), ("a", "b%3Ac")),
        (("a", "b:c"), ("a:b", "c")),
        (("a:b", ""), ("a", "b")),
        (("a%3Ab", ""), ("a:b", "")),
        (("a", "b"), ("a", "b ")),
        (("a", "é"), ("a", "e\u0301")),
        (("a", "B"), ("a", "b")),
        (("a", "*"), ("a", "b")),
        (("a", "\x00"), ("a", "")),
        (("a*", "b"), ("ab", "b")),
    ],
)
def test_limiters_that_look_alike_share_nothing(
    make_throttler: Make, clock: ServerClock, one: tuple[str, str], other: tuple[str, str]
) -> None:
    """Neither use nor reset of one is seen by the other."""
    first, second = make_throttler(one[0], rates=["2/s"]), make_throttler(other[0], rates=["2/s"])
    first.try_acquire(cost=2, key=one[1])
    assert second.try_acquire(key=other[1]).remaining == 1
    first.reset(one[1])

    assert second.peek(other[1]).remaining == 1


@pytest.mark.parametrize("key", AWKWARD.values(), ids=AWKWARD)
def test_what_stands_in_redis_can_be_read_and_lies_in_one_slot(
    make_throttler: Make, clock: ServerClock, client: redis.Redis, key: str
) -> None:
    """One hash tag, in which nothing ends the tag or matches another key."""
    throttler = make_throttler(rates=["1/s", "5/min"])
    throttler.try_acquire(key=key)
    join(throttler, key=key)
    found = list(stored(client))
    tags = {name[name.index("{") + 1 : name.index("}")] for name in found}

    assert len(found) >= 3
    assert len(tags) == 1
    assert all(name.startswith("redisopt:v1:{throttle:test:") for name in found)
    assert not any(set(name.replace("{", "", 1).replace("}", "", 1)) & set("{}*?[]\\^\"' \n\r\x00") for name in found)


@settings(deadline=None)
@given(st.tuples(names, text), st.tuples(names, text))
@example(("a", "b:c"), ("a", "b%3Ac"))
@example(("a:b", ""), ("a", "b"))
def test_no_two_limiters_have_the_same_tag(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Whatever their names and keys are."""
    assert (keys.tag("throttle", *one) == keys.tag("throttle", *other)) == (one == other)


@settings(deadline=None)
@given(names, text)
def test_no_tag_begins_with_another(name: str, key: str) -> None:
    """So that a scan for one limiter's keys finds those alone."""
    tag = keys.tag("throttle", name, key)

    assert (tag.count("{"), tag.count("}"), tag[-2:]) == (1, 1, "}:")
    assert not set(tag) & set("*?[]\\^\"' \n\r\x00")


@settings(deadline=None)
@given(text)
def test_an_encoded_text_can_be_told_apart_from_all_others(text: str) -> None:
    """It can be decoded."""
    encoded = keys.encoded(text).encode()
    decoded = b""
    while encoded:
        size = 3 if encoded[:1] == b"%" else 1
        decoded += bytes.fromhex(encoded[1:3].decode()) if size == 3 else encoded[:1]
        encoded = encoded[size:]

    assert decoded.decode() == text
