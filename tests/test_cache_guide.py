"""The guide's Python blocks run, in order, in one process; what it shows of redis-cli is what stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis

import redisopt
from redisopt.server import EmbeddedServer

GUIDE = Path(__file__).parent.parent / "docs" / "cache.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_block_runs_and_redis_shows_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedServer() as server, redis.from_url(server.url, decode_responses=True) as watcher:
        monkeypatch.setenv("REDISOPT_URL", server.url)
        reader: dict[str, Any] = {"__name__": "__main__"}
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"cache.md, block {number}", "exec"), reader)
        shown: Any = watcher.hgetall("redisopt:v1:{cache:geo:linz}:entry")
        value = watcher.get("redisopt:v1:{cache:geo:linz}:value")
        version: Any = watcher.get("redisopt:v1:{cache:geo}:tag:users")
        counts: Any = watcher.hgetall("redisopt:v1:{cache:geo}:counts")
        reader["client"].close()
        endless = [key for key in watcher.scan_iter() if watcher.pttl(key) == -1]
    printed = capsys.readouterr().out

    assert printed.count("{'city': 'Ulm', 'lat': 48.4}") == 2
    assert "{'name': 'ada'} 144" in printed
    assert "old but there: {'EUR': 1.08}" in printed
    assert "ours: the bank does not answer" in printed
    assert "another's: ConnectionError: the bank does not answer" in printed
    assert "LookupError\nComputeFailed\ngone\n" in printed
    assert str(["found Ulm"] * 100) in printed
    assert "26 bytes, took 0.1 s, fresh for" in printed
    assert value == '{"city":"Linz","lat":48.4}'
    for field in re.findall(r'^"(\w+)"\s+"[^"]', GUIDE.read_text(), re.MULTILINE):
        assert field in shown or field in counts
    assert 0 < int(shown["fresh"]) - int(shown["made"]) <= 300_000
    assert int(shown["stale"]) - int(shown["fresh"]) == 3_600_000
    assert shown["rescue"] == shown["fresh"]
    assert re.fullmatch(r"cities=\d{16}", shown["tags"])
    assert int(version) > 1_700_000_000_000_000
    assert (counts["hits"], counts["misses"]) == ("1", "5")
    assert endless == []


def test_the_guide_shows_every_field_and_no_other() -> None:
    shown = {
        name
        for row in re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", GUIDE.read_text(), re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", row)
    }
    assert shown == set(redisopt.CacheConfig.model_fields)
