"""What a process keeps: the leases it holds and the places in the line that its callers wait in.

One beat for each key of a limiter shows that the process lives: it renews all leases and keeps all places, in one script
call (see `throttle_beat`). It runs in the background, in one thread or task of each throttler, only while there is something
to keep. A permit that nobody refers to any more is not renewed. A forked child keeps nothing of its parent's.
"""

from __future__ import annotations

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

_OWED_FOR = 60.0  # seconds


class Keeping(Background):
    """What one throttler of this process keeps. Thread-safe."""

    def __init__(self, on_lost: Callable[[Any], object] | None = None) -> None:
        self._on_lost = on_lost
        super().__init__()

    def _begin(self) -> None:
        super()._begin()
        self._held: dict[str, dict[str, weakref.ref[Grant]]] = {}
        self._waiting: dict[str, set[str]] = {}
        self._ending: dict[str, list[Share]] = {}
        self._owed: dict[str, dict[str, tuple[bool, float]]] = {}
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
            self._held.setdefault(grant.key, {})[grant.id] = weakref.ref(grant)
            self._run()

    def drop(self, grant: Grant) -> None:
        """Renew it no more."""
        self._enter()
        with self._lock:
            held = self._held.get(grant.key)
            if held is not None:
                held.pop(grant.id, None)
                if not held:
                    del self._held[grant.key]

    def wait(self, key: str, permit: str) -> None:
        """A caller waits in the line."""
        self._enter()
        with self._lock:
            first = not self._waiting
            self._waiting.setdefault(key, set()).add(permit)
            self._run(sooner=first)

    def wait_no_more(self, key: str, permit: str) -> None:
        """It has been granted, or left."""
        self._enter()
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.discard(permit)
                if not waiting:
                    del self._waiting[key]

    def end_in_time(self, key: str, share: Share) -> None:
        """What is left of `share` at its end is to be given back."""
        self._enter()
        with self._lock:
            self._ending.setdefault(key, []).append(share)
            self._run(sooner=True)

    def over(self, key: str, *, all_of_them: bool = False) -> list[Share]:
        """The shares that are over now."""
        with self._lock:
            shares = self._ending.get(key, [])
            ended = [share for share in shares if all_of_them or now() >= share.until]
            self._ending[key] = [share for share in shares if share not in ended]
            if not self._ending[key]:
                del self._ending[key]
            return ended

    def owe(self, key: str, permit: str, *, back: bool) -> None:
        """What a permit holds could not be ended yet: it will be, as soon as Redis answers; with `back`, its cost comes back."""
        self._enter()
        with self._lock:
            self._owed.setdefault(key, {})[permit] = (back, now() + _OWED_FOR)
            self._run()

    def owed(self, key: str) -> list[tuple[str, bool]]:
        """The permits that are to be ended, and whether their cost comes back."""
        with self._lock:
            return [(permit, back) for permit, (back, _) in self._owed.get(key, {}).items()]

    def paid(self, key: str, permit: str) -> None:
        """It has been given back."""
        with self._lock:
            owed = self._owed.get(key, {})
            owed.pop(permit, None)
            if not owed:
                self._owed.pop(key, None)

    def _run(self, *, sooner: bool = False) -> None:
        """See to it that something beats; with `sooner`, the next beat may have to come sooner than was thought."""
        if self._runs and sooner:
            self.wake(self.id)
        super()._run()

    # --- for whoever beats

    def to_beat(self) -> list[str]:
        """The keys to beat for; none when there is nothing to keep, and then nothing runs any more."""
        self._enter()
        with self._lock:
            for key, owed in list(self._owed.items()):
                for permit in [permit for permit, (_, until) in owed.items() if now() > until]:
                    self.paid(key, permit)  # by now its lease has ended by itself
            found = sorted(self._held.keys() | self._waiting.keys() | self._owed.keys() | self._ending.keys())
            if not found:
                self._rest()
            return found

    def held(self, key: str) -> list[Grant]:
        """The permits whose leases are to be renewed."""
        with self._lock:
            held = self._held.get(key, {})
            grants = [(permit, ref()) for permit, ref in held.items()]
            for permit, grant in grants:
                if grant is None:
                    del held[permit]
            if key in self._held and not held:
                del self._held[key]
            return [grant for _, grant in grants if grant is not None]

    def waiting(self, key: str) -> list[str]:
        """The permits that wait in the line."""
        with self._lock:
            return list(self._waiting.get(key, ()))

    def pause(self, lease_ttl: float) -> float:
        """Seconds until the next beat."""
        with self._lock:
            pause = min(lease_ttl / 3, LINE_BEAT) if self._waiting or self._owed else lease_ttl / 3
            ends = min((share.until for shares in self._ending.values() for share in shares), default=inf)
            return min(pause, max(0.0, ends - now()))

    def lose(self, grant: Grant) -> None:
        """The lease of `grant` is over, and somebody else may have it."""
        self.drop(grant)
        if grant.mark_lost():
            events.logger.warning("the lease of permit %s of key %r is lost", grant.id, grant.key)
            if self._on_lost is not None:
                events.notify(self._on_lost, grant)
