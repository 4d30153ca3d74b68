"""Calls of workers whose replies are lost, late or never read: what they did counts once, and what they hold is held by nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import redisopt
from redisopt.batch import settling
from redisopt.scripts import script
from tests.batches import PATIENT, BatchFace, Notes, doubled, noted
from tests.fragile import Lateness
from tests.proxy import Delayed, Fate, Proxy, Words, is_script
from tests.servers import RunningServer
from tests.waiting import wait_until

pytestmark = pytest.mark.fleet


@pytest.fixture
def proxy(server: RunningServer, client: redis.Redis) -> Iterator[Proxy]:
    """Before the server, which knows the scripts already."""
    for name in ("batch_settle", "batch_claim", "batch_release", "batch_cancel", "batch_replay"):
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
            assert time.monotonic() - began < 9 + late.seconds  # and the lease lasts ten
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


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_cancel_and_a_replay_are_answered_alike_when_they_are_sent_again(
    server: RunningServer, proxy: Proxy, kind: str
) -> None:
    batcher = BatchFace(
        kind, proxy.url, "test", lambda items: [redisopt.Fatal("no")] * len(items), max_size=1, max_delay=60
    )
    ids = [ticket.name for ticket in batcher.add_many(range(3), "ada")]
    for _ in range(2):
        with proxy.during(on_calls_of("batch_cancel", Fate.CUT_REPLY, 1)):
            assert batcher.cancel(ids.pop())
    assert not batcher.cancel("unknown")
    batcher.add_many(range(600), "ada")
    with proxy.during(on_calls_of("batch_cancel", Fate.CUT_REPLY, 1)):
        assert batcher.cancel_key("ada") == 601
    with batcher.worker():
        dead = batcher.add_many(range(3), ids=["a", "b", "c"])
        wait_until(lambda: batcher.metrics().dead == len(dead))
    with proxy.during(on_calls_of("batch_replay", Fate.CUT_REPLY, 1)):
        assert batcher.replay(["a", "b"]) == 2
    with proxy.during(on_calls_of("batch_replay", Fate.CUT_REPLY, 1)):
        assert batcher.replay() == 1
    assert batcher.metrics().cancelled == 603
    with batcher.worker():
        wait_until(lambda: batcher.metrics().dead == len(dead))
    batcher.close()


def large_settlements(fate: Any) -> Callable[[Words], Any]:
    """What becomes of those that carry a large result."""
    sha = script("batch_settle").sha.encode()

    def decide(words: Words) -> Any:
        return fate if is_script(words) and words[1] == sha and sum(map(len, words)) > 50_000 else Fate.PASS

    return decide


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_result_that_cannot_be_sent_fails_its_item_though_the_lease_is_renewed(
    server: RunningServer, proxy: Proxy, notes: Notes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over a link that is too slow for it: the worker goes on with others, and the item is not held for good."""
    monkeypatch.setattr(settling, "_GIVES_UP", 0.5)
    batcher = BatchFace(
        kind, proxy.url, "test", noted(server.url, lambda items: [b"x" * item for item in items]),
        max_size=1, max_delay=0.0, lease_ttl=1.0, max_attempts=2, backoff_base=0.01, command_timeout=0.5,
    )  # fmt: skip
    with proxy.during(large_settlements(Fate.CUT_REQUEST)), batcher.worker():
        large, small = batcher.add_many([100_000, 10])
        with pytest.raises(redisopt.BatchItemFailed, match="could not be stored") as failed:
            batcher.result(large, 30)
        assert len(batcher.result(small)) == 10
    metrics = batcher.metrics()
    batcher.close()

    assert (failed.value.error_type, failed.value.attempts) == ("ResultLost", 2)
    assert (metrics.failed, metrics.dead, metrics.running, metrics.reclaimed) == (1, 1, 0, 0)
    assert sorted(item for run in notes.runs() for item in run.items) == [10, 100_000, 100_000]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_no_repetition_settles_is_not_repeated(
    server: RunningServer, client: redis.Redis, notes: Notes, kind: str
) -> None:
    """Each attempt fails at once, and the last one as a delivery that was lost: there is a bound to it."""
    outcomes = "redisopt:v1:{batch:test}:outcomes"
    batcher = BatchFace(
        kind, server.url, "test", noted(server.url, doubled),
        max_size=1, max_delay=0.0, lease_ttl=0.5, max_attempts=1, max_deliveries=2,
    )  # fmt: skip
    batcher.add(1)
    client.set(outcomes, "somebody else's", ex=600)
    with batcher.worker():
        wait_until(lambda: batcher.metrics().reclaimed >= 2, 20)
        runs = len(notes.runs())
        client.delete(outcomes)
        wait_until(lambda: batcher.metrics().failed == 1, 10)
    batcher.close()

    assert runs == 2


