"""Noise level σ(t), scaling s(t), and the time steps {t_i}: the rows "Sampling" of EDM's Table 1.

References by section, equation and table are to Karras et al. 2022, arXiv 2206.00364.

A `Schedule` says how a noisy image moves with time, x(t) = s(t) (x0 + σ(t) ε). A function `*_sigmas(steps)` says at
which noise levels a solver stops: `(steps + 1,)` float64, decreasing, σ_0 = σ_max first and σ_N = 0 last. The two
choices are independent: any solver runs on any grid through any schedule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log, pi

import torch
from torch import Tensor

from common.diffusion import path


class Schedule(ABC):
    """σ(t) and s(t) with their derivatives, at any shape of `t`, in the dtype of `t`. Unless scaled, s(t) = 1."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """σ(t), increasing, with σ(0) = 0."""

    @abstractmethod
    def sigma_deriv(self, t: Tensor) -> Tensor:
        """dσ/dt."""

    @abstractmethod
    def sigma_inv(self, sigma: Tensor) -> Tensor:
        """The t at which σ(t) = sigma."""

    def s(self, t: Tensor) -> Tensor:
        """s(t)."""
        return torch.ones_like(t)

    def s_deriv(self, t: Tensor) -> Tensor:
        """ds/dt."""
        return torch.zeros_like(t)


@dataclass(frozen=True)
class Linear(Schedule):
    """σ(t) = t: the paper's choice (Section 3), and DDIM's."""

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def sigma_deriv(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma_inv(self, sigma: Tensor) -> Tensor:
        return sigma


@dataclass(frozen=True)
class SquareRoot(Schedule):
    """σ(t) = √t: variance exploding (Table 1, VE), a diffusion of constant speed."""

    def sigma(self, t: Tensor) -> Tensor:
        return t.sqrt()

    def sigma_deriv(self, t: Tensor) -> Tensor:
        return 0.5 / t.sqrt()

    def sigma_inv(self, sigma: Tensor) -> Tensor:
        return sigma**2


@dataclass(frozen=True)
class LinearBeta(Schedule):
    """σ(t) = √(exp(β_d t²/2 + β_min t) − 1): the noise level σ/α of the variance-preserving path (Table 1, VP).

    With β_min < 0, which wide ranges need (see `from_range`), there is no noise level at 0 < t < `start`: σ is 0 at
    t = 0, and rises from 0 at `start`. σ⁻¹(0) is 0 all the same: there the official sampler ends too.
    Raises ValueError where σ(t) would not rise before t = 1, and `sigma` for a time that has no noise level.
    """

    beta_d: float = 19.9
    beta_min: float = 0.1

    def __post_init__(self) -> None:
        if not (self.beta_d > 0 and self.beta_min > -self.beta_d / 2):
            raise ValueError(
                f"beta_d must be positive and beta_min above -beta_d/2, not {self.beta_d} and {self.beta_min}"
            )

    @staticmethod
    def from_range(sigma_min: float, sigma_max: float, epsilon_s: float = 1e-3) -> LinearBeta:
        """The β_d and β_min for which σ(epsilon_s) = sigma_min and σ(1) = sigma_max, as in the official ablation.

        For a small sigma_min, such as EDM's 0.002 at the usual epsilon_s, β_min is negative; σ rises from epsilon_s on
        all the same. Raises ValueError where no β_d > 0 does it: sigma_min too large for its epsilon_s.
        """
        if not (0 < epsilon_s < 1 and 0 < sigma_min < sigma_max < inf):
            raise ValueError(
                "0 < epsilon_s < 1 and 0 < sigma_min < sigma_max are needed, "
                f"not {epsilon_s}, {sigma_min} and {sigma_max}"
            )
        a, b = log(sigma_min**2 + 1), log(sigma_max**2 + 1)
        beta_d = 2 * (a / epsilon_s - b) / (epsilon_s - 1)
        return LinearBeta(beta_d, b - beta_d / 2)

    @property
    def start(self) -> float:
        """The time at which σ(t) begins to rise from 0: 0, unless β_min is negative."""
        return max(0.0, -2 * self.beta_min / self.beta_d)

    @property
    def vp(self) -> path.VP:
        """The variance-preserving path of these β."""
        return path.VP(self.beta_d, self.beta_min)

    def sigma(self, t: Tensor) -> Tensor:
        integral = self.vp.integrated_beta(t)
        if self.beta_min < 0 and (integral < 0).any():
            raise ValueError(f"with beta_min = {self.beta_min:g} there is no noise level at 0 < t < {self.start:g}")
        return torch.expm1(integral).sqrt()

    def sigma_deriv(self, t: Tensor) -> Tensor:
        sigma = self.sigma(t)
        return 0.5 * self.vp.beta(t) * (sigma + 1 / sigma)

    def sigma_inv(self, sigma: Tensor) -> Tensor:
        # Unlike the path's inverse, whose quotient is 0/0 there, it has σ⁻¹(0) = 0 at β_min = 0 too.
        t = ((self.beta_min**2 + 2 * self.beta_d * torch.log1p(sigma**2)).sqrt() - self.beta_min) / self.beta_d
        return torch.where(sigma > 0, t, 0.0) if self.beta_min < 0 else t


@dataclass(frozen=True)
class VariancePreserving(Schedule):
    """Any σ(t) with s(t) = 1/√(1 + σ(t)²), so that s² (1 + σ²) = 1: unit variance stays unit variance."""

    noise: Schedule

    def sigma(self, t: Tensor) -> Tensor:
        return self.noise.sigma(t)

    def sigma_deriv(self, t: Tensor) -> Tensor:
        return self.noise.sigma_deriv(t)

    def sigma_inv(self, sigma: Tensor) -> Tensor:
        return self.noise.sigma_inv(sigma)

    def s(self, t: Tensor) -> Tensor:
        return 1 / (1 + self.sigma(t) ** 2).sqrt()

    def s_deriv(self, t: Tensor) -> Tensor:
        return -self.sigma(t) * self.sigma_deriv(t) * self.s(t) ** 3


LINEAR_BETA = LinearBeta()
# The columns of Table 1. DDIM and iDDPM use the same σ(t) and s(t) as EDM, at other time steps.
VP = VariancePreserving(LINEAR_BETA)
VE = SquareRoot()
EDM = Linear()


def edm_sigmas(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """Equation 5: σ_i = (σ_max^{1/ρ} + i/(N−1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ for i < N, and σ_N = 0.

    Larger ρ shortens the steps near σ_min; ρ = 1 makes all equal. One step goes from σ_max straight to 0.
    Returns (steps + 1,). Raises ValueError unless steps >= 1, 0 < sigma_min < sigma_max and rho > 0.
    """
    _check(steps, sigma_min, sigma_max)
    if not 0 < rho < inf:
        raise ValueError(f"rho must be positive and finite, not {rho}")
    i = _unit_grid(steps)
    return _end_in_zero((sigma_max ** (1 / rho) + i * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho)


def vp_sigmas(steps: int, noise: LinearBeta = LINEAR_BETA, epsilon_s: float = 1e-3) -> Tensor:
    """Table 1, VP: σ(t_i) at t_i = 1 + i/(N−1) (ε_s − 1), equal steps in the time of a diffusion with linear β.

    Returns (steps + 1,). Raises ValueError unless steps >= 1 and noise.start < epsilon_s < 1.
    """
    if not noise.start < epsilon_s < 1:
        raise ValueError(f"epsilon_s must lie between {noise.start:g} and 1, not {epsilon_s}")
    _check(steps, *noise.sigma(torch.tensor([epsilon_s, 1.0], dtype=torch.float64)).tolist())
    return _end_in_zero(noise.sigma(1 + _unit_grid(steps) * (epsilon_s - 1)))


def ve_sigmas(steps: int, sigma_min: float = 0.02, sigma_max: float = 100.0) -> Tensor:
    """Table 1, VE: σ_i² = σ_max² (σ_min²/σ_max²)^{i/(N−1)}, equal ratios.

    Returns (steps + 1,). Raises ValueError unless steps >= 1 and 0 < sigma_min < sigma_max.
    """
    _check(steps, sigma_min, sigma_max)
    return _end_in_zero(sigma_max * (sigma_min / sigma_max) ** _unit_grid(steps))


def iddpm_sigmas(
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 81.0,
    M: int = 1000,
    C_1: float = 0.001,
    C_2: float = 0.008,
) -> Tensor:
    """Table 1, iDDPM and DDIM: every so many-th of the levels u_j that lie within [sigma_min, sigma_max].

    σ_i = u_{⌊j_0 + i (M−1−j_0)/(N−1) + 1/2⌋}, with j_0 = 8 the first level below the default sigma_max.
    Returns (steps + 1,). Raises ValueError unless 0 < sigma_min < sigma_max and 1 <= steps <= the number of levels.
    """
    _check(steps, sigma_min, sigma_max)
    u = iddpm_u(M, C_1, C_2)
    u = u[(u >= sigma_min) & (u <= sigma_max)]
    if steps > len(u):
        raise ValueError(f"steps must be at most {len(u)}, the levels between {sigma_min} and {sigma_max}, not {steps}")
    j = (_unit_grid(steps) * (len(u) - 1) + 0.5).floor().long()
    return _end_in_zero(u[j])


@lru_cache
def iddpm_u(M: int = 1000, C_1: float = 0.001, C_2: float = 0.008) -> Tensor:
    """The noise levels u_0 > … > u_M = 0 of iDDPM's cosine schedule (Table 1), (M + 1,) float64, not to be written to.

    u_{j−1} = √((u_j² + 1) / max(ᾱ_{j−1}/ᾱ_j, C_1) − 1) with ᾱ_j = sin²(π j / (2 M (C_2 + 1))), j falling from M. Since
    u_j² + 1 is a running product of ratios, log(u_j² + 1) is a running sum.
    """
    alpha_bar = (0.5 * pi * torch.arange(M + 1, dtype=torch.float64) / (M * (C_2 + 1))).sin() ** 2
    ratio = (alpha_bar[:-1] / alpha_bar[1:]).clamp(min=C_1)
    log_u2_plus_1 = -ratio.log().flip(0).cumsum(0).flip(0)
    return _end_in_zero(torch.expm1(log_u2_plus_1).sqrt())


def nearest(sigma: Tensor, u: Tensor) -> Tensor:
    """argmin_j |u_j − σ|: the index of the level nearest to each `sigma` (any shape), int64 of that shape."""
    return (sigma.double()[..., None] - u.to(sigma.device)).abs().argmin(dim=-1)


def _unit_grid(steps: int) -> Tensor:
    """i/(N−1) for i = 0 … N−1, and 0 for N = 1."""
    return torch.linspace(0, 1, steps, dtype=torch.float64)


def _end_in_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _check(steps: int, sigma_min: float, sigma_max: float) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if not 0 < sigma_min < sigma_max < inf:
        raise ValueError(f"noise levels need 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
