"""The loss by its known minimum, its known value at a network that returns 0, and the laws of its noise levels."""

from typing import Any

import pytest
import torch
from scipy import stats

from common.diffusion import path
from common.diffusion.denoising_loss import (
    EDMWeight,
    IDDPMNoise,
    LogNormalNoise,
    VENoise,
    VPNoise,
    denoising_loss,
    edm_loss,
    inverse_variance_weight,
    loss_per_noise_level,
)
from common.diffusion.oracle import GaussianMixture
from common.diffusion.precond import EDMPrecond, Preconditioned
from common.diffusion.schedule import iddpm_u

SIGMAS = torch.tensor([0.02, 0.2, 0.5, 2.0, 50.0], dtype=torch.float64)
# Of many comparisons by p-value, each true one fails in one of 10⁴ seeds; the seeds are fixed.
P = 1e-4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Zero(torch.nn.Module):
    def forward(self, x, c_noise):
        return torch.zeros_like(x)


def test_noise_levels_follow_their_laws():
    n = 20_000
    vp = path.VP()
    t = vp.t_from_log_snr(-2 * VPNoise(epsilon_t=0.2).sample(n, generator()).log())
    assert stats.kstest(t.numpy(), stats.uniform(0.2, 0.8).cdf).pvalue > P
    ve = VENoise().sample(n, generator(1))
    assert stats.kstest(ve.numpy(), stats.loguniform(0.02, 100).cdf).pvalue > P
    edm = LogNormalNoise().sample(n, generator(2))
    assert stats.kstest(edm.numpy(), stats.lognorm(s=1.2, scale=torch.tensor(-1.2).exp()).cdf).pvalue > P
    assert edm.shape == ve.shape == (n,)
    assert edm.dtype == torch.float64


def test_vp_noise_starts_at_its_smallest_time():
    """The smallest of n uniforms lies, with probability 1 − e⁻²⁰, within 20/n of the end."""
    n = 1_000_000
    t = path.VP().t_from_log_snr(-2 * VPNoise(epsilon_t=1e-3).sample(n, generator()).log())
    assert 1e-3 * (1 - 1e-9) <= t.min() < 1e-3 + 20 / n
    assert 1 - 20 / n < t.max() <= 1 + 1e-9
    assert VPNoise().epsilon_t == 1e-5


def test_iddpm_noise_is_uniform_over_its_levels_above_zero():
    sigma = IDDPMNoise().sample(200_000, generator())
    values, counts = sigma.unique(return_counts=True)
    assert torch.equal(values, iddpm_u()[:1000].flip(0))
    assert stats.chisquare(counts.numpy()).pvalue > P


@pytest.mark.parametrize("sigma_data", [0.5, 1.5])
def test_the_least_loss_on_gaussian_data_is_one_at_every_noise_level(sigma_data):
    """For x0 ~ N(0, σ_data²) the posterior mean is c_skip x, so a network that returns 0 is optimal, and its target has
    unit variance. A mean of n squared normals has standard error √(2/n)."""
    n, D = 20_000, 4
    x0 = sigma_data * torch.randn(n, D, generator=generator(), dtype=torch.float64)
    weight = EDMWeight(sigma_data)
    tolerance = 5 * (2 / (n * D)) ** 0.5
    exact = GaussianMixture(torch.zeros(1, D), torch.tensor([sigma_data]))
    for denoiser in (exact, Preconditioned(Zero(), EDMPrecond(sigma_data))):
        losses = loss_per_noise_level(denoiser, x0, SIGMAS, generator(1), weight)
        assert losses.shape == (5, n)
        assert losses.mean(1).tolist() == pytest.approx([1.0] * 5, abs=tolerance)


def test_noise_itself_is_the_loss_of_doing_nothing():
    x0 = torch.randn(20_000, 4, generator=generator(), dtype=torch.float64)
    losses = loss_per_noise_level(lambda x, sigma: x, x0, SIGMAS, generator(1), inverse_variance_weight)
    assert losses.mean(1).tolist() == pytest.approx([1.0] * 5, abs=5 * (2 / 80_000) ** 0.5)


