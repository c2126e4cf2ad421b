"""The Gaussian ends of the studies in which everything is known."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from papers.dsbm.gaussian import independent_bridge, unit_gaussians

Ends = tuple[Tensor, Tensor, Tensor, Tensor]
"""(m_0, m_1, S_0, S_1)."""

A = 0.1
SIGMA = 1.0
"""The paper's: N(−a 1, I) and N(a 1, I), and a Brownian motion of scale σ."""


def general_gaussians(dim: int = 3) -> Ends:
    """A pair whose covariances do not commute, with eigenvalues between ¼ and 4; the same one always."""
    generator = torch.Generator().manual_seed(6)

    def covariance() -> Tensor:
        turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
        return (turn * torch.logspace(-2, 2, dim, 2, dtype=torch.float64)) @ turn.T

    means = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    return means[0], means[1], covariance(), covariance()


PAIRS: dict[str, Ends] = {"unit": unit_gaussians(1, A), "general": general_gaussians()}
"""The paper's pair (a coordinate of it), and one in full covariances."""
EXACT = "Exact arithmetic, nothing is trained: Gaussians of one dimension, and of three with full covariances."


def samples(ends: Ends, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """n points of either side, (n, D) float32, unpaired."""
    x_0, x_1 = independent_bridge(*ends, SIGMA).sample(n, generator)
    return x_0.float(), x_1.float()
