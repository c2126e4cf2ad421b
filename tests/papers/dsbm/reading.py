"""DSBM's figures drawn from made-up results, and what can be read off them again."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as MatplotlibFigure

from papers.dsbm.paper import PAPER
from papers.dsbm.studies.methods import LOOKS
from tests.papers.dsbm.made import Made

FIGURES = {figure.name: figure for study in PAPER.load().values() for figure in study.figures}
ORDER = list(LOOKS)
RESULTS = {preset: Made(preset) for preset in ("quick", "small", "gpu")}
DRAWN = [
    (name, preset)
    for name, figure in FIGURES.items()
    for preset in ("quick", "small")
    if all(preset in experiment.presets for experiment in figure.experiments)
] + [("transfer", "gpu")]


@cache
def draw(name: str, preset: str) -> MatplotlibFigure:
    return FIGURES[name].draw(RESULTS[preset])


def panels(name: str, preset: str) -> list[Axes]:
    return [axes for axes in draw(name, preset).axes if axes.axison]


def rows(experiment: Any, preset: str, **values: Any) -> pd.DataFrame:
    table = RESULTS[preset].table(experiment)
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def lines(axes: Axes) -> dict[str, np.ndarray]:
    """What is drawn by its label, (n, 2). A line with bars bears the label of the whole."""
    found = {str(line.get_label()): line for line in axes.lines if line.get_label() != "_nolegend_"}
    found |= {str(container.get_label()): container.lines[0] for container in bars(axes) if container.get_label()}
    return {label: np.asarray(line.get_xydata()) for label, line in found.items()}


def bars(axes: Axes) -> list[ErrorbarContainer]:
    return [container for container in axes.containers if isinstance(container, ErrorbarContainer)]


def clouds(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]


def pictures(axes: Axes) -> list[Axes]:
    """The small ones within a panel."""
    return [child for child in axes.child_axes if isinstance(child, Axes)]
