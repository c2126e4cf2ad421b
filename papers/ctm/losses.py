"""What is added to the consistency loss: denoising score matching, and how strongly (Section 4.1, Appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.diffusion.denoising_loss import LogNormalNoise
from common.training.members import Generators, each, normal
from papers.ctm.times import TimeGrid
from papers.ctm.trajectory import Trajectory, leading

EDM_NOISE = LogNormalNoise()
DSM_CLIP = (0.0, 1e4)
GAN_CLIP = (0.01, 10.0)
"""The ranges of the adaptive weights, of the official code."""
SMALLEST_NORM = 1e-4


@dataclass(frozen=True)
class HalfLogNormal:
    """Half of the noise levels lognormal as EDM's, half uniform over the first `share` of the ρ-grid, from σ_max down:
    the long jumps start there, where EDM's law hardly ever is."""

    grid: TimeGrid
    lognormal: LogNormalNoise = EDM_NOISE
    share: float = 0.7

    def sample(self, shape: Sequence[int], generator: Generators) -> Tensor:
        """Noise levels of `shape`, (B,) or, with S generators, (S, B); float64. The first ⌊B/2⌋ are lognormal."""
        B = shape[-1]

        def draw(own: torch.Generator) -> Tensor:
            share = torch.rand(B - B // 2, generator=own, dtype=torch.float64, device=own.device) * self.share
            return torch.cat([self.lognormal.sample(B // 2, own), self.grid.at(share)])

        return each(draw, generator)


def dsm_loss(student: Trajectory, x0: Tensor, generator: Generators, noise: HalfLogNormal, **cond: Tensor) -> Tensor:
    """λ(σ) mean_D (g(x0 + σ ε, σ, σ) − x0)² with EDM's λ = 1/c_out² (Equation 8); per sample, (B,) or (S, B)."""
    batch = student.batch_dims
    sigma = noise.sample(x0.shape[:batch], generator).to(x0)
    level = leading(sigma, x0, batch)
    denoised = student.denoised(x0 + level * normal(x0.shape, generator, x0.dtype, x0.device), sigma, **cond)
    # λ grows as 1/σ²; it is 1/c_out² of the student's own preconditioning, so that λ c_out² = 1.
    weight = 1 / student.precond.c_out(level) ** 2
    return (weight * (denoised - x0).square()).flatten(batch).mean(-1)


def adaptive_weight(gradient: Tensor, other: Tensor, clip: tuple[float, float], members: bool) -> Tensor:
    """λ = ‖∇ L_CTM‖ / (‖∇ L‖ + 1e-4), clipped: with it L pulls on the last layer as strongly as L_CTM does.

    gradient, other     of L_CTM and of L, by the weights of the last layer; (S, …) of S members

    Returns (), or (S,) of members.
    """
    own, its = ((g.flatten(1) if members else g.flatten()).norm(dim=-1) for g in (gradient, other))
    return (own / (its + SMALLEST_NORM)).clamp(*clip).detach()
