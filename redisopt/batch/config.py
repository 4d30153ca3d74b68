"""What a batcher may be told: `BatchConfig`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from redisopt.codec import MAX_PAYLOAD_BYTES, Codec
from redisopt.config import Config, ErrorTypes, milliseconds

LimitBy = Literal["batch", "items"]
"""What a batch costs a limiter: 1, or as much as it has items."""

MAX_SIZE = 1000
"""Items of one batch: one script call hands them out, and must not hold up the server."""

MAX_PRIORITIES = 10
"""Levels of priority; each is a list that every claim looks at."""

_DAY = 86_400.0


class BatchConfig(Config):
    """When a batch is due, how failures are dealt with, and how long things are kept.

    Raises:
        pydantic.ValidationError: a field is unknown or out of range.
    """

    max_size: int = Field(
        default=64, ge=1, le=MAX_SIZE, description="Items that make a batch due at once, and the most that one holds."
    )
    max_delay: float = Field(
        default=0.05, ge=0, le=_DAY, description="Seconds after its first item at which a batch is due, however small."
    )
    max_bytes: int | None = Field(
        default=None,
        ge=1,
        le=512 * 1024 * 1024,
        description="Bytes of items that make a batch due, and the most that one holds, but for one item that is larger. "
        "None: bytes make none due, and one holds 4 MiB at most.",
    )
    max_item_bytes: int = Field(
        default=MAX_PAYLOAD_BYTES,
        ge=1,
        le=64 * 1024 * 1024,
        description="Bytes of one item, or of one result; larger ones are refused.",
    )
    codec: Codec = Field(
        default="msgpack", description='How items and results stand in Redis: "msgpack", or "json" for people to read.'
    )
    priorities: int = Field(
        default=1, ge=1, le=MAX_PRIORITIES, description="Levels of priority: items of a higher one go first."
    )

    wait_replicas: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Replicas that must have an added item before add returns; else it raises Unavailable, and the item may be lost by "
        "a failover.",
    )
    max_queue: int | None = Field(
        default=None, ge=1, description="Items of the whole fleet that may wait for a worker. None: any number."
    )
    overflow: Literal["raise", "block", "drop_new", "drop_old"] = Field(
        default="raise",
        description="Where the queue is full: raise QueueFull; wait for room; drop what is added; or drop what waits longest for its first run, "
        "of the key whose oldest item has waited longest, and then of the next.",
    )

    lease_ttl: float = Field(
        default=10.0,
        ge=0.1,
        le=3600,
        description="Seconds after which the items of a worker that is not heard of are handed out again.",
    )
    max_attempts: int = Field(
        default=3, ge=1, le=1000, description="Runs of an item that may fail before it is given up."
    )
    max_deliveries: int = Field(
        default=3,
        ge=2,
        le=1000,
        description="Times that an item is handed out while its workers die of it, the last time alone, before it is given up.",
    )
    retry_on: ErrorTypes = Field(
        default=(ConnectionError, TimeoutError),
        description="Errors that are not the items' fault: the batch is run again as a whole, and no attempt is counted.",
    )
    retry_for: float = Field(
        default=600.0, ge=0, le=30 * _DAY, description="Seconds for which errors of retry_on do not count as attempts."
    )
    backoff_base: float = Field(
        default=0.2,
        gt=0,
        le=3600,
        description="Seconds that the first retry waits at most; the next ones twice as long each.",
    )
    backoff_cap: float = Field(default=60.0, gt=0, le=_DAY, description="Seconds that any retry waits at most.")
    isolate: bool = Field(
        default=True,
        description="When a handler raises, find the items that it raises for by running parts of the batch again. "
        "False: all of it failed.",
    )
    on_wrong_count: Literal["fail", "retry"] = Field(
        default="fail",
        description="Where a handler's answer has the wrong length: give its items up at once, or count a failed attempt.",
    )

    result_ttl: float = Field(
        default=3600.0,
        ge=1,
        le=30 * _DAY,
        description="Seconds for which results, and the ids of what has ended, are kept.",
    )
    dead_ttl: float = Field(
        default=7 * _DAY, ge=1, le=365 * _DAY, description="Seconds for which items that were given up are kept."
    )
    max_dead: int = Field(default=10_000, ge=1, description="Items that were given up that are kept, the latest ones.")
    on_conflict: Literal["warn", "raise"] = Field(
        default="warn",
        description="When another process uses the name with other triggers: log a warning once, or raise ConfigConflict.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (
            self.max_bytes is not None
            and self.max_bytes < self.max_item_bytes
            and "max_item_bytes" in self.model_fields_set
        ):
            raise ValueError(f"max_item_bytes {self.max_item_bytes:,} is above max_bytes {self.max_bytes:,}")
        if self.overflow != "raise" and self.max_queue is None:
            raise ValueError(f"overflow {self.overflow!r} needs a max_queue: it is what overflows")
        if self.overflow == "drop_old" and self.priorities > 1:
            raise ValueError("overflow 'drop_old' does not go with priorities: the oldest may be the most urgent")
        if self.backoff_cap < self.backoff_base:
            raise ValueError(f"backoff_cap {self.backoff_cap} s is below backoff_base {self.backoff_base} s")
        return self

    @property
    def triggers(self) -> str:
        """What all processes of a name should have in common, as text."""
        words = [f"max_size={self.max_size}", f"max_delay={milliseconds(self.max_delay)}ms", f"codec={self.codec}"]
        if self.max_bytes is not None:
            words.append(f"max_bytes={self.max_bytes}")
        if self.priorities > 1:
            words.append(f"priorities={self.priorities}")
        if self.max_queue is not None:
            words.append(f"max_queue={self.max_queue}")
        return ",".join(words)
