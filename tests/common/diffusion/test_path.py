"""Gaussian paths against known values, automatic differentiation, their own SDE's moments, and each other."""

from itertools import product
from math import exp, log, sqrt
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from scipy.integrate import quad, solve_ivp
from torchdiffeq import odeint

from common.diffusion.oracle import GaussianMixture, gaussian_flow
from common.diffusion.path import EDM, VE, VP, Cosine, GaussianPath, Prediction, RectifiedFlow

PATHS = [VP(), VP(beta_d=6.0, beta_min=0.5), VE(), EDM(), Cosine(), RectifiedFlow(), RectifiedFlow(0.1)]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)

every_path = pytest.mark.parametrize("path", PATHS, ids=str)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def derivative(function, t: torch.Tensor) -> torch.Tensor:
    t = t.clone().requires_grad_()
    (dt,) = torch.autograd.grad((function(t) + 0 * t).sum(), t)  # + 0 t, because alpha may be constant
    return dt


TIMES = torch.linspace(0.02, 0.97, 20, dtype=torch.float64)


# What each path is, by values that can be worked out by hand.


def test_known_values():
    t = f64(1 / 3)
    assert Cosine().alpha(t).item() == pytest.approx(sqrt(3) / 2, rel=1e-14)
    assert Cosine().sigma(t).item() == pytest.approx(1 / 2, rel=1e-14)
    assert RectifiedFlow().alpha(t).item() == pytest.approx(2 / 3, rel=1e-14)
    assert RectifiedFlow().sigma(t).item() == pytest.approx(1 / 3, rel=1e-14)
    assert (VE().alpha(f64(9)).item(), VE().sigma(f64(9)).item()) == (1, 3)
    assert (EDM().alpha(f64(9)).item(), EDM().sigma(f64(9)).item()) == (1, 9)
    # ∫β over [0, 1] is the mean of 0.1 and 20.
    assert VP().alpha(f64(1)).item() == pytest.approx(exp(-10.05 / 2), rel=1e-14)


def test_squared_diffusion_of_each_path_at_a_known_point():
    half = f64(0.5)
    assert VP().squared_diffusion(half).item() == pytest.approx(10.05, rel=1e-14)
    assert VE().squared_diffusion(half).item() == 1
    assert EDM().squared_diffusion(half).item() == 1
    assert Cosine().squared_diffusion(half).item() == pytest.approx(np.pi, rel=1e-14)
    assert RectifiedFlow().squared_diffusion(half).item() == pytest.approx(2, rel=1e-14)


@pytest.mark.parametrize("path", [VP(), VP(beta_d=6.0, beta_min=0.5)], ids=str)
def test_vp_alpha_is_the_exponential_of_the_integral_of_beta(path):
    for t in (0.1, 0.6, 1.0):
        integral, _ = quad(lambda s: path.beta(torch.tensor(s, dtype=torch.float64)).item(), 0, t)
        assert path.integrated_beta(f64(t)).item() == pytest.approx(integral, rel=1e-12)
        assert 2 * path.alpha(f64(t)).log().item() == pytest.approx(-integral, rel=1e-12)


def test_vp_is_the_limit_of_ddpm():
    """DDPM's 1000 linear betas from 1e-4 to 0.02 discretise β from 0.1 to 20."""
    ddpm = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    alphas_cumprod: torch.Tensor = ddpm.alphas_cumprod  # type: ignore[attr-defined]  # set, not declared
    steps = torch.tensor([200, 500, 1000])
    log_alpha_squared = 2 * VP().alpha(steps.double() / 1000).log()
    # log(1 - β) = -β - β²/2 - …, and the sum is a right-endpoint rule: both are below 1 % of the integral here.
    torch.testing.assert_close(alphas_cumprod[steps - 1].double().log(), log_alpha_squared, rtol=0.01, atol=0)


@pytest.mark.parametrize("path", [VP(), VP(beta_d=6.0, beta_min=0.5), Cosine()], ids=str)
def test_variance_preserved(path):
    torch.testing.assert_close(path.alpha(TIMES) ** 2 + path.sigma(TIMES) ** 2, torch.ones_like(TIMES))


@every_path
def test_log_snr_is_that_of_alpha_and_sigma_and_decreases(path):
    torch.testing.assert_close(path.log_snr(TIMES), (path.alpha(TIMES) ** 2 / path.sigma(TIMES) ** 2).log())
    assert (path.log_snr(TIMES).diff() < 0).all()


@every_path
def test_log_snr_inverts_both_ways(path):
    torch.testing.assert_close(path.t_from_log_snr(path.log_snr(TIMES)), TIMES, rtol=1e-11, atol=0)
    log_snr = torch.linspace(-25, 40, 66, dtype=torch.float64)
    log_snr = log_snr[log_snr <= path.log_snr(f64(0))]
    # 1 - t is known to 1e-16; at log-SNR -25 it is as small as 4e-6.
    torch.testing.assert_close(path.log_snr(path.t_from_log_snr(log_snr)), log_snr, rtol=0, atol=1e-9)


