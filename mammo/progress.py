"""Shows progress (a bar on a terminal, plain lines elsewhere) and prints tables that fit 80 columns."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[Item], total: int, what: str, *, beside: bool = False) -> Iterator[Item]:
    """Yield the items and show how many are done.

    Args:
        items: The work.
        total: How many there are.
        what: The words before the bar.
        beside: Show it on stderr, because stdout is for results.
    """
    stream = sys.stderr if beside else sys.stdout
    return _with_bar(items, total, what, stream) if stream.isatty() else _with_lines(items, total, what, stream)


def _with_bar(items: Iterable[Item], total: int, what: str, stream: TextIO) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, console=Console(file=stream)) as progress:
        yield from progress.track(items, total=total, description=what)


def _with_lines(items: Iterable[Item], total: int, what: str, stream: TextIO) -> Iterator[Item]:
    start = last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            left = (now - start) / number * (total - number)
            print(f"{what}: {number} of {total}, about {left:.0f} s left", file=stream, flush=True)
            last = now


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: the first column aligned left, the others right."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    _Console(width=None if sys.stdout.isatty() else 80, highlight=False).print(table)


class _Console(Console):
    """Raises on a closed pipe, which the command handles; rich itself would end the process with code 1."""

    def on_broken_pipe(self) -> None:
        """Raise the error."""
        raise BrokenPipeError
