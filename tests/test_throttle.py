"""What a throttle of rates decides: several rates at once, partitions, parts of a cost, and what an answer says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis
import redis.asyncio

import redisopt
from redisopt import LimitState
from tests.clock import START_MS, ServerClock
from tests.faces import Face
from tests.lines import join, logs, shared, stored
from tests.servers import RunningServer

Make = Callable[..., Face]


# --- several rates


def test_refused_by_one_rate_the_others_charge_nothing(make_throttler: Make, clock: ServerClock) -> None:
    """All or nothing: the wider rate still has all that it had before the refusal."""
    throttler = make_throttler(rates=["2/s", "10/min"])
    throttler.try_acquire(cost=2)
    refused = throttler.try_acquire(cost=2)

    assert (refused.allowed, refused.reason) == (False, "2/s")
    assert [limit.remaining for limit in throttler.peek().limits] == [0, 8]


def test_a_refusal_leaves_no_trace_in_redis(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """Byte for byte."""
    throttler = make_throttler(rates=["2/s", "10/min"])
    throttler.try_acquire(cost=2)
    before = shared(client)
    assert not throttler.try_acquire().allowed

    assert shared(client) == before


def test_the_reason_is_the_rate_that_asks_for_the_longest_wait(make_throttler: Make, clock: ServerClock) -> None:
    """To come back when the shorter one allows would be too early."""
    throttler = make_throttler(rates=["2/s", "3/min"])
    throttler.try_acquire(cost=2)
    assert throttler.try_acquire(cost=2).reason == "3/min"
    assert throttler.try_acquire(cost=1).reason == "2/s"


def test_sixteen_rates_hold_together(make_throttler: Make, clock: ServerClock) -> None:
    """Each in turn is the one that refuses."""
    throttler = make_throttler(rates=[f"{number}/{number}s" for number in range(1, 17)])
    granted = [round(throttler.acquire().granted_at - START_MS / 1000, 2) for _ in range(20)]

    assert granted == [float(second) for second in range(20)]


# --- partitions and names


def test_each_key_has_limits_of_its_own(make_throttler: Make, clock: ServerClock) -> None:
    """What one user has used is nothing to another."""
    throttler = make_throttler(rates=["2/s"])
    throttler.try_acquire(cost=2, key="user:1")

    assert [throttler.peek(key).remaining for key in ("user:1", "user:2", "")] == [0, 2, 2]


def test_throttlers_of_one_name_share_their_limits(make_throttler: Make, clock: ServerClock) -> None:
    """As two processes do."""
    make_throttler("github", rates=["2/s"]).try_acquire(cost=2)

    assert make_throttler("github", rates=["2/s"]).peek().remaining == 0


def test_throttlers_of_different_names_share_nothing(make_throttler: Make, clock: ServerClock) -> None:
    """Also when one name begins with the other."""
    make_throttler("github", rates=["2/s"]).try_acquire(cost=2)

    assert make_throttler("github2", rates=["2/s"]).peek().remaining == 2


# --- other configs of the same name


def test_each_call_is_judged_by_its_own_config(make_throttler: Make, clock: ServerClock) -> None:
    """What was granted counts for both, whatever their periods."""
    wide, narrow = make_throttler(rates=["10/min"]), make_throttler(rates=["2/s"])
    assert [wide.try_acquire().allowed for _ in range(3)] == [True] * 3

    assert not narrow.try_acquire().allowed
    assert wide.try_acquire().remaining == 6


def test_a_longer_period_starts_from_what_the_shorter_one_knows(make_throttler: Make, clock: ServerClock) -> None:
    """Uses of the last second are all that is on record."""
    make_throttler(rates=["5/s"]).try_acquire(cost=3)
    clock.advance(0.5)

    assert make_throttler(rates=["10/min"]).peek().remaining == 7


def test_a_clock_that_is_set_back_brings_back_nothing_that_a_new_config_was_not_told_of(
    make_throttler: Make, clock: ServerClock
) -> None:
    """To register is to see the time: what was over then stays over for all limits alike, or some would hold it and some not."""
    wide, narrow = make_throttler(rates=["5/2500ms"]), make_throttler(rates=["3/s"])
    wide.try_acquire(cost=3)
    clock.at(1.001)
    assert narrow.peek().remaining == 3
    clock.at(0.5)
    assert narrow.try_acquire(cost=3).allowed

    assert wide.peek(cost=5).retry_after == 2.5 + 0.001
    assert wide.peek(cost=2).retry_after == 2.5 - 1.0


def test_a_config_with_other_periods_learns_of_those_who_wait(make_throttler: Make, clock: ServerClock) -> None:
    """Nobody is overtaken by a process with another config."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    waiting = join(throttler)
    decision = make_throttler(rates=["10/min"]).try_acquire()

    assert (decision.allowed, decision.reason) == (False, "queue")
    assert make_throttler(rates=["10/min"]).acquire().granted_at >= waiting.granted_at


