"""The chain against Gaussians conditioned by their joint law, and both sides of the identity against each other."""

from itertools import pairwise
from math import log

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from common.diffusion.objective import Objective, UniformLogSnr
from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import Cosine
from papers.weighted_elbo.identity import (
    by_parts,
    elbos,
    forward_paths,
    gauss_hermite,
    kl_terms,
    network,
    noisy_elbos,
    prior_kl,
    training_loss,
)
from papers.weighted_elbo.objectives import OBJECTIVES
from papers.weighted_elbo.vdm import alpha_sigma
from papers.weighted_elbo.weighting import WEIGHTINGS
from tests.papers.weighted_elbo.cases import LAW, f64, seeded, wrong

X = f64(-1.3, -0.4, 0.35, 1.2)
TOP, BOTTOM = 9.0, -7.0


def descending(steps: int) -> torch.Tensor:
    return torch.linspace(TOP, BOTTOM, steps + 1, dtype=torch.float64)


def test_gauss_hermite_has_the_moments_of_the_normal_law():
    eps, weights = gauss_hermite(8)
    moments = [float(weights @ eps**k) for k in (0, 1, 2, 4, 6, 14)]
    assert moments == pytest.approx([1, 0, 1, 3, 15, 135135], abs=1e-9, rel=1e-10)


def test_terms_are_those_of_the_joint_law_conditioned():
    """z_s and z_t are jointly Gaussian given x; the textbook's formula conditions one on the other."""
    log_snr, nodes = f64(1.0, 0.4), 24
    (alpha_s, sigma_s), (alpha_t, sigma_t) = (alpha_sigma(each) for each in log_snr)
    covariance = alpha_t / alpha_s * sigma_s**2  # z_t = (α_t/α_s) z_s + independent noise
    gain = covariance / sigma_t**2
    std = (sigma_s**2 - gain * covariance).sqrt()

    def posterior(clean: torch.Tensor, z_t: torch.Tensor) -> Normal:
        return Normal(alpha_s * clean + gain * (z_t - alpha_t * clean), std)

    eps, weights = gauss_hermite(nodes)
    expected = []
    for x in X:
        z_t = alpha_t * x + sigma_t * eps
        guess = wrong((z_t / alpha_t)[:, None], (sigma_t / alpha_t).expand(nodes))[:, 0]
        expected.append(weights @ kl_divergence(posterior(x, z_t), posterior(guess, z_t)))
    torch.testing.assert_close(kl_terms(wrong, X, log_snr, nodes)[0], torch.stack(expected), rtol=1e-9, atol=0)


def test_terms_are_those_of_vdm():
    """½ (e^{λ_s − λ_t} − 1) E(ε̂ − ε)² (Kingma et al. 2021, equation 14)."""
    log_snr, (eps, weights) = descending(5), gauss_hermite(64)
    objective = Objective("eps", Cosine(), "eps", UniformLogSnr(BOTTOM, TOP))
    net = network(objective, wrong)
    for i, (at_s, at_t) in enumerate(pairwise(log_snr)):
        t = Cosine().t_from_log_snr(at_t).expand(64)
        errors = [objective.loss_at(net, x.expand(64, 1), eps[:, None], t) for x in X]
        expected = torch.expm1(at_s - at_t) / 2 * torch.stack(errors) @ weights
        torch.testing.assert_close(kl_terms(wrong, X, log_snr)[i], expected, rtol=1e-9, atol=0)


def test_the_prior_s_term_is_the_divergence_of_two_gaussians():
    alpha, sigma = alpha_sigma(f64(BOTTOM)[0])
    expected = kl_divergence(Normal(alpha * X, sigma), Normal(0.0, 1.0))
    torch.testing.assert_close(prior_kl(X, BOTTOM), expected)


def test_elbos_are_sums_to_the_end():
    terms, prior = f64(1, 2, 4)[:, None], f64(0.5)
    assert elbos(terms, prior).flatten().tolist() == [7.5, 6.5, 4.5, 0.5]


