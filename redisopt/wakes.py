"""Wakes: how a process hears that it is the turn of one of its waiters, over one connection, whatever their number.

Scripts publish on a channel of the process, ``<permit id> <ms after which to ask>``, and on one of each limiter when the
fleet is told something. Messages are hints: one that is lost is made up for by the beat of the process (see
`throttle.keeping`), and nothing is ever granted by a message alone.

What is heard, by whom, and what is kept for who is not listening yet is the same for threads and tasks, and stands in
`Ears`; here are those of threads, in `async_wakes` those of tasks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis

from redisopt.commands import Wait
from redisopt.events import logger
from redisopt.identity import process_id
from redisopt.links import of_this_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisopt.links import Links

MAX_EARLY = 10_000
"""Messages kept for permits that nobody waits for yet: the reply that sends them to wait may be under way."""

MAX_CHANNELS = 100
"""Channels listened to at once, but for those that somebody waits for: of limiters that come and go, none stays for ever."""

MAX_KEPT_TEXT = 4096
"""Characters of messages kept for one who is attentive; beyond it is told that some were missed."""

# All in seconds.
CONNECT_TIMEOUT = 0.5
LISTEN_TIMEOUT = 0.1  # before a call: what is not heard by then is a hint lost, and the call has a bound of its own
PING_EVERY = 5.0  # what is not answered until the next is a dead connection
STAYS = 10.0  # the connection, without anybody who waits
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # before connecting anew
DEAF_PAUSE = 0.1  # between asking, where the client's connections are not ours to make

W = TypeVar("W")


def channel_of_process() -> str:
    """The channel on which this process is told whose turn it is."""
    return f"redisopt:v1:wake:{process_id()}"


class _Attention:
    """Of one who is attentive: on what channel, and whether it waits and nothing has woken it yet."""

    __slots__ = ("asleep", "channel")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.asleep = False


class Ears(Generic[W]):
    """Who waits for what, and what came for whom. Not thread-safe.

    `wake` ends a wait with a message; it says whether that is taken, or has to be kept for the next wait.

    Attributes:
        listening: whether messages arrive now.
        channels: that are to be listened to.
    """

    def __init__(self, wake: Callable[[W, str], bool]) -> None:
        self._wake = wake
        self._waiting: dict[str, list[tuple[W, str | None]]] = {}
        self._early: OrderedDict[str, str] = OrderedDict()
        self._attentive: dict[str, _Attention] = {}
        self._once = False
        self.listening = False
        self.channels = {channel_of_process()}

    @property
    def busy(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def hears(self, channel: str) -> bool:
        """Whether messages of this channel arrive."""
        return self.listening and channel in self.channels

    def early(self, step: Wait) -> str | None:
        """The message that has come already for who is about to wait."""
        if step.attentive and step.channel is not None:
            if step.permit not in self._attentive:
                self._attentive[step.permit] = _Attention(step.channel)
        elif self._attentive:
            self._attentive.pop(step.permit, None)
        return self._early.pop(step.permit, None)

    def add(self, step: Wait, waiter: W) -> None:
        """`waiter` waits."""
        self._waiting.setdefault(step.permit, []).append((waiter, step.channel))
        if step.attentive and step.permit in self._attentive:
            self._attentive[step.permit].asleep = True

    def remove(self, step: Wait, waiter: W) -> None:
        """It does not wait any more."""
        waiting = self._waiting[step.permit]
        if len(waiting) == 1:
            del self._waiting[step.permit]
        else:
            self._waiting[step.permit] = [other for other in waiting if other[0] is not waiter]
        if step.attentive and step.permit in self._attentive:
            self._attentive[step.permit].asleep = False

    def enter(self, channel: str | None) -> tuple[bool, list[str]]:
        """`channel` is to be listened to: whether it is already; if not, which others are to be listened to no more."""
        if channel is None or channel in self.channels:
            return True, []
        left: list[str] = []
        if len(self.channels) > MAX_CHANNELS:
            wanted = {channel_of_process(), *(attention.channel for attention in self._attentive.values())}
            wanted.update(listens_to for waiting in self._waiting.values() for _, listens_to in waiting if listens_to)
            left = [other for other in self.channels if other not in wanted]
            self.channels.difference_update(left)
        self.channels.add(channel)
        return False, left

    def hear(self, channel: str, text: str) -> None:
        """A message has come."""
        if channel == channel_of_process():
            permit, _, message = text.rpartition(" ")
            self.wake(permit, message)
            return
        for permit, attention in self._attentive.items():
            if attention.channel == channel:
                self.wake(permit, text)
        for permit, waiting in list(self._waiting.items()):
            for waiter, listens_to in waiting:
                if listens_to == channel and permit not in self._attentive:
                    self._wake(waiter, text)

    def wake(self, permit: str, message: str) -> None:
        """It is the turn of a permit, or it is thought to be."""
        attention = self._attentive.get(permit)
        if attention is not None and not attention.asleep:
            before = self._early.get(permit)
            kept = message if before is None else f"{before} {message}"
            self._keep(permit, kept if len(kept) <= MAX_KEPT_TEXT else "missed")
            return
        if attention is not None:
            attention.asleep = False  # what comes next is for its next wait
        woken = [self._wake(waiter, message) for waiter, _ in self._waiting.get(permit, ())]
        if not any(woken):
            self._keep(permit, message)

    def _keep(self, permit: str, message: str) -> None:
        self._early[permit] = message
        self._early.move_to_end(permit)
        if len(self._early) > MAX_EARLY:
            self._early.popitem(last=False)

    def subscribed(self, channels: int) -> None:
        """Messages of so many channels arrive from now on: of all, once that is said of the last.

        All are to ask: for what came before they were listened to, or while they were not.
        """
        if channels < len(self.channels):
            return
        message, self._once = ("missed" if self._once else "0"), True
        self.listening = True
        self.wake_all(message)

    def wake_all(self, message: str = "0") -> None:
        """All are to ask."""
        for permit in self._attentive:
            self.wake(permit, message)
        for permit, waiting in list(self._waiting.items()):
            for waiter, _ in waiting:
                if permit not in self._attentive:
                    self._wake(waiter, message)


class _Sleeper:
    """A thread that waits."""

    __slots__ = ("event", "message")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.message: str | None = None


def _rouse(sleeper: _Sleeper, message: str) -> bool:
    sleeper.message = message  # the latest is what counts, as long as none was seen
    sleeper.event.set()
    return True


class Wakes:
    """The wakes of one sync client. Thread-safe; a forked child begins with none."""

    def __init__(self, links: Links) -> None:
        self._links = links
        of_this_process.add(self)
        self.forget()

    def forget(self) -> None:
        """In a forked child: its parent's thread, and who waits there, are not here."""
        self._lock = threading.Lock()
        self._ears: Ears[_Sleeper] = Ears(_rouse)
        self._connection: Any = None
        self._thread: threading.Thread | None = None

    def wait(self, step: Wait) -> str | None:
        """Wait until there is a message, which is returned, or for `step.seconds`.

        A message is the ms after which to ask; or what the fleet was told; or "missed" where some may have been.
        """
        sleeper = _Sleeper()
        with self._lock:
            early = self._ears.early(step)
            if early is not None:
                return early
            self._ears.add(step, sleeper)
            seconds, otherwise = step.seconds, None
            if step.heard and not self._links.direct:
                seconds, otherwise = min(seconds, DEAF_PAUSE), "0"
            elif step.heard and not self._listen(step.channel):
                seconds, otherwise = min(seconds, CONNECT_TIMEOUT), "0"
        try:
            sleeper.event.wait(seconds)
        finally:
            with self._lock:
                self._ears.remove(step, sleeper)
        return sleeper.message or otherwise

    def listen(self, channel: str) -> None:
        """Have messages arrive, those of `channel` too; wait for it no longer than `LISTEN_TIMEOUT`."""
        if self._ears.hears(channel) or not self._links.direct:
            return
        step = Wait(f"listen:{threading.get_ident()}", LISTEN_TIMEOUT, channel)
        self.wait(step)

    def wake(self, permit: str, message: str = "0") -> None:
        """End a wait of this process."""
        with self._lock:
            self._ears.wake(permit, message)

    def _listen(self, channel: str | None) -> bool:
        """See to it that messages arrive; whether they did so all along."""
        known, left = self._ears.enter(channel)
        if self._thread is None:
            self._ears.listening = False
            thread = threading.Thread(target=self._run, name="redisopt-wakes", daemon=True)
            with contextlib.suppress(RuntimeError):  # none is to be had now: whoever waits asks now and then
                thread.start()
                self._thread = thread
            return False
        if not known and self._connection is not None:  # which has asked for the others, if not heard of them yet
            with contextlib.suppress(redis.RedisError, OSError):
                if left:
                    self._connection.send_command("UNSUBSCRIBE", *left)
                self._connection.send_command("SUBSCRIBE", channel)
            return False
        return self._ears.listening

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                self._connect()
                pause = FIRST_PAUSE
                self._read()
            except ReferenceError:
                with self._lock:
                    self._thread = None
                return  # the client is gone
            except Exception as error:
                # Of any kind: redis-py closes a connection under its reader when another thread fails to write.
                logger.debug("no messages arrive: %s", error)
                with self._lock:
                    self._close()
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            with self._lock:
                if not self._ears.busy and not self._ears.listening:
                    self._thread = None
                    return

    def _connect(self) -> None:
        connection: Any = self._links.extra_connection(CONNECT_TIMEOUT)
        connection.connect()
        with self._lock:
            connection.send_command("SUBSCRIBE", *self._ears.channels)
            self._connection = connection

    def _read(self) -> None:
        connection, pinged, idle_since = self._connection, time.monotonic(), time.monotonic()
        answered = True
        while True:
            if not connection.can_read(timeout=0.5):
                now = time.monotonic()
                with self._lock:
                    if self._ears.busy:
                        idle_since = now
                    elif now - idle_since > (STAYS if self._links.users else 0):
                        self._close()
                        return
                if now - pinged > PING_EVERY:
                    if not answered:
                        raise redis.ConnectionError("the server does not answer")
                    with self._lock:
                        connection.send_command("PING")
                    pinged, answered = now, False
                continue
            reply = connection.read_response(disable_decoding=True)
            answered = True
            with self._lock:
                if reply[0] == b"message":
                    self._ears.hear(reply[1].decode(), reply[2].decode())
                elif reply[0] == b"subscribe":
                    self._links.heard()
                    self._ears.subscribed(reply[2])

    def _close(self) -> None:
        """Hear no more. To be called with the lock."""
        self._ears.listening = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
