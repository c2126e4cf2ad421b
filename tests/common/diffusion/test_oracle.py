"""The exact denoisers against quadrature, SciPy's densities, automatic differentiation, and each other."""

from math import log, pi, sqrt

import pytest
import torch
from scipy import stats
from torchdiffeq import odeint

from common.diffusion.oracle import EmpiricalDenoiser, GaussianMixture, gaussian_flow


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MEANS = torch.tensor([[-1.0, 0.5], [0.8, 0.2], [0.1, -0.9]], dtype=torch.float64)
STDS = torch.tensor([0.2, 0.5, 0.35], dtype=torch.float64)
COVARIANCES = torch.tensor(
    [[[0.3, 0.1], [0.1, 0.1]], [[0.2, -0.15], [-0.15, 0.4]], [[0.05, 0.0], [0.0, 0.6]]], dtype=torch.float64
)
# Not normalised, to see that it is done.
WEIGHTS = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
# In three dimensions too: the eigenvectors of a 2 x 2 matrix may form a symmetric matrix, which hides a transposition.
MEANS_3D, FACTORS = randn(3, 3, seed=1), randn(3, 3, 3, seed=2)
COVARIANCES_3D = 0.4 * FACTORS @ FACTORS.mT
FULL = GaussianMixture(MEANS, COVARIANCES, WEIGHTS)
FULL_3D = GaussianMixture(MEANS_3D, COVARIANCES_3D, WEIGHTS)
ISOTROPIC = GaussianMixture(MEANS, STDS, WEIGHTS)
SIGMAS = torch.tensor([0.05, 0.3, 1.0, 4.0], dtype=torch.float64)
# Images, far from the origin, so that centring and reshaping matter.
IMAGES = 3 + randn(50, 1, 2, 3, seed=7)

both_mixtures = pytest.mark.parametrize(
    ("mixture", "covariances"),
    [(FULL, COVARIANCES), (ISOTROPIC, STDS[:, None, None] ** 2 * torch.eye(2))],
    ids=["full", "isotropic"],
)


def scipy_density(points, covariances, sigma: float):
    noisy = covariances.numpy() + sigma**2 * torch.eye(2).numpy()
    parts = [
        w * stats.multivariate_normal.pdf(points, m, c)
        for w, m, c in zip((WEIGHTS / 8).tolist(), MEANS.numpy(), noisy, strict=True)
    ]
    return torch.as_tensor(sum(parts))


@both_mixtures
def test_mixture_log_prob_is_scipys(mixture, covariances):
    x = randn(20, 2)
    for sigma in (0.0, 0.3, 2.0):
        torch.testing.assert_close(mixture.log_prob(x, sigma).exp(), scipy_density(x, covariances, sigma))


