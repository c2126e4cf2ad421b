"""Grids of times, from noise to data: (N + 1,) float64, decreasing, from `t_max` to `t_min` above 0.

A last step to t = 0, which solvers take as a denoising, is added by `with_zero`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.diffusion.path import GaussianPath
from papers.seeds.exponential import Form


def _checked(steps: int, t_max: float, t_min: float) -> None:
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    if not 0 < t_min < t_max:
        raise ValueError(f"t_min and t_max are {t_min} and {t_max}; they must satisfy 0 < t_min < t_max")


def _between(ends: Tensor, steps: int) -> Tensor:
    first, last = ends
    return first + torch.linspace(0, 1, steps + 1, dtype=torch.float64) * (last - first)


def _pinned(times: Tensor, t_max: float, t_min: float) -> Tensor:
    times[0], times[-1] = t_max, t_min
    return times


def uniform_log_snr(form: Form, steps: int, t_max: float, t_min: float) -> Tensor:
    """Equal steps in λ of the form. Raises ValueError unless steps >= 1 and 0 < t_min < t_max."""
    _checked(steps, t_max, t_min)
    ends = form.half_log_snr(torch.tensor([t_max, t_min], dtype=torch.float64))
    return _pinned(form.time(_between(ends, steps)), t_max, t_min)


def power_noise(path: GaussianPath, steps: int, t_max: float, t_min: float, rho: float = 7.0) -> Tensor:
    """EDM's grid: equal steps of (σ/α)^{1/ρ} (Karras et al. 2022, eq. 5). Errors as for `uniform_log_snr`."""
    _checked(steps, t_max, t_min)
    ends = torch.exp(-path.log_snr(torch.tensor([t_max, t_min], dtype=torch.float64)) / (2 * rho))
    return _pinned(path.t_from_log_snr(-2 * rho * _between(ends, steps).log()), t_max, t_min)


def power_time(steps: int, t_max: float, t_min: float, kappa: float = 2.0) -> Tensor:
    """Equal steps of t^{1/κ}: uniform in t at κ = 1, quadratic at κ = 2 (DEIS). Errors as for `uniform_log_snr`."""
    _checked(steps, t_max, t_min)
    ends = torch.tensor([t_max, t_min], dtype=torch.float64) ** (1 / kappa)
    return _pinned(_between(ends, steps) ** kappa, t_max, t_min)


def with_zero(times: Tensor) -> Tensor:
    """The grid with a last step to t = 0."""
    return torch.cat([times, times.new_zeros(1)])
