"""Tables on a terminal, in a pipe and as JSON; and a reader that leaves before the work is done."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {"holds": "green", "fails": "bold red", "inconclusive": "yellow"}
MARKS = {"holds": "✓", "fails": "✗", "inconclusive": "?"}


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Standard output and error whose reader may leave (`repro run edm | head -1`), or never was there (`2>&-`).

    What is written then goes nowhere, and the work goes on to its own end and its own exit code: nobody who stops
    reading means to stop the runs. A full disk is no reader that left: on standard output it stays an error.
    """
    with ExitStack() as stack:
        for name, number, forgiven in (("stdout", 1, BrokenPipeError), ("stderr", 2, OSError)):
            stream = getattr(sys, name)
            if stream is not getattr(sys, f"__{name}__"):
                continue  # a test or a library listens
            if stream is None:
                _lead_nowhere(number)
            elif stream.fileno() != number:
                continue
            outlet = _Outlet(number, forgiven)
            ours = io.TextIOWrapper(
                io.BufferedWriter(outlet),
                encoding=getattr(stream, "encoding", "utf-8"),
                errors=getattr(stream, "errors", "backslashreplace"),
                line_buffering=number == 2 or outlet.isatty(),
                write_through=getattr(stream, "write_through", False),
            )
            stack.callback(setattr, sys, name, stream)
            stack.callback(ours.flush)
            setattr(sys, name, ours)
        yield


class _Outlet(io.FileIO):
    """A file descriptor that leads nowhere as soon as writing to it meets an error that is forgiven."""

    def __init__(self, number: int, forgiven: type[OSError]) -> None:
        super().__init__(number, "w", closefd=False)
        self._forgiven = forgiven

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except self._forgiven:
            # The descriptor itself: libraries in C write to it, too.
            _lead_nowhere(self.fileno())
            return memoryview(data).nbytes


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print a table of `width()` columns at most; in a pipe it has no colours."""
    made = empty(columns, title)
    for row in rows:
        made.add_row(*(coloured(text) for text in row))
    show(made)


def one_line_each(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], cut: Sequence[str], title: str | None = None
) -> None:
    """Print a table whose rows have a line each: the texts of the columns `cut` end in '…' where they do not fit."""
    from rich.text import Text

    made = empty(columns, title)
    made.padding = (0, 1, 0, 0)
    for column in made.columns:
        column.no_wrap = column.header not in cut  # rich takes width from the others
        column.overflow = "ellipsis"
    for row in rows:
        texts = [Text(cell) if isinstance(cell, str) else cell for cell in row]
        for text in texts:
            text.no_wrap = True
        made.add_row(*texts)
    show(made)


def as_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def width() -> int:
    """Columns of a line: as COLUMNS says, else the terminal's; 80 where there is none."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def wrapped(text: str) -> str:
    """`text` broken between words into lines of `width()` columns at most. A longer word, as a path, stays whole."""
    columns = width()
    return "\n".join(line if len(line) <= columns else _wrap(line, columns) for line in text.split("\n"))


def _wrap(line: str, columns: int) -> str:
    # Below the text that follows a label in a column of its own, else indented by two.
    label = re.match(r" *\S+ {2,}", line)
    indent = len(label[0]) if label else len(line) - len(line.lstrip()) + 2
    return textwrap.fill(
        line, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False, tabsize=4
    )


def say(text: str) -> None:
    """Print a line of text, wrapped where it is too long."""
    print(wrapped(text), flush=True)


def warn(text: str) -> None:
    """Print a line on standard error, wrapped where it is too long."""
    print(wrapped(text), file=sys.stderr, flush=True)


def empty(columns: Sequence[str], title: str | None = None) -> Table:
    """A table that has no rows yet."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def coloured(text: str) -> Text:
    """`text`, in the colour of the verdict that it is, if it is one."""
    from rich.text import Text

    return Text(text, style=COLOURS.get(text, ""))


def marked(verdict: str) -> Text:
    """A verdict's mark in its colour, with the word where there are a hundred columns."""
    from rich.text import Text

    word = f" {verdict}" if width() >= 100 else ""
    return Text(f"{MARKS[verdict]}{word}", style=COLOURS[verdict])


def show(made: Table) -> None:
    """Print a table."""
    from rich.console import Console

    Console(width=width(), highlight=False).print(made)