def test_tasks_of_one_throttler_keep_apart_keys_that_other_configs_use(
    server: RunningServer, client: redis.Redis
) -> None:
    """Each key has periods of its own on record; calls for two keys are under way at the same time."""
    with redisopt.Throttler(client, "test", rates=["1000/400ms"]) as other:
        other.try_acquire(key="shared")

    async def both() -> list[int]:
        async with (
            redis.asyncio.from_url(server.url) as async_client,
            redisopt.AsyncThrottler(async_client, "test", rates=["100/min"], command_timeout=20) as throttler,
        ):
            await throttler.try_acquire(key="mine")
            asked = [throttler.try_acquire(key=key) for _ in range(40) for key in ("shared", "mine")]
            await asyncio.gather(*asked)
            return [(await throttler.peek(key)).remaining for key in ("shared", "mine")]

    assert asyncio.run(both()) == [59, 59]


# --- parts of a cost


def test_with_a_minimum_a_caller_gets_what_there_is(make_throttler: Make, clock: ServerClock) -> None:
    """And its permit says how much that was."""
    throttler = make_throttler(rates=["10/s", "25/min"])
    throttler.try_acquire(cost=4)
    decision = throttler.try_acquire(cost=10, minimum=2)

    assert (decision.allowed, decision.permit.cost, decision.remaining) == (True, 6, 0)


def test_with_a_minimum_the_whole_cost_is_preferred(make_throttler: Make, clock: ServerClock) -> None:
    """Less is only given where the whole does not fit."""
    assert make_throttler(rates=["10/s"]).try_acquire(cost=7, minimum=1).permit.cost == 7


def test_below_the_minimum_nothing_is_granted(make_throttler: Make, clock: ServerClock) -> None:
    """The wait is the one for the minimum."""
    throttler = make_throttler(rates=["10/s"])
    throttler.try_acquire(cost=8)
    clock.advance(0.1)
    throttler.try_acquire(cost=1)
    refused = throttler.try_acquire(cost=5, minimum=2)

    assert (refused.allowed, refused.permit, refused.remaining) == (False, None, 1)
    assert refused.retry_after == pytest.approx(0.901)


def test_with_a_minimum_nobody_in_line_is_overtaken(make_throttler: Make, clock: ServerClock) -> None:
    """There is 1 left, but somebody waits for 5."""
    throttler = make_throttler(rates=["10/s"])
    throttler.try_acquire(cost=9)
    join(throttler, cost=5)
    decision = throttler.try_acquire(cost=5, minimum=1)

    assert (decision.allowed, decision.reason) == (False, "queue")


# --- what an answer says


def test_a_grant_says_all_there_is_to_know(make_throttler: Make, clock: ServerClock) -> None:
    """Field by field; a use now is logged at the next millisecond, and back a period later."""
    throttler = make_throttler(rates=["10/s", "15/min"])
    throttler.try_acquire(cost=4)
    clock.advance(0.5)
    decision = throttler.try_acquire(cost=3)

    assert decision.allowed is True
    assert bool(decision) is True
    assert (decision.limit, decision.remaining) == (10, 3)
    assert (decision.retry_after, decision.reset_after) == (0.0, 60.001)
    assert (decision.reason, decision.queue_size) == (None, 0)
    assert (decision.permit.cost, decision.permit.key, decision.permit.waited) == (3, "", 0.0)
    assert decision.permit.granted_at == (START_MS + 501) / 1000
    assert decision.limits == (LimitState("10/s", 10, 3, 1.001), LimitState("15/min", 15, 8, 60.001))


