"""The two runners: they perform the steps of a plan, in a thread or in an event loop.

Only they sleep, talk to Redis and call the user's functions; what to send, and when again, is decided in `delivery`. A
runner is cheap: the links below it are shared by all that use the same client.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import weakref
from collections.abc import Callable, Generator
from types import CoroutineType
from typing import Any, TypeVar

import redis
import redis.asyncio

from redisopt import probes, spans
from redisopt.async_links import AsyncLinks
from redisopt.async_wakes import AsyncWakes
from redisopt.commands import Command, Invoke, Listen, Plan, Sleep, Step, Stopped, Wait, Within
from redisopt.deadlines import Overdue
from redisopt.delivery import Call, Check, DeliveryStep, Drop, Exchange, Redirect, Watch, recover
from redisopt.driving import MAX_ABANDONED, TO_END, drive, drive_async, drive_within, drive_within_async
from redisopt.links import Link, Links
from redisopt.silence import Silence
from redisopt.turns import AsyncLink, drop
from redisopt.wakes import Wakes
from redisopt.wire import FAILURES, WAIT_SLACK, packed_wait, unconfirmed

R = TypeVar("R")

_links: weakref.WeakKeyDictionary[Any, Links] = weakref.WeakKeyDictionary()
_async_links: weakref.WeakKeyDictionary[Any, AsyncLinks] = weakref.WeakKeyDictionary()
_wakes: weakref.WeakKeyDictionary[Any, Wakes] = weakref.WeakKeyDictionary()
_async_wakes: weakref.WeakKeyDictionary[Any, AsyncWakes] = weakref.WeakKeyDictionary()


def pause(seconds: float) -> None:
    """What a `Sleep` does in a thread: whatever `time.sleep` is at the time, such as gevent's."""
    time.sleep(seconds)


async def pause_async(seconds: float) -> None:
    """What a `Sleep` does in an event loop."""
    await asyncio.sleep(seconds)


def stand_by(wakes: Wakes, step: Wait) -> str | None:
    """What a `Wait` does in a thread."""
    return wakes.wait(step)


async def stand_by_async(wakes: AsyncWakes, step: Wait) -> str | None:
    """What a `Wait` does in an event loop."""
    return await wakes.wait(step)


def _goes_on() -> None:
    """What a thread does whatever it is told."""


