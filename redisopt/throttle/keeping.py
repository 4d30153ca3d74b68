"""What a process keeps: the leases it holds and the places in the line that its callers wait in.

One beat for each key of a limiter shows that the process lives: it renews all leases and keeps all places, in one script
call (see `throttle_beat`). It runs in the background, in one thread of each throttler or one task in each event loop, only while there
is something to keep. A permit that nobody refers to any more is not renewed. A forked child keeps nothing of its parent's.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from redisopt import events
from redisopt.background import Background, now
from redisopt.throttle.prefetch import Share, Shares

if TYPE_CHECKING:
    from redisopt.throttle.grant import Grant

LINE_BEAT = 0.5
"""Seconds between the beats of a process that waits in a line: what a lost message costs at most."""


class _Kept:
    """What is kept in one event loop, or by all threads: by key."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, weakref.ref[Grant]]] = {}
        self.waiting: dict[str, set[str]] = {}
        self.ending: dict[str, list[Share]] = {}
        self.owed: dict[str, dict[str, tuple[bool, float]]] = {}

    def inherit(self, other: _Kept) -> None:
        """Keep what another event loop kept that is closed. Nobody waits there any more."""
        for key, held in other.held.items():
            self.held.setdefault(key, {}).update(held)
        for key, shares in other.ending.items():
            self.ending.setdefault(key, []).extend(shares)
        for key, owed in other.owed.items():
            self.owed.setdefault(key, {}).update(owed)

    @property
    def keys(self) -> set[str]:
        """The keys for which there is something."""
        return self.held.keys() | self.waiting.keys() | self.owed.keys() | self.ending.keys()


