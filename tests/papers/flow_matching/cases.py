"""What the tests of flow matching share: paths, laws of data, and exact references that know nothing of the package."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from common.diffusion.oracle import GaussianMixture
from papers.flow_matching.path import OT, VE, VP, ConditionalPath

PATHS: dict[str, ConditionalPath] = {
    "OT": OT(sigma_min=0.1),
    "VP": VP(),
    "VE": VE(sigma_min=0.1, sigma_max=5.0),
}

MIXTURE = GaussianMixture(
    torch.tensor([[1.5, 0.0], [-0.5, 1.0]]),
    torch.tensor([[[0.4, 0.1], [0.1, 0.2]], [[0.2, -0.1], [-0.1, 0.3]]]),
    torch.tensor([1.0, 3.0]),
)
LINE = GaussianMixture(
    torch.tensor([[-1.0], [0.2], [2.0]]), torch.tensor([0.3, 0.5, 0.2]), torch.tensor([2.0, 3.0, 1.0])
)
"""In one dimension, where a flow is known from its distribution functions alone."""


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def at(time: float) -> Tensor:
    return torch.tensor(time, dtype=torch.float64)


def times_of(path: ConditionalPath, n: int = 5) -> list[float]:
    """From 0 to the last time of a path, both included."""
    return torch.linspace(0, path.last, n, dtype=torch.float64).tolist()


def line_cdf(x: Tensor, path: ConditionalPath, time: float) -> Tensor:
    """P(x_t <= x) where x_1 is drawn from `LINE`: that of Σ_k w_k N(m μ_k, m² s_k² + σ²); x: (B, 1)."""
    m, sigma = path.mean_scale(at(time)), path.sigma(at(time))
    scale = (m**2 * LINE.variances[:, 0] + sigma**2).sqrt()
    return (LINE.weights * torch.distributions.Normal(m * LINE.means[:, 0], scale).cdf(x)).sum(1)


def gauss_hermite(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights (n,) with Σ_i w_i f(x_i) = E f(x) for x ~ N(0, 1) and f a polynomial of degree < 2 n."""
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