@both_mixtures
def test_mixture_denoiser_is_the_posterior_mean_by_quadrature(mixture, covariances):
    """E[x0 | x] = ∫ x0 p(x0) N(x; x0, sigma²) dx0 / ∫ p(x0) N(x; x0, sigma²) dx0."""
    line = torch.linspace(-7, 7, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    prior = scipy_density(grid, covariances, 0.0)
    for sigma in (0.2, 1.5):
        for x in torch.tensor([[0.3, -0.2], [-1.4, 1.0]], dtype=torch.float64):
            joint = prior * torch.exp(-(x - grid).square().sum(1) / (2 * sigma**2))
            # Trapezoidal sums of Gaussians at least ten grid spacings wide are exact to rounding; e^-50 lies outside.
            expected = (joint[:, None] * grid).sum(0) / joint.sum()
            torch.testing.assert_close(mixture(x[None], sigma)[0], expected, rtol=1e-9, atol=1e-9)


def tweedie_gaps(oracle, x: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Score against the gradient of log_prob, and denoiser against x + sigma² score."""
    x = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(oracle.log_prob(x, sigma).sum(), x)
    variance = sigma.square().reshape(-1, *[1] * (x.ndim - 1))
    return oracle.score(x, sigma) - score, oracle(x, sigma) - (x + variance * score)


@pytest.mark.parametrize("mixture", [FULL, ISOTROPIC, FULL_3D], ids=["full", "isotropic", "full 3-D"])
def test_mixture_obeys_tweedie(mixture):
    for gap in tweedie_gaps(mixture, randn(4, mixture.means.shape[1]), SIGMAS):
        assert gap.abs().max() < 1e-11


def test_log_prob_in_three_dimensions_is_scipys():
    x = randn(20, 3)
    noisy = (COVARIANCES_3D + 0.3**2 * torch.eye(3)).numpy()
    parts = [
        w * stats.multivariate_normal.pdf(x.numpy(), m, c)
        for w, m, c in zip((WEIGHTS / 8).tolist(), MEANS_3D.numpy(), noisy, strict=True)
    ]
    torch.testing.assert_close(FULL_3D.log_prob(x, 0.3).exp(), torch.as_tensor(sum(parts)))


def test_isotropic_is_full_with_a_multiple_of_the_identity():
    full = GaussianMixture(MEANS, STDS[:, None, None] ** 2 * torch.eye(2), WEIGHTS)
    x = randn(4, 2)
    torch.testing.assert_close(ISOTROPIC(x, SIGMAS), full(x, SIGMAS))
    torch.testing.assert_close(ISOTROPIC.score(x, SIGMAS), full.score(x, SIGMAS))
    torch.testing.assert_close(ISOTROPIC.log_prob(x, SIGMAS), full.log_prob(x, SIGMAS))


@pytest.mark.parametrize("oracle", [FULL, ISOTROPIC, EmpiricalDenoiser(MEANS)], ids=["full", "isotropic", "empirical"])
def test_each_sample_has_its_own_sigma(oracle):
    x = randn(4, 2)
    for method in (oracle, oracle.score, oracle.log_prob):
        apart = torch.cat([method(x[i : i + 1], SIGMAS[i]) for i in range(4)])
        torch.testing.assert_close(method(x, SIGMAS), apart)


def test_mixture_without_noise():
    x = randn(4, 2)
    torch.testing.assert_close(FULL(x, 0.0), x)
    assert FULL.score(x).isfinite().all()


def test_mixture_weights_are_equal_when_left_out():
    x = randn(4, 2)
    torch.testing.assert_close(
        GaussianMixture(MEANS, STDS).log_prob(x), GaussianMixture(MEANS, STDS, torch.full((3,), 0.2)).log_prob(x)
    )


@both_mixtures
def test_mixture_samples_have_its_distribution(mixture, covariances):
    n = 20_000
    x0 = mixture.sample(n, torch.Generator().manual_seed(3))
    assert torch.equal(x0, mixture.sample(n, torch.Generator().manual_seed(3)))
    # The law of a projection is a 1-D mixture with a known distribution function. One fixed draw; 1e-3 per direction.
    for direction in torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, -0.6]], dtype=torch.float64):
        scales = torch.einsum("i,kij,j->k", direction, covariances.double(), direction).sqrt()

        def cdf(z, direction=direction, scales=scales):
            parts = zip(WEIGHTS / 8, MEANS @ direction, scales, strict=True)
            return sum(w.item() * stats.norm.cdf(z, m.item(), s.item()) for w, m, s in parts)

        assert stats.kstest((x0 @ direction).numpy(), cdf).pvalue > 1e-3


def test_samples_in_three_dimensions_have_the_covariance():
    n = 50_000
    one = GaussianMixture(MEANS_3D[:1], COVARIANCES_3D[:1])
    covariance = one.sample(n, torch.Generator().manual_seed(0)).T.cov()
    # Var of an entry of a sample covariance: (C_ii C_jj + C_ij²) / n. Five standard errors.
    variances = COVARIANCES_3D[0].diagonal()
    standard_error = ((variances[:, None] * variances + COVARIANCES_3D[0] ** 2) / n).sqrt()
    assert ((covariance - COVARIANCES_3D[0]).abs() < 5 * standard_error).all()


# Finite data sets.


@pytest.mark.parametrize("chunk", [2048, 7, 1])
def test_empirical_is_a_mixture_of_points(chunk):
    empirical = EmpiricalDenoiser(IMAGES, chunk)
    points = GaussianMixture(IMAGES.flatten(1), torch.zeros(50))
    sigma = torch.tensor([0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 80.0], dtype=torch.float64)
    x = IMAGES[:7] + sigma[:, None, None, None] * randn(7, 1, 2, 3)
    flat = x.flatten(1)
    torch.testing.assert_close(empirical(x, sigma).flatten(1), points(flat, sigma), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(empirical.score(x, sigma).flatten(1), points.score(flat, sigma), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(empirical.log_prob(x, sigma), points.log_prob(flat, sigma), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("chunk", [2048, 7])
def test_empirical_obeys_tweedie(chunk):
    for gap in tweedie_gaps(EmpiricalDenoiser(IMAGES, chunk), IMAGES[:4] + 0.5 * randn(4, 1, 2, 3), SIGMAS):
        # ‖x‖² / sigma² is about 1e4 at the smallest sigma.
        assert gap.abs().max() < 1e-9


def test_empirical_at_tiny_sigma():
    """Beside one point and far from all others everything is known in closed form."""
    empirical, sigma, z = EmpiricalDenoiser(IMAGES, chunk=7), 1e-6, randn(7, 1, 2, 3)
    x = IMAGES[20:27] + sigma * z
    torch.testing.assert_close(empirical(x, sigma), IMAGES[20:27], rtol=0, atol=1e-14)
    expected = -log(50) - z.square().flatten(1).sum(1) / 2 - 6 * log(sigma * sqrt(2 * pi))
    # Adding sigma z to x near 5 rounds it by 4e-16, which is 4e-10 of sigma.
    torch.testing.assert_close(empirical.log_prob(x, sigma), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(empirical.score(x, sigma) * sigma, -z, rtol=0, atol=1e-8)


def test_empirical_between_clusters_at_tiny_sigma_takes_the_nearest():
    x = torch.tensor([[0.4], [0.6]], dtype=torch.float64)
    denoised = EmpiricalDenoiser(torch.tensor([[0.0], [1.0]], dtype=torch.float64))(x, 1e-8)
    assert torch.equal(denoised, torch.tensor([[0.0], [1.0]], dtype=torch.float64))


def test_empirical_does_not_depend_on_where_the_origin_is():
    x, offset = IMAGES[:7] + 0.05 * randn(7, 1, 2, 3), 2.0**14
    near, far = EmpiricalDenoiser(IMAGES), EmpiricalDenoiser(IMAGES + offset)
    # What is left is the rounding of x, 2^14 · 1e-16 = 2e-12, times a distance near 5, over sigma², 0.25. Without
    # centring it would be that of ‖x‖² ~ 1e9 over sigma²: 1e-6.
    torch.testing.assert_close(far(x + offset, 0.5) - offset, near(x, 0.5), rtol=0, atol=1e-9)


def test_empirical_samples_are_data_points_with_equal_chances():
    empirical = EmpiricalDenoiser(IMAGES)
    x0 = empirical.sample(5000, torch.Generator().manual_seed(1))
    assert torch.equal(x0, empirical.sample(5000, torch.Generator().manual_seed(1)))
    same = (x0[:, None] == IMAGES).flatten(2).all(2)
    assert same.any(1).all()
    assert stats.chisquare(same.sum(0).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("oracle", [FULL, EmpiricalDenoiser(MEANS)], ids=["mixture", "empirical"])
def test_float32_in_float32_out_computed_in_float64(oracle):
    x, sigma = randn(4, 2).float(), torch.tensor(0.3)
    for method in (oracle, oracle.score, oracle.log_prob):
        assert method(x, sigma).dtype == torch.float32
        assert torch.equal(method(x, sigma), method(x.double(), sigma).float())


def test_bad_input_is_named():
    empirical = EmpiricalDenoiser(IMAGES)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 1, 2, 3\), not \(4, 6\)"):
        empirical(randn(4, 6), 1.0)
    with pytest.raises(ValueError, match="sigma must be positive"):
        empirical(IMAGES, 0.0)
    with pytest.raises(ValueError, match=r"sigma must be a scalar or of shape \(50,\), not \(4,\)"):
        empirical(IMAGES, SIGMAS)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 2\), not \(4, 3\)"):
        FULL(randn(4, 3), 1.0)
    with pytest.raises(ValueError, match="weights must be 3 positive numbers"):
        GaussianMixture(MEANS, STDS, torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match=r"covariance must have shape \(3,\) or \(3, 2, 2\), not \(3, 2\)"):
        GaussianMixture(MEANS, MEANS)


# The exact flow of a Gaussian.

MEAN, COVARIANCE = MEANS_3D[0], COVARIANCES_3D[0]


def test_gaussian_flow_solves_the_probability_flow_ode():
    data = GaussianMixture(MEAN[None], COVARIANCE[None])
    x = 10 * randn(5, 3)
    levels = torch.tensor([10.0, 0.1], dtype=torch.float64)
    solved = odeint(lambda s, x_s: -s * data.score(x_s, s), x, levels, rtol=1e-10, atol=1e-12, method="dopri5")[-1]
    torch.testing.assert_close(gaussian_flow(x, 10.0, 0.1, MEAN, COVARIANCE), solved, rtol=1e-7, atol=1e-8)


def test_gaussian_flow_carries_each_marginal_to_the_other():
    basis = MEAN + torch.eye(3, dtype=torch.float64)
    A = gaussian_flow(basis, 3.0, 0.2, MEAN, COVARIANCE) - MEAN
    I = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(A.T @ (COVARIANCE + 9 * I) @ A, COVARIANCE + 0.04 * I)
    torch.testing.assert_close(gaussian_flow(MEAN[None], 3.0, 0.2, MEAN, COVARIANCE), MEAN[None])


def test_gaussian_flow_runs_both_ways():
    x = randn(5, 3)
    there = gaussian_flow(x, 3.0, 0.0, MEAN, COVARIANCE)
    torch.testing.assert_close(gaussian_flow(there, 0.0, 3.0, MEAN, COVARIANCE), x)
