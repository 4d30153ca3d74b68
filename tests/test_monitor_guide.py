"""The guide's Python blocks run, in order, in one process; what it shows of redis-cli is what stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from redisopt.monitor.report import FIELDS
from redisopt.server import EmbeddedServer

GUIDE = Path(__file__).parent.parent / "docs" / "monitor.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_block_runs_and_redis_shows_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedServer() as server, redis.from_url(server.url) as watcher:
        monkeypatch.setenv("REDISOPT_URL", server.url)
        reader: dict[str, Any] = {"__name__": "__main__"}
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"monitor.md, block {number}", "exec"), reader)
        reader["client"].close()
        tag = "redisopt:v1:{monitor:shown}:"
        names: Any = watcher.zrange(f"{tag}names", 0, -1)
        minutes: Any = watcher.lrange(f"{tag}minutes:charge_card;region=eu", 0, 0)
        hours: Any = watcher.lrange(f"{tag}hours:charge_card;region=eu", 0, 0)
        endless = [key for key in watcher.scan_iter() if watcher.pttl(key) == -1]
    printed = capsys.readouterr().out

    assert re.search(r"1 run, 0 failed, p95 [2-9]\d ms", printed)
    assert "['charge_card', 'import', 'render']" in printed
    assert "3 searches, 2 in the eu" in printed
    assert "charge_card.p95 is 0.8, above 0.5" in printed
    assert "mostly wait" in printed
    assert re.search(r"payments: 1 run, p50 0\.\d", printed)
    assert "1 fetched" in printed
    assert names == [b"charge_card;region=eu"]
    assert re.match(rb"\d{8} 2 0 0\.75 0\.25 0\.5 open\n\x00\n", minutes[0])
    assert hours == []
    assert endless == []


def test_the_guide_shows_only_what_exists() -> None:
    text = GUIDE.read_text()
    shown = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)) - {"throttled_operation"}

    assert shown == set(redisopt.MonitorConfig.model_fields)
    assert f"`{', '.join(FIELDS)}`" in text
