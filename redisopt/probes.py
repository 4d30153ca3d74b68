"""Asking whether Redis is back: a thread does it for sync clients, a task for async ones.

A probe runs a script that writes, over a connection of its own: any answer will do, also one that refuses, but not that
of a replica. On a Cluster the question goes to whoever has the key now, which is how a failover is noticed. Each probe is
bounded as the call was. When to probe, and what follows, is decided in `silence`.

Nothing here keeps an idle process alive, nor a client: the thread is a daemon, the task ends with its event loop, and both
end when nobody uses the links any more. A forked child has neither.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from redis.exceptions import AskError

from redisopt import events, wire
from redisopt.async_links import AsyncLinks
from redisopt.delivery import Call
from redisopt.errors import Unavailable
from redisopt.links import Link, Links
from redisopt.silence import Silence
from redisopt.turns import AsyncLink, Turns

_MOST_HOPS = 3
"""Nodes of a Cluster that one probe asks: one that knows the owner, and the owner."""


def watch(links: Links, call: Call, error: Unavailable) -> float | None:
    """Take note that a call had no answer in all its time, and see to it that Redis is probed.

    Returns the seconds until the next probe; None where calls were answered meanwhile, or nobody can probe.
    """
    breaker, key = links.breaker, call.command.keys[0]
    silence = breaker.gave_up(key, call.began, call.timeout, error)
    if silence is not None:
        thread = threading.Thread(target=_probe, args=(links, silence), name="redisopt-probe", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process may start no more threads
            breaker.forget(silence)
        else:
            breaker.tell(silence, error)
    known = breaker.known(call.timeout, key)
    return None if known is None else known.retry_after


def watch_async(links: AsyncLinks, call: Call, error: Unavailable) -> float | None:
    """As `watch`, in the running event loop."""
    turns: Turns = call.link.turns  # type: ignore[attr-defined] # the links of async calls are AsyncLinks
    breaker, key = turns.breaker, call.command.keys[0]
    silence = breaker.gave_up(key, call.began, call.timeout, error)
    if silence is not None:
        task = asyncio.create_task(_probe_async(links, turns, silence), name="redisopt-probe")
        # A loop that is closed without its tasks being cancelled loses nothing by the end of this one.
        task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - as asyncio.gather does
        turns.probes.add(task)
        task.add_done_callback(turns.probes.discard)
        breaker.tell(silence, error)
    known = breaker.known(call.timeout, key)
    return None if known is None else known.retry_after


async def stop(links: AsyncLinks) -> None:
    """End the probes of the running event loop, unless somebody still uses the links."""
    turns = links.turns_of(asyncio.get_running_loop())
    if turns is None or links.users:
        return
    for task in turns.probes:
        task.cancel()
    await asyncio.gather(*turns.probes, return_exceptions=True)


def _probe(links: Links, silence: Silence) -> None:
    breaker = links.breaker
    try:
        while links.users and breaker.lasts(silence):
            breaker.probe_begins(silence)
            try:
                _ask(links, silence.key, silence.timeout)
            except wire.FAILURES as error:
                pause = breaker.probe_ends(silence, error)
            else:
                pause = breaker.probe_ends(silence, None)
            time.sleep(pause)
    except Exception as error:
        events.logger.debug("the probe of Redis ends: %r", error)  # such as the end of the client
    finally:
        breaker.forget(silence)


async def _probe_async(links: AsyncLinks, turns: Turns, silence: Silence) -> None:
    breaker = turns.breaker
    link = turns.make_link()
    try:
        while links.users and breaker.lasts(silence):
            breaker.probe_begins(silence)
            try:
                await _ask_async(links, link, silence.key, silence.timeout)
            except wire.FAILURES as error:
                pause = breaker.probe_ends(silence, error)
            else:
                pause = breaker.probe_ends(silence, None)
            await asyncio.sleep(pause)
    except Exception as error:
        events.logger.debug("the probe of Redis ends: %r", error)  # such as the end of its event loop
    finally:
        breaker.forget(silence)
        turns.discard(link)


def _ask(links: Links, key: str, timeout: float) -> None:
    link: Link[Any] = Link()
    if not links.direct:
        links.send_through_client(link, _parts(key), timeout)
        return
    hop, deadline = None, time.monotonic() + timeout
    try:
        for _ in range(_MOST_HOPS):
            try:
                links.send(link, _packed(key), max(deadline - time.monotonic(), 0.001), key, hop)
            except AskError as error:
                hop = links.redirect(link, error)
            else:
                return
    finally:
        for connection in link.connections.values():
            connection.disconnect()


async def _ask_async(links: AsyncLinks, link: AsyncLink, key: str, timeout: float) -> None:
    if not links.direct:
        await links.send_through_client(link, _parts(key), timeout)
        return
    hop, deadline = None, time.monotonic() + timeout
    try:
        for _ in range(_MOST_HOPS):
            try:
                await links.send(link, _packed(key), max(deadline - time.monotonic(), 0.001), key, hop)
            except AskError as error:
                hop = await links.redirect(link, error)
            else:
                return
    finally:
        link.close()


def _parts(key: str) -> tuple[str, ...]:
    """The probe: a script that writes, and changes nothing. Where only reading is possible, our scripts are not either."""
    return ("EVAL", "return redis.call('DEL', KEYS[1])", "1", f"{key}:probe")


def _packed(key: str) -> bytes:
    return wire.packed_words(*_parts(key))
