"""Where the calls of a client go: to its one server, or to the node of a Cluster that has the key.

Connections are made as the client would make them (address, user, TLS, database) but with redis-py's retries off, RESP2
and bounds on every wait. Of a Cluster only the map of slots is the client's: we read it, and tell it what MOVED says.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
import redis.asyncio
from redis.cluster import get_node_name

if TYPE_CHECKING:
    from redis.exceptions import AskError

# Of the arguments for a connection, those that are about the pool or about redis-py's own retries.
_NOT_OURS = (
    "retry_on_error", "retry_on_timeout", "health_check_interval", "event_dispatcher", "himport_registry",
    "maint_notifications_config", "maint_notifications_pool_handler", "oss_cluster_maint_notifications_handler",
    "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout", "cache", "cache_config", "lib_name", "lib_version",
)  # fmt: skip


class Hop(NamedTuple):
    """Where a node sent a call on to.

    Attributes:
        node: its name, ``host:port``.
        asking: whether it does not own the slot yet, so that the call must be announced.
    """

    node: str
    asking: bool


class OneServer:
    """The server of a plain client, or the primary that a Sentinel names."""

    def __init__(self, connection_class: type, arguments: dict[str, Any], retry: Any) -> None:
        self._class = connection_class
        self._arguments = {name: value for name, value in arguments.items() if name not in _NOT_OURS}
        # Without CLIENT SETINFO: every command on connecting is one more wait within the bound of the first call.
        self._arguments |= {"retry": retry, "protocol": 2, "decode_responses": False, "driver_info": None}

    def owner(self, _: str) -> str | None:
        """The node that has a key: None where there is but one."""
        return None

    def make(self, _: str | None, timeout: float | None) -> Any:
        """A connection, not connected yet, each of whose waits is bounded by `timeout`."""
        return self._class(**self._arguments | {"socket_timeout": timeout, "socket_connect_timeout": timeout})


class Cluster(OneServer):
    """The nodes of a Cluster, as its client knows them; one that does not answer is asked last.

    A call for a key whose owner was out of reach goes to some other node: it answers MOVED, and so tells who the owner
    is now. That is how a failover is noticed.
    """

    def __init__(self, client: Any, connection_class: type, arguments: dict[str, Any], retry: Any) -> None:
        super().__init__(connection_class, arguments, retry)
        # redis-py's would send READONLY, and then a replica would answer for its primary.
        self._arguments.pop("redis_connect_func", None)
        greet = getattr(client, "user_on_connect_func", None)
        if greet is not None:

            def connected(connection: Any) -> None:
                connection.on_connect()
                greet(connection)

            self._arguments["redis_connect_func"] = connected
        self._client = weakref.proxy(client)
        self._silent: frozenset[str] = frozenset()
        self._turn = itertools.count()

    def make(self, node: str | None, timeout: float | None) -> Any:
        """A connection to a node, as that of one server."""
        assert node is not None  # noqa: S101 - a call on a Cluster has a node
        host, _, port = node.rpartition(":")
        arguments = self._arguments | {"host": host, "port": int(port)}
        return self._class(**arguments | {"socket_timeout": timeout, "socket_connect_timeout": timeout})

    # --- who has a key

    @property
    def lost(self) -> bool:
        """Whether no node is left to ask: the client has not looked for them yet, or none answers."""
        return not self._client.nodes_manager.slots_cache or self._silent.issuperset(
            self._client.nodes_manager.nodes_cache
        )

    def owner(self, key: str) -> str | None:
        """The node that has a key, as far as is known."""
        nodes = self._client.nodes_manager.slots_cache.get(self._client.keyslot(key))
        return nodes[0].name if nodes else None

    def find(self, key: str) -> str:
        """The node to ask for a key: its owner, or one that knows the owner."""
        owner = self.owner(key)
        if owner is not None and owner not in self._silent:
            return owner
        others = [name for name in list(self._client.nodes_manager.nodes_cache) if name not in self._silent]
        if others:
            return str(others[next(self._turn) % len(others)])
        if owner is None:
            raise redis.exceptions.ClusterDownError("no node of the Cluster is known")
        return owner

    def replied(self, node: str | None) -> None:
        """A node has answered."""
        if node in self._silent:
            self._silent -= {node}

    def did_not_reply(self, node: str | None) -> None:
        """A node could not be connected to, or did not answer in time."""
        if node is not None:
            self._silent |= {node}

    # --- what the nodes say

    def sent_on(self, error: AskError, by: str | None) -> Hop:
        """Where ASK or MOVED points to."""
        host = error.host or (by or "").rpartition(":")[0]  # no host: the one that was asked, on another port
        error.host, error.port = self._client.nodes_manager.remap_host_port(host, error.port)
        asking = not isinstance(error, redis.exceptions.MovedError)
        if not asking:
            self._client.nodes_manager.slots_cache.setdefault(error.slot_id, [])  # or redis-py could not move it
        return Hop(get_node_name(error.host, error.port), asking)

    def move(self, error: AskError) -> Any:
        """Have the client note that a slot has moved; to be awaited where the client is an async one."""
        return self._client.nodes_manager.move_slot(error)

    # --- looking for them anew

    def refresh(self) -> None:
        """Ask the nodes that the client was given for all others. The async client's is `refresh_async`."""
        self._client.nodes_manager.initialize()
        self._silent = frozenset()

    async def refresh_async(self) -> None:
        """As `refresh`."""
        known = bool(self._client.nodes_manager.slots_cache)
        await self._client.initialize()  # does nothing the second time
        if known:
            await self._client.nodes_manager.initialize()
        self._silent = frozenset()


def nodes_of(client: Any, kind: type, retry: Any) -> OneServer | Cluster | None:
    """Where a client's calls go, over connections of class `kind`; None where only the client itself can talk."""
    clustered = isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)
    maker: Any = getattr(client, "connection_pool", None)
    if isinstance(client, redis.RedisCluster):
        maker = client.get_redis_connection(client.get_default_node()).connection_pool  # type: ignore[no-untyped-call]
    elif isinstance(client, redis.asyncio.RedisCluster):
        maker = next(iter(client.nodes_manager.startup_nodes.values()))
    connection_class = getattr(maker, "connection_class", None)
    if not isinstance(connection_class, type) or not issubclass(connection_class, kind):
        return None
    if clustered:
        return Cluster(client, connection_class, maker.connection_kwargs, retry)
    return OneServer(connection_class, maker.connection_kwargs, retry)
