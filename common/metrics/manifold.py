"""Precision and recall, density and coverage: is what is generated real, and is what is real generated?

Kynkäänniemi et al. 2019 (arXiv:1904.06991) and Naeem et al. 2020 (arXiv:2002.09797). With B_k(a; A) the closed ball
about a ∈ A that reaches its k-th nearest neighbour among the other points of A, x generated (N) and y real (M):

    precision = 1/N  #{i : x_i in some B_k(y_j; y)}          recall   = 1/M #{j : y_j in some B_k(x_i; x)}
    density   = 1/kN #{(i, j) : x_i in B_k(y_j; y)}          coverage = 1/M #{j : some x_i in B_k(y_j; y)}
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from common.metrics.distances import as_points


@dataclass(frozen=True)
class Manifold:
    """The four numbers; density may exceed 1, the others lie in [0, 1]."""

    precision: float
    recall: float
    density: float
    coverage: float


def _radii(points: Tensor, k: int) -> Tensor:
    """Distance (N,) of each point to its k-th nearest other point; the nearest of all is the point itself."""
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").kthvalue(k + 1, dim=1).values


def manifold(x: Tensor, y: Tensor, k: int = 5) -> Manifold:
    """Precision, recall, density and coverage of generated x (N, ...) against real y (M, ...); needs N·M float64s.

    Args:
        k: the neighbour that sets the radius: 5 in Naeem et al., 3 in Kynkäänniemi et al.

    Raises:
        ValueError: k is not in 1 .. min(N, M) - 1, or the samples do not match.
    """
    x, y = as_points(x, y)
    if not 1 <= k < min(len(x), len(y)):
        raise ValueError(f"k is {k}; allowed with {len(x)} and {len(y)} points: 1 to {min(len(x), len(y)) - 1}")
    # Exact differences: by the matrix-product formula a distance of 0 may come out as 1e-8, outside a ball of radius 0.
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    in_real = distance <= _radii(y, k)
    in_generated = distance <= _radii(x, k)[:, None]
    return Manifold(
        precision=float(in_real.any(1).double().mean()),
        recall=float(in_generated.any(0).double().mean()),
        density=float(in_real.double().sum() / (k * len(x))),
        coverage=float(in_real.any(0).double().mean()),
    )


def expected_coverage(n: int, m: int, k: int = 5) -> float:
    """Coverage expected of n generated and m real points of one continuous distribution; expected density is 1.

        1 - prod_{i=1..k} (m - i) / (n + m - i)

    (Naeem et al. 2020, there for n = m): a real point is not covered when its k nearest of the n + m - 1 others are
    all real.
    """
    return 1 - prod((m - i) / (n + m - i) for i in range(1, k + 1))
