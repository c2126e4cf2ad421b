"""Diffusion objectives: a law over noise levels, a prediction on a path, and a weight on its squared error.

    loss = E_{λ ~ p, eps} [ weight(λ) ‖F(x_t; t) − (a x0 + b eps)‖² ],    x_t = alpha x0 + sigma eps

λ = log(alpha²/sigma²) is the log-SNR at t, and (a, b) are the path's coefficients of the prediction. At a given x_t an
error of F is b − a sigma/alpha times that of the noise which it stands for. So with

    w(λ) = p(λ) weight(λ) (b − a sigma/alpha)²

every such loss is ∫ w(λ) E‖eps_hat − eps‖² dλ (Kingma & Gao 2023, section 3). Nothing else of the path
is left in it than w and the range of λ.

‖·‖² is averaged over the elements of a sample. Networks are called `net(x_t, t, **cond)`. One generator draws for one
network, x0: (B, *D); a tuple of S draws for S networks at once, x0: (S, B, *D). Noise levels are float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, pi
from typing import Protocol

import torch
from torch import Tensor

from common.diffusion.path import GaussianPath, Prediction
from common.training.members import Generators, normal, uniform

Net = Callable[..., Tensor]
"""net(x_t, t, **cond) -> shaped like x_t; x_t: (B, *D) and t: (B,), or (S, B, *D) and (S, B)."""
Weight = Callable[[Tensor], Tensor]
"""A function of λ, elementwise."""


class NoiseLevels(Protocol):
    """A density p over the log-SNR λ, on a finite range."""

    @property
    def log_snr_min(self) -> float:
        """Where the range begins: most noise."""

    @property
    def log_snr_max(self) -> float:
        """Where the range ends: least noise."""

    def sample(self, shape: tuple[int, ...], generator: Generators, device: torch.device | str | None = None) -> Tensor:
        """λ ~ p of `shape`, float64; a tuple of generators as in `common.training.members`."""

    def density(self, log_snr: Tensor) -> Tensor:
        """p(λ), 0 outside the range."""


@dataclass(frozen=True)
class UniformTime:
    """λ(t) at t ~ U(first, last] on a path: p(λ) = |dt/dλ| / (last − first).

    Raises ValueError unless first < last, with a finite λ at both.
    """

    path: GaussianPath
    first: float
    last: float

    def __post_init__(self) -> None:
        ends = [float(self.path.log_snr(torch.tensor(t, dtype=torch.float64))) for t in (self.first, self.last)]
        if not (self.first < self.last and all(map(isfinite, ends))):
            raise ValueError(
                f"first and last are {self.first} and {self.last}, of log-SNR {ends[0]:g} and {ends[1]:g}; "
                "they must be in this order and their log-SNR finite"
            )

    @property
    def log_snr_min(self) -> float:
        return float(self.path.log_snr(torch.tensor(self.last, dtype=torch.float64)))

    @property
    def log_snr_max(self) -> float:
        return float(self.path.log_snr(torch.tensor(self.first, dtype=torch.float64)))

    def sample(self, shape: tuple[int, ...], generator: Generators, device: torch.device | str | None = None) -> Tensor:
        # From `last` on, so that λ rises with u under every law here; u is below 1, so that `first`, where a weight may
        # be infinite, is never drawn.
        u = uniform(shape, generator, dtype=torch.float64, device=device)
        return self.path.log_snr(self.last - (self.last - self.first) * u)

    def density(self, log_snr: Tensor) -> Tensor:
        t = self.path.t_from_log_snr(log_snr)
        p = 1 / (self.path.log_snr_dot(t).abs() * (self.last - self.first))
        return _inside(self, log_snr, p)


def between(path: GaussianPath, log_snr_min: float, log_snr_max: float) -> UniformTime:
    """Uniform time on `path`, from the t where λ is `log_snr_max` to that where it is `log_snr_min`."""
    ends = path.t_from_log_snr(torch.tensor([log_snr_max, log_snr_min], dtype=torch.float64))
    return UniformTime(path, float(ends[0]), float(ends[1]))


@dataclass(frozen=True)
class UniformLogSnr:
    """λ ~ U(log_snr_min, log_snr_max), a λ linear in t. Raises ValueError unless they are finite and in this order."""

    log_snr_min: float
    log_snr_max: float

    def __post_init__(self) -> None:
        if not -float("inf") < self.log_snr_min < self.log_snr_max < float("inf"):
            raise ValueError(
                f"log_snr_min and log_snr_max are {self.log_snr_min} and {self.log_snr_max}; "
                "they must be finite and in this order"
            )

    def sample(self, shape: tuple[int, ...], generator: Generators, device: torch.device | str | None = None) -> Tensor:
        u = uniform(shape, generator, dtype=torch.float64, device=device)
        return self.log_snr_min + (self.log_snr_max - self.log_snr_min) * u

    def density(self, log_snr: Tensor) -> Tensor:
        return _inside(self, log_snr, torch.full_like(log_snr, 1 / (self.log_snr_max - self.log_snr_min)))


REACH = 8.0
"""Standard deviations to either side that a normal law of λ keeps: 1e-15 of it lies beyond."""


@dataclass(frozen=True)
class NormalLogSnr:
    """λ ~ N(mean, std²), cut off at 8 standard deviations.

    EDM's ln σ ~ N(−1.2, 1.2²) is λ ~ N(2.4, 2.4²), for λ = −2 ln σ there (Karras et al. 2022, table 1).
    Raises ValueError unless std is positive.
    """

    mean: float = 2.4
    std: float = 2.4

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"std is {self.std}; it must be positive")

    @property
    def log_snr_min(self) -> float:
        return self.mean - REACH * self.std

    @property
    def log_snr_max(self) -> float:
        return self.mean + REACH * self.std

    def sample(self, shape: tuple[int, ...], generator: Generators, device: torch.device | str | None = None) -> Tensor:
        # Subtracted: a generator then draws the σ that it draws for EDM's ln σ = −½ λ.
        draws = normal(shape, generator, dtype=torch.float64, device=device)
        return self.mean - self.std * draws.clamp(-REACH, REACH)

    def density(self, log_snr: Tensor) -> Tensor:
        z = (log_snr - self.mean) / self.std
        return _inside(self, log_snr, torch.exp(-z.square() / 2) / (self.std * (2 * pi) ** 0.5))


def _inside(levels: NoiseLevels, log_snr: Tensor, p: Tensor) -> Tensor:
    """p where λ is in the range, up to rounding at its ends, and 0 elsewhere."""
    rounding = 1e-9
    inside = (log_snr >= levels.log_snr_min - rounding) & (log_snr <= levels.log_snr_max + rounding)
    return torch.where(inside, p, torch.zeros_like(p))


def one(log_snr: Tensor) -> Tensor:
    """The weight 1."""
    return torch.ones_like(log_snr)


@dataclass(frozen=True)
class Objective:
    """A loss: what is predicted on which path, at which noise levels, with which weight on its squared error."""

    name: str
    path: GaussianPath
    prediction: Prediction
    levels: NoiseLevels
    weight: Weight = one

    def loss_at(self, net: Net, x0: Tensor, eps: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        """weight(λ) mean_D (F(x_t; t) − (a x0 + b eps))² at given noise and times.

        x0, eps: (B, *D) and t: (B,), or (S, B, *D) and (S, B). Returns values of the shape of t. Raises ValueError for
        other shapes.
        """
        self._check(x0, t)
        times = t.flatten()
        x_t = self.path.perturb(_rows(x0, t), _rows(eps, t), times).reshape(x0.shape)
        target = self.path.target(self.prediction, _rows(x0, t), _rows(eps, t), times).reshape(x0.shape)
        error = (net(x_t, t.to(x_t), **cond) - target).square().flatten(t.ndim).mean(-1)
        return self.weight(self.path.log_snr(t)).to(error) * error

    def loss(self, net: Net, x0: Tensor, generator: Generators, /, **cond: Tensor) -> Tensor:
        """`loss_at` with noise, and then levels, drawn from `generator`: (B,), or (S, B). `train` takes it."""
        eps = normal(x0.shape, generator, dtype=x0.dtype, device=x0.device)
        log_snr = self.levels.sample(x0.shape[: 2 if isinstance(generator, tuple) else 1], generator, x0.device)
        return self.loss_at(net, x0, eps, self.path.t_from_log_snr(log_snr), **cond)

    def noise_scale(self, log_snr: Tensor) -> Tensor:
        """b − a sigma/alpha: by how much an error of the noise is multiplied in the prediction, at a given x_t."""
        t = self.path.t_from_log_snr(log_snr)
        a, b = self.path.coefficients(self.prediction, t)
        return b - a * self.path.sigma(t) / self.path.alpha(t)

    def weighting(self, log_snr: Tensor) -> Tensor:
        """w(λ) = p(λ) weight(λ) (b − a sigma/alpha)²: the loss is ∫ w(λ) E‖eps_hat − eps‖² dλ."""
        return self.levels.density(log_snr) * self.weight(log_snr) * self.noise_scale(log_snr).square()

    def eps_of(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that the network's output at x_t stands for; output, x_t, t as in `loss_at`."""
        self._check(x_t, t)
        rows = self.path.convert(_rows(output, t), _rows(x_t, t), t.flatten(), self.prediction, "eps")
        return rows.reshape(x_t.shape)

    @staticmethod
    def _check(x: Tensor, t: Tensor) -> None:
        if t.ndim not in (1, 2) or t.shape != x.shape[: t.ndim]:
            raise ValueError(
                f"t has shape {tuple(t.shape)}; x of shape {tuple(x.shape)} takes its first axis, or the first two"
            )


def _rows(x: Tensor, t: Tensor) -> Tensor:
    """x: (B, *D), or (S, B, *D), with one leading axis for all those of t, as paths take it."""
    return x.flatten(0, t.ndim - 1)


def weighted(
    name: str, path: GaussianPath, prediction: Prediction, levels: NoiseLevels, weighting: Weight
) -> Objective:
    """The objective that has `weighting` as its w(λ), whatever is predicted and wherever the levels are drawn.

    Its weight is w(λ) / (p(λ) (b − a sigma/alpha)²): an estimate by importance sampling.
    """
    plain = Objective(name, path, prediction, levels)

    def weight(log_snr: Tensor) -> Tensor:
        return weighting(log_snr) / plain.weighting(log_snr)

    return Objective(name, path, prediction, levels, weight)
