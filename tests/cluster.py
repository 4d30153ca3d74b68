"""A local Redis Cluster of three primaries, for as long as the tests need it.

Each node is an embedded server of its own, on a free TCP port and in a directory of its own; the slots are dealt out and
the nodes introduced with plain commands, so that no redis-cli is needed.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Self

import redis

from redisopt.server import EmbeddedServer
from tests.servers import binary
from tests.waiting import wait_until

SLOTS = 16384
NODES = 3


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(probe.getsockname()[1]) for probe in probes]


class Cluster:
    """Three nodes that serve all slots.

    Attributes:
        nodes: the servers.
        admins: a plain client for each, over its unix socket.
        ports: their TCP ports.
        url: as `redisopt.connect` takes it.
    """

    def __init__(self) -> None:
        ports = free_ports(2 * NODES)
        self.ports, buses = ports[:NODES], ports[NODES:]
        self.nodes: list[EmbeddedServer] = []
        self.admins: list[Any] = []
        try:
            for port, bus in zip(self.ports, buses, strict=True):
                options = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "5000"]
                self.nodes.append(EmbeddedServer(binary=binary("valkey-9.1"), port=port, args=options))
                self.admins.append(redis.from_url(self.nodes[-1].url, decode_responses=True))
            self._join(buses)
        except BaseException:
            self.close()
            raise
        self.url = f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in self.ports)}"

    def _join(self, buses: list[int]) -> None:
        bounds = [SLOTS * node // NODES for node in range(NODES + 1)]
        for number, admin in enumerate(self.admins):
            admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            if number:
                admin.execute_command("CLUSTER", "MEET", "127.0.0.1", self.ports[0], buses[0])
        wait_until(lambda: all(map(_is_whole, self.admins)), timeout=20, message="the nodes did not find each other")

    def empty(self) -> None:
        """Delete all keys and scripts."""
        for admin in self.admins:
            admin.flushall()
            admin.script_flush()

    def keys_of_nodes(self) -> list[list[str]]:
        """The keys on each node."""
        return [list(admin.scan_iter(count=1000)) for admin in self.admins]

    def owner(self, slot: int) -> int:
        """The number of the node that serves a slot."""
        shards: Any = self.admins[0].execute_command("CLUSTER", "SLOTS")
        (port,) = [int(shard[2][1]) for shard in shards if shard[0] <= slot <= shard[1]]
        return self.ports.index(port)

    def close(self) -> None:
        """Stop the nodes."""
        for admin in self.admins:
            admin.close()
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_whole(admin: Any) -> bool:
    known = set(admin.execute_command("CLUSTER", "INFO").split())
    return {"cluster_state:ok", f"cluster_known_nodes:{NODES}", f"cluster_size:{NODES}"} <= known
