"""What the papers' figures share: panels on white fit for a slide, and rows by their fields. Imports matplotlib: for a
`figures.py` only, which is loaded when a report is written."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")  # no display is needed, nor asked for

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

COLOURS = sns.color_palette("colorblind")


def panels(
    salt: str,
    rows: int = 1,
    columns: int = 1,
    *,
    width: float = 7.0,
    height: float = 4.2,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, np.ndarray]:
    """A figure of `width` × `height` inches and its axes, (rows, columns). `salt`, the paper's short name, makes the
    ids within the SVG the same every time and its own."""
    rc = {"svg.hashsalt": salt, "figure.facecolor": "white"}
    sns.set_theme(context="talk", style="ticks", font_scale=0.75, rc=rc)
    return plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, height_ratios=height_ratios
    )


def finish(figure: Figure, despine: bool = True) -> Figure:
    """The figure, out of pyplot's hands; it stays drawable. `despine` leaves the left and lower axis alone."""
    if despine:
        sns.despine(figure)
    plt.close(figure)
    return figure


def where(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows whose columns equal `values`; none is an empty table, for a figure of what is there."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table
