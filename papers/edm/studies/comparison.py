"""How one configuration is said to be better than another: a ratio above 1 on paired seeds, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.harness.studies.claims import Criterion, Quantity
from common.harness.studies.experiment import Experiment
from common.harness.studies.measures import Measure
from common.harness.studies.statistics import student_t

if TYPE_CHECKING:
    import pandas as pd


def better(name: str, experiment: Experiment, measure: Measure, published: float | None = None) -> Quantity:
    """A ratio that the claim says is above 1."""
    sign = Criterion(1.0, reason="the claim is the sign, on paired seeds")
    return Quantity(name, experiment, measure, sign, published, unit="×", floor=0.1, scale="log")


def student_interval(values: pd.Series) -> tuple[float, float]:
    """For seaborn's `errorbar`: the same interval as in the claims table."""
    estimate = student_t([float(value) for value in values])
    return (estimate.low, estimate.high)