class Runner:
    """Performs plans in the calling thread. Any number of threads may run plans at once.

    Raises:
        ValueError: `client` is not a sync redis-py client.
    """

    def __init__(self, client: redis.Redis | redis.RedisCluster, command_timeout: float) -> None:
        _check_client(client, (redis.Redis, redis.RedisCluster), "redis.Redis or redis.RedisCluster")
        self._client = client  # kept alive: its links do not
        self._timeout = command_timeout
        self._links = _links.get(client) or _links.setdefault(client, Links(client))
        self._wakes = _wakes.get(client) or _wakes.setdefault(client, Wakes(self._links))
        self._direct = self._links.direct
        self._closed = False
        self._enter()

    @property
    def client(self) -> redis.Redis | redis.RedisCluster:
        """Whose server it talks to."""
        return self._client

    @property
    def is_clustered(self) -> bool:
        """Whether keys may lie on different nodes."""
        return isinstance(self._client, redis.RedisCluster)

    def run(self, plan: Plan[R]) -> R:
        """Perform every step of `plan` and return its result. Raises what the plan raises."""
        if self._users is not self._links.users:
            self._enter()
        try:
            return drive(plan, self._perform_timed if spans.profiled else self._perform)
        except Stopped as stopped:
            error = stopped.error
        raise error

    def start(self, plan: Callable[[], Plan[object]], name: str) -> Callable[[], object]:
        """Perform a plan in the background, in a daemon thread of this name, which nothing interrupts."""
        threading.Thread(target=lambda: self.run(plan()), name=name, daemon=True).start()
        return _goes_on

    def wake(self, permit: str) -> None:
        """End the `Wait` of this permit."""
        self._wakes.wake(permit)

    def place(self) -> None:
        """No event loop: threads share what is kept."""

    @property
    def silence(self) -> Silence | None:
        """Since when Redis has been away, and why; None while it is there."""
        return self._links.breaker.known(self._timeout)

    def close(self) -> None:
        """Close the client's idle links, unless another primitive uses them. Whoever calls all the same connects for it."""
        self._closed = True
        self._links.leave(self)

    def _enter(self) -> None:
        """Be a user of the links, also in a forked child, where they begin without any."""
        self._users = self._links.users
        self._abandoned = Overdue(MAX_ABANDONED)  # a forked child has none of its parent's threads
        if not self._closed:
            self._users.add(self)

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Command):
            return self._call(step)
        if isinstance(step, Sleep):
            return pause(step.seconds)
        if isinstance(step, Wait):
            return stand_by(self._wakes, step)
        if isinstance(step, Listen):
            return None if self._links.breaker.silences else self._wakes.listen(step.channel)
        if isinstance(step, Invoke):
            try:
                result = step.function(*step.args, **step.kwargs or {})
            except (StopIteration, GeneratorExit) as error:
                raise Stopped(error) from None
            if type(result) is CoroutineType:
                result.close()
                raise TypeError(
                    f"{step.function!r} returned a coroutine, which nobody awaits: it is for the Async class"
                )
            return result
        if isinstance(step, Within):
            return drive_within(step, self._perform, self._abandoned)
        raise TypeError(f"a plan yielded {step!r}, which is no step")

    def _perform_timed(self, step: Step) -> Any:
        if isinstance(step, Within):
            return drive_within(step, self._perform_timed, self._abandoned)
        with spans.span(_kind(step)):
            return self._perform(step)

    def _call(self, command: Command[R]) -> R:
        link = self._links.take(command.keys[0], self._timeout)
        try:
            call = Call(command, link, self._timeout, time.monotonic() + self._timeout)
            try:
                result = command.parse(self._exchange(call, command.script, self._timeout))
            except BaseException as error:
                recovery: Generator[DeliveryStep, Any, R] = recover(call, error)
                result = drive(recovery, self._deliver)
            if command.replicas:
                self._confirm(link, command)
            return result
        finally:
            self._links.give(link)

    def _confirm(self, link: Link[Any], command: Command[Any]) -> None:
        """Wait until replicas have what the link's connection has written."""
        if not self._direct:
            raise unconfirmed(command.replicas, None)
        try:
            timeout = self._timeout + WAIT_SLACK
            had = self._links.send(link, packed_wait(command.replicas, self._timeout), timeout, command.keys[0])
        except FAILURES as error:
            raise unconfirmed(command.replicas, None) from error
        if had < command.replicas:
            raise unconfirmed(command.replicas, had)

    def _deliver(self, step: DeliveryStep) -> Any:
        if isinstance(step, Exchange):
            return self._exchange(step.call, step.name, step.timeout, step)
        if isinstance(step, Sleep):
            return pause(step.seconds)
        if isinstance(step, Drop):
            return self._links.drop(step.link)
        if isinstance(step, Redirect):
            return self._links.redirect(step.link, step.error)
        if isinstance(step, Check):
            return self._links.breaker.check(step.call.command.keys[0], step.call.timeout)
        if isinstance(step, Watch):
            return probes.watch(self._links, step.call, step.error)
        raise TypeError(f"a delivery yielded {step!r}, which is no step")

    def _exchange(self, call: Call, name: str, timeout: float, how: Exchange | None = None) -> Any:
        whole, hop = (False, None) if how is None else (how.whole, how.hop)
        if self._direct:
            return self._links.send(call.link, call.packed(name, whole=whole), timeout, call.command.keys[0], hop)
        return self._links.send_through_client(call.link, call.parts(name, whole=whole), timeout)


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
        self._client = client  # kept alive: its links do not
        self._timeout = command_timeout
        self._links = _async_links.get(client) or _async_links.setdefault(client, AsyncLinks(client))
        self._wakes = _async_wakes.get(client) or _async_wakes.setdefault(client, AsyncWakes(self._links))
        self._tasks: set[asyncio.Task[object]] = set()
        self._direct = self._links.direct
        self._closed = False
        self._enter()

    @property
    def client(self) -> redis.asyncio.Redis | redis.asyncio.RedisCluster:
        """Whose server it talks to."""
        return self._client

    @property
    def is_clustered(self) -> bool:
        """Whether keys may lie on different nodes."""
        return isinstance(self._client, redis.asyncio.RedisCluster)

    async def run(self, plan: Plan[R]) -> R:
        """Perform every step of `plan` and return its result. Raises what the plan raises.

        A StopIteration of the user's function ends as a RuntimeError that it caused, as it does in every coroutine.
        """
        if self._users is not self._links.users:
            self._enter()
        try:
            return await drive_async(plan, self._perform_timed if spans.profiled else self._perform)
        except Stopped as stopped:
            error = stopped.error
        raise error

    async def finish(self, plan: Plan[R]) -> R:
        """As `run`, to its end whatever further cancellations come: the caller is interrupted already."""
        return await drive_async(plan, self._perform_timed if spans.profiled else self._perform, interrupted=True)

    def start(self, plan: Callable[[], Plan[object]], name: str) -> Callable[[], object]:
        """Perform a plan in the background, in a task of the running event loop. What it gives cancels the task, from there."""
        task = asyncio.create_task(self.run(plan()), name=name, context=spans.elsewhere())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return lambda: task.get_loop().is_closed() or task.cancel()

    def wake(self, permit: str) -> None:
        """End the `Wait` of this permit in the running event loop."""
        self._wakes.wake(permit)

    def place(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop, None outside of one."""
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    @property
    def silence(self) -> Silence | None:
        """As `Runner.silence`, for the running event loop; outside of one, for any."""
        return self._links.silence(self._timeout)

    async def aclose(self) -> None:
        """Close the client's idle links, unless another primitive uses them. Whoever calls all the same connects for it.

        What runs in the background of this event loop is cancelled, and waited for no longer than two seconds.
        """
        self._closed = True
        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        here = [task for task in self._tasks if task.get_loop() is loop and task is not current]
        for task in here:
            task.cancel()
        if here:
            await asyncio.wait(here, timeout=TO_END)
        await self._wakes.aclose()
        self._links.leave(self)
        await probes.stop(self._links)

    def _enter(self) -> None:
        self._users = self._links.users
        if not self._closed:
            self._users.add(self)

    async def _perform(self, step: Step, interrupted: bool) -> Any:  # noqa: FBT001 - performers are called by position
        if isinstance(step, Command):
            return await self._call(step, interrupted)
        if isinstance(step, Sleep):
            return await pause_async(step.seconds)
        if isinstance(step, Wait):
            return await stand_by_async(self._wakes, step)
        if isinstance(step, Listen):
            return None if self.silence is not None else await self._wakes.listen(step.channel)
        if isinstance(step, Invoke):
            try:
                result = step.function(*step.args, **step.kwargs or {})
            except StopIteration as error:
                raise Stopped(error) from None
            return await result if inspect.isawaitable(result) else result
        if isinstance(step, Within):
            return await drive_within_async(step, self._perform)
        raise TypeError(f"a plan yielded {step!r}, which is no step")

    async def _perform_timed(self, step: Step, interrupted: bool) -> Any:  # noqa: FBT001
        if isinstance(step, Within):
            return await drive_within_async(step, self._perform_timed)
        with spans.span(_kind(step)):
            return await self._perform(step, interrupted)

    async def _call(self, command: Command[R], interrupted: bool) -> R:  # noqa: FBT001
        link, deadline = await self._links.take(command.keys[0], self._timeout, urgent=interrupted)
        try:
            call = Call(command, link, self._timeout, deadline)
            try:
                result = command.parse(await self._exchange(call, command.script, deadline - time.monotonic()))
            except GeneratorExit:
                raise
            except BaseException as error:
                interrupted = not isinstance(error, Exception)
                result = await drive_async(recover(call, error), self._deliver, interrupted=interrupted)
            if command.replicas:
                await self._confirm(link, command)
            return result  # noqa: TRY300 - an error of the confirmation is not the exchange's
        except GeneratorExit:
            drop(link)
            raise
        finally:
            self._links.give(link)

    async def _confirm(self, link: AsyncLink, command: Command[Any]) -> None:
        """As `Runner._confirm`."""
        if not self._direct:
            raise unconfirmed(command.replicas, None)
        try:
            timeout = self._timeout + WAIT_SLACK
            had = await self._links.send(link, packed_wait(command.replicas, self._timeout), timeout, command.keys[0])
        except FAILURES as error:
            raise unconfirmed(command.replicas, None) from error
        if had < command.replicas:
            raise unconfirmed(command.replicas, had)

    async def _deliver(self, step: DeliveryStep, _: bool) -> Any:  # noqa: FBT001
        if isinstance(step, Exchange):
            return await self._exchange(step.call, step.name, step.timeout, step)
        if isinstance(step, Sleep):
            return await pause_async(step.seconds)
        if isinstance(step, Drop):
            return drop(step.link)  # type: ignore[arg-type] # the links of async calls are AsyncLinks
        if isinstance(step, Redirect):
            return await self._links.redirect(step.link, step.error)  # type: ignore[arg-type]
        if isinstance(step, Check):
            return step.call.link.turns.breaker.check(step.call.command.keys[0], step.call.timeout)  # type: ignore[attr-defined]
        if isinstance(step, Watch):
            return probes.watch_async(self._links, step.call, step.error)
        raise TypeError(f"a delivery yielded {step!r}, which is no step")

    async def _exchange(self, call: Call, name: str, timeout: float, how: Exchange | None = None) -> Any:
        whole, hop = (False, None) if how is None else (how.whole, how.hop)
        link: Any = call.link
        if self._direct:
            return await self._links.send(link, call.packed(name, whole=whole), timeout, call.command.keys[0], hop)
        return await self._links.send_through_client(link, call.parts(name, whole=whole), timeout)


def _kind(step: Step) -> spans.Kind | None:
    """Whose time a step takes, for who collects; that of the user's function is its own."""
    if isinstance(step, Command):
        return "redis"
    return "wait" if isinstance(step, Sleep | Wait) else None


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
