"""The lease of a key, as this process holds it while it computes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from redisopt.background import now
from redisopt.cache.layout import Place
from redisopt.leases import Lease

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Doer:
    """Who computes: only the plan that does refers to it, so that it is gone when that is."""

    __slots__ = ("__weakref__",)


class KeyLease(Lease):
    """A computation of this process, which holds the key's lease.

    Attributes:
        place: of the key.
        caller: the id that has the lease.
        refreshes: whether it goes on in the background.
        loop: the event loop of one that does, None for threads.
        began: when.
        doer: who computes.
        is_hung: whether it has taken longer than it may.
        interrupt: called then.
    """

    __slots__ = ("began", "caller", "doer", "interrupt", "is_hung", "loop", "place", "refreshes")

    def __init__(
        self,
        place: Place,
        caller: str,
        good_until: float,
        *,
        refreshes: bool = False,
        loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(good_until)
        self.place = place
        self.caller = caller
        self.refreshes = refreshes
        self.loop = loop
        self.began = now()
        self.doer: weakref.ref[Doer] | None = None
        self.is_hung = False
        self.interrupt: Callable[[], object] = lambda: None

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody computes any more: an interruption can come at any instant, also where the lease was being dropped."""
        return self.doer is not None and self.doer() is None

    def __repr__(self) -> str:
        return f"the computation of {self.place.name}"
