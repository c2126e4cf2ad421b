"""What graphs, samplers and models are called, and how they are drawn: the one table, for claims and figures.

Colours are seaborn's colour-blind palette, and never the only difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.harness.studies.panels import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Look:
    name: str
    colour: str
    marker: str


@dataclass(frozen=True)
class ModelLook(Look):
    in_claims: str
    """Its name in the quantities of claims; `name` is the one in figures."""


GRAPHS: Mapping[str, Look] = {
    "absorb": Look("absorbing", COLOURS[0], "D"),
    "uniform": Look("uniform", COLOURS[3], "v"),
}
SAMPLERS: Mapping[tuple[str, str], Look] = {
    ("absorb", "tweedie"): Look("absorbing (either sampler)", COLOURS[0], "D"),
    ("uniform", "tweedie"): Look("uniform, Tweedie", COLOURS[3], "v"),
    ("uniform", "euler"): Look("uniform, Euler", COLOURS[1], "^"),
}
"""By graph and sampler."""
MODELS: Mapping[str, ModelLook] = {
    "ar": ModelLook("autoregressive", COLOURS[7], "o", "autoregressive"),
    "sedd-absorb": ModelLook("SEDD, absorbing", COLOURS[0], "D", "SEDD absorbing"),
    "d3pm-absorb": ModelLook("D3PM, absorbing", COLOURS[2], "s", "D3PM absorbing"),
    "sedd-uniform": ModelLook("SEDD, uniform", COLOURS[3], "v", "SEDD uniform"),
    "d3pm-uniform": ModelLook("D3PM, uniform", COLOURS[1], "^", "D3PM uniform"),
    "csm-absorb": ModelLook("concrete score matching", COLOURS[4], "X", "concrete score matching"),
}
"""In the order of the figures."""


def log_steps(*panels: Axes) -> None:
    """Logarithmic axes of an error against steps, with a tick at each number of steps, and the legend."""
    from matplotlib.ticker import NullLocator

    for axes in panels:
        axes.set(xscale="log", yscale="log", xlabel="steps")
        ticks = sorted({int(x) for line in axes.lines for x in np.asarray(line.get_xdata())})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False)
