"""Data on a line, of which several studies know all that there is to know, and denoisers for them.

LAW      three Gaussians
exact    the denoiser of this law
wrong    that of no law at all: it is off by a wave as high as the noise, so that its error of the noise is bounded
linear   the best linear denoiser: that of the Gaussian with the mean and the variance of the law
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from common.diffusion.oracle import GaussianMixture
from common.diffusion.solvers import Denoiser

MEANS, STDS, SHARES = (
    torch.tensor(each, dtype=torch.float64) for each in ((-1.2, 0.3, 1.3), (0.25, 0.15, 0.3), (0.4, 0.25, 0.35))
)
LAW = GaussianMixture(MEANS[:, None], STDS, SHARES)
MEAN = SHARES @ MEANS
VARIANCE = SHARES @ (STDS.square() + (MEANS - MEAN).square())
"""Of the law."""

DATA, NOISE = range(2)
"""What the streams of a seed are for."""


def exact(x: Tensor, sigma: Tensor | float) -> Tensor:
    """E[x0 | x] of the law, as `LAW` has it; x: (B, 1), sigma: () or (B,). Some five times as fast on a line."""
    variance = STDS.square()[:, None] + torch.as_tensor(sigma, dtype=torch.float64).square()  # (K, 1) or (K, B)
    offset = x[:, 0] - MEANS[:, None]
    log_joint = SHARES.log()[:, None] - (offset.square() / variance + variance.log()) / 2
    means = MEANS[:, None] + STDS.square()[:, None] / variance * offset
    return (log_joint.softmax(0) * means).sum(0)[:, None]


def wrong(x: Tensor, sigma: Tensor | float) -> Tensor:
    """A denoiser that is off by ½ σ/(1 + σ) sin 2x; x: (B, 1), sigma: () or (B,)."""
    spread = torch.as_tensor(sigma, dtype=torch.float64)[..., None]
    return exact(x, sigma) + 0.5 * spread / (1 + spread) * torch.sin(2 * x)


def linear(x: Tensor, sigma: Tensor | float) -> Tensor:
    """MEAN + VARIANCE/(VARIANCE + σ²) (x − MEAN); x: (B, 1), sigma: () or (B,)."""
    spread = torch.as_tensor(sigma, dtype=torch.float64)[..., None]
    return MEAN + VARIANCE / (VARIANCE + spread.square()) * (x - MEAN)


DENOISERS: Mapping[str, Denoiser] = MappingProxyType({"exact": exact, "wrong": wrong, "linear": linear})
