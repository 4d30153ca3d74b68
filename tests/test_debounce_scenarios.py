"""What lodash's test suite and those of others check, call by call: exact, on a clock that the test sets, from three processes.

Times are milliseconds from the first call. Where lodash itself fires late (its `maxWait` overshoots within a burst), the times
are those that its documentation promises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import redis.asyncio

import redisopt.delivery
from redisopt.debounce.asking import Asking
from redisopt.identity import next_permit_id
from redisopt.runner import AsyncRunner, Runner
from tests.clock import START_MS, ServerClock, on_test_clock
from tests.debounce_scripts import Scripts
from tests.servers import RunningServer

Make = Callable[..., Scripts]


@pytest.fixture(params=["sync", "async"])
def make(
    request: pytest.FixtureRequest,
    server: RunningServer,
    client: redis.Redis,
    loop: asyncio.Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Make]:
    """Makes debouncers that three processes call, at the start of the test's time."""
    monkeypatch.setattr(redisopt.delivery, "script", on_test_clock)
    clock = ServerClock(client)
    if request.param == "sync":
        clients: list[Any] = [redis.from_url(server.url) for _ in range(3)]
        runners: list[Any] = [Runner(each, 10.0) for each in clients]
        yield lambda **fields: Scripts([runner.run for runner in runners], clock, **fields)
        for each in [*runners, *clients]:
            each.close()
        return
    clients = [redis.asyncio.from_url(server.url) for _ in range(3)]
    runners = [AsyncRunner(each, 10.0) for each in clients]

    def performer(runner: AsyncRunner) -> Callable[[Any], Any]:
        return lambda plan: loop.run(runner.run(plan))

    yield lambda **fields: Scripts([performer(runner) for runner in runners], clock, **fields)
    for each in [*runners, *clients]:
        loop.run(each.aclose())


@dataclass(frozen=True)
class Story:
    """What happens, and what runs when.

    Attributes:
        options: of the debouncer, its wait 0.32 s unless it says otherwise.
        calls: "time payload", or "time cancel" and "time flush", with commas; each from the next process.
        runs: "time payload" with commas; several payloads of one run are joined by +.
    """

    options: dict[str, Any]
    calls: str
    runs: str


BOTH = {"leading": True}
LEADING = {"leading": True, "trailing": False}

