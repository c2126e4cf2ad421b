"""Schedules against the shared Gaussian paths and autograd; time steps by what defines them and against diffusers."""

from typing import Any

import diffusers
import pytest
import torch

from common.diffusion import path
from common.diffusion.schedule import (
    EDM,
    LINEAR_BETA,
    VE,
    VP,
    Linear,
    LinearBeta,
    SquareRoot,
    VariancePreserving,
    edm_sigmas,
    iddpm_sigmas,
    iddpm_u,
    nearest,
    ve_sigmas,
    vp_sigmas,
)

SCHEDULES = [
    EDM,
    VE,
    LINEAR_BETA,
    LinearBeta(3.0, 1.0),
    VP,
    VariancePreserving(SquareRoot()),
    VariancePreserving(Linear()),
]
T = torch.linspace(0.01, 1.0, 25, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_derivatives_are_those_of_autograd(schedule):
    t = T.clone().requires_grad_()
    for value, derivative in ((schedule.sigma, schedule.sigma_deriv), (schedule.s, schedule.s_deriv)):
        y = value(t)
        expected = torch.autograd.grad(y.sum(), t)[0] if y.requires_grad else torch.zeros_like(t)
        torch.testing.assert_close(derivative(T), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_sigma_and_its_inverse(schedule):
    # The inverse loses digits where σ is small: log(1 + σ²) is known to 1e-16, absolutely, and t to its root at worst.
    torch.testing.assert_close(schedule.sigma_inv(schedule.sigma(T)), T, rtol=1e-10, atol=0)
    assert schedule.sigma(torch.zeros(1, dtype=torch.float64)) == 0
    assert schedule.sigma_inv(torch.zeros(1, dtype=torch.float64)) == 0


def test_vp_is_the_variance_preserving_path_in_sigma_coordinates():
    vp = path.VP()
    torch.testing.assert_close(VP.s(T), vp.alpha(T), rtol=1e-12, atol=0)
    torch.testing.assert_close(VP.s(T) * VP.sigma(T), vp.sigma(T), rtol=1e-12, atol=0)
    assert torch.equal(VP.noise.sigma(T), LINEAR_BETA.sigma(T))


def test_variance_of_unit_data_is_preserved_by_vp_and_grows_linearly_under_ve():
    torch.testing.assert_close(VP.s(T) ** 2 * (1 + VP.sigma(T) ** 2), torch.ones_like(T))
    torch.testing.assert_close(VE.sigma(2 * T) ** 2, 2 * VE.sigma(T) ** 2)
    assert VE.sigma(torch.tensor(1.0)) == 1
    assert torch.equal(VE.s(T), torch.ones_like(T))


def test_linear_beta_from_its_range():
    beta = LinearBeta.from_range(0.03, 40.0, epsilon_s=1e-3)
    ends = beta.sigma(torch.tensor([1e-3, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.03, 40.0], dtype=torch.float64), rtol=1e-9, atol=0)
    assert beta.start == 0
    with pytest.raises(ValueError, match="beta_d must be positive and beta_min above -beta_d/2"):
        LinearBeta.from_range(0.5, 0.51, epsilon_s=1e-3)
    with pytest.raises(ValueError, match=r"0 < sigma_min < sigma_max are needed, not 0\.001, 2 and 1"):
        LinearBeta.from_range(2, 1)


def test_linear_beta_of_the_range_of_edm_has_no_noise_level_before_it_starts():
    """The official ablation takes EDM's steps from 0.002 to 80 through VP's schedule: β_min is then below 0."""
    beta = LinearBeta.from_range(0.002, 80.0, epsilon_s=1e-3)
    assert beta.beta_min < 0
    assert 5e-4 < beta.start < 6e-4
    t = torch.linspace(1e-3, 1, 200, dtype=torch.float64)
    sigma = beta.sigma(t)
    torch.testing.assert_close(sigma[[0, -1]], torch.tensor([0.002, 80.0], dtype=torch.float64), rtol=1e-9, atol=0)
    assert (sigma.diff() > 0).all()
    assert (beta.sigma_deriv(t) > 0).all()
    torch.testing.assert_close(beta.sigma_inv(sigma), t, rtol=1e-9, atol=0)
    grid = vp_sigmas(18, beta, epsilon_s=1e-3)
    assert (grid.diff() < 0).all()
    zero = torch.zeros(1, dtype=torch.float64)
    assert beta.sigma(zero) == beta.sigma_inv(zero) == 0
    for early in (beta.start / 2, beta.start * 0.99):
        with pytest.raises(ValueError, match=r"no noise level at 0 < t < 0\.000543847"):
            beta.sigma(torch.tensor([early, 0.5], dtype=torch.float64))
        with pytest.raises(ValueError, match=r"epsilon_s must lie between 0\.00054\d* and 1"):
            vp_sigmas(18, beta, epsilon_s=early)
    with pytest.raises(ValueError, match="beta_min above -beta_d/2"):
        LinearBeta(2.0, -1.0)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_edm_steps_are_equal_after_the_rho_th_root(rho):
    sigmas = edm_sigmas(18, 0.002, 80.0, rho)
    steps = (sigmas[:-1] ** (1 / rho)).diff()
    torch.testing.assert_close(steps, steps[:1].expand(17), rtol=1e-9, atol=0)
    torch.testing.assert_close(sigmas[[0, -2, -1]], torch.tensor([80.0, 0.002, 0.0], dtype=torch.float64))


def test_edm_steps_equal_those_of_diffusers():
    scheduler: Any = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(18)
    torch.testing.assert_close(edm_sigmas(18), scheduler.sigmas.double(), rtol=1e-5, atol=0)  # theirs is float32


def test_edm_steps_tend_to_equal_ratios_as_rho_grows():
    # The distance to the limit falls as 1/rho: |ln σ_i − geometric| <= ln²(σ_max/σ_min) / (8 rho) to first order.
    geometric = torch.logspace(2, -2, 9, dtype=torch.float64)
    gap = [(edm_sigmas(9, 0.01, 100.0, rho)[:-1].log() - geometric.log()).abs().max() for rho in (1e3, 1e4)]
    assert gap[0] / gap[1] == pytest.approx(10, rel=0.02)
    assert gap[1] < torch.tensor(1e4).log() ** 2 / 8 / 1e4 * 1.05


def test_vp_steps_are_equal_in_the_time_of_the_vp_path():
    sigmas = vp_sigmas(11)
    vp = path.VP()
    t = vp.t_from_log_snr(-2 * sigmas[:-1].log())
    torch.testing.assert_close(t, torch.linspace(1, 1e-3, 11, dtype=torch.float64), rtol=1e-9, atol=0)
    assert sigmas[-1] == 0
    t = vp.t_from_log_snr(-2 * vp_sigmas(3, epsilon_s=0.2)[:-1].log())
    torch.testing.assert_close(t, torch.tensor([1.0, 0.6, 0.2], dtype=torch.float64))


def test_ve_steps_have_equal_ratios():
    sigmas = ve_sigmas(12)
    ratio = sigmas[1:-1] / sigmas[:-2]
    torch.testing.assert_close(ratio, ratio[:1].expand(11))
    torch.testing.assert_close(sigmas[[0, -2, -1]], torch.tensor([100.0, 0.02, 0.0], dtype=torch.float64))


def test_iddpm_levels_are_those_of_the_cosine_betas_of_diffusers():
    """Its α̅_t, t = 0 … M−1, multiply independently computed betas, clipped at 0.999 = 1 − C_1, in float32."""
    scheduler: Any = diffusers.DDIMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    alpha_bar = scheduler.alphas_cumprod.double()
    sigma = (1 / alpha_bar - 1).sqrt()
    u = iddpm_u()
    assert u.shape == (1001,)
    assert u[-1] == 0
    # Each of the t + 1 factors is rounded when stored and when multiplied, each time by 2⁻²⁴ of its value at most; an
    # error of d in ln α̅ is one of d / (2 (1 − α̅)) in ln σ.
    tolerance = torch.arange(1, 1001) * 2 * 2**-24 / (2 * (1 - alpha_bar))
    assert ((u[:-1].flip(0).log() - sigma.log()).abs() < tolerance).all()


def test_iddpm_steps_are_levels_at_equal_strides_from_the_first_below_sigma_max():
    u = iddpm_u()
    for steps in (1, 2, 18, 250, 992):
        sigmas = iddpm_sigmas(steps)
        j = nearest(sigmas[:-1], u)
        assert torch.equal(u[j], sigmas[:-1])
        assert sigmas[-1] == 0
        assert j[0] == 8
        if steps > 1:
            assert j[-1] == 999
            exact = 8 + torch.arange(steps) * (999 - 8) / (steps - 1)
            assert (j - exact).abs().max() <= 0.5
    assert u[8] < 81 < u[7]


def test_one_step_goes_from_the_top_to_zero():
    for sigmas, top in ((edm_sigmas(1), 80.0), (ve_sigmas(1), 100.0), (vp_sigmas(1), VP.sigma(torch.tensor(1.0)))):
        torch.testing.assert_close(sigmas, torch.tensor([top, 0.0], dtype=torch.float64), rtol=1e-6, atol=0)


def test_nearest_level():
    u = torch.tensor([9.0, 3.0, 1.0, 0.0])
    sigma = torch.tensor([[100.0, 5.9], [6.1, 0.4]])
    assert nearest(sigma, u).tolist() == [[0, 1], [0, 3]]


@pytest.mark.parametrize("sigmas", [edm_sigmas, vp_sigmas, ve_sigmas, iddpm_sigmas])
def test_every_grid_is_float64_and_decreasing_and_needs_a_step(sigmas):
    grid = sigmas(40)
    assert grid.dtype == torch.float64
    assert grid.shape == (41,)
    assert (grid.diff() < 0).all()
    for steps in (0, -3):
        with pytest.raises(ValueError, match=f"steps must be at least 1, not {steps}"):
            sigmas(steps)


@pytest.mark.parametrize("sigmas", [edm_sigmas, ve_sigmas, iddpm_sigmas])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (0.1, float("inf")), (float("nan"), 1.0)]
)
def test_noise_levels_out_of_order_are_named(sigmas, low, high):
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        sigmas(10, sigma_min=low, sigma_max=high)


def test_other_bad_grids_are_named():
    with pytest.raises(ValueError, match="rho must be positive"):
        edm_sigmas(10, rho=0.0)
    with pytest.raises(ValueError, match="epsilon_s must lie between 0 and 1"):
        vp_sigmas(10, epsilon_s=1.0)
    with pytest.raises(ValueError, match="steps must be at most 992"):
        iddpm_sigmas(993)
