"""How the demo is shown: live in a terminal, drawn by rich; as plain lines, one a second, everywhere else."""

from __future__ import annotations

import sys
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from redisopt.cli.fleet import DEAD, FAILED, LOST
from redisopt.cli.picture import Picture, period_words

_RIGHT = ("worker", "pid", "granted", "share", "mean wait")
_DISPENSABLE = ("share", "mean wait", "pid")  # in this order, where the terminal is too narrow
_LEAST_WORDS = 10  # the width to which a column of words may shrink
_MOST_IN_A_LINE = 16


class View(Protocol):
    """What the demo is shown with. `interval` is the seconds between two pictures."""

    interval: float

    def say(self, line: str, style: str = "") -> None:
        """Print one line that stays. `style` is rich's."""

    def draw(self, picture: Picture) -> None:
        """Show how it stands."""

    def stop(self) -> None:
        """No picture is to come: take the last one away, where that can be."""

    def table(self, picture: Picture) -> None:
        """Show the workers one by one, to stay."""


def view_for_stdout() -> View:
    """The view that standard output can show."""
    console = Console(highlight=False, markup=False, emoji=False)
    if sys.stdout is not None and sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console)
    return PlainView()


class PlainView:
    """Lines of plain ASCII."""

    interval = 1.0

    def say(self, line: str, style: str = "") -> None:  # noqa: ARG002 - plain
        """See `View`."""
        print(line, flush=True)  # noqa: T201 - this is where the demo prints

    def draw(self, picture: Picture) -> None:
        """See `View`."""
        if picture.elapsed == 0:
            return
        counts = [
            f"{worker.granted:,}{f' ({worker.state})' if worker.state in (DEAD, FAILED, LOST) else ''}"
            for worker in picture.workers[:_MOST_IN_A_LINE]
        ]
        more = ", ..." if len(picture.workers) > _MOST_IN_A_LINE else ""
        highest = [f"in any {period_words(rate)} {count:,} of {rate.limit:,}" for rate, count in picture.highest]
        self.say(
            f"{picture.elapsed:6.1f} s  granted {picture.granted:,} ({', '.join(counts)}{more})  "
            f"now {picture.per_second:,}/s  mean wait {picture.mean_wait:.3f} s  "
            f"{'' if picture.in_line is None else f'in line {picture.in_line:,}  '}"
            f"highest {', '.join(highest)}"
        )

    def stop(self) -> None:
        """See `View`."""

    def table(self, picture: Picture) -> None:
        """See `View`."""
        head, rows = picture.rows()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        self.say("")
        for row in [head, *rows]:
            cells = zip(head, row, widths, strict=True)
            self.say(
                "  ".join(
                    cell.rjust(width) if name in _RIGHT else cell.ljust(width) for name, cell, width in cells
                ).rstrip()
            )


class LiveView:
    """A picture that is drawn anew four times a second, and taken away at the end."""

    interval = 0.25

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def say(self, line: str, style: str = "") -> None:
        """See `View`."""
        # Long commands must stay one line for who copies them: the terminal wraps them, not rich.
        self._console.print(Text(line, style=style), soft_wrap=True)

    def draw(self, picture: Picture) -> None:
        """See `View`."""
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(self._moving(picture), refresh=True)

    def stop(self) -> None:
        """See `View`."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def table(self, picture: Picture) -> None:
        """See `View`."""
        self._console.print(_table(picture, self._console.width))

    def _moving(self, picture: Picture) -> Group:
        time = Table.grid(padding=(0, 2))
        time.add_row(
            Text(picture.phase, style="bold"),
            Text(f"{min(picture.elapsed, picture.seconds):.1f} of {picture.seconds:g} s"),
            ProgressBar(total=picture.seconds, completed=picture.elapsed, width=24),
        )
        fleet = Text.assemble(
            "granted ", (f"{picture.granted:,}", "bold"),
            "   now ", (f"{picture.per_second:,}/s", "bold"),
            "   mean wait ", (f"{picture.mean_wait:.3f} s", "bold"),
            *(() if picture.in_line is None else ("   in line ", (f"{picture.in_line:,}", "bold"))),
        )  # fmt: skip
        limits = [Text(words, style="green" if held else "bold red") for held, words in picture.limits()]
        return Group("", time, "", fleet, *limits, _table(picture, self._console.width))


def _table(picture: Picture, width: int) -> Padding:
    head, rows = _fitting(*picture.rows(), width)
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 0), pad_edge=False)
    for name in head:
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=name in _RIGHT, overflow="fold")
    for worker, row in zip(picture.workers, rows, strict=False):
        table.add_row(*row, style="red" if worker.state in (DEAD, FAILED, LOST) else "")
    table.add_row(*rows[-1], style="bold")
    return Padding(table, (1, 0, 0, 0))


def _fitting(head: list[str], rows: list[list[str]], width: int) -> tuple[list[str], list[list[str]]]:
    """As many of the columns as the terminal can show whole; the state of a worker always."""
    columns = [[name, *cells] for name, cells in zip(head, zip(*rows, strict=True), strict=True)]
    for dispensable in _DISPENSABLE:
        least = [max(map(len, column)) if column[0] in _RIGHT else _LEAST_WORDS for column in columns]
        if sum(least) + 2 * (len(least) - 1) <= width:
            break
        columns = [column for column in columns if column[0] != dispensable]
    shown = [list(row) for row in zip(*columns, strict=True)]
    return shown[0], shown[1:]
