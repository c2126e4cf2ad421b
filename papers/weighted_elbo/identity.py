"""The identity: L_w is a weighted integral of ELBOs, both sides computed by themselves (Section 4, Theorem 1).

    L_w(x) = ½ ∫ w(λ) E‖ε̂ − ε‖² dλ
           = ∫_0^1 L(t; x) dw(λ_t) + w(λ_max) L(0; x) − w(λ_min) L(1; x)

    L(t; x) = KL(q(z_{t…1} | x) ‖ p(z_{t…1}))

`training_loss` is the left side: the loss that the objective trains with, halved, over its own levels. `kl_terms` and
`elbos` are L(t; x), from the chain of Gaussians that ancestral sampling draws from, step by step; `by_parts` adds it
up. The last term has no network in it. L(t; x) is the negative ELBO of z_t up to the entropy of q(z_t | x), so with a w
that never rises L_w is the expected negative ELBO of noisy data. Nothing asks for a good denoiser.

Data are single numbers: expectations over the noise are sums over the nodes of a Gauss-Hermite rule. x: (N,). The chain
is that of a variance-preserving path; no KL depends on the scale of z.
"""

from __future__ import annotations

from math import pi

import numpy as np
import torch
from torch import Tensor

from common.diffusion.objective import Net, Objective
from common.diffusion.solvers import Denoiser

STEPS_AT_ONCE = 64
"""Noise levels whose expectations are computed together."""


def gauss_hermite(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes (M,) and weights (M,) of E f(ε) ≈ Σ w f(ε) for ε ~ N(0, 1), exact for polynomials up to degree 2M − 1."""
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.tensor(at), torch.tensor(weights) / (2 * pi) ** 0.5


def network(objective: Objective, denoiser: Denoiser) -> Net:
    """The network that a denoiser is for an objective: its prediction on its path, at x_t: (B, D) and t: (B,)."""
    path = objective.path

    def net(x_t: Tensor, t: Tensor) -> Tensor:
        x0 = denoiser(*path.to_sigma_coordinates(x_t, t))
        return path.convert(x0, x_t, t, "x0", objective.prediction)

    return net


def training_loss(objective: Objective, net: Net, x: Tensor, log_snr: Tensor, nodes: int = 64) -> Tensor:
    """½ ∫ p(λ) E[loss at λ] dλ over the range of `log_snr` (K,), increasing, by the trapezoidal rule. Returns (N,)."""
    eps, weights = gauss_hermite(nodes)
    parts = []
    for part in log_snr.split(STEPS_AT_ONCE):
        shape = (len(part), len(x), nodes)
        t = objective.path.t_from_log_snr(part)[:, None, None].expand(shape).flatten()
        x0, noise = x[None, :, None].expand(shape).reshape(-1, 1), eps.expand(shape).reshape(-1, 1)
        parts.append(objective.loss_at(net, x0, noise, t).reshape(shape) @ weights)
    loss = torch.cat(parts)
    return torch.trapezoid(objective.levels.density(log_snr)[:, None] * loss, log_snr, dim=0) / 2


def kl_terms(denoiser: Denoiser, x: Tensor, log_snr: Tensor, nodes: int = 64) -> Tensor:
    """E KL(q(z_s | z_t, x) ‖ q(z_s | z_t, x = x̂(z_t))) for each step of the chain, s < t; E over z_t. Returns (T, N).

    Both are Gaussian, with the same variance. `log_snr` (T + 1,) decreases: step i is from λ_{i+1} at t to λ_i at s.
    Raises ValueError where it does not.
    """
    if not bool((log_snr.diff() < 0).all()):
        raise ValueError("log_snr must decrease from one step to the next")
    eps, weights = gauss_hermite(nodes)
    terms = []
    for at_s, at_t in zip(log_snr[:-1].split(STEPS_AT_ONCE), log_snr[1:].split(STEPS_AT_ONCE), strict=True):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = (preserving(each[:, None, None]) for each in (at_s, at_t))
        z_t = alpha_t * x[None, :, None] + sigma_t * eps
        sigma = (sigma_t / alpha_t).expand(z_t.shape).flatten()
        x_hat = denoiser((z_t / alpha_t).reshape(-1, 1), sigma).reshape(z_t.shape)
        # From q(z_t | z_s) = N(a z_s, added) with a = α_t/α_s, by Bayes' rule:
        # q(z_s | z_t, x) = N(a σ_s²/σ_t² z_t + α_s added/σ_t² x, added σ_s²/σ_t²).
        added = -sigma_t.square() * torch.expm1(at_t - at_s)[:, None, None]
        variance = added * sigma_s.square() / sigma_t.square()
        of_z_t = alpha_t / alpha_s * sigma_s.square() / sigma_t.square() * z_t
        means = [of_z_t + alpha_s * added / sigma_t.square() * clean for clean in (x[None, :, None], x_hat)]
        terms.append(((means[0] - means[1]).square() / (2 * variance)) @ weights)
    return torch.cat(terms)


def prior_kl(x: Tensor, log_snr_min: float) -> Tensor:
    """L(1; x) = KL(q(z_1 | x) ‖ N(0, 1)), (N,): no network is in it."""
    alpha, sigma = preserving(torch.tensor(log_snr_min, dtype=torch.float64))
    return ((alpha * x).square() + sigma.square() - 1) / 2 - sigma.log()


def elbos(terms: Tensor, prior: Tensor) -> Tensor:
    """L(t_i; x), the sum of the terms of the steps from t_i to t = 1 and the prior's; (T, N), (N,) -> (T + 1, N)."""
    return torch.cat([terms.flip(0).cumsum(0).flip(0), torch.zeros_like(terms[:1])]) + prior


def by_parts(w: Tensor, L: Tensor) -> Tensor:
    """∫_0^1 L dw(λ_t) + w(λ_max) L(0; x) − w(λ_min) L(1; x) by the trapezoidal rule, (N,).

    w: (T + 1,) and L: (T + 1, N), from t = 0 on.
    """
    rises = w.diff()[:, None] * (L[:-1] + L[1:]) / 2
    return rises.sum(0) + w[0] * L[0] - w[-1] * L[-1]


def preserving(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma at λ of a path that preserves the variance: α² = sigmoid(λ), σ² = sigmoid(−λ)."""
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
