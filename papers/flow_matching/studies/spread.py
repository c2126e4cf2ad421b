"""How far trainings of two objectives end from each other, over learning rates and seeds.

Each measure is of the negative log-likelihood (NLL) of score matching and of flow matching on the same path, each a
table (seeds, rates), and gives one number a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from common.harness.studies.measures import Measure, pick

if TYPE_CHECKING:
    import pandas as pd

Combine = Callable[["pd.DataFrame", "pd.DataFrame"], "pd.Series"]
"""(NLL of score matching, NLL of flow matching), each (seeds, rates), to a number per seed."""


def over_rates(combine: Combine, law: str) -> Measure:
    """`combine` on the trainings of one law."""
    picks = tuple({"law": law, "objective": name} for name in ("score", "fm-vp"))

    def measure(table: pd.DataFrame) -> pd.Series:
        score, flow = (pick(table, each).pivot(index="seed", columns="lr", values="nll") for each in picks)
        return combine(score, flow)

    return Measure(measure, ("nll", "lr"), picks)


def worse(score: pd.DataFrame, flow: pd.DataFrame) -> pd.Series:
    """The NLL of score matching at its worst rate less that of flow matching at its own."""
    return score.max(axis=1) - flow.max(axis=1)


def farther(score: pd.DataFrame, flow: pd.DataFrame) -> pd.Series:
    """The root mean square over rates of the NLL less the least that either reaches: score over flow."""
    best = np.minimum(score.min(axis=1), flow.min(axis=1))
    of_score, of_flow = ((nll.sub(best, axis=0) ** 2).mean(axis=1) ** 0.5 for nll in (score, flow))
    return of_score / of_flow


def between_rates(score: pd.DataFrame, flow: pd.DataFrame) -> pd.Series:
    """The standard deviation of the NLL over rates: score less flow."""
    return score.std(axis=1) - flow.std(axis=1)


def between_seeds(score: pd.DataFrame, flow: pd.DataFrame) -> pd.Series:
    """How far a seed's NLL is from the mean over seeds at the same rate, mean over rates: score less flow."""
    of_score, of_flow = ((nll - nll.mean()).abs().mean(axis=1) for nll in (score, flow))
    return of_score - of_flow
