"""The count that the demo judges the library by, against brute force."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redisopt.cli.window import GrantLog


def brute_force(times: list[int], period: int) -> int:
    return max((sum(end - period < time <= end for time in times) for end in times), default=0)


def test_a_window_has_one_end_open() -> None:
    log = GrantLog([1000])
    for time in (1000, 0, 1):
        log.add(time)

    assert log.highest(1000) == 2  # 0 and 1000 are a whole period apart
    log.add(999)
    assert log.highest(1000) == 3
    assert (len(log), log.newest, log.count_within(1000), log.count_after(1)) == (4, 1000, 3, 2)


@given(
    batches=st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=6),
    periods=st.lists(st.integers(1, 70), min_size=1, max_size=3),
)
def test_the_highest_count_is_that_of_brute_force_whatever_the_order(
    batches: list[list[int]], periods: list[int]
) -> None:
    log, seen = GrantLog(periods), []
    for batch in batches:
        for time in batch:
            log.add(time)
        seen += batch
        highest = {period: log.highest(period) for period in periods}

        assert highest == {period: brute_force(seen, period) for period in periods}
        for period, count in highest.items():
            times = sorted(seen)
            assert all(times[i + count] - times[i] >= period for i in range(len(times) - count))
