"""A proxy before a server, that loses what a network can lose: requests, replies, time.

It speaks the protocol: one command in, one reply out. For each command it asks its `fate`, a function that the test sets
and that runs in the proxy's own thread, what is to become of it. Listens on a unix socket and, on request, a TCP port.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

Words = list[bytes]


class Fate(Enum):
    """What becomes of one command."""

    PASS = auto()
    CUT_REPLY = auto()
    """The server runs it; its reply is discarded, and both sides are closed."""
    CUT_REQUEST = auto()
    """The server never sees it; both sides are closed."""
    STRAY = auto()
    """The client is closed at once; what it sent reaches the server only with `deliver_strays`."""


@dataclass(frozen=True, slots=True)
class Delayed:
    """The server runs it; its reply comes so many seconds later."""

    seconds: float


def is_script(words: Words) -> bool:
    """Whether a command is a call of one of our scripts; a probe is a script of one line, without arguments."""
    return words[0].upper() in (b"EVALSHA", b"EVAL") and len(words) > 3 + int(words[2])


def call_id(words: Words) -> tuple[bytes, bytes]:
    """Lane and number of a throttle's script call: the same in every copy of it."""
    first_arg = 3 + int(words[2])
    return words[first_arg], words[first_arg + 1]


def whole_call(words: Words) -> bytes:
    """All of a script call, where not every script has a lane."""
    return b" ".join(words[1:])


def first_copies(fate: Fate, identity: Callable[[Words], object] = call_id) -> Callable[[Words], Fate]:
    """A fate for the first copy of every script call; the second one passes. Copies have one `identity`."""
    seen: set[object] = set()

    def decide(words: Words) -> Fate:
        if not is_script(words) or identity(words) in seen:
            return Fate.PASS
        seen.add(identity(words))
        return fate

    return decide


class Proxy:
    """A proxy in a thread of its own, before the server at `url` (``unix://`` or ``redis://``).

    Attributes:
        url: where clients connect to.
        port: the TCP port that it listens on too, or None.
        fate: what becomes of each command; set it at any time.
        seen: how many commands of each name have arrived.
    """

    def __init__(self, url: str, *, tcp: bool = False) -> None:
        self._upstream = urlsplit(url)
        self._directory = Path(tempfile.mkdtemp(prefix="redisopt-proxy-"))
        self.url = f"unix://{self._directory}/p"
        self.port: int | None = None
        self.fate: Callable[[Words], Fate | Delayed] = lambda _: Fate.PASS
        self.seen: Counter[str] = Counter()
        self._strays: list[bytes] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = self._do(self._listen(tcp=tcp))

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _listen(self, *, tcp: bool) -> list[asyncio.Server]:
        path = self._directory / "p"
        servers: list[asyncio.Server] = [await asyncio.start_unix_server(self._accept, path, backlog=1024)]
        if tcp:
            servers.append(await asyncio.start_server(self._accept, "127.0.0.1", 0))
            self.port = servers[-1].sockets[0].getsockname()[1]
        return servers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        upstream: asyncio.StreamWriter | None = None
        try:
            replies, upstream = await self._connect()
            while (command := await _read_command(reader)) is not None:
                words, raw = command
                self.seen[words[0].decode().upper()] += 1
                fate = self.fate(words)
                if fate is Fate.STRAY:
                    self._strays.append(raw)
                if fate in (Fate.STRAY, Fate.CUT_REQUEST):
                    return
                upstream.write(raw)
                reply = await _read_reply(replies)
                if fate is Fate.CUT_REPLY:
                    return
                if isinstance(fate, Delayed):
                    await asyncio.sleep(fate.seconds)
                writer.write(reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side has gone: so does the other
        finally:
            for side in (writer, upstream):
                if side is not None:
                    side.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._upstream.path))
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port)

    def deliver_strays(self) -> list[bytes]:
        """Hand the server what its clients have given up, and return its replies."""

        async def deliver() -> list[bytes]:
            strays, self._strays = self._strays, []
            reader, writer = await self._connect()
            writer.writelines(strays)
            replies = [await _read_reply(reader) for _ in strays]
            writer.transport.abort()
            return replies

        return self._do(deliver())  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close all connections and stop."""

        async def stop() -> None:
            for server in self._servers:
                server.close()
            for _ in range(5):  # somebody may be connecting at this moment: a probe, say
                tasks = list(self._connections)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.sleep(0)  # aborted transports close their sockets in the next turn of the loop

        self._do(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @contextlib.contextmanager
    def during(self, fate: Callable[[Words], Fate | Delayed]) -> Iterator[None]:
        """Let `fate` decide within the block; afterwards everything passes."""
        self.fate = fate
        try:
            yield
        finally:
            self.fate = lambda _: Fate.PASS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _read_command(reader: asyncio.StreamReader) -> tuple[Words, bytes] | None:
    """The next command, in words and as it came; None at the end of the stream."""
    head = await reader.readline()
    if not head:
        return None
    words, raw = [], [head]
    for _ in range(int(head[1:])):
        size = await reader.readline()
        data = await reader.readexactly(int(size[1:]) + 2)
        words.append(data[:-2])
        raw += (size, data)
    return words, b"".join(raw)


async def _read_reply(reader: asyncio.StreamReader) -> bytes:
    """The next reply as it came, RESP2 or RESP3."""
    head = await reader.readline()
    if not head.endswith(b"\r\n"):
        raise asyncio.IncompleteReadError(head, None)
    kind, size = head[:1], head[1:-2]
    if kind in b"$=!" and size != b"-1":
        return head + await reader.readexactly(int(size) + 2)
    if kind in b"*~>%" and size != b"-1":
        items = int(size) * (2 if kind == b"%" else 1)
        return head + b"".join([await _read_reply(reader) for _ in range(items)])
    return head
