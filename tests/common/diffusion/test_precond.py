"""Preconditioning: the identities of Appendix B.6, and exact networks in other coordinates that must come out as D."""

from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from common.diffusion import path
from common.diffusion.denoising_loss import EDMWeight, inverse_variance_weight
from common.diffusion.oracle import GaussianMixture
from common.diffusion.precond import (
    EDMPrecond,
    IDDPMPrecond,
    Preconditioned,
    VEPrecond,
    VPPrecond,
    per_sample,
)
from common.diffusion.schedule import edm_sigmas, iddpm_u

PRECONDS = [VPPrecond(), VEPrecond(), IDDPMPrecond(), EDMPrecond(), EDMPrecond(sigma_data=1.7)]
SIGMAS = torch.tensor([0.002, 0.01, 0.1, 0.5, 1.0, 5.0, 20.0, 80.0], dtype=torch.float64)


class Network(nn.Module):
    """A network made of a function, which keeps what it was last given."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, c_noise, **cond):
        self.seen = (x, c_noise, cond)
        return self.function(x, c_noise)


@pytest.fixture
def mixture():
    g = torch.Generator().manual_seed(0)
    return GaussianMixture(torch.randn(4, 3, generator=g), torch.tensor([0.2, 0.3, 0.1, 0.5]))


@pytest.fixture
def points(mixture):
    """64 noisy points each at its own noise level, within the range of every preconditioning."""
    g = torch.Generator().manual_seed(1)
    sigma = torch.logspace(-1.6, 1.9, 64, dtype=torch.float64)
    return mixture.sample(64, g) + sigma[:, None] * torch.randn(64, 3, generator=g, dtype=torch.float64), sigma


@pytest.mark.parametrize("sigma_data", [0.5, 2.0])
def test_edm_input_and_target_have_unit_variance(sigma_data):
    """Whatever the data's law: here ± sigma_data. 5 standard errors of a variance of n normals, √(2/n), are 0.8 %."""
    precond, n, g = EDMPrecond(sigma_data), 800_000, torch.Generator().manual_seed(0)
    x0 = sigma_data * (2.0 * torch.randint(2, (n,), generator=g) - 1).double()
    eps = torch.randn(n, generator=g, dtype=torch.float64)
    for sigma in SIGMAS:
        x = x0 + sigma * eps
        assert (precond.c_in(sigma) * x).var().item() == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
        assert precond.network_target(x0, x, sigma).var().item() == pytest.approx(1, abs=5 * (2 / n) ** 0.5)


def test_edm_c_skip_is_the_one_that_needs_the_least_c_out():
    """For any c_skip, unit variance of the target needs c_out = std(x0 − c_skip x); Appendix B.6 takes the least."""
    precond, g = EDMPrecond(0.7), torch.Generator().manual_seed(0)
    x0 = 0.7 * torch.randn(20_000, generator=g, dtype=torch.float64)
    eps = torch.randn(20_000, generator=g, dtype=torch.float64)
    for sigma in (0.05, 0.7, 4.0):
        s = torch.tensor(sigma, dtype=torch.float64)
        x = x0 + sigma * eps
        regression = (x0 * x).mean() / (x * x).mean()  # the least-squares c_skip of this sample
        # Its standard error is c_out/(√n std(x)).
        error = precond.c_out(s) * precond.c_in(s) / 20_000**0.5
        assert (regression - precond.c_skip(s)).abs() < 5 * error


@pytest.mark.parametrize("precond", PRECONDS, ids=str)
def test_effective_weight_is_uniform(precond):
    weight = EDMWeight(precond.sigma_data) if isinstance(precond, EDMPrecond) else inverse_variance_weight
    torch.testing.assert_close(weight(SIGMAS) * precond.c_out(SIGMAS) ** 2, torch.ones_like(SIGMAS), rtol=1e-12, atol=0)


