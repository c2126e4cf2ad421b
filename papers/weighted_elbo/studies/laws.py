"""Laws of 8-bit data that are known exactly: their probabilities, and so their entropy, are sums over whole numbers."""

from __future__ import annotations

from functools import cache
from math import log, pi

import numpy as np
import torch
from torch import Generator, Tensor

COUNT = 256
"""Whole numbers in each dimension: 8 bits."""


def cell_probabilities(centre: Tensor, std: Tensor | float) -> Tensor:
    """P(floor(y) = n) for y ~ N(centre, std²) and n = 0 … 255; centre: (K,). Returns (K, 256), float64.

    What lies below 0 or above 256 is left out.
    """
    edges = torch.arange(COUNT + 1, dtype=torch.float64)
    return torch.special.ndtr((edges - centre[:, None]) / torch.as_tensor(std)[..., None]).diff(dim=1)


def entropy(p: Tensor) -> float:
    """−Σ p log p in nats, of probabilities of any shape."""
    return float(torch.special.entr(p).sum())


MIXTURE_MEANS, MIXTURE_STDS, MIXTURE_SHARES = (60.0, 110.0, 190.0), (9.0, 3.0, 16.0), (0.3, 0.2, 0.5)
"""Of three Gaussians, in whole numbers."""


def mixture() -> Tensor:
    """The probabilities (256,) of a mixture of three Gaussians, rounded down to whole numbers."""
    means, stds, shares = (
        torch.tensor(values, dtype=torch.float64) for values in (MIXTURE_MEANS, MIXTURE_STDS, MIXTURE_SHARES)
    )
    p = shares @ cell_probabilities(means, stds)
    return p / p.sum()


def _spiral(theta: Tensor) -> Tensor:
    """The place on the swirl at an angle, in whole numbers: 4 (r (cos θ, sin θ) + 30), r = 2 θ + π; (..., 2)."""
    return 4 * ((2 * theta + pi)[..., None] * torch.stack([theta.cos(), theta.sin()], -1) + 30)


SWIRL_NOISE = 1.0
"""Standard deviation about the spiral, in whole numbers."""


def swirl(n: int, generator: Generator) -> Tensor:
    """n points of VDM's 2-D example, int64 (n, 2): θ = 3π √u, noise of a quarter on the spiral, times 4, rounded down.

    All lie within 0 … 255. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; a sample has at least 1 point")
    theta = 3 * pi * torch.rand(n, generator=generator, dtype=torch.float64).sqrt()
    noise = SWIRL_NOISE * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return (_spiral(theta) + noise).floor().long()


@cache
def swirl_law(pieces: int = 200, nodes: int = 20) -> Tensor:
    """The probabilities (256, 256) of the points of `swirl`, by Gauss–Legendre quadrature over √u = θ/3π in `pieces`.

    Nodes are at most 0.5 of the noise apart with the default, where the sum of Gaussians has long converged.
    """
    points, shares = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(nodes))
    root = ((points + 1) / 2 + torch.arange(pieces)[:, None]).flatten() / pieces
    place = _spiral(3 * pi * root)
    x, y = cell_probabilities(place[:, 0], SWIRL_NOISE), cell_probabilities(place[:, 1], SWIRL_NOISE)
    weight = shares.repeat(pieces) / 2 / pieces * 2 * root  # du = 2 √u d√u
    return x.T @ (weight[:, None] * y)


def bits_per_dim(nats: float, D: int) -> float:
    """nats / (D log 2)."""
    return nats / (D * log(2))
