"""What the figures of images share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def mean_curve(rows: pd.DataFrame, column: str = "fd", by: str = "nfe") -> pd.Series:
    """The geometric mean over seeds, by evaluations."""
    import numpy as np

    return np.exp(np.log(rows.set_index(by)[column]).groupby(level=by).mean())
