"""A Redis of our own: a Valkey or Redis server that lives exactly as long as the process that started it.

The owner holds the write end of a pipe, its leash; a small `sh` supervisor in a session of its own holds the
read end. However the owner ends, kill -9 included, the kernel closes the leash, and the supervisor kills the server
and removes its directory. Forked children close their copy of the leash at birth, so they cannot keep the server
alive, nor end it. Ctrl-C in a terminal does not reach another session: the server outlasts its owner's clean-up.
Linux and macOS; nothing is persisted; whoever may read the private directory may use the server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from redisopt.address import ENVIRONMENT_VARIABLE
from redisopt.errors import Unavailable
from redisopt.server_binary import ServerBinary, choose_server

# A unix socket's path must fit into sun_path, with its closing NUL: 104 bytes on macOS, 108 on Linux.
_LONGEST_SOCKET_PATH = 103
_SOCKET = "redis.sock"

# Two jobs wait: one for the end of the leash, one for the end of the server. The second reaps the server, so that the
# first never kills a process that merely has its number. No data is persisted, so SIGKILL loses nothing.
_SUPERVISOR = """
directory=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{ read -r end <&3; kill -KILL "$server"; rm -rf "$directory"; } &
leash=$!
wait "$server"; status=$?
rm -rf "$directory"
kill "$leash"
exit "$status"
"""

# The write ends of this process's pipes. A fork must not happen between the making of a pipe and its entry here, nor
# between its closing and its removal: the child would keep a leash, or close a stranger's file.
_leashes: set[int] = set()
_lock = threading.RLock()


def _let_go_in_child() -> None:
    while _leashes:
        _close_quietly(_leashes.pop())
    _lock.release()


def _close_quietly(leash: int) -> None:
    with contextlib.suppress(OSError):  # a daemon may have closed all its files
        os.close(leash)


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_let_go_in_child)


class EmbeddedServer:
    """A server on a unix socket in a private directory; it ends with its owner, the process that started it.

    >>> with EmbeddedServer() as server:
    ...     client = redis.Redis.from_url(server.url)

    Args:
        binary: the server to start; without one, the one that is found (see `server_binary`).
        args: further arguments for the server, after ours, such as ``["--maxmemory", "5mb"]``.
        env: additions to the server's environment, such as an ``LD_PRELOAD``.
        port: also listen on this TCP port of 127.0.0.1, for any user of this machine.
        start_timeout: seconds until it must answer PING.

    Attributes:
        url: ``unix:///…``, for redis-py.
        binary: what runs.
        port: the TCP port, or None.
        pid: the server's process id.

    Raises:
        Unavailable: no binary was found, or the server did not come up; the message has the end of its log.
    """

    def __init__(
        self,
        binary: ServerBinary | str | Path | None = None,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        start_timeout: float = 10.0,
    ) -> None:
        self.binary = choose_server(binary)
        self.port = port
        self._owner = os.getpid()
        self._directory = _private_directory()
        self._socket = self._directory / _SOCKET
        self.url = f"unix://{quote(str(self._socket))}"
        with (self._directory / "server.log").open("a+b") as log:
            self._start([*self._command_line(), *args], env or {}, log)
            try:
                self._wait_until_it_answers(start_timeout, log)
            except BaseException:
                self.close()
                raise
        self.pid = int((self._directory / "redis.pid").read_text())

    def _command_line(self) -> list[str]:
        settings: dict[str, object] = {
            "--port": self.port or 0,
            "--bind": "127.0.0.1",
            "--unixsocket": self._socket,
            "--unixsocketperm": 700,
            "--dir": self._directory,
            "--pidfile": self._directory / "redis.pid",
            "--save": "",
            "--appendonly": "no",
        }
        return [str(self.binary.path), *(str(part) for setting in settings.items() for part in setting)]

    def _start(self, command: Sequence[str], env: Mapping[str, str], log: IO[bytes]) -> None:
        # `env` puts the additions on the server alone. The supervisor needs a PATH, whatever the owner made of its own.
        additions = [f"{name}={value}" for name, value in env.items()]
        path = os.pathsep.join(filter(None, (os.environ.get("PATH"), os.defpath)))
        with _lock:
            read_end, self._leash = os.pipe()
            _leashes.add(self._leash)
        try:
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISOR, "redisopt-supervisor", self._directory, "env", *additions, *command],
                stdin=read_end,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": path},
                start_new_session=True,
            )
        except OSError as error:
            with _lock:
                self._drop_leash()
            shutil.rmtree(self._directory, ignore_errors=True)
            raise Unavailable(f"{self.binary.version} could not be started: {error}") from error
        finally:
            os.close(read_end)
        # Not plain atexit: multiprocessing waits for its children in its own atexit handler, and children that still
        # work need the server. Imported here because its 10 ms pass while the server starts.
        from multiprocessing.util import Finalize

        self._at_exit = Finalize(None, self.close, exitpriority=-100)

    def _wait_until_it_answers(self, timeout: float, log: IO[bytes]) -> None:
        deadline = time.monotonic() + timeout
        while not _answers_ping(self._socket):
            status = self._supervisor.poll()
            if status is None and time.monotonic() < deadline:
                time.sleep(0.002)
                continue
            why = f"did not answer PING within {timeout} s" if status is None else f"ended with status {status}"
            log.seek(0)
            tail = b"".join(log.readlines()[-10:]).decode(errors="replace")
            raise Unavailable(f"{self.binary.version} ({self.binary.path}) {why}. The end of its log:\n{tail}")

    def share(self) -> None:
        """Put the URL into ``$REDISOPT_URL``, where `connect` in this process and in its children finds it."""
        os.environ[ENVIRONMENT_VARIABLE] = self.url

    @property
    def closed(self) -> bool:
        """Whether it is of no use here: it was closed, it has ended by itself, or this is a forked child of the owner."""
        return not self._held or self._supervisor.poll() is not None

    @property
    def ended(self) -> bool:
        """Whether it has ended before it was closed: it crashed or was killed. Never so in a forked child of the owner."""
        return self._held and self._supervisor.poll() is not None

    @property
    def _held(self) -> bool:
        return os.getpid() == self._owner and self._leash in _leashes

    def _drop_leash(self) -> None:
        _leashes.remove(self._leash)
        _close_quietly(self._leash)
        self._leash = -1

    def close(self) -> None:
        """Stop the server and remove its directory. Again, or in a forked child: nothing happens."""
        with _lock:
            if not self._held:
                return
            self._drop_leash()
        self._at_exit.cancel()
        if os.environ.get(ENVIRONMENT_VARIABLE) == self.url:
            del os.environ[ENVIRONMENT_VARIABLE]
        try:
            self._supervisor.wait(timeout=5)
        except subprocess.TimeoutExpired:  # somebody has stopped or killed a part of it: end the whole session's group
            os.killpg(self._supervisor.pid, signal.SIGKILL)
            self._supervisor.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the server; it runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __str__(self) -> str:
        """Say what runs where."""
        return f"embedded {self.binary.version} at {self.url} (from the {self.binary.origin})"


def _private_directory() -> Path:
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) + len(f"/redisopt-12345678/{_SOCKET}") > _LONGEST_SOCKET_PATH:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a directory that is ours alone
    return Path(tempfile.mkdtemp(prefix="redisopt-", dir=parent))  # mode 0700


def _answers_ping(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
        except OSError:
            return False
    return answer.startswith((b"+PONG", b"-NOAUTH"))  # with a password in `args` it is up as well
