"""How one configuration is said to be better than another: a ratio above 1 on paired seeds, with its interval."""

from __future__ import annotations

from math import nextafter
from typing import TYPE_CHECKING, Any

from common.harness.studies.claims import Criterion, Quantity
from common.harness.studies.experiment import Experiment
from common.harness.studies.measures import Measure
from common.harness.studies.statistics import student_t

if TYPE_CHECKING:
    import pandas as pd


def better(name: str, experiment: Experiment, measure: Measure, metric: str, **others: Any) -> Quantity:
    """A ratio of `metric` that the claim says is above 1. `others` are further fields of `Quantity`."""
    # Not 1 itself: a configuration is no better than itself.
    sign = Criterion(nextafter(1.0, 2.0), reason="the claim is the sign, on paired seeds")
    return Quantity(name, experiment, measure, sign, metric=metric, unit="×", scale="log", **others)


def student_interval(values: pd.Series) -> tuple[float, float]:
    """For seaborn's `errorbar`: the same interval as in the claims table."""
    estimate = student_t([float(value) for value in values])
    return (estimate.low, estimate.high)
