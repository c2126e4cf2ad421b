"""Conditional Gaussian paths from noise to one data point, and the velocity that follows them (Section 4).

    p_t(x | x_1) = N(x; μ_t(x_1), σ_t² I),    μ_t(x_1) = m(t) x_1

    path              m(t)      σ_t                               velocity on the way to x_1
    OT   (eq. 20)     t         1 − (1 − σ_min) t                 straight, at constant speed
    VP   (eq. 18)     α_{1−t}   √(1 − α_{1−t}²)                   the probability flow of the VP diffusion
    VE   (eq. 16)     1         σ_min (σ_max/σ_min)^{1−t}         the probability flow of the VE diffusion

Times are tensors of shape (), (B,), or (S, B) for S networks at once: the leading axes of x. Coefficients keep the
dtype of t (best float64) and are cast to that of x where they meet it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient, of the shape of x's leading axes or (), ready to multiply x.

    Raises ValueError where its shape is another.
    """
    if coefficient.shape != x.shape[: coefficient.ndim]:
        raise ValueError(
            f"t has shape {tuple(coefficient.shape)}; x of shape {tuple(x.shape)} takes () or x's leading axes"
        )
    return coefficient.reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim)).to(x)


@dataclass(frozen=True)
class ConditionalPath(ABC):
    """A path by its m(t) and σ(t). These and their derivatives take t of any shape, and return that shape."""

    @abstractmethod
    def mean_scale(self, t: Tensor) -> Tensor:
        """m(t), of μ_t(x_1) = m(t) x_1."""

    @abstractmethod
    def mean_scale_dot(self, t: Tensor) -> Tensor:
        """dm/dt."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """σ_t."""

    @abstractmethod
    def sigma_dot(self, t: Tensor) -> Tensor:
        """dσ/dt."""

    @property
    def last(self) -> float:
        """The last time at which the velocity is finite: training, sampling and likelihood end there."""
        return 1.0

    @property
    def prior_scale(self) -> float:
        """Standard deviation of the noise that sampling starts from, N(0, prior_scale² I)."""
        return 1.0

    def sample(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
        """The conditional flow ψ_t(x_0) = σ_t x_0 + μ_t(x_1) (eq. 11): at x_0 ~ N(0, I) a draw of p_t(x | x_1)."""
        return like(self.sigma(t), x_1) * x_0 + like(self.mean_scale(t), x_1) * x_1

    def target(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
        """dψ_t(x_0)/dt = σ'_t x_0 + μ'_t(x_1), what a network is trained towards at x = ψ_t(x_0) (eq. 14)."""
        return like(self.sigma_dot(t), x_1) * x_0 + like(self.mean_scale_dot(t), x_1) * x_1

    def conditional_velocity(self, x: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
        """u_t(x | x_1) = (σ'_t/σ_t) (x − μ_t(x_1)) + μ'_t(x_1) (Theorem 3); x, x_1: (B, *D).

        Raises ValueError for t outside [0, last].
        """
        self.check(t)
        pull = like(self.sigma_dot(t) / self.sigma(t), x)
        return pull * (x - like(self.mean_scale(t), x) * x_1) + like(self.mean_scale_dot(t), x) * x_1

    def check(self, t: Tensor) -> None:
        """Raises ValueError where a time lies outside [0, last]."""
        rounding = 1e-12  # a solver's t + h may pass the last time by an ulp
        if not bool(((t >= -rounding) & (t <= self.last + rounding)).all()):
            low, high = float(t.min()), float(t.max())
            raise ValueError(f"t runs from {low:g} to {high:g}; on this path it must lie in [0, {self.last}]")


@dataclass(frozen=True)
class OT(ConditionalPath):
    """Optimal-transport displacement between N(0, I) and N(x_1, σ_min² I) (eq. 20 to 23): m = t, σ = 1 − (1 − σ_min) t.

    The target x_1 − (1 − σ_min) x_0 does not depend on t. The paper calls for a "sufficiently small" σ_min and names
    none. Raises ValueError unless 0 < σ_min < 1.
    """

    sigma_min: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < 1:
            raise ValueError(f"sigma_min is {self.sigma_min}; it must lie between 0 and 1")

    def mean_scale(self, t: Tensor) -> Tensor:
        return t

    def mean_scale_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return 1 - (1 - self.sigma_min) * t

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.sigma_min - 1)


@dataclass(frozen=True)
class VP(ConditionalPath):
    """The variance-preserving diffusion, run backward, s = 1 − t (eq. 18 and 19): m = α_s, σ² = 1 − α_s².

    α_s = exp(−T(s)/2), T(s) = ∫_0^s β = β_min s + ½ s² (β_max − β_min), β(s) = β_min + s (β_max − β_min).
    The velocity is infinite at t = 1, so time ends at `end` (Appendix E.1). At t = 0 the path is N(0, I) up to
    α_1 = 0.0066. Raises ValueError unless 0 < β_min <= β_max and 0 < end < 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    end: float = 1 - 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(f"beta_min and beta_max are {self.beta_min} and {self.beta_max}; 0 < beta_min <= beta_max")
        if not 0 < self.end < 1:
            raise ValueError(f"end is {self.end}; it must lie between 0 and 1, where the velocity is infinite")

    @property
    def last(self) -> float:
        return self.end

    def beta(self, t: Tensor) -> Tensor:
        """β(1 − t)."""
        return self.beta_min + (1 - t) * (self.beta_max - self.beta_min)

    def integrated_beta(self, t: Tensor) -> Tensor:
        """T(1 − t)."""
        s = 1 - t
        return self.beta_min * s + s**2 * (self.beta_max - self.beta_min) / 2

    def mean_scale(self, t: Tensor) -> Tensor:
        return torch.exp(-self.integrated_beta(t) / 2)

    def mean_scale_dot(self, t: Tensor) -> Tensor:
        return self.beta(t) * self.mean_scale(t) / 2

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-self.integrated_beta(t))).sqrt()

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -self.beta(t) * self.mean_scale(t).square() / (2 * self.sigma(t))

    def probability_flow(self, x: Tensor, score: Tensor, t: Tensor) -> Tensor:
        """½ β(1 − t) [x + ∇ log p_t(x)]: the velocity with the marginals of the diffusion, from its score.

        From Theorem 3, of which the average over x_1 given x is (m'/m) x + σ (σ m'/m − σ') ∇ log p_t(x), at
        m'/m = ½ β and σ' = −½ β m²/σ. It is Song et al. 2021, eq. 13, with time the other way.
        """
        return like(self.beta(t) / 2, x) * (x + score)


@dataclass(frozen=True)
class VE(ConditionalPath):
    """The variance-exploding diffusion, run backward (eq. 16 and 17): m = 1, σ = σ_min (σ_max/σ_min)^{1−t}.

    The noise levels are those of Song et al. 2021, Appendix C. At t = 0 the path is N(0, σ_max² I) up to the data's own
    spread. Raises ValueError unless 0 < σ_min < σ_max.
    """

    sigma_min: float = 0.01
    sigma_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min and sigma_max are {self.sigma_min} and {self.sigma_max}; 0 < sigma_min < sigma_max"
            )

    @property
    def prior_scale(self) -> float:
        return self.sigma_max

    def mean_scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def mean_scale_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** (1 - t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -log(self.sigma_max / self.sigma_min) * self.sigma(t)
