"""What the claims of EDM measure beyond the harness's usual measures: each gives one value per seed of a run table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from common.harness.studies.measures import Measure, loglog_slope, pick

if TYPE_CHECKING:
    import pandas as pd

BASELINE_NFE = {"vp": 256, "ve": 8192, "iddpm": 250}
"""Evaluations at which the paper counts each original deterministic sampler as done: the least whose FID is within 3 %
of the best (Section 3, the dots of Figure 2)."""


def order(field: str, solver: str) -> Measure:
    """The order of the global error in the step: minus the slope of log error against log steps."""
    slope = loglog_slope("n_steps", "error", field=field, solver=solver)
    return lambda table: -slope(table)


def evaluations_to_reach(nfe: Sequence[float], error: Sequence[float], target: float) -> float:
    """The NFE at which the curve `error(nfe)` first comes down to `target`, log-log interpolated.

    Raises ValueError where the curve begins below the target or never reaches it: nothing is extrapolated.
    """
    points = sorted((math.log(n), math.log(e)) for n, e in zip(nfe, error, strict=True))
    goal = math.log(target)
    if points[0][1] > goal:
        for (x_left, y_left), (x_right, y_right) in pairwise(points):
            if y_right <= goal:
                return math.exp(x_left + (y_left - goal) / (y_left - y_right) * (x_right - x_left))
    raise ValueError(f"an error of {target:.3g} is not on a curve from {max(error):.3g} to {min(error):.3g}")


def nfe_ratio(baseline: str) -> Measure:
    """Evaluations of the baseline's published sampler over those that Heun on the EDM schedule needs for its error."""
    published = BASELINE_NFE[baseline]

    def measure(table: pd.DataFrame) -> pd.Series:
        import pandas as pd

        ratios = {}
        for seed, run in table.groupby("seed"):
            target = pick(run, {"sampler": baseline, "nfe": published})["error"].item()
            edm = pick(run, {"sampler": "edm"})
            ratios[seed] = published / evaluations_to_reach(list(edm["nfe"]), list(edm["error"]), target)
        return pd.Series(ratios)

    return measure


def worst_deviation(column: str) -> Measure:
    """The largest |column - 1| over noise levels under EDM's preconditioning."""

    def measure(table: pd.DataFrame) -> pd.Series:
        rows = pick(table, {"precond": "edm"})
        return (rows[column] - 1).abs().groupby(rows["seed"]).max()

    return measure


def saved_by_churn(denoiser: str) -> Measure:
    """How much lower moderate churn brings the Frechet distance, in units of its same-distribution floor."""

    def measure(table: pd.DataFrame) -> pd.Series:
        rows = pick(table, {"denoiser": denoiser})
        fd = rows.pivot(index="seed", columns="amount", values="fd")
        return (fd["none"] - fd["moderate"]) / rows.groupby("seed")["floor"].mean()

    return measure
