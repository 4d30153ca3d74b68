"""A circuit breaker: what resilience4j, Polly and pybreaker test of theirs, on real servers, sync and async, on a clock that is set."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis

import redisopt
from redisopt import events, keys
from redisopt.testing import ServerClock
from tests.breaker_faces import BreakerFace, Broken

Make = Callable[..., BreakerFace]

STATE = f"{keys.tag('breaker', 'test')}state"


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
        face.execute(_raise_broken)
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


# --- windows


def test_a_time_window_forgets_in_tenths(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(window=10.0, minimum_calls=100)
    counted = []
    for second in range(25):
        clock.at(second)
        face.calls(2, "badly" if second < 10 else "well")
        metrics = face.metrics()
        counted.append((metrics.calls, metrics.failures))

    assert counted[:12] == [*((2 * n, 2 * n) for n in range(1, 11)), (20, 18), (20, 16)]
    assert counted[-1] == (20, 0)
    clock.advance(9.999)
    assert face.metrics().calls == 2
    clock.advance(0.001)
    assert face.metrics().calls == 0


def test_old_failures_do_not_open_it(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(window=10.0, minimum_calls=4)
    face.calls(3, "badly")
    clock.advance(10)
    face.call("badly")

    assert face.state() == "closed"
    assert face.metrics().calls == 1


def test_a_count_window_holds_the_last_calls(make_breaker: Make, clock: ServerClock, client: redis.Redis) -> None:
    face = make_breaker(window_calls=4, failure_rate=0.75)
    for how in ("badly", "badly", "well", "well", "badly", "badly"):
        face.call(how)
    metrics = face.metrics()
    assert (metrics.calls, metrics.failures) == (4, 2)
    assert client.lrange(f"{keys.tag('breaker', 'test')}last", 0, -1) == [b"0", b"0", b"1", b"1"]
    clock.advance(1e6)
    assert face.metrics().calls == 4

    face.call("badly")
    assert face.state() == "open"


def test_the_minimum_of_a_count_window_is_at_most_its_calls(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(window_calls=5)
    assert face.calls(6, "badly") == ["badly"] * 5 + ["refused"]


def test_processes_with_different_windows_are_judged_by_the_shorter_one(make_breaker: Make, clock: ServerClock) -> None:
    long, short = make_breaker(window=100.0, minimum_calls=50), make_breaker(window=10.0, minimum_calls=50)
    for second in range(0, 200, 3):
        clock.at(second)
        (long if second % 2 else short).call("badly")
        assert face_calls(short) <= 5
    assert len(str(short.do(short.client.hget, STATE, "slots"))) < 300


def test_other_rules_of_another_process_are_said_once(
    make_breaker: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    face, other = make_breaker(minimum_calls=5), make_breaker(minimum_calls=2)
    face.calls(3)
    other.calls(3)
    said = [record.getMessage() for record in caplog.records if "other rules" in record.getMessage()]
    assert len(said) == 1
    assert "minimum_calls=5" in said[0]
    opened(other)
    assert face.state() == "open"


def face_calls(face: BreakerFace) -> int:
    calls: int = face.metrics().calls
    return calls


def test_another_kind_of_window_begins_anew(make_breaker: Make, clock: ServerClock) -> None:
    timed, counted = make_breaker(), make_breaker(window_calls=5)
    timed.calls(4, "badly")
    counted.calls(3, "badly")
    assert counted.metrics().calls == 3
    timed.call()
    assert timed.metrics()[2:4] == (1, 0)


# --- slow calls


def test_slow_calls_open_it(make_breaker: Make, clock: ServerClock, monkeypatch: pytest.MonkeyPatch) -> None:
    face = make_breaker(slow_call_after=2.0, slow_call_rate=0.5, minimum_calls=4)
    passages = [face.allow() for _ in range(4)]
    for passage, seconds in zip(passages, (1.9, 2.0, 0.1, 3.0), strict=True):
        passage._ticket.began -= seconds
        face.end(passage, "succeed")

    assert face.state() == "open"
    assert face.metrics()[2:7] == (4, 0, 2, 0.0, 0.5)


def test_a_slow_call_may_fail_as_well(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(slow_call_after=2.0, window_calls=2, failure_rate=1.0)
    for how in ("fail", "succeed", "succeed"):
        passage = face.allow()
        passage._ticket.began -= 2.5 if how == "fail" else 0
        face.end(passage, how)
    assert face.metrics()[2:5] == (2, 0, 0)


def test_without_a_bound_no_call_is_slow(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=1)
    passage = face.allow()
    passage._ticket.began -= 1e6
    face.end(passage, "succeed")
    assert face.metrics()[2:5] == (1, 0, 0)


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
    face = opened(make_breaker(minimum_calls=2, open_for=10, half_open_calls=1, lease_ttl=300))
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


# --- what counts


def test_which_exceptions_count_and_which_are_ignored(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(record=(OSError, KeyError), ignore=FileNotFoundError)
    for error in (OSError, KeyError, ConnectionError, ValueError, FileNotFoundError):
        with pytest.raises(error):
            face.execute(_raiser(error))
    assert face.metrics()[2:4] == (4, 3)


def test_a_limit_that_refuses_within_the_call_is_no_failure(make_breaker: Make, clock: ServerClock) -> None:
    face, strict = make_breaker(), make_breaker("strict", ignore=())
    for error in (redisopt.CircuitOpen("inner"), redisopt.ThrottleTimeout("full", retry_after=1, reason="10/s")):
        for each in (face, strict):
            with pytest.raises(type(error)):
                each.execute(partial(_raise, error))
    assert (face.metrics().calls, strict.metrics().failures) == (0, 2)


def test_functions_may_say_which_exceptions_count(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(record=lambda error: "5" in str(error), ignore=lambda error: "404" in str(error))
    for text in ("500", "503", "404", "400", "405 ignored? no"):
        with pytest.raises(Broken):
            face.execute(_raiser(Broken, text))
    assert face.metrics()[2:4] == (4, 3)


def test_results_may_count_as_failures(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(record_result=lambda status: status >= 500)
    assert [face.execute(partial(int, status)) for status in (200, 500, 404)] == [200, 500, 404]
    assert face.metrics()[2:4] == (3, 1)


def test_a_function_that_cannot_say_hides_nothing(
    make_breaker: Make, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    def no_idea(_: object) -> bool:
        raise RuntimeError("no idea")

    face = make_breaker(record=no_idea, ignore=no_idea, record_result=no_idea)
    assert face.call() == "well"
    assert face.call("badly") == "badly"
    assert face.metrics()[2:4] == (2, 1)
    assert "could not say" in caplog.text


def test_an_ignored_probe_is_given_back(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=2, open_for=10, half_open_calls=1, ignore=KeyError)
    opened(face)
    clock.advance(10)
    with pytest.raises(KeyError):
        face.execute(_raiser(KeyError))
    assert (face.state(), face.metrics().probes, face.metrics().calls) == ("half_open", 0, 0)


def test_a_call_that_ends_with_what_is_ignored_costs_one_script_call(make_breaker: Make, client: redis.Redis) -> None:
    face = make_breaker(ignore=KeyError)
    face.call()
    before = scripts_run(client)
    with pytest.raises(KeyError):
        face.execute(_raiser(KeyError))
    assert scripts_run(client) - before == 1
    face.call()
    assert scripts_run(client) - before == 3


def scripts_run(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return sum(int(stats.get(name, {}).get("calls", 0)) for name in ("cmdstat_evalsha", "cmdstat_eval"))


# --- passages


def test_a_passage_is_a_context_manager(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(ignore=KeyError)
    with face.entered() as passage:
        assert passage.state == "closed"
    with pytest.raises(Broken), face.entered():
        raise Broken
    with pytest.raises(KeyError), face.entered():
        raise KeyError
    with pytest.raises(KeyboardInterrupt), face.entered():
        raise KeyboardInterrupt
    with face.entered() as passage:
        assert face.end(passage, "fail")
    assert face.metrics()[2:4] == (3, 2)


def test_the_end_of_a_passage_is_said_once(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker()
    passage = face.allow()
    assert "settled=False" in repr(passage)
    assert [face.end(passage, how) for how in ("succeed", "fail", "release", "succeed")] == [True, False, False, False]
    assert face.metrics()[2:4] == (1, 0)
    assert face.end(face.allow(), "fail", ValueError("bad"))
    assert face.metrics()[2:4] == (2, 1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(passage)


def test_a_decorated_function(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=1)
    if face.kind == "sync":

        @face.real  # type: ignore[untyped-decorator]
        def twice(number: int, *, bad: bool = False) -> int:
            """Twice."""
            if bad:
                raise Broken
            return 2 * number
    else:

        @face.real  # type: ignore[untyped-decorator]
        async def twice(number: int, *, bad: bool = False) -> int:
            """Twice."""
            if bad:
                raise Broken
            return 2 * number

    assert (twice.__name__, twice.__doc__) == ("twice", "Twice.")
    assert face.do(twice, 4) == 8
    with pytest.raises(Broken):
        face.do(twice, 4, bad=True)
    face.do(face.real.close_circuit)
    with pytest.raises(Broken):
        face.do(twice, 4, bad=True)
    with pytest.raises(redisopt.CircuitOpen):
        face.do(twice, 4)


# --- who is told


def test_each_process_is_told_when_one_of_its_calls_sees_another_state(make_breaker: Make, clock: ServerClock) -> None:
    heard: list[Any] = []
    face, other = (make_breaker(minimum_calls=2, open_for=10, half_open_calls=1) for _ in range(2))
    other.call()
    events.add_hook(heard.append)
    try:
        face.call("badly")
        assert face.changes == ["closed > open"]
        assert other.changes == []
        other.refusal()
        assert other.changes == ["closed > open"]
        clock.advance(10)
        face.call()
        assert face.changes == ["closed > open", "open > half_open", "half_open > closed"]
        other.call()
        assert other.changes == ["closed > open", "open > closed"]
    finally:
        events.remove_hook(heard.append)
    assert heard[:3] == [
        events.CircuitChanged("test", "closed", "open"),
        events.CircuitChanged("test", "closed", "open"),
        events.CircuitRefused("test", "open", 10.0),
    ]


def test_a_callback_that_raises_changes_nothing(make_breaker: Make, caplog: pytest.LogCaptureFixture) -> None:
    face = make_breaker(minimum_calls=1, on_state_change=lambda _: 1 / 0)
    assert face.call("badly") == "badly"
    assert face.state() == "open"
    assert "ZeroDivisionError" in caplog.text


# --- names


def test_names_do_not_reach_each_other(make_breaker: Make, client: redis.Redis) -> None:
    names = ["a", "a:b", "a*", "ä b", "%", "x" * 1024]
    for name in names:
        face = make_breaker(name, minimum_calls=2)
        assert face.calls(2, "badly") == ["badly", "badly"]
        assert face.state() == "open"
    assert len(client.keys("redisopt:v1:{breaker:*}:state")) == len(names)


def opened(face: BreakerFace) -> BreakerFace:
    """The breaker, open for its first time."""
    while face.state() == "closed":
        face.call("badly")
    return face


def _raise_broken() -> None:
    raise Broken


def _raiser(error: type[BaseException], *args: Any) -> Callable[[], None]:
    def act() -> None:
        raise error(*args)

    return act


def _raise(error: BaseException) -> None:
    raise error
