"""The identity: L_w is a weighted integral of ELBOs, both sides computed by themselves (Section 4).

    L_w(x) = ½ ∫ w(λ) E‖ε̂ − ε‖² dλ
           = ∫_0^1 L(t; x) dw(λ_t) + w(λ_max) L(0; x) − w(λ_min) L(1; x)

    L(t; x) = KL(q(z_{t…1} | x) ‖ p(z_{t…1}))

`training_loss` is the left side: the loss that the objective trains with, halved, over its own levels. `kl_terms` and
`elbos` are L(t; x), from the chain of Gaussians that ancestral sampling draws from, step by step; `by_parts` adds it
up. The last term has no network in it. L(t; x) is the negative ELBO of z_t up to the entropy of q(z_t | x), so with a w
that never rises L_w is the expected negative ELBO of noisy data, which `noisy_elbos` estimates from drawn paths.
Nothing asks for a good denoiser.

Data are single numbers: expectations over the noise are sums over the nodes of a Gauss-Hermite rule. x: (N,). The chain
is that of a variance-preserving path; no KL depends on the scale of z.
"""

from __future__ import annotations

from itertools import pairwise
from math import pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from common.diffusion.objective import Net, Objective
from common.diffusion.solvers import Denoiser
from papers.weighted_elbo.vdm import alpha_sigma

LEVELS_AT_ONCE = 64
"""Noise levels whose expectations are computed together: so many that what they take stays in the cache."""


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


def losses(objective: Objective, net: Net, x: Tensor, log_snr: Tensor, nodes: int = 64) -> Tensor:
    """E[loss at λ] over the noise, for each λ of `log_snr` (K,) and each x (N,). Returns (K, N)."""
    eps, weights = gauss_hermite(nodes)
    parts = []
    for part in log_snr.split(LEVELS_AT_ONCE):
        shape = (len(part), len(x), nodes)
        t = objective.path.t_from_log_snr(part)[:, None, None].expand(shape).flatten()
        x0, noise = x[None, :, None].expand(shape).reshape(-1, 1), eps.expand(shape).reshape(-1, 1)
        parts.append(objective.loss_at(net, x0, noise, t).reshape(shape) @ weights)
    return torch.cat(parts)


def training_loss(objective: Objective, net: Net, x: Tensor, log_snr: Tensor, nodes: int = 64) -> Tensor:
    """½ ∫ p(λ) E[loss at λ] dλ over the range of `log_snr` (K,), increasing, by the trapezoidal rule. Returns (N,)."""
    at = objective.levels.density(log_snr)[:, None] * losses(objective, net, x, log_snr, nodes)
    return torch.trapezoid(at, log_snr, dim=0) / 2


class Step(NamedTuple):
    """One step of the chain, s < t: q(z_t | z_s) = N(scale z_s, added), and by Bayes' rule
    q(z_s | z_t, x) = N(of_z_t z_t + of_x x, variance)."""

    alpha_t: Tensor
    sigma_t: Tensor
    scale: Tensor
    added: Tensor
    of_z_t: Tensor
    of_x: Tensor
    variance: Tensor

    @classmethod
    def between(cls, at_s: Tensor, at_t: Tensor) -> Step:
        """The step from λ = `at_t` to λ = `at_s`, elementwise."""
        (alpha_s, sigma_s), (alpha_t, sigma_t) = alpha_sigma(at_s), alpha_sigma(at_t)
        scale, kept = alpha_t / alpha_s, sigma_s.square() / sigma_t.square()
        added = -sigma_t.square() * torch.expm1(at_t - at_s)
        return cls(alpha_t, sigma_t, scale, added, scale * kept, alpha_s * added / sigma_t.square(), added * kept)


def kl_terms(denoiser: Denoiser, x: Tensor, log_snr: Tensor, nodes: int = 64) -> Tensor:
    """E KL(q(z_s | z_t, x) ‖ q(z_s | z_t, x = x̂(z_t))) for each step of the chain, s < t; E over z_t. Returns (T, N).

    Both are Gaussian, with the same variance. `log_snr` (T + 1,) decreases: step i is from λ_{i+1} at t to λ_i at s.
    Raises ValueError where it does not.
    """
    if not bool((log_snr.diff() < 0).all()):
        raise ValueError("log_snr must decrease from one step to the next")
    eps, weights = gauss_hermite(nodes)
    terms = []
    for at_s, at_t in zip(log_snr[:-1].split(LEVELS_AT_ONCE), log_snr[1:].split(LEVELS_AT_ONCE), strict=True):
        step = Step.between(at_s[:, None, None], at_t[:, None, None])
        z_t = step.alpha_t * x[None, :, None] + step.sigma_t * eps
        sigma = (step.sigma_t / step.alpha_t).expand(z_t.shape).flatten()
        x_hat = denoiser((z_t / step.alpha_t).reshape(-1, 1), sigma).reshape(z_t.shape)
        means = [step.of_z_t * z_t + step.of_x * clean for clean in (x[None, :, None], x_hat)]
        terms.append(((means[0] - means[1]).square() / (2 * step.variance)) @ weights)
    return torch.cat(terms)


def noisy_elbos(denoiser: Denoiser, z: Tensor, log_snr: Tensor) -> Tensor:
    """−ELBO of z_t at every t of a chain, from one forward path z: (T + 1, B) of each point. Returns (T + 1, B).

    −log p(z_1) + Σ log q(z_t | z_s) − log p(z_s | z_t) over the steps from that time on, with the densities of the
    Gaussians themselves. Its mean over paths is the expected −ELBO of noisy data z_t: neither a divergence nor an
    integral over noise levels is in it.
    """
    terms, chunk = [], LEVELS_AT_ONCE
    for at_s, at_t, z_s, z_t in zip(
        *(each.split(chunk) for each in (log_snr[:-1, None], log_snr[1:, None], z[:-1], z[1:])), strict=True
    ):
        step = Step.between(at_s, at_t)
        sigma = (step.sigma_t / step.alpha_t).expand(z_t.shape).flatten()
        x_hat = denoiser((z_t / step.alpha_t).reshape(-1, 1), sigma).reshape(z_t.shape)
        forward = Normal(step.scale * z_s, step.added.sqrt())
        backward = Normal(step.of_z_t * z_t + step.of_x * x_hat, step.variance.sqrt())
        terms.append(forward.log_prob(z_t) - backward.log_prob(z_s))
    return elbos(torch.cat(terms), -Normal(0.0, 1.0).log_prob(z[-1]))


def forward_paths(x: Tensor, log_snr: Tensor, generator: Generator) -> Tensor:
    """z_0, …, z_1 of the forward chain from x: (B,), at each λ of `log_snr` (T + 1,), decreasing. (T + 1, B)."""
    alpha, sigma = alpha_sigma(log_snr[0])
    z = [alpha * x + sigma * _noise(x, generator)]
    for at_s, at_t in pairwise(log_snr):
        step = Step.between(at_s, at_t)
        z.append(step.scale * z[-1] + step.added.sqrt() * _noise(x, generator))
    return torch.stack(z)


def _noise(x: Tensor, generator: Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def prior_kl(x: Tensor, log_snr_min: float) -> Tensor:
    """L(1; x) = KL(q(z_1 | x) ‖ N(0, 1)), (N,): no network is in it."""
    alpha, sigma = alpha_sigma(torch.tensor(log_snr_min, dtype=torch.float64))
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
