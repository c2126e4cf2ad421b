"""The statistics behind a verdict: Student-t intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, isnan, log, nan
from statistics import fmean
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
    values = [float(value) for value in values]
    n = len(values)
    if n == 0:
        return Estimate(nan, nan, nan, 0)
    if not all(isfinite(value) for value in values):
        return Estimate(sum(value for value in values if not isfinite(value)), nan, nan, n)
    if scale == "log":
        if min(values) <= 0:
            return Estimate(nan, nan, nan, n)
        logs = student_t([log(value) for value in values], deterministic=deterministic)
        return Estimate(exp(logs.mean), exp(logs.low), exp(logs.high), n)
    if min(values) == max(values):
        known = deterministic or n > 1
        return Estimate(values[0], values[0] if known else nan, values[0] if known else nan, n)
    # Not from scipy.stats, whose import alone takes a second; the numbers are the same to the last bit.
    import numpy as np
    from scipy.special import stdtrit

    mean, standard_error = fmean(values), np.std(values, ddof=1) / np.sqrt(n)
    low, high = (float(stdtrit(n - 1, level) * standard_error + mean) for level in ((1 - 0.95) / 2, (1 + 0.95) / 2))
    return Estimate(mean, low, high, n)
