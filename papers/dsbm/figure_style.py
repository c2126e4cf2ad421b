"""What the figures of DSBM share: one colour and one mark for each method, never the colour alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from common.harness.studies.panels import COLOURS, where
from common.harness.studies.statistics import student_t
from papers.dsbm.published import Published

ORDER = ("DSB", "SB-CFM", "DSBM-IPF", "DSBM-IMF", "DSBM-IMF+", "OT-CFM", "CFM", "FM", "RF")
COLOUR = dict(zip(ORDER, [COLOURS[i] for i in (1, 2, 0, 3, 4, 5, 7, 8, 9)], strict=True))
MARKER = dict(zip(ORDER, "s^oDPvXhd", strict=True))


def present(table: pd.DataFrame, methods: tuple[str, ...] = ORDER) -> list[str]:
    """The methods that `table` has, in the order of all figures."""
    found = set(table["method"])
    return [method for method in methods if method in found]


def by_pass(axes: Axes, table: pd.DataFrame, column: str, method: str) -> None:
    """Mean over seeds after each pass, with its 95 % interval, as in the claims table."""
    passes = np.sort(table["pass_number"].unique())
    estimates = [student_t(list(where(table, pass_number=number)[column])) for number in passes]
    means = [estimate.mean for estimate in estimates]
    bars = [estimate.high - estimate.mean for estimate in estimates]
    axes.errorbar(passes, means, bars, color=COLOUR[method], marker=MARKER[method], ls="none", label=method)


def dots(axes: Axes, table: pd.DataFrame, column: str, methods: list[str]) -> None:
    """A column of dots for each method: its seeds in grey; in colour their geometric mean and its 95 % interval, the
    claims table's for what is positive."""
    for place, method in enumerate(methods):
        values = where(table, method=method)[column].astype(float)
        estimate = student_t(list(values), scale="log")
        bars = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        axes.scatter([place] * len(values), values, color="0.65", s=14, zorder=1)
        axes.errorbar([place], [estimate.mean], bars, color=COLOUR[method], marker=MARKER[method], capsize=4, zorder=2)
    axes.set_xticks(range(len(methods)), methods, rotation=35, ha="right")
    axes.set_xlim(-0.6, len(methods) - 0.4)


def beside(axes: Axes, place: int, method: str, cell: Published) -> None:
    """A published value in white, to the right of `method`'s own column of dots."""
    axes.errorbar([place + 0.28], [cell.mean], [cell.spread or 0.0], color="0.3", marker=MARKER[method], mfc="white")