def test_accurate_at_the_ends():
    t = f64(1e-13)
    vp = VP()
    # `abs=0`, because pytest's own absolute tolerance of 1e-12 would hide everything.
    # Near 0, sigma² = B - B²/2 + …, with B = 1e-14: nothing but B is left in double precision.
    assert vp.sigma(t).square().item() == pytest.approx(1e-14, rel=1e-11, abs=0)
    assert vp.log_snr(t).item() == pytest.approx(-log(1e-14), abs=1e-11)
    assert vp.t_from_log_snr(f64(-log(1e-14))).item() == pytest.approx(1e-13, rel=1e-11, abs=0)
    # A power of two below 1, so that 1 - t is exact; cos(π/2 (1 - h)) = π h / 2 to within h³.
    h = 2.0**-40
    assert Cosine().alpha(f64(1 - h)).item() == pytest.approx(np.pi / 2 * h, rel=1e-12, abs=0)
    assert RectifiedFlow().log_snr(f64(1 - h)).item() == pytest.approx(2 * log(h), rel=1e-12)
    for path in (vp, VE()):
        assert path.squared_diffusion(f64(0)).isfinite().all()
        assert path.drift(f64(0)).isfinite().all()


# Derivatives and the SDE.


@every_path
def test_derivatives_are_those_of_automatic_differentiation(path):
    torch.testing.assert_close(path.alpha_dot(TIMES), derivative(path.alpha, TIMES))
    torch.testing.assert_close(path.sigma_dot(TIMES), derivative(path.sigma, TIMES))
    torch.testing.assert_close(path.log_snr_dot(TIMES), derivative(path.log_snr, TIMES))
    torch.testing.assert_close(path.drift(TIMES), derivative(lambda t: path.alpha(t).log(), TIMES))


@every_path
def test_sde_moments_integrate_to_alpha_and_sigma(path):
    """dx = f x dt + g dw from x0 at t has mean and variance dm/dt = f m, dv/dt = 2 f v + g²."""

    def moments(t, state):
        time = torch.tensor(t, dtype=torch.float64)
        f, g2 = path.drift(time).item(), path.squared_diffusion(time).item()
        return [f * state[0], 2 * f * state[1] + g2]

    start, end = f64(0.01), f64(0.95)
    initial = [path.alpha(start).item(), path.sigma(start).item() ** 2]
    solution = solve_ivp(moments, (0.01, 0.95), initial, rtol=1e-10, atol=1e-13)
    assert solution.y[0, -1] == pytest.approx(path.alpha(end).item(), rel=1e-8)
    assert solution.y[1, -1] == pytest.approx(path.sigma(end).item() ** 2, rel=1e-8)


# Predictions.


@every_path
def test_score_is_the_gradient_of_the_conditional_log_density(path):
    x0, eps, t = randn(5, 3), randn(5, 3, seed=1), TIMES[::4]
    x_t = path.perturb(x0, eps, t).requires_grad_()
    density = torch.distributions.Normal(path.alpha(t)[:, None] * x0, path.sigma(t)[:, None])
    (score,) = torch.autograd.grad(density.log_prob(x_t).sum(), x_t)
    torch.testing.assert_close(path.target("score", x0, eps, t), score)


@every_path
def test_velocity_is_the_time_derivative_of_the_path(path):
    x0, eps = randn(5, 3), randn(5, 3, seed=1)
    t = TIMES[::4]
    velocity = torch.func.jvp(lambda s: path.perturb(x0, eps, s), (t,), (torch.ones_like(t),))[1]
    torch.testing.assert_close(path.target("velocity", x0, eps, t), velocity)


def test_rectified_flow_may_keep_noise_at_the_data():
    path = RectifiedFlow(0.1)
    assert path.sigma(f64(0, 1)).tolist() == [0.1, 1]
    assert path.alpha(f64(0, 1)).tolist() == [1, 0]
    x0, eps = randn(5, 3), randn(5, 3, seed=1)
    torch.testing.assert_close(path.target("velocity", x0, eps, TIMES[::4]), 0.9 * eps - x0)
    for sigma_min in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"sigma_min is {sigma_min}; it must lie in"):
            RectifiedFlow(sigma_min)


def test_rectified_flow_velocity_points_from_data_to_noise():
    x0, eps = randn(5, 3), randn(5, 3, seed=1)
    torch.testing.assert_close(RectifiedFlow().target("velocity", x0, eps, TIMES[::4]), eps - x0)


@pytest.mark.parametrize("path", [VP(), Cosine()], ids=str)
def test_v_is_a_rotation_of_data_and_noise(path):
    """Salimans & Ho 2022, appendix D: with alpha = cos φ and sigma = sin φ, v = dx_t / dφ."""
    x0, eps, t = randn(5, 3), randn(5, 3, seed=1), TIMES[::4]
    phi = torch.atan2(path.sigma(t), path.alpha(t))[:, None]
    v = torch.func.jvp(lambda p: p.cos() * x0 + p.sin() * eps, (phi,), (torch.ones_like(phi),))[1]
    torch.testing.assert_close(path.target("v", x0, eps, t), v)


