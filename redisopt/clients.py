"""Clients that are fit for limits: bounded in time, and without hidden retries.

redis-py's own retries are off: it would send a script again after a lost reply, and two layers of retries multiply. So
are its maintenance notifications: they cost a command more per connection, one that a least-privilege ACL refuses.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from redisopt import discovery, stand_in
from redisopt.address import ENVIRONMENT_VARIABLE, Address, parse
from redisopt.errors import Unavailable

Client: TypeAlias = redis.Redis | redis.RedisCluster
"""What `connect` makes, and what limiters take."""

AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster
"""What `connect_async` makes, and what their twins take."""

_log = logging.getLogger("redisopt")
_from_environment: set[str] = set()  # the addresses that $REDISOPT_URL has named


class _SentinelPool(redis.sentinel.SentinelConnectionPool):
    """redis-py's, but closing the client also closes the connections to the sentinels, which nobody else can see."""

    def close(self) -> None:
        super().close()
        for sentinel in self.sentinel_manager.sentinels:
            sentinel.close()


class _AsyncSentinelPool(redis.asyncio.sentinel.SentinelConnectionPool):
    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


@dataclass(frozen=True, slots=True)
class _Flavour:
    """The classes of redis-py for one colour of function; the logic below is the same for both."""

    single: Any
    cluster: Any
    node: Any
    sentinel: Any
    sentinel_pool: Any
    retry: Any
    fake: str


_SYNC = _Flavour(
    redis.Redis,
    redis.RedisCluster,
    redis.cluster.ClusterNode,
    redis.Sentinel,
    _SentinelPool,
    Retry,
    "FakeRedis",
)
_ASYNC = _Flavour(
    redis.asyncio.Redis,
    redis.asyncio.RedisCluster,
    redis.asyncio.cluster.ClusterNode,
    redis.asyncio.Sentinel,
    _AsyncSentinelPool,
    redis.asyncio.retry.Retry,
    "FakeAsyncRedis",
)


def connect(url: str | None = None, **options: Any) -> Client:
    """Make a client for ``url``, or for the Redis that is found. Nothing is sent yet, except to a cluster.

    An embedded server is shared with the child processes that start afterwards, forked, spawned or run as programs.
    (A multiprocessing forkserver that was started before it keeps the environment of then.) It ends with this process;
    if it has crashed or was killed, the next call here starts another, and logs a warning that its state is lost.

    >>> client = connect()
    >>> client = connect("redis+sentinel://10.0.0.1,10.0.0.2/mymaster", socket_timeout=1.0)

    Args:
        url: ``redis://host:port/db``, ``rediss://`` for TLS, ``unix:///path``, ``redis+cluster://host:port,host:port``
            or ``redis+sentinel://host:port,host:port/service/db``; the last two also as ``rediss+…``.
        options: for redis-py's client. What the URL's query says wins over them, they win over our defaults: no
            retries, and 5 seconds each for ``socket_timeout`` and ``socket_connect_timeout``. A Sentinel's own
            password goes into ``sentinel_kwargs={"password": …}``.

    Raises:
        ValueError: the URL cannot be used; the message names it and never repeats it, as it may hold a password.
        Unavailable: there is no URL and no server, or no node of the cluster answers.
    """
    return cast("Client", _connect(url, _SYNC, options))


def connect_async(url: str | None = None, **options: Any) -> AsyncClient:
    """Make an asyncio client; as `connect`, and not a coroutine.

    Each call makes a client of its own, to be used in one event loop; only the server is shared. Starting an
    embedded server blocks the loop once, for about 40 ms.
    """
    return cast("AsyncClient", _connect(url, _ASYNC, options))


def describe(client: Client | AsyncClient) -> str:
    """Say in one line which Redis a client talks to, without passwords and without asking the server."""
    if stand_in.is_stand_in(client):
        return "fakeredis in this process: nothing is shared with other processes"
    address = _address(client)
    if (embedded := discovery.embedded_at(address)) is not None:
        return str(embedded)
    return f"Redis at {address} ({'from $REDISOPT_URL' if address in _from_environment else 'as given'})"


def _connect(url: str | None, flavour: _Flavour, options: dict[str, Any]) -> Any:
    given = url is not None
    if url is None and (url := discovery.find_url()) is None:
        return stand_in.make_stand_in(flavour.fake, options, stacklevel=3)  # the notice is for the caller of `connect`
    client = _open(parse(url, "url" if given else f"${ENVIRONMENT_VARIABLE}"), flavour, options)
    if not given:
        _from_environment.add(_address(client))
    _log.info("using %s", describe(client))
    return client


def _open(address: Address, flavour: _Flavour, options: dict[str, Any]) -> Any:
    ours = {
        "retry": flavour.retry(NoBackoff(), 0),
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    settings = {**ours, **options, **address.settings}
    if address.kind == "single":
        return flavour.single.from_url(address.url, **ours | options)
    if address.kind == "sentinel":
        # Not told otherwise, redis-py gives the connections to the sentinels themselves its ten retries.
        tls = {name: value for name, value in settings.items() if name.startswith("ssl")}
        to_sentinels = {name: settings[name] for name in ours} | tls | settings.pop("sentinel_kwargs", {})
        sentinel = flavour.sentinel(address.nodes, sentinel_kwargs=to_sentinels)
        return sentinel.master_for(address.service, connection_pool_class=flavour.sentinel_pool, **settings)
    try:
        return flavour.cluster(startup_nodes=[flavour.node(*node) for node in address.nodes], **settings)
    except (RedisError, RedisClusterException) as error:  # the sync client asks the nodes for their slots at once
        raise Unavailable(f"the Redis Cluster did not answer: {error}") from error


def _address(client: Any) -> str:
    """Return where a client connects to, as a URL without user, password and options."""
    if isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster)):
        settings: Any = client.get_connection_kwargs()
        tls = settings.get("ssl") or _is_tls(settings.get("connection_class", object))
        nodes = ",".join(_host_and_port(node.host, int(node.port)) for node in client.startup_nodes)
        return f"redis{'s' if tls else ''}+cluster://{nodes}"
    pool = client.connection_pool
    settings = pool.connection_kwargs
    db = settings.get("db") or 0
    scheme = "rediss" if _is_tls(pool.connection_class) else "redis"
    if sentinel := getattr(pool, "sentinel_manager", None):
        pools = [each.connection_pool.connection_kwargs for each in sentinel.sentinels]
        nodes = ",".join(sorted(_host_and_port(each["host"], each["port"]) for each in pools))
        return f"{scheme}+sentinel://{nodes}/{pool.service_name}/{db}"
    if path := settings.get("path"):
        return f"unix://{quote(path)}{f'?db={db}' if db else ''}"
    return f"{scheme}://{_host_and_port(settings.get('host', 'localhost'), settings.get('port', 6379))}/{db}"


def _is_tls(connection_class: type) -> bool:
    return issubclass(connection_class, (redis.SSLConnection, redis.asyncio.SSLConnection))


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
