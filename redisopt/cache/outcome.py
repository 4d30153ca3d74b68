"""What a cache shows: how a key stands, and its counts."""

from __future__ import annotations

from typing import NamedTuple


class CacheEntry(NamedTuple):
    """How a key stands.

    Attributes:
        exists: whether there is a value that may be served; one whose tag was invalidated may not.
        size: its bytes.
        age: seconds since it was kept.
        ttl_left: seconds that it is fresh yet; 0 where it is stale, or there is none.
        stale: whether it exists and is not fresh.
        ends_in: seconds until Redis forgets it.
        took: seconds that its computation took.
        tags: that it has.
        computed_by: the id of the call that computes it now, which begins with that of its process; "" where nobody does.
        computing_for: seconds since that began.
        failure: how its last computation failed, while that is kept; else "".
        retry_after: seconds until it is tried again after that failure.
    """

    exists: bool
    size: int
    age: float
    ttl_left: float
    stale: bool
    ends_in: float
    took: float
    tags: tuple[str, ...]
    computed_by: str
    computing_for: float
    failure: str
    retry_after: float


class CacheMetrics(NamedTuple):
    """What a cache did, over the whole fleet, since its counts were begun: they are kept for a week after the last.

    A process hands its own in every 2 s, and when it asks or is closed.

    Each call with an outcome is one of the first eight, `hits` to `unavailable`.

    Attributes:
        hits: calls that found a fresh value in Redis.
        local_hits: calls that found one in their own process.
        misses: calls that had to compute, or `get` found nothing.
        waited: calls that waited for another one's computation, of this process or another.
        stale: calls that got a value that was refreshed meanwhile.
        rescued: calls that got an old value since its computation had failed, or took too long.
        failed: calls that were told of another one's failure.
        unavailable: calls that were answered without Redis.
        computed: computations whose value was kept, refreshes included.
        refreshed: refreshes in the background that began; `early` of them before the value's end.
        early: see `refreshed`.
        negative: computations whose answer was negative: None, or one of `negative_errors`.
        errors: computations that failed.
        uncached: values that were computed and could not be kept: too large, of a type that cannot be stored, Redis full or away.
        lost: values that were computed and not kept since the key was set or deleted meanwhile, or its lease was lost.
    """

    hits: int = 0
    local_hits: int = 0
    misses: int = 0
    waited: int = 0
    stale: int = 0
    rescued: int = 0
    failed: int = 0
    unavailable: int = 0
    computed: int = 0
    refreshed: int = 0
    early: int = 0
    negative: int = 0
    errors: int = 0
    uncached: int = 0
    lost: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the calls that were answered with a value at once; 0 where there were none."""
        calls = sum(self[:8])
        return (self.hits + self.local_hits + self.stale + self.rescued) / calls if calls else 0.0


COUNTS = CacheMetrics._fields
