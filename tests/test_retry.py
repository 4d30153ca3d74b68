"""What is lost on the way, and that a call counts once all the same: a proxy loses requests and replies."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

import redisopt
from redisopt import events, keys
from redisopt.commands import Command
from redisopt.delivery import Call, Delivery, Exchange, recover
from redisopt.links import Link
from tests.faces import Face
from tests.outages import CLIENTS, HASTY, PLENTY, charged, client_url, in_time, make_client, until_answered
from tests.proxy import Delayed, Fate, Proxy, Words, call_id, first_copies, is_script
from tests.waiting import wait_until

pytest_plugins = ["tests.outage_fixtures"]


@pytest.mark.long
@pytest.mark.parametrize("which", CLIENTS)
@pytest.mark.parametrize("fate", [Fate.CUT_REPLY, Fate.CUT_REQUEST])
def test_a_thousand_calls_that_are_cut_are_charged_once_each(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy, heard: list[Any], which: str, fate: Fate
) -> None:
    """The server's lane memory answers what is sent again, whoever sends it: we, or redis-py below us."""
    calls = 1000 if fate is Fate.CUT_REPLY else 200
    face = make(proxy.url, which, **PLENTY)
    with proxy.during(first_copies(fate)):
        assert all(face.try_acquire() for _ in range(calls))
    assert charged(client) == calls
    retried = [event for event in heard if isinstance(event, events.Retried)]
    assert len(retried) == (0 if which == "unknown" else calls)


def test_threads_under_a_storm_of_cuts_and_delays_get_every_answer_of_their_own(
    client: redis.Redis, proxy: Proxy
) -> None:
    """Replies cut, requests cut, replies late, eight threads on one client."""
    dice = random.Random(4711)

    def storm(words: Words) -> Any:
        return (
            dice.choice([Fate.PASS, Fate.CUT_REPLY, Fate.CUT_REQUEST, Delayed(0.005)])
            if is_script(words)
            else Fate.PASS
        )

    def call(throttler: redisopt.Throttler) -> list[str]:
        permits = [throttler.try_acquire().permit for _ in range(25)]
        return [permit.id for permit in permits if permit is not None]

    with (
        proxy.during(storm),
        redisopt.Throttler(make_client("sync", "ours", proxy.url), "test", **PLENTY) as throttler,
        ThreadPoolExecutor(8) as pool,
    ):
        ids = [permit for done in [pool.submit(call, throttler) for _ in range(8)] for permit in done.result()]
    assert len(set(ids)) == 200 == charged(client)


def test_a_refund_whose_reply_is_cut_gives_back_once(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """As every script that changes what is charged: refund, settle down, settle up."""
    face = make(proxy.url, **PLENTY)
    permits = [face.try_acquire(cost=5).permit for _ in range(60)]
    with proxy.during(first_copies(Fate.CUT_REPLY)):
        for first, second, third in zip(permits[::3], permits[1::3], permits[2::3], strict=True):
            assert face.refund(first, 2)
            assert face.settle(second, 1)
            assert face.settle(third, 6)
    assert charged(client) == 20 * (3 + 1 + 6)


def test_a_call_that_was_given_up_takes_effect_at_most_once(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """It comes after the next one of its lane: too late. Before it: it is charged, as if its caller had died."""

    def strays(words: Words) -> Fate:  # every copy of the second call, and of the fourth
        return Fate.STRAY if is_script(words) and call_id(words)[1] in (b"2", b"4") else Fate.PASS

    face = make(proxy.url, **HASTY)
    with proxy.during(strays):
        assert face.try_acquire()
        with pytest.raises(redisopt.Unavailable), in_time():
            face.try_acquire()
        assert until_answered(face.try_acquire)
        assert set(proxy.deliver_strays()) == {b"$5\r\nstale\r\n"}
        assert charged(client) == 2

        with pytest.raises(redisopt.Unavailable), in_time():
            face.try_acquire()
        assert len(set(proxy.deliver_strays())) == 1
        assert charged(client) == 3


def test_a_copy_that_comes_after_its_call_was_refused_is_not_charged(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """The first copy strays, the second is refused and its caller told so; then the first arrives, when there is room."""
    face = make(proxy.url, rates=["1/200ms"])
    assert face.try_acquire()
    with proxy.during(first_copies(Fate.STRAY)):
        assert not face.try_acquire()
    wait_until(lambda: face.peek())
    proxy.deliver_strays()
    assert face.try_acquire(), "somebody was charged who had been refused"


def test_a_script_that_is_sent_along_has_only_what_is_left_of_the_time(
    make: Callable[..., Face], client: redis.Redis, proxy: Proxy
) -> None:
    """NOSCRIPT comes late, and the answer to EVAL would come as late once more."""
    face = make(proxy.url, **HASTY)
    face.try_acquire()
    client.script_flush()
    with (
        proxy.during(lambda words: Delayed(0.4) if is_script(words) else Fate.PASS),
        pytest.raises(redisopt.Unavailable, match="command_timeout"),
        in_time(),
    ):
        face.try_acquire()


def test_the_error_that_says_most_is_raised() -> None:
    """A last try without time to be answered does not hide what went wrong before."""
    refused = redis.ConnectionError("Error 111 connecting: Connection refused.")
    command: Command[Any] = Command("throttle_peek", ("{k}state",), (), lambda reply: reply)
    call = Call(command, Link(), 0.5, time.monotonic() + 0.01)
    with pytest.raises(redisopt.Unavailable, match="Connection refused"):
        answer_with_silence(recover(call, refused))


def answer_with_silence(plan: Delivery) -> None:
    """Perform a delivery on a network that swallows all."""
    step = plan.send(None)
    while True:
        if isinstance(step, Exchange):
            time.sleep(step.timeout)
            step = plan.throw(redis.TimeoutError(f"no reply within {step.timeout} s"))
        else:
            step = plan.send(None)


def test_a_wrong_key_is_named(make: Callable[..., Face], client: redis.Redis) -> None:
    """So that an operator can look at it."""
    key = f"{keys.tag('throttle', 'test')}state"
    client.set(key, "not ours", ex=60)
    with pytest.raises(redisopt.StateLost, match=re.escape(keys.tag("throttle", "test"))):
        make(client_url(client), **HASTY).try_acquire()
