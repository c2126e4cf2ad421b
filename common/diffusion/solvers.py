"""Solvers of the probability-flow ODE in sigma coordinates, and what they share.

For x_t = x0 + sigma eps the probability-flow ODE is dx/dsigma = (x - D(x; sigma)) / sigma = -sigma score(x, sigma)
(Karras et al. 2022, eq. 1 with sigma(t) = t, s(t) = 1). Any other Gaussian path comes down to it by `x_t / alpha_t` and
`sigma_t / alpha_t` (see `path.py`).

The state and the grid of noise levels are float64. A denoiser takes them as they are and casts for itself, so a network
runs in its own dtype; what it returns is brought back to float64. Conditions are bound with `functools.partial`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Denoiser = Callable[..., Tensor]
"""`denoiser(x, sigma, **cond) -> E[x0 | x0 + sigma eps = x]`; x: (B, *D), sigma: scalar or (B,), result: (B, *D)."""


class CountedDenoiser:
    """A denoiser that counts its evaluations: `nfe` is the number of calls so far, each on a whole batch."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.nfe = 0

    def __call__(self, x: Tensor, sigma: Tensor, **cond: Any) -> Tensor:
        self.nfe += 1
        return self.denoiser(x, sigma, **cond)


def validate_sigmas(sigmas: Tensor | Sequence[float]) -> Tensor:
    """`sigmas` as a float64 tensor (N + 1,), if it is a grid that a solver can follow.

    Raises ValueError, naming the first offending entry, unless the grid is finite, strictly decreasing, and ends in 0.
    """
    grid = torch.as_tensor(sigmas, dtype=torch.float64)
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"sigmas must be a grid of at least two noise levels, not of shape {tuple(grid.shape)}")
    values = grid.tolist()
    for i, value in enumerate(values):
        if not abs(value) < float("inf"):
            raise ValueError(f"sigmas must be finite: sigmas[{i}] = {value}")
        if i > 0 and value >= values[i - 1]:
            raise ValueError(f"sigmas must decrease: sigmas[{i}] = {value} is not below {values[i - 1]}")
        if value < 0:
            raise ValueError(f"sigmas must not be negative: sigmas[{i}] = {value}")
    if values[-1] != 0:
        raise ValueError(f"sigmas must end in 0: sigmas[{len(values) - 1}] = {values[-1]}")
    return grid


@torch.no_grad()
def euler(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    callback: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Euler's method on the probability-flow ODE: N evaluations for a grid of N + 1 levels, global error of order 1.

    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) (x_i - D(x_i; sigma_i)) / sigma_i

    In these coordinates it is DDIM (Song et al. 2021, eq. 13). The last step, to sigma = 0, returns D(x_i; sigma_i).

    Args:
        x: (B, *D), at noise level `sigmas[0]`.
        sigmas: (N + 1,), decreasing, ending in 0.
        callback: called with each of the N + 1 states (B, *D), the first and the last included.

    Returns: x at sigma = 0, (B, *D), float64.
    Raises: ValueError from `validate_sigmas`.
    """

    def step(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        d = (x - denoiser(x, sigma).to(x)) / sigma
        return x + (sigma_next - sigma) * d

    return _descend(step, x, sigmas, callback)


@torch.no_grad()
def heun(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    callback: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Heun's method on the probability-flow ODE: 2 N - 1 evaluations, global error of order 2.

    Karras et al. 2022, Algorithm 1 with sigma(t) = t and s(t) = 1: an Euler step, then the trapezoidal rule over the
    slopes at both ends. The last step stays Euler's, because the slope is not defined at sigma = 0.

    Args, returns and errors as for `euler`.
    """

    def step(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        d = (x - denoiser(x, sigma).to(x)) / sigma
        x_next = x + (sigma_next - sigma) * d
        if sigma_next > 0:
            d_next = (x_next - denoiser(x_next, sigma_next).to(x)) / sigma_next
            x_next = x + (sigma_next - sigma) * (d + d_next) / 2
        return x_next

    return _descend(step, x, sigmas, callback)


def _descend(
    step: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    callback: Callable[[Tensor], None] | None,
) -> Tensor:
    """Take `step(x, sigma, sigma_next)` down the whole grid, in float64, and show every state to `callback`."""
    sigmas = validate_sigmas(sigmas).to(x.device)
    x = x.to(torch.float64)
    if callback:
        callback(x)
    for sigma, sigma_next in pairwise(sigmas):
        x = step(x, sigma, sigma_next)
        if callback:
            callback(x)
    return x
