"""The statistics behind a verdict: Student-t intervals over seeds and Welch's test between two sets of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, isnan, nan, sqrt
from typing import Literal

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds with its 95 % confidence interval [low, high]; NaN bounds where there is no interval."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def has_interval(self) -> bool:
        return not (isnan(self.low) or isnan(self.high))


def student_t(values: Sequence[float], scale: Scale = "linear", deterministic: bool = False) -> Estimate:
    """Mean and Student-t 95 % interval, x̄ ± t(0.975, n-1) s / √n, over one value per seed.

    On the log scale the mean is geometric and the interval multiplicative: exp of the interval of log x, which is the
    right one for ratios (x and 1/x then get reciprocal intervals). Values that agree exactly have an interval of zero
    width.

    One value has no interval, unless it is `deterministic` (no randomness enters, so that one run says it all). A value
    that is not finite, or not positive on the log scale, leaves no interval; the mean then is inf, -inf or NaN.
    """
    from statistics import fmean

    from scipy.stats import t as student

    values = [float(value) for value in values]
    n = len(values)
    if n == 0:
        return Estimate(nan, nan, nan, 0)
    if not all(isfinite(value) for value in values):
        return Estimate(sum(value for value in values if not isfinite(value)), nan, nan, n)
    if scale == "log":
        if min(values) <= 0:
            return Estimate(nan, nan, nan, n)
        from math import log

        logs = student_t([log(value) for value in values], deterministic=deterministic)
        return Estimate(exp(logs.mean), exp(logs.low), exp(logs.high), n)
    if min(values) == max(values):
        known = deterministic or n > 1
        return Estimate(values[0], values[0] if known else nan, values[0] if known else nan, n)
    mean = fmean(values)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    half_width = float(student.ppf(0.975, n - 1)) * sqrt(variance / n)
    return Estimate(mean, mean - half_width, mean + half_width, n)


def welch(a: Sequence[float], b: Sequence[float]) -> float:
    """The p-value of Welch's t-test that two samples have the same mean, variances unequal.

    Where no spread can be seen (a single value on a side, or none that varies) a test has nothing to say: equal means
    then give 1 and different ones 0, and the caller's effect floor decides. Values that are not finite are the same
    only as themselves.
    """
    from scipy.stats import ttest_ind

    a, b = [float(value) for value in a], [float(value) for value in b]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    if not (isfinite(mean_a) and isfinite(mean_b)):
        return 1.0 if repr(mean_a) == repr(mean_b) else 0.0
    if len(a) < 2 or len(b) < 2 or (min(a) == max(a) and min(b) == max(b)):
        return 1.0 if mean_a == mean_b else 0.0
    return float(ttest_ind(a, b, equal_var=False).pvalue)


def excess(a: float, b: float, scale: Scale, floor: float) -> float:
    """By how much |a - b| (|log a - log b| on the log scale) exceeds `floor`; infinite where one side is not finite."""
    from math import log

    if repr(a) == repr(b):
        return -floor
    if not (isfinite(a) and isfinite(b)) or (scale == "log" and min(a, b) <= 0):
        return inf
    return abs(log(a) - log(b) if scale == "log" else a - b) - floor
