"""`redisopt demo`, run as its users run it."""

from __future__ import annotations

import http.server
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redisopt
from redisopt.server import EmbeddedServer
from tests.waiting import wait_until

ROW = re.compile(r"^ *(\d+) +(\d+) +(\d+) +[\d.]+% +[\d.]+ s  (.*)$", re.MULTILINE)


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "redisopt", "demo", *options]


def finished(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*options), capture_output=True, text=True, timeout=60)


class Running:
    """A demo under way; what it prints is read by `until` and by `end`."""

    def __init__(self, *options: str) -> None:
        self.process: Any = subprocess.Popen(
            command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.output = ""
        self.workers = [int(pid) for pid in re.findall(r"\d+", self.until("Workers: processes").split("(")[0])]

    def until(self, text: str) -> str:
        """Read up to the line that holds `text`; returns it."""
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return str(line)
        raise AssertionError(f"{text!r} never came: {self.output}{self.process.stderr.read()}")

    def end(self) -> tuple[int, str, str]:
        """The exit code, all of stdout, and stderr. No worker may be left."""
        rest, errors = self.process.communicate(timeout=60)
        wait_until(lambda: not any(map(alive, self.workers)), message=f"left over: {self.workers}")
        return self.process.returncode, self.output + rest, errors


def limiter_of(output: str) -> str:
    """The name of the limiter that a demo uses, from the redis-cli lines that it prints."""
    (name,) = set(re.findall(r"\{throttle:([^}]+)\}", output))
    return str(name)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def given_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.mark.fleet
def test_every_worker_gets_permits_and_the_limit_holds() -> None:
    done = finished("--workers", "2", "--rate", "10/s", "--seconds", "2")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stdout), "control characters in plain lines"
    rows = ROW.findall(done.stdout)
    assert [(number, int(granted) > 0, state) for number, _, granted, state in rows] == [
        ("1", True, "done"),
        ("2", True, "done"),
    ]
    counted = re.search(r"^highest count in any trailing 1 s: (\d+) of 10: never exceeded$", done.stdout, re.MULTILINE)
    assert counted is not None
    assert 5 <= int(counted[1]) <= 10
    assert "embedded " in done.stdout
    shown = r"redis-cli -s \S+redis\.sock HGETALL 'redisopt:v1:\{throttle:redisopt-demo-[0-9a-f]{8}\}:state'\n"
    assert re.search(f"See it meanwhile: {shown}", done.stdout)
    assert re.search(f"\n{shown}    ", done.stdout)


@pytest.mark.fleet
def test_the_workers_use_a_given_redis_and_two_runs_in_a_row_are_both_fast(given_server: EmbeddedServer) -> None:
    options = ("--workers", "2", "--rate", "5/30s,1,000/h", "--seconds", "0.3", "--url", given_server.url)
    for _ in range(2):
        done = finished(*options)

        assert done.returncode == 0, done.stderr
        assert "highest count in any trailing 30 s: 5 of 5: never exceeded" in done.stdout
        assert "highest count in any trailing 1 h: 5 of 1,000: never exceeded" in done.stdout
        assert f"at {given_server.url} (as given), Valkey" in done.stdout
    with redis.from_url(given_server.url) as client:
        ttls = [client.pttl(key) for key in client.scan_iter()]
        assert len(ttls) >= 3
        assert min(ttls) > 0


@pytest.mark.fleet
def test_it_leaves_the_limiters_of_others_alone(given_server: EmbeddedServer) -> None:
    with (
        redis.from_url(given_server.url) as client,
        redisopt.Throttler(client, "demo", rates=["5/h"]) as throttler,
    ):
        throttler.acquire(cost=3)
        before = {key: client.dump(key) for key in client.scan_iter()}
        done = finished("--workers", "2", "--rate", "5/h", "--seconds", "0.3", "--url", given_server.url)

        assert done.returncode == 0, done.stderr
        assert "highest count in any trailing 1 h: 5 of 5" in done.stdout
        assert {key: client.dump(key) for key in before} == before
        names = {re.sub(r"\{throttle:(.+)\}.*", r"\1", key.decode()) for key in client.scan_iter()}
        assert names == {"redisopt:v1:demo", f"redisopt:v1:{limiter_of(done.stdout)}"}


@pytest.mark.fleet
def test_two_at_once_on_one_redis_do_not_share_a_limit(given_server: EmbeddedServer) -> None:
    options = ("--workers", "1", "--rate", "5/h", "--seconds", "0.5", "--url", given_server.url)
    both = [Running(*options), Running(*options)]

    for code, output, errors in [running.end() for running in both]:
        assert (code, errors) == (0, "")
        assert "highest count in any trailing 1 h: 5 of 5: never exceeded" in output


@pytest.mark.fleet
def test_the_lines_that_it_prints_show_what_stands_in_redis(given_server: EmbeddedServer) -> None:
    running = Running("--workers", "2", "--rate", "50/s", "--seconds", "1", "--url", given_server.url)
    code, output, errors = running.end()

    assert (code, errors) == (0, "")
    lines = [shlex.split(line) for line in output.splitlines() if line.startswith("redis-cli ")]
    with redis.from_url(given_server.url) as client:
        keys = {key.decode() for key in client.scan_iter()}
        assert {line[4] for line in lines} >= keys
        empty = {line[3] for line in lines if not client.execute_command(*line[3:])}
        assert empty <= {"ZRANGE"}, "only the line of who waits, and of what was given up, may be empty"