def claims_lost(seconds: float) -> Callable[[Words], Any]:
    """For so long after the first claim, claims are made and the replies are lost; looks are answered."""
    sha, until = script("batch_claim").sha.encode(), [0.0]

    def decide(words: Words) -> Any:
        if is_script(words) and words[1] == sha and words[3 + int(words[2])] != b"-":
            until[0] = until[0] or time.monotonic() + seconds
            return Fate.CUT_REPLY if time.monotonic() < until[0] else Fate.PASS
        return Fate.PASS

    return decide


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_permit_stays_taken_until_the_claim_for_it_is_answered(
    server: RunningServer, proxy: Proxy, notes: Notes, kind: str
) -> None:
    """Two batches are allowed, and the first was claimed though no reply to that came: no third one runs."""
    batcher = BatchFace(
        kind, proxy.url, "test", noted(server.url, doubled),
        max_size=1, max_delay=0.0, command_timeout=0.3, throttle={"rates": ["2/30s"], "command_timeout": 5.0},
    )  # fmt: skip
    tickets = batcher.add_many(range(4))
    with proxy.during(claims_lost(0.5)), batcher.worker():
        notes.wait_for(2)
        time.sleep(1.0)
        assert len(notes.runs()) == 2
    for ticket in tickets[2:]:
        assert batcher.wait_for(ticket.cancel())
    assert batcher.metrics().reclaimed == 0
    batcher.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_worker_that_stops_gives_back_a_claim_without_a_reply_and_its_permit(
    server: RunningServer, proxy: Proxy, client: redis.Redis, kind: str
) -> None:
    fields: Any = {"max_size": 1, "max_delay": 0.0, "lease_ttl": 30.0}
    throttle: Any = {"max_concurrent": 1, "command_timeout": 5.0}
    batcher = BatchFace(kind, proxy.url, "test", doubled, command_timeout=0.3, throttle=throttle, **fields)
    other = BatchFace(kind, server.url, "test", doubled, throttle=throttle, **fields)
    ticket = batcher.add(1)
    held = "redisopt:v1:{batch:test}:held"
    with proxy.during(claims_lost(60)):
        with batcher.worker(grace=0.1):
            wait_until(lambda: client.exists(held))
            time.sleep(0.4)
        assert not client.exists(held)
    with Lateness() as late, other.worker():
        began = time.monotonic()
        assert other.result(ticket.name) == 2
        assert time.monotonic() - began < 3 + late.seconds
    batcher.close()
    other.close()


def test_a_batch_that_is_given_back_unrun_gives_its_permit_back(
    server: RunningServer, client: redis.Redis, make_batcher: Any
) -> None:
    """As one that a worker claims while it is told to stop: neither its slot nor its rate is taken."""
    batcher = make_batcher(
        doubled, max_size=1, max_delay=0.0, throttle={"rates": ["10/60s"], "max_concurrent": 1, "command_timeout": 5.0}
    )
    with redisopt.Throttler(client, "test", rates=["10/60s"], max_concurrent=1, **PATIENT) as limit:
        ours = limit.acquire()
        with batcher.worker() as worker:
            ticket = batcher.add(1)
            wait_until(lambda: limit.metrics().queue_length == 1)
            stopping = threading.Thread(target=lambda: batcher._call(worker.stop))
            stopping.start()
            wait_until(lambda: worker._shift.stopping)
            ours.release()
            stopping.join(20)
        assert sorted(each.remaining for each in limit.peek().limits) == [
            1,
            9,
        ]  # the slot, and all of the rate but ours
    assert batcher.metrics().pending == 1
    with batcher.worker():
        assert batcher.result(ticket) == 2


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_permit_whose_refund_fails_is_released_all_the_same(
    server: RunningServer, proxy: Proxy, client: redis.Redis, kind: str
) -> None:
    """For a batch that another worker was quicker to take."""
    client.script_load(script("throttle_refund").source)
    fields: Any = {"max_size": 1, "max_delay": 0.0}
    throttle: Any = {"rates": ["1000/s"], "max_concurrent": 1, "command_timeout": 0.3, "lease_ttl": 1.0}
    batcher = BatchFace(kind, proxy.url, "test", doubled, throttle=throttle, **fields)
    other = BatchFace(kind, server.url, "test", doubled, **fields)
    batcher.pause()
    ticket = batcher.add(1)
    with proxy.during(paused_between_look_and_claim(client, on_calls_of("throttle_refund", Fate.CUT_REQUEST))):
        batcher.resume()
        with batcher.worker():
            wait_until(lambda: batcher.metrics().paused, 10)
            time.sleep(1.5)
    batcher.resume()
    with Lateness() as late, batcher.worker():
        began = time.monotonic()
        assert other.result(ticket.name) == 2
        assert time.monotonic() - began < 3 + late.seconds
    batcher.close()
    other.close()


