"""Tables on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {"holds": "green", "fails": "bold red", "inconclusive": "yellow"}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print a table of `width()` columns at most; in a pipe it has no colours."""
    made = empty(columns, title)
    for row in rows:
        made.add_row(*(coloured(text) for text in row))
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


def show(made: Table) -> None:
    """Print a table."""
    from rich.console import Console

    Console(width=width(), highlight=False).print(made)
