"""EDM's stochastic sampler (Karras et al. 2022, Algorithm 2): Heun's method on the probability-flow ODE, with noise
added before each step and removed in it.

As in `solvers.py`, whose `heun` it is without churn: x enters at noise level `sigmas[0]` in coordinates x0 + σ ε, state
and grid are float64, and conditions are bound to the denoiser beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt

import torch
from torch import Tensor

from common.diffusion.solvers import Denoiser, validate_sigmas


@dataclass(frozen=True)
class Churn:
    """The four parameters of Algorithm 2. The default adds no noise.

    Raises ValueError for a negative `S_churn`, `S_tmin` or `S_noise`, or S_tmax < S_tmin.
    """

    S_churn: float = 0.0
    S_tmin: float = 0.0
    S_tmax: float = inf
    S_noise: float = 1.0

    def __post_init__(self) -> None:
        for name in ("S_churn", "S_tmin", "S_noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.S_tmax >= self.S_tmin:
            raise ValueError(f"S_tmax must not be below S_tmin = {self.S_tmin}, got {self.S_tmax}")

    def gamma(self, sigma: Tensor, steps: int) -> float:
        """γ_i = min(S_churn/N, √2 − 1) where S_tmin <= sigma <= S_tmax, else 0: never more new noise than there was."""
        if self.S_churn == 0:  # asked for at every step: comparing tensors takes longer than some denoisers
            return 0.0
        return min(self.S_churn / steps, sqrt(2) - 1) if self.S_tmin <= sigma <= self.S_tmax else 0.0


NO_CHURN = Churn()


@torch.no_grad()
def edm_sampler(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    churn: Churn = NO_CHURN,
    generator: torch.Generator | None = None,
    round_sigma: Callable[[Tensor], Tensor] = lambda sigma: sigma,
    callback: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Algorithm 2: stochastic sampling with σ(t) = t and s(t) = 1. Without churn it is Algorithm 1. 2N − 1 evaluations.

    Each step first raises the noise from t_i to t̂_i = (1 + γ_i) t_i, then takes Heun's step from t̂_i down to t_{i+1}.

    Args:
        x: (B, *D) at noise level `sigmas[0]`.
        sigmas: (N + 1,), decreasing, ending in 0.
        generator: on x's device; drawn from only where γ_i > 0.
        round_sigma: for networks of discrete noise levels, the level that t̂_i is moved to (`Precond.round_sigma`).
        callback: called with each of the N + 1 states (B, *D).

    Returns x0, (B, *D), float64. Raises ValueError for a grid that is none.
    """
    t = validate_sigmas(sigmas).to(x.device)
    x = x.to(torch.float64)
    for t_i, t_next in pairwise(t):
        if callback:
            callback(x)
        t_hat, x_hat = t_i, x
        if (gamma := churn.gamma(t_i, len(t) - 1)) > 0:
            # Rounding may fall below t_i; noise is only ever added.
            t_hat = round_sigma(t_i + gamma * t_i).clamp(min=t_i)
            eps = churn.S_noise * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            x_hat = x + (t_hat**2 - t_i**2).sqrt() * eps
        d = (x_hat - denoiser(x_hat, t_hat).to(x)) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if t_next > 0:
            d_prime = (x - denoiser(x, t_next).to(x)) / t_next
            x = x_hat + (t_next - t_hat) * (d + d_prime) / 2
    if callback:
        callback(x)
    return x
