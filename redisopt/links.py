"""Links: what a script call travels on, and the lane that makes it count once.

A *link* carries one call at a time. It owns a connection of its own, made as the client's pool would make it (address,
user, TLS, database) but with redis-py's retries off, RESP2 and bounds on every wait: so the runner is the only one who
sends again, a call never fails for want of a pooled connection, and half of redis-py's share of a call is saved. Where
the client is a Cluster client or makes connections that are not redis-py's, the call goes through the client itself.

A link is also a *lane*: it numbers its calls. Scripts that charge keep the last number and reply of each lane, as Kafka's
idempotent producer does, so a call that is sent again is answered from memory. There are as many lanes as calls that
were under way at once; their number does not grow with the number of calls.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.retry
import redis.backoff
import redis.connection
import redis.retry

from redisopt.deadlines import call_within, within
from redisopt.identity import process_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MAX_CALLS_IN_FLIGHT = 32
"""Async calls of one client that are under way at once; more wait their turn in order. One server executes one at a time."""

# Of the pool's arguments for a connection, those that are about the pool or about redis-py's own retries.
_NOT_OURS = (
    "retry_on_error", "retry_on_timeout", "health_check_interval", "event_dispatcher", "himport_registry",
    "maint_notifications_config", "maint_notifications_pool_handler", "oss_cluster_maint_notifications_handler",
    "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout", "cache", "cache_config", "lib_name", "lib_version",
)  # fmt: skip

_NO_RETRY = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
_NO_ASYNC_RETRY = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
_SHORTEST_SEND = 0.1  # seconds

C = TypeVar("C")

_lane_numbers = itertools.count(1)
_all_links: weakref.WeakSet[Links | AsyncLinks] = weakref.WeakSet()
_parents_turns: list[Any] = []


def _forget_parent() -> None:
    for links in list(_all_links):
        links.forget()


os.register_at_fork(after_in_child=_forget_parent)


class Link(Generic[C]):
    """One call at a time: a lane, its latest call number, and its connection when it has one."""

    __slots__ = ("connection", "lane", "number")

    def __init__(self) -> None:
        self.lane = f"{process_id()}.{next(_lane_numbers)}"
        self.number = 0
        self.connection: C | None = None


class Links:
    """The links of one sync client, shared by all primitives on it. Thread-safe; a forked child starts with none.

    Attributes:
        users: who uses them. When the last one leaves, the connections of idle links are closed.
    """

    def __init__(self, client: redis.Redis | redis.RedisCluster) -> None:
        self._make = _connection_maker(client, redis.connection.AbstractConnection, _NO_RETRY)
        self._idle: deque[Link[redis.connection.AbstractConnection]] = deque()
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        _all_links.add(self)

    @property
    def direct(self) -> bool:
        """Whether calls go over connections of our own, not through the client."""
        return self._make is not None

    def take(self) -> Link[redis.connection.AbstractConnection]:
        """A link that nobody else uses now."""
        try:
            return self._idle.pop()
        except IndexError:
            return Link()

    def give(self, link: Link[redis.connection.AbstractConnection]) -> None:
        """Hand a link back for the next call."""
        self._idle.append(link)

    def send(self, link: Link[redis.connection.AbstractConnection], call: bytes, timeout: float) -> Any:
        """Send one call and read its reply, all within `timeout` seconds. Raises what redis-py raises."""
        connection = link.connection
        if connection is None:
            connection, timeout = self._connect(timeout)
            link.connection = connection
        try:
            connection.send_packed_command([call], check_health=False)  # type: ignore[no-untyped-call]
            if timeout == connection.socket_timeout:
                return connection.read_response(disable_decoding=True)
            return connection.read_response(disable_decoding=True, timeout=timeout)
        except redis.ResponseError:
            raise
        except BaseException:
            self.drop(link)
            raise

    def _connect(self, timeout: float) -> tuple[redis.connection.AbstractConnection, float]:
        """A new connection, and the seconds left of `timeout`. Name lookup, TLS and login count together."""
        started = time.monotonic()
        connection = self._make(timeout)  # type: ignore[misc] # only called when direct
        call_within(timeout, connection.connect, too_late=connection.disconnect)
        left = timeout - (time.monotonic() - started)
        if timeout < _SHORTEST_SEND:
            # Made on the last breath of a call; the next calls on it have more time to send.
            connection.socket_timeout = _SHORTEST_SEND
            connection.update_current_socket_timeout(-1)
        return connection, max(left, 0.001)

    def drop(self, link: Link[redis.connection.AbstractConnection]) -> None:
        """Close the link's connection, on which a reply may still be owed; the lane goes on."""
        connection, link.connection = link.connection, None
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]

    def leave(self, user: object) -> None:
        """`user` needs them no more, for now."""
        self.users.discard(user)
        if not self.users:
            links = []
            while self._idle:
                links.append(self.take())
            for link in links:
                self.drop(link)
                self.give(link)

    def forget(self) -> None:
        """Drop all links without a word on their sockets: in a forked child they are the parent's, who still talks on them."""
        self._idle = deque()


