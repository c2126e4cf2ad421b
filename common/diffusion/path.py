"""Gaussian paths x_t = alpha(t) x0 + sigma(t) eps, their SDEs, and the conversions between what networks predict.

Noise increases with time: data at t = 0. Each path solves dx = f(t) x dt + g(t) dw with
f = d log alpha / dt and g² = d sigma² / dt - 2 f sigma² (Kingma et al. 2021, Variational Diffusion Models).

Times are tensors, scalar or (B,), best in float64: grids and coefficients keep the dtype of `t`, and are cast to that
of x: (B, *D) only where they meet it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import pi
from typing import Literal, get_args

import torch
from torch import Tensor

Prediction = Literal["x0", "eps", "v", "score", "velocity"]


def _like(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient, scalar or (B,), ready to multiply x: (B, *D)."""
    if coefficient.ndim > 0 and coefficient.shape != x.shape[:1]:
        raise ValueError(f"t must be a scalar or of shape ({x.shape[0]},), not {tuple(coefficient.shape)}")
    return coefficient.reshape(coefficient.shape + (1,) * (x.ndim - 1) if coefficient.ndim else ()).to(x)


@dataclass(frozen=True)
class GaussianPath(ABC):
    """A path by its alpha(t) and sigma(t); every method takes t, scalar or (B,), and returns that shape."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Scale of the data."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise."""

    @abstractmethod
    def alpha_dot(self, t: Tensor) -> Tensor:
        """d alpha / dt."""

    @abstractmethod
    def sigma_dot(self, t: Tensor) -> Tensor:
        """d sigma / dt."""

    @abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """λ(t) = log(alpha² / sigma²), strictly decreasing."""

    @abstractmethod
    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`."""

    def drift(self, t: Tensor) -> Tensor:
        """f(t) = d log alpha / dt."""
        return self.alpha_dot(t) / self.alpha(t)

    def squared_diffusion(self, t: Tensor) -> Tensor:
        """g²(t) = d sigma² / dt - 2 f sigma²."""
        return 2 * self.sigma(t) * (self.sigma_dot(t) - self.drift(t) * self.sigma(t))

    def log_snr_dot(self, t: Tensor) -> Tensor:
        """dλ/dt = -g² / sigma²."""
        return -self.squared_diffusion(t) / self.sigma(t).square()

    def perturb(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha x0 + sigma eps; x0, eps: (B, *D)."""
        return _like(self.alpha(t), x0) * x0 + _like(self.sigma(t), x0) * eps

    def to_sigma_coordinates(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x_t / alpha, sigma / alpha), what a denoiser takes: E[x0 | x_t] = D(x_t / alpha; sigma / alpha)."""
        return x_t / _like(self.alpha(t), x_t), self.sigma(t) / self.alpha(t)

    def coefficients(self, prediction: Prediction, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) with which a prediction is a x0 + b eps.

        - `x0` and `eps` themselves;
        - `v` = alpha eps - sigma x0 (Salimans & Ho 2022, section 4);
        - `score` = ∇ log p(x_t | x0) = -eps / sigma (Vincent 2011);
        - `velocity` = dx_t / dt = alpha_dot x0 + sigma_dot eps (Lipman et al. 2023).

        The same linear relations hold for their conditional expectations given x_t, which is what networks learn.
        Raises ValueError on another name.
        """
        zero, one = torch.zeros_like(t), torch.ones_like(t)
        match prediction:
            case "x0":
                return one, zero
            case "eps":
                return zero, one
            case "v":
                return -self.sigma(t), self.alpha(t)
            case "score":
                return zero, -1 / self.sigma(t)
            case "velocity":
                return self.alpha_dot(t), self.sigma_dot(t)
        raise ValueError(f"unknown prediction {prediction!r}: one of {', '.join(get_args(Prediction))}")

    def target(self, prediction: Prediction, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What a network of that prediction is trained towards, a x0 + b eps; x0, eps: (B, *D)."""
        a, b = self.coefficients(prediction, t)
        return _like(a, x0) * x0 + _like(b, x0) * eps

    def convert(self, value: Tensor, x_t: Tensor, t: Tensor, source: Prediction, target: Prediction) -> Tensor:
        """From one prediction at x_t to another; value, x_t: (B, *D).

        With value = a x0 + b eps and x_t = alpha x0 + sigma eps, the wanted a' x0 + b' eps is
        [(a' b - b' a) x_t + (b' alpha - a' sigma) value] / (b alpha - a sigma).
        Not defined where `source` says nothing of the rest: `eps` and `score` at alpha = 0, `x0` at sigma = 0.
        """
        a, b = self.coefficients(source, t)
        a_new, b_new = self.coefficients(target, t)
        determinant = b * self.alpha(t) - a * self.sigma(t)
        of_x_t = (a_new * b - b_new * a) / determinant
        of_value = (b_new * self.alpha(t) - a_new * self.sigma(t)) / determinant
        return _like(of_x_t, x_t) * x_t + _like(of_value, x_t) * value


@dataclass(frozen=True)
class VP(GaussianPath):
    """Variance preserving with linear β(t) = beta_min + beta_d t, t in [0, 1] (Song et al. 2021, eq. 32).

    alpha = exp(-½ B), sigma² = 1 - exp(-B), B(t) = ∫ β = ½ beta_d t² + beta_min t; f = -½ β, g² = β.
    """

    beta_d: float = 19.9
    beta_min: float = 0.1

    def beta(self, t: Tensor) -> Tensor:
        """β(t)."""
        return self.beta_min + self.beta_d * t

    def integrated_beta(self, t: Tensor) -> Tensor:
        """B(t), the integral of β from 0 to t."""
        return 0.5 * self.beta_d * t**2 + self.beta_min * t

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self.integrated_beta(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-self.integrated_beta(t))).sqrt()

    def alpha_dot(self, t: Tensor) -> Tensor:
        return self.drift(t) * self.alpha(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return self.beta(t) * self.alpha(t).square() / (2 * self.sigma(t))

    def log_snr(self, t: Tensor) -> Tensor:
        return -self.integrated_beta(t) - 2 * self.sigma(t).log()

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        B = torch.logaddexp(-log_snr, torch.zeros_like(log_snr))
        # The root of ½ beta_d t² + beta_min t = B, in the form without cancellation at small t.
        return 2 * B / (self.beta_min + (self.beta_min**2 + 2 * self.beta_d * B).sqrt())

    # In closed form, because sigma_dot is infinite at t = 0.
    def drift(self, t: Tensor) -> Tensor:
        return -self.beta(t) / 2

    def squared_diffusion(self, t: Tensor) -> Tensor:
        return self.beta(t)


@dataclass(frozen=True)
class VE(GaussianPath):
    """Variance exploding as a Brownian motion: alpha = 1, sigma = √t, t >= 0 (Karras et al. 2022, table 1); g² = 1."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t.sqrt()

    def alpha_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return 1 / (2 * t.sqrt())

    def log_snr(self, t: Tensor) -> Tensor:
        return -t.log()

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-log_snr)

    # In closed form, because sigma_dot is infinite at t = 0.
    def squared_diffusion(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)


@dataclass(frozen=True)
class EDM(GaussianPath):
    """alpha = 1, sigma = t, t >= 0 (Karras et al. 2022, section 3); g² = 2 t."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * t.log()

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-log_snr / 2)


@dataclass(frozen=True)
class Cosine(GaussianPath):
    """alpha = cos(πt/2), sigma = sin(πt/2), t in [0, 1]; g² = π tan(πt/2).

    Nichol & Dhariwal 2021 in continuous time, without their offset (Kingma & Gao 2023, λ = -2 log tan(πt/2)).
    """

    def alpha(self, t: Tensor) -> Tensor:
        # cos(πt/2), with full relative accuracy near t = 1.
        return torch.sin(pi / 2 * (1 - t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(pi / 2 * t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -pi / 2 * self.sigma(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return pi / 2 * self.alpha(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        return 2 / pi * torch.atan(torch.exp(-log_snr / 2))


@dataclass(frozen=True)
class RectifiedFlow(GaussianPath):
    """The straight line x_t = (1 - t) x0 + [t + (1 - t) sigma_min] eps, t in [0, 1] (Liu et al. 2023, sigma_min = 0).

    At sigma_min = 0, g² = 2 t / (1 - t). A sigma_min above 0 leaves noise at t = 0: flow matching's OT path (Lipman et
    al. 2023, eq. 20). Both papers run time the other way, with noise at t = 0. Raises ValueError unless
    0 <= sigma_min < 1.
    """

    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min is {self.sigma_min}; it must lie in [0, 1)")

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min + (1 - self.sigma_min) * t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 - self.sigma_min)

    def log_snr(self, t: Tensor) -> Tensor:
        return 2 * (torch.log1p(-t) - self.sigma(t).log())

    def t_from_log_snr(self, log_snr: Tensor) -> Tensor:
        # sigma / alpha = t + sigma_min (1 - t) over 1 - t, solved for t.
        inverse_snr = torch.exp(-log_snr / 2)
        return (inverse_snr - self.sigma_min) / (1 + inverse_snr - self.sigma_min)
