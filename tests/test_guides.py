"""The code of the guides runs, block after block, as a reader would run it; and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import redisopt
from redisopt import errors
from redisopt.server import EmbeddedServer

DOCS = Path(__file__).parent.parent / "docs"

PRINTED = {
    "retry.md": ["page after 3 tries", "{'EUR': 1.0}", "hello ada", "begins", "is over"],
    "limits.md": ["granted; 9 left this second", "10/s"],
    "coming-from-in-process.md": ["throttled", "debounced, then throttled", "2 this second"],
    "troubleshooting.md": ["1/h refused"],
    "optimizer.md": ["page 1", "no answer", "page 2", "6 11", "indexed doc:7", "2 closed", "5.0"],
}
"""Of each guide that has no test of its own: what its code prints."""


@pytest.mark.parametrize("guide", PRINTED)
def test_every_block_runs(
    guide: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / guide).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    with EmbeddedServer() as server:
        monkeypatch.setenv("REDISOPT_URL", server.url)
        reader: dict[str, object] = {"__name__": "__main__"}
        for number, block in enumerate(blocks):
            exec(compile(block, f"{guide}, block {number}", "exec"), reader)
    printed = capsys.readouterr().out
    for text in PRINTED[guide]:
        assert text in printed


def test_every_link_leads_somewhere() -> None:
    for guide in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)", guide.read_text()):
            assert (guide.parent / target).exists(), f"{guide.name} leads to {target}"


def test_every_error_is_explained() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    tree = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.RedisOptError)
    }
    explained = set(re.findall(r"`([A-Z]\w+)`", text))
    assert tree - {"RedisOptError"} <= explained
    assert {
        name for name in explained if name.endswith(("Error", "Failed", "Lost", "Full")) and hasattr(errors, name)
    } <= tree


def test_the_guide_of_retries_shows_every_field() -> None:
    shown = {
        name
        for row in re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", (DOCS / "retry.md").read_text(), re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", row)
    }
    assert shown == set(redisopt.RetryConfig.model_fields)
