"""Log-likelihood along the flow against exact densities, and trace estimators against the exact trace."""

from itertools import product

import pytest
import torch
from scipy import stats

from common.diffusion.likelihood import (
    bpd,
    exact_trace,
    gaussian_log_prior,
    hutchinson_trace,
    integrate_divergence,
    log_likelihood,
    rademacher,
)
from common.diffusion.oracle import EmpiricalDenoiser, GaussianMixture, gaussian_flow
from common.diffusion.solvers import CountedDenoiser, Denoiser

MEANS = torch.tensor([[-1.0, 0.5], [0.8, 0.2]], dtype=torch.float64)
COVARIANCES = torch.tensor([[[0.3, 0.1], [0.1, 0.1]], [[0.2, -0.15], [-0.15, 0.4]]], dtype=torch.float64)
MIXTURE = GaussianMixture(MEANS, COVARIANCES, torch.tensor([1.0, 3.0]))
SIGMA_MIN, SIGMA_MAX = 0.05, 20.0


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_prior(x: torch.Tensor) -> torch.Tensor:
    return MIXTURE.log_prob(x, SIGMA_MAX)


def test_mixture_likelihood_is_its_log_density():
    x = randn(16, 2)
    # Tolerance 1e-8 a step, some hundred steps, on a density that the flow stretches by 400² at most.
    log_prob = log_likelihood(MIXTURE, x, SIGMA_MIN, SIGMA_MAX, log_prior=exact_prior, tolerance=1e-8)
    torch.testing.assert_close(log_prob, MIXTURE.log_prob(x, SIGMA_MIN), rtol=0, atol=1e-5)


def test_gaussian_prior_is_the_model_of_the_sampler():
    """With the prior N(0, sigma_max² I) the model is the push-forward of that prior, known in closed form."""
    mean, covariance, x = MEANS[0], COVARIANCES[0], randn(8, 2)

    def backward(x: torch.Tensor) -> torch.Tensor:
        return gaussian_flow(x, SIGMA_MIN, SIGMA_MAX, mean, covariance)

    prior = torch.distributions.MultivariateNormal(torch.zeros(2).double(), SIGMA_MAX**2 * torch.eye(2).double())
    jacobian = torch.func.jacrev(lambda z: backward(z[None])[0])(x[0])
    expected = prior.log_prob(backward(x)) + jacobian.det().log()
    got = log_likelihood(GaussianMixture(mean[None], covariance[None]), x, SIGMA_MIN, SIGMA_MAX, tolerance=1e-8)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_likelihood_integrates_to_one():
    mixture = GaussianMixture(MEANS[:, :1], torch.tensor([0.3, 0.5]))
    x = torch.linspace(-8, 8, 801, dtype=torch.float64)
    density = log_likelihood(mixture, x[:, None], SIGMA_MIN, SIGMA_MAX, tolerance=1e-7).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-4)


def test_images_have_likelihoods():
    images = randn(10, 1, 2, 2, seed=2)
    empirical = EmpiricalDenoiser(images)
    x = images[:3] + 0.5 * randn(3, 1, 2, 2)
    log_prob = log_likelihood(
        empirical, x, 0.5, SIGMA_MAX, log_prior=lambda z: empirical.log_prob(z, SIGMA_MAX), tolerance=1e-8
    )
    torch.testing.assert_close(log_prob, empirical.log_prob(x, 0.5), rtol=0, atol=1e-5)


def test_gaussian_log_prior_is_scipys():
    x = randn(3, 1, 2, 2)
    expected = stats.norm.logpdf(x.flatten(1).numpy(), scale=1.7).sum(1)
    torch.testing.assert_close(gaussian_log_prior(x, 1.7), torch.from_numpy(expected))


