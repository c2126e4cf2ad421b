"""Noise levels σ̄(t) and their rate σ(t), on t in [0, 1] (Section 3.3, Appendix C.1).

The paper writes σ(t) for the rate and σ̄(t) = ∫₀ᵗ σ for the total. Here, as on the notation page, `sigma` is always the
total σ̄(t), which is what the network is told, and `sigma_deriv` is the rate σ(t) = dσ̄/dt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor


class Noise(ABC):
    """σ̄(t) with its derivative and inverse, elementwise, in the dtype of the argument."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The total noise σ̄(t), increasing."""

    @abstractmethod
    def sigma_deriv(self, t: Tensor) -> Tensor:
        """The rate of noise σ(t) = dσ̄/dt."""

    @abstractmethod
    def sigma_inv(self, sigma: Tensor) -> Tensor:
        """The t at which σ̄(t) = sigma."""


@dataclass(frozen=True)
class LogLinear(Noise):
    """σ̄(t) = −log(1 − (1 − eps) t): a token has moved with probability 1 − e^−σ̄ = (1 − eps) t, linear in time.

    Raises ValueError unless 0 < eps < 1.
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, not {self.eps}")

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.log1p(-(1 - self.eps) * t)

    def sigma_deriv(self, t: Tensor) -> Tensor:
        return (1 - self.eps) / (1 - (1 - self.eps) * t)

    def sigma_inv(self, sigma: Tensor) -> Tensor:
        return -torch.expm1(-sigma) / (1 - self.eps)


@dataclass(frozen=True)
class Geometric(Noise):
    """σ̄(t) = sigma_min^(1−t) sigma_max^t: as much time on every order of magnitude. It starts at sigma_min, not at 0.

    The defaults are those of the paper's text (Appendix C.1); the official configuration has sigma_min = 1e-4.
    Raises ValueError unless 0 < sigma_min < sigma_max.
    """

    sigma_min: float = 1e-5
    sigma_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"0 < sigma_min < sigma_max does not hold for {self.sigma_min} and {self.sigma_max}")

    @property
    def _log_range(self) -> float:
        return log(self.sigma_max / self.sigma_min)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * (self._log_range * t).exp()

    def sigma_deriv(self, t: Tensor) -> Tensor:
        return self._log_range * self.sigma(t)

    def sigma_inv(self, sigma: Tensor) -> Tensor:
        return (sigma / self.sigma_min).log() / self._log_range


BOUND_NOISE: Mapping[str, Noise] = {"uniform": Geometric(1e-5, 6.9), "absorb": LogLinear()}
"""The schedule along which a bound is sampled; it matters by its ends alone, where log-linear noise begins and ends.

On the uniform graph a token that has moved at small σ̄ costs as much as 1/σ̄: at uniform times of log-linear noise the
estimate has an infinite variance, at those of geometric noise a small one.
"""
