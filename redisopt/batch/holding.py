"""The batches that this process holds, and the beat that renews their leases: one script call for all of a batcher.

It runs in the background, only while something is held. A forked child holds nothing of its parent's.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from redisopt import events
from redisopt.batch.asking import CHUNK
from redisopt.commands import Plan, Wait, call
from redisopt.errors import RedisOptError
from redisopt.identity import process_id

if TYPE_CHECKING:
    from redisopt.batch.asking import Asking
    from redisopt.batch.processing import Held

_numbers = itertools.count(1)


class Holding:
    """What one batcher of this process holds. Thread-safe.

    Attributes:
        start: called when there is something to renew and nothing runs that beats.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.start: Callable[[], object] = lambda: None
        self._id = f"renew:{next(_numbers)}"
        self._begin()

    def _begin(self) -> None:
        self._process = process_id()
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._runs = False

    def hold(self, held: Held) -> None:
        """Renew its lease from now on."""
        if self._process != process_id():
            self._begin()
        with self._lock:
            self._held[held.id] = held
            starts, self._runs = not self._runs, True
        if starts:
            self.start()

    def drop(self, held: Held) -> None:
        """Renew it no more."""
        with self._lock:
            self._held.pop(held.id, None)

    def all(self) -> list[Held]:
        """What is held."""
        if self._process != process_id():
            self._begin()
        with self._lock:
            return list(self._held.values())

    def beat(self) -> Plan[None]:
        """Renew for as long as there is something to renew."""
        try:
            while True:
                yield Wait(self._id, self._asking.config.lease_ttl / 3, heard=False)
                with self._lock:
                    if not self._held:
                        self._runs = False
                        return
                yield from self._renew(self.all())
        except BaseException:
            self._runs = False
            raise

    def _renew(self, held: list[Held]) -> Plan[None]:
        for start in range(0, len(held), CHUNK):
            some = held[start : start + CHUNK]
            asked = time.monotonic()
            try:
                renewed = yield from call(self._asking.renew([each.id for each in some]))
            except RedisOptError as error:
                events.logger.debug("a beat failed: %s", error)
                return
            for each, is_renewed in zip(some, renewed, strict=True):
                if is_renewed == "1":
                    each.good_until = asked + self._asking.config.lease_ttl
                elif each.left and not each.lost:
                    each.lose()
                    self.drop(each)
                    events.logger.warning(
                        "the lease of batch %s of %r is lost: others run it", each.id, self._asking.name
                    )
