"""Data on a line, of which several studies know all that there is to know, and denoisers for them.

LAW      three Gaussians
exact    the denoiser of this law
wrong    that of no law at all: it is off by a wave as high as the noise, so that its error of the noise is bounded
linear   the best linear denoiser: that of the Gaussian with the mean and the variance of the law
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Generator, Tensor

from common.diffusion.objective import Objective, UniformLogSnr
from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import Cosine
from common.diffusion.solvers import Denoiser
from papers.weighted_elbo.identity import forward_paths, losses, network, noisy_elbos
from papers.weighted_elbo.vdm import alpha_sigma

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

AT_ONCE = 1000
"""Paths that are drawn together."""


def drawn_elbos(
    models: Sequence[str], x: Tensor, pairs: int, log_snr: Tensor, generator: Generator
) -> dict[str, Tensor]:
    """The mean −ELBO of drawn z_t at each λ of the chain (T + 1,), by denoiser; all see the same paths, `pairs` from x.

    A path mirrored at its mean, 2 α x − z, is a draw of the same law, and what scatters with the sign of the noise
    falls out of the mean of the two.
    """
    alpha = alpha_sigma(log_snr)[0][:, None]
    total = {name: torch.zeros_like(log_snr) for name in models}
    for part in x.repeat_interleave(pairs).split(AT_ONCE):
        z = forward_paths(part, log_snr, generator)
        for path in (z, 2 * alpha * part - z):
            for name in models:
                total[name] += noisy_elbos(DENOISERS[name], path, log_snr).sum(1)
    return {name: each / (2 * pairs * len(x)) for name, each in total.items()}


def mean_error(model: str, x: Tensor, log_snr: Tensor) -> Tensor:
    """E‖ε̂ − ε‖² over the noise, averaged over x (N,), at each λ (K,)."""
    ends = float(log_snr.min()), float(log_snr.max())
    objective = Objective("eps", Cosine(), "eps", UniformLogSnr(*ends))
    return losses(objective, network(objective, DENOISERS[model]), x, log_snr, 32).mean(1)
