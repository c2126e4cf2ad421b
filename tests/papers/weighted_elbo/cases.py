"""What the tests of weighted ELBOs share."""

from __future__ import annotations

import torch
from torch import Tensor

from common.diffusion.oracle import GaussianMixture


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


LAW = GaussianMixture(f64(-1.2, 0.3, 1.3)[:, None], f64(0.25, 0.15, 0.3), f64(0.4, 0.25, 0.35))


def wrong(x: Tensor, sigma: Tensor) -> Tensor:
    """A denoiser that is no law's; its error of the noise is bounded."""
    spread = sigma.reshape(-1, 1)
    return LAW(x, sigma) + 0.4 * spread / (1 + spread) * torch.sin(2 * x)