@pytest.mark.fleet
def test_it_goes_on_when_a_worker_is_killed() -> None:
    running = Running("--workers", "3", "--rate", "4/500ms", "--seconds", "2")
    running.until(" granted ")
    os.kill(running.workers[1], signal.SIGKILL)
    code, output, errors = running.end()

    assert (code, errors) == (0, "")
    first, killed, third = ROW.findall(output)
    assert killed[3] == "dead: killed by SIGKILL"
    assert int(first[2]) + int(third[2]) > int(killed[2])
    assert ": never exceeded" in output


@pytest.mark.fleet
def test_ctrl_c_ends_it_with_the_sum_so_far() -> None:
    running = Running("--workers", "2", "--rate", "5/s", "--seconds", "60")
    running.until(" granted ")
    os.killpg(running.process.pid, signal.SIGINT)
    code, output, errors = running.end()

    assert (code, errors) == (130, "")
    assert "Interrupted: this is the sum so far." in output
    assert "highest count in any trailing 1 s: 5 of 5: never exceeded" in output


@pytest.mark.fleet
def test_ctrl_c_before_the_workers_began_says_so() -> None:
    running = Running("--workers", "8", "--seconds", "60")
    os.killpg(running.process.pid, signal.SIGINT)
    code, output, errors = running.end()

    assert (code, errors) == (130, "")
    assert output.endswith("\nInterrupted before the workers began.\n")


@pytest.mark.fleet
def test_when_nobody_reads_on_it_ends_in_silence() -> None:
    running = Running("--workers", "2", "--rate", "5/s", "--seconds", "60")
    running.process.stdout.close()
    with running.process.stderr as stderr:
        assert stderr.read() == ""
    running.process.wait(10)

    wait_until(lambda: not any(map(alive, running.workers)), message=f"left over: {running.workers}")


@pytest.mark.fleet
def test_without_a_standard_output_its_exit_code_tells() -> None:
    options = command("--workers", "1", "--rate", "5/s", "--seconds", "0.1")
    done = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *options], stderr=subprocess.PIPE, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.fleet
def test_workers_end_when_the_demo_itself_is_killed() -> None:
    running = Running("--workers", "2", "--rate", "1/h", "--seconds", "60")
    running.until(" granted ")
    os.kill(running.process.pid, signal.SIGKILL)

    assert running.end()[0] == -signal.SIGKILL


@pytest.mark.fleet
def test_a_lost_redis_ends_it_with_a_message(given_server: EmbeddedServer) -> None:
    running = Running("--workers", "2", "--rate", "20/s", "--seconds", "60", "--url", given_server.url)
    running.until(" granted ")
    given_server.close()
    code, output, errors = running.end()

    assert code == 1
    assert re.fullmatch(r"redisopt demo: Redis was lost after [\d.]+ s: .+\n", errors)
    assert "never exceeded" in output


@pytest.mark.fleet
def test_a_limit_that_does_not_hold_is_found_out(given_server: EmbeddedServer) -> None:
    running = Running("--workers", "2", "--rate", "10/1500ms", "--seconds", "2", "--url", given_server.url)
    running.until(" granted 10 ")
    with (
        redis.from_url(given_server.url) as client,
        redisopt.Throttler(client, limiter_of(running.output), rates=["10/1500ms"]) as throttler,
    ):
        throttler.reset()  # the limiter forgets what it has granted: the workers get too much
    code, output, errors = running.end()

    assert (code, errors) == (1, "")
    assert re.search(r"highest count in any trailing 1500 ms: \d+ of 10: EXCEEDED", output)


@pytest.mark.fleet
def test_permitted_calls_get_a_url() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        calls: list[str] = []  # noqa: RUF012 - made for this test alone

        def do_GET(self) -> None:
            self.calls.append(self.path)
            self.send_response(429 if len(self.calls) == 2 else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a?b=c"
        done = finished("--workers", "2", "--rate", "5/min", "--seconds", "1", "--http", url)
        server.shutdown()

    assert done.returncode == 0, done.stderr
    assert Handler.calls == ["/a?b=c"] * 5
    assert re.search(r"^ fleet .*  200 x 4, 429 x 1$", done.stdout, re.MULTILINE)


def drawn(columns: int, *options: str) -> bytes:
    """What a demo writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
    with subprocess.Popen(command(*options), stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        output = b""
        try:
            while chunk := os.read(ours, 4096):
                output += chunk
        except OSError:  # so Linux says that the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    return output


@pytest.mark.fleet
def test_in_a_terminal_it_is_drawn_live() -> None:
    moving, end = drawn(100, "--workers", "2", "--rate", "5/s", "--seconds", "0.6").split(b"What stands in Redis")

    assert b"\x1b[2K" in moving
    assert b"running" in moving
    assert b"5 of 5: never exceeded" in end
    assert b"\x1b[2K" not in end


@pytest.mark.fleet
def test_a_narrow_terminal_shows_fewer_columns_but_whole_ones() -> None:
    output = drawn(40, "--workers", "2", "--rate", "5/s", "--seconds", "0.6").decode()
    table = re.sub(r"\x1b\[[\d;]*m", "", output[output.index("What stands in Redis") :])

    assert re.search(r"^worker +pid +granted +state *\r$", table, re.MULTILINE)
    assert re.search(r"^ +1 +\d+ +[0-5] +done *\r$", table, re.MULTILINE)
