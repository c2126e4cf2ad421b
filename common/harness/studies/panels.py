"""What the papers' figures share: panels on white fit for a slide, and rows by their fields. Drawing libraries are
imported when a figure is drawn, for a worker that imports the study draws none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

COLOURS = (
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
)
"""Seaborn's colour-blind palette."""


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
    import matplotlib

    matplotlib.use("Agg")  # no display is needed, nor asked for
    import matplotlib.pyplot as plt
    import seaborn as sns

    rc = {"svg.hashsalt": salt, "figure.facecolor": "white"}
    sns.set_theme(context="talk", style="ticks", font_scale=0.75, rc=rc)
    return plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, height_ratios=height_ratios
    )


def finish(figure: Figure, despine: bool = True) -> Figure:
    """The figure, out of pyplot's hands; it stays drawable. `despine` leaves the left and lower axis alone."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    if despine:
        sns.despine(figure)
    plt.close(figure)
    return figure


def where(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows whose columns equal `values`; none is an empty table, for a figure of what is there."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table
