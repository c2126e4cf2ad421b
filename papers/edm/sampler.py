"""The ablation sampler: Algorithms 1 and 3 for any σ(t) and s(t), with the churn of Algorithm 2.

Algorithm 2 itself is in `common.diffusion.churn`. As in `common.diffusion.solvers` (whose `heun` is Algorithm 1 at
σ(t) = t, s(t) = 1), `x` enters at noise level `sigmas[0]` in unscaled coordinates x0 + σ ε, state and grid are float64,
and conditions are bound to the denoiser beforehand. The baselines of Figure 2 are `ablation_sampler` with `euler_step`
and Table 1's schedules and time steps:

    VP    schedule.VP   vp_sigmas(N)
    VE    schedule.VE   ve_sigmas(N)
    DDIM  schedule.EDM  iddpm_sigmas(N)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from common.diffusion.churn import NO_CHURN, Churn
from common.diffusion.schedule import EDM, Schedule
from common.diffusion.solvers import Denoiser, validate_sigmas

Field = Callable[[Tensor, Tensor], Tensor]
"""dx/dt at (x, t); x: (B, *D), t: scalar."""
Step = Callable[[Field, Tensor, Tensor, Tensor], Tensor]
"""`step(dx_dt, x, t, t_next) -> x at t_next`."""


# Table 5: the published settings for the CIFAR-10 networks of the two formulations and for ADM on ImageNet-64.
CIFAR10_VP_CHURN = Churn(30, 0.01, 1, 1.007)
CIFAR10_VE_CHURN = Churn(80, 0.05, 1, 1.007)
IMAGENET64_CHURN = Churn(80, 0.05, 50, 1.003)


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
