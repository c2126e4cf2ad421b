"""The exact solution of the diffusion SDE in the log-SNR, up to the integral of what a network predicts (Section 3).

With λ = log(α/σ), which grows from noise to data, the reverse SDE is, for a state z = x/ς in the right scale ς,

    dz = b z dλ + 2 (g/ς) F dλ + √2 dW,

where F is what is predicted: the data, the noise, or the raw output of an EDM network. Its linear part is solved by
variation of constants, and the variance of its Itô integral by Itô's isometry. From s to t, with h = λ_t − λ_s > 0,

    x_t = (ς_t/ς_s) e^{bh} x_s + 2 g_t ∫ e^{a(λ_t − λ)} F dλ + ς_t √2 ∫ e^{b(λ_t − λ)} dW.

    prediction   ς                    g                b     a
    data D       σ                    α               −1    −2
    noise ε      σ                    −σ               1     1
    EDM's F      t √(t² + σ_d²)/σ_d   as ς             1     1     with λ = −log(t/(σ_d √(t² + σ_d²)))

The first integral is the only one that a solver approximates. With F constant, or a line through F_s and F_u at
λ_s + r h, it is g_t [w_0 F_s + w_1 (F_u − F_s)/r], w_0 = 2h φ_1(ah), w_1 = 2h φ_2(ah), and for the probability-flow ODE
the same without its noise and with 1 for 2 (and for D, b = 0 and a = −1): the DPM-Solver family.

λ is half of `GaussianPath.log_snr`. All coefficients are float64, and keep their digits as h → 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from common.diffusion.path import GaussianPath
from common.diffusion.solvers import Denoiser


def phi_1(y: Tensor) -> Tensor:
    """φ_1(y) = (e^y − 1)/y, with φ_1(0) = 1."""
    zero = y == 0
    return torch.where(zero, 1.0, torch.expm1(y) / torch.where(zero, 1.0, y))


def phi_2(y: Tensor) -> Tensor:
    """φ_2(y) = (e^y − 1 − y)/y², with φ_2(0) = ½.

    By its power series Σ y^k/(k + 2)! where |y| < 1, for the difference cancels there: 18 terms leave 1e-18.
    """
    series = torch.zeros_like(y)
    for k in range(18, 0, -1):
        series = (series + 1) * y / (k + 2)
    small = y.abs() < 1
    safe = torch.where(small, 1.0, y)
    return torch.where(small, (series + 1) / 2, (torch.expm1(safe) - safe) / safe.square())


class Form(ABC):
    """A way to write the SDE (or its ODE): the table above, one class for each of its rows."""

    linear: ClassVar[float] = 1.0
    """b, the rate of the linear part."""
    kernel: ClassVar[float] = 1.0
    """a, the rate at which what was predicted earlier is weighed."""
    weight: ClassVar[float] = 2.0
    """The factor of the prediction: 2 in the SDE, 1 in the ODE."""
    stochastic: ClassVar[bool] = True

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Scale of the data in x_t."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise in x_t."""

    @abstractmethod
    def half_log_snr(self, t: Tensor) -> Tensor:
        """λ(t), strictly decreasing in t."""

    @abstractmethod
    def time(self, half_log_snr: Tensor) -> Tensor:
        """The inverse of `half_log_snr`."""

    @abstractmethod
    def scale(self, t: Tensor) -> Tensor:
        """ς(t)."""

    @abstractmethod
    def gain(self, t: Tensor) -> Tensor:
        """g(t)."""

    @abstractmethod
    def from_denoised(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q) of F = p x + q D."""

    def propagator(self, s: Tensor, t: Tensor) -> Tensor:
        """(ς_t/ς_s) e^{bh}: what the linear part makes of x_s."""
        h = self.half_log_snr(t) - self.half_log_snr(s)
        return self.scale(t) / self.scale(s) * torch.exp(self.linear * h)

    def constant_weight(self, h: Tensor) -> Tensor:
        """w_0 = 2 ∫_0^h e^{aτ} dτ = 2h φ_1(ah)."""
        return self.weight * h * phi_1(self.kernel * h)

    def linear_weight(self, h: Tensor) -> Tensor:
        """w_1 = (2/h) ∫_0^h e^{a(h − τ)} τ dτ = 2h φ_2(ah)."""
        return self.weight * h * phi_2(self.kernel * h)

    def deviation(self, h: Tensor) -> Tensor:
        """Standard deviation of √2 ∫_0^h e^{b(h − τ)} dW: √((e^{2bh} − 1)/b), by Itô's isometry."""
        if not self.stochastic:
            return torch.zeros_like(h)
        return (torch.expm1(2 * self.linear * h) / self.linear).sqrt()


@dataclass(frozen=True)
class _OnPath(Form):
    path: GaussianPath

    def alpha(self, t: Tensor) -> Tensor:
        return self.path.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.path.sigma(t)

    def half_log_snr(self, t: Tensor) -> Tensor:
        return self.path.log_snr(t) / 2

    def time(self, half_log_snr: Tensor) -> Tensor:
        return self.path.t_from_log_snr(2 * half_log_snr)

    def scale(self, t: Tensor) -> Tensor:
        return self.path.sigma(t)


