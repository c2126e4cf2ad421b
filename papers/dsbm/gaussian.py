"""The exact answer for Gaussians: the Schrödinger bridge, and every iterate of IMF and of IPF, in full covariances.

All of these are one kind of process: two Gaussian ends, correlated, with Brownian bridges between (`GaussianBridge`).
They differ in the coupling of the ends alone. Everything is float64; S_0, S_1 are the covariances of the ends, and
C = Cov(x_0, x_1), (D, D).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import torch
from torch import Generator, Tensor

from papers.dsbm.bridge import check_sigma


@dataclass(frozen=True, eq=False)
class GaussianBridge:
    """x_t = (1 − t) x_0 + t x_1 + σ √(t (1 − t)) ε with (x_0, x_1) Gaussian: a member of the reciprocal class.

    Its Markovian projection has the same mean and covariance at every t and the affine drifts below; where the bridge
    is Markov itself (the Schrödinger bridge and the IPF iterates) they are its own drifts.

    mean_0, mean_1: (D,); cov_0, cov_1, cross = Cov(x_0, x_1): (D, D). Raises ValueError for other shapes, a negative
    sigma, or covariances that are not symmetric and positive definite.
    """

    mean_0: Tensor
    mean_1: Tensor
    cov_0: Tensor
    cov_1: Tensor
    cross: Tensor
    sigma: float

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        dim = len(self.mean_0)
        for name in ("mean_0", "mean_1", "cov_0", "cov_1", "cross"):
            value = getattr(self, name)
            shape = (dim,) if name.startswith("mean") else (dim, dim)
            if tuple(value.shape) != shape or value.dtype != torch.float64:
                raise ValueError(f"{name} is {value.dtype} of shape {tuple(value.shape)}; it must be float64 {shape}")
        check_covariance("cov_0", self.cov_0)
        check_covariance("cov_1", self.cov_1)

    def mean(self, t: float) -> Tensor:
        """(1 − t) m_0 + t m_1, (D,)."""
        return (1 - t) * self.mean_0 + t * self.mean_1

    def cov(self, t: float) -> Tensor:
        """S_t = (1 − t)² S_0 + t² S_1 + t (1 − t) (C + Cᵀ + σ² I), (D, D)."""
        eye = torch.eye(len(self.mean_0), dtype=self.cov_0.dtype)
        ends = (1 - t) ** 2 * self.cov_0 + t**2 * self.cov_1
        return ends + t * (1 - t) * (self.cross + self.cross.T + self.sigma**2 * eye)

    def forward_rate(self, t: float) -> Tensor:
        """A_t of the forward drift v_f(x, t) = m_1 − m_0 + A_t (x − m_t), (D, D).

        v_f = (E[x_1 | x_t] − x_t)/(1 − t), of which 1 − t cancels:
        A_t = ((1 − t) (Cᵀ − S_0) + t (S_1 − C − σ² I)) S_t⁻¹. Nothing blows up at t = 1.
        """
        eye = torch.eye(len(self.mean_0), dtype=self.cov_0.dtype)
        moving = (1 - t) * (self.cross.T - self.cov_0) + t * (self.cov_1 - self.cross - self.sigma**2 * eye)
        return torch.linalg.solve(self.cov(t), moving, left=False)

    def backward_rate(self, t: float) -> Tensor:
        """B_t of the backward drift v_b(x, t) = m_0 − m_1 + B_t (x − m_t): the forward one of `reverse` at 1 − t."""
        return self.reverse().forward_rate(1 - t)

    def forward_drift(self, x: Tensor, t: Tensor | float) -> Tensor:
        """v_f(x, t) for x: (B, D) and one time t; what a forward network learns."""
        t = float(t)
        return self.mean_1 - self.mean_0 + (x - self.mean(t)) @ self.forward_rate(t).T

    def backward_drift(self, x: Tensor, t: Tensor | float) -> Tensor:
        """v_b(x, t) for x: (B, D) and one time t; what a backward network learns."""
        t = float(t)
        return self.mean_0 - self.mean_1 + (x - self.mean(t)) @ self.backward_rate(t).T

    def reverse(self) -> GaussianBridge:
        """The same process with time running down: the ends exchanged."""
        return GaussianBridge(self.mean_1, self.mean_0, self.cov_1, self.cov_0, self.cross.T, self.sigma)

    def joint(self) -> tuple[Tensor, Tensor]:
        """Mean (2D,) and covariance (2D, 2D) of (x_0, x_1)."""
        top, bottom = torch.cat([self.cov_0, self.cross], 1), torch.cat([self.cross.T, self.cov_1], 1)
        return torch.cat([self.mean_0, self.mean_1]), torch.cat([top, bottom])

    def sample(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """n pairs (x_0, x_1), each (n, D)."""
        mean, cov = self.joint()
        eps = torch.randn(n, len(mean), generator=generator, dtype=mean.dtype)
        # By eigenvectors rather than Cholesky's factor, since ends that determine each other have a singular law.
        x = mean + eps @ sqrtm(cov)
        return x[:, : len(self.mean_0)], x[:, len(self.mean_0) :]

    def transport_cost(self) -> float:
        """E‖x_0 − x_1‖²."""
        shift = self.mean_0 - self.mean_1
        return float(shift @ shift + (self.cov_0 + self.cov_1 - self.cross - self.cross.T).trace())


def check_covariance(name: str, cov: Tensor) -> None:
    """Raise ValueError unless `cov` is symmetric and positive definite."""
    if not torch.allclose(cov, cov.T, rtol=0, atol=1e-9 * float(cov.abs().max())):
        raise ValueError(f"{name} is not symmetric")
    if not (lowest := float(torch.linalg.eigvalsh(cov).min())) > 0:
        raise ValueError(f"{name} has the eigenvalue {lowest:.3g}; a covariance here must be positive definite")


def sqrtm(cov: Tensor) -> Tensor:
    """The symmetric root of a symmetric positive semi-definite matrix (D, D)."""
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def independent_bridge(mean_0: Tensor, mean_1: Tensor, cov_0: Tensor, cov_1: Tensor, sigma: float) -> GaussianBridge:
    """π_0 ⊗ π_1 with bridges between: where DSBM-IMF begins."""
    return GaussianBridge(mean_0, mean_1, cov_0, cov_1, torch.zeros_like(cov_0), sigma)


def reference_bridge(mean_0: Tensor, cov_0: Tensor, sigma: float) -> GaussianBridge:
    """σ times Brownian motion started at π_0: where IPF and DSBM-IPF begin."""
    eye = torch.eye(len(mean_0), dtype=cov_0.dtype)
    return GaussianBridge(mean_0, mean_0, cov_0, cov_0 + sigma**2 * eye, cov_0, sigma)


def schrodinger_bridge(mean_0: Tensor, mean_1: Tensor, cov_0: Tensor, cov_1: Tensor, sigma: float) -> GaussianBridge:
    """The Schrödinger bridge between N(m_0, S_0) and N(m_1, S_1) (Bunne et al. 2022, arXiv:2202.05722, Theorem 3).

    C = ½ (S_0^½ D S_0^−½ − σ² I) with D = (4 S_0^½ S_1 S_0^½ + σ⁴ I)^½; the means play no part in it. At σ = 0 it is
    optimal transport; in one dimension with unit variances c* = √(1 + σ⁴/4) − σ²/2.
    """
    check_covariance("cov_0", cov_0)
    root, eye = sqrtm(cov_0), torch.eye(len(mean_0), dtype=cov_0.dtype)
    d = sqrtm(4 * root @ cov_1 @ root + sigma**4 * eye)
    cross = (root @ torch.linalg.solve(root, d, left=False) - sigma**2 * eye) / 2
    return GaussianBridge(mean_0, mean_1, cov_0, cov_1, cross, sigma)


def markovian_projection(bridge: GaussianBridge) -> GaussianBridge:
    """One iteration of IMF: the Markovian projection of `bridge`, and bridges between the ends that it makes.

    The projection solves dx = v_f(x, t) dt + σ dW from x_0 ~ N(m_0, S_0), so that x_1 = Φ x_0 + … with dΦ/dt = A_t Φ,
    and C becomes S_0 Φᵀ. Both ends keep their law. Φ is integrated to a relative error of 1e-12; its reversal would
    give the same coupling, so the direction of a pass does not matter here.
    """
    from scipy.integrate import solve_ivp

    dim = len(bridge.mean_0)

    def field(t: float, flat: np.ndarray) -> np.ndarray:
        return (bridge.forward_rate(t).numpy() @ flat.reshape(dim, dim)).ravel()

    solved = solve_ivp(field, (0, 1), np.eye(dim).ravel(), method="DOP853", rtol=1e-12, atol=1e-13)
    phi = torch.from_numpy(solved.y[:, -1].reshape(dim, dim).copy())
    return replace(bridge, cross=bridge.cov_0 @ phi.T)


def simulated(bridge: GaussianBridge, mean_0: Tensor, cov_0: Tensor, steps: int) -> GaussianBridge:
    """The ends that `steps` steps of Euler–Maruyama with the exact forward drift of `bridge` make from N(m_0, S_0).

    y = x − m_t follows y <- (I + Δ A_t) y + σ √Δ ε, a linear chain: no draw is needed. Shows what discretisation alone
    does to a pass. Backward: of `bridge.reverse()`.
    """
    eye = torch.eye(len(mean_0), dtype=cov_0.dtype)
    shift, cov, cross = mean_0 - bridge.mean_0, cov_0, cov_0
    for k in range(steps):
        step = eye + bridge.forward_rate(k / steps) / steps
        shift, cross = step @ shift, cross @ step.T
        cov = step @ cov @ step.T + bridge.sigma**2 / steps * eye
    return GaussianBridge(mean_0, bridge.mean_1 + shift, cov_0, (cov + cov.T) / 2, cross, bridge.sigma)


def imf(start: GaussianBridge) -> Iterator[GaussianBridge]:
    """The iterates of iterative Markovian fitting, `start` first: Π⁰, Π¹, … (Section 3)."""
    while True:
        yield start
        start = markovian_projection(start)


def half_bridge(bridge: GaussianBridge, mean_1: Tensor, cov_1: Tensor) -> GaussianBridge:
    """The law of x_0 given x_1 kept, and that of x_1 replaced by N(m_1, S_1): one half step of IPF, made backwards.

    With K = C S_1⁻¹ of `bridge`: x_0 = m_0 + K (x_1 − m_1) + noise of covariance S_0 − K Cᵀ.
    """
    gain = torch.linalg.solve(bridge.cov_1, bridge.cross, left=False)
    rest = bridge.cov_0 - gain @ bridge.cross.T
    cov_0 = rest + gain @ cov_1 @ gain.T
    mean_0 = bridge.mean_0 + gain @ (mean_1 - bridge.mean_1)
    return GaussianBridge(mean_0, mean_1, (cov_0 + cov_0.T) / 2, cov_1, gain @ cov_1, bridge.sigma)


def ipf(mean_0: Tensor, mean_1: Tensor, cov_0: Tensor, cov_1: Tensor, sigma: float) -> Iterator[GaussianBridge]:
    """The iterates of iterative proportional fitting, the reference process first (Section 2, Equation 2).

    Odd iterates (the backward passes) have the second marginal right, even ones (forward) the first.
    """
    bridge = reference_bridge(mean_0, cov_0, sigma)
    while True:
        yield bridge
        bridge = half_bridge(bridge, mean_1, cov_1)
        yield bridge
        bridge = half_bridge(bridge.reverse(), mean_0, cov_0).reverse()


def unit_gaussians(dim: int, a: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The paper's pair (Section 6): N(−a 1, I) and N(a 1, I), as (m_0, m_1, S_0, S_1)."""
    mean, eye = torch.full((dim,), a, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
    return -mean, mean, eye, eye


def unit_correlation(sigma: float) -> float:
    """c* = √(1 + σ⁴/4) − σ²/2, the correlation of the Schrödinger bridge's ends where both have unit variance."""
    return sqrt(1 + sigma**4 / 4) - sigma**2 / 2
