"""Euler–Maruyama and DDPM: first weak order on Gaussian data, and one step by hand against the SDE."""

from __future__ import annotations

import math

import pytest
import torch

from common.diffusion.path import EDM, VE, VP, GaussianPath, RectifiedFlow
from common.diffusion.solvers import CountedDenoiser
from papers.seeds.brownian import no_noise
from papers.seeds.grids import power_noise, power_time, with_zero
from papers.seeds.moments import exact_moments, solver_moments
from papers.seeds.multistep import Multistep, ddpm, euler_maruyama, euler_maruyama_sigma, run_multistep
from tests.papers.seeds.cases import MIXTURE, PATHS, Given, at, randn, solve_by


def on(path: GaussianPath, steps: int, t_max: float, t_min: float) -> torch.Tensor:
    return power_time(steps, t_max, t_min) if isinstance(path, VP) else power_noise(path, steps, t_max, t_min)


@pytest.mark.parametrize("name", ["VP", "VE", "rectified"])
def test_euler_maruyama_is_of_first_weak_order(name):
    path, t_max, t_min = PATHS[name]
    exact, errors = exact_moments(path, t_max, t_min, 0.9), []
    for steps in (200, 400):
        found = solver_moments(solve_by(euler_maruyama(path, on(path, steps, t_max, t_min))), 0.9)
        errors.append(abs(found.variance / exact.variance - 1))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.25)


def test_ddpm_is_of_first_weak_order():
    exact, errors = exact_moments(VP(), 1.0, 1e-3, 0.5), []
    for steps in (200, 400):
        found = solver_moments(solve_by(ddpm(VP(), power_time(steps, 1.0, 1e-3, 1.0))), 0.5)
        errors.append(abs(found.variance / exact.variance - 1))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)


def test_the_errors_of_euler_maruyama_in_sigma_squared_are_those_of_other_code():
    exact = exact_moments(EDM(), 80, 0.02, 0.5)
    for steps, expected in ((64, 0.161), (256, 0.038)):
        sigmas = power_noise(EDM(), steps, 80, 0.02)
        found = solver_moments(solve_by(euler_maruyama(VE(), sigmas**2)), 0.5)
        assert abs(found.variance / exact.variance - 1) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", ["VP", "VE", "rectified"])
def test_one_step_moves_by_the_reverse_drift(name):
    """x − h [f x − g² ∇log p], with the score of the mixture itself; its noise has the variance g² h."""
    path, t_max, t_min = PATHS[name]
    s = at(math.sqrt(t_max * t_min))
    h = 1e-3 * s
    x, z = randn(5, 2), randn(1, 5, 2, seed=1)
    alpha, sigma = path.alpha(s), path.sigma(s)
    score = MIXTURE.score(x / alpha, sigma / alpha) / alpha
    expected = (
        x - h * (path.drift(s) * x - path.squared_diffusion(s) * score) + (path.squared_diffusion(s) * h).sqrt() * z[0]
    )
    table = euler_maruyama(path, torch.stack([s, s - h]))
    torch.testing.assert_close(run_multistep(table, MIXTURE, x, Given(z)), expected, rtol=1e-9, atol=1e-9)


def test_in_sigma_the_noise_is_the_exact_increment_and_the_drift_twice_the_ode_s():
    table = euler_maruyama_sigma([5.0, 3.0])
    x, z = randn(5, 2), randn(1, 5, 2, seed=1)
    ode = (x - MIXTURE(x, at(5.0))) / 5
    torch.testing.assert_close(run_multistep(table, MIXTURE, x, Given(z)), x - 2 * 2 * ode + 4 * z[0])


def test_ddpm_takes_its_posterior_s_mean_and_variance():
    """By Bayes: x_s = a x_t + noise, x_t = α_t D + noise; the product of the two Gaussians in x_t."""
    path, s, t = VP(), at(0.7), at(0.4)
    a = path.alpha(s) / path.alpha(t)
    forward = path.sigma(s) ** 2 - a**2 * path.sigma(t) ** 2
    precision = 1 / path.sigma(t) ** 2 + a**2 / forward
    x, z = randn(5, 2), randn(1, 5, 2, seed=1)
    D = MIXTURE(x / path.alpha(s), path.sigma(s) / path.alpha(s))
    mean = (path.alpha(t) * D / path.sigma(t) ** 2 + a * x / forward) / precision
    ours = run_multistep(ddpm(path, torch.stack([s, t])), MIXTURE, x, Given(z))
    torch.testing.assert_close(ours, mean + z[0] / precision.sqrt(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("table", [ddpm(VP(), [1.0, 0.5, 0.1, 0.0]), euler_maruyama(VP(), [1.0, 0.5, 0.1, 0.0])])
def test_evaluations_and_the_denoising_at_the_end(table: Multistep):
    counted, given = CountedDenoiser(MIXTURE), Given(randn(2, 4, 2))
    seen: list[torch.Tensor] = []
    end = run_multistep(table, counted, randn(4, 2), given, seen.append)
    assert (counted.nfe, given.asked, len(seen)) == (3, 2, 4)
    path = VP()
    torch.testing.assert_close(end, MIXTURE(seen[-2] / path.alpha(at(0.1)), path.sigma(at(0.1)) / path.alpha(at(0.1))))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="RectifiedFlow is none"):
        ddpm(RectifiedFlow(), [0.9, 0.5])
    with pytest.raises(ValueError, match="adds noise"):
        run_multistep(ddpm(VP(), [0.9, 0.5]), MIXTURE, randn(2, 2), no_noise)
    with pytest.raises(ValueError, match="steps is 0"):
        power_time(0, 1.0, 0.1)
    with pytest.raises(ValueError, match="0 < t_min < t_max"):
        power_noise(VP(), 4, 0.1, 0.5)


def test_grids_have_their_ends_and_equal_steps_of_what_they_say():
    times = power_noise(VP(), 6, 1.0, 1e-3, rho=5.0)
    rho = VP().sigma(times) / VP().alpha(times)
    roots = rho ** (1 / 5)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(6), rtol=1e-8, atol=0)
    quadratic = power_time(6, 1.0, 1e-3)
    torch.testing.assert_close(quadratic.sqrt().diff(), quadratic.sqrt().diff().mean().expand(6))
    for grid in (times, quadratic):
        assert (float(grid[0]), float(grid[-1])) == (1.0, 1e-3)
        assert with_zero(grid).tolist() == [*grid.tolist(), 0.0]
