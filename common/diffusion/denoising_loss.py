"""The training loss E_{σ, x0, ε}[λ(σ) ‖D(x0 + σ ε; σ) − x0‖²]: Equation 2, weighted over noise levels (Section 5).

References are to EDM, Karras et al. 2022, arXiv 2206.00364. Table 1's "Training" rows: a `NoiseDistribution` draws σ,
a weight is a function λ(σ). Losses are per sample, (B,), and averaged over the elements of a sample, where the
official code sums. Adam takes the same steps for both, but for its small constant; only a gradient clipped to a norm
(configuration A) tells them apart, and there Score SDE's VP averages too. Averaged, a network that returns 0 starts
from a loss of 1 at every σ under the paper's own choices (the initial loss of Figure 5a).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from common.diffusion.precond import per_sample
from common.diffusion.schedule import LINEAR_BETA, LinearBeta, iddpm_u
from common.diffusion.solvers import Denoiser

Weight = Callable[[Tensor], Tensor]
"""λ(σ), elementwise."""


class NoiseDistribution(Protocol):
    """p_train(σ)."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n noise levels, (n,) float64, on the generator's device."""


@dataclass(frozen=True)
class VPNoise:
    """σ(t) of linear β at t ~ U(ε_t, 1)."""

    noise: LinearBeta = LINEAR_BETA
    epsilon_t: float = 1e-5

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.noise.sigma(1 + _uniform(n, generator) * (self.epsilon_t - 1))


@dataclass(frozen=True)
class VENoise:
    """ln σ ~ U(ln σ_min, ln σ_max)."""

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** _uniform(n, generator)


@dataclass(frozen=True)
class IDDPMNoise:
    """σ = u_j, j ~ U{0, …, M−1}."""

    M: int = 1000
    C_1: float = 0.001
    C_2: float = 0.008

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        j = torch.randint(self.M, (n,), generator=generator, device=generator.device)
        return iddpm_u(self.M, self.C_1, self.C_2).to(j.device)[j]


@dataclass(frozen=True)
class LogNormalNoise:
    """ln σ ~ N(P_mean, P_std²): most effort where the loss can be reduced most (Section 5, Figure 5a)."""

    P_mean: float = -1.2
    P_std: float = 1.2

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        rnd_normal = torch.randn(n, generator=generator, dtype=torch.float64, device=generator.device)
        return (self.P_mean + self.P_std * rnd_normal).exp()


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)


def inverse_variance_weight(sigma: Tensor) -> Tensor:
    """λ = 1/σ²: VP, VE and iDDPM (Table 1). For a network that predicts noise, λ c_out² = 1."""
    return 1 / sigma**2


@dataclass(frozen=True)
class EDMWeight:
    """λ = (σ² + σ_data²)/(σ σ_data)²: the λ with λ c_out² = 1 under `EDMPrecond` (Table 1, Appendix B.6)."""

    sigma_data: float = 0.5

    def __call__(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


def edm_loss(
    denoiser: Denoiser,
    x0: Tensor,
    generator: torch.Generator,
    noise: NoiseDistribution = LogNormalNoise(),
    weight: Weight = EDMWeight(),
    **cond: Any,
) -> Tensor:
    """Equation 2, weighted: λ(σ) mean_D (D(x0 + σ ε; σ, **cond) − x0)², one σ ~ p_train and ε ~ N(0, I) per sample.

    Args:
        x0: (B, *D) clean data, on the generator's device.
        cond: class and augmentation labels, (B, …), handed to the denoiser.

    Returns (B,), which the caller averages.
    """
    return denoising_loss(denoiser, x0, noise.sample(len(x0), generator), generator, weight, **cond)


def denoising_loss(
    denoiser: Denoiser,
    x0: Tensor,
    sigma: Tensor | float,
    generator: torch.Generator,
    weight: Weight = EDMWeight(),
    **cond: Any,
) -> Tensor:
    """`edm_loss` at given noise levels, scalar or (B,). Returns (B,). Raises ValueError for other shapes."""
    sigma = per_sample(sigma, x0)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    denoised = denoiser(x0 + sigma * eps, sigma.flatten(), **cond)
    return (weight(sigma) * (denoised - x0) ** 2).flatten(1).mean(dim=1)


@torch.no_grad()
def loss_per_noise_level(
    denoiser: Denoiser,
    x0: Tensor,
    sigmas: Tensor,
    generator: torch.Generator,
    weight: Weight = EDMWeight(),
    **cond: Any,
) -> Tensor:
    """Figure 5a: the loss of every sample at every noise level of `sigmas` (K,). Returns (K, B)."""
    return torch.stack([denoising_loss(denoiser, x0, sigma, generator, weight, **cond) for sigma in sigmas])
