"""A circuit breaker's states: what resilience4j, Polly and pybreaker test of theirs, on real servers, sync and async, on a clock that is set."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redisopt
from redisopt import keys
from redisopt.testing import ServerClock
from tests.breaker_faces import BreakerFace, Broken, opened, raising

Make = Callable[..., BreakerFace]


# --- closed


def test_it_begins_closed_and_asking_leaves_nothing_behind(make_breaker: Make, client: redis.Redis) -> None:
    face = make_breaker()

    assert face.state() == "closed"
    assert face.metrics() == redisopt.CircuitMetrics("closed", None, 0, 0, 0, 0.0, 0.0, 0, 0, 0, 0.0)
    assert client.keys() == []


def test_it_gives_what_the_function_gives(make_breaker: Make) -> None:
    face = make_breaker()

    assert face.execute(lambda: "value") == "value"
    with pytest.raises(Broken):
        face.execute(raising(Broken))
    assert (face.metrics().calls, face.metrics().failures) == (2, 1)


def test_it_opens_at_the_failure_rate_and_not_before(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(failure_rate=0.5, minimum_calls=10)
    face.calls(5, "badly")
    face.calls(4)
    assert face.state() == "closed"
    assert face.call() == "well"

    assert face.state() == "open"
    assert face.call() == "refused"
    metrics = face.metrics()
    assert (metrics.calls, metrics.failures, metrics.failure_rate, metrics.opened) == (10, 5, 0.5, 1)


def test_it_stays_closed_below_the_failure_rate(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(failure_rate=0.5, minimum_calls=10)
    face.calls(51)
    face.calls(50, "badly")

    assert face.state() == "closed"
    face.call("badly")
    assert face.state() == "open"


def test_it_does_not_open_below_the_minimum_of_calls(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=10)
    assert face.calls(9, "badly") == ["badly"] * 9
    assert face.state() == "closed"
    assert face.metrics().failure_rate == 1.0

    assert face.calls(2, "badly") == ["badly", "refused"]


def test_a_rate_of_one_needs_failures_alone(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(failure_rate=1.0, minimum_calls=2, window_calls=3)
    face.call()
    face.calls(2, "badly")
    assert face.state() == "closed"
    face.call("badly")
    assert face.state() == "open"


# --- open


def test_an_open_one_says_when_to_come_back(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10))
    clock.advance(4)
    error = face.refusal()

    assert (error.retry_after, error.state) == (6.0, "open")
    assert face.metrics().retry_after == 6.0
    assert face.metrics().not_permitted == 1
    assert "'test' is open" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.retry_after, copy.state) == (type(error), str(error), 6.0, "open")
    assert isinstance(error, redisopt.RedisOptError)


def test_it_is_open_until_its_time_and_a_call_comes(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10))
    clock.advance(9.999)
    assert face.call() == "refused"
    clock.advance(0.001)
    assert face.state() == "open"
    assert face.metrics().retry_after == 0.0
    assert face.call() == "well"
    assert face.state() == "half_open"


def test_what_began_before_it_opened_does_not_count(make_breaker: Make, clock: ServerClock) -> None:
    """Neither while it is open, nor half open, nor closed again."""
    face = make_breaker(minimum_calls=2, open_for=10, half_open_calls=2)
    late = [face.allow() for _ in range(4)]
    opened(face)
    assert face.end(late[0], "fail")
    assert face.metrics().calls == 2
    clock.advance(10)
    probe = face.allow()
    assert probe.is_probe
    assert face.end(late[1], "succeed")
    assert face.metrics()[2] == 0
    face.end(probe, "succeed")
    face.call()
    assert face.state() == "closed"
    assert face.end(late[2], "fail")
    assert face.metrics().calls == 0
    assert not late[3].is_probe


# --- half open


def test_exactly_so_many_probes_are_let_through(make_breaker: Make, clock: ServerClock) -> None:
    face, other = (make_breaker(minimum_calls=2, open_for=10, half_open_calls=3) for _ in range(2))
    opened(face)
    clock.advance(10)
    probes = [face.allow(), other.allow(), face.allow()]
    for each in (face, other):
        error = each.refusal()
        assert error.state == "half_open"
        assert 0 < error.retry_after <= 1
    assert face.metrics().probes == 3

    assert all(probe.is_probe and probe.state == "half_open" for probe in probes)
    face.end(probes[0], "succeed")
    assert face.refusal().state == "half_open"  # its place is not another's
    assert face.metrics()[2:8] == (1, 0, 0, 0.0, 0.0, 2)
    other.end(probes[1], "succeed")
    face.end(probes[2], "succeed")
    assert other.state() == "closed"
    assert other.metrics().probes == 0


@pytest.mark.parametrize(("bad", "after"), [(0, "closed"), (1, "closed"), (2, "open"), (3, "open"), (4, "open")])
def test_the_failure_rate_of_the_probes_decides(make_breaker: Make, clock: ServerClock, bad: int, after: str) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=4))
    clock.advance(10)
    face.calls(bad, "badly")
    face.calls(4 - bad)
    assert face.state() == after
    assert face.metrics().calls == (0 if after == "closed" else 4)


def test_slow_probes_open_it_again(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=1, slow_call_after=1))
    clock.advance(10)
    probe = face.allow()
    probe._ticket.began -= 2
    face.end(probe, "succeed")
    assert face.state() == "open"


def test_it_is_open_longer_each_time_up_to_the_most(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=1, open_for=10, open_growth=2, open_for_max=35, half_open_calls=1)
    waits = []
    for _ in range(5):
        face.call("badly")
        waits.append(face.refusal().retry_after)
        clock.advance(waits[-1])
    assert waits == [10, 20, 35, 35, 35]

    assert face.call() == "well"
    assert face.state() == "closed"
    face.call("badly")
    assert face.refusal().retry_after == 10
    assert face.metrics().opened == 6


def test_jitter_makes_it_open_a_little_longer_when_it_opens_again(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=1, open_for=10, open_growth=1, open_jitter=0.5, half_open_calls=1)
    waits = []
    for number in range(20):
        face.call("badly")
        waits.append(face.refusal().retry_after)
        clock.advance(waits[-1] + number / 1000)
    assert waits[0] == 10
    assert all(10 <= wait <= 15.001 for wait in waits)
    assert len(set(waits)) > 10
    assert max(waits) > 12.5


def test_breakers_that_opened_in_one_moment_do_not_probe_in_one_moment(make_breaker: Make, clock: ServerClock) -> None:
    waits = []
    for number in range(8):
        fields = {"minimum_calls": 1, "open_for": 10, "open_growth": 1, "open_jitter": 1.0, "half_open_calls": 1}
        face = make_breaker(f"service {number}", **fields)
        clock.at(0)
        face.call("badly")
        clock.at(10)
        face.call("badly")
        waits.append(face.refusal().retry_after)
    assert all(10 <= wait <= 20.001 for wait in waits)
    assert len(set(waits)) == 8


def test_a_probe_that_is_released_gives_its_place_back(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=1))
    clock.advance(10)
    for _ in range(3):
        probe = face.allow()
        assert face.refusal().state == "half_open"
        assert face.end(probe, "release")
        assert not face.end(probe, "fail")
    assert face.call() == "well"
    assert face.state() == "closed"


def test_a_probe_whose_lease_is_over_gives_its_place_to_another(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=1, lease_ttl=300, half_open_for=3600))
    clock.advance(10)
    lost = face.allow()
    clock.advance(299.999)
    assert face.refusal().retry_after == 0.001
    clock.advance(0.001)
    assert face.metrics().probes == 0
    probe = face.allow()
    assert face.end(lost, "fail")  # it comes too late, and does not count
    assert face.metrics()[2:4] == (0, 0)
    face.end(probe, "succeed")
    assert face.state() == "closed"


def test_it_opens_again_when_its_probes_are_not_over_in_time(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(
        make_breaker(minimum_calls=2, open_for=10, half_open_calls=1, half_open_for=5, lease_ttl=300, open_growth=3)
    )
    clock.advance(10)
    probe = face.allow()
    clock.advance(4.999)
    assert face.refusal().state == "half_open"
    clock.advance(0.001)
    error = face.refusal()
    assert (error.state, error.retry_after) == ("open", 30)
    face.end(probe, "succeed")
    assert face.state() == "open"


def test_a_probe_that_hangs_does_not_block_it_for_ever(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=1, lease_ttl=300))
    clock.advance(10)
    hung = face.allow()
    clock.advance(99.999)
    assert face.refusal().state == "half_open"
    clock.advance(0.001)
    assert face.refusal().state == "open"
    clock.advance(20)
    assert face.call() == "well"
    assert face.state() == "closed"
    face.end(hung, "fail")
    assert face.metrics().calls == 0


def test_probes_that_come_rarely_do_not_hang(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=3, lease_ttl=3600))
    for _ in range(2):
        clock.advance(1000)
        assert face.call() == "well"
    clock.advance(1000)
    passage = face.allow()
    assert face.refusal().state == "half_open"
    face.end(passage, "succeed")
    assert face.state() == "closed"


# --- by hand


def test_forced_open_refuses_all_until_it_is_closed(make_breaker: Make, clock: ServerClock) -> None:
    face, other = make_breaker(minimum_calls=1, open_for=7), make_breaker(minimum_calls=1, open_for=7)
    passage = other.allow()
    face.force_open()
    clock.advance(1e6)
    error = other.refusal()
    assert (error.state, error.retry_after) == ("forced_open", 7)
    assert face.state() == "forced_open"
    other.end(passage, "fail")
    assert face.metrics()[2] == 0

    other.close_circuit()
    assert face.call() == "well"
    assert face.state() == "closed"
    assert face.metrics().not_permitted == 1


def test_a_disabled_one_lets_all_through_and_counts_nothing(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=1)
    face.disable()
    assert face.calls(5, "badly") == ["badly"] * 5
    assert face.state() == "disabled"
    assert face.metrics().calls == 0
    with face.entered() as passage:
        assert passage.state == "disabled"
    face.close_circuit()
    assert face.calls(2, "badly") == ["badly", "refused"]


def test_a_state_that_is_set_ends_what_was_under_way(make_breaker: Make, clock: ServerClock) -> None:
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=1))
    clock.advance(10)
    probe = face.allow()
    face.close_circuit()
    face.end(probe, "fail")
    assert face.metrics()[:1] + face.metrics()[2:8] == ("closed", 0, 0, 0, 0.0, 0.0, 0)


def test_reset_forgets_all_that_was_counted(make_breaker: Make, clock: ServerClock, client: redis.Redis) -> None:
    face = opened(make_breaker(minimum_calls=2))
    face.refusal()
    face.reset()
    metrics = face.metrics()
    assert (metrics.state, metrics.opened, metrics.not_permitted, metrics.calls) == ("closed", 0, 0, 0)
    assert face.call() == "well"


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "martian"},
        {"generation": "zz"},
        {"state": "martian", "generation": "zz"},
        {"calls": "zz"},
        {"seen": "x", "generation": "y", "state": "z"},
    ],
)
def test_a_state_that_is_damaged_is_said_to_be_lost_until_it_is_reset(
    make_breaker: Make, client: redis.Redis, fields: Any
) -> None:
    face = make_breaker()
    face.calls(2)
    client.hset(f"{keys.tag('breaker', 'test')}state", mapping=fields)
    with pytest.raises(redisopt.StateLost, match=r"reset\(\)"):
        face.state()
    if "calls" not in fields:
        with pytest.raises(redisopt.StateLost, match=r"reset\(\)"):
            face.allow()
    face.reset()
    assert face.call() == "well"
    assert face.state() == "closed"


@pytest.mark.parametrize("part", ["state", "probes", "last"])
def test_reset_mends_keys_that_are_not_ours(make_breaker: Make, client: redis.Redis, part: str) -> None:
    face = opened(make_breaker(minimum_calls=1, open_for=0.01, window_calls=2, half_open_calls=2))
    time.sleep(0.02)
    face.call()
    if part == "last":
        face.calls(2)
    client.set(f"{keys.tag('breaker', 'test')}{part}", "not ours", ex=60)
    with pytest.raises(redisopt.StateLost, match=r"reset\(\)"):
        face.end(face.allow(), "succeed")
    if part == "last":
        assert face.call() == "well"  # that it cannot be recorded does not hide what a call gives
    face.reset()
    assert face.call() == "well"
