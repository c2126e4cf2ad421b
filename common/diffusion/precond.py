"""Preconditioning: how a raw network F becomes a denoiser D (Section 5, Equation 7, and Table 1's "Network" rows).

References are to EDM, Karras et al. 2022, arXiv 2206.00364.

    D(x; σ) = c_skip(σ) x + c_out(σ) F(c_in(σ) x; c_noise(σ))

A `Precond` is the four functions; `Preconditioned(net, precond)` is the denoiser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isclose

import torch
from torch import Tensor, nn

from common.diffusion.schedule import LINEAR_BETA, LinearBeta, edm_sigmas, iddpm_u, nearest


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

    def sigmas(self, steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
        """`edm_sigmas` within the range of the network, as the official samplers take them.

        The ends are drawn into [self.sigma_min, self.sigma_max], and each level is rounded to a trained one. Where
        several are rounded to the same one, it is taken once. Returns (steps + 1,), or fewer then. Raises ValueError as
        `edm_sigmas` does, so too where the two ranges do not meet.
        """
        grid = edm_sigmas(steps, max(sigma_min, self.sigma_min), min(sigma_max, self.sigma_max), rho)
        return torch.cat([self.round_sigma(grid[:-1]).unique_consecutive(), grid[-1:]])

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
    sigma_min: float = 0.0
    sigma_max: float = inf

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


def official_precond(class_name: str, settings: Mapping[str, float]) -> Precond:
    """The preconditioning of an official file, by the name of its class and the numbers that it holds.

    Raises ValueError for a class that is none of Table 1's, and where VP or iDDPM has another range of noise levels
    than its settings give.
    """
    number = settings.__getitem__
    precond: Precond
    match class_name:
        case "VPPrecond":
            noise = LinearBeta(number("beta_d"), number("beta_min"))
            precond = VPPrecond(noise, int(number("M")), number("epsilon_t"))
        case "VEPrecond":
            return VEPrecond(number("sigma_min"), number("sigma_max"))
        case "iDDPMPrecond":
            precond = IDDPMPrecond(int(number("M")), number("C_1"), number("C_2"))
        case "EDMPrecond":
            return EDMPrecond(number("sigma_data"), number("sigma_min"), number("sigma_max"))
        case _:
            raise ValueError(
                f"no preconditioning {class_name!r}; there are VPPrecond, VEPrecond, iDDPMPrecond and EDMPrecond"
            )
    for name in ("sigma_min", "sigma_max"):
        ours, theirs = getattr(precond, name), number(name)
        # The official range is computed in float32, which leaves σ(1e-5) = 0.001 of VP wrong by 2.4 %.
        if not isclose(ours, theirs, rel_tol=0.05):
            raise ValueError(f"{class_name} has {name} = {theirs:g}, where its settings give {ours:g}")
    return precond


def per_sample(sigma: Tensor | float, x: Tensor) -> Tensor:
    """`sigma`, a scalar or (B,), as (B, 1, …, 1) in the dtype and on the device of x (B, *D).

    Raises ValueError for any other shape.
    """
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if sigma.ndim > 1 or (sigma.ndim == 1 and sigma.shape[0] not in (1, x.shape[0])):
        raise ValueError(f"sigma must be a scalar or have shape ({x.shape[0]},), not {tuple(sigma.shape)}")
    return sigma.expand(x.shape[0]).reshape(-1, *[1] * (x.ndim - 1))