def test_the_elbo_of_a_gaussian_is_its_log_likelihood():
    """With the exact denoiser of N(0, s²), the mean over data of L(0; x) is the information between x and z_0, up to
    what z_1 still knows, for each is half the logarithm of a variance ratio; the chain comes to it as 1/T."""
    s = 0.7
    law = GaussianMixture(f64(0.0)[:, None], f64(s))
    x, weights = gauss_hermite(20)
    errors = []
    for steps in (800, 1600):
        L = elbos(kl_terms(law, s * x, descending(steps), 20), prior_kl(s * x, BOTTOM)) @ weights
        alpha, sigma = alpha_sigma(f64(TOP)[0])
        alpha_1, sigma_1 = alpha_sigma(f64(BOTTOM)[0])
        marginal = (alpha_1 * s) ** 2 + sigma_1**2
        mismatch = float(kl_divergence(Normal(0.0, marginal.sqrt()), Normal(0.0, 1.0)))
        errors.append(float(L[0]) - log(float((alpha * s) ** 2 / sigma**2 + 1)) / 2 - mismatch)
    assert 0 < errors[1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_the_identity_holds_for_a_wrong_denoiser(objective):
    """To first order in the step of the chain, here 1/100 in λ, for the loss that trains. Not with −dλ/dt left in w."""
    low, high = max(objective.levels.log_snr_min, BOTTOM), min(objective.levels.log_snr_max, TOP)
    log_snr = torch.linspace(high, low, 1401, dtype=torch.float64)
    at = log_snr[::10].flip(0)
    left = training_loss(objective, network(objective, wrong), X[:2], at, 32)
    L = elbos(kl_terms(wrong, X[:2], log_snr, 32), prior_kl(X[:2], low))
    ratio = by_parts(objective.weighting(log_snr.clamp(low + 1e-6, high - 1e-6)), L) / left
    assert ratio.tolist() == pytest.approx([1, 1], rel=0.01)
    speed = -objective.path.log_snr_dot(objective.path.t_from_log_snr(log_snr))
    if objective.name != "elbo":
        inside = by_parts(speed * objective.weighting(log_snr), L) / left
        assert (inside - 1).abs().min() > 0.1


def test_the_chain_comes_to_the_integral_with_order_one():
    objective = OBJECTIVES["sigmoid"]
    left = training_loss(objective, network(objective, wrong), X, descending(1000).flip(0))
    errors = []
    for steps in (200, 400, 800):
        log_snr = descending(steps)
        right = by_parts(WEIGHTINGS["sigmoid"](log_snr), elbos(kl_terms(wrong, X, log_snr), prior_kl(X, BOTTOM)))
        scale = float(objective.weighting(f64(0.0)) / WEIGHTINGS["sigmoid"](f64(0.0)))
        errors.append(float((scale * right / left).mean()) - 1)
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_a_prior_dropped_or_an_end_forgotten_is_seen():
    """For the ELBO the ends are all of it: L(0) − L(1), from which the prior's term falls out. For w(λ_max) = 0 with
    w rising to 1 at λ_min it is the mean of L less the prior's term."""
    log_snr = descending(400)
    L = elbos(kl_terms(LAW, X, log_snr), prior_kl(X, BOTTOM))
    torch.testing.assert_close(by_parts(torch.ones(401).double(), L), L[0] - L[-1])
    torch.testing.assert_close(L[-1], prior_kl(X, BOTTOM))
    ramp = torch.linspace(0, 1, 401, dtype=torch.float64)
    torch.testing.assert_close(by_parts(ramp, L), torch.trapezoid(L, dx=1 / 400, dim=0) - prior_kl(X, BOTTOM))


def test_a_chain_that_does_not_descend_is_named():
    with pytest.raises(ValueError, match="log_snr must decrease"):
        kl_terms(LAW, X, f64(0.0, 1.0))


def test_forward_paths_have_the_laws_of_the_path():
    log_snr = f64(2.0, 0.5, -3.0)
    z = forward_paths(torch.full((40_000,), 0.8).double(), log_snr, seeded())
    for level, at in zip(log_snr, z, strict=True):
        alpha, sigma = alpha_sigma(level)
        assert float(at.mean()) == pytest.approx(0.8 * float(alpha), abs=4 * float(sigma) / 200)
        assert float(at.std()) == pytest.approx(float(sigma), rel=0.015)
    # z_t given z_s alone: what is added to the scaled z_s has nothing of it left.
    scale = alpha_sigma(log_snr[2])[0] / alpha_sigma(log_snr[1])[0]
    added, before = z[2] - scale * z[1], z[1] - z[1].mean()
    assert abs(float((added * before).mean() / (added.std() * before.std()))) < 0.02


def test_drawn_elbos_are_the_divergences_and_an_entropy():
    """E −ELBO(z_t) = L(t; x) + H(q(z_t | x)), with the entropy of a Gaussian."""
    log_snr, x = descending(60), f64(0.6)
    found = noisy_elbos(wrong, forward_paths(x.expand(20_000), log_snr, seeded()), log_snr)
    L = elbos(kl_terms(wrong, x, log_snr), prior_kl(x, BOTTOM))[:, 0]
    entropy = Normal(torch.zeros(61).double(), alpha_sigma(log_snr)[1]).entropy()
    error = found.std(1) / 20_000**0.5
    assert ((found.mean(1) - L - entropy).abs() < 4 * error).all()
    assert float(error[0]) < 0.03
