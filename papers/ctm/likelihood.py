"""Bits per dimension through the student's score, and what the official script computes instead (Section 5.3).

`common.diffusion.likelihood.log_likelihood(student.denoised, …)` is log p(x; σ) along the probability-flow ODE. The
ODE stops at a small σ > 0, so clean data x0 is given its noise, and the last step back is a Gaussian decoder:

    −log p(x0) <= E_ε [ −log p(x0 + σ ε; σ) ] + R(σ),    R(r) = E_ε ‖x0 − D(x0 + r ε; r)‖² / (2 r²) − D/2.

The residual R belongs at the noise level σ where the ODE stops. The official script (`eval_bpd.py`) stops at
σ = .00205, the 1/1000 of the way of a ρ-grid, and evaluates R at σ^{1/7} = .413, the seventh root being left where its
seventh power is meant. R falls with its level, to −D/2, so data seems cheaper than it is.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from common.diffusion.likelihood import Trace, exact_trace, log_likelihood
from common.diffusion.solvers import Denoiser

RHO = 7.0


def official_root(share: float = 1e-3, sigma_min: float = 0.002, sigma_max: float = 80.0) -> float:
    """σ^{1/ρ} of the level at which the official ODE stops: .413, at which it also evaluates the residual."""
    low, high = sigma_min ** (1 / RHO), sigma_max ** (1 / RHO)
    return low + share * (high - low)


def official_sigma() -> float:
    """The level at which the official ODE stops: .00205."""
    return official_root() ** RHO


@torch.no_grad()
def residual(denoiser: Denoiser, x0: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """‖x0 − D(x0 + σ ε; σ)‖² / (2 σ²) − D/2 for one ε each: an unbiased estimate of R(σ), (B,), nats."""
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    sigmas = torch.full((len(x0),), sigma, dtype=torch.float64, device=x0.device)
    error = (x0 - denoiser(x0 + sigma * eps, sigmas).to(x0)).flatten(1)
    return error.square().sum(1) / (2 * sigma**2) - error.shape[1] / 2


def variational_bits(
    denoiser: Denoiser,
    x0: Tensor,
    generator: torch.Generator,
    sigma: float | None = None,
    residual_sigma: float | None = None,
    sigma_max: float = 80.0,
    trace: Trace = exact_trace,
    tolerance: float = 1e-5,
) -> Tensor:
    """Bits per dimension of the density at x0: (B, *D), (B,), by the bound above with one ε for each sample.

    sigma               where the ODE stops; the official level when left out
    residual_sigma      where R is evaluated; `sigma`, as it must be, when left out. `official_root()` is the script's.
    trace               `exact_trace`, or `hutchinson_trace(probe)` for images

    Bits of whole numbers are 1 more for each halving of the bin's width (`common.diffusion.likelihood.bpd`).
    Raises as `log_likelihood` does.
    """
    sigma = official_sigma() if sigma is None else sigma
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    log_prob = log_likelihood(denoiser, x0 + sigma * eps, sigma, sigma_max, trace, tolerance=tolerance)
    rest = residual(denoiser, x0, sigma if residual_sigma is None else residual_sigma, generator)
    return (rest - log_prob) / (x0[0].numel() * log(2))
