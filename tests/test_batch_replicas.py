"""`wait_replicas`: an item that was added is on so many replicas, so that a failover does not lose it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from pydantic import ValidationError

import redisopt
from redisopt.server import EmbeddedServer
from tests.batches import BatchFace, doubled
from tests.cluster import free_ports
from tests.servers import binary
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet
FIELDS: Any = {"max_delay": 0.01, "wait_replicas": 1, "command_timeout": 1.0}


class Pair:
    """A primary and its replica."""

    def __init__(self) -> None:
        self.servers = [EmbeddedServer(binary("valkey-9.1"), port=port) for port in free_ports(2)]
        self.clients: list[Any] = [redis.from_url(server.url, decode_responses=True) for server in self.servers]
        port = self.clients[0].config_get("port")["port"]
        self.clients[1].replicaof("127.0.0.1", port)
        wait_until(lambda: self.clients[1].info("replication")["master_link_status"] == "up", 20)

    @property
    def replica(self) -> int:
        """The process of the replica."""
        return int(self.clients[1].info("server")["process_id"])

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for server in self.servers:
            server.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_was_added_runs_after_a_failover(pair: Pair, kind: str) -> None:
    adder = BatchFace(kind, pair.servers[0].url, "test", **FIELDS)
    tickets = adder.add_many(range(100))
    adder.close()
    pair.clients[1].replicaof("NO", "ONE")
    pair.servers[0].close()
    worker = BatchFace(kind, pair.servers[1].url, "test", doubled, **FIELDS | {"wait_replicas": 0})
    with worker.worker():
        assert [worker.wait_for(worker.real.result(ticket.id, 20)) for ticket in tickets] == doubled(list(range(100)))
    worker.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_no_replica_has_is_said_and_stays(pair: Pair, kind: str) -> None:
    """Within command_timeout and what a server takes to notice; added again under its id, it is the same item."""
    batcher = BatchFace(kind, pair.servers[0].url, "test", doubled, **FIELDS)
    assert batcher.add(1, id="first")
    stopped = pair.replica
    os.kill(stopped, signal.SIGSTOP)
    try:
        with pytest.raises(redisopt.Unavailable, match="0 do: a failover may lose it") as raised:
            batcher.add(2, id="second")
        assert raised.value.sent
    finally:
        os.kill(stopped, signal.SIGCONT)
    wait_until(lambda: pair.clients[0].wait(1, 100) == 1, 20)
    ticket = batcher.add(2, id="second")
    with batcher.worker():
        assert batcher.result(ticket, 20) == 4
        wait_until(lambda: batcher.metrics().done == 2)
    assert batcher.metrics().added == 2
    batcher.close()


def test_bad_numbers_are_refused() -> None:
    for number in (-1, 101, 1.5):
        with pytest.raises(ValidationError, match="wait_replicas"):
            redisopt.BatchConfig(wait_replicas=number)  # type: ignore[arg-type]
