"""Coalescing: calls of many tasks on one limiter and key travel as one script call, in the order in which they came.

While one batch is under way the next gathers, so that an idle process sends each call at once and a busy one as few as it
can. A call waits for the batches before it, of 500 calls each: while Redis is slow and n calls wait, its bound is
`command_timeout` for each 500 of them, and once more; while it is known to be away they all fail at once. Whoever is
cancelled gives back what it was granted.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redisopt import spans
from redisopt.keys import checked_key
from redisopt.throttle.many import MAX_CALLS, Outcomes, Solo, Wish

if TYPE_CHECKING:
    from redisopt.runner import AsyncRunner
    from redisopt.throttle.plans import ThrottlePlans

Answer = tuple[Outcomes, int] | None
"""What became of a batch, and which of its calls this was; None for a call that has to be made by itself."""

_Waiting = tuple["asyncio.Future[Answer]", Wish]


class Coalescing:
    """The batches of one async throttler. For each event loop and key, one is under way at a time."""

    def __init__(self, runner: AsyncRunner, plans: ThrottlePlans[Any]) -> None:
        self._runner = runner
        self._plans = plans
        self._lanes: dict[tuple[asyncio.AbstractEventLoop, str], _Lane] = {}
        self._latest: _Lane | None = None

    def add(self, wish: Wish, key: str) -> asyncio.Future[Answer]:
        """Have `wish` decided with those of other tasks. To be awaited at once, and to be told to `interrupted` if that fails."""
        loop = asyncio.get_running_loop()
        lane = self._latest
        if lane is None or lane.key != key or lane.loop is not loop:
            lane = self._latest = self._lane(loop, key)
        call: asyncio.Future[Answer] = loop.create_future()
        lane.gathering.append((call, wish))
        if lane.task is None:
            lane.start()
        return call

    def _lane(self, loop: asyncio.AbstractEventLoop, key: str) -> _Lane:
        checked_key(key)
        lane = self._lanes.get((loop, key))
        if lane is None:
            lane = self._lanes[loop, key] = _Lane(self._runner, self._plans, self._end, loop, key)
        return lane

    async def interrupted(self, call: asyncio.Future[Answer], wish: Wish, key: str) -> None:
        """Whoever awaited `call` was interrupted: return when what it was granted has been given back.

        Bounded as a call is; further cancellations are absorbed meanwhile.
        """
        lane = self._lanes.get((asyncio.get_running_loop(), key))
        if call.cancelled() and lane is not None and lane.carries(call):
            while not lane.finished.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([lane.finished])
        elif call.done() and not call.cancelled() and call.exception() is None:
            answer = call.result()
            if answer is not None:
                await self._runner.finish(self._plans.together.give_up(*answer, wish, key))

    def closed(self, call: asyncio.Future[Answer], wish: Wish, key: str) -> None:
        """The coroutine that awaited `call` was closed, and may await no more: what it was granted is given back behind it.

        In a loop that runs no more nothing can be.
        """
        answer = call.result() if call.done() and not call.cancelled() and call.exception() is None else None
        with contextlib.suppress(RuntimeError):  # its loop is closed
            call.cancel()  # whoever carries it gives it back
            if answer is not None and call.get_loop() is asyncio.get_running_loop():
                self._runner.start(lambda: self._plans.together.give_up(*answer, wish, key), "redisopt-give-up")

    def _end(self, lane: _Lane) -> None:
        self._lanes.pop((lane.loop, lane.key), None)
        if self._latest is lane:
            self._latest = None


class _Lane:
    """The batches of one event loop and key."""

    def __init__(
        self,
        runner: AsyncRunner,
        plans: ThrottlePlans[Any],
        end: Callable[[_Lane], None],
        loop: asyncio.AbstractEventLoop,
        key: str,
    ) -> None:
        self._runner = runner
        self._plans = plans
        self._end = end
        self.gathering: list[_Waiting] = []
        self._batch: list[_Waiting] = []
        self.finished: asyncio.Future[None] = loop.create_future()  # the batch under way
        self.task: asyncio.Task[None] | None = None
        self.loop = loop
        self.key = key

    def start(self) -> None:
        """Begin to send batches. The tasks that run in this turn of the loop still go along with the first."""
        self.task = self.loop.create_task(self._run(), name="redisopt-batch", context=spans.elsewhere())

    def carries(self, call: asyncio.Future[Answer]) -> bool:
        """Whether the batch under way carries this call."""
        return any(other is call for other, _ in self._batch)

    async def _run(self) -> None:
        try:
            while self.gathering:
                self._batch = self._next_batch()
                if self._batch:
                    self.finished = self.loop.create_future()
                    await self._decide(self._batch)
                    self.finished.set_result(None)
        except BaseException:
            for call, _ in (*self._batch, *self.gathering):
                call.cancel()  # the loop is ending
            raise
        finally:
            self.finished.cancel()
            self.task = None
            self._end(self)

    def _next_batch(self) -> list[_Waiting]:
        batch = self.gathering[:MAX_CALLS]
        del self.gathering[:MAX_CALLS]
        return [waiting for waiting in batch if not waiting[0].done()]

    async def _decide(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._runner.run(self._plans.together.acquire(self.key, [wish for _, wish in batch]))
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
        left: list[tuple[int, Wish]] = []
        for index, (call, wish) in enumerate(batch):
            if call.done():
                left.append((index, wish))  # cancelled while the call was under way
            else:
                call.set_result((outcomes, index))
        for index, wish in left:
            await self._runner.run(self._plans.together.give_up(outcomes, index, wish, self.key))


def _copied(error: Exception) -> Exception:
    """The error for one of many: each is raised with a traceback of its own."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__ or error
    return copied
