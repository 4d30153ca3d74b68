"""Links: what a script call travels on, and the lane that makes it count once.

A *link* carries one call at a time. It owns a connection of its own (to each node, on a Cluster): so the runner is the only
one who sends again, a call never fails for want of a pooled connection, and half of redis-py's share of a call is saved.
Where the client makes connections that are not redis-py's, the call goes through the client itself.

A link is also a *lane*: it numbers its calls. Scripts that charge keep the last number and reply of each lane, as Kafka's
idempotent producer does, so a call that is sent again is answered from memory. There are as many lanes as calls that
were under way at once; their number does not grow with the number of calls.

Here are the links of threads; those of tasks are in `async_links`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import redis
import redis.backoff
import redis.connection
import redis.retry

from redisopt.deadlines import Overdue, call_within
from redisopt.identity import process_id
from redisopt.nodes import Cluster, Hop, OneServer, nodes_of
from redisopt.silence import Breaker

if TYPE_CHECKING:
    from redis.exceptions import AskError

ASKING = b"*1\r\n$6\r\nASKING\r\n"

_NO_RETRY = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
_SHORTEST_SEND = 0.1  # seconds

C = TypeVar("C")

_lane_numbers = itertools.count(1)


class _Forgets(Protocol):
    def forget(self) -> None: ...


of_this_process: weakref.WeakSet[_Forgets] = weakref.WeakSet()
"""All links of all clients: a forked child drops them, as they are its parent's."""


def _forget_parent() -> None:
    for links in list(of_this_process):
        links.forget()


os.register_at_fork(after_in_child=_forget_parent)


class Link(Generic[C]):
    """One call at a time: a lane, its latest call number, and its connections.

    Attributes:
        node: of a Cluster, the one that the latest call went to.
        connections: to each node; the server's, where there is but one, is that to None.
        sent: whether anything of the latest try may have reached the server.
    """

    __slots__ = ("connections", "lane", "node", "number", "sent")

    def __init__(self) -> None:
        self.lane = f"{process_id()}.{next(_lane_numbers)}"
        self.number = 0
        self.node: str | None = None
        self.connections: dict[str | None, C] = {}
        self.sent = False


Connection = redis.connection.AbstractConnection


