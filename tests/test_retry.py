"""What the network and the server can do to a call, and that it counts once all the same, or fails in time and says why.

A proxy loses requests and replies, the server is stopped, killed, filled, demoted and locked, callers are cancelled. What
was charged is what the limiter's logs hold. Where the server is silent its clock can't judge: then a call may take its
`command_timeout`, a fifth more, and what this busy machine needs to wake a thread.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

import redisopt
from redisopt import events, keys
from redisopt.connect import connect, connect_async
from redisopt.scripts import script
from tests.faces import Face
from tests.proxy import Delayed, Fate, Proxy, Words, call_id, first_copies, is_script
from tests.servers import RunningServer, binary
from tests.waiting import wait_until

LIMIT = 1_000_000
PLENTY: Any = {"rates": [f"{LIMIT}/h"], "command_timeout": 10.0}
HASTY: Any = {"rates": [f"{LIMIT}/h"]}  # the default command_timeout

KINDS = ["sync", "async"]
CLIENTS = ["ours", "retrying", "unknown"]


class Unknown:
    """A connection that is not one of redis-py's, so that calls go through the client itself."""

    kind: Any = redis.UnixDomainSocketConnection

    def __init__(self, **arguments: Any) -> None:
        self._real = self.kind(**arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class AsyncUnknown(Unknown):
    """The same for asyncio."""

    kind = redis.asyncio.UnixDomainSocketConnection


def make_client(kind: str, which: str, url: str) -> Any:
    """Our own client; one with redis-py's retries on and a long timeout; the same whose connections are of an unknown class."""
    if which == "ours":
        return connect(url) if kind == "sync" else connect_async(url)
    flavour, retry, unknown = (
        (redis, Retry(NoBackoff(), 10), Unknown)
        if kind == "sync"
        else (redis.asyncio, AsyncRetry(NoBackoff(), 10), AsyncUnknown)
    )
    settings: Any = {"path": url.removeprefix("unix://"), "retry": retry, "socket_timeout": 30}
    known: Any = flavour.UnixDomainSocketConnection
    pool: Any = flavour.ConnectionPool(connection_class=known if which == "retrying" else unknown, **settings)
    client: Any = flavour.Redis(connection_pool=pool)
    return client


class FaceOf(Face):
    """A throttle over a given client."""

    def __init__(self, kind: str, client: Any, loop: asyncio.Runner, name: str = "test", **fields: Any) -> None:
        self.kind, self.client, self._loop = kind, client, loop
        maker: Any = redisopt.Throttler if kind == "sync" else redisopt.AsyncThrottler
        self.real = maker(client, name, **fields)

    def close(self) -> None:
        """Close the client's pool as well, which belongs to who made it."""
        self.wait_for(self.client.connection_pool.disconnect())
        super().close()


@pytest.fixture
def proxy(server: RunningServer) -> Iterator[Proxy]:
    """A proxy before the server."""
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The sync class or the async one."""
    return str(request.param)


@pytest.fixture
def make(kind: str, loop: asyncio.Runner) -> Iterator[Callable[..., Face]]:
    """Makes throttles over clients of a sort; closes them after."""
    faces: list[Face] = []

    def make(url: str, which: str = "ours", **fields: Any) -> Face:
        faces.append(FaceOf(kind, make_client(kind, which, url), loop, **fields))
        return faces[-1]

    yield make
    for face in faces:
        face.close()


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """The events of this process."""
    heard: list[events.Event] = []
    hook = heard.append
    events.add_hook(hook)
    yield heard
    events.remove_hook(hook)


def charged(client: redis.Redis, period_ms: int = 3_600_000) -> int:
    """What the limiter's log holds: its sum, which must be that of its entries."""
    tag = keys.tag("throttle", "test")
    sums: Any = client.hget(f"{tag}state", f"log:{period_ms}") or b"0 0 0 0"
    used, _, _, newest = map(int, sums.split())
    entries: Any = client.lrange(f"{tag}log:{period_ms}", 0, -1)
    assert used == newest + sum(int(entry.split(b":")[1]) for entry in entries)
    return used


def contents(client: redis.Redis) -> dict[Any, Any]:
    """All that stands in redisopt's keys."""
    return {key: client.dump(key) for key in client.scan_iter("redisopt:*")}


@contextmanager
def in_time(command_timeout: float = 0.5) -> Iterator[None]:
    """The block takes no longer than the longest call may, and than a thread that only sleeps was kept waiting meanwhile."""
    late, over = 0.0, threading.Event()

    def sleep() -> None:
        nonlocal late
        while not over.is_set():
            before = time.monotonic()
            time.sleep(0.01)
            late += time.monotonic() - before - 0.01

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    started = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - started
        over.set()
        sleeper.join()
        assert took <= 1.2 * command_timeout + 0.1 + late, f"{took:.3f} s, of which {late:.3f} s for a busy machine"


@contextmanager
def stopped(server: RunningServer) -> Iterator[None]:
    """The server's process stands still during the block, 3 seconds at most; its sockets stay open."""
    if server.process is None:
        pytest.skip("a server that is not ours cannot be stopped")
    os.kill(server.process.pid, signal.SIGSTOP)
    end = threading.Timer(3, os.kill, (server.process.pid, signal.SIGCONT))
    end.start()
    try:
        yield
    finally:
        end.cancel()
        os.kill(server.process.pid, signal.SIGCONT)


# --- lost on the way


@pytest.mark.parametrize("which", CLIENTS)
@pytest.mark.parametrize("fate", [Fate.CUT_REPLY, Fate.CUT_REQUEST])
def test_a_thousand_calls_that_are_cut_are_charged_once_each(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy, heard: list[Any], which: str, fate: Fate
) -> None:
    """The server's lane memory answers what is sent again, whoever sends it: we, or redis-py below us."""
    calls = 1000 if fate is Fate.CUT_REPLY else 200
    face = make(proxy.url, which, **PLENTY)
    with proxy.during(first_copies(fate)):
        assert all(face.try_acquire() for _ in range(calls))
    assert charged(client) == calls
    retried = [event for event in heard if isinstance(event, events.Retried)]
    assert len(retried) == (0 if which == "unknown" else calls)


def test_threads_under_a_storm_of_cuts_and_delays_get_every_answer_of_their_own(
    client: redis.Redis, proxy: Proxy
) -> None:
    """Replies cut, requests cut, replies late, eight threads on one client."""
    dice = random.Random(4711)

    def storm(words: Words) -> Any:
        return (
            dice.choice([Fate.PASS, Fate.CUT_REPLY, Fate.CUT_REQUEST, Delayed(0.005)])
            if is_script(words)
            else Fate.PASS
        )

    def call(throttler: redisopt.Throttler) -> list[str]:
        permits = [throttler.try_acquire().permit for _ in range(25)]
        return [permit.id for permit in permits if permit is not None]

    with (
        proxy.during(storm),
        redisopt.Throttler(make_client("sync", "ours", proxy.url), "test", **PLENTY) as throttler,
        ThreadPoolExecutor(8) as pool,
    ):
        ids = [permit for done in [pool.submit(call, throttler) for _ in range(8)] for permit in done.result()]
    assert len(set(ids)) == 200 == charged(client)


def test_a_refund_whose_reply_is_cut_gives_back_once(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """As every script that changes what is charged: refund, settle down, settle up."""
    face = make(proxy.url, **PLENTY)
    permits = [face.try_acquire(cost=5).permit for _ in range(60)]
    with proxy.during(first_copies(Fate.CUT_REPLY)):
        for first, second, third in zip(permits[::3], permits[1::3], permits[2::3], strict=True):
            assert face.refund(first, 2)
            assert face.settle(second, 1)
            assert face.settle(third, 6)
    assert charged(client) == 20 * (3 + 1 + 6)


def test_a_call_that_was_given_up_takes_effect_at_most_once(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """It comes after the next one of its lane: too late. Before it: it is charged, as if its caller had died."""

    def strays(words: Words) -> Fate:  # every copy of the second call, and of the fourth
        return Fate.STRAY if is_script(words) and call_id(words)[1] in (b"2", b"4") else Fate.PASS

    face = make(proxy.url, **HASTY)
    with proxy.during(strays):
        assert face.try_acquire()
        with pytest.raises(redisopt.Unavailable), in_time():
            face.try_acquire()
        assert face.try_acquire()
        assert set(proxy.deliver_strays()) == {b"$5\r\nstale\r\n"}
        assert charged(client) == 2

        with pytest.raises(redisopt.Unavailable), in_time():
            face.try_acquire()
        assert len(set(proxy.deliver_strays())) == 1
        assert charged(client) == 3


def test_a_copy_that_comes_after_its_call_was_refused_is_not_charged(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """The first copy strays, the second is refused and its caller told so; then the first arrives, when there is room."""
    face = make(proxy.url, rates=["1/200ms"])
    assert face.try_acquire()
    with proxy.during(first_copies(Fate.STRAY)):
        assert not face.try_acquire()
    wait_until(lambda: face.peek())
    proxy.deliver_strays()
    assert face.try_acquire(), "somebody was charged who had been refused"


# --- a server that is away


def test_a_restarted_server_is_found_again_without_a_new_client(
    kind: str, make: Callable[..., Face], heard: list[Any]
) -> None:
    """While it is away each call fails in time; then the script is sent along, and all goes on."""
    directory = Path(tempfile.mkdtemp(prefix="redisopt-test-"))
    url = f"unix://{directory}/s"

    def start() -> subprocess.Popen[bytes]:
        options = ["--port", "0", "--unixsocket", str(directory / "s"), "--save", "", "--dir", str(directory)]
        process = subprocess.Popen([binary("redis-6.2"), *options], stdout=subprocess.DEVNULL)
        with redis.from_url(url) as probe:
            wait_until(lambda: answers(probe), timeout=10)
        return process

    server = start()
    try:
        faces = [make(url, which, **HASTY) for which in CLIENTS]
        assert all(face.try_acquire() for face in faces)
        server.kill()
        server.wait()
        for face in faces:
            for _ in range(2):
                with pytest.raises(redisopt.Unavailable, match=r"reached|answer"), in_time():
                    face.try_acquire()
        heard.clear()
        server = start()
        assert all(face.try_acquire() for face in faces)
        assert events.ScriptReloaded("throttle_acquire") in heard
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory)


def answers(client: redis.Redis) -> bool:
    """Whether the server is up."""
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.mark.parametrize("which", CLIENTS)
def test_a_server_that_stands_still_costs_a_call_its_command_timeout(
    make: Callable[..., Face], server: RunningServer, client: redis.Redis, which: str
) -> None:
    """Connected or not, whatever the client's own timeouts and retries; what was given up is charged at most once."""
    connected, fresh = make(server.url, which, **HASTY), make(server.url, which, **HASTY)
    assert connected.try_acquire()
    with stopped(server):
        for face in (connected, fresh):
            with pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
                face.try_acquire()
    assert connected.try_acquire()
    assert fresh.try_acquire()
    assert 3 <= charged(client) <= 5


def test_a_slow_server_costs_a_call_its_command_timeout_however_many_replies_it_owes(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """Each reply comes just in time, those to AUTH and SELECT too; all together do not."""
    face = make(f"{proxy.url.replace('://', '://default:any@')}?db=1", **HASTY)
    with proxy.during(lambda _: Delayed(0.4)), pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
        face.try_acquire()
    assert face.try_acquire()


@pytest.mark.parametrize("which", ["nobody listens", "no socket", "nobody accepts"])
def test_a_dead_address_costs_a_call_no_more_than_its_command_timeout(make: Callable[..., Face], which: str) -> None:
    """A port or path that nobody listens on, and a listener whose backlog is full, so that no connection comes about."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()
        if which == "nobody accepts":
            listener.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for each in crowd:
            each.setblocking(False)
            each.connect_ex((host, port))
        face = make("unix:///nowhere/redis.sock" if which == "no socket" else f"redis://{host}:{port}", **HASTY)
        for _ in range(2):
            with pytest.raises(redisopt.Unavailable, match="command_timeout"), in_time():
                face.try_acquire()
        for each in crowd:
            each.close()


# --- a server that refuses


def test_a_full_server_refuses_a_call_whole_and_says_so(make: Callable[..., Face], client: redis.Redis) -> None:
    """Nothing is written: not by a plain grant, a first one, one that waits, one of another config. A refund may pass."""
    face, waiting = make(client_url(client), **HASTY), make(client_url(client), name="other", rates=["2/h"])
    permits = [face.try_acquire(cost=3).permit for _ in range(3)]
    waiting.acquire(cost=2, key="line")
    other = make(client_url(client), rates=["9/min"])
    before = contents(client)
    policy: Any = client.config_get("maxmemory-policy")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        calls: list[Callable[[], Any]] = [
            face.try_acquire,
            lambda: face.try_acquire(key="new"),
            lambda: waiting.acquire(key="line", timeout=7200),
            other.try_acquire,
            lambda: face.settle(permits[0], 4),
        ]
        for call in calls:
            with pytest.raises(redisopt.Unavailable, match=r"maxmemory"):
                call()
            assert contents(client) == before
        assert face.peek().remaining == LIMIT - 9
        back = 0
        for permit in permits[1:]:
            try:
                back += 3 if face.refund(permit) else 0
            except redisopt.Unavailable as error:
                assert "maxmemory" in str(error)  # noqa: PT017 - either may happen
        assert charged(client) == 9 - back
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", policy["maxmemory-policy"])
    assert face.try_acquire()
    assert charged(client) == 10 - back


def test_a_read_only_replica_is_named_as_such(make: Callable[..., Face], client: redis.Redis) -> None:
    """The client has the wrong address, or the primary was demoted for good; where it is promoted in time, the call passes."""
    face = make(client_url(client), **HASTY)
    told = []
    client.replicaof("127.0.0.1", "1")
    try:
        for _ in range(3):  # the last of a call's tries may have too little time to be told
            with pytest.raises(redisopt.Unavailable) as raised, in_time():
                face.try_acquire()
            told.append(str(raised.value))
        assert [text for text in told if "connect to the primary" in text], told
        assert [text for text in told if "could not be reached" in text] == []
        promotion = threading.Timer(0.1, client.replicaof, ("NO", "ONE"))
        promotion.start()
        assert face.try_acquire()
        promotion.join()
    finally:
        client.replicaof("NO", "ONE")


def client_url(client: redis.Redis) -> str:
    """Where a client of a unix socket connects to."""
    return f"unix://{client.connection_pool.connection_kwargs['path']}"


# --- callers that go away


async def cancel(task: asyncio.Task[Any], times: int, dice: random.Random) -> None:
    """Cancel a task, and again so soon that it is still busy with the first."""
    for _ in range(times):
        task.cancel()
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("connected", [True, False])
def test_a_task_cancelled_at_any_moment_leaves_no_charge(
    client: redis.Redis, proxy: Proxy, times: int, connected: bool
) -> None:
    """Before its call, while it is sent or answered, when it is granted: charged is what was given, and no more."""
    dice = random.Random(times)
    given = 0

    async def take(throttler: redisopt.AsyncThrottler) -> None:
        nonlocal given
        await throttler.acquire()
        given += 1

    async def take_or_not(throttler: redisopt.AsyncThrottler) -> None:
        task = asyncio.create_task(take(throttler))
        if dice.random() < 0.2:
            await task
        else:
            await asyncio.sleep(dice.random() * 0.1)
            await cancel(task, times, dice)

    async def storm() -> None:
        one = redisopt.AsyncThrottler(connect_async(proxy.url), "test", **PLENTY)
        await asyncio.gather(*(take(one) for _ in range(40)))
        others = [redisopt.AsyncThrottler(connect_async(proxy.url), "test", **PLENTY) for _ in range(50)]
        with proxy.during(lambda words: Delayed(0.01) if not connected or is_script(words) else Fate.PASS):
            await asyncio.gather(*map(take_or_not, [one] * 100 if connected else others))
        await asyncio.gather(*(throttler.aclose() for throttler in [one, *others]))

    asyncio.run(storm())
    assert given >= 41
    assert charged(client) == given


@pytest.mark.parametrize("times", [1, 2])
def test_waiters_that_are_cancelled_give_their_places_back(
    server: RunningServer, client: redis.Redis, times: int
) -> None:
    """In any order, and however often: the line is empty, and the logs hold what was granted."""
    dice = random.Random(times)

    async def crowd() -> None:
        async with (
            connect_async(server.url) as own,
            redisopt.AsyncThrottler(own, "test", **PLENTY | {"rates": ["50/h"]}) as throttler,
        ):
            tasks = [asyncio.create_task(take(throttler)) for _ in range(90)]
            while (await throttler.metrics()).queue_length < 40:
                await asyncio.sleep(0.01)
            waiting = [task for task in tasks if not task.done()]
            dice.shuffle(waiting)
            await asyncio.gather(*(cancel(task, times, dice) for task in waiting))
            assert (await throttler.metrics()).queue_length == 0

    async def take(throttler: redisopt.AsyncThrottler) -> None:
        await throttler.acquire()

    asyncio.run(crowd())
    assert charged(client) == 50
    assert client.exists(f"{keys.tag('throttle', 'test')}holes") == 0


def test_a_cancelled_call_is_taken_back_although_the_network_fails_once_more(client: redis.Redis, proxy: Proxy) -> None:
    """What takes it back is as safe to repeat as the call, so it is sent again as well."""
    undone = []

    def fate(words: Words) -> Fate | Delayed:
        if words[:2] != [b"EVALSHA", script("throttle_undo").sha.encode()]:
            return Delayed(0.1)
        undone.append(words)
        return Fate.CUT_REQUEST if len(undone) == 1 else Fate.PASS

    async def interrupted() -> None:
        async with connect_async(proxy.url) as own, redisopt.AsyncThrottler(own, "test", **PLENTY) as throttler:
            await throttler.try_acquire()
            with proxy.during(fate):
                task = asyncio.create_task(throttler.try_acquire())
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(interrupted())
    assert len(undone) >= 1
    assert charged(client) == 1


def test_a_caller_that_is_interrupted_in_a_call_is_not_charged(client: redis.Redis, proxy: Proxy) -> None:
    """Ctrl-C while the reply is under way: the charge is taken back before the exception goes on."""
    calls: list[tuple[bytes, bytes]] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def strike(words: Words) -> Fate | Delayed:
        if not is_script(words) or call_id(words) in calls:
            return Fate.PASS
        calls.append(call_id(words))
        os.kill(os.getpid(), signal.SIGUSR1)
        return Delayed(0.1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with redisopt.Throttler(make_client("sync", "ours", proxy.url), "test", **PLENTY) as throttler:
            throttler.try_acquire()
            with proxy.during(strike), pytest.raises(KeyboardInterrupt):
                throttler.try_acquire()
            assert charged(client) == 1
            assert throttler.try_acquire()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_reply_that_has_come_is_read_however_long_the_event_loop_was_blocked(
    client: redis.Redis, proxy: Proxy
) -> None:
    """A handler that computes for longer than `command_timeout` does not make Redis unavailable."""

    async def block() -> bool:
        async with connect_async(proxy.url) as own, redisopt.AsyncThrottler(own, "test", **HASTY) as throttler:
            await throttler.try_acquire()
            task = asyncio.create_task(throttler.try_acquire())
            await asyncio.sleep(0.05)
            time.sleep(0.7)
            return bool(await task)

    with proxy.during(lambda words: Delayed(0.2) if is_script(words) else Fate.PASS):
        assert asyncio.run(block())
    assert charged(client) == 2
