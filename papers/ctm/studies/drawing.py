"""What the figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axis import Axis


def mean_curve(rows: pd.DataFrame, column: str = "fd", by: str = "nfe") -> pd.Series:
    """The geometric mean over seeds, by evaluations."""
    import numpy as np

    return np.exp(np.log(rows.set_index(by)[column]).groupby(level=by).mean())


def plain(axis: Axis, digits: tuple[int, ...] = (1, 2, 5)) -> None:
    """A logarithmic axis with ticks at `digits` times powers of ten, and plain numbers beside them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
