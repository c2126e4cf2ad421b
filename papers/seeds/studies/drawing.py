"""The figures of quality against evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from common.harness.studies.looks import legend, ticks
from common.harness.studies.panels import finish, panels, where
from papers.seeds.studies.looks import SAMPLERS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shown:
    """A panel of curves."""

    rows: pd.DataFrame
    title: str
    label: str
    """Of the distance."""
    which: dict[str, Any] = field(default_factory=dict)
    """The rows that are drawn."""
    column: str = "distance"
    mark: float | None = None
    """A distance to be marked."""


def two(*shown: Shown) -> Figure:
    """A panel for each, one or two: geometric means over seeds, by solver and evaluations, and the floor."""
    figure, axes = panels("seeds", 1, len(shown), width=8 if len(shown) > 1 else 6.5, height=5.8)
    for panel, each in zip(axes[0], shown, strict=True):
        rows = where(each.rows, **each.which)
        lowest = inf
        for sampler in [name for name in SAMPLERS if name in set(rows["sampler"])]:
            mean = mean_curve(rows, sampler, each.column)
            panel.plot(mean.index, mean, **SAMPLERS[sampler].line())
            lowest = min(lowest, float(mean.min()))
        if each.column == "distance":
            draw_floor(panel, float(rows["floor"].mean()), lowest)
        if each.mark is not None:
            panel.axhline(each.mark, color="black", lw=0.8)
        places = [nfe for nfe in sorted(rows["nfe"].unique()) if nfe not in (10, 20)]
        ticks(panel, places, yscale="log", xlabel="evaluations (NFE)", title=each.title, ylabel=each.label)
    legend(figure, columns=2)
    return finish(figure)


def draw_floor(panel: Axes, floor: float, lowest: float) -> None:
    """The distance of two samples of one law; in words where it is far below all curves, which need the room."""
    if floor > lowest / 3:
        panel.axhline(floor, color="0.4", ls=":", lw=1.5, label="same-distribution floor")
    else:
        panel.text(0.98, 0.97, f"same-distribution floor: {floor:.2g}", transform=panel.transAxes, ha="right", va="top")


def mean_curve(rows: pd.DataFrame, sampler: str, column: str = "distance") -> pd.Series:
    """The geometric mean over seeds, by evaluations."""
    import numpy as np

    logs = np.log(where(rows, sampler=sampler).set_index("nfe")[column])
    return np.exp(logs.groupby(level="nfe").mean())
