"""What the claims of SEDD measure beyond the harness's usual measures: each gives one value per seed of a run table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from common.harness.studies.measures import Measure, mean_over, pick

if TYPE_CHECKING:
    import pandas as pd


def _per_seed(value: Callable[[pd.DataFrame], float], /, **where: object) -> Measure:
    def measure(table: pd.DataFrame) -> pd.Series:
        import pandas as pd

        return pd.Series({seed: value(rows) for seed, rows in pick(table, where).groupby("seed")}, dtype=float)

    return measure


def least(column: str, /, **where: object) -> Measure:
    """Per seed, the least of `column`; NaN where one of it is."""
    return _per_seed(lambda rows: float(rows[column].min(skipna=False)), **where)


def largest_departure(column: str, value: float, /, **where: object) -> Measure:
    """Per seed, the largest |column − value|; NaN where one of it is."""
    return _per_seed(lambda rows: float((rows[column] - value).abs().max(skipna=False)), **where)


def least_error(table: pd.DataFrame) -> pd.Series:
    """The least relative gap between bound and entropy among scores that are wrong."""
    wrong = table[table["error"] > 0]
    return wrong.groupby("seed")["relative_gap"].min()


def determination(x: str, y: str, /, base: str | None = None, **where: object) -> Measure:
    """R² of the straight line through (log x, log(y − base)), or through (log x, y) without a base.

    NaN where y does not lie above its base, or rises with x: a line that rises is none that falls.
    """

    def r_squared(rows: pd.DataFrame) -> float:
        import numpy as np

        log_x, values = np.log(rows[x].to_numpy(float)), rows[y].to_numpy(float)
        if base is not None:
            above = values - rows[base].to_numpy(float)
            if not (above > 0).all():
                return math.nan
            values = np.log(above)
        correlation = float(np.corrcoef(log_x, values)[0, 1])
        return correlation**2 if correlation < 0 else math.nan

    return _per_seed(r_squared, **where)


def sampler_ratio(column: str, /, **where: object) -> Measure:
    """Per seed, the least over numbers of steps of Euler's `column` over Tweedie's."""
    return _per_seed(lambda rows: float(_by_steps(rows, column, "n_steps").min()), **where)


def sampler_difference(column: str, /, **where: object) -> Measure:
    """Per seed, the largest over numbers of steps of |Euler's `column` over Tweedie's − 1|."""
    return _per_seed(lambda rows: float((_by_steps(rows, column, "n_steps") - 1).abs().max()), **where)


def mean_sampler_ratio(column: str, /, **where: object) -> Measure:
    """Per seed, the mean over numbers of evaluations of Euler's `column` over Tweedie's."""
    return _per_seed(lambda rows: float(_by_steps(rows, column, "nfe").mean()), **where)


def _by_steps(rows: pd.DataFrame, column: str, steps: str) -> pd.Series:
    both = rows.pivot(index=steps, columns="sampler", values=column)
    return both["euler"] / both["tweedie"]


def evaluations_to_match(nfe: Sequence[float], nll: Sequence[float], target: float) -> float:
    """The NFE at which the curve nll(nfe) first comes down to `target`, linear in log NFE between points.

    The first NFE of a curve that begins at or below the target: it would take no more. Raises ValueError where the
    curve never reaches it: nothing is extrapolated.
    """
    points = sorted((math.log(n), value) for n, value in zip(nfe, nll, strict=True))
    if points[0][1] <= target:
        return math.exp(points[0][0])
    for (x_left, y_left), (x_right, y_right) in pairwise(points):
        if y_right <= target:
            return math.exp(x_left + (y_left - target) / (y_left - y_right) * (x_right - x_left))
    raise ValueError(f"{target:.4g} is not on a curve from {max(nll):.4g} to {min(nll):.4g} nats per token")


def fewer_evaluations(model: str) -> Measure:
    """Evaluations of the un-annealed autoregressive model over those at which `model` writes as likely text."""

    def ratio(rows: pd.DataFrame) -> float:
        ar = pick(rows, {"model": "ar", "top_p": 1.0})
        curve = pick(rows, {"model": model, "sampler": "tweedie"})
        target, nfe = float(ar["nll"].item()), float(ar["nfe"].item())
        return nfe / evaluations_to_match(list(curve["nfe"]), list(curve["nll"]), target)

    return _per_seed(ratio)


def infilling_order(graph: str) -> Measure:
    """Minus the slope of log total variation, a mean over patterns, against log steps."""

    def order(rows: pd.DataFrame) -> float:
        import numpy as np

        mean = rows.groupby("n_steps")["tv"].mean()
        return -float(np.polyfit(np.log(mean.index.to_numpy(float)), np.log(mean.to_numpy(float)), 1)[0])

    return _per_seed(order, graph=graph)


def infilling_distance(graph: str, n_steps: int) -> Measure:
    """Total variation to the true conditional law, a mean over patterns."""
    return mean_over("tv", graph=graph, n_steps=n_steps)


def over_floor(table: pd.DataFrame) -> pd.Series:
    """Total variation over what same-size true draws have."""
    return table.set_index("seed")["tv"] / table.set_index("seed")["floor"]


def over_derived(ratio: float, dtype: str) -> Measure:
    """How often rare tokens of probability `ratio`·h are drawn, over the derived rate."""
    return _per_seed(lambda rows: float((rows["rate"] / rows["derived"]).item()), ratio=ratio, dtype=dtype)


def entropy_lost(dtype: str, n_steps: int) -> Measure:
    """Entropy that samples lack, over the derived lack."""

    def lost(rows: pd.DataFrame) -> float:
        row = rows.iloc[0]
        return float((row["entropy"] - row["drawn_entropy"]) / (row["entropy"] - row["derived_entropy"]))

    return _per_seed(lost, dtype=dtype, n_steps=n_steps)


def entropy_kept(dtype: str, n_steps: int) -> Measure:
    """Entropy of samples over the law's."""
    return _per_seed(lambda rows: float((rows["drawn_entropy"] / rows["entropy"]).item()), dtype=dtype, n_steps=n_steps)
