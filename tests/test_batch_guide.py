"""The guide's Python blocks run, in order, in one process; and what it shows of redis-cli is there."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

import redisopt
from redisopt.server import EmbeddedServer

GUIDE = Path(__file__).parent.parent / "docs" / "batch.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_block_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer() as server:
        monkeypatch.setenv("REDISOPT_URL", server.url)
        reader: dict[str, Any] = {"__name__": "__main__"}
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"docs/batch.md, block {number}", "exec"), reader)
        for name in ("limited", "careful", "batcher", "limit", "client"):
            reader[name].close()
    printed = capsys.readouterr().out

    for line in ("[6.0]", "an empty text", "1 run again", "True", "1000 of 1000, 0 failed", "[0, 1, 2, 3, 4]"):
        assert line in printed


def test_what_the_guide_shows_of_redis_is_there(client: Any) -> None:
    """Depth, oldest age, who holds what since when, and why something is dead."""
    shown = {part.partition(":")[0] for part in re.findall(r"\{batch:embed\}:([a-z_:]+)", GUIDE.read_text())}
    tag = "redisopt:v1:{batch:embed}:"
    seen: dict[str, Any] = {}

    def handle(items: list[Any], run: Any) -> list[Any]:
        seen.update({part: client.type(f"{tag}{part}") for part in shown})
        seen["claim"] = client.hgetall(f"{tag}claims")
        seen["holder"] = client.hget(f"{tag}held", run.ids[0])
        return [ValueError("an odd text") if item == "odd" else item for item in items]

    with redisopt.Batcher(client, "embed", handler=handle, max_size=2, max_delay=60, max_attempts=1) as batcher:
        odd = batcher.add("odd", key="a key")
        assert client.hget(f"{tag}counts", "=a%20key") == b"1"
        oldest = client.zscore(f"{tag}since", "=a%20key")
        assert abs(time.time() * 1000 - oldest) < 60_000
        batcher.add_many(["one", "two"])
        batcher.flush("a key")
        batcher.flush()
        with batcher.worker(), pytest.raises(redisopt.BatchItemFailed):
            odd.result(10)
        died, error, record, _ = client.hget(f"{tag}dead", odd.id).split(b"\n")
        (claim, text), *_ = seen["claim"].items()
        process, since, partition, reason, fence, *entries = text.decode().split(" ")

    assert error == b"ValueError: an odd text"
    assert died.split()[1:] == [b"1", b"0"]
    assert record.startswith(b"%.0f =a%%20key 0 " % oldest)
    assert claim.decode().startswith(process)
    assert abs(int(since) - oldest) < 60_000
    assert reason in ("size", "flush")
    assert int(fence) > 0
    assert partition.startswith("=")
    assert entries
    assert seen["holder"] is not None
    assert {part for part in shown - {"dead", "run"} if seen[part] == b"none"} <= {"counts", "since", "due"}
