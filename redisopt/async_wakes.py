"""The wakes of tasks: as those of threads (see `wakes`), one connection and one task for each event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import redis

from redisopt.commands import Wait
from redisopt.deadlines import within
from redisopt.events import logger
from redisopt.links import of_this_process
from redisopt.turns import close_at_once
from redisopt.wakes import (
    CONNECT_TIMEOUT,
    DEAF_PAUSE,
    FIRST_PAUSE,
    LISTEN_TIMEOUT,
    LONGEST_PAUSE,
    PING_EVERY,
    STAYS,
    Ears,
)

if TYPE_CHECKING:
    from redisopt.async_links import AsyncLinks

Sleeper = asyncio.Future[str]


def _rouse(sleeper: Sleeper, message: str) -> bool:
    if sleeper.done():
        return False  # it is about to go on with an earlier one
    sleeper.set_result(message)
    return True


class AsyncWakes:
    """The wakes of one async client, for each event loop apart."""

    def __init__(self, links: AsyncLinks) -> None:
        self._links = links
        self._listeners: dict[asyncio.AbstractEventLoop, _Listener] = {}
        of_this_process.add(self)

    def forget(self) -> None:
        """In a forked child: the tasks are its parent's."""
        self._listeners = {}

    async def wait(self, step: Wait) -> str | None:
        """As `Wakes.wait`."""
        return await self._listener().wait(step)

    async def listen(self, channel: str) -> None:
        """As `Wakes.listen`."""
        listener = self._listener()
        if listener.ears.hears(channel) or not self._links.direct:
            return
        await listener.wait(Wait(f"listen:{id(asyncio.current_task())}", LISTEN_TIMEOUT, channel))

    def wake(self, permit: str, message: str = "0") -> None:
        """End a wait of the running event loop."""
        self._listener().ears.wake(permit, message)

    async def aclose(self) -> None:
        """Stop listening in the running event loop, when nobody waits there."""
        listener = self._listeners.get(asyncio.get_running_loop())
        if listener is not None and not listener.ears.busy:
            await listener.stop()

    def _listener(self) -> _Listener:
        loop = asyncio.get_running_loop()
        listener = self._listeners.get(loop)
        if listener is None:
            for over in [other for other in self._listeners if other.is_closed()]:
                del self._listeners[over]
            listener = self._listeners[loop] = _Listener(self._links)
        return listener


class _Listener:
    """Who waits in one event loop, and the task that hears for them."""

    def __init__(self, links: AsyncLinks) -> None:
        self._links = links
        self.ears: Ears[Sleeper] = Ears(_rouse)
        self._connection: Any = None
        self._subscribes = False
        self._task: asyncio.Task[None] | None = None

    async def wait(self, step: Wait) -> str | None:
        early = self.ears.early(step)
        if early is not None:
            return early
        sleeper: Sleeper = asyncio.get_running_loop().create_future()
        self.ears.add(step, sleeper)
        try:
            seconds, otherwise = step.seconds, None
            if step.heard and not self._links.direct:
                seconds, otherwise = min(seconds, DEAF_PAUSE), "0"
            elif step.heard and not await self._listen(step.channel):
                seconds, otherwise = min(seconds, CONNECT_TIMEOUT), "0"
            await asyncio.wait([sleeper], timeout=seconds)
            return sleeper.result() if sleeper.done() else otherwise
        finally:
            self.ears.remove(step, sleeper)

    async def _listen(self, channel: str | None) -> bool:
        """See to it that messages arrive; whether they did so all along."""
        known, left = self.ears.enter(channel)
        if self._task is None or self._task.done():
            self.ears.listening = self._subscribes = False
            self._task = asyncio.create_task(self._run(), name="redisopt-wakes")
            return False
        if not known and self._subscribes:
            with contextlib.suppress(redis.RedisError, OSError):
                if left:
                    await self._connection.send_command("UNSUBSCRIBE", *left)
                await self._connection.send_command("SUBSCRIBE", channel)
            return False
        return self.ears.listening

    async def stop(self) -> None:
        """End the task and its connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        try:
            while self.ears.busy or self.ears.listening:
                try:
                    await self._connect()
                    pause = FIRST_PAUSE
                    await self._read()
                except ReferenceError:
                    return  # the client is gone
                except (redis.RedisError, OSError) as error:
                    logger.debug("no messages arrive: %s", error)
                    await self._close()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        except GeneratorExit:  # its loop is closed: nothing can be awaited any more
            connection, self._connection = self._connection, None
            if connection is not None:
                close_at_once(connection)
            raise
        finally:
            await self._close()

    async def _connect(self) -> None:
        self._connection = self._links.extra_connection()
        async with within(CONNECT_TIMEOUT):
            await self._connection.connect()
            self._subscribes = True  # to what is known now: what comes later asks for itself
            await self._connection.send_command("SUBSCRIBE", *self.ears.channels)

    async def _read(self) -> None:
        connection, pinged, idle_since, answered = self._connection, time.monotonic(), time.monotonic(), True
        while True:
            try:
                async with asyncio.timeout(0.5):
                    reply = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
            except TimeoutError:
                now = time.monotonic()
                if self.ears.busy:
                    idle_since = now
                elif now - idle_since > (STAYS if self._links.users else 0):
                    self.ears.listening = self._subscribes = False
                    return
                if now - pinged > PING_EVERY:
                    if not answered:
                        raise redis.ConnectionError("the server does not answer") from None
                    await connection.send_command("PING")
                    pinged, answered = now, False
                continue
            answered = True
            if reply[0] == b"message":
                self.ears.hear(reply[1].decode(), reply[2].decode())
            elif reply[0] == b"subscribe":
                self._links.heard()
                self.ears.subscribed(reply[2])

    async def _close(self) -> None:
        self.ears.listening = self._subscribes = False
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
