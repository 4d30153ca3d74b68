"""What a handler's answer means for each item: a result, or an error. Never a result that could be another item's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    if not isinstance(answer, list | tuple):
        raise ResultCountError(
            f"the handler of {len(items)} items answered with {type(answer).__name__}, and must with a list of their length, "
            "or with a dict by item id"
        )
    if len(answer) != len(items):
        raise ResultCountError(f"the handler of {len(items)} items answered with {len(answer)} results")
    return [_verdict(config, each) for each in answer]


def _judge_by_id(config: BatchConfig, items: Sequence[Item], answer: Mapping[Any, Any]) -> list[Verdict]:
    names = [item.name for item in items]
    unknown = [each for each in answer if each not in set(names)]
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
        return done(element, config.codec, config.max_item_bytes)
    except PayloadError as error:
        return error
