"""The usual measures of a claim, each from a tidy table to one value per seed.

    Quantity("order", convergence, loglog_slope("nfe", "error", solver="heun"), Criterion(-2.15, -1.85))

A measure says which columns it reads and which values it picks, so that a slip is found when the study is loaded. A
study makes one of its own with `per_seed`, or from a function of the whole table with `Measure`.

Rows are picked by equality with the config's fields (`solver="heun"`, or a mapping where the field is not a name). A
pick that matches no row, or several rows where one is meant, is an error: nothing is averaged unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class NotReached(Exception):
    """A measure that finds nothing to measure, as a curve that never comes down to its target: the claim fails."""


@dataclass(frozen=True)
class Measure:
    """`function` maps the tidy rows of an experiment to a Series with one value per seed."""

    function: Callable[[pd.DataFrame], pd.Series]
    reads: tuple[str, ...] = ()
    """The columns that it reads."""
    picks: tuple[Mapping[str, Any], ...] = ()
    """What it asks rows to equal."""

    def __call__(self, table: pd.DataFrame) -> pd.Series:
        return self.function(table)

    def then(self, change: Callable[[pd.Series], pd.Series]) -> Measure:
        """The same with `change` made to its values: `slope.then(lambda values: -values)`."""
        return replace(self, function=lambda table: change(self.function(table)))


def pick(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows whose columns equal `where`; ValueError where a column or its value is not there."""
    chosen = None
    for column, wanted in where.items():
        if column not in table:
            raise ValueError(f"no column '{column}'; there are {', '.join(map(str, table.columns))}")
        both = (table[column] == wanted).to_numpy() if chosen is None else chosen & (table[column] == wanted).to_numpy()
        if not both.any():
            left = table[column] if chosen is None else table[column][chosen]
            raise ValueError(f"no row with {column} = {wanted!r}; there are {', '.join(map(str, left.unique()[:12]))}")
        chosen = both
    return table if chosen is None else table[chosen]


def _single(table: pd.DataFrame, column: str, where: Mapping[str, Any]) -> pd.Series:
    picked = pick(table, where)
    if column not in picked:
        raise ValueError(f"no column '{column}'; there are {', '.join(map(str, picked.columns))}")
    if picked["seed"].duplicated().any():
        raise ValueError(f"several rows per seed match {dict(where)}; name more fields")
    return picked.set_index("seed")[column].sort_index()


def value_at(column: str, /, **where: Any) -> Measure:
    """The value of `column` in the one row per seed that `where` picks."""
    return Measure(lambda table: _single(table, column, where), (column,), (where,))


def paired_difference(column: str, /, first: Mapping[str, Any], second: Mapping[str, Any], **where: Any) -> Measure:
    """`column` in `first` minus `column` in `second`, on the seeds that both have."""

    def difference(table: pd.DataFrame) -> pd.Series:
        a, b = _pair(table, column, {**where, **first}, {**where, **second})
        return a - b

    return Measure(difference, (column,), ({**where, **first}, {**where, **second}))


def paired_ratio(column: str, /, first: Mapping[str, Any], second: Mapping[str, Any], **where: Any) -> Measure:
    """`column` in `first` over `column` in `second`, on the seeds that both have.

    With `Quantity(scale="log")` its mean and interval are those of the paired log ratio, turned back.
    """

    def ratio(table: pd.DataFrame) -> pd.Series:
        a, b = _pair(table, column, {**where, **first}, {**where, **second})
        return a / b

    return Measure(ratio, (column,), ({**where, **first}, {**where, **second}))


def _pair(
    table: pd.DataFrame, column: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> tuple[pd.Series, pd.Series]:
    a, b = _single(table, column, first), _single(table, column, second)
    shared = a.index.intersection(b.index)
    return a.loc[shared], b.loc[shared]


def loglog_slope(x: str, y: str, /, **where: Any) -> Measure:
    """Per seed, the slope of the least-squares line through (log x, log y): -2 for an error of order 2 in x steps."""

    def slope(rows: pd.DataFrame) -> float:
        import numpy as np

        if rows[x].nunique() < 2:
            raise ValueError(f"a slope needs two values of '{x}', not {rows[x].unique().tolist()}")
        with np.errstate(divide="ignore", invalid="ignore"):
            log_x, log_y = np.log(rows[x].to_numpy(float)), np.log(rows[y].to_numpy(float))
            centred = log_x - log_x.mean()
            return float(centred @ log_y / (centred @ centred))

    return per_seed(slope, (x, y), **where)


def first_reached(x: Sequence[float], y: Sequence[float], target: float) -> float:
    """The x at which the curve y(x) first comes down to `target`, log-log interpolated: evaluations to an error.

    Raises NotReached where the curve begins below the target or never reaches it: nothing is extrapolated.
    """
    points = sorted((math.log(a), math.log(b)) for a, b in zip(x, y, strict=True))
    goal = math.log(target)
    if points[0][1] > goal:
        for (x_left, y_left), (x_right, y_right) in pairwise(points):
            if y_right <= goal:
                return math.exp(x_left + (y_left - goal) / (y_left - y_right) * (x_right - x_left))
    raise NotReached(f"an error of {target:.3g} is not on a curve from {max(y):.3g} to {min(y):.3g}")


def argmin_location(x: str, y: str, /, **where: Any) -> Measure:
    """Per seed, the x at which y is least (NaN where y has NaN)."""

    def location(rows: pd.DataFrame) -> float:
        if rows[y].isna().any():
            return float("nan")
        return float(rows[x].to_numpy(float)[rows[y].to_numpy(float).argmin()])

    return per_seed(location, (x, y), **where)


def mean_over(column: str, /, **where: Any) -> Measure:
    """Per seed, the mean of `column` over all rows that `where` picks."""
    return per_seed(lambda rows: float(rows[column].mean(skipna=False)), (column,), **where)


def per_seed(
    value: Callable[[pd.DataFrame], float],
    reads: tuple[str, ...],
    picks: tuple[Mapping[str, Any], ...] = (),
    /,
    **where: Any,
) -> Measure:
    """`value` of each seed's rows among those that `where` picks; `reads` are the columns that `value` looks at, and
    `picks` what it asks of rows itself."""

    def measure(table: pd.DataFrame) -> pd.Series:
        import pandas as pd

        return pd.Series({seed: value(rows) for seed, rows in pick(table, where).groupby("seed")}, dtype=float)

    return Measure(measure, reads, tuple({**where, **each} for each in picks) or (where,))