class _Turns:
    """The links of an async client in one event loop; at most `MAX_CALLS_IN_FLIGHT` are out at once.

    Connections belong to the loop that made them and can only be closed in it, so they are when the loop ends: then it
    closes the asynchronous generators that were begun in it, and `_until_the_end` is one.
    """

    def __init__(self) -> None:
        self.idle: deque[Link[redis.asyncio.connection.AbstractConnection]] = deque()
        self.free = asyncio.Semaphore(MAX_CALLS_IN_FLIGHT)
        self._end = self._until_the_end()

    async def begin(self) -> None:
        await anext(self._end)

    async def _until_the_end(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.close()

    async def close(self) -> None:
        for link in list(self.idle):
            await _drop(link)


class AsyncLinks:
    """The links of one async client, for each event loop apart.

    Attributes:
        users: as those of `Links`.
    """

    def __init__(self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> None:
        self._make = _connection_maker(client, redis.asyncio.connection.AbstractConnection, _NO_ASYNC_RETRY)
        self._turns: dict[asyncio.AbstractEventLoop, _Turns] = {}
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        _all_links.add(self)

    @property
    def direct(self) -> bool:
        """Whether calls go over connections of our own, not through the client."""
        return self._make is not None

    async def take(self) -> Link[redis.asyncio.connection.AbstractConnection]:
        """A link that nobody else uses now, in the order of asking."""
        loop = asyncio.get_running_loop()
        turns = self._turns.get(loop)
        if turns is None:
            for over in [other for other in self._turns if other.is_closed()]:
                del self._turns[over]
            turns = self._turns[loop] = _Turns()
            await turns.begin()
        await turns.free.acquire()
        try:
            return turns.idle.pop()
        except IndexError:
            return Link()

    def give(self, link: Link[redis.asyncio.connection.AbstractConnection]) -> None:
        """Hand a link back for the next call."""
        turns = self._turns.get(asyncio.get_running_loop())
        if turns is not None:  # else this is a forked child
            turns.idle.append(link)
            turns.free.release()

    async def send(self, link: Link[redis.asyncio.connection.AbstractConnection], call: bytes, timeout: float) -> Any:
        """Send one call and read its reply, all within `timeout` seconds. Raises what redis-py raises."""
        connection = link.connection
        if connection is None:
            connection = link.connection = self._make(None)  # type: ignore[misc] # only called when direct
        try:
            async with within(timeout):
                await connection.send_packed_command([call], check_health=False)
                return await connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            raise
        except BaseException:
            await self.drop(link)
            raise

    async def drop(self, link: Link[redis.asyncio.connection.AbstractConnection]) -> None:
        """Close the link's connection, on which a reply may still be owed; the lane goes on."""
        await _drop(link)

    async def leave(self, user: object) -> None:
        """`user` needs them no more, for now. Those of other loops are closed when those end."""
        self.users.discard(user)
        turns = self._turns.get(asyncio.get_running_loop())
        if turns is not None and not self.users:
            await turns.close()

    def forget(self) -> None:
        """Drop all links, as `Links.forget`.

        The parent's are kept from being collected: to close one would take its socket out of the event loop's epoll, which
        parent and child share.
        """
        _parents_turns.append(self._turns)
        self._turns = {}


async def _drop(link: Link[redis.asyncio.connection.AbstractConnection]) -> None:
    connection, link.connection = link.connection, None
    if connection is not None:
        await connection.disconnect(nowait=True)


def _connection_maker(client: Any, kind: type, retry: Any) -> Callable[[float | None], Any] | None:
    """A maker of connections like the pool's, given the bound of their waits; None where only the client can talk."""
    pool = getattr(client, "connection_pool", None)
    connection_class = getattr(pool, "connection_class", None)
    if pool is None or not isinstance(connection_class, type) or not issubclass(connection_class, kind):
        return None
    arguments = {name: value for name, value in pool.connection_kwargs.items() if name not in _NOT_OURS}
    # Without CLIENT SETINFO: every command on connecting is one more wait within the bound of the first call.
    arguments |= {"retry": retry, "protocol": 2, "decode_responses": False, "driver_info": None}

    def make(timeout: float | None) -> Any:
        return connection_class(**arguments | {"socket_timeout": timeout, "socket_connect_timeout": timeout})

    return make