def test_the_exact_denoiser_is_the_minimum_and_a_shift_costs_its_weighted_square():
    """E‖D + δ − x0‖² = E‖D − x0‖² + δ², because the error of a conditional mean is orthogonal to everything known."""
    mixture = GaussianMixture(torch.tensor([[-1.0, 0.5], [0.5, -0.5]]), torch.tensor([0.2, 0.4]))
    x0 = mixture.sample(40_000, generator())
    weight, shift = EDMWeight(0.5), 0.1
    for sigma in (0.1, 0.5, 2.0):
        exact = denoising_loss(mixture, x0, sigma, generator(1), weight)
        for sign in (1, -1):
            shifted = denoising_loss(
                lambda x, s, sign=sign: mixture(x, s) + sign * shift, x0, sigma, generator(1), weight
            )
            cost = (shifted - exact) / weight(torch.tensor(sigma, dtype=torch.float64))
            assert cost.mean().item() == pytest.approx(shift**2, abs=5 * cost.std().item() / 200)
        scaled = denoising_loss(lambda x, s: 1.2 * mixture(x, s), x0, sigma, generator(1), weight)
        gain = scaled - exact
        assert gain.mean() > 5 * gain.std() / 200


def test_losses_are_weighted_means_over_each_sample():
    """A denoiser that is off by k_b everywhere in sample b has the loss λ(σ_b) k_b²."""
    x0 = torch.randn(5, 3, 4, 4, generator=generator(), dtype=torch.float64)
    sigma, k = torch.tensor([0.1, 0.5, 1.0, 2.0, 3.0], dtype=torch.float64), torch.arange(5.0, dtype=torch.float64)
    losses = denoising_loss(lambda x, s: x0 + k[:, None, None, None], x0, sigma, generator(), inverse_variance_weight)
    torch.testing.assert_close(losses, k**2 / sigma**2)
    # Equation 2 with 1/c_out² as the weight, from the preconditioning's side.
    losses = denoising_loss(lambda x, s: x0 + k[:, None, None, None], x0, sigma, generator(), EDMWeight(0.5))
    torch.testing.assert_close(losses, k**2 / EDMPrecond(0.5).c_out(sigma) ** 2)


def test_each_sample_gets_its_own_noise_level_and_the_denoiser_is_told():
    n = 4000
    x0 = torch.randn(n, 1, 2, 2, generator=generator(), dtype=torch.float64)
    seen: dict[str, Any] = {}

    def denoiser(x, sigma, **cond):
        seen.update(x=x, sigma=sigma, **cond)
        return x

    labels = torch.arange(n)
    losses = edm_loss(denoiser, x0, generator(3), LogNormalNoise(), EDMWeight(), class_labels=labels)
    assert losses.shape == seen["sigma"].shape == (n,)
    assert seen["class_labels"] is labels
    assert stats.kstest(seen["sigma"].log().numpy(), stats.norm(-1.2, 1.2).cdf).pvalue > P
    eps = (seen["x"] - x0) / seen["sigma"][:, None, None, None]
    assert stats.kstest(eps.flatten().numpy(), stats.norm.cdf).pvalue > P
    # Noise and its level are drawn apart.
    assert abs(stats.spearmanr(eps[:, 0, 0, 0].numpy(), seen["sigma"].numpy()).statistic) < 5 / n**0.5


def test_a_generator_is_the_only_randomness_and_gradients_flow():
    x0 = torch.randn(8, 2, generator=generator())
    net = torch.nn.Linear(2, 2)

    def loss():
        return edm_loss(lambda x, sigma: net(x), x0, generator(5)).mean()

    assert torch.equal(loss(), loss())
    loss().backward()
    assert net.weight.grad is not None
    assert net.weight.grad.abs().sum() > 0


def test_a_noise_level_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"sigma must be a scalar or have shape \(4,\)"):
        denoising_loss(lambda x, s: x, torch.zeros(4, 2), torch.ones(3), generator())
