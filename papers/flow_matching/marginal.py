"""Exact marginal paths and velocities, where the law of the data is known (Section 3.1, Theorem 1).

    p_t(x) = ∫ p_t(x | x_1) q(x_1) dx_1                                    (eq. 6)
    u_t(x) = E[u_t(x | x_1) | x] = m' D + (σ'/σ) (x − m D),   D = E[x_1 | x]  (eq. 8, with Theorem 3)

On a Gaussian path all that depends on the data is D, and that is the denoiser of `common/diffusion/oracle.py`, after
the scale is divided out: x_t = m x_1 + σ x_0 is m times (x_1 + (σ/m) x_0), so D = denoiser(x/m; σ/m).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Generator, Tensor

from common.diffusion.oracle import EmpiricalDenoiser, GaussianMixture
from papers.flow_matching.path import ConditionalPath, like

SMALLEST_SCALE = 1e-30
"""Stands for m = 0 (OT at t = 0): there x says nothing of x_1, and to rounding it says nothing at this scale either."""


class Oracle(Protocol):
    """A law of data with its denoiser, as `GaussianMixture` and `EmpiricalDenoiser`."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor: ...
    def log_prob(self, x: Tensor, sigma: Tensor, /) -> Tensor: ...
    def sample(self, n: int, generator: Generator, /) -> Tensor: ...


class MarginalField:
    """The path p_t and the velocity u_t of a law of data.

    All methods take x: (B, *D) and t: () or (B,), compute in float64 and return the dtype of x. They raise ValueError
    for t outside [0, last] of the path, and for shapes that do not match the data's.
    """

    def __init__(self, path: ConditionalPath, law: Oracle) -> None:
        self.path, self.law = path, law

    def _scales(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, m and σ, in float64."""
        t = t.to(device=x.device, dtype=torch.float64)
        self.path.check(t)
        return x.to(torch.float64), self.path.mean_scale(t).clamp(min=SMALLEST_SCALE), self.path.sigma(t)

    def posterior_mean(self, x: Tensor, t: Tensor) -> Tensor:
        """D = E[x_1 | x_t = x], (B, *D)."""
        z, m, sigma = self._scales(x, t)
        return self.law(z / like(m, z), sigma / m).to(x)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """u_t(x), (B, *D)."""
        t = t.to(device=x.device, dtype=torch.float64)
        z = x.to(torch.float64)
        # The average of an affine function of x_1 is its value at the average of x_1.
        return self.path.conditional_velocity(z, self.posterior_mean(z, t), t).to(x)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """∇ log p_t(x) = (m D − x)/σ², (B, *D)."""
        z, m, sigma = self._scales(x, t)
        return ((like(m, z) * self.posterior_mean(z, t) - z) / like(sigma.square(), z)).to(x)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(x) in nats, (B,): that of x/m, less the log-volume D log m of the change of scale."""
        z, m, sigma = self._scales(x, t)
        return (self.law.log_prob(z / like(m, z), sigma / m) - z[0].numel() * m.log()).to(x)

    def sample(self, n: int, t: Tensor, generator: Generator) -> Tensor:
        """n draws of p_t, (n, *D) float64; t: () or (n,)."""
        x_1 = self.law.sample(n, generator)
        x_0 = torch.randn(x_1.shape, generator=generator, dtype=x_1.dtype, device=x_1.device)
        t = t.to(x_1)
        self.path.check(t)
        return self.path.sample(x_0, x_1, t)


class MixtureField(MarginalField):
    """For data from a Gaussian mixture; x: (B, D)."""

    def __init__(self, path: ConditionalPath, mixture: GaussianMixture) -> None:
        super().__init__(path, mixture)


class EmpiricalField(MarginalField):
    """For a finite data set (N, *D), each point equally likely: D is a softmax-weighted mean of the points."""

    def __init__(self, path: ConditionalPath, data: Tensor, chunk: int = 2048) -> None:
        super().__init__(path, EmpiricalDenoiser(data, chunk))
