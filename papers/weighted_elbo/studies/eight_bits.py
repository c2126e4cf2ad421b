"""The 8-bit mixture on a line as the diffusion sees it: its scale, its exact denoiser, and the mean of a bound."""

from __future__ import annotations

from functools import cache
from math import log

import torch
from torch import Generator, Tensor

from common.training.loop import Batch, Sampler
from papers.weighted_elbo.score_network import LOG_SNR_MAX, LOG_SNR_MIN
from papers.weighted_elbo.studies.laws import COUNT, mixture
from papers.weighted_elbo.vdm import (
    EpsNet,
    LinearLogSnr,
    Numbers,
    alpha_sigma,
    diffusion_loss,
    prior_loss,
    reconstruction_loss,
)

SCHEDULE = LinearLogSnr(LOG_SNR_MAX, LOG_SNR_MIN).requires_grad_(False)


@cache
def numbers() -> Numbers:
    """The scale of the 8-bit mixture: mean 0 and standard deviation 1."""
    p, values = mixture(), torch.arange(COUNT, dtype=torch.float64)
    mean = float(p @ values)
    return Numbers(COUNT, mean, float(p @ (values - mean).square()) ** 0.5)


def exact_net(p: Tensor) -> EpsNet:
    """ε̂ = (z − α E[f|z])/σ, exact for whole numbers of probabilities p; z: (B, 1), log_snr: (B,)."""
    there = p.nonzero()[:, 0]
    f, log_p = numbers().encode(there), p[there].log()

    def call(z: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = (value[:, None] for value in alpha_sigma(log_snr))
        logits = log_p - (z - alpha * f).square() / (2 * sigma.square())
        return (z - alpha * (logits.softmax(1) @ f)[:, None]) / sigma

    return call


def draws(p: Tensor, device: str) -> Sampler:
    """Batches of what the diffusion sees of whole numbers of probabilities p, float32 (n, 1)."""

    def sample(n: int, generator: Generator) -> Batch:
        x = torch.multinomial(p, n, replacement=True, generator=generator)[:, None]
        return numbers().encode(x).float().to(device), {}

    return sample


@torch.no_grad()
def expected_bits(net: EpsNet, p: Tensor, log2_draws: int, seed: int) -> float:
    """The mean of the bound over x ~ p, noise and time, in bits, by a scrambled Sobol sequence."""
    u = torch.quasirandom.SobolEngine(3, scramble=True, seed=seed).draw(2**log2_draws, dtype=torch.float64)
    u = u.clamp(1e-12, 1 - 1e-12)
    x = torch.searchsorted(p.cumsum(0), u[:, 0].contiguous()).clamp(max=COUNT - 1)[:, None]
    eps, t, f = torch.special.ndtri(u[:, 1:2]), u[:, 2], numbers().encode(x)
    schedule = LinearLogSnr(LOG_SNR_MAX, LOG_SNR_MIN)
    prior = prior_loss(f, schedule(torch.ones_like(t))).mean()
    sharp = reconstruction_loss(x[: 2**12], eps[: 2**12], numbers(), schedule(torch.zeros_like(t[: 2**12]))).mean()
    diffusion = torch.cat(
        [
            diffusion_loss(net, *part, schedule)
            for part in zip(f.split(8192), eps.split(8192), t.split(8192), strict=True)
        ]
    )
    return float(prior + sharp + diffusion.mean()) / log(2)
