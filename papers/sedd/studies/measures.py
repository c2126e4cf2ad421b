"""What claims of several studies measure, beyond the harness's usual measures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from common.harness.studies.measures import Measure, per_seed

if TYPE_CHECKING:
    import pandas as pd


def least(column: str, /, **where: Any) -> Measure:
    """Per seed, the least of `column`; NaN where one of it is."""
    return per_seed(lambda rows: float(rows[column].min(skipna=False)), (column,), **where)


def largest_departure(column: str, value: float, /, **where: Any) -> Measure:
    """Per seed, the largest |column − value|; NaN where one of it is."""
    return per_seed(lambda rows: float((rows[column] - value).abs().max(skipna=False)), (column,), **where)


def determination(x: str, y: str, /, base: str | None = None, **where: Any) -> Measure:
    """R² of the straight line through (log x, log(y − base)), or through (log x, y) without a base.

    NaN where y does not lie above its base, or rises with x: a line that rises is none that falls.
    """

    def r_squared(rows: pd.DataFrame) -> float:
        log_x, values = np.log(rows[x].to_numpy(float)), rows[y].to_numpy(float)
        if base is not None:
            above = values - rows[base].to_numpy(float)
            if not (above > 0).all():
                return math.nan
            values = np.log(above)
        correlation = float(np.corrcoef(log_x, values)[0, 1])
        return correlation**2 if correlation < 0 else math.nan

    return per_seed(r_squared, (x, y) if base is None else (x, y, base), **where)


def euler_over_tweedie(rows: pd.DataFrame, column: str, steps: str) -> pd.Series:
    """Euler's `column` over Tweedie's at each number of `steps`, of one seed's rows."""
    both = rows.pivot(index=steps, columns="sampler", values=column)
    return both["euler"] / both["tweedie"]