class Links:
    """The links of one sync client, shared by all primitives on it. Thread-safe; a forked child starts with none.

    Attributes:
        users: who uses them. When there is none, no connection stays open.
        breaker: what is known of a server that does not answer.
    """

    def __init__(self, client: redis.Redis | redis.RedisCluster) -> None:
        self._client = weakref.proxy(client)  # whoever runs plans on it keeps it alive; these links do not
        self._nodes = nodes_of(client, Connection, _NO_RETRY)
        self._cluster = self._nodes if isinstance(self._nodes, Cluster) else None
        self._idle: deque[Link[Connection]] = deque()
        self._overdue = Overdue()
        self.breaker = breaker_of(self._nodes)
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        of_this_process.add(self)

    @property
    def direct(self) -> bool:
        """Whether calls go over connections of our own, not through the client."""
        return self._nodes is not None

    def extra_connection(self, timeout: float) -> Connection:
        """A connection beside those of the links, not connected yet, to the server or any node of the Cluster.

        Raises:
            ReferenceError: the client is gone, or its connections are not ours to make.
        """
        connection: Connection = extra_connection(self._nodes, self._client, timeout)
        return connection

    def take(self, key: str, timeout: float) -> Link[Connection]:
        """A link that nobody else uses now, for a call of `key`.

        Raises:
            Unavailable: Redis is known not to answer within `timeout`.
        """
        if self.breaker.silences:
            self.breaker.check(key, timeout)
        try:
            return self._idle.pop()
        except IndexError:
            return Link()

    def give(self, link: Link[Connection]) -> None:
        """Hand a link back for the next call."""
        self._idle.append(link)
        if not self.users:
            self._close_idle()

    def send(self, link: Link[Connection], call: bytes, timeout: float, key: str, hop: Hop | None = None) -> Any:
        """Send one call and read its reply, all within `timeout` seconds. Raises what redis-py raises.

        Args:
            link: what it travels on.
            call: the bytes.
            timeout: for all of it.
            key: one of its keys, by which a Cluster's node is found.
            hop: the node to send it to instead.
        """
        link.sent = False
        if self._cluster is not None:
            timeout = self._route(self._cluster, link, timeout, key, hop)
        connection = link.connections.get(link.node)
        if connection is None:
            connection, timeout = self._connect(link.node, timeout)
            link.connections[link.node] = connection
        try:
            if hop is not None and hop.asking:
                timeout = self._announce(connection, timeout)
            link.sent = True
            connection.send_packed_command([call], check_health=False)  # type: ignore[no-untyped-call]
            if timeout == connection.socket_timeout:
                reply = connection.read_response(disable_decoding=True)
            else:
                reply = connection.read_response(disable_decoding=True, timeout=timeout)
        except redis.ResponseError:
            if self._cluster is not None:
                self._cluster.replied(link.node)
            raise
        except BaseException as error:
            self.drop(link)
            if self._cluster is not None and isinstance(error, redis.TimeoutError):
                self._cluster.did_not_reply(link.node)
            raise
        self.breaker.answered[link.node] = time.monotonic()
        if self._cluster is not None:
            self._cluster.replied(link.node)
        return reply

    def send_through_client(self, link: Link[Connection], parts: tuple[Any, ...], timeout: float) -> Any:
        """Have the client send one call and read its reply, within `timeout` seconds. Raises what it raises."""
        link.sent = True
        reply = call_within(timeout, lambda: self._client.execute_command(*parts), self._overdue)
        self.breaker.answered[None] = time.monotonic()
        return reply

    def heard(self) -> None:
        """The server has spoken on a connection beside those of the links."""
        if self._cluster is None:
            self.breaker.answered[None] = time.monotonic()

    def redirect(self, link: Link[Connection], error: AskError) -> Hop:
        """Where the node sent the call on to; the client learns of it. Raises `error` where there are no nodes."""
        if self._cluster is None:
            raise error
        hop = self._cluster.sent_on(error, link.node)
        if not hop.asking:
            self._cluster.move(error)
        return hop

    def _route(self, cluster: Cluster, link: Link[Connection], timeout: float, key: str, hop: Hop | None) -> float:
        """Choose the node for a call; returns what is left of `timeout`."""
        started = time.monotonic()
        if cluster.lost:
            call_within(timeout, cluster.refresh, self._overdue)
        link.node = cluster.find(key) if hop is None else hop.node
        return _left(timeout, started) if cluster.lost else timeout

    def _connect(self, node: str | None, timeout: float) -> tuple[Connection, float]:
        """A new connection, and the seconds left of `timeout`. Name lookup, TLS and login count together."""
        started = time.monotonic()
        connection: Connection = self._nodes.make(node, timeout)  # type: ignore[union-attr] # only called when direct
        try:
            call_within(timeout, connection.connect, self._overdue, too_late=connection.disconnect)
        except (redis.RedisError, OSError):
            if self._cluster is not None:
                self._cluster.did_not_reply(node)
            raise
        if timeout < _SHORTEST_SEND:
            # Made on the last breath of a call; the next calls on it have more time to send.
            connection.socket_timeout = _SHORTEST_SEND
            connection.update_current_socket_timeout(-1)
        return connection, _left(timeout, started)

    def _announce(self, connection: Connection, timeout: float) -> float:
        """Tell a node that it may serve a slot that is on its way to it; returns what is left of `timeout`."""
        started = time.monotonic()
        connection.send_packed_command([ASKING], check_health=False)  # type: ignore[no-untyped-call]
        connection.read_response(disable_decoding=True, timeout=timeout)
        return _left(timeout, started)

    def drop(self, link: Link[Connection]) -> None:
        """Close the link's connection, on which a reply may still be owed; the lane goes on."""
        connection = link.connections.pop(link.node, None)
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]

    def leave(self, user: object) -> None:
        """`user` needs them no more, for now."""
        self.users.discard(user)
        if not self.users:
            self._close_idle()

    def _close_idle(self) -> None:
        links = []
        with contextlib.suppress(IndexError):  # another thread may take the last one meanwhile
            while True:
                links.append(self._idle.pop())
        for link in links:
            while link.connections:
                link.connections.popitem()[1].disconnect()  # type: ignore[no-untyped-call]
            self._idle.append(link)

    def forget(self) -> None:
        """Drop all links without a word on their sockets: in a forked child they are the parent's, who still talks on them.

        So are their users: who runs in the child enters himself again.
        """
        self._idle = deque()
        self._overdue = Overdue()
        self.breaker = breaker_of(self._nodes)
        self.users = weakref.WeakSet()


def extra_connection(nodes: OneServer | Cluster | None, client: Any, timeout: float | None) -> Any:
    """A connection to the server, or to some node of the Cluster, as the client would make it."""
    client.__class__  # noqa: B018 - raises where the client is gone
    if nodes is None:
        raise ReferenceError("the client's connections are not ours to make")
    return nodes.make(nodes.find("") if isinstance(nodes, Cluster) else None, timeout)


def breaker_of(nodes: OneServer | Cluster | None) -> Breaker:
    """A breaker for calls to `nodes`, or through a client whose nodes are its own affair."""
    return Breaker(_the_only_one if nodes is None else nodes.owner)


def _the_only_one(_: str) -> None:
    return None


def _left(timeout: float, started: float) -> float:
    return max(timeout - (time.monotonic() - started), 0.001)
