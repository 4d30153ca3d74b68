"""What a handler's answer means for each item: a result, or an error. Never a result that could be another item's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from redisopt import events
from redisopt.batch.config import BatchConfig
from redisopt.batch.contract import Retry
from redisopt.batch.items import Item
from redisopt.batch.outcome import done
from redisopt.codec import PayloadError
from redisopt.errors import ResultCountError

Verdict = bytes | BaseException
"""The outcome of an item that succeeded; or what it failed with."""


def judge(config: BatchConfig, items: Sequence[Item], answer: Any) -> list[Verdict]:
    """A verdict on each item.

    Raises:
        ResultCountError: the answer does not tell which result is whose.
    """
    if isinstance(answer, Mapping):
        return _judge_by_id(config, items, answer)
    results = answer if isinstance(answer, list | tuple) else _listed(answer)
    if results is None:
        raise ResultCountError(
            f"the handler of {len(items)} items answered with {type(answer).__name__}, and must with a list of their length, "
            "or with a dict by item id"
        )
    if len(results) != len(items):
        raise ResultCountError(f"the handler of {len(items)} items answered with {len(results)} results")
    return [_verdict(config, each) for each in results]


def _listed(answer: Any) -> Sequence[Any] | None:
    """An answer that is as good as a list, such as an array: it has a length and an order; None for any other."""
    if isinstance(answer, str | bytes | bytearray | memoryview | AbstractSet):
        return None
    try:
        len(answer)
        found = answer.tolist() if callable(getattr(answer, "tolist", None)) else list(answer)
    except Exception:
        return None
    return found if isinstance(found, list) else None


def _judge_by_id(config: BatchConfig, items: Sequence[Item], answer: Mapping[Any, Any]) -> list[Verdict]:
    names = [item.name for item in items]
    known = set(names)
    unknown = [each for each in answer if each not in known]
    if unknown:
        events.logger.warning("a handler answered for items that it did not get: %s", ", ".join(map(repr, unknown[:5])))
    return [
        _verdict(config, answer[name])
        if name in answer
        else ResultCountError(f"the handler's answer lacks item {name!r}")
        for name in names
    ]


def _verdict(config: BatchConfig, element: Any) -> Verdict:
    if isinstance(element, BaseException):
        return element
    if isinstance(element, type) and issubclass(element, Exception):
        return Retry() if issubclass(element, Retry) else element()
    try:
        if callable(getattr(element, "tolist", None)):  # an array, or a number of its kind
            element = element.tolist()
        return done(element, config.codec, config.max_item_bytes)
    except PayloadError as error:
        return error
    except Exception as error:
        return PayloadError(f"a result cannot be stored: {type(error).__name__}: {error}")
