"""Samplers: Algorithm 2, and the ablation sampler of Algorithms 1 and 3 for any σ(t) and s(t).

As in `common.diffusion.solvers` (whose `heun` is Algorithm 1 at σ(t) = t, s(t) = 1), `x` enters at noise level
`sigmas[0]` in unscaled coordinates x0 + σ ε, state and grid are float64, and conditions are bound to the denoiser
beforehand. The baselines of Figure 2 are `ablation_sampler` with `euler_step` and Table 1's schedules and time steps:

    VP    schedule.VP   vp_sigmas(N)
    VE    schedule.VE   ve_sigmas(N)
    DDIM  schedule.EDM  iddpm_sigmas(N)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt

import torch
from torch import Tensor

from common.diffusion.schedule import EDM, Schedule
from common.diffusion.solvers import Denoiser, validate_sigmas

Field = Callable[[Tensor, Tensor], Tensor]
"""dx/dt at (x, t); x: (B, *D), t: scalar."""
Step = Callable[[Field, Tensor, Tensor, Tensor], Tensor]
"""`step(dx_dt, x, t, t_next) -> x at t_next`."""


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
# Table 5: the published settings for the CIFAR-10 networks of the two formulations and for ADM on ImageNet-64.
CIFAR10_VP_CHURN = Churn(30, 0.01, 1, 1.007)
CIFAR10_VE_CHURN = Churn(80, 0.05, 1, 1.007)
IMAGENET64_CHURN = Churn(80, 0.05, 50, 1.003)


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


def ode_field(denoiser: Denoiser, schedule: Schedule) -> Field:
    """Equation 81: dx/dt = (σ̇/σ + ṡ/s) x − (σ̇ s/σ) D(x/s; σ), the probability-flow ODE of any σ(t) and s(t)."""

    def dx_dt(x: Tensor, t: Tensor) -> Tensor:
        sigma, sigma_deriv, s, s_deriv = schedule.sigma(t), schedule.sigma_deriv(t), schedule.s(t), schedule.s_deriv(t)
        denoised = denoiser(x / s, sigma).to(x)
        return (sigma_deriv / sigma + s_deriv / s) * x - sigma_deriv * s / sigma * denoised

    return dx_dt


def euler_step(dx_dt: Field, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """x + h f(x, t), h = t_next − t: one evaluation, local error O(h²)."""
    return x + (t_next - t) * dx_dt(x, t)


def second_order_step(alpha: float) -> Step:
    """Algorithm 3: the two-stage Runge–Kutta steps of order 2; α = 1 is Heun's, 1/2 the midpoint, 2/3 Ralston's.

    d' = f(x + α h d, t + α h) and x_next = x + h ((1 − 1/2α) d + 1/2α d'). Raises ValueError unless 0 < alpha <= 1.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must lie in (0, 1], not {alpha}")

    def step(dx_dt: Field, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        h = t_next - t
        d = dx_dt(x, t)
        d_prime = dx_dt(x + alpha * h * d, t + alpha * h)
        return x + h * ((1 - 1 / (2 * alpha)) * d + 1 / (2 * alpha) * d_prime)

    return step


heun_step = second_order_step(1.0)


@torch.no_grad()
def ablation_sampler(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    schedule: Schedule = EDM,
    step: Step = heun_step,
    churn: Churn = NO_CHURN,
    generator: torch.Generator | None = None,
    round_sigma: Callable[[Tensor], Tensor] = lambda sigma: sigma,
    callback: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Algorithm 1 for any σ(t) and s(t), with any one-step solver, and with the churn of Algorithm 2.

    The last step is Euler's, because the field is not defined at σ = 0.

    Args: as for `edm_sampler`, and the two that span the design space,
        schedule: σ(t) and s(t). The solver's coordinates are s(t) (x0 + σ(t) ε) at t_i = σ⁻¹(sigmas[i]).
        step: `euler_step`, `heun_step` or `second_order_step(alpha)`.
        callback: called with each of the N + 1 states s(t_i) x (B, *D).

    Returns x0, (B, *D), float64. Raises ValueError for a grid that is none.
    """
    sigmas = validate_sigmas(sigmas).to(x.device)
    dx_dt = ode_field(denoiser, schedule)
    t = schedule.sigma_inv(sigmas)
    x = schedule.s(t[0]) * x.to(torch.float64)
    for i, (t_i, t_next) in enumerate(pairwise(t)):
        if callback:
            callback(x)
        if (gamma := churn.gamma(sigmas[i], len(t) - 1)) > 0:
            sigma_hat = round_sigma(sigmas[i] + gamma * sigmas[i]).clamp(min=sigmas[i])
            eps = churn.S_noise * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            x = x / schedule.s(t_i) + (sigma_hat**2 - sigmas[i] ** 2).sqrt() * eps
            t_i = schedule.sigma_inv(sigma_hat)
            x = schedule.s(t_i) * x
        x = (step if t_next > 0 else euler_step)(dx_dt, x, t_i, t_next)
    if callback:
        callback(x)
    return x
