"""The links of tasks: as those of threads, but each of its event loop, and taken in turns (see `turns`)."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.backoff

from redisopt.deadlines import within
from redisopt.links import ASKING, breaker_of, extra_connection, of_this_process
from redisopt.nodes import Cluster, Hop, nodes_of
from redisopt.silence import Silence
from redisopt.turns import AsyncLink, Connection, Turns, drop

if TYPE_CHECKING:
    from redis.exceptions import AskError

_NO_RETRY = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)

_parents_turns: list[Any] = []


class AsyncLinks:
    """The links of one async client, for each event loop apart.

    Attributes:
        users: as those of `Links`.
    """

    def __init__(self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> None:
        self._client = weakref.proxy(client)  # whoever runs plans on it keeps it alive; these links do not
        self._nodes = nodes_of(client, Connection, _NO_RETRY)
        self._cluster = self._nodes if isinstance(self._nodes, Cluster) else None
        self._turns: dict[asyncio.AbstractEventLoop, Turns] = {}
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        of_this_process.add(self)

    @property
    def direct(self) -> bool:
        """Whether calls go over connections of our own, not through the client."""
        return self._nodes is not None

    def extra_connection(self) -> Connection:
        """A connection beside those of the links, as `Links.extra_connection`; its waits are bounded by who uses it."""
        return extra_connection(self._nodes, self._client, None)  # type: ignore[no-any-return]

    def turns_of(self, loop: asyncio.AbstractEventLoop) -> Turns | None:
        """The links of a loop, where it has any."""
        return self._turns.get(loop)

    async def take(self, key: str, timeout: float, *, urgent: bool = False) -> tuple[AsyncLink, float]:
        """A link that nobody else uses now, in the order of asking, for a call of `key`; and the deadline for it.

        Raises:
            Unavailable: it was not to be had in time, or Redis is known not to answer; so nothing was sent.
        """
        loop = asyncio.get_running_loop()
        turns = self._turns.get(loop)
        if turns is None:
            for over in [other for other in self._turns if other.is_closed()]:
                del self._turns[over]
            turns = self._turns[loop] = Turns(breaker_of(self._nodes))
            await turns.begin()
        if turns.breaker.silences:
            turns.breaker.check(key, timeout)
        link, deadline = await turns.take(timeout, urgent=urgent)
        if turns.breaker.silences:  # since it stood in line
            try:
                turns.breaker.check(key, timeout)
            except BaseException:
                self.give(link)
                raise
        return link, deadline

    def give(self, link: AsyncLink) -> None:
        """Hand a link back for the next call. Needs no running event loop."""
        turns = link.turns
        if turns.forgotten:
            return
        turns.give(link)
        if not self.users:
            turns.close_idle()

    async def send(self, link: AsyncLink, call: bytes, timeout: float, key: str, hop: Hop | None = None) -> Any:
        """Send one call and read its reply, as `Links.send`."""
        connection = None
        connected = link.sent = False
        try:
            async with within(timeout):
                if self._cluster is not None:
                    if self._cluster.lost:
                        await self._cluster.refresh_async()
                    link.node = self._cluster.find(key) if hop is None else hop.node
                connection = link.connections.get(link.node)
                if connection is None:
                    connection = link.connections[link.node] = self._nodes.make(link.node, None)  # type: ignore[union-attr] # only called when direct
                connected = connection.is_connected
                if not connected:
                    await connection.connect()  # one of a Sentinel asks it only then for the primary
                if hop is not None and hop.asking:
                    await connection.send_packed_command([ASKING], check_health=False)
                    await connection.read_response(disable_decoding=True)
                link.sent = True
                await connection.send_packed_command([call], check_health=False)
                # We close it ourselves on errors: redis-py's way needs a running loop, which is not to be had when the
                # coroutine is closed outside of one.
                reply = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except redis.ResponseError:
            self._replied(link)
            raise
        except BaseException as error:
            if connection is not None:
                drop(link)
                # One that the server has closed is nothing: it does so to those that are idle.
                if self._cluster is not None and isinstance(
                    error, redis.TimeoutError if connected else (redis.RedisError, OSError)
                ):
                    self._cluster.did_not_reply(link.node)
            raise
        self._replied(link)
        link.turns.breaker.answered[link.node] = link.turns.progress
        return reply

    def _replied(self, link: AsyncLink) -> None:
        link.turns.progress = time.monotonic()
        if self._cluster is not None:
            self._cluster.replied(link.node)

    async def send_through_client(self, link: AsyncLink, parts: tuple[Any, ...], timeout: float) -> Any:
        """Have the client send one call and read its reply, as `Links.send_through_client`."""
        link.sent = True
        async with within(timeout):
            reply = await self._client.execute_command(*parts)
        self._replied(link)
        link.turns.breaker.answered[None] = link.turns.progress
        return reply

    def heard(self) -> None:
        """As `Links.heard`, in the running event loop."""
        turns = self._turns.get(asyncio.get_running_loop())
        if self._cluster is None and turns is not None:
            turns.breaker.answered[None] = time.monotonic()

    async def redirect(self, link: AsyncLink, error: AskError) -> Hop:
        """Where the node sent the call on to, as `Links.redirect`."""
        if self._cluster is None:
            raise error
        hop = self._cluster.sent_on(error, link.node)
        if not hop.asking:
            await self._cluster.move(error)
        return hop

    def silence(self, timeout: float) -> Silence | None:
        """What `Breaker.known` says in the running event loop; outside of one, in any."""
        try:
            turns = [self._turns.get(asyncio.get_running_loop())]
        except RuntimeError:
            turns = [*self._turns.values()]
        known = [each.breaker.known(timeout) for each in turns if each is not None]
        return next((silence for silence in known if silence is not None), None)

    def leave(self, user: object) -> None:
        """`user` needs them no more, for now. Those of other loops are closed when those end."""
        self.users.discard(user)
        turns = self._turns.get(asyncio.get_running_loop())
        if turns is not None and not self.users:
            turns.close_idle()

    def forget(self) -> None:
        """Drop all links, as `Links.forget`.

        The parent's are kept from being collected: to close one would take its socket out of the event loop's epoll, which
        parent and child share.
        """
        for turns in self._turns.values():
            turns.forgotten = True
        _parents_turns.append(self._turns)
        self._turns = {}
        self.users = weakref.WeakSet()
