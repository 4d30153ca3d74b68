"""The plain ways through a script do what the long way does: both are run side by side, and what stands in Redis is compared."""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.layout import Layout
from tests.clock import ServerClock, on_test_clock
from tests.lines import stored

PASSING_MS = st.sampled_from([0, 1, 2, 0, 1, 2, 7, 7, 30, 30, 110, 110, 400, 1100, 2500, 70_000, -300])
ZERO = st.just(0)
ACQUIRES = st.tuples(
    st.just("acquire"), st.integers(1, 3), st.sampled_from([0, 1, 1, 2, 2]), st.sampled_from([0, 0, 0, -1]), PASSING_MS
)
RELEASES = st.tuples(st.just("release"), st.integers(0, 3), st.sampled_from([0, 0, 0, 1]), ZERO, PASSING_MS)
OTHERS = [
    st.tuples(st.just(what), st.integers(0, 3), ZERO, ZERO, PASSING_MS)
    for what in ("collect", "refund", "beat", "again", "peek")
]
CALLS = st.one_of(*[ACQUIRES] * 4, *[RELEASES] * 3, *OTHERS)
LIMITS: list[dict[str, Any]] = [
    {"max_concurrent": 6},
    {"max_concurrent": 5, "rates": ["20/100ms", "50/400ms"]},
    {"max_concurrent": 4, "rates": ["40/s"], "max_burst_size": 8, "cooldown_period": 0.05},
    {"rates": ["9/100ms", "20/400ms"]},
    {"rates": ["100/s"], "precision": 0.01},
]


class Way:
    """One limiter, and all that is asked of it."""

    def __init__(self, client: Any, name: str, config: ThrottleConfig, *, plain: bool) -> None:
        self._client = client
        self._layout = Layout(name, config)
        self._plain = plain
        self._number = 0
        self.latest: tuple[Any, ...] = ()
        self._ids: list[str] = []

    def call(self, what: str, first: int, second: int, third: int) -> bytes:
        """Do one call; its reply. The numbers are cost, weight and patience, or which permit and whether its cost goes back."""
        permit = self._ids[-1 - first] if first < len(self._ids) else "p:none"
        if what == "again" and self.latest:
            return self._run(*self.latest)
        self._number += 1
        lane = ("lane", self._number)
        if what == "acquire":
            self._ids.append(f"p:{self._number}")
            return self._run("acquire", *lane, self._ids[-1], first, first, third, second, 0, -1)
        if what == "release":
            return self._run("release", *lane, permit, second)
        if what == "collect":
            return self._run("collect", *lane, permit, 0)
        if what == "refund":
            now = 1_800_000_000_000
            return self._run("refund", *lane, permit, now, now, 1)
        if what == "beat":
            return self._run("beat", "p", " ".join(self._ids[-5:]))
        return self._run("peek", 1)

    def _run(self, script: str, *args: Any) -> bytes:
        self.latest = (script, *args)
        source = on_test_clock(f"throttle_{script}").source
        if not self._plain:
            source = re.sub(r"^local plain = .*$", "local plain = nil", source, flags=re.MULTILINE)
        keys = self._layout.keys("")
        reply = self._client.eval(source, len(keys), *keys, *args, *self._layout.constants)
        return reply if isinstance(reply, bytes) else b"%d" % reply

    def content(self, now_ms: int) -> dict[str, Any]:
        """What stands of it in Redis, but for what only says how it was done: which uses that are over are still kept."""
        found: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for key, value in stored(self._client).items():
            tag, part = key.rsplit("}:", 1)
            if tag.endswith(self._layout.keys("")[0].split("}")[0]):
                found[part] = value
        state = {name.decode(): text.decode() for name, text in found.pop("state", {}).items()}
        now_ms = max(now_ms + int(state.get("offset", 0)), int(state.get("seen", 0)) - 1)
        for period in [log[0] for log in self._layout.own]:
            _, _, newest, cost = state.pop(f"log:{period}", "0 0 0 0").split()
            uses = [*found.pop(f"log:{period}", [])[::-1], f"{newest}:{cost}".encode()]
            found[f"log:{period}"] = [use for use in uses if int(use.split(b":")[0]) + period > now_ms]
            state.pop(f"passed:{period}", None)
        for name in ("busy", "last", "cooling", "cooled", "expires", "lane:lane", "config"):
            state.pop(name, None)
        return found | {"state": state}


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.timeout(0)
def test_a_plain_way_does_what_the_long_way_does(client: redis.Redis, limits: dict[str, Any]) -> None:
    config = ThrottleConfig(**limits, lease_ttl=0.35)

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(CALLS, min_size=8, max_size=30))
    def compare(calls: list[tuple[str, int, int, int, int]]) -> None:
        client.flushdb()
        clock = ServerClock(client)
        plain, long = (Way(client, name, config, plain=name == "plain") for name in ("plain", "long"))
        start = ("acquire", 1, 1, 0, 0)  # makes the lane known
        for what, first, second, third, passing in [start, *calls]:
            replies = [way.call(what, first, second, third) for way in (plain, long)]
            if plain.latest[0] == "acquire" and replies[0][:1] == b"1" and b"|" not in replies[0]:
                # Of rates alone a plain grant says no more than what it is: it waits for nothing.
                replies[1], more = replies[1].split(b" | ")
                assert more.startswith(b"0 0 0 0 ")
            if not config.rates:
                # What a log that only counts has let go of is not said.
                replies = [re.sub(rb"^(\d \d+ \d+) \d+", rb"\1", reply) for reply in replies]
            assert replies[0] == replies[1]
            now = int(clock.now_ms)
            assert plain.content(now) == long.content(now)
            clock.advance(passing / 1000)

    compare()
