"""One caller's question for a key: asked of Redis, and asked again while somebody else computes the value."""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

from redisopt import events
from redisopt.awaiting import ASK_EVERY, NotYet
from redisopt.background import now
from redisopt.cache.asking import Asking
from redisopt.cache.checking import Checking
from redisopt.cache.layout import Place
from redisopt.cache.refreshing import Refreshing
from redisopt.cache.replies import Absent, Alone, Answer, BeingComputed, Failed, Found, Leased
from redisopt.codec import PayloadError
from redisopt.commands import Plan, call
from redisopt.errors import Unavailable

_SOONEST = 0.005  # seconds until who waits asks again


class Read(NamedTuple):
    """A value that Redis has, and what its bytes say."""

    found: Found
    value: Any


Ready = Read | Failed | Leased | Alone | Unavailable
"""What ends a question: a value, another one's failure, the lease, that nobody is to wait, or that Redis cannot be asked."""


class Question:
    """A question.

    Attributes:
        caller: the id under which it is asked, and gets the lease; "" for one who only reads.
        asked: when it was asked last.
        waited: whether somebody else was computing then.
    """

    def __init__(
        self, asking: Asking, checking: Checking, refreshing: Refreshing, place: Place, caller: str = ""
    ) -> None:
        self._asking = asking
        self._checking = checking
        self._refreshing = refreshing
        self._place = place
        self.caller = caller
        self.asked = now()
        self.waited = False
        self._refused = ""
        # XFetch, from Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention" (VLDB 8, 2015): a
        # caller refreshes so many times the computation's time before the end, by a draw of its own; here under the lease.
        beta = asking.config.early_refresh if caller else 0.0
        self._eager = -beta * math.log(1.0 - random.random())  # noqa: S311 - spreads load

    def ask(self) -> Plan[Answer]:
        """What Redis knows; on a Cluster no value whose tags were invalidated."""
        refresh = bool(self.caller) and self._refreshing.has_room(self._place)
        while True:
            self.asked = now()
            answer = yield from call(
                self._asking.ask(self._place, self.caller, self._eager, self._refused, refresh=refresh)
            )
            if not isinstance(answer, Found):
                return answer
            if (yield from self._checking.is_of_use(self._place, answer)):
                return answer
            if answer.leased:
                return Leased(answer.fence)
            self._refused = str(answer.fence)

    def look(self) -> Plan[Ready | NotYet]:
        """What ends the question, or when to look again."""
        while True:
            try:
                answer = yield from self.ask()
            except Unavailable as error:
                return error
            if isinstance(answer, BeingComputed):
                self.waited = True
                return NotYet(min(ASK_EVERY, max(_SOONEST, answer.ends_in + 0.001)))
            assert not isinstance(answer, Absent)  # noqa: S101 - only who has no id is told so, and he does not wait
            if not isinstance(answer, Found):
                return answer
            try:
                return Read(answer, self._asking.config.decoded(answer.payload))
            except PayloadError as error:
                events.logger.warning(
                    "cache %r: the value of %r cannot be read, and is computed anew: %s",
                    self._asking.name,
                    self._place.key,
                    error,
                )
            if answer.leased:
                return Leased(answer.fence)
            self._refused = str(answer.fence)
