"""Exact log-likelihood of a flow's model, and of a denoiser's, through its probability-flow ODE.

Along a flow dx/dt = v(x, t) the log-density changes by minus the divergence of the field (the continuity equation;
Song et al. 2021, eq. 39, after Chen et al. 2018), so that with time running either way

    log p(x(a); a) = log p(x(b); b) + ∫_a^b div v(x(t), t) dt.

`integrate_divergence` is that, for a velocity in any time. A denoiser's flow dx/dsigma = (x - D(x; sigma)) / sigma is
taken in the time u = log sigma,

    dx/du = x - D(x; sigma),    d log p(x(u); u) / du = -div(x - D(x; sigma)) = -(D - tr ∂D/∂x),

which is smooth from the smallest sigma to the largest, so that an adaptive solver takes few steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log, pi

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from common.diffusion.solvers import Denoiser

Function = Callable[[Tensor, Tensor], Tensor]
"""`function(x, time) -> (B, *D)`: a velocity in its time, or a denoiser at its sigma."""
Trace = Callable[[Function, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`trace(function, x, time) -> (value (B, *D), tr ∂value/∂x (B,))`, exact or estimated."""
FlowWithDivergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`flow(x, time) -> (velocity (B, *D), its divergence (B,))`; time is a scalar in float64."""


def exact_trace(function: Function, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The function's value and the exact trace of its Jacobian, by D backward passes in one batch: for small D.

    A sample's value must depend on that sample only (no batch normalisation).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x, time)
        flat = value.flatten(1)
        D = flat.shape[1]
        basis = torch.eye(D, dtype=flat.dtype, device=flat.device)[:, None].expand(D, *flat.shape)
        (rows,) = torch.autograd.grad(flat, x, basis, is_grads_batched=True)
    return value.detach(), torch.einsum("dbd->b", rows.flatten(2))


def hutchinson_trace(probe: Tensor) -> Trace:
    """Estimate of the trace by vᵀ (∂value/∂x) v with a fixed probe v: unbiased where E[v vᵀ] = I (Hutchinson 1990).

    The probe stays the same along a trajectory, so that the right-hand side is a function of the state
    (Grathwohl et al. 2019, FFJORD).

    Args:
        probe: (B, *D), as from `rademacher`, or standard normal.
    """

    def trace(function: Function, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = function(x, time)
            (product,) = torch.autograd.grad(value, x, probe.to(value))
        return value.detach(), (product * probe).flatten(1).sum(1)

    return trace


def rademacher(x: Tensor, generator: torch.Generator) -> Tensor:
    """A probe of independent signs, shaped like x: of least variance among those of independent unit entries."""
    signs = torch.randint(2, x.shape, generator=generator, device=x.device)
    return (2 * signs - 1).to(x)


def gaussian_log_prior(x: Tensor, sigma: float) -> Tensor:
    """log N(x; 0, sigma² I), (B,): what the noisy density tends to where sigma is far above the scale of the data."""
    flat = x.flatten(1)
    return -(flat / sigma).square().sum(1) / 2 - flat.shape[1] * (log(sigma) + log(2 * pi) / 2)


def integrate_divergence(
    flow: FlowWithDivergence, x: Tensor, start: float, end: float, tolerance: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """(x(end), ∫ div v(x(t), t) dt from `start` to `end`): what both ends of a flow differ by in log-density.

    By SciPy's adaptive Runge-Kutta method of order 5(4) on the whole batch; `end` may lie before `start`.

    Args:
        x: (B, *D), the state at `start`.
        tolerance: relative and absolute error tolerance of a step.

    Returns: (B, *D) and (B,), float64.
    Raises: RuntimeError where velocity or divergence is not finite, or the solver gives up.
    """
    B, D = x.shape[0], x[0].numel()

    def unpack(state: np.ndarray) -> tuple[Tensor, Tensor]:
        packed = torch.from_numpy(state).to(x.device)
        return packed[: B * D].reshape(x.shape), packed[B * D :]

    def field(time: float, state: np.ndarray) -> np.ndarray:
        velocity, divergence = flow(unpack(state)[0], torch.tensor(time, dtype=torch.float64, device=x.device))
        slope = torch.cat([velocity.flatten(), divergence]).cpu().numpy()
        if not np.isfinite(slope).all():  # the adaptive solver would shrink its step for ever
            raise RuntimeError(f"the velocity or its divergence is not finite at time {time:g}")
        return slope

    state = torch.cat([x.detach().to(torch.float64).flatten().cpu(), torch.zeros(B, dtype=torch.float64)]).numpy()
    solution = solve_ivp(field, (start, end), state, rtol=tolerance, atol=tolerance)
    if not solution.success:
        raise RuntimeError(f"the probability-flow ODE could not be solved: {solution.message}")
    return unpack(solution.y[:, -1].copy())


def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    sigma_min: float,
    sigma_max: float,
    trace: Trace = exact_trace,
    log_prior: Callable[[Tensor], Tensor] | None = None,
    tolerance: float = 1e-6,
) -> Tensor:
    """log p(x; sigma_min) in nats, (B,), of the model whose flow starts from `log_prior` at sigma_max.

    log p(x; sigma_min) = log_prior(x(sigma_max)) + ∫ div(x - D(x; sigma)) d log sigma, from sigma_min to sigma_max.

    Args:
        x: (B, *D), data with noise of level sigma_min.
        trace: `exact_trace`, or `hutchinson_trace(probe)` for large D (then the result is an unbiased estimate).
        log_prior: log-density at sigma_max, (B, *D) -> (B,); `gaussian_log_prior` when left out.
        tolerance: relative and absolute error tolerance of a step.

    Raises: ValueError unless 0 < sigma_min < sigma_max; RuntimeError where the field is not finite, or the solver
        gives up.
    """
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"sigma_min and sigma_max must satisfy 0 < sigma_min < sigma_max: {sigma_min}, {sigma_max}")
    log_prior = log_prior or partial(gaussian_log_prior, sigma=sigma_max)
    D = x[0].numel()

    def flow(x_u: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        denoised, tr = trace(denoiser, x_u, u.exp())
        if not bool(denoised.isfinite().all() and tr.isfinite().all()):
            raise RuntimeError(f"the denoiser or its trace is not finite at sigma = {float(u.exp()):g}")
        return x_u - denoised, D - tr

    x_max, divergence = integrate_divergence(flow, x, log(sigma_min), log(sigma_max), tolerance)
    return log_prior(x_max) + divergence


def bpd(log_prob: Tensor, D: int, bin_width: float) -> Tensor:
    """Bits per dimension of discrete data from the log-density of its dequantised, scaled form, (B,).

    Whole numbers n are modelled as x = bin_width (n + u) + constant with u ~ U[0, 1), so the density of n + u is
    bin_width^D times that of x, and its mean log bounds the log-probability of n from below (Theis et al. 2016):
    bpd = -(log p(x) + D log bin_width) / (D log 2). For 8-bit images scaled to [-1, 1] the bin is 2 / 256 wide, which
    adds 7 bits.

    Args:
        log_prob: (B,), nats. D: dimensions of a sample. bin_width: distance of neighbouring grey levels in x.
    """
    return -(log_prob / D + log(bin_width)) / log(2)
