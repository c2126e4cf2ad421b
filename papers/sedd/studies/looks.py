"""What graphs, samplers and models are called, and how they are drawn: the one table, for claims and figures.

Colours are seaborn's colour-blind palette, and never the only difference. A colour is a model's or a graph's in every
figure; the two samplers of a graph share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.harness.studies.looks import Look
from common.harness.studies.panels import COLOURS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
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
    ("uniform", "euler"): Look("uniform, Euler", COLOURS[3], "^"),
}
"""By graph and sampler."""
MODELS: Mapping[str, ModelLook] = {
    "ar": ModelLook("autoregressive", COLOURS[7], "o", in_claims="autoregressive"),
    "sedd-absorb": ModelLook("SEDD, absorbing", COLOURS[0], "D", in_claims="SEDD absorbing"),
    "d3pm-absorb": ModelLook("D3PM, absorbing", COLOURS[2], "s", in_claims="D3PM absorbing"),
    "sedd-uniform": ModelLook("SEDD, uniform", COLOURS[3], "v", in_claims="SEDD uniform"),
    "d3pm-uniform": ModelLook("D3PM, uniform", COLOURS[1], "^", in_claims="D3PM uniform"),
    "csm-absorb": ModelLook("concrete score matching", COLOURS[4], "X", in_claims="concrete score matching"),
}
"""In the order of the figures."""


DTYPES: Mapping[str, Look] = {
    "float16": Look("float16", COLOURS[9], "D"),
    "float32": Look("float32", COLOURS[5], "v"),
    "float64": Look("float64", "black", "s"),
}
"""Precisions of draws."""


def plot(axes: Axes, values: pd.Series, sampler: str, look: Look) -> None:
    """`values` against their index; Euler's dashed, with open markers."""
    ls, face = ("--", "white") if sampler == "euler" else ("-", look.colour)
    axes.plot(values.index, values, ls=ls, marker=look.marker, color=look.colour, markerfacecolor=face, label=look.name)


def slope(axes: Axes, values: pd.Series) -> None:
    """The line of slope −1 through the first of `values`, behind them."""
    line = values.iloc[0] * values.index[0] / values.index
    axes.plot(values.index, line, color="0.85", lw=7, zorder=0, label="slope −1")