def test_v_where_the_variance_is_not_preserved():
    x0, eps = f64(2)[:, None], f64(3)[:, None]
    assert RectifiedFlow().target("v", x0, eps, f64(0.25)).item() == pytest.approx(0.75 * 3 - 0.25 * 2)
    assert EDM().target("v", x0, eps, f64(2)).item() == pytest.approx(3 - 2 * 2)


@every_path
def test_targets_of_data_and_noise_are_themselves(path):
    x0, eps, t = randn(5, 3), randn(5, 3, seed=1), TIMES[::4]
    assert torch.equal(path.target("x0", x0, eps, t), x0)
    assert torch.equal(path.target("eps", x0, eps, t), eps)


@every_path
def test_every_prediction_converts_to_every_other(path):
    x0, eps, t = randn(4, 1, 2, 3), randn(4, 1, 2, 3, seed=1), f64(0.03, 0.4, 0.7, 0.95)
    x_t = path.perturb(x0, eps, t)
    for source, target in product(PREDICTIONS, PREDICTIONS):
        converted = path.convert(path.target(source, x0, eps, t), x_t, t, source, target)
        torch.testing.assert_close(converted, path.target(target, x0, eps, t), rtol=1e-9, atol=1e-9)


def test_converting_noise_to_score_cancels_nothing_at_small_sigma():
    x0, eps, t = randn(4, 3), randn(4, 3, seed=1), torch.tensor(1e-12, dtype=torch.float64)
    x_t = EDM().perturb(x0, eps, t)
    torch.testing.assert_close(EDM().convert(eps, x_t, t, "eps", "score"), -eps / t, rtol=1e-14, atol=0)


@every_path
def test_scalar_time_is_the_same_time_for_all(path):
    x0, eps, t = randn(4, 3), randn(4, 3, seed=1), torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(path.perturb(x0, eps, t), path.perturb(x0, eps, t.expand(4)))


def test_networks_keep_their_dtype_on_a_float64_grid():
    x0, eps, t = randn(4, 3).float(), randn(4, 3, seed=1).float(), TIMES[:4]
    path = VP()
    assert path.perturb(x0, eps, t).dtype == torch.float32
    assert path.convert(eps, x0, t, "eps", "v").dtype == torch.float32
    x, sigma = path.to_sigma_coordinates(x0, t)
    assert (x.dtype, sigma.dtype) == (torch.float32, torch.float64)


def test_bad_input_is_named():
    x0 = randn(4, 3)
    with pytest.raises(ValueError, match="unknown prediction 'noise': one of x0, eps, v, score, velocity"):
        VP().target("noise", x0, x0, TIMES[:4])  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match=r"t must be a scalar or of shape \(4,\), not \(3,\)"):
        VP().perturb(x0, x0, TIMES[:3])


# Sigma coordinates.


@every_path
def test_denoiser_in_sigma_coordinates_is_the_posterior_mean(path):
    """E[x0 | x_t] by quadrature over x0 in the path's own coordinates."""
    mixture = GaussianMixture(f64(-1.0, 0.5)[:, None], f64(0.3, 0.6), f64(0.4, 0.6))
    x0 = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    prior = mixture.log_prob(x0[:, None])
    for t, x_t in ((f64(0.3), 0.7), (f64(0.8), -0.4)):
        log_joint = prior + torch.distributions.Normal(path.alpha(t) * x0, path.sigma(t)).log_prob(f64(x_t))
        denoised = mixture(*path.to_sigma_coordinates(f64(x_t)[:, None], t))
        # The trapezoidal rule is exact to rounding for Gaussians on a grid this fine.
        assert denoised.item() == pytest.approx((log_joint.softmax(0) * x0).sum().item(), abs=1e-9)


@every_path
def test_probability_flow_is_the_same_in_every_path(path):
    """dx_t/dt = E[velocity | x_t], solved in t, against the exact flow in sigma coordinates."""
    mean, covariance = f64(0.7, -0.4), torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
    data = GaussianMixture(mean[None], covariance[None])
    noisy, clean = path.t_from_log_snr(f64(-5.0, 3.0))

    def velocity(t: torch.Tensor, x_t: torch.Tensor) -> torch.Tensor:
        return path.convert(data(*path.to_sigma_coordinates(x_t, t)), x_t, t, "x0", "velocity")

    x_t = randn(6, 2) * path.sigma(noisy)
    solved = odeint(velocity, x_t, torch.stack([noisy, clean]), rtol=1e-9, atol=1e-11, method="dopri5")[-1]
    exact = gaussian_flow(x_t / path.alpha(noisy), exp(2.5), exp(-1.5), mean, covariance) * path.alpha(clean)
    torch.testing.assert_close(solved, exact, rtol=1e-6, atol=1e-6)


def test_paths_are_values():
    assert VP() == VP(19.9, 0.1)
    assert VP() != VP(10.0)
    assert all(isinstance(path, GaussianPath) for path in PATHS)
