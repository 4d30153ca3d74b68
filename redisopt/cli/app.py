"""The commands and their options. A bad argument is one line that names it, and exit code 2; nothing has happened then."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError

import redisopt
from redisopt.cli.demo import BadUrl, Options
from redisopt.cli.demo import run as run_demo
from redisopt.throttle.config import ThrottleConfig
from redisopt.throttle.rate import Rate

MAX_WORKERS = 256
MAX_SECONDS = 86400.0

# typer carries a copy of click or needs the real one, depending on its version: ask it for what both call UsageError.
_UsageError: Any = typer.BadParameter.__bases__[0]

# With rich's help and errors a mistake would be a box of five lines.
app = typer.Typer(name="redisopt", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def run() -> int:
    """Run the command that `sys.argv` asks for; returns the exit code."""
    try:
        return int(app(prog_name="redisopt", standalone_mode=False) or 0)
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else app.info.name
        sys.stderr.write(f"{command}: {' '.join(error.format_message().split())}\n")
        return 2
    except typer.Abort:  # what typer makes of KeyboardInterrupt
        return 130


@app.callback(invoke_without_command=True)
def redisopt_command(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Many processes share one set of limits through the Redis they already run."""
    if version:
        typer.echo(f"redisopt {redisopt.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def demo(
    *,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Processes that call the API.")] = 4,
    seconds: Annotated[float, typer.Option(help="How long they call it.")] = 10.0,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATE", help="What the API allows, such as 20/s; again or with commas for several. [20/s]"
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The Redis to use. [$REDISOPT_URL, else an embedded server is started]"),
    ] = None,
    http: Annotated[
        str | None, typer.Option(metavar="URL", help="GET this URL at every permitted call, in place of a pretend API.")
    ] = None,
) -> int:
    """Show that one limit holds for many processes."""
    if not 0 < seconds <= MAX_SECONDS:
        raise _bad("--seconds", f"{seconds:g} is not a number of seconds above 0, at most {MAX_SECONDS:,.0f}")
    if url is not None and not url.strip():
        raise _bad("--url", "it is empty")
    if http is not None:
        _check_http(http)
    options = Options(workers, seconds, _rates(rate or ["20/s"]), url, http)
    try:
        return run_demo(options)
    except BadUrl as error:
        raise _bad("--url" if url is not None else "$REDISOPT_URL", str(error)) from None


def _rates(texts: list[str]) -> tuple[Rate, ...]:
    # A comma after a digit is part of a number: "5,000/h".
    parts = [part for text in texts for part in re.split(r"(?<!\d),", text)]
    try:
        return ThrottleConfig(rates=tuple(Rate.parse(part) for part in parts)).rates
    except ValidationError as error:
        raise _bad("--rate", error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    except ValueError as error:
        raise _bad("--rate", str(error)) from None


def _check_http(text: str) -> None:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise _bad("--http", "it must look like http://host[:port]/path, or https://...")
    if "@" in parts.netloc:
        raise _bad("--http", "a user or password in it would not be sent: leave it out")


def _bad(option: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=f"'{option}'")
