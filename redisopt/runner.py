"""The two runners: they perform the steps of a plan, in a thread or in an event loop.

Only they sleep, talk to Redis and call the user's functions; what to send, and when again, is decided in `delivery`. A
runner is cheap: the links below it are shared by all that use the same client.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

import redis
import redis.asyncio

from redisopt.commands import Command, Plan, Sleep
from redisopt.deadlines import call_within, within
from redisopt.delivery import Call, Drop, Exchange, recover
from redisopt.links import AsyncLinks, Links

R = TypeVar("R")

_links: weakref.WeakKeyDictionary[Any, Links] = weakref.WeakKeyDictionary()
_async_links: weakref.WeakKeyDictionary[Any, AsyncLinks] = weakref.WeakKeyDictionary()


_pause = time.sleep
_pause_async = asyncio.sleep


class Runner:
    """Performs plans in the calling thread. Any number of threads may run plans at once.

    Raises:
        ValueError: `client` is not a sync redis-py client.
    """

    def __init__(self, client: redis.Redis | redis.RedisCluster, command_timeout: float) -> None:
        _check_client(client, (redis.Redis, redis.RedisCluster), "redis.Redis or redis.RedisCluster")
        self._client = client
        self._timeout = command_timeout
        self._links = _links.get(client) or _links.setdefault(client, Links(client))
        self._direct = self._links.direct
        self._links.users.add(self)

    def run(self, plan: Plan[R]) -> R:
        """Perform every step of `plan` and return its result. Raises what the plan raises."""
        return _drive(plan, self._perform)

    def close(self) -> None:
        """Close the client's idle links, unless another primitive uses them. They are made anew when needed."""
        self._links.leave(self)

    def _perform(self, step: Any) -> Any:
        if isinstance(step, Command):
            link = self._links.take()
            try:
                started = time.monotonic()
                call = Call(step, link)
                try:
                    reply = self._exchange(call, step.script, self._timeout)
                except BaseException as error:
                    reply = _drive(recover(call, error, started, self._timeout), self._perform)
                return step.parse(reply)
            finally:
                self._links.give(link)
        if isinstance(step, Exchange):
            return self._exchange(step.call, step.name, step.timeout, whole=step.whole)
        if isinstance(step, Sleep):
            return _pause(step.seconds)
        if isinstance(step, Drop):
            return self._links.drop(step.link)
        return step.function(*step.args, **step.kwargs or {})

    def _exchange(self, call: Call, name: str, timeout: float, *, whole: bool = False) -> Any:
        if self._direct:
            return self._links.send(call.link, call.packed(name, whole=whole), timeout)
        parts = call.parts(name, whole=whole)
        return call_within(timeout, lambda: self._client.execute_command(*parts))  # type: ignore[no-untyped-call]


class AsyncRunner:
    """Performs plans in the running event loop. Any number of tasks may run plans at once.

    Raises:
        ValueError: `client` is not an async redis-py client.
    """

    def __init__(self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster, command_timeout: float) -> None:
        _check_client(
            client,
            (redis.asyncio.Redis, redis.asyncio.RedisCluster),
            "redis.asyncio.Redis or redis.asyncio.RedisCluster",
        )
        self._client = client
        self._timeout = command_timeout
        self._links = _async_links.get(client) or _async_links.setdefault(client, AsyncLinks(client))
        self._direct = self._links.direct
        self._links.users.add(self)

    async def run(self, plan: Plan[R]) -> R:
        """Perform every step of `plan` and return its result. Raises what the plan raises."""
        return await _drive_async(plan, self._perform)

    async def aclose(self) -> None:
        """Close the client's idle links, unless another primitive uses them. They are made anew when needed."""
        await self._links.leave(self)

    async def _perform(self, step: Any) -> Any:
        if isinstance(step, Command):
            link = await self._links.take()
            try:
                started = time.monotonic()
                call = Call(step, link)
                try:
                    reply = await self._exchange(call, step.script, self._timeout)
                except BaseException as error:
                    reply = await _drive_async(
                        recover(call, error, started, self._timeout),
                        self._perform,
                        interrupted=not isinstance(error, Exception),
                    )
                return step.parse(reply)
            finally:
                self._links.give(link)
        if isinstance(step, Exchange):
            return await self._exchange(step.call, step.name, step.timeout, whole=step.whole)
        if isinstance(step, Sleep):
            return await _pause_async(step.seconds)
        if isinstance(step, Drop):
            return await self._links.drop(step.link)
        result = step.function(*step.args, **step.kwargs or {})
        return await result if inspect.isawaitable(result) else result

    async def _exchange(self, call: Call, name: str, timeout: float, *, whole: bool = False) -> Any:
        if self._direct:
            return await self._links.send(call.link, call.packed(name, whole=whole), timeout)
        async with within(timeout):
            return await self._client.execute_command(*call.parts(name, whole=whole))


def _drive(plan: Generator[Any, Any, R], perform: Callable[[Any], Any]) -> R:
    """Perform the plan's steps one by one; an error or an interruption arrives in the plan at the step under way."""
    try:
        step = plan.send(None)
        while True:
            try:
                result = perform(step)
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(result)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def _drive_async(
    plan: Generator[Any, Any, R], perform: Callable[[Any], Awaitable[Any]], *, interrupted: bool = False
) -> R:
    """As `_drive`. Once interrupted, the plan is giving back what it holds: a further cancel is absorbed."""
    try:
        step = plan.send(None)
        while True:
            try:
                result = await (_to_its_end(perform(step)) if interrupted else perform(step))
            except BaseException as error:
                interrupted = interrupted or not isinstance(error, Exception)
                step = plan.throw(error)
            else:
                step = plan.send(result)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def _to_its_end(step: Awaitable[R]) -> R:
    """Await `step` to its end, bounded as every step is, whatever further cancellations come.

    They are not passed on: the plan is already on its way out with the first one.
    """
    task = asyncio.ensure_future(step)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()


def _check_client(client: object, kinds: tuple[type, ...], wanted: str) -> None:
    if isinstance(client, kinds) and not hasattr(client, "command_stack"):
        return
    if isinstance(client, str):
        advice = "pass a client, such as redisopt.connect(url)"
    elif hasattr(client, "command_stack"):
        advice = "pass the client itself, not a pipeline of it"
    elif isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
        advice = "an async client needs the Async class, such as AsyncThrottler"
    elif isinstance(client, redis.Redis | redis.RedisCluster):
        advice = "a sync client needs the sync class, such as Throttler; connect_async() gives an async one"
    else:
        advice = "pass a redis-py client, such as redisopt.connect()"
    raise ValueError(f"client must be a {wanted}, not {type(client).__name__}: {advice}")
