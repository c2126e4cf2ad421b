"""A figure of a paper: drawn from the finished runs of a preset, with the words that a reader needs beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

    from common.harness.studies.experiment import Experiment


class Results(Protocol):
    """The finished runs of one paper in one preset."""

    def table(self, experiment: Experiment) -> pd.DataFrame:
        """The rows of an experiment, with the config's fields and `seed` as columns."""

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        """The `arrays.npz` of each run of `experiment` whose config fields or `seed` equal `where`, and its config."""


@dataclass(frozen=True)
class Figure:
    """One figure: `draw` gets the results, and is called only where the preset has every one of `experiments`.

    It must draw the same every time: seaborn bootstraps its intervals, so give it `seed=0` (or `errorbar="sd"`).
    """

    name: str
    """File name without its ending, and anchor on the page."""
    alt: str
    """Alternative text: what is drawn."""
    caption: str
    """What to see in it."""
    experiments: tuple[Experiment, ...]
    draw: Callable[[Results], MatplotlibFigure]
