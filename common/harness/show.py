"""Tables on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common.harness.wording import lines

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {"holds": "green", "fails": "bold red", "inconclusive": "yellow"}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print a table that fits the terminal; in a pipe it has 100 columns and no colours."""
    made = _empty(columns, title)
    for row in rows:
        made.add_row(*(_coloured(text) for text in row))
    _print(made)


def claims(records: Sequence[Mapping[str, Any]]) -> None:
    """Print the claims table; each record is a claim of `claims.json` with its `paper` and `preset`."""
    made = _empty(("Paper", "Claim", "Published", "Measured ± 95 % CI", "Verdict"), None)
    for record in records:
        first = True
        wording = list(lines(record))
        for line in wording:
            made.add_row(
                _coloured(record["paper"] if first else ""),
                _coloured(line.text),
                line.published,
                line.measured,
                _coloured(line.verdict),
                end_section=line is wording[-1],
            )
            first = False
    _print(made)


def as_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Print a line of text as it is."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def _empty(columns: Sequence[str], title: str | None) -> Table:
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _coloured(text: str) -> Text:
    from rich.text import Text

    return Text(text, style=COLOURS.get(text, ""))


def _print(made: Table) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print(made)
