"""SEEDS-1, 2 and 3 (Section 3): exponential solvers of the diffusion SDE, of one, two and three evaluations a step.

The linear part and the variance of the noise are exact; F is taken as constant, or as a line through two readings. In
the symbols of `exponential.py`, with u and w at r h, or c_2 h and c_3 h, of a step of length h in λ:

    SEEDS-1   x_t = P x_s + g_t w_0(h) F_s + noise
    SEEDS-2   u   = P x_s + g_u w_0(rh) F_s + noise
              x_t = P x_s + g_t [w_0(h) F_s + (K/r) (F_u − F_s)] + noise,   K = w_0(h)/2 (type 2a) or w_1(h) (type 2b)
    SEEDS-3   u   as above, with c_2 for r
              w   = P x_s + g_w [w_0(c_3 h) F_s + (c_3/c_2) w_1(c_3 h) (F_u − F_s)] + noise
              x_t = P x_s + g_t [w_0(h) F_s + (1/c_3) w_1(h) (F_w − F_s)] + noise

The noise of u, w and x_t is that of one Brownian path at three times. Each function takes a form,
`DataPrediction(path)`, `NoisePrediction(path)` or `EDMPrediction(sigma_data)`, and gives a `Tableau` for `run`. With a
form of the ODE the same functions give DPM-Solver-1, 2 and 3 (and in data prediction DPM-Solver++).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from papers.seeds.exponential import Form
from papers.seeds.runge_kutta import Tableau, exponential_tableau

SlopeWeight = Callable[[Form, Tensor], Tensor]
"""K of SEEDS-2: how the slope of F is weighed over a step h."""


def type_2a(form: Form, h: Tensor) -> Tensor:
    """w_0(h)/2: a half of the weight of a constant, as in DPM-Solver-2."""
    return form.constant_weight(h) / 2


def type_2b(form: Form, h: Tensor) -> Tensor:
    """w_1(h): the integral of a line, exactly."""
    return form.linear_weight(h)


def seeds_1(form: Form, times: Tensor | Sequence[float]) -> Tableau:
    """SEEDS-1: one evaluation a step. In data prediction it is DDPM's ancestral step, and SDE-DPM-Solver++ 1.

    Args:
        times: (N + 1,), decreasing. Where they end in 0 the last step is a denoising.

    Raises: ValueError for a grid that is none.
    """
    return exponential_tableau(form, times, (0.0, 1.0), lambda h: [[form.constant_weight(h)]])


def seeds_2(
    form: Form, times: Tensor | Sequence[float], r: float = 0.5, slope_weight: SlopeWeight = type_2a
) -> Tableau:
    """SEEDS-2: two evaluations a step, the second at the fraction r of it. Arguments and errors as for `seeds_1`."""

    def weights(h: Tensor) -> list[list[Tensor]]:
        slope = slope_weight(form, h) / r
        return [[form.constant_weight(r * h)], [form.constant_weight(h) - slope, slope]]

    return exponential_tableau(form, times, (0.0, r, 1.0), weights)


def seeds_3(form: Form, times: Tensor | Sequence[float], c_2: float = 1 / 3, c_3: float = 2 / 3) -> Tableau:
    """SEEDS-3: three evaluations a step, at the fractions c_2 < c_3 of it. Arguments and errors as for `seeds_1`."""

    def weights(h: Tensor) -> list[list[Tensor]]:
        of_u = c_3 / c_2 * form.linear_weight(c_3 * h)
        of_w = form.linear_weight(h) / c_3
        return [
            [form.constant_weight(c_2 * h)],
            [form.constant_weight(c_3 * h) - of_u, of_u],
            [form.constant_weight(h) - of_w, 0 * h, of_w],
        ]

    return exponential_tableau(form, times, (0.0, c_2, c_3, 1.0), weights)
