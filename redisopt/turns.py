"""Tasks take turns: few calls are under way at once, and the rest wait in the order of asking.

So many are under way as keep the server busy. The wait is bounded by lack of progress: who has waited `command_timeout`
during which no call of these links had a reply gives up. So a burst of any size works through on a server that answers,
and a dead one costs each of its calls `command_timeout` after the last reply: about that in all, twice that for one that
was half through its own when the server died.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio.connection

from redisopt.deadlines import READS
from redisopt.errors import Unavailable
from redisopt.links import Link
from redisopt.silence import Breaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_CALLS_IN_FLIGHT = 32
"""Async calls of one client that are under way at once; more wait their turn in order. One server executes one at a time."""

Connection = redis.asyncio.connection.AbstractConnection

_Turn = tuple["asyncio.Future[float]", float, float]
"""Who waits, since when, and with what command_timeout."""


class AsyncLink(Link[Connection]):
    """A link of one event loop."""

    __slots__ = ("turns",)

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns

    def close(self) -> None:
        """Close its connections. Needs no running event loop."""
        while self.connections and not self.turns.forgotten:
            close_at_once(self.connections.popitem()[1])


class Turns:
    """The links of an async client in one event loop; at most `MAX_CALLS_IN_FLIGHT` are out at once.

    Connections belong to the loop that made them and can only be closed in it, so they are when the loop ends: then it
    closes the asynchronous generators that were begun in it, and `_until_the_end` is one.

    Attributes:
        progress: when a call had its latest reply, by this process's monotonic clock.
        breaker: what is known of a server that does not answer.
        probes: the tasks that ask whether it is back.
        forgotten: whether this is a forked child, and the links its parent's.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._loop = asyncio.get_running_loop()
        self._links: list[AsyncLink] = []  # those that are out too
        self._idle: deque[AsyncLink] = deque()
        self._free = MAX_CALLS_IN_FLIGHT
        self._urgent: deque[_Turn] = deque()
        self._waiting: deque[_Turn] = deque()
        self._began = 0.0
        self._look_at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._end = self._until_the_end()
        self.progress = 0.0
        self.breaker = breaker
        self.probes: set[asyncio.Task[None]] = set()
        self.forgotten = False

    async def begin(self) -> None:
        """Have the loop close the links when it ends."""
        await anext(self._end)

    async def _until_the_end(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.close_idle()

    async def take(self, timeout: float, *, urgent: bool) -> tuple[AsyncLink, float]:
        """A link and the deadline for its call; see the top of this file. Who is urgent goes first."""
        left = timeout
        if self._free:
            self._free -= 1
        else:
            left = await self._turn(timeout, self._urgent if urgent else self._waiting)
        deadline = time.monotonic() + left
        try:
            return self._idle.pop(), deadline
        except IndexError:
            return self.make_link(), deadline

    def make_link(self) -> AsyncLink:
        """A new link."""
        link = AsyncLink(self)
        self._links.append(link)
        return link

    def discard(self, link: AsyncLink) -> None:
        """Close a link that nobody will take any more."""
        if not self.forgotten:
            link.close()
            self._links.remove(link)

    async def _turn(self, timeout: float, queue: deque[_Turn]) -> float:
        """Wait for a turn; returns the seconds that were left when it came."""
        turn: asyncio.Future[float] = self._loop.create_future()
        since = time.monotonic()
        queue.append((turn, since, timeout))
        if self._look_at == inf:
            self._loop.call_soon(self._begin)
        self._look_by(since + timeout)
        try:
            return await turn
        except BaseException:
            if not turn.cancel() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # the turn came together with the interruption
            raise

    def _begin(self) -> None:
        """The loop has turned since the first in line came. A burst may keep it from reading replies until then."""
        self._began = time.monotonic()

    def _give_up_at(self, since: float, timeout: float) -> float:
        return max(since, self._began, self.progress) + timeout

    def _look_by(self, when: float) -> None:
        """Look who has waited too long, at this time at the latest. One timer for all: a burst may be of many thousands."""
        if when < self._look_at:
            if self._timer is not None:
                self._timer.cancel()
            self._look_at = when
            self._timer = self._loop.call_later(when - time.monotonic(), self._look, READS)

    def _look(self, reads: int) -> None:
        if reads:  # replies may have come while something else blocked the loop
            self._loop.call_soon(self._look, reads - 1)
            return
        self._look_at = inf
        now = time.monotonic()
        for turn, since, timeout in (*self._urgent, *self._waiting):
            if not turn.done():
                give_up = self._give_up_at(since, timeout)
                if give_up > now:
                    self._look_by(give_up)
                else:
                    turn.set_exception(_no_turn(timeout))

    def give(self, link: AsyncLink) -> None:
        """Hand a link back, and the turn to the next in line."""
        self._idle.append(link)
        self._pass_on()

    def _pass_on(self) -> None:
        now = time.monotonic()
        for queue in (self._urgent, self._waiting):
            while queue:
                turn, since, timeout = queue.popleft()
                left = self._give_up_at(since, timeout) - now
                if turn.done() or self._loop.is_closed():
                    continue  # it has given up, or nobody waits any more
                if left > 0:
                    turn.set_result(left)
                    return
                turn.set_exception(_no_turn(timeout))
        self._free += 1

    def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for link in list(self._idle):
            link.close()


def drop(link: AsyncLink) -> None:
    """Close the link's connection, as `Links.drop`. Needs no running event loop."""
    if link.turns.forgotten:
        return
    connection = link.connections.pop(link.node, None)
    if connection is not None:
        close_at_once(connection)


def close_at_once(connection: Any) -> None:
    """Close a connection. Needs no running event loop."""
    # redis-py's own way is a coroutine that waits for nothing, but it needs a task to run in.
    with contextlib.suppress(RuntimeError):  # its loop is closed, and the socket with it
        connection._close()  # noqa: SLF001
    connection._reader = connection._writer = None  # noqa: SLF001 - or it would warn when it is collected


def _no_turn(timeout: float) -> Unavailable:
    return Unavailable(
        f"Redis answered none of the calls under way within command_timeout ({timeout} s): this one, still in line behind "
        "them, was not sent"
    )
