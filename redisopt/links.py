"""Links: what a script call travels on, and the lane that makes it count once.

A *link* carries one call at a time. It owns a connection of its own, made as the client's pool would make it (address,
user, TLS, database) but with redis-py's retries off, RESP2 and bounds on every wait: so the runner is the only one who
sends again, a call never fails for want of a pooled connection, and half of redis-py's share of a call is saved. Where
the client is a Cluster client or makes connections of an unknown kind, the call goes through the client itself.

A link is also a *lane*: it numbers its calls. Scripts that charge keep the last number and reply of each lane, as Kafka's
idempotent producer does, so a call that is sent again is answered from memory. There are as many lanes as calls that
were under way at once; their number does not grow with the number of calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.backoff
import redis.connection
import redis.retry
import redis.sentinel

from redisopt.identity import process_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MAX_CALLS_IN_FLIGHT = 32
"""Async calls of one client that are under way at once; more wait their turn in order. One server executes one at a time."""

_SYNC_CONNECTIONS = (
    redis.connection.Connection,
    redis.connection.SSLConnection,
    redis.connection.UnixDomainSocketConnection,
    redis.sentinel.SentinelManagedConnection,
    redis.sentinel.SentinelManagedSSLConnection,
)
_ASYNC_CONNECTIONS = (
    redis.asyncio.connection.Connection,
    redis.asyncio.connection.SSLConnection,
    redis.asyncio.connection.UnixDomainSocketConnection,
    redis.asyncio.sentinel.SentinelManagedConnection,
    redis.asyncio.sentinel.SentinelManagedSSLConnection,
)
# Of the pool's arguments for a connection, those that are about the pool or about redis-py's own retries.
_NOT_OURS = (
    "retry_on_error", "retry_on_timeout", "health_check_interval", "event_dispatcher", "himport_registry",
    "maint_notifications_config", "maint_notifications_pool_handler", "oss_cluster_maint_notifications_handler",
    "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout", "cache", "cache_config", "lib_name", "lib_version",
)  # fmt: skip

C = TypeVar("C")

_lane_numbers = itertools.count(1)
_all_links: weakref.WeakSet[Links | AsyncLinks] = weakref.WeakSet()
_parents_links: list[deque[Any]] = []


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
    """The links of one sync client, shared by all primitives on it. Thread-safe; a forked child starts with none."""

    def __init__(self, client: redis.Redis | redis.RedisCluster) -> None:
        self._make = _connection_maker(client, _SYNC_CONNECTIONS, redis.retry.Retry(redis.backoff.NoBackoff(), 0))
        self._idle: deque[Link[redis.connection.AbstractConnection]] = deque()
        self.users = 0
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
        """Send one call and read its reply, each wait bounded by `timeout` seconds. Raises what redis-py raises."""
        connection = link.connection
        if connection is None:
            connection = link.connection = self._make(timeout)  # type: ignore[misc] # only called when direct
        try:
            connection.send_packed_command([call], check_health=False)
            if timeout == connection.socket_timeout:
                return connection.read_response(disable_decoding=True)
            return connection.read_response(disable_decoding=True, timeout=timeout)
        except redis.ResponseError:
            raise
        except BaseException:
            self.drop(link)
            raise

    def drop(self, link: Link[redis.connection.AbstractConnection]) -> None:
        """Close the link's connection, on which a reply may still be owed; the lane goes on."""
        connection, link.connection = link.connection, None
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        """One user less; the last one closes the connections of all idle links."""
        self.users -= 1
        if self.users <= 0:
            for link in list(self._idle):
                self.drop(link)

    def forget(self) -> None:
        """Drop all links without a word on their sockets: in a forked child they are the parent's, who still talks on them."""
        self._idle = deque()


