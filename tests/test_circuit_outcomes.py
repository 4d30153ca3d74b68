"""How calls end for a circuit breaker: what counts as a failure, passages, who is told of changes, and names."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis

import redisopt
from redisopt import events
from redisopt.testing import ServerClock
from tests.breaker_faces import BreakerFace, Broken, opened, raising

Make = Callable[..., BreakerFace]


# --- what counts


def test_which_exceptions_count_and_which_are_ignored(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(record=(OSError, KeyError), ignore=FileNotFoundError)
    for error in (OSError, KeyError, ConnectionError, ValueError, FileNotFoundError):
        with pytest.raises(error):
            face.execute(raising(error))
    assert face.metrics()[2:4] == (4, 3)


def test_a_part_of_ones_own_that_refuses_within_the_call_is_no_failure(make_breaker: Make, clock: ServerClock) -> None:
    face, strict = make_breaker(), make_breaker("strict", ignore=())
    for error in (
        redisopt.CircuitOpen("inner"),
        redisopt.ThrottleTimeout("full", retry_after=1, reason="10/s"),
        redisopt.Unavailable("the limit's Redis is away"),
    ):
        for each in (face, strict):
            with pytest.raises(type(error)):
                each.execute(raising(error))
    assert (face.metrics().calls, strict.metrics().failures) == (0, 3)


def test_a_limit_whose_redis_is_away_opens_no_breaker(
    make_breaker: Make, clock: ServerClock, client: redis.Redis
) -> None:
    """The fleet's breaker is on another server, and the far side was never called."""
    face = make_breaker(minimum_calls=3)
    limit = redisopt.Throttler(redis.from_url("redis://127.0.0.1:1"), "t", rates=["9/s"], on_unavailable="raise")
    for _ in range(5):
        with pytest.raises(redisopt.Unavailable):
            face.execute(limit.acquire)
    assert (face.state(), face.metrics().calls) == ("closed", 0)


def test_functions_may_say_which_exceptions_count(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(record=lambda error: "5" in str(error), ignore=lambda error: "404" in str(error))
    for text in ("500", "503", "404", "400", "405 ignored? no"):
        with pytest.raises(Broken):
            face.execute(raising(Broken(text)))
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
    assert "no_idea" in caplog.text
    assert "could not say" in caplog.text


def test_an_ignored_probe_is_given_back(make_breaker: Make, clock: ServerClock) -> None:
    face = make_breaker(minimum_calls=2, open_for=10, half_open_calls=1, ignore=KeyError)
    opened(face)
    clock.advance(10)
    with pytest.raises(KeyError):
        face.execute(raising(KeyError))
    assert (face.state(), face.metrics().probes, face.metrics().calls) == ("half_open", 0, 0)


def test_a_call_that_ends_with_what_is_ignored_costs_one_script_call(make_breaker: Make, client: redis.Redis) -> None:
    face = make_breaker(ignore=KeyError)
    face.call()
    before = scripts_run(client)
    with pytest.raises(KeyError):
        face.execute(raising(KeyError))
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


def test_what_a_call_failed_with_is_an_exception(make_breaker: Make) -> None:
    face = make_breaker(ignore=KeyError)
    passage = face.allow()
    with pytest.raises(ValueError, match="error must be the exception"):
        face.end(passage, "fail", "HTTP 503")
    assert face.end(passage, "fail", Broken)
    assert face.end(face.allow(), "fail", KeyError)
    assert face.metrics()[2:4] == (1, 1)


def test_a_class_says_what_a_call_failed_with_also_where_it_cannot_be_made_of_nothing(
    make_breaker: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A function has to be asked of an exception: where none can be made, it is a failure."""
    faces = [make_breaker("a", ignore=UnicodeError), make_breaker("b", record=OSError), make_breaker("c")]
    faces.append(make_breaker("d", record=lambda error: isinstance(error, UnicodeError)))
    for face in faces:
        passage = face.allow()
        assert face.end(passage, "fail", UnicodeDecodeError)
        assert not face.end(passage, "fail", UnicodeDecodeError)
    assert [face.metrics()[2:4] for face in faces] == [(0, 0), (1, 0), (1, 1), (1, 1)]
    assert "could not say what <class 'UnicodeDecodeError'> counts as" in caplog.text
    for face in faces:
        assert face.end(face.allow(), "fail", KeyboardInterrupt)
    assert [face.metrics().calls for face in faces] == [0, 1, 1, 1]
    assert face.end(face.allow(), "fail", OSError)
    assert face.metrics()[2:4] == (2, 1)