def test_a_linear_flow_either_way_in_time():
    """dx/dt = 2 t A x: x(t) = exp(A (t² - s²)) x(s), and ∫ div = (t² - s²) tr A."""
    A = torch.tensor([[0.3, -1.0], [0.5, 0.4]], dtype=torch.float64)
    x = randn(5, 2)

    def flow(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return exact_trace(lambda x, t: 2 * t * x @ A.T, x, t)

    for start, end in ((0.2, 1.1), (1.1, 0.2)):
        x_end, divergence = integrate_divergence(flow, x, start, end, tolerance=1e-10)
        span = end**2 - start**2
        torch.testing.assert_close(x_end, x @ torch.linalg.matrix_exp(A * span).T, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(divergence, torch.full((5,), 0.7 * span, dtype=torch.float64))


# Traces.


def jacobians(denoiser, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """∂D/∂x (B, D, D), sample by sample."""
    D = x[0].numel()
    per_sample = [torch.func.jacrev(lambda z: denoiser(z[None], sigma)[0])(z) for z in x]
    return torch.stack(per_sample).reshape(len(x), D, D)


CASES: dict[str, tuple[Denoiser, torch.Tensor]] = {
    "mixture": (MIXTURE, randn(4, 2)),
    "images": (EmpiricalDenoiser(randn(10, 1, 2, 2, seed=2)), randn(3, 1, 2, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_exact_trace_is_that_of_the_jacobian(case):
    denoiser, x = CASES[case]
    sigma = torch.tensor(0.8, dtype=torch.float64)
    denoised, trace = exact_trace(denoiser, x, sigma)
    torch.testing.assert_close(denoised, denoiser(x, sigma))
    torch.testing.assert_close(trace, jacobians(denoiser, x, sigma).diagonal(dim1=1, dim2=2).sum(1))
    assert not trace.requires_grad
    assert not denoised.requires_grad


@pytest.mark.parametrize("case", CASES)
def test_hutchinson_over_all_signs_is_exact(case):
    """The mean over all 2^D sign probes is the expectation itself."""
    denoiser, x = CASES[case]
    sigma = torch.tensor(0.8, dtype=torch.float64)
    estimates = []
    for signs in product([-1.0, 1.0], repeat=x[0].numel()):
        probe = torch.tensor(signs, dtype=torch.float64).reshape(1, *x.shape[1:]).expand(x.shape)
        denoised, estimate = hutchinson_trace(probe)(denoiser, x, sigma)
        torch.testing.assert_close(denoised, denoiser(x, sigma))
        estimates.append(estimate)
    torch.testing.assert_close(torch.stack(estimates).mean(0), exact_trace(denoiser, x, sigma)[1])
    assert torch.stack(estimates).std(0).min() > 1e-3  # one probe is only an estimate


def test_hutchinson_likelihood_averages_to_the_exact_one():
    x = randn(4, 2)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)  # the other two differ by a sign, and agree
    estimates = [
        log_likelihood(
            MIXTURE,
            x,
            SIGMA_MIN,
            SIGMA_MAX,
            hutchinson_trace(probe.expand(4, 2)),
            log_prior=exact_prior,
            tolerance=1e-8,
        )
        for probe in signs
    ]
    torch.testing.assert_close(torch.stack(estimates).mean(0), MIXTURE.log_prob(x, SIGMA_MIN), rtol=0, atol=1e-5)


def test_rademacher_probes_are_independent_signs():
    x = torch.zeros(20_000, 1, 2, 2)
    probe = rademacher(x, torch.Generator().manual_seed(0))
    assert torch.equal(probe, rademacher(x, torch.Generator().manual_seed(0)))
    assert probe.shape == x.shape
    assert probe.dtype == x.dtype
    assert set(probe.unique().tolist()) == {-1.0, 1.0}
    flat = probe.flatten(1)
    # Standard error 1 / √20000 = 0.007; five of them.
    assert flat.mean(0).abs().max() < 0.036
    assert (flat.T @ flat / 20_000 - torch.eye(4)).abs().max() < 0.036


# Bits per dimension.


def test_bpd_of_uniform_pixels_is_their_bits():
    """8-bit values scaled to [-1, 1], uniform on all 256 levels, or on half of them: 8 bits, and 7."""
    D = 12
    uniform = torch.tensor([-D * torch.log(torch.tensor(2.0)).item(), 0.0], dtype=torch.float64)
    torch.testing.assert_close(bpd(uniform, D, bin_width=2 / 256), torch.tensor([8.0, 7.0], dtype=torch.float64))


def test_bpd_of_smooth_data_is_the_entropy_of_their_levels():
    """Of N(0, 10²) rounded to whole numbers, scaled by 0.02: its entropy in bits, by summation over the levels."""
    levels = torch.arange(-100, 101, dtype=torch.float64)
    cdf = torch.distributions.Normal(0.0, 10.0).cdf
    p = cdf(levels + 0.5) - cdf(levels - 0.5)
    entropy = -(p * p.clamp(min=1e-300).log2()).sum()
    x = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    log_prob = torch.distributions.Normal(0.0, 0.2).log_prob(x)
    expected_bpd = torch.trapezoid(log_prob.exp() * bpd(log_prob, 1, bin_width=0.02), x)
    # The bin is a tenth of the standard deviation: the sum differs from the integral by about 1/24 · 1/100 nats.
    assert expected_bpd.item() == pytest.approx(entropy.item(), abs=1e-3)


# Refusals, and cost.


@pytest.mark.parametrize(("sigma_min", "sigma_max"), [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (-1.0, 1.0)])
def test_noise_levels_out_of_order_are_refused(sigma_min, sigma_max):
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        log_likelihood(MIXTURE, randn(2, 2), sigma_min, sigma_max)


def test_a_field_that_is_not_finite_is_an_error():
    with pytest.raises(RuntimeError, match=r"not finite at sigma = 0\.05"):
        log_likelihood(lambda x, sigma: x / 0 * 0, randn(2, 2), SIGMA_MIN, SIGMA_MAX)


def test_a_looser_tolerance_costs_less_and_still_answers():
    x = randn(4, 2)
    tight, loose = CountedDenoiser(MIXTURE), CountedDenoiser(MIXTURE)
    log_likelihood(tight, x, SIGMA_MIN, SIGMA_MAX, log_prior=exact_prior, tolerance=1e-8)
    rough = log_likelihood(loose, x, SIGMA_MIN, SIGMA_MAX, log_prior=exact_prior, tolerance=1e-4)
    assert loose.nfe < tight.nfe / 2
    torch.testing.assert_close(rough, MIXTURE.log_prob(x, SIGMA_MIN), rtol=0, atol=0.05)
