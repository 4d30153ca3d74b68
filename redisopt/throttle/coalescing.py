"""Coalescing: calls of many tasks on one limiter and key travel as one script call, in the order in which they came.

While one batch is under way the next gathers, so that an idle process sends each call at once and a busy one as few as it
can. A call waits for the batch before it at most: its bound is twice `command_timeout`. Whoever is cancelled gives back what
it was granted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from redisopt.keys import checked_key
from redisopt.throttle.many import MAX_CALLS, Outcomes, Solo, Wish

if TYPE_CHECKING:
    from redisopt.runner import AsyncRunner
    from redisopt.throttle.plans import ThrottlePlans

Answer = tuple[Outcomes, int] | None
"""What became of a batch, and which of its calls this was; None for a call that has to be made by itself."""


class Coalescing:
    """The batches of one async throttler. For each event loop and key, one is under way at a time."""

    def __init__(self, runner: AsyncRunner, plans: ThrottlePlans) -> None:
        self._runner = runner
        self._plans = plans
        self._lanes: dict[tuple[asyncio.AbstractEventLoop, str], _Lane] = {}

    async def ask(self, wish: Wish, key: str) -> Answer:
        """Have `wish` decided with those of other tasks."""
        loop = asyncio.get_running_loop()
        try:
            lane = self._lanes.get((loop, key))
        except TypeError:
            lane = None  # what cannot be hashed is no key
        if lane is None:
            checked_key(key)
            lane = self._lanes[loop, key] = _Lane(self, loop, key)
        call: asyncio.Future[Answer] = loop.create_future()
        lane.add(call, wish)
        try:
            return await call
        except BaseException:
            if call.done() and not call.cancelled() and call.exception() is None:
                await self._give_back(call.result(), wish, key)  # it was decided together with the interruption
            raise

    async def _give_back(self, answer: Answer, wish: Wish, key: str) -> None:
        if answer is not None:
            await self._runner.finish(self._plans.give_up(*answer, wish, key))

    def end(self, lane: _Lane) -> None:
        """A lane has nothing to do."""
        self._lanes.pop((lane.loop, lane.key), None)


class _Lane:
    """The batches of one event loop and key."""

    def __init__(self, owner: Coalescing, loop: asyncio.AbstractEventLoop, key: str) -> None:
        self._owner = owner
        self._gathering: deque[tuple[asyncio.Future[Answer], Wish]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.loop = loop
        self.key = key

    def add(self, call: asyncio.Future[Answer], wish: Wish) -> None:
        self._gathering.append((call, wish))
        if self._task is None:
            # The tasks that run in this turn of the loop go along.
            self._task = self.loop.create_task(self._run(), name="redisopt-batch")

    async def _run(self) -> None:
        owner = self._owner
        batch: list[tuple[asyncio.Future[Answer], Wish]] = []
        try:
            while self._gathering:
                batch = self._next_batch()
                if batch:
                    await self._decide(batch)
        except BaseException:
            for call, _ in (*batch, *self._gathering):
                call.cancel()  # the loop is ending
            raise
        finally:
            self._task = None
            owner.end(self)

    def _next_batch(self) -> list[tuple[asyncio.Future[Answer], Wish]]:
        batch: list[tuple[asyncio.Future[Answer], Wish]] = []
        while self._gathering and len(batch) < MAX_CALLS:
            call, wish = self._gathering.popleft()
            if not call.done():
                batch.append((call, wish))
        return batch

    async def _decide(self, batch: list[tuple[asyncio.Future[Answer], Wish]]) -> None:
        owner = self._owner
        try:
            outcomes = await owner._runner.run(owner._plans.acquire_many(self.key, [wish for _, wish in batch]))  # noqa: SLF001
        except Exception as error:
            for call, _ in batch:
                if not call.done():
                    call.set_exception(_copied(error))
            return
        if isinstance(outcomes, Solo):
            for call, _ in batch:
                if not call.done():
                    call.set_result(None)
            return
        left: list[Any] = []
        for index, (call, wish) in enumerate(batch):
            if call.done():
                left.append((outcomes, index, wish))  # cancelled while the call was under way
            else:
                call.set_result((outcomes, index))
        for outcome, index, wish in left:
            await owner._runner.run(owner._plans.give_up(outcome, index, wish, self.key))  # noqa: SLF001


def _copied(error: Exception) -> Exception:
    """The error for one of many: each is raised with a traceback of its own."""
    try:
        copy: Exception = type(error)(*error.args)
    except TypeError:
        return error
    copy.__cause__ = error.__cause__ or error
    return copy
