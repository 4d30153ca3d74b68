"""A progress bar in the terminal for `map`; needs rich, of the extra `cli`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from redisopt.batch.progress import Progress


@contextlib.contextmanager
def progress_bar(description: str = "items") -> Iterator[Callable[[Progress], None]]:
    """A progress bar for as long as the block lasts; what it gives is an `on_progress`.

    >>> with progress_bar("embedding") as show:
    ...     vectors = batcher.map(texts, on_progress=show)

    Raises:
        ImportError: rich is not installed: ``pip install 'redisopt[cli]'``.
    """
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[failed]} failed, {task.fields[retried]} retried, {task.fields[rate]:.0f}/s"),
        progress.TextColumn("{task.fields[left]}"),
    )
    with progress.Progress(*columns) as bar:
        task = bar.add_task(description, total=None, failed=0, retried=0, rate=0.0, left="")

        def show(it: Progress) -> None:
            left = "" if it.eta is None else f"{it.eta:.0f} s left"
            numbers: dict[str, Any] = {"failed": it.failed, "retried": it.retried, "rate": it.rate, "left": left}
            bar.update(task, completed=it.done + it.failed, total=it.total, **numbers)

        yield show
