"""The README's Python blocks run, in order, in one process, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import redisopt
from redisopt.server import EmbeddedServer

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_first_example_is_short() -> None:
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]

    assert len(lines) <= 10


def test_every_block_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer() as server:
        monkeypatch.setenv("REDISOPT_URL", server.url)
        reader: dict[str, object] = {"__name__": "__main__"}
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"README.md, block {number}", "exec"), reader)
        throttler, client = reader["throttler"], reader["client"]
        assert isinstance(throttler, redisopt.Throttler)
        throttler.close()
        client.close()  # type: ignore[attr-defined]
    printed = capsys.readouterr().out

    assert "page 2 after 0.000 s" in printed
    assert "7 left this second" in printed
    assert "go ahead, 7 left" in printed
    assert "would take" in printed
    assert "indexed version 2 once for 3 calls" in printed
    assert "Ulm lies at 48.4 N - 1 computed" in printed


def test_the_readme_shows_only_fields_that_exist() -> None:
    shown = set(re.findall(r"^\| `([a-z_]+)`(?:, `([a-z_]+)`)? \|", README.read_text(), re.MULTILINE))
    fields = {name for row in shown for name in row if name}

    assert fields == set(redisopt.ThrottleConfig.model_fields)


def test_the_readme_shows_only_errors_that_exist() -> None:
    shown = set(re.findall(r"^\| `([A-Z]\w+)`", README.read_text(), re.MULTILINE))

    assert shown - {"ValueError"} == {
        "ThrottleTimeout",
        "QueueFull",
        "PermitLost",
        "ConfigConflict",
        "CostExceedsLimit",
        "Unavailable",
        "StateLost",
    }
    assert all(issubclass(getattr(redisopt, name), redisopt.RedisOptError) for name in shown - {"ValueError"})