def paused_between_look_and_claim(client: redis.Redis, otherwise: Callable[[Words], Any]) -> Callable[[Words], Any]:
    """Somebody pauses the batcher just before the first claim, so that its permit is not needed."""
    sha, paused = script("batch_claim").sha.encode(), [False]

    def decide(words: Words) -> Any:
        if not paused[0] and is_script(words) and words[1] == sha and words[3 + int(words[2])] != b"-":
            paused[0] = True
            client.hset("redisopt:v1:{batch:test}:state", "paused", 1)
        return otherwise(words)

    return decide


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("helped", [True, False])
def test_a_batch_whose_reply_cannot_be_read_in_time_is_left_to_others_or_taken_in_parts(
    server: RunningServer, proxy: Proxy, notes: Notes, kind: str, helped: bool
) -> None:
    """A worker whose connection is too slow for it does not keep it from the others by asking again and again."""
    sha = script("batch_claim").sha.encode()

    def large_ones_come_late(words: Words) -> Any:
        if is_script(words) and words[1] == sha and words[3 + int(words[2])] != b"-":
            return Delayed(1.0) if int(words[3 + int(words[2]) + 3]) > 16 else Fate.PASS
        return Fate.PASS

    fields: Any = {"max_size": 64, "max_delay": 0.0, "lease_ttl": 5.0}
    slow = BatchFace(kind, proxy.url, "test", noted(server.url, doubled), command_timeout=0.3, **fields)
    good = BatchFace(kind, server.url, "test", noted(server.url, doubled), **fields)
    with proxy.during(large_ones_come_late), slow.worker(), Lateness() as late:
        tickets = good.add_many(range(64))
        wait_until(lambda: good.metrics().running > 0)
        began = time.monotonic()
        if helped:
            with good.worker():
                assert [good.result(ticket) for ticket in tickets] == doubled(list(range(64)))
            assert time.monotonic() - began < 8 + late.seconds
        else:
            assert [good.result(ticket, 20) for ticket in tickets] == doubled(list(range(64)))
            assert max(len(run.items) for run in notes.runs()) <= 16
    assert good.metrics().reclaimed == 0
    slow.close()
    good.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_claim_that_ends_with_an_error_is_not_renewed_for_good(
    server: RunningServer, proxy: Proxy, client: redis.Redis, kind: str
) -> None:
    """Of a claim that was made, and whose lease each further call renews before it fails."""
    tries, leases = "redisopt:v1:{batch:test}:tries", "redisopt:v1:{batch:test}:leases"
    batcher = BatchFace(kind, proxy.url, "test", doubled, max_delay=0.0, lease_ttl=30.0, command_timeout=0.3)
    ticket = batcher.add(1)
    with proxy.during(claims_lost(60)), batcher.worker():
        wait_until(lambda: client.zcard(leases), 10)
        client.set(tries, "somebody else's", ex=600)
        proxy.fate = lambda _: Fate.PASS
        wait_until(lambda: not client.zcard(leases), 15)
        client.delete(tries)
        assert batcher.result(ticket, 20) == 2
    batcher.close()


@pytest.mark.parametrize("way", [Fate.CUT_REQUEST, Delayed(0.6)])
def test_a_cancel_while_a_batch_is_settled_loses_neither_results_nor_the_batch(
    server: RunningServer, proxy: Proxy, notes: Notes, way: Any
) -> None:
    """What is known is sent once more."""
    fields: Any = {"max_size": 4, "max_delay": 0.0, "lease_ttl": 30.0}
    batcher = BatchFace("async", proxy.url, "test", noted(server.url, doubled), command_timeout=2.0, **fields)
    other = BatchFace("async", server.url, "test", noted(server.url, doubled), **fields)
    with Lateness() as late:
        with proxy.during(on_calls_of("batch_settle", way, 8 if way is Fate.CUT_REQUEST else 1)):
            with batcher.worker(grace=0.2):
                tickets = other.add_many(range(4))
                notes.wait_for(1)
                time.sleep(0.2)
            began = time.monotonic()
            with other.worker():
                assert [other.result(ticket) for ticket in tickets] == doubled(list(range(4)))
        assert time.monotonic() - began < 5 + late.seconds
    metrics = other.metrics()
    batcher.close()
    other.close()

    assert (metrics.done, metrics.reclaimed) == (4, 0)
    assert len(notes.runs()) == 1


def test_a_handler_that_outlives_its_worker_learns_that_its_batch_was_given_back(make_batcher: Any) -> None:
    over = threading.Event()
    lost: list[bool] = []

    def handle(items: list[Any], run: Any) -> list[Any]:
        if not lost:
            lost.append(run.lost)
            over.wait(10)
            lost.append(run.lost)
        return doubled(items)

    batcher = make_batcher(handle, max_delay=0.0, lease_ttl=30.0)
    if batcher.kind == "async":
        return  # a handler of this face holds up its event loop
    with batcher.worker(concurrency=2, grace=0.1):
        ticket = batcher.add(1)
        wait_until(lambda: lost)
    over.set()
    wait_until(lambda: len(lost) == 2)
    with batcher.worker():
        assert batcher.result(ticket) == 2

    assert lost == [False, True]
