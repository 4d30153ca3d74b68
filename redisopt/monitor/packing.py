"""The buckets of a sketch as few bytes: of this process's memory, on the way, and in Redis. lua/include/pack_buckets.lua does the same.

A latency's distribution is smooth: a count is foretold by the mean of the two before it, and only the difference is written, as
a Rice code whose parameter follows the differences. That takes about 5 bits a bucket, a third of what pairs of numbers would.

A pack is: its length, the first bucket's number and how many follow, two bytes each, and the codes, filled up with zeros. A loose
pack is longer and quicker to write and read, for what is few or soon to be merged: the number of its buckets has the highest bit
set, and of each there follow how many it is beyond the last and its count, in the digits of base 128, each but the last with the
highest bit set. Packs that stand one after another are added up when they are read, so one is merged by appending it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

HEAD = 6
"""Bytes before the codes."""

_LOOSE, _DIGIT = 1 << 15, 1 << 7

_ESCAPE = 20
"""So many ones say that the difference follows in 48 bits."""

_FIRST_K, _FIRST_MEAN = 2, 64
"""The parameter and sixteen times the mean difference, before the first is known."""


class _Parameter:
    """A Rice parameter `k` that follows what is coded: 2**k is about its mean. In whole numbers, so that Lua has the same."""

    __slots__ = ("_mean", "k")

    def __init__(self) -> None:
        self.k = _FIRST_K
        self._mean = _FIRST_MEAN

    def follow(self, code: int) -> None:
        """`code` was written, or read."""
        self._mean = mean = self._mean + (16 * code - self._mean) // 8
        while mean >= 1 << (self.k + 5):
            self.k += 1
        while self.k and mean < 1 << (self.k + 4):
            self.k -= 1


def pack(buckets: Mapping[int, int]) -> bytes:
    """The buckets as a pack; b"" of none."""
    if not buckets:
        return b""
    first, last = min(buckets), max(buckets)
    bits = "".join(_codes(buckets.get(index, 0) for index in range(first, last + 1)))
    size = -(-len(bits) // 8)
    codes = int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")
    return b"".join(number.to_bytes(2, "big") for number in (HEAD + size, first, last - first + 1)) + codes


def _codes(counts: Iterator[int]) -> Iterator[str]:
    rice, before, older = _Parameter(), 0, 0
    for count in counts:
        difference = count - (before + older) // 2
        code = 2 * difference if difference >= 0 else -2 * difference - 1
        k = rice.k
        ones = code >> k
        if ones >= _ESCAPE:
            yield "1" * _ESCAPE + format(code, "048b")
        elif k:
            yield "1" * ones + "0" + format(code & ((1 << k) - 1), f"0{k}b")
        else:
            yield "1" * ones + "0"
        rice.follow(code)
        before, older = count, before


def loose(buckets: Mapping[int, int]) -> bytes:
    """The buckets as a loose pack; b"" of none."""
    if not buckets:
        return b""
    indexes = sorted(buckets)
    body = bytearray()
    before = indexes[0]
    for index in indexes:
        for number in (index - before, buckets[index]):
            if number < _DIGIT:
                body.append(number)
            else:
                body += _digits(number)
        before = index
    return b"".join(each.to_bytes(2, "big") for each in (HEAD + len(body), indexes[0], _LOOSE + len(indexes))) + body


def _digits(number: int) -> bytes:
    digits = [number % _DIGIT]
    while number := number // _DIGIT:
        digits.append(_DIGIT + number % _DIGIT)
    return bytes(reversed(digits))


def unpack(packs: bytes) -> dict[int, int]:
    """The buckets of all packs together.

    Raises:
        ValueError: these are no packs.
    """
    buckets: dict[int, int] = {}
    at = 0
    while at < len(packs):
        size, first, number = (int.from_bytes(packs[at + n : at + n + 2], "big") for n in (0, 2, 4))
        if size < HEAD or at + size > len(packs):
            raise ValueError("the packed buckets are cut off")
        body = packs[at + HEAD : at + size]
        for index, count in _pairs(body, first) if number >= _LOOSE else enumerate(_counts(body, number), first):
            if count:
                buckets[index] = buckets.get(index, 0) + count
        at += size
    return buckets


def _pairs(body: bytes, index: int) -> Iterator[tuple[int, int]]:
    value, is_gap = 0, True
    for digit in body:
        if digit >= _DIGIT:
            value = (value + digit - _DIGIT) * _DIGIT
            continue
        value += digit
        if is_gap:
            index += value
        else:
            yield index, value
        value, is_gap = 0, not is_gap


def _counts(codes: bytes, number: int) -> Iterator[int]:
    bits = bin(int.from_bytes(b"\1" + codes, "big"))[3:]
    rice, before, older, at = _Parameter(), 0, 0, 0
    for _ in range(number):
        k = rice.k
        zero = bits.find("0", at, at + _ESCAPE)
        if zero < 0:
            at += _ESCAPE + 48
            code = int(bits[at - 48 : at] or "0", 2)
        else:
            ones, start = zero - at, zero + 1
            at = start + k
            code = (ones << k) + (int(bits[start:at] or "0", 2) if k else 0)
        rice.follow(code)
        count = (before + older) // 2 + (code // 2 if code % 2 == 0 else -(code + 1) // 2)
        yield count
        before, older = count, before
