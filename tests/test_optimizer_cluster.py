"""An optimizer on a local Redis Cluster: its parts lie on different nodes, and go together in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import redisopt
from tests.cluster import Cluster
from tests.test_optimizer import SECTIONS

pytestmark = pytest.mark.fleet

FIELDS: Any = SECTIONS | {"command_timeout": 10.0}
ALL: Any = {"throttle": True, "debounce": True, "batch": True, "timeout": 30.0, "cache": "answer", "fallback": "none"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster, started once; every key that is left in it has a time to live."""
    with Cluster() as cluster:
        yield cluster
        for admin in cluster.admins:
            assert [key for key in admin.scan_iter() if admin.pttl(key) == -1] == []


def test_all_parts_go_together(cluster: Cluster) -> None:
    with redisopt.connect(cluster.url) as client, redisopt.Optimizer(client, "sync", **FIELDS) as optimizer:
        assert optimizer.optimize(lambda: 42, **ALL) == 42
        tries = []

        def fail_once() -> str:
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError
            return "second"

        assert optimizer.optimize(fail_once, throttle=True, key="ada") == "second"

        @optimizer.operation(batch=True, debounce=True, throttle=True)
        def double(items: list[int]) -> list[int]:
            return [2 * item for item in items]

        with optimizer.worker():
            assert double(21) == 42
        metrics = optimizer.metrics()
        assert metrics.batching["double"].done == 1
        assert metrics.performance is not None
        assert metrics.performance.count == 3
        assert metrics.caching is not None
        assert metrics.caching.computed == 1


def test_all_parts_go_together_in_tasks(cluster: Cluster) -> None:
    async def main() -> None:
        async with (
            redisopt.connect_async(cluster.url) as client,
            redisopt.AsyncOptimizer(client, "async", **FIELDS) as optimizer,
        ):

            async def answer() -> int:
                return 42

            assert await asyncio.gather(*(optimizer.optimize(answer, **ALL) for _ in range(5))) == [42] * 5

            @optimizer.operation(batch=True, throttle=True)
            async def double(items: list[int]) -> list[int]:
                return [2 * item for item in items]

            async with optimizer.worker():
                assert list(await asyncio.gather(*(double(item) for item in range(5)))) == [0, 2, 4, 6, 8]

    asyncio.run(main())
