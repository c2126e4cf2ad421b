"""Preconditioning: how a raw network F becomes a denoiser D (Section 5, Equation 7, and Table 1's "Network" rows).

    D(x; σ) = c_skip(σ) x + c_out(σ) F(c_in(σ) x; c_noise(σ))

A `Precond` is the four functions; `Preconditioned(net, precond)` is the denoiser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from papers.edm.schedule import LINEAR_BETA, LinearBeta, iddpm_u, nearest


class Precond(ABC):
    """c_skip, c_out, c_in and c_noise of Equation 7, at any shape of `sigma`, in its dtype.

    c_skip is 1 for all networks that predict noise (VP, VE, iDDPM).
    """

    @property
    @abstractmethod
    def sigma_min(self) -> float:
        """Smallest noise level that a network trained with this is made for."""

    @property
    @abstractmethod
    def sigma_max(self) -> float:
        """Largest noise level that a network trained with this is made for."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    @abstractmethod
    def c_out(self, sigma: Tensor) -> Tensor: ...

    @abstractmethod
    def c_in(self, sigma: Tensor) -> Tensor: ...

    @abstractmethod
    def c_noise(self, sigma: Tensor) -> Tensor: ...

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The trained noise level nearest to `sigma`: `sigma` itself, unless training is at discrete levels."""
        return sigma

    def network_target(self, x0: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """What F is trained to return, (x0 − c_skip x) / c_out (Equation 8), for x = x0 + σ ε of any shape (B, *D)."""
        sigma = per_sample(sigma, x)
        return (x0 - self.c_skip(sigma) * x) / self.c_out(sigma)


@dataclass(frozen=True)
class VPPrecond(Precond):
    """Score SDE's DDPM++ (Table 1, VP): F predicts ε from x/√(σ² + 1) and the time σ⁻¹(σ), scaled to [0, M−1]."""

    noise: LinearBeta = LINEAR_BETA
    M: int = 1000
    epsilon_t: float = 1e-5

    @property
    def sigma_min(self) -> float:
        return float(self.noise.sigma(torch.tensor(self.epsilon_t, dtype=torch.float64)))

    @property
    def sigma_max(self) -> float:
        return float(self.noise.sigma(torch.tensor(1.0, dtype=torch.float64)))

    def c_out(self, sigma: Tensor) -> Tensor:
        return -sigma

    def c_in(self, sigma: Tensor) -> Tensor:
        return 1 / (sigma**2 + 1).sqrt()

    def c_noise(self, sigma: Tensor) -> Tensor:
        return (self.M - 1) * self.noise.sigma_inv(sigma)


@dataclass(frozen=True)
class VEPrecond(Precond):
    """Score SDE's NCSN++ (Table 1, VE): F predicts −ε from the raw x."""

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def c_out(self, sigma: Tensor) -> Tensor:
        return sigma

    def c_in(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def c_noise(self, sigma: Tensor) -> Tensor:
        return (0.5 * sigma).log()


@dataclass(frozen=True)
class IDDPMPrecond(Precond):
    """iDDPM, ADM and DDIM (Table 1): F predicts ε at the nearest of the levels u_j, numbered from the cleanest, M−1."""

    M: int = 1000
    C_1: float = 0.001
    C_2: float = 0.008

    @property
    def u(self) -> Tensor:
        return iddpm_u(self.M, self.C_1, self.C_2)

    @property
    def sigma_min(self) -> float:
        return float(self.u[self.M - 1])

    @property
    def sigma_max(self) -> float:
        return float(self.u[0])

    def c_out(self, sigma: Tensor) -> Tensor:
        return -sigma

    def c_in(self, sigma: Tensor) -> Tensor:
        return 1 / (sigma**2 + 1).sqrt()

    def c_noise(self, sigma: Tensor) -> Tensor:
        return (self.M - 1 - nearest(sigma, self.u)).to(sigma.dtype)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        return self.u.to(sigma)[nearest(sigma, self.u)]


@dataclass(frozen=True)
class EDMPrecond(Precond):
    """The paper's own (Table 1, EDM; derived in Appendix B.6).

    Input and training target have unit variance for data of standard deviation `sigma_data`, and among those choices
    c_skip makes c_out, which amplifies the network's error, as small as can be.
    """

    sigma_data: float = 0.5

    @property
    def sigma_min(self) -> float:
        return 0.0

    @property
    def sigma_max(self) -> float:
        return inf

    def c_skip(self, sigma: Tensor) -> Tensor:
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def c_out(self, sigma: Tensor) -> Tensor:
        return sigma * self.sigma_data / (sigma**2 + self.sigma_data**2).sqrt()

    def c_in(self, sigma: Tensor) -> Tensor:
        return 1 / (sigma**2 + self.sigma_data**2).sqrt()

    def c_noise(self, sigma: Tensor) -> Tensor:
        return sigma.log() / 4


class Preconditioned(nn.Module):
    """The denoiser D(x; σ) of Equation 7.

    `net(x, c_noise, **cond)` takes x (B, *D) and c_noise (B,) in `dtype`, and returns (B, *D), or twice as many
    channels, of which the second half (iDDPM's learned variance) is not used. The result has the dtype of x, so
    that a solver's float64 state keeps its precision and only the network's contribution is rounded.
    """

    def __init__(self, net: nn.Module, precond: Precond, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.net = net
        self.precond = precond
        self.dtype = dtype

    def forward(self, x: Tensor, sigma: Tensor | float, **cond: Tensor | None) -> Tensor:
        """x (B, *D) and sigma (scalar or (B,)) to E[x0 | x] (B, *D). Raises ValueError where shapes do not fit."""
        sigma = per_sample(sigma, x)
        c_skip, c_out = self.precond.c_skip(sigma), self.precond.c_out(sigma)
        c_in, c_noise = self.precond.c_in(sigma), self.precond.c_noise(sigma)
        F_x = self.net((c_in * x).to(self.dtype), c_noise.flatten().to(self.dtype), **cond)
        if F_x.shape[1] == 2 * x.shape[1]:
            F_x = F_x[:, : x.shape[1]]
        if F_x.shape != x.shape:
            raise ValueError(f"the network returned {tuple(F_x.shape)} for an input of {tuple(x.shape)}")
        return c_skip * x + c_out * F_x.to(x.dtype)


def per_sample(sigma: Tensor | float, x: Tensor) -> Tensor:
    """`sigma`, a scalar or (B,), as (B, 1, …, 1) in the dtype and on the device of x (B, *D).

    Raises ValueError for any other shape.
    """
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if sigma.ndim > 1 or (sigma.ndim == 1 and sigma.shape[0] not in (1, x.shape[0])):
        raise ValueError(f"sigma must be a scalar or have shape ({x.shape[0]},), not {tuple(sigma.shape)}")
    return sigma.expand(x.shape[0]).reshape(-1, *[1] * (x.ndim - 1))
