"""A batcher on a local Redis Cluster: all of its keys lie in one slot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import redisopt
from tests.batches import doubled
from tests.cluster import Cluster

pytestmark = pytest.mark.fleet
FIELDS: Any = {"max_size": 10, "max_delay": 0.02, "command_timeout": 10.0}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster, started once; every key that is left in it has a time to live."""
    with Cluster() as cluster:
        yield cluster
        for admin in cluster.admins:
            assert [key for key in admin.scan_iter() if admin.pttl(key) == -1] == []


def test_batches_go_through_a_cluster(cluster: Cluster) -> None:
    with (
        redisopt.connect(cluster.url) as client,
        redisopt.Batcher(client, "sync", handler=doubled, **FIELDS) as batcher,
    ):
        assert batcher.map(range(100), key=lambda item: f"key {item % 3}") == doubled(list(range(100)))
        with batcher.worker(concurrency=2):
            assert [ticket.result(10) for ticket in batcher.add_many(range(25))] == doubled(list(range(25)))


def test_tasks_go_through_a_cluster(cluster: Cluster) -> None:
    async def main() -> None:
        async with redisopt.connect_async(cluster.url) as client:

            @redisopt.async_batched(client, "async", **FIELDS)
            async def double(items: list[int]) -> list[int]:
                return doubled(items)

            assert await asyncio.gather(*(double(item) for item in range(50))) == doubled(list(range(50)))
            await double.aclose()

    asyncio.run(main())