class Keeping(Background[_Kept]):
    """What one throttler of this process keeps. Thread-safe."""

    def __init__(self, on_lost: Callable[[Any], object] | None = None) -> None:
        self._on_lost = on_lost
        super().__init__(_Kept)

    def _begin(self) -> None:
        super()._begin()
        self._shares = Shares()

    @property
    def shares(self) -> Shares:
        """What this process has taken ahead: a forked child none of its parent's."""
        self._enter()
        return self._shares

    # --- what is kept

    def hold(self, grant: Grant) -> None:
        """Renew the lease of `grant` from now on."""
        self._enter()
        with self._lock:
            kept = self._here()
            kept.held.setdefault(grant.key, {})[grant.id] = weakref.ref(grant)
            self._run()

    def drop(self, grant: Grant) -> None:
        """Renew it no more."""
        self._enter()
        with self._lock:
            for kept in self._kept.values():
                held = kept.held.get(grant.key)
                if held is not None:
                    held.pop(grant.id, None)
                    if not held:
                        del kept.held[grant.key]

    def wait(self, key: str, permit: str) -> None:
        """A caller waits in the line."""
        self._enter()
        with self._lock:
            kept = self._here()
            first = not kept.waiting
            kept.waiting.setdefault(key, set()).add(permit)
            self._run(sooner=first)

    def wait_no_more(self, key: str, permit: str) -> None:
        """It has been granted, or left."""
        self._enter()
        with self._lock:
            kept = self._here()
            waiting = kept.waiting.get(key)
            if waiting is not None:
                waiting.discard(permit)
                if not waiting:
                    del kept.waiting[key]

    def end_in_time(self, key: str, share: Share) -> None:
        """What is left of `share` at its end is to be given back."""
        self._enter()
        with self._lock:
            kept = self._here()
            kept.ending.setdefault(key, []).append(share)
            self._run(sooner=True)

    def owe(self, key: str, permit: str, *, back: bool, until: float) -> None:
        """What a permit holds could not be ended yet: it will be, as soon as Redis answers; with `back`, its cost comes back.

        By `until` it has ended by itself.
        """
        self._enter()
        with self._lock:
            kept = self._here()
            kept.owed.setdefault(key, {})[permit] = (back, until)
            self._run(sooner=True)

    # --- for whoever beats, in the running event loop

    def to_beat(self) -> list[str]:
        """The keys to beat for; none when there is nothing to keep, and then nothing runs any more."""
        self._enter()
        with self._lock:
            found = sorted(self._here().keys)
            if not found:
                self._rest()
            return found

    def held(self, key: str) -> list[Grant]:
        """The permits whose leases are to be renewed."""
        with self._lock:
            return _alive(self._here(), key)

    def waiting(self, key: str) -> list[str]:
        """The permits that wait in the line."""
        with self._lock:
            return list(self._here().waiting.get(key, ()))

    def over(self, key: str) -> list[Share]:
        """The shares that are over now."""
        with self._lock:
            ending = self._here().ending
            shares = ending.get(key, [])
            ended = [share for share in shares if now() >= share.until]
            ending[key] = [share for share in shares if share not in ended]
            if not ending[key]:
                del ending[key]
            return ended

    def owed(self, key: str) -> list[tuple[str, bool]]:
        """The permits that are to be ended, and whether their cost comes back."""
        with self._lock:
            return [(permit, back) for permit, (back, _) in self._here().owed.get(key, {}).items()]

    def paid(self, key: str, permit: str) -> None:
        """It has been given back."""
        with self._lock:
            owed = self._here().owed
            owed.get(key, {}).pop(permit, None)
            if not owed.get(key):
                owed.pop(key, None)

    def forgive(self, key: str) -> None:
        """Owe no more what has ended by itself by now."""
        with self._lock:
            owed = self._here().owed.get(key, {})
            for permit in [permit for permit, (_, until) in owed.items() if now() > until]:
                self.paid(key, permit)

    def pause(self, lease_ttl: float) -> float:
        """Seconds until the next beat."""
        with self._lock:
            kept = self._here()
            pause = min(lease_ttl / 3, LINE_BEAT) if kept.waiting or kept.owed else lease_ttl / 3
            ends = min((share.until for shares in kept.ending.values() for share in shares), default=inf)
            return min(pause, max(0.0, ends - now()))

    def lose(self, grant: Grant) -> None:
        """The lease of `grant` is over, and somebody else may have it."""
        self.drop(grant)
        if grant.mark_lost():
            lost = events.LeaseLost(f"permit {grant.id} of key {grant.key!r}")
            events.say(lost, logging.WARNING, "%s: its lease is lost", lost.lease)
            if self._on_lost is not None:
                events.notify(self._on_lost, grant)

    # --- of the whole process

    def count_held(self, key: str) -> int:
        """The leases that are held for a key."""
        with self._lock:
            return sum(len(_alive(kept, key)) for kept in self._kept.values())

    def all_held(self) -> list[Grant]:
        """All whose leases are renewed."""
        self._enter()
        with self._lock:
            return [grant for kept in self._kept.values() for key in list(kept.held) for grant in _alive(kept, key)]

    def take_shares(self) -> list[tuple[str, Share]]:
        """All shares, by key, whether they are over or not; they are not given back in the background any more."""
        self._enter()
        with self._lock:
            found = [
                (key, share) for kept in self._kept.values() for key, shares in kept.ending.items() for share in shares
            ]
            for kept in self._kept.values():
                kept.ending.clear()
            return found

    def all_owed(self) -> list[tuple[str, str, bool]]:
        """The keys and permits that are to be ended, and whether their cost comes back."""
        with self._lock:
            return [
                (key, permit, back)
                for kept in self._kept.values()
                for key, owed in kept.owed.items()
                for permit, (back, _) in owed.items()
            ]

    def end(self) -> None:
        """Keep nothing any more: whatever runs that beats has no more to do."""
        self._enter()
        with self._lock:
            for kept in self._kept.values():
                for each in (kept.held, kept.waiting, kept.ending, kept.owed):
                    each.clear()
        self.wake(self.id)


def _alive(kept: _Kept, key: str) -> list[Grant]:
    """Those held that somebody refers to still; the others are dropped."""
    held = kept.held.get(key, {})
    grants = [(permit, ref()) for permit, ref in held.items()]
    for permit, grant in grants:
        if grant is None:
            del held[permit]
            events.logger.warning(
                "permit %s of key %r was dropped without a release: its lease ends by itself, within lease_ttl",
                permit,
                key,
            )
    if not held:
        kept.held.pop(key, None)
    return [grant for _, grant in grants if grant is not None]
