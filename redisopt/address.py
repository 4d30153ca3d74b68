"""Where a Redis is: the URLs that name one, what they say, and what is wrong with those that do not.

No message repeats a URL: where a password in it is not percent-encoded, any part may be a piece of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from redis.asyncio.connection import parse_url

ENVIRONMENT_VARIABLE = "REDISOPT_URL"
"""Where a URL is looked for when none is given."""

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
class Address:
    """What a URL says.

    Attributes:
        kind: ``"single"``, ``"cluster"`` or ``"sentinel"``.
        url: of a single server, as redis-py reads it; else empty.
        settings: redis-py's, for connections.
        nodes: host and port of each node of the cluster, or of each sentinel.
        service: what the sentinels call the primary.
    """

    kind: str
    url: str
    settings: dict[str, Any]
    nodes: list[tuple[str, int]]
    service: str


def parse(url: object, name: str) -> Address:
    """Read a URL.

    Args:
        url: what was given.
        name: what messages call it: who has to mend it should know where it stands.

    Raises:
        ValueError: it cannot be used.
    """
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


def _parse_rest(scheme: str, rest: str) -> Address:
    kind, tls, _ = _SCHEMES[scheme]
    parts = urlsplit(f"//{rest}")
    path = parts.path.strip("/")
    if kind == "single":
        settings: Any = parse_url(f"{scheme}://{rest}")
        _require(path if scheme == "unix" else not path or path.isdigit())
        _require(not parts.fragment)
        return Address(kind, f"{scheme}://{rest}", settings, [], "")
    user, at, hosts = parts.netloc.rpartition("@")
    service, _, db = path.partition("/") if kind == "sentinel" else ("", "", path)
    _require(not parts.fragment and (not db or db.isdigit()) and (service or kind == "cluster"))
    settings = parse_url(urlunsplit(("redis", user + at, f"/{db}", parts.query, "")))
    nodes = [_parse_node(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(",")]
    if kind == "cluster":
        _require(not settings.pop("db", 0))  # a cluster has one database
    return Address(kind, "", settings | ({"ssl": True} if tls else {}), nodes, unquote(service))


def _parse_node(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    _require(parts.hostname)
    return cast("str", parts.hostname), parts.port or default_port


def _require(condition: object) -> None:
    if not condition:
        raise ValueError
