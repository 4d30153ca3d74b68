"""The guide's Python blocks run, in order, in one process; what it shows of redis-cli is what stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from redisopt.server import EmbeddedServer

GUIDE = Path(__file__).parent.parent / "docs" / "debounce.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_block_runs_and_redis_shows_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedServer() as server, redis.from_url(server.url, decode_responses=True) as watcher:
        monkeypatch.setenv("REDISOPT_URL", server.url)
        reader: dict[str, Any] = {"__name__": "__main__"}
        shown: Any = {}
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"debounce.md, block {number}", "exec"), reader)
            if "readable = " in block:
                shown = watcher.hgetall("redisopt:v1:{debounce:reindex:0}:key:doc%3A8")
                due: Any = watcher.zrange("redisopt:v1:{debounce:reindex:0}:due", 0, -1, withscores=True)
        reader["client"].close()
        endless = [key for key in watcher.scan_iter() if watcher.pttl(key) == -1]
    printed = capsys.readouterr().out

    assert "indexed 7 once for 10 calls - superseded: True" in printed
    assert "booked 6" in printed
    assert "failed after 2 attempts: LookupError: no such mailbox" in printed
    assert "dead letter: ada {'to': 'ada'}" in printed
    assert "fresh ada" in printed
    assert "searched for 3 queries at once" in printed
    assert "{'doc': 7}" in printed
    assert due == [["doc%3A8", float(shown["due"])]] or due == [("doc%3A8", float(shown["due"]))]
    for field in re.findall(r'^"(\w+)"\s+"[^"]', GUIDE.read_text(), re.MULTILINE):
        assert field in shown or field == "calls"
    assert shown["payload"] == '{"doc":8,"version":2}'
    assert shown["options"] == "wait=30000ms max_wait=120000ms edges=trailing collect=last"
    assert int(shown["cap"]) - int(shown["opened"]) == 120_000
    assert int(shown["due"]) - int(shown["last_call"]) == 30_000
    assert endless == []


def test_the_guide_shows_only_fields_that_exist() -> None:
    shown = {
        name
        for row in re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", GUIDE.read_text(), re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", row)
    }
    assert shown <= set(redisopt.DebounceConfig.model_fields)
    assert {"wait", "max_wait", "leading", "trailing", "collect"} <= shown


def test_the_table_has_every_field_with_its_default() -> None:
    """Whoever adds a field says so where users look."""
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", GUIDE.read_text(), re.MULTILINE)
    told = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(told) == set(redisopt.DebounceConfig.model_fields)
    for name in ("lease_ttl", "max_attempts", "retry_for", "result_ttl", "max_dead", "command_timeout", "delivery"):
        default = redisopt.DebounceConfig.model_fields[name].default
        assert (f"{default:,g}" if isinstance(default, int | float) else f'"{default}"') in told[name]