STORIES = {
    "a burst, and another one": Story({}, "0 a, 10 b, 20 c, 1280 d, 1290 e, 1300 f", "340 c, 1620 f"),
    "no wait: each call runs, but not inside the call": Story({"wait": 0}, "0 a, 0 b, 5 c", "0 a, 0 b, 5 c"),
    "the defaults": Story({}, "0 a", "320 a"),
    "leading runs a single call once": Story(BOTH, "0 a, 640 b", "0 a, 640 b"),
    "both edges": Story(BOTH, "0 a, 5 b", "0 a, 325 b"),
    "the leading edge alone": Story(LEADING, "0 a, 10 b, 640 c, 650 d", "0 a, 640 c"),
    "the leading edge alone slides": Story(LEADING | {"wait": 1}, "0 a, 500 b, 1400 c, 2401 d", "0 a, 2401 d"),
    "max_wait": Story({"max_wait": 0.64}, "0 a, 200 b, 400 c, 600 d, 800 e, 1000 f", "640 d, 1280 f"),
    "max_wait of a key that is idle meanwhile": Story({"max_wait": 0.64}, "0 a, 1280 b", "320 a, 1600 b"),
    "max_wait is wait": Story({"wait": 2, "max_wait": 2}, "0 a, 1900 b, 2000 c, 2100 d", "2000 b, 4000 d"),
    "a call after the cap begins no new burst": Story(
        BOTH | {"max_wait": 0.64}, "0 a, 200 b, 400 c, 600 d, 800 e", "0 a, 640 d, 1120 e"
    ),
    "lodash 1934: the last keystroke is not lost": Story(
        BOTH | {"wait": 1, "max_wait": 2}, "0 k1, 250 k2, 2000 k3, 2200 k4", "0 k1, 1250 k2, 2000 k3, 3200 k4"
    ),
    "lodash 2089: the second burst has no leading edge": Story(
        {"wait": 1, "max_wait": 2}, "0 a, 500 b, 1000 c, 1500 d, 1900 e, 9000 z", "2000 e, 10000 z"
    ),
    "the leading edge alone, with a cap": Story(
        LEADING | {"max_wait": 0.64}, "0 a, 200 b, 400 c, 600 d, 800 e, 1000 f", "0 a, 800 e"
    ),
    "the cap is exact": Story(BOTH | {"wait": 0.1, "max_wait": 0.107}, "0 a, 70 b, 145 c", "0 a, 107 b, 214 c"),
    "agenda 1736: the cap does not slide": Story({"wait": 2, "max_wait": 2}, "0 a, 500 b", "2000 b"),
    "Trigger.dev's table": Story(
        {"wait": 5, "max_wait": 30}, ", ".join(f"{2000 * n} {n}" for n in range(16)), "30000 14, 35000 15"
    ),
    "cancel": Story({}, "0 a, 5 cancel, 400 b", "720 b"),
    "a cancel begins a new burst": Story(BOTH, "0 a, 1 cancel, 2 b, 3 c", "0 a, 2 b, 323 c"),
    "flush": Story({}, "0 a, 5 flush", "5 a"),
    "flush with both edges": Story(BOTH, "0 a, 1 b, 2 flush", "0 a, 2 b"),
    "flush with the leading edge alone": Story(LEADING, "0 a, 2 b, 3 flush", "0 a"),
    "nothing to cancel or to flush": Story({}, "0 cancel, 1 flush", ""),
    "a flush leaves no timer behind": Story(
        {"wait": 0.1, "max_wait": 0.3}, "0 a, 60 flush, 70 c, 140 d", "60 a, 240 d"
    ),
    "the first payload": Story({"collect": "first"}, "0 1, 10 2, 20 3", "340 1"),
    "all payloads": Story({"collect": "all"}, "0 1, 10 2, 20 3", "340 1+2+3"),
    "so many calls": Story({"collect": "all", "max_items": 3}, "0 1, 10 2, 20 3, 30 4", "20 1+2+3, 350 4"),
    "so many bytes": Story({"collect": "all", "max_bytes": 5}, "0 11, 10 22, 20 33, 30 4", "20 11+22+33, 350 4"),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_calls_run_when_they_should(make: Make, story: Story) -> None:
    scripts = make(**{"wait": 0.32} | story.options)
    for process, step in enumerate(story.calls.split(", ")):
        time, what = step.split(" ")
        scripts.go_to(START_MS + int(time))
        if what in ("cancel", "flush"):
            getattr(scripts, what)(process)
        else:
            scripts.call(what, process)
        scripts.work()
    scripts.go_to(float("inf"))

    ran = ", ".join(f"{when - START_MS} {'+'.join(payloads)}" for when, payloads in scripts.runs)
    assert ran == story.runs


def test_the_newest_wait_counts(make: Make) -> None:
    """DBOS, test_debouncer_timeout: it may be shorter than that of the call before."""
    scripts = make(wait=10)
    scripts.call("a")
    scripts.go_to(START_MS + 50)
    scripts.call("b", 1, wait=0.1)
    scripts.work()
    scripts.go_to(float("inf"))
    assert scripts.runs == [(START_MS + 150, ["b"])]


def test_the_cap_is_that_with_which_the_window_opened(make: Make) -> None:
    """A later caller without one does not take it away (Trigger.dev)."""
    scripts, endless = make(wait=0.3, max_wait=0.5), make(wait=0.3)
    endless.asking, endless.place = Asking(scripts.asking.name, endless.config, 1), scripts.place
    scripts.call("a")
    for at in (200, 400):
        scripts.go_to(START_MS + at)
        endless.call(at, 1)
    scripts.work()
    scripts.go_to(float("inf"))
    assert scripts.runs == [(START_MS + 500, ["400"])]


def test_what_waits_for_an_executor_is_one_run(make: Make) -> None:
    """No worker until @10000: a call of @5000 neither opens another window nor puts it off."""
    scripts = make(wait=0.32)
    scripts.call("a")
    for at in (5000, 10_000):
        scripts.go_to(START_MS + at)
        if at == 5000:
            scripts.call("b", 1)
    scripts.work()
    assert scripts.runs == [(START_MS + 10_000, ["b"])]
    assert scripts.due is None


def test_a_repeated_call_neither_counts_nor_extends_also_after_others(make: Make) -> None:
    """Wurk 446: @200 b is lost on its way back, and sent again @400, after c of another process."""
    scripts = make(wait=0.32)
    scripts.call("a")
    scripts.go_to(START_MS + 200)
    scripts.call("b", 1)
    scripts.go_to(START_MS + 250)
    scripts.call("c", 2)
    scripts.go_to(START_MS + 400)
    scripts.call_again(1, 1)
    scripts.call_again(1, 0)
    assert scripts.pending() == 3
    scripts.work()
    scripts.go_to(float("inf"))
    assert scripts.runs == [(START_MS + 570, ["c"])]


@pytest.mark.parametrize("leading", [False, True])
def test_a_call_during_a_run_runs_after_it(make: Make, leading: bool) -> None:
    """@0 a runs from 320 (or at once) until 820, b @400: at 820, and never beside it."""
    scripts = make(wait=0.32, leading=leading)
    scripts.call("a")
    starts = START_MS + (0 if leading else 320)
    scripts.go_to(starts)
    _, (run,) = scripts.do(scripts.asking.claim(0, 5, "worker", next_permit_id(), 1))
    scripts.go_to(START_MS + 400)
    scripts.call("b", 1)
    for at in (500, 725, 819):
        scripts.go_to(START_MS + at)
        assert scripts.do(scripts.asking.claim(0, 5, "another", next_permit_id(), 1), 2)[1] == []
    scripts.go_to(START_MS + 820)
    assert scripts.do(scripts.asking.finish(run, "done"))
    scripts.work()
    assert scripts.runs == [(START_MS + 820, ["b"])]


def test_an_executor_that_is_silent_loses_its_run(make: Make) -> None:
    """Claimed @320 with a lease of 2000: at 2320 another one has it, and what the first one says is refused."""
    scripts = make(wait=0.32, lease_ttl=2)
    scripts.call("a")
    scripts.go_to(START_MS + 320)
    _, (first,) = scripts.do(scripts.asking.claim(0, 5, "first", next_permit_id(), 1))
    scripts.go_to(START_MS + 2319)
    left, none = scripts.do(scripts.asking.claim(0, 5, "second", next_permit_id(), 1), 1)
    assert (left, none) == (0.001, [])
    scripts.go_to(START_MS + 2320)
    _, (second,) = scripts.do(scripts.asking.claim(0, 5, "second", next_permit_id(), 1), 1)

    assert (second.window, second.attempt) == (first.window, 2)
    assert int(second.fence) > int(first.fence)
    assert scripts.do(scripts.asking.beat(scripts.place.tag, [(scripts.place, first.fence)])) == [False]
    assert scripts.do(scripts.asking.finish(first, "done", b"late")) is False
    assert scripts.do(scripts.asking.finish(second, "done", b"\x07"), 1) is True
    assert scripts.do(scripts.asking.finish(second, "done", b"\x07"), 1) is True, "said twice"
    assert scripts.do(scripts.asking.result(scripts.place, first.window)).value == b"\x07"


def test_a_run_that_is_renewed_is_not_taken_over(make: Make) -> None:
    """Ten seconds with a lease of two."""
    scripts = make(wait=0.32, lease_ttl=2)
    scripts.call("a")
    scripts.go_to(START_MS + 320)
    _, (run,) = scripts.do(scripts.asking.claim(0, 5, "first", next_permit_id(), 1))
    for at in range(1000, 10_000, 1000):
        scripts.go_to(START_MS + at)
        assert scripts.do(scripts.asking.beat(scripts.place.tag, [(scripts.place, run.fence)])) == [True]
        assert scripts.do(scripts.asking.claim(0, 5, "second", next_permit_id(), 1), 1)[1] == []
    assert scripts.do(scripts.asking.finish(run, "done"))


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
def test_a_run_whose_executors_die_becomes_a_dead_letter(make: Make, delivery: str) -> None:
    """After max_attempts, or at once; the key is free again (BullMQ 4311)."""
    scripts = make(wait=0, lease_ttl=1, max_attempts=3, delivery=delivery)
    placed = scripts.call("a")
    starts = 0
    for second in range(6):
        scripts.go_to(START_MS + 1000 * second)
        starts += len(scripts.do(scripts.asking.claim(0, 5, "dies", next_permit_id(), 1), second)[1])
    (letter,) = scripts.do(scripts.asking.dead(0, 0))

    assert starts == (3 if delivery == "at_least_once" else 1)
    assert (letter.window, letter.payload, letter.attempts) == (placed.window, b"a", starts)
    assert "ExecutorLost: dies" in letter.error
    assert scripts.do(scripts.asking.result(scripts.place, placed.window)).status == "failed"
    scripts.call("b")
    scripts.work()
    assert [payloads for _, payloads in scripts.runs] == [["b"]]


def test_a_clock_that_is_set_back_puts_nothing_off_by_more_than_a_wait(make: Make) -> None:
    """A minute back @100, while workers look once a second at least: what was called runs within a wait of quiet."""
    scripts = make(wait=0.32)
    scripts.call("a")
    scripts.work()
    scripts.go_to(START_MS + 100)
    scripts.work()
    back = START_MS + 100 - 60_000
    scripts._clock.set(back)
    scripts.call("b", 1)
    scripts.work()
    assert scripts.due is not None
    assert scripts.due <= back + 320
    scripts.go_to(float("inf"))
    assert [payloads for _, payloads in scripts.runs] == [["b"]]
    assert scripts.now <= back + 320


def test_a_clock_that_is_set_forward_loses_nothing(make: Make) -> None:
    scripts = make(wait=0.32, collect="all")
    scripts.call("a")
    scripts.go_to(START_MS + 100)
    scripts._clock.set(START_MS + 60_100)
    scripts.call("b", 1)
    scripts.work()
    assert [payloads for _, payloads in scripts.runs] == [["a", "b"]]
    scripts._clock.set(START_MS + 200)  # and right again
    scripts.call("c", 1)
    scripts.work()
    assert scripts.due is not None
    assert scripts.due <= START_MS + 60_100 + 320, "time goes on from where it was"
    scripts.go_to(float("inf"))


def test_a_claim_that_is_sent_again_takes_the_same(make: Make) -> None:
    """Its reply is lost: the runs are this worker's, and nobody waits for their leases to end."""
    scripts = make(wait=0, collect="all")
    scripts.call("a")
    scripts.call("b")
    claim = scripts.asking.claim(0, 5, "worker", "lane.1", 1)
    copies = [scripts.do(claim, process) for process in range(2)]
    assert copies[0] == copies[1]
    assert len(copies[0][1]) == 1
    assert scripts.do(scripts.asking.claim(0, 5, "worker", "lane.1", 2))[1] == []
    assert scripts.do(scripts.asking.finish(copies[0][1][0], "done"))


@pytest.mark.parametrize(("after", "runs"), [(59_900, 1), (60_400, 2), (6 * 3_600_000, 2)])
def test_a_call_id_is_known_for_a_minute_and_no_longer(make: Make, after: int, runs: int) -> None:
    """However little else is called: the same id is another call then, and is run."""
    scripts = make(wait=0.32)
    scripts.call("daily report")
    scripts.work()
    scripts.go_to(START_MS + after)
    scripts.call_again(0, 1)
    scripts.work()
    scripts.go_to(float("inf"))
    assert [payloads for _, payloads in scripts.runs] == [["daily report"]] * runs


def test_time_goes_on_after_the_clock_was_set_back_though_nobody_claims(make: Make) -> None:
    """A minute back while calls come every 100 ms: max_wait is still what it says."""
    scripts = make(wait=0.3, max_wait=1)
    scripts.call(0)
    for number in range(1, 21):
        scripts._clock.set(START_MS - 60_000 + 100 * number)
        scripts.call(number, number)
    _, (run,) = scripts.do(scripts.asking.claim(0, 1, "worker", next_permit_id(), 1))
    assert run.calls == 21
    scripts.do(scripts.asking.finish(run, "done"))
    scripts.cancel()


@pytest.mark.parametrize("outcome", ["failed", "repeat", "returned"])
def test_what_is_said_again_of_a_run_that_another_has_since_was_heard(make: Make, outcome: str) -> None:
    """It was this executor's to say, and nobody has taken it over."""
    scripts = make(wait=0, max_attempts=3)
    scripts.call("a")
    _, (run,) = scripts.do(scripts.asking.claim(0, 1, "first", "lane.1", 1))
    said = scripts.asking.finish(run, outcome, b"", "ValueError: no", 0)
    assert scripts.do(said) is True
    _, (again,) = scripts.do(scripts.asking.claim(0, 1, "second", "lane.2", 1), 1)
    assert scripts.do(said) is True
    assert scripts.do(scripts.asking.finish(again, "done"), 1) is True


@pytest.mark.parametrize(("collect", "runs"), [("all", ["a", "c"]), ("first", ["a"]), ("last", ["c"])])
def test_a_letter_of_a_leading_run_keeps_its_payload_where_calls_join_it(
    make: Make, collect: str, runs: list[str]
) -> None:
    """It is replayed while another run is under way, and waits; what is called meanwhile goes into its window."""
    scripts = make(wait=0.32, collect=collect, leading=True, max_attempts=1)
    placed = scripts.call("a")
    _, (run,) = scripts.do(scripts.asking.claim(0, 1, "first", "lane.1", 1))
    assert scripts.do(scripts.asking.finish(run, "failed", b"", "ValueError: no"))
    scripts.call("b")
    scripts.go_to(START_MS + 320)
    _, (run,) = scripts.do(scripts.asking.claim(0, 1, "first", "lane.1", 2))
    assert scripts.do(scripts.asking.replay(0, placed.window)) == 1
    scripts.call("c")
    assert scripts.do(scripts.asking.finish(run, "done"))
    scripts.work()
    assert [payloads for _, payloads in scripts.runs] == [runs]
