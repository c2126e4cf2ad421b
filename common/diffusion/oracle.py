"""Exact denoisers: Gaussian mixtures and finite data sets, with their scores, log-densities and samples.

All are for x = x0 + sigma eps, and compute in float64 whatever the dtype of `x` (the result has the dtype of `x`).
Denoiser and score are tied by Tweedie's formula, D(x; sigma) = x + sigma² ∇ log p(x; sigma) (Karras et al., eq. 3).
"""

from __future__ import annotations

from math import log, pi, prod

import torch
from torch import Tensor

LOG_2PI = log(2 * pi)


def _sigma_like(sigma: Tensor | float, x: Tensor) -> Tensor:
    """`sigma` in float64 on the device of `x`. Raises ValueError where its shape is neither () nor (B,)."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
    if sigma.ndim > 0 and sigma.shape != x.shape[:1]:
        raise ValueError(f"sigma must be a scalar or of shape ({x.shape[0]},), not {tuple(sigma.shape)}")
    return sigma


class GaussianMixture:
    """Mixture Σ_k w_k N(μ_k, C_k), whose noisy marginal at level sigma is Σ_k w_k N(μ_k, C_k + sigma² I).

    Args:
        means: (K, D).
        covariance: full (K, D, D), positive semidefinite, or isotropic standard deviations (K,).
        weights: (K,), positive, normalised here; equal when left out.

    Raises: ValueError where shapes do not match or a weight is not positive.
    """

    def __init__(self, means: Tensor, covariance: Tensor, weights: Tensor | None = None) -> None:
        K, D = means.shape
        self.means = means.to(torch.float64)
        covariance = covariance.to(self.means)
        weights = torch.ones(K).to(self.means) if weights is None else weights.to(self.means)
        if weights.shape != (K,) or not (weights > 0).all():
            raise ValueError(f"weights must be {K} positive numbers, one for each mean")
        self.weights = weights / weights.sum()
        # C_k = U_k diag(λ_k) U_kᵀ once, so that C_k + sigma² I is inverted at any sigma for free; U = I if isotropic.
        self.axes: Tensor | None = None
        if covariance.shape == (K,):
            self.variances = covariance.square()[:, None].expand(K, D)
        elif covariance.shape == (K, D, D):
            self.variances, self.axes = torch.linalg.eigh(covariance)
            self.variances = self.variances.clamp(min=0)
        else:
            raise ValueError(f"covariance must have shape ({K},) or ({K}, {D}, {D}), not {tuple(covariance.shape)}")

    def _to_axes(self, r: Tensor) -> Tensor:
        """r_k (B, K, D) in the eigenbasis of each component."""
        return r if self.axes is None else torch.einsum("bki,kij->bkj", r, self.axes)

    def _from_axes(self, r: Tensor) -> Tensor:
        return r if self.axes is None else torch.einsum("bkj,kij->bki", r, self.axes)

    def _components(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """U_kᵀ (x - μ_k) (B, K, D), the variances λ_k + sigma² there, log w_k N(x; μ_k, C_k + sigma² I) (B, K)."""
        if x.ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise ValueError(f"x must have shape (B, {self.means.shape[1]}), not {tuple(x.shape)}")
        variances = self.variances + _sigma_like(sigma, x).square()[..., None, None]
        r = self._to_axes(x.to(self.means)[:, None] - self.means)
        log_joint = self.weights.log() - 0.5 * (r.square() / variances + variances.log() + LOG_2PI).sum(-1)
        return r, variances, log_joint

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x] = Σ_k γ_k(x) [μ_k + C_k (C_k + sigma² I)⁻¹ (x - μ_k)]; x: (B, D), sigma: scalar or (B,)."""
        r, variances, log_joint = self._components(x, sigma)
        posterior_means = self.means + self._from_axes(self.variances / variances * r)
        return (log_joint.softmax(-1)[..., None] * posterior_means).sum(1).to(x)

    def score(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """∇ log p(x; sigma) = -Σ_k γ_k(x) (C_k + sigma² I)⁻¹ (x - μ_k), (B, D)."""
        r, variances, log_joint = self._components(x, sigma)
        return -(log_joint.softmax(-1)[..., None] * self._from_axes(r / variances)).sum(1).to(x)

    def log_prob(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """log p(x; sigma) in nats, (B,)."""
        return self._components(x, sigma)[2].logsumexp(-1).to(x)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of x0, (n, D), float64."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64, device=self.means.device)
        z = self.variances[k].sqrt() * z
        return self.means[k] + (z if self.axes is None else torch.einsum("nj,nij->ni", z, self.axes[k]))


class EmpiricalDenoiser:
    """The exact denoiser of a finite data set {y_1 … y_N}: of the distribution (1/N) Σ_i N(y_i, sigma² I).

    D(x; sigma) = Σ_i w_i y_i with w = softmax_i(-‖x - y_i‖² / (2 sigma²)) (Karras et al. 2022, appendix B.3).

    Data and batch are taken `chunk` rows at a time with a running log-sum-exp, so memory is O(chunk²).

    Args:
        data: (N, *D); the denoiser then works on x: (B, *D).
    """

    def __init__(self, data: Tensor, chunk: int = 2048) -> None:
        self.data = data.to(torch.float64)
        self.chunk = chunk
        # ‖x - y‖² = ‖x‖² - 2 x·y + ‖y‖² loses digits with the square of the norms: keep them small by centring.
        self.mean = self.data.flatten(1).mean(0)
        self.centred = self.data.flatten(1) - self.mean
        self.half_norms = self.centred.square().sum(1) / 2

    def _posterior(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For centred x (B, D): Σ_i w_i y_i (B, D), the nearest point's index n (B,), and log Σ_i w_i / w_n (B,)."""
        variance = sigma.square().expand(len(x))[:, None]
        peak = x.new_full((len(x), 1), -torch.inf)
        total, weighted = torch.zeros_like(peak), torch.zeros_like(x)
        nearest = torch.zeros(len(x), dtype=torch.long, device=x.device)
        for start in range(0, len(self.centred), self.chunk):
            y = self.centred[start : start + self.chunk]
            # Log-weights up to -‖x‖² / (2 sigma²), which all points share.
            logits = torch.addmm(-self.half_norms[start : start + self.chunk], x, y.T) / variance
            top, index = logits.max(1, keepdim=True)
            nearest = torch.where(top[:, 0] > peak[:, 0], index[:, 0] + start, nearest)
            new_peak = torch.maximum(peak, top)
            w, decay = (logits - new_peak).exp(), (peak - new_peak).exp()
            total = decay * total + w.sum(1, keepdim=True)
            weighted = decay * weighted + w @ y
            peak = new_peak
        return weighted / total, nearest, total[:, 0].log()

    def _chunks(self, x: Tensor, sigma: Tensor | float) -> list[tuple[Tensor, Tensor]]:
        """Centred x in chunks (b, D), each with its sigma."""
        if x.shape[1:] != self.data.shape[1:]:
            raise ValueError(f"x must have shape (B, {', '.join(map(str, self.data.shape[1:]))}), not {tuple(x.shape)}")
        sigma = _sigma_like(sigma, x)
        if not (sigma > 0).all():
            raise ValueError("sigma must be positive: the density of a finite data set is not defined at sigma = 0")
        centred = x.to(self.data).flatten(1) - self.mean
        return list(zip(centred.split(self.chunk), sigma.expand(len(x)).split(self.chunk), strict=True))

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x] as above; x: (B, *D), sigma: positive, scalar or (B,)."""
        denoised = [self._posterior(*part)[0] for part in self._chunks(x, sigma)]
        return (torch.cat(denoised) + self.mean).reshape(x.shape).to(x)

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """∇ log p(x; sigma) = (D(x; sigma) - x) / sigma², (B, *D)."""
        scores = [(self._posterior(z, s)[0] - z) / s.square()[:, None] for z, s in self._chunks(x, sigma)]
        return torch.cat(scores).reshape(x.shape).to(x)

    def log_prob(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """log (1/N) Σ_i N(x; y_i, sigma² I) in nats, (B,)."""
        log_probs = []
        for z, s in self._chunks(x, sigma):
            _, nearest, log_ratio = self._posterior(z, s)
            # The nearest point's distance taken directly: near the data it is far below the rounding of ‖x‖².
            exponent = (z - self.centred[nearest]).square().sum(1) / (2 * s.square())
            D = prod(self.data.shape[1:])
            log_probs.append(log_ratio - exponent - D * (s.log() + LOG_2PI / 2) - log(len(self.data)))
        return torch.cat(log_probs).to(x)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws from the data with replacement, (n, *D), float64."""
        return self.data[torch.randint(len(self.data), (n,), generator=generator, device=self.data.device)]


def gaussian_flow(
    x: Tensor, sigma_from: float | Tensor, sigma_to: float | Tensor, mean: Tensor, covariance: Tensor
) -> Tensor:
    """Exact map of the probability-flow ODE between two noise levels, for data N(mean, covariance).

    Along each eigenvector of C = U diag(λ) Uᵀ the ODE is linear, d(x - μ)/dsigma = sigma (x - μ) / (λ + sigma²), so
    x(sigma_to) = μ + U √((λ + sigma_to²) / (λ + sigma_from²)) Uᵀ (x(sigma_from) - μ).

    Args:
        x: (B, D) at level `sigma_from`.
        sigma_from, sigma_to: scalars, in either order; `sigma_from` may be 0 only where C is not singular.
        mean: (D,).
        covariance: (D, D).
    """
    variances, axes = torch.linalg.eigh(covariance.to(torch.float64))
    sigma_from, sigma_to = _sigma_like(sigma_from, x), _sigma_like(sigma_to, x)
    stretch = ((variances + sigma_to.square()) / (variances + sigma_from.square())).sqrt()
    r = (x.to(variances) - mean.to(variances)) @ axes
    return (mean.to(variances) + (stretch * r) @ axes.T).to(x)
