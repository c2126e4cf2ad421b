"""Curves of quality against evaluations, made up from the evaluations at which each comes to its best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from common.harness.studies.experiment import Experiment
from tests.papers.planted import Row, table, wobble

FLOOR = 0.3


def keys(config: Any) -> list[Row]:
    """The rows of one run of an experiment of `curves` or `network_curves`."""
    return [{"sampler": name, "nfe": nfe} for name, nfes in config.budgets.items() for nfe in sorted(nfes)]


def falling(best: float, at: float, nfe: int) -> float:
    """A distance that falls with the evaluations to 1.1 `best` with `at` of them, and to `best` soon after."""
    return best * max(1.0, 1.1 * at / nfe)


def curves(
    experiment: Experiment,
    preset: str,
    best: Mapping[str, float],
    at: Mapping[str, float],
    change: Callable[[Row], float] = lambda row: 1.0,
) -> pd.DataFrame:
    """A table of curves; a solver that is not named ends at 1, and gets there with 10."""

    def plant(row: Row) -> dict[str, float]:
        name = row["sampler"]
        distance = falling(best.get(name, 1.0), at.get(name, 10.0), row["nfe"])
        return {"distance": distance * wobble(row) * change(row), "floor": FLOOR}

    return table(experiment, preset, keys, plant)
