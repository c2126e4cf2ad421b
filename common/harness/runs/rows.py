"""`rows.csv`: the results of one run, the same bytes wherever and however the run is made.

Columns come in the order in which the rows first name them, floats in their shortest exact form (`repr`), booleans as
`true` and `false`, and a key that a row leaves out as an empty cell. `run.json` keeps the columns' types, so that
reading gives back what was written and never guesses.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common.harness.studies.errors import unknown
from common.harness.studies.experiment import Row, Values, may_hold

if TYPE_CHECKING:
    import pandas as pd

Types = Mapping[str, str]
"""Column name to 'int', 'float', 'bool' or 'str'."""


def encode(rows: Sequence[Row], taken: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """The text of `rows.csv` and its column types.

    Raises ValueError for a key that is `taken` (a field of the config, or the seed), a column of mixed types, a value
    that is neither number, text nor truth value, and for NaN: a result that is not a number is a failed run, and a
    value that does not apply is left out.
    """
    table = [{key: _scalar(key, value) for key, value in row.items()} for row in rows]
    columns = list(dict.fromkeys(key for row in table for key in row))
    if clash := [key for key in columns if key in taken]:
        raise ValueError(f"rows have keys that the config or the seed already has: {', '.join(clash)}")
    types = {column: _column_type(column, [row[column] for row in table if column in row]) for column in columns}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in table:
        writer.writerow([_cell(row[column], types[column]) if column in row else "" for column in columns])
    return text.getvalue(), types


def check(rows: Sequence[Row], columns: Mapping[str, Values]) -> None:
    """ValueError for a column that is not declared, or a value that its column may not hold."""
    for row in rows:
        for name, value in row.items():
            if name not in columns:
                raise ValueError(f"{unknown('column', name, columns)}; the experiment declares what its rows have")
            value = value.item() if hasattr(value, "item") else value
            if not may_hold(columns[name], value):
                raise ValueError(f"column {name!r} may not hold {value!r}; declared is {columns[name]}")


def decode(text: str, types: Types, beside: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The table that `encode` wrote; an empty cell is missing (NaN, which makes ints floats).

    `beside` has what every row gets, as first columns.
    """
    import pandas as pd

    lines = list(csv.reader(io.StringIO(text)))[1:]
    readers: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "bool": lambda cell: cell == "true",
        "str": str,
    }
    return pd.DataFrame(
        {name: [value] * len(lines) for name, value in (beside or {}).items()}
        | {
            column: [readers[kind](line[index]) if line[index] else None for line in lines]
            for index, (column, kind) in enumerate(types.items())
        }
    )


def _scalar(key: str, value: Any) -> bool | int | float | str:
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"row value {key!r} is a number, text or truth value, not {type(value).__name__}: {value!r}")
    if isinstance(value, float) and (math.isnan(value) or ("loss" in key and math.isinf(value))):
        raise ValueError(f"row value {key!r} is {value}")
    return value


def _column_type(column: str, values: Sequence[Any]) -> str:
    kinds = {type(value).__name__ for value in values}
    if kinds == {"int", "float"}:
        return "float"
    if len(kinds) > 1:
        raise ValueError(f"column {column!r} mixes {' and '.join(sorted(kinds))}")
    return kinds.pop()


def _cell(value: Any, kind: str) -> str:
    if kind == "float":
        return repr(float(value))
    return str(value).lower() if kind == "bool" else str(value)
