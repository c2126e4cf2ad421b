"""The exact answer for samples: the entropic optimal plan between two discrete measures, and how far pairs are from it.

The static Schrödinger bridge of σ times Brownian motion between Σ a_i δ(x_0^i) and Σ b_j δ(x_1^j) is the plan

    P = argmin_P Σ P_ij ‖x_0^i − x_1^j‖² + 2σ² KL(P | a bᵀ),   P 1 = a,  Pᵀ 1 = b

(Peyré & Cuturi 2019, Computational Optimal Transport, arXiv:1803.00567, Section 4).
"""

from __future__ import annotations

import warnings
from math import sqrt

import torch
from torch import Generator, Tensor

from common.metrics.distances import as_points, w2

MARGINAL_ERROR = 1e-6
"""The largest error of a plan's marginals, in total variation; POT iterates until then."""
ITERATIONS = 100_000
"""At most, for a plan."""


def entropic_plan(
    x_0: Tensor, x_1: Tensor, sigma: float, weights_0: Tensor | None = None, weights_1: Tensor | None = None
) -> Tensor:
    """P: (N, M), float64, by POT's Sinkhorn iterations in the log domain. Weights are uniform unless given.

    x_0: (N, D), x_1: (M, D). Raises ValueError for sigma <= 0, and ArithmeticError where `ITERATIONS` do not bring the
    marginals within `MARGINAL_ERROR`: sigma is too small for such points.
    """
    import ot

    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}; an entropic plan needs a positive one")
    x_0, x_1 = as_points(x_0, x_1)
    a = torch.full((len(x_0),), 1 / len(x_0), dtype=torch.float64) if weights_0 is None else weights_0.double()
    b = torch.full((len(x_1),), 1 / len(x_1), dtype=torch.float64) if weights_1 is None else weights_1.double()
    cost = torch.cdist(x_0, x_1).square()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the check below says it as an error
        # POT stops by the Euclidean norm of the error, of which the sum of n absolute errors is at most √n times.
        tolerance = MARGINAL_ERROR / (2 * sqrt(max(cost.shape)))
        plan = ot.bregman.sinkhorn_log(a, b, cost, 2 * sigma**2, numItermax=ITERATIONS, stopThr=tolerance)
    error = float((plan.sum(1) - a).abs().sum() + (plan.sum(0) - b).abs().sum())
    if not error <= MARGINAL_ERROR:
        raise ArithmeticError(f"Sinkhorn left the marginals wrong by {error:.2g}; sigma = {sigma} is too small here")
    return plan


def draw_partners(plan: Tensor, x_1: Tensor, generator: Generator) -> Tensor:
    """For each x_0 its x_1, drawn from its row of the plan, (N, D)."""
    return x_1[torch.multinomial(plan, 1, generator=generator)[:, 0]]


def barycentric_map(plan: Tensor, x_1: Tensor) -> Tensor:
    """E[x_1 | x_0^i] under the plan, (N, D)."""
    return plan @ x_1.double() / plan.sum(1, keepdim=True)


def joint_w2(pairs: Tensor, others: Tensor) -> float:
    """W2 between two samples of pairs, each (n, 2D) = (x_0, x_1), with ‖Δx_0‖² + ‖Δx_1‖² for cost.

    It is zero only where the couplings agree, not just their marginals. Compare with two samples of one plan.
    """
    return w2(pairs, others)