@dataclass(frozen=True)
class DataPrediction(_OnPath):
    """F = D, the denoised data, on any Gaussian path."""

    linear: ClassVar[float] = -1.0
    kernel: ClassVar[float] = -2.0

    def gain(self, t: Tensor) -> Tensor:
        return self.path.alpha(t)

    def from_denoised(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), torch.ones_like(t)


@dataclass(frozen=True)
class NoisePrediction(_OnPath):
    """F = ε = (x − α D)/σ, the predicted noise, on any Gaussian path."""

    def gain(self, t: Tensor) -> Tensor:
        return -self.path.sigma(t)

    def from_denoised(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / self.path.sigma(t), -self.path.alpha(t) / self.path.sigma(t)


@dataclass(frozen=True)
class DataPredictionODE(DataPrediction):
    """The probability-flow ODE in data prediction: DPM-Solver++ (Lu et al. 2022, 2211.01095)."""

    linear: ClassVar[float] = 0.0
    kernel: ClassVar[float] = -1.0
    weight: ClassVar[float] = 1.0
    stochastic: ClassVar[bool] = False


@dataclass(frozen=True)
class NoisePredictionODE(NoisePrediction):
    """The probability-flow ODE in noise prediction: DPM-Solver (Lu et al. 2022, 2206.00927) and DEIS."""

    weight: ClassVar[float] = 1.0
    stochastic: ClassVar[bool] = False


@dataclass(frozen=True)
class EDMPrediction(Form):
    """F of EDM's preconditioning, D = c_skip x + c_out F, on x = x0 + t ε (Karras et al. 2022, eq. 7 and Table 1).

    c_skip = σ_d²/(t² + σ_d²), c_out = t σ_d/√(t² + σ_d²). More of the SDE is linear in x than in the two others: with
    data N(0, σ_d²) nothing is left to predict. Raises ValueError unless sigma_data > 0.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not self.sigma_data > 0:
            raise ValueError(f"sigma_data is {self.sigma_data}; it must be positive")

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def half_log_snr(self, t: Tensor) -> Tensor:
        return -(t / (self.sigma_data * torch.hypot(t, torch.full_like(t, self.sigma_data)))).log()

    def time(self, half_log_snr: Tensor) -> Tensor:
        # sin of the angle whose tangent is t/σ_d is σ_d e^{−λ}; it lies below 1 for every finite t.
        sine = self.sigma_data * torch.exp(-half_log_snr)
        return self.sigma_data * sine / ((1 - sine) * (1 + sine)).sqrt()

    def scale(self, t: Tensor) -> Tensor:
        return t * torch.hypot(t, torch.full_like(t, self.sigma_data)) / self.sigma_data

    def gain(self, t: Tensor) -> Tensor:
        return self.scale(t)

    def from_denoised(self, t: Tensor) -> tuple[Tensor, Tensor]:
        root = torch.hypot(t, torch.full_like(t, self.sigma_data))
        return -self.sigma_data / (t * root), root / (t * self.sigma_data)


class Reader:
    """Reads F of a form at (x, times[k]) from a denoiser. What depends on the times alone is computed once."""

    def __init__(self, form: Form, times: Tensor, device: torch.device) -> None:
        p, q = form.from_denoised(times)
        alpha = form.alpha(times)
        self.p, self.q, self.alpha = p.tolist(), q.tolist(), alpha.tolist()
        self.levels = (form.sigma(times) / alpha).to(device)

    def denoised(self, denoiser: Denoiser, x: Tensor, k: int) -> Tensor:
        """D(x/α; σ/α), float64."""
        return denoiser(x / self.alpha[k], self.levels[k]).to(x)

    def __call__(self, denoiser: Denoiser, x: Tensor, k: int) -> Tensor:
        D = self.denoised(denoiser, x, k)
        return D if self.p[k] == 0 else self.p[k] * x + self.q[k] * D


def checked(form: Form, times: Tensor | Sequence[float]) -> Tensor:
    """`times` (N + 1,) in float64, if the SDE can be followed along them. They may end in 0, where σ = 0.

    Raises ValueError, naming what is wrong, unless times are finite, decrease, and have α and σ above 0 but for σ at 0.
    """
    times = torch.as_tensor(times, dtype=torch.float64)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be a grid of at least two times, not of shape {tuple(times.shape)}")
    if not bool(times.isfinite().all()):
        raise ValueError(f"times must be finite: {times.tolist()}")
    if not bool((times.diff() < 0).all()) or times[-1] < 0:
        raise ValueError(f"times must decrease, and not below 0: {times.tolist()}")
    for name, values in (("α", form.alpha(times)), ("σ", form.sigma(times)[: _positive(times)])):
        if bad := [(float(t), float(v)) for t, v in zip(times, values, strict=False) if not v > 0]:
            raise ValueError(
                f"{name} must be above 0 at every time of the grid; at t = {bad[0][0]:g} it is {bad[0][1]:g}"
            )
    if not bool(form.half_log_snr(times[: _positive(times)]).diff().gt(0).all()):
        raise ValueError("times are too close: the log-SNR does not increase from each to the next")
    return times


def _positive(times: Tensor) -> int:
    """How many times are above 0."""
    return len(times) - int(times[-1] == 0)


def split(times: Tensor) -> tuple[Tensor, bool]:
    """The times above 0, and whether a last step to 0 remains, which is a denoising: x_0 = D(x; t), without noise."""
    return times[: _positive(times)], bool(times[-1] == 0)
