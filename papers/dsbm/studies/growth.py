"""The exponent of a growth, which several studies measure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from common.harness.studies.measures import Measure, value_at

if TYPE_CHECKING:
    import pandas as pd


def growth(column: str, x: str, low: float, high: float, /, **where: Any) -> Measure:
    """The exponent of the growth of `column` with `x` between two values of it: log of the ratio over log of theirs."""
    at_low, at_high = value_at(column, **{**where, x: low}), value_at(column, **{**where, x: high})

    def exponent(table: pd.DataFrame) -> pd.Series:
        return (at_high(table) / at_low(table)).apply(np.log) / math.log(high / low)

    return Measure(exponent, (column,), (*at_low.picks, *at_high.picks))
