"""What the claims of DSBM measure beyond the harness's usual measures: each gives one value per seed of a run table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.harness.studies.measures import Measure, pick, value_at

if TYPE_CHECKING:
    import pandas as pd


def by_seed(table: pd.DataFrame, value: Callable[[pd.DataFrame], float], where: dict[str, Any]) -> pd.Series:
    """`value` of the rows of each seed, of those that `where` picks."""
    import pandas as pd

    return pd.Series({seed: value(rows) for seed, rows in pick(table, where).groupby("seed")}, dtype=float)


def growth(column: str, x: str, low: float, high: float, /, **where: Any) -> Measure:
    """The exponent of the growth of `column` with `x` between two values of it: log of the ratio over log of theirs."""
    at_low, at_high = value_at(column, **{**where, x: low}), value_at(column, **{**where, x: high})

    def exponent(table: pd.DataFrame) -> pd.Series:
        import numpy as np

        ratio = at_high(table) / at_low(table)
        return np.log(ratio) / math.log(high / low)

    return exponent


def generated_variance(pass_number: int, /, **where: Any) -> Measure:
    """The variance at the end of pass `pass_number`, on the side that its simulation arrives at."""

    def variance(rows: pd.DataFrame) -> float:
        row = rows.iloc[0]
        return float(row["var_0"] if row["direction"] == "b" else row["var_1"])

    return lambda table: by_seed(table, variance, {**where, "pass_number": pass_number})


def largest_rise(column: str, /, **where: Any) -> Measure:
    """The largest rise of `column` from an iterate to the next, over pairs and sigma, relative to its first value."""

    def rise(rows: pd.DataFrame) -> float:
        rises = []
        for _, each in rows.groupby(["pair", "sigma"]):
            values = each.sort_values("iterate")[column]
            rises.append(float(values.diff().max() / abs(values.iloc[0])))
        return max(rises)

    return lambda table: by_seed(table, rise, where)


def largest_residual(table: pd.DataFrame) -> pd.Series:
    """The largest |KL(Π|P) − KL(Π|M) − KL(M|P)| over iterates, relative to KL(Π⁰|P) of the same pair and sigma."""

    def residual(rows: pd.DataFrame) -> float:
        rows = rows.dropna(subset=["kl_projection"])
        first = rows.groupby(["pair", "sigma"])["kl"].transform("max")
        return float(((rows["kl"] - rows["kl_projection"] - rows["kl_markov"]).abs() / first).max())

    return by_seed(table, residual, {"method": "imf"})


def last_over(column: str, floor: str, /, **where: Any) -> Measure:
    """`column` at the last pass over `floor`."""

    def ratio(rows: pd.DataFrame) -> float:
        last = rows.sort_values("pass_number").iloc[-1]
        return float(last[column] / last[floor])

    return lambda table: by_seed(table, ratio, where)