@pytest.mark.parametrize("precond", PRECONDS, ids=str)
def test_a_network_that_returns_its_target_denoises_exactly(precond, mixture, points):
    x, sigma = points
    x0 = mixture.sample(64, torch.Generator().manual_seed(2))
    network = Network(lambda x_in, c_noise: precond.network_target(x0, x, sigma))
    denoised = Preconditioned(network, precond, torch.float64)(x, sigma)
    torch.testing.assert_close(denoised, x0, rtol=0, atol=1e-12)


def test_vp_makes_the_denoiser_of_a_noise_predictor_on_the_vp_path(mixture, points):
    """A network that knows ε given x_t and 999 t on the VP path, exactly, must come out as the exact denoiser."""
    vp = path.VP()

    def eps_network(x_t, c_noise):
        t = c_noise / 999
        x, sigma = vp.to_sigma_coordinates(x_t, t)
        return vp.convert(mixture(x, sigma), x_t, t, "x0", "eps")

    x, sigma = points
    denoised = Preconditioned(Network(eps_network), VPPrecond(), torch.float64)(x, sigma)
    torch.testing.assert_close(denoised, mixture(x, sigma), rtol=0, atol=1e-8)


def test_ve_makes_the_denoiser_of_a_scaled_score_network(mixture, points):
    """NCSN++ takes x and ln(σ/2), and its output over σ is the score."""

    def score_network(x, c_noise):
        sigma = 2 * c_noise.exp()
        return sigma[:, None] * mixture.score(x, sigma)

    x, sigma = points
    denoised = Preconditioned(Network(score_network), VEPrecond(), torch.float64)(x, sigma)
    torch.testing.assert_close(denoised, mixture(x, sigma), rtol=0, atol=1e-8)


def test_iddpm_makes_the_denoiser_of_a_noise_predictor_on_the_steps_of_diffusers(mixture):
    """The network knows ε at time step 0 … M−1 of diffusers' cosine schedule, and has a variance to be ignored."""
    scheduler: Any = diffusers.DDIMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    level = (1 / scheduler.alphas_cumprod.double() - 1).sqrt()

    def eps_network(x_t, c_noise):
        sigma = level[c_noise.long()]
        x = x_t * (1 + sigma[:, None] ** 2).sqrt()
        eps = (x - mixture(x, sigma)) / sigma[:, None]
        return torch.cat([eps, torch.full_like(eps, torch.nan)], dim=1)

    g = torch.Generator().manual_seed(3)
    sigma = iddpm_u()[torch.tensor([8, 100, 300, 500, 800, 950, 998, 999])]
    x = mixture.sample(8, g) + sigma[:, None] * torch.randn(8, 3, generator=g, dtype=torch.float64)
    denoised = Preconditioned(Network(eps_network), IDDPMPrecond(), torch.float64)(x, sigma)
    # The float32 α̅ of diffusers is off by up to 3e-4 in σ (see test_schedule), which moves D by 3e-4 σ |ε| and less.
    torch.testing.assert_close(denoised, mixture(x, sigma), rtol=0, atol=2e-3)


def test_iddpm_levels_are_numbered_from_the_cleanest_and_rounded_to():
    precond, u = IDDPMPrecond(), iddpm_u()
    j = torch.tensor([0, 8, 500, 999])
    assert precond.c_noise(u[j]).tolist() == (999 - j).tolist()
    between = (0.49 * u[j[1:]] + 0.51 * u[j[1:] - 1]).float()
    torch.testing.assert_close(precond.round_sigma(between), u[j[1:] - 1].float())
    assert (precond.sigma_min, precond.sigma_max) == (u[999].item(), u[0].item())
    for other in (VPPrecond(), VEPrecond(), EDMPrecond()):
        assert torch.equal(other.round_sigma(SIGMAS), SIGMAS)


def test_ranges_are_those_of_the_paths_times():
    vp = path.VP()
    t = torch.tensor([1e-5, 1.0], dtype=torch.float64)
    low, high = (vp.sigma(t) / vp.alpha(t)).tolist()
    assert VPPrecond().sigma_min == pytest.approx(low, rel=1e-6)
    assert VPPrecond().sigma_max == pytest.approx(high, rel=1e-12)
    assert (VEPrecond().sigma_min, VEPrecond().sigma_max) == (0.02, 100.0)
    assert (EDMPrecond().sigma_min, EDMPrecond().sigma_max) == (0.0, float("inf"))


