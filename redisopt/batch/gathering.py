"""Gathering: items that many tasks of one event loop add travel as one script call, in the order in which they came.

While one call is under way the next ones gather, so that an idle process sends each item at once, and a busy one sends as few
calls as it can.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING

from redisopt import spans
from redisopt.batch.adding import Wish
from redisopt.batch.asking import CHUNK
from redisopt.batch.inbox import Inbox
from redisopt.batch.ticket import AsyncBatchTicket
from redisopt.errors import QueueFull

if TYPE_CHECKING:
    from redisopt.batch.plans import BatchPlans
    from redisopt.runner import AsyncRunner

_Waiting = tuple["asyncio.Future[AsyncBatchTicket]", Wish]


class Gathering:
    """What one async batcher is about to add, for each event loop apart."""

    def __init__(self, runner: AsyncRunner, plans: BatchPlans) -> None:
        self._runner = runner
        self._plans = plans
        self._lanes: dict[asyncio.AbstractEventLoop, _Lane] = {}

    async def add(self, wish: Wish, inbox: Inbox, *, listens: bool) -> AsyncBatchTicket:
        """Add an item together with those of other tasks."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            lane = self._lanes[loop] = _Lane(self, inbox)
        added: asyncio.Future[AsyncBatchTicket] = loop.create_future()
        lane.gathered.append((added, wish))
        lane.listens = lane.listens or listens
        if lane.task is None:
            lane.task = loop.create_task(lane.run(), name="redisopt-gather", context=spans.elsewhere())
        return await (spans.awaited("redis", added) if spans.profiled else added)

    async def send(self, wishes: list[Wish], inbox: Inbox, *, listens: bool) -> list[AsyncBatchTicket]:
        """Add what has gathered."""
        return await self._runner.run(
            self._plans.add_wishes(
                lambda item_id: AsyncBatchTicket(self._runner, self._plans, item_id),
                wishes,
                inbox,
                None,
                listens=listens,
            )
        )

    def end(self, lane: _Lane) -> None:
        """Nothing gathers there any more."""
        self._lanes = {loop: other for loop, other in self._lanes.items() if other is not lane and not loop.is_closed()}


class _Lane:
    """What one event loop is about to add."""

    def __init__(self, gathering: Gathering, inbox: Inbox) -> None:
        self._gathering = gathering
        self._inbox = inbox
        self._under_way: list[_Waiting] = []
        self.gathered: deque[_Waiting] = deque()
        self.listens = False
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Send what gathers, until nothing does."""
        try:
            while self.gathered:
                number = min(CHUNK, len(self.gathered))
                taken = [self.gathered.popleft() for _ in range(number)]
                self._under_way = [each for each in taken if not each[0].done()]  # but for those cancelled meanwhile
                if self._under_way:
                    await self._send(self._under_way)
        except BaseException:
            for added, _ in (*self._under_way, *self.gathered):
                added.cancel()  # the loop is ending
            raise
        finally:
            self.task = None
            self._gathering.end(self)

    async def _send(self, waiting: list[_Waiting]) -> None:
        try:
            tickets = await self._gathering.send([wish for _, wish in waiting], self._inbox, listens=self.listens)
        except QueueFull as error:
            if len(waiting) == 1:
                _refuse(waiting, error)
                return
            for each in waiting:  # those that fit are added
                await self._send([each])
        except Exception as error:
            _refuse(waiting, error)
        else:
            for (added, _), ticket in zip(waiting, tickets, strict=True):
                if not added.done():
                    added.set_result(ticket)


def _refuse(waiting: list[_Waiting], error: Exception) -> None:
    """Raise the error in each task, with a traceback of its own."""
    for added, _ in waiting:
        if not added.done():
            copied = copy.copy(error)
            copied.__cause__ = error.__cause__ or error
            added.set_exception(copied)
