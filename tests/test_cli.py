"""The command line: what it refuses and how it says so, and where it tells people to look."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import redisopt
import redisopt.cli
import redisopt.server_binary
from redisopt.cli.demo import Options, run
from redisopt.cli.look import redis_cli


def finished(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "redisopt", "demo", *options], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--workers", "0"), "--workers"),
        (("--seconds", "0"), "--seconds"),
        (("--seconds", "-1"), "--seconds"),
        (("--rate", "abc"), "--rate"),
        (("--rate", "20/s,30/s"), "--rate"),
        (("--url", "http://localhost"), "--url"),
        (("--http", "localhost:80"), "--http"),
        (("--speed", "9"), "--speed"),
    ],
)
def test_a_bad_argument_is_one_line(
    options: tuple[str, str], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["redisopt", "demo", *options])

    assert redisopt.cli.main() == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("redisopt demo: ")
    assert output.err.count("\n") == 1
    assert named in output.err


def test_the_exit_code_of_a_bad_argument_is_2() -> None:
    done = finished("--workers", "0")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("redisopt demo: Invalid value for '--workers': ")


def test_a_dead_url_is_one_line_without_its_password() -> None:
    done = finished("--url", "redis://:secret@127.0.0.1:1/0")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"redisopt demo: Redis could not be reached .+\n", done.stderr)
    assert "secret" not in done.stderr


def test_a_bad_url_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["redisopt", "demo"])
    monkeypatch.setenv("REDISOPT_URL", "nonsense")

    assert redisopt.cli.main() == 2
    assert "Invalid value for '$REDISOPT_URL'" in capsys.readouterr().err


def test_without_a_server_it_says_that_fakeredis_cannot_be_shared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(redisopt.server_binary, "find_server", lambda: None)
    monkeypatch.delenv("REDISOPT_URL", raising=False)

    assert run(Options(2, 1.0, (redisopt.Rate(5, 1.0),), None, None)) == 1
    assert "several processes cannot share" in capsys.readouterr().err


def test_without_its_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert redisopt.cli.main() == 1
    assert "pip install 'redisopt[cli]'" in capsys.readouterr().err


def test_the_library_needs_neither_rich_nor_typer() -> None:
    check = "import redisopt, redisopt.cli.worker, sys; sys.exit(bool({'rich', 'typer'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///tmp/a%20b.sock", "redis-cli -s '/tmp/a b.sock'"),
        ("unix:///tmp/x.sock?db=3", "redis-cli -s /tmp/x.sock -n 3"),
        ("redis://h", "redis-cli -u redis://h:6379"),
        ("rediss://me:secret@h:7/2", 'REDISCLI_AUTH="$PASSWORD" redis-cli -u rediss://h:7/2 --user me'),
        ("redis://[::1]:7/", "redis-cli -u 'redis://[::1]:7'"),
    ],
)
def test_redis_cli_is_pointed_at_the_same_server_without_the_password(url: str, expected: str) -> None:
    assert redis_cli(redisopt.connect(url)) == expected
