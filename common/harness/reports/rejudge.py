"""A committed report judged again from its own rows, in seconds: what no machine runs again for a test.

`runs.csv` has every row of the report. Today's studies read them and judge: verdicts, numbers, intervals, what claims
say and the grid must be those that were committed.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Callable, Collection, Mapping
from functools import cache
from math import isclose, nan
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from common.harness.reports.compare import Change, compare, compare_grid, read_baseline
from common.harness.runs.plan import plan
from common.harness.studies.claims import judge_all
from common.harness.studies.errors import UsageError
from common.harness.studies.experiment import Experiment
from common.harness.studies.paper import Paper

if TYPE_CHECKING:
    import pandas as pd

SAME = 1e-9
"""Relative difference of a number made twice from the same rows."""
MADE = ("measured", "ci", "n_seeds")
"""What a claim's record has from its rows, besides the verdict."""


def rejudge(paper: Paper, preset: str, folder: Path, device: str = "cpu") -> list[Change]:
    """The report in `folder` against what today's studies make of its rows. UsageError where it cannot be read."""
    baseline = read_baseline(folder)
    judgements = judge_all(paper.claims, preset, tables_from(folder / "runs.csv", paper))
    changes = compare_grid(plan(paper, preset, device=device), baseline) + compare(judgements, baseline, SAME)
    for judgement in judgements:
        committed, now = baseline.records.get(judgement.claim.id), judgement.as_record("", "")
        changes += [
            Change(now["id"], key, str(committed[key]), str(now[key]), True, "not what the rows give today")
            for key in MADE
            if committed is not None and not _same(committed[key], now[key])
        ]
    return changes


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return before.keys() == now.keys() and all(_same(before[key], now[key]) for key in before)
    if isinstance(before, list) and isinstance(now, list):
        # The ends of an interval are judged by its size: one may be nearly zero by cancellation.
        size = max(map(abs, before))
        return all(isclose(a, b, rel_tol=SAME, abs_tol=SAME * size) for a, b in zip(before, now, strict=True))
    if isinstance(before, int | float) and isinstance(now, int | float):
        return isclose(before, now, rel_tol=SAME)
    return bool(before == now)


def tables_from(path: Path, paper: Paper) -> dict[str, pd.DataFrame]:
    """The rows of `runs.csv` by experiment, as the measures saw them. UsageError where today's studies cannot have
    written it.

    The config's fields and the declared columns say which cells are text. A column that is empty in all rows of an
    experiment is another experiment's; an empty cell, or "nan", is a value that does not apply.
    """
    import pandas as pd

    experiments = paper.experiments
    rows: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row.pop("experiment"), []).append(row)
    tables = {}
    for name, of_experiment in rows.items():
        if name not in experiments:
            raise UsageError(f"{path} has rows of '{name}', which is no experiment of {paper.slug}")
        readers = _readers(experiments[name])
        fields = [*get_type_hints(experiments[name].config), "seed"]
        there = [key for key in of_experiment[0] if key in fields or any(row[key] for row in of_experiment)]
        if strange := [key for key in there if key not in readers]:
            raise UsageError(
                f"{path}: '{name}' has no column {', '.join(strange)}; the studies are not those of the report"
            )
        cells = {key: [readers[key](row[key]) for row in of_experiment] for key in there}
        # A field that is None in some configs is kept as it is: pandas would make its whole numbers floats.
        kinds = {key: object if key in fields and None in values else None for key, values in cells.items()}
        tables[name] = pd.DataFrame({key: pd.Series(values, dtype=kinds[key]) for key, values in cells.items()})
    return tables


def _readers(experiment: Experiment) -> dict[str, Callable[[str], Any]]:
    kinds = {**get_type_hints(experiment.config), "seed": int, **experiment.columns}
    return {name: _reader(kind) for name, kind in kinds.items()}


def _reader(kind: Any) -> Callable[[str], Any]:
    if not _is_text(kind):
        return _plain
    return _text_or_none if NoneType in get_args(kind) else _text


def _is_text(kind: Any) -> bool:
    """Whether a field or column of this kind holds text, if it holds anything."""
    if get_origin(kind) in (Union, UnionType):
        return all(_is_text(each) for each in get_args(kind) if each is not NoneType)
    values = get_args(kind) if get_origin(kind) is Literal else kind
    if isinstance(values, Collection):
        return all(isinstance(value, str) for value in values)
    return kind is str


def _text(cell: str) -> str | float:
    return nan if cell == "nan" else cell


def _text_or_none(cell: str) -> str | float | None:
    return _text(cell) if cell else None


@cache
def _plain(cell: str) -> Any:
    """A number, a truth value, or a tuple of plain values."""
    if cell == "":
        return None
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        return float(cell)
    except ValueError:
        return ast.literal_eval(cell)