def test_a_refusal_says_all_there_is_to_know(make_throttler: Make, clock: ServerClock) -> None:
    """Field by field."""
    throttler = make_throttler(rates=["5/s", "8/min"])
    throttler.try_acquire(cost=4)
    clock.advance(0.25)
    decision = throttler.try_acquire(cost=2)

    assert decision.allowed is False
    assert bool(decision) is False
    assert (decision.limit, decision.remaining) == (5, 1)
    assert (decision.retry_after, decision.reset_after) == (0.751, 59.751)
    assert (decision.reason, decision.queue_size, decision.permit) == ("5/s", 0, None)
    assert decision.limits == (LimitState("5/s", 5, 1, 0.751), LimitState("8/min", 8, 4, 59.751))


def test_an_answer_without_any_use_has_nothing_to_come_back(make_throttler: Make, clock: ServerClock) -> None:
    """A fresh limiter."""
    decision = make_throttler(rates=["5/s"]).peek()

    assert (decision.remaining, decision.retry_after, decision.reset_after) == (5, 0.0, 0.0)


def test_a_limiter_says_nothing_is_in_use_when_all_is_back(make_throttler: Make, clock: ServerClock) -> None:
    """As if it were fresh."""
    throttler = make_throttler(rates=["5/s"])
    throttler.try_acquire(cost=5)
    clock.advance(1.001)
    decision = throttler.peek()

    assert (decision.remaining, decision.reset_after) == (5, 0.0)


def test_what_remains_is_told_for_the_tightest_rate(make_throttler: Make, clock: ServerClock) -> None:
    """The one with the least left, not the one with the lowest limit."""
    throttler = make_throttler(rates=["5/s", "8/min"])
    throttler.try_acquire(cost=5)
    clock.advance(2)
    decision = throttler.peek()

    assert (decision.limit, decision.remaining) == (8, 3)


def test_nothing_remains_while_somebody_waits(make_throttler: Make, clock: ServerClock) -> None:
    """A newcomer would have to stand behind them."""
    throttler = make_throttler(rates=["5/s"])
    throttler.try_acquire(cost=4)
    join(throttler, cost=3)
    decision = throttler.try_acquire()

    assert (decision.allowed, decision.remaining, decision.queue_size, decision.reason) == (False, 0, 1, "queue")


def test_each_limit_says_what_it_would_grant_now_while_somebody_waits(make_throttler: Make, clock: ServerClock) -> None:
    """All three are in use, whatever will be free when the waiter's time comes."""
    throttler = make_throttler(rates=["3/s"])
    throttler.try_acquire(cost=3)
    join(throttler)

    assert throttler.peek().limits[0].remaining == 0


def test_permits_have_ids_of_their_own(make_throttler: Make, clock: ServerClock) -> None:
    """Over throttlers and calls."""
    permits = [make_throttler(rates=["5/s"]).try_acquire().permit for _ in range(5)]

    assert len({permit.id for permit in permits}) == 5


def test_the_times_of_grants_never_fall(make_throttler: Make, clock: ServerClock) -> None:
    """Within one limiter, also when the server's clock is set back."""
    throttler = make_throttler(rates=["5/s"])
    granted = []
    for seconds in (10, 10.5, 9.0, 9.2, 11.5):
        clock.at(seconds)
        granted.append(throttler.try_acquire().permit.granted_at)

    assert granted == sorted(granted)


# --- reset


def test_a_reset_forgets_one_key_alone(make_throttler: Make, clock: ServerClock) -> None:
    """The others go on."""
    throttler = make_throttler(rates=["2/s", "4/min"])
    for key in ("", "a", "b"):
        throttler.try_acquire(cost=2, key=key)
    throttler.reset("a")

    assert [throttler.peek(key).remaining for key in ("", "a", "b")] == [0, 2, 0]


def test_a_reset_leaves_nothing_behind(make_throttler: Make, clock: ServerClock, client: redis.Redis) -> None:
    """Not even a line. From when on permits can be given back is kept for a second."""
    throttler = make_throttler(rates=["1/s"])
    throttler.try_acquire()
    join(throttler)
    throttler.reset()

    ((key, state),) = stored(client).items()
    assert set(state) == {b"seen", b"offset", b"since"}
    assert 0 < client.pttl(key) <= 1000


def test_a_reset_reaches_the_logs_of_other_configs(
    make_throttler: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """They count for the same limiter."""
    make_throttler(rates=["2/s"]).try_acquire()
    make_throttler(rates=["4/min"]).try_acquire()
    make_throttler(rates=["2/s"]).reset()

    assert not logs(client)
