"""What a solver makes of Gaussian data, exactly: no samples are drawn.

The denoiser of N(μ, s²) is affine in x, and so is every solver here in its start and its normals:

    x_end = factor x_start + offset + Σ_k c_k z_k,      z_k independent.

The coefficients are read from the solver itself: it is run on a batch whose rows are x_start = 1, the offset, and each
normal in turn, with all else zero. So its mean and variance, and its weak error on this law, are exact numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from common.diffusion.path import GaussianPath
from common.diffusion.solvers import Denoiser
from papers.seeds.brownian import Noise

Solve = Callable[[Denoiser, Tensor, Noise], Tensor]
"""A solver with its table bound: solve(denoiser, x, noise) -> x at the end."""


@dataclass(frozen=True)
class Affine:
    """x_end = factor x_start + offset + noise of a variance."""

    factor: float
    offset: float
    variance: float

    def variance_from(self, start: float) -> float:
        """Of x_end, where x_start has the variance `start`."""
        return self.factor**2 * start + self.variance


def solver_moments(solve: Solve, std: float, mean: float = 0.0) -> Affine:
    """What `solve` makes of data N(mean, std²), by its own steps."""
    draws = 0

    def count(x: Tensor, start: float, end: float, rate: float) -> Tensor:
        nonlocal draws
        draws += 1
        return torch.zeros_like(x)

    solve(lambda x, sigma: x, torch.zeros(1, 1, dtype=torch.float64), count)

    rows = torch.zeros(2 + draws, 1, dtype=torch.float64)
    start, constant = rows.clone(), rows.clone()
    start[0], constant[1] = 1.0, mean
    drawn = 0

    def one_each(x: Tensor, start: float, end: float, rate: float) -> Tensor:
        nonlocal drawn
        z = torch.zeros_like(x)
        z[2 + drawn] = 1.0
        drawn += 1
        return z

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        shrink = std**2 / (std**2 + sigma**2)
        return shrink * x + (1 - shrink) * constant

    ends = solve(denoiser, start, one_each)[:, 0]
    return Affine(float(ends[0]), float(ends[1]), float(ends[2:].square().sum()))


def exact_moments(path: GaussianPath, t_start: float, t_end: float, std: float, mean: float = 0.0) -> Affine:
    """What the reverse SDE itself makes of data N(mean, std²): the law of x at t_end given x at t_start > t_end.

    With v = std² + (σ/α)² at each end, E[x_t/α_t | x_s] = mean + (v_t/v_s)(x_s/α_s − mean), and its variance is
    v_t (v_s − v_t)/v_s.
    """
    s, t = (torch.tensor(time, dtype=torch.float64) for time in (t_start, t_end))
    v_s, v_t = (float(std**2 + (path.sigma(time) / path.alpha(time)) ** 2) for time in (s, t))
    alpha_s, alpha_t = float(path.alpha(s)), float(path.alpha(t))
    return Affine(
        factor=alpha_t / alpha_s * v_t / v_s,
        offset=alpha_t * mean * (v_s - v_t) / v_s,
        variance=alpha_t**2 * v_t * (v_s - v_t) / v_s,
    )