@pytest.mark.parametrize("precond", PRECONDS, ids=str)
def test_time_steps_stay_within_the_range_of_the_network_and_on_its_levels(precond):
    sigmas = precond.sigmas(18)
    low, high = max(0.002, precond.sigma_min), min(80.0, precond.sigma_max)
    if not isinstance(precond, IDDPMPrecond):
        assert torch.equal(sigmas, edm_sigmas(18, low, high))
        return
    levels = sigmas[:-1]
    assert torch.isin(levels, iddpm_u()).all()
    torch.testing.assert_close(levels, precond.round_sigma(edm_sigmas(18, low, high)[:-1]))
    assert (sigmas.diff() < 0).all()


def test_a_range_cuts_a_grid_and_steps_that_become_one_are_one():
    narrow = EDMPrecond(sigma_min=0.1, sigma_max=10.0)
    assert torch.equal(narrow.sigmas(9, 0.002, 80.0, rho=3.0), edm_sigmas(9, 0.1, 10.0, rho=3.0))
    assert torch.equal(narrow.sigmas(9, 0.2, 5.0), edm_sigmas(9, 0.2, 5.0))
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        narrow.sigmas(9, 0.002, 0.05)
    many = IDDPMPrecond().sigmas(900)
    assert len(many) < 901
    assert (many.diff() < 0).all()
    assert many[-1] == 0


def test_edm_noise_conditioning_rises_by_one_in_four_e_folds():
    c_noise = EDMPrecond().c_noise(torch.tensor([1.0, 4.0], dtype=torch.float64).exp())
    assert c_noise.tolist() == pytest.approx([0.25, 1.0])
    assert EDMPrecond().c_noise(torch.ones(1)) == 0


def test_network_runs_in_its_dtype_and_the_rest_in_that_of_x(points):
    x, sigma = points
    network = Network(lambda x, c_noise: torch.zeros_like(x))
    denoise = Preconditioned(network, EDMPrecond())
    denoised = denoise(x, sigma, class_labels=(labels := torch.arange(64)))
    assert [seen.dtype for seen in network.seen[:2]] == [torch.float32, torch.float32]
    assert network.seen[1].shape == (64,)
    assert network.seen[2]["class_labels"] is labels
    # In float32 c_skip x would be off by 1e-7: this is the posterior mean of N(0, 1/4), in float64.
    gaussian = GaussianMixture(torch.zeros(1, 3), torch.tensor([0.5]))
    torch.testing.assert_close(denoised, gaussian(x, sigma), rtol=1e-14, atol=0)
    assert denoise(x.float(), 1.0).dtype == torch.float32
    torch.testing.assert_close(denoise(x, 2.0), denoise(x, torch.full((64,), 2.0)))


def test_images_get_one_noise_level_each():
    x = torch.ones(3, 2, 4, 4, dtype=torch.float64)
    sigma = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    denoise = Preconditioned(Network(lambda x, c_noise: torch.zeros_like(x)), EDMPrecond())
    for i in range(3):
        torch.testing.assert_close(denoise(x, sigma)[i], denoise(x[i : i + 1], sigma[i])[0])


def test_shapes_that_do_not_fit_are_named():
    x = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"sigma must be a scalar or have shape \(4,\), not \(3,\)"):
        per_sample(torch.ones(3), x)
    with pytest.raises(ValueError, match=r"sigma must be a scalar or have shape \(4,\), not \(4, 1\)"):
        per_sample(torch.ones(4, 1), x)
    denoise = Preconditioned(Network(lambda x, c_noise: x[:, :1]), EDMPrecond())
    with pytest.raises(ValueError, match=r"the network returned \(4, 1\) for an input of \(4, 3\)"):
        denoise(x, 1.0)
