"""What the figures of DSBM share: one colour and one mark for each method, never the colour alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from common.harness.studies.panels import where
from common.harness.studies.statistics import student_t
from papers.dsbm.published import Published
from papers.dsbm.studies.methods import LOOKS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def present(table: pd.DataFrame) -> list[str]:
    """The methods that `table` has, in the order of all figures."""
    found = set(table["method"])
    return [method for method in LOOKS if method in found]


def by_pass(axes: Axes, table: pd.DataFrame, column: str, method: str) -> None:
    """Mean over seeds after each pass, with its 95 % interval, as in the claims table."""
    passes = np.sort(table["pass_number"].unique())
    estimates = [student_t(list(where(table, pass_number=number)[column])) for number in passes]
    means = [estimate.mean for estimate in estimates]
    bars = [estimate.high - estimate.mean for estimate in estimates]
    look = LOOKS[method]
    axes.errorbar(passes, means, bars, color=look.colour, marker=look.marker, ls="none", label=method)


def dots(axes: Axes, table: pd.DataFrame, column: str, methods: list[str]) -> None:
    """A column of dots for each method: its seeds in grey; in colour their geometric mean and its 95 % interval, the
    claims table's for what is positive."""
    for place, method in enumerate(methods):
        values = where(table, method=method)[column].astype(float)
        estimate, look = student_t(list(values), scale="log"), LOOKS[method]
        bars = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        axes.scatter([place] * len(values), values, color="0.65", s=14, zorder=1)
        axes.errorbar([place], [estimate.mean], bars, color=look.colour, marker=look.marker, capsize=4, zorder=2)
    axes.set_xticks(range(len(methods)), methods, rotation=35, ha="right")
    axes.set_xlim(-0.6, len(methods) - 0.4)


def beside(axes: Axes, place: int, method: str, cell: Published) -> None:
    """A published value in white, to the right of `method`'s own column of dots."""
    marker = LOOKS[method].marker
    axes.errorbar([place + 0.28], [cell.mean], [cell.spread or 0.0], color="0.3", marker=marker, mfc="white")


def bare(axes: Axes, reach: float) -> None:
    """A square of the plane, without ticks."""
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