class AsyncLinks:
    """The links of one async client in one event loop at a time; at most `MAX_CALLS_IN_FLIGHT` are out at once."""

    def __init__(self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> None:
        self._make = _connection_maker(
            client, _ASYNC_CONNECTIONS, redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
        )
        self._idle: deque[Link[redis.asyncio.connection.AbstractConnection]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(MAX_CALLS_IN_FLIGHT)
        self.users = 0
        _all_links.add(self)

    @property
    def direct(self) -> bool:
        """Whether calls go over connections of our own, not through the client."""
        return self._make is not None

    async def take(self) -> Link[redis.asyncio.connection.AbstractConnection]:
        """A link that nobody else uses now, in the order of asking."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Connections belong to the loop that made them, and that one is over: nobody can await their end any more.
            for link in self._idle:
                if link.connection is not None:
                    with contextlib.suppress(Exception):
                        link.connection._close()  # type: ignore[no-untyped-call] # noqa: SLF001 - as redis-py's own finalizer does
            self._idle = deque()
            self._loop = loop
            self._turns = asyncio.Semaphore(MAX_CALLS_IN_FLIGHT)
        await self._turns.acquire()
        try:
            return self._idle.pop()
        except IndexError:
            return Link()

    def give(self, link: Link[redis.asyncio.connection.AbstractConnection]) -> None:
        """Hand a link back for the next call."""
        self._idle.append(link)
        self._turns.release()

    async def send(self, link: Link[redis.asyncio.connection.AbstractConnection], call: bytes, timeout: float) -> Any:
        """Send one call and read its reply, all within `timeout` seconds. Raises what redis-py raises."""
        connection = link.connection
        if connection is None:
            connection = link.connection = self._make(None)  # type: ignore[misc] # only called when direct
        try:
            async with _bounded(timeout):
                await connection.send_packed_command([call], check_health=False)
                return await connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            raise
        except TimeoutError:
            await self.drop(link)
            raise redis.TimeoutError(f"no reply within {timeout:.3f} s") from None
        except BaseException:
            await self.drop(link)
            raise

    async def through(
        self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster, parts: tuple[Any, ...], timeout: float
    ) -> Any:
        """Have the client itself make one call, all within `timeout` seconds."""
        try:
            async with _bounded(timeout):
                return await client.execute_command(*parts)
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {timeout:.3f} s") from None

    async def drop(self, link: Link[redis.asyncio.connection.AbstractConnection]) -> None:
        """Close the link's connection, on which a reply may still be owed; the lane goes on."""
        connection, link.connection = link.connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def forget(self) -> None:
        """Drop all links, as `Links.forget`.

        The parent's are kept from being collected: to close one would take its socket out of the event loop's epoll, which
        parent and child share.
        """
        _parents_links.append(self._idle)
        self._idle = deque()
        self._loop = None

    async def leave(self) -> None:
        """One user less; the last one closes the connections of all idle links."""
        self.users -= 1
        if self.users <= 0 and asyncio.get_running_loop() is self._loop:
            for link in list(self._idle):
                await self.drop(link)


@contextlib.asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but a reply that came while something else blocked the event loop is read first."""
    loop = asyncio.get_running_loop()
    over = False

    async with asyncio.timeout(None) as bound:

        def later(turns: int) -> None:
            # What has arrived is handed to who waits for it within two turns of the loop; then time is up.
            if over:
                return
            if turns:
                loop.call_soon(later, turns - 1)
            else:
                bound.reschedule(loop.time())

        timer = loop.call_later(seconds, later, 2)
        try:
            yield
        finally:
            over = True
            timer.cancel()


def _connection_maker(client: Any, known: tuple[type, ...], retry: Any) -> Callable[[float | None], Any] | None:
    """A maker of connections like the pool's, given the bound of their waits; None where only the client can talk."""
    pool = getattr(client, "connection_pool", None)
    connection_class = getattr(pool, "connection_class", None)
    if pool is None or connection_class not in known:
        return None
    arguments = {name: value for name, value in pool.connection_kwargs.items() if name not in _NOT_OURS}
    # Without CLIENT SETINFO: every command on connecting is one more wait within the bound of the first call.
    arguments |= {"retry": retry, "protocol": 2, "decode_responses": False, "driver_info": None}

    def make(timeout: float | None) -> Any:
        return connection_class(**arguments | {"socket_timeout": timeout, "socket_connect_timeout": timeout})

    return make
