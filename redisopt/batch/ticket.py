"""What an adder holds: a ticket, with which it can wait for the item's own result, or cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisopt.batch.plans import BatchPlans, Ticket

if TYPE_CHECKING:
    from redisopt.runner import AsyncRunner, Runner


class BatchTicket(Ticket):
    """An item that was added: its `id`, and its result once there is one."""

    __slots__ = ("_plans", "_runner")

    def __init__(self, runner: Runner, plans: BatchPlans, item_id: str) -> None:
        super().__init__(item_id)
        self._plans = plans
        self._runner = runner

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the item's own result, and return it.

        Asks Redis once for each batch that is settled while this waits, for all that wait together; nothing once it is known.

        Args:
            timeout: seconds to wait; None for `result_ttl`, after which there would be none any more.

        Raises:
            BatchItemFailed: the item was given up, and is in the dead letter.
            Cancelled: it was cancelled before it ran.
            QueueFull: it was dropped, since more waited than `max_queue`.
            ResultExpired: it ended longer than `result_ttl` ago, or Redis has lost it.
            StateLost: the result cannot be read: the worker has another codec.
            ResultTimeout: there is no result yet. The item goes on; wait again, or fetch it by its id later.
            Unavailable: Redis was away, for the whole of `timeout`.
        """
        return self._runner.run(self._plans.result(self, timeout))

    def cancel(self) -> bool:
        """Have the item not run at all. False where it is too late: it runs, or has ended. One script call.

        Raises:
            Unavailable: Redis did not answer.
        """
        return self._runner.run(self._plans.cancel_one(self.id))


class AsyncBatchTicket(Ticket):
    """An item that was added: the twin of `BatchTicket`, whose methods are awaited."""

    __slots__ = ("_plans", "_runner")

    def __init__(self, runner: AsyncRunner, plans: BatchPlans, item_id: str) -> None:
        super().__init__(item_id)
        self._plans = plans
        self._runner = runner

    async def result(self, timeout: float | None = None) -> Any:
        """See `BatchTicket.result`."""
        return await self._runner.run(self._plans.result(self, timeout))

    async def cancel(self) -> bool:
        """See `BatchTicket.cancel`."""
        return await self._runner.run(self._plans.cancel_one(self.id))
