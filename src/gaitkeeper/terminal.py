"""What commands show: progress, tables, what was left out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gaitkeeper.errors import GaitkeeperError

if TYPE_CHECKING:
    from gaitkeeper.audit.report import Table


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on standard error; yields a function of units done, units in all, and what is being done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    ]
    with Progress(*columns, console=Console(stderr=True, emoji=False)) as bar:
        task = bar.add_task("")
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)


def print_grid(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    caption: str = "",
) -> None:
    """Print a table; the columns of the headings ``right`` are aligned so."""
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(title=title, caption=caption or None)
    for heading in headings:
        grid.add_column(heading, justify="right" if heading in right else "left")
    for row in rows:
        grid.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(grid)


def ready_device(name: str) -> str:
    """Return the device to compute on, ready to compute; ``auto`` takes CUDA where it is."""
    import torch

    from gaitkeeper.memory import keep_freed_memory

    keep_freed_memory()
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise GaitkeeperError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from error
    return name


def print_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """Tell on standard error what was left out, and why."""
    for what, why in skipped:
        print(f"skipped {what}: {why}", file=sys.stderr)


def print_outcome(
    tables: Sequence[Table], sentences: Sequence[str], skipped: Sequence[tuple[str, str]], out: Path
) -> None:
    """Print the tables and sentences of an outcome, what was left out, and where the report is."""
    for table in tables:
        if not table.folded:
            print_grid(table.title, table.columns, table.rows, caption=table.caption)
    for sentence in sentences:
        print(sentence)
    print_skipped(skipped)
    print(f"report: {out / 'report.html'}")
