"""Finding the items that a handler raises for, by running parts of the batch again.

A handler that raises does not say whose fault it was. Of a batch that failed, the first half is run: where it fails, the
culprit is in it and the second half is put off; where it passes, the culprit is in the second half, which need not be run to
know that. So each level costs one run, and what was put off costs one in the end: a hundred items with one culprit take ten
runs. Where that fails too there are several culprits; then each half is run, and where a fourth of the items are culprits, each item.

Items that share a failed run are run again: a handler that can say which item failed (an exception in its place, or
`BatchItemError`) spares them that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from redisopt.commands import Plan

T = TypeVar("T")

Attempt = Callable[[Sequence[T]], Plan[Exception | None]]
"""Runs some items and deals with them if that succeeds, and with one that is alone also if not; returns what was raised."""

ENOUGH, MOSTLY = 3, 1 / 4
"""After so many culprits, where they are more than this share of what was run, each item is run by itself."""


def isolate(items: Sequence[T], attempt: Attempt[T]) -> Plan[None]:
    """Run all of `items`, which failed together."""
    rest: list[T] = []
    suspects = items
    while len(suspects) > 1:
        half = (len(suspects) + 1) // 2
        first, second = suspects[:half], suspects[half:]
        if (yield from attempt(first)) is not None:
            rest = [*second, *rest]
            suspects = first if len(first) > 1 else ()  # one alone has been dealt with
        else:
            suspects = second
    if suspects:
        yield from attempt(suspects)
    if rest and (yield from attempt(rest)) is not None and len(rest) > 1:
        yield from _halve(rest, attempt)


def _halve(items: Sequence[T], attempt: Attempt[T]) -> Plan[None]:
    """Run all of `items`, which failed together, though one culprit was taken out already."""
    culprits = passed = 0
    groups = [items]
    while groups:
        group = groups.pop()  # these are known to fail
        many = culprits >= ENOUGH and culprits > (culprits + passed) * MOSTLY
        size = 1 if many else (len(group) + 1) // 2
        fails = False
        for start in range(0, len(group), size):
            part = group[start : start + size]
            last = start + size >= len(group)
            if last and not fails and len(part) > 1:
                groups.append(part)  # since the whole fails, and no other part does
            elif (yield from attempt(part)) is None:
                passed += len(part)
            else:
                fails = True
                if len(part) > 1:
                    groups.append(part)
                else:
                    culprits += 1
