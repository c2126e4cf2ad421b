"""How far a process is from the Gaussian Schrödinger bridge: KL of Gaussians, of samples, and of whole path laws.

The path divergences are those of Section 3 of the paper: with Π a mixture of Brownian bridges, M its Markovian
projection and P the Schrödinger bridge between the same ends, KL(Π | P) = KL(Π | M) + KL(M | P) (the Pythagorean
identity behind the convergence of IMF, Lemma 6). For Gaussians each of the three has its own exact expression.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from papers.dsbm.gaussian import GaussianBridge, check_covariance


def kl_gaussians(mean: Tensor, cov: Tensor, other_mean: Tensor, other_cov: Tensor) -> float:
    """KL(N(mean, cov) | N(other)) = ½ (tr(S'⁻¹ S) − D + (m' − m)ᵀ S'⁻¹ (m' − m) + ln det S' − ln det S), in nats.

    mean: (D,), cov: (D, D). Raises ValueError for a covariance that is not positive definite.
    """
    check_covariance("cov", cov)
    check_covariance("other_cov", other_cov)
    shift = other_mean - mean
    trace = torch.linalg.solve(other_cov, cov).trace() - len(mean)
    log_det = torch.linalg.slogdet(other_cov).logabsdet - torch.linalg.slogdet(cov).logabsdet
    return float(trace + shift @ torch.linalg.solve(other_cov, shift) + log_det) / 2


def kl_of_samples(x: Tensor, mean: Tensor, cov: Tensor, diagonal: bool) -> float:
    """KL of a Gaussian fitted to x (N, D) from N(mean, cov), by the sample's mean and covariance, or its diagonal only.

    The fit is biased upwards where x has the law exactly: by about (D (D + 1)/2 + D)/(2 N), which for D = 50 and
    N = 10 000 is 66e-3, and by 2D/(2N) = 5e-3 with the diagonal, which in turn cannot see a correlation.
    """
    x = x.double()
    fitted = torch.diag(x.var(0)) if diagonal else x.T.cov().reshape(x.shape[1], x.shape[1])
    return kl_gaussians(x.mean(0), fitted, mean, cov)


def kl_couplings(bridge: GaussianBridge, other: GaussianBridge) -> float:
    """KL(Π | Π') of two mixtures of Brownian bridges of one σ: that of their ends, as the bridges between are the same.

    Infinite where the ends of `bridge` determine each other.
    """
    return kl_gaussians(*bridge.joint(), *other.joint())


def kl_markov(bridge: GaussianBridge, other: GaussianBridge) -> float:
    """KL(M | M') of the Markovian projections of two bridges of one σ, by Girsanov's theorem:

    KL(π_0 | π'_0) + 1/(2σ²) ∫ E_M ‖v_f − v'_f‖² dt.
    """
    velocity = bridge.mean_1 - bridge.mean_0 - other.mean_1 + other.mean_0

    def squared(t: float) -> float:
        rate, other_rate = bridge.forward_rate(t), other.forward_rate(t)
        shift = velocity - other_rate @ (bridge.mean(t) - other.mean(t))
        gap = rate - other_rate
        return float(shift @ shift + (gap @ bridge.cov(t) @ gap.T).trace())

    starts = kl_gaussians(bridge.mean_0, bridge.cov_0, other.mean_0, other.cov_0)
    return starts + _integral(squared) / (2 * bridge.sigma**2)


def kl_projection(bridge: GaussianBridge) -> float:
    """KL(Π | M) of a mixture of bridges Π from its own Markovian projection M (Proposition 2):

        1/(2σ²) ∫ E ‖b(x_0, x_t, t) − v_f(x_t, t)‖² dt,   b = (E[x_1 | x_0, x_t] − x_t)/(1 − t),

    b being the drift of Π, which remembers x_0. It is zero where Π is Markov, as the Schrödinger bridge is.
    """
    cov_0, cross, sigma = bridge.cov_0, bridge.cross, bridge.sigma
    eye = torch.eye(len(cov_0), dtype=cov_0.dtype)
    # Given x_0, x_1 has covariance `rest` whatever x_0 is, and x_t that of a bridge to it.
    rest = bridge.cov_1 - cross.T @ torch.linalg.solve(cov_0, cross)
    pull = torch.linalg.solve(cov_0, cross).T - eye

    def squared(t: float) -> float:
        # v is the conditional mean of b, so that E‖b − v‖² = tr Cov(b) − tr Cov(v). Given x_0, b moves with x_t alone:
        # by t (rest − σ² I) (t `given`)⁻¹ for each unit, where Cov(x_t | x_0) = t `given`.
        given = t * rest + (1 - t) * sigma**2 * eye
        slope = rest - sigma**2 * eye
        remembered = pull @ cov_0 @ pull.T + t * slope @ torch.linalg.solve(given, slope.T)
        rate = bridge.forward_rate(t)
        return float((remembered - rate @ bridge.cov(t) @ rate.T).trace())

    return _integral(squared) / (2 * sigma**2)


def entropic_cost(bridge: GaussianBridge) -> float:
    """E‖x_0 − x_1‖² + 2σ² KL(Π_01 | π_0 ⊗ π_1): the regularised transport cost, least for the Schrödinger bridge.

    Between fixed marginals it is 2σ² KL(Π | P) above its least value, P being the bridge: IMF decreases both.
    """
    mean, cov = bridge.joint()
    ends = torch.block_diag(bridge.cov_0, bridge.cov_1)
    return bridge.transport_cost() + 2 * bridge.sigma**2 * kl_gaussians(mean, cov, mean, ends)


def _integral(integrand: Callable[[float], float]) -> float:
    from scipy.integrate import quad

    return float(quad(integrand, 0, 1, epsabs=1e-12, epsrel=1e-11, limit=200)[0])
