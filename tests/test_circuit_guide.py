"""The guide's Python blocks run, in order, in one process; what it shows of redis-cli is what stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from redisopt.server import EmbeddedServer

GUIDE = Path(__file__).parent.parent / "docs" / "breaker.md"
TEXT = GUIDE.read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_block_runs_and_redis_shows_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedServer() as server, redis.from_url(server.url, decode_responses=True) as watcher:
        monkeypatch.setenv("REDISOPT_URL", server.url)
        reader: dict[str, Any] = {"__name__": "__main__"}
        state: Any = {}
        probes: Any = []
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"breaker.md, block {number}", "exec"), reader)
            if "probe = " in block:
                state = watcher.hgetall("redisopt:v1:{breaker:shown}:state")
                probes = watcher.zrange("redisopt:v1:{breaker:shown}:probes", 0, -1, withscores=True)
        reader["client"].close()
        endless = [key for key in watcher.scan_iter() if watcher.pttl(key) == -1]
    printed = capsys.readouterr().out

    assert printed.count("failed: no route to github") == 4
    assert len(re.findall(r"not called; come back in [01]\.\d s", printed)) == 2
    assert "probe: True\nclosed\n" in printed
    assert "1 of 2 failed: 50%" in printed
    assert "search: closed -> forced_open" in printed
    assert "sent to ada\n2\n" in printed
    for field in re.findall(r'^"(\w+)" +["…]', TEXT, re.MULTILINE):
        assert field in state, field
    assert (state["state"], state["opened"], state["calls"]) == ("half_open", "1", "0")
    assert state["not_permitted"] == "3"
    ((probe, until),) = probes
    assert re.fullmatch(r"\S+-\d+-[0-9a-f]{16}\.\d+:\d+", probe)
    assert int(until) == int(state["since"]) + 10_000
    assert f'"{state["options"]}"' in TEXT
    assert endless == []


def test_the_guide_shows_all_fields_that_exist() -> None:
    shown = {
        name
        for row in re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", TEXT, re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", row)
    }
    states = {"closed", "open", "half_open", "forced_open", "disabled"}
    assert shown - states - {"on_unavailable"} == set(redisopt.CircuitBreakerConfig.model_fields) - {"on_unavailable"}
