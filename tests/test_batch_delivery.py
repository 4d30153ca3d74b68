"""Calls of workers whose replies are lost, late or never read: what they did counts once, and what they hold is held by nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import redisopt
from redisopt.scripts import script
from tests.batches import BatchFace, Notes, doubled, noted
from tests.fragile import Lateness
from tests.proxy import Fate, Proxy, Words, is_script
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet


@pytest.fixture
def proxy(server: RunningServer, client: redis.Redis) -> Iterator[Proxy]:
    """Before the server, which knows the scripts already."""
    for name in ("batch_settle", "batch_claim", "batch_release"):
        client.script_load(script(name).source)
    with Proxy(server.url) as proxy:
        yield proxy


def on_calls_of(name: str, fate: Any, number: int = 1_000_000) -> Callable[[Words], Any]:
    """What becomes of the first so many calls of a script."""
    sha, left = script(name).sha.encode(), [number]

    def decide(words: Words) -> Any:
        if is_script(words) and words[1] == sha and left[0] > 0:
            left[0] -= 1
            return fate
        return Fate.PASS

    return decide


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("tries", [1, 40])
def test_a_batch_goes_on_though_the_reply_to_a_settlement_was_lost(
    server: RunningServer, proxy: Proxy, notes: Notes, kind: str, tries: int
) -> None:
    """Of a batch that is being parted to find a culprit, the rest is run now, and not when its lease is over: also where a
    whole call's time went by without a reply."""

    def handle(items: list[Any]) -> list[Any]:
        if 7 in items:
            raise ValueError("poison")
        return doubled(items)

    batcher = BatchFace(
        kind, proxy.url, "test", noted(server.url, handle),
        max_size=8, max_delay=0.05, max_attempts=1, lease_ttl=10.0, command_timeout=0.3,
    )  # fmt: skip
    with Lateness() as late:
        began = time.monotonic()
        with proxy.during(on_calls_of("batch_settle", Fate.CUT_REPLY, tries)), batcher.worker():
            tickets = batcher.add_many(range(8))
            assert [batcher.result(ticket) for ticket in tickets[:7]] == doubled(list(range(7)))
            with pytest.raises(redisopt.BatchItemFailed, match="poison"):
                batcher.result(tickets[7])
            assert time.monotonic() - began < 5 + late.seconds
    metrics = batcher.metrics()
    batcher.close()

    assert (metrics.done, metrics.failed, metrics.reclaimed) == (7, 1, 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_settlement_of_retries_is_known_when_it_is_sent_again(
    server: RunningServer, proxy: Proxy, notes: Notes, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(items: list[Any], run: Any) -> list[Any]:
        notes.note(items, run)
        return [OSError("once") if attempt == 1 else item for item, attempt in zip(items, run.attempts, strict=True)]

    batcher = BatchFace(kind, proxy.url, "test", handle, max_size=4, max_delay=0.0, backoff_base=0.05)
    with proxy.during(on_calls_of("batch_settle", Fate.CUT_REPLY, 1)), batcher.worker():
        tickets = batcher.add_many(range(4))
        assert [batcher.result(ticket) for ticket in tickets] == list(range(4))
    metrics = batcher.metrics()
    batcher.close()

    assert (metrics.done, metrics.retried, metrics.reclaimed) == (4, 4, 0)
    assert len(notes.runs()) == 2
    assert "too late" not in caplog.text
