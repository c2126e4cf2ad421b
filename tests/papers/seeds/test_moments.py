"""Exact moments against the closed form of the reverse SDE, and against samples of the solver."""

from __future__ import annotations

import math

import pytest
import torch

from common.diffusion.path import EDM, VP
from papers.seeds.brownian import fresh
from papers.seeds.exponential import DataPrediction, NoisePrediction
from papers.seeds.grids import uniform_log_snr
from papers.seeds.moments import exact_moments, solver_moments
from papers.seeds.seeds import seeds_2
from tests.papers.seeds.cases import PATHS, at, seeded, solve_by


@pytest.mark.parametrize("name", PATHS)
def test_the_exact_law_is_bayes_posterior(name):
    """(x_t, x_s) is jointly Gaussian: x_s is x_t scaled, with noise added. Regress one on the other."""
    path, t_max, t_min = PATHS[name]
    std, mean = 0.8, 0.3
    s, t = math.sqrt(t_max * t_min), t_min
    alpha_s, alpha_t, sigma_s, sigma_t = (float(f(at(v))) for f in (path.alpha, path.sigma) for v in (s, t))
    var_t, var_s = ((a * std) ** 2 + b**2 for a, b in ((alpha_t, sigma_t), (alpha_s, sigma_s)))
    covariance = alpha_s / alpha_t * var_t
    found = exact_moments(path, s, t, std, mean)
    assert found.factor == pytest.approx(covariance / var_s)
    assert found.offset == pytest.approx(alpha_t * mean - covariance / var_s * alpha_s * mean)
    assert found.variance == pytest.approx(var_t - covariance**2 / var_s)
    assert found.variance_from(var_s) == pytest.approx(var_t)


@pytest.mark.parametrize("form", [DataPrediction(VP()), NoisePrediction(VP())])
def test_moments_of_a_solver_are_those_of_its_samples(form):
    solve = solve_by(seeds_2(form, uniform_log_snr(form, 4, 1.0, 0.05)))
    std, mean, n = 0.8, 0.5, 40_000
    found = solver_moments(solve, std, mean)

    def denoiser(x, sigma):
        return mean + std**2 / (std**2 + sigma**2) * (x - mean)

    x = torch.full((n, 1), 1.5, dtype=torch.float64)
    end = solve(denoiser, x, fresh(seeded(1)))
    spread = math.sqrt(found.variance)
    assert float(end.mean()) == pytest.approx(found.factor * 1.5 + found.offset, abs=5 * spread / math.sqrt(n))
    assert float(end.var()) == pytest.approx(found.variance, rel=5 * math.sqrt(2 / n))


def test_data_prediction_keeps_the_mean_exactly_and_noise_prediction_does_not():
    """The denoiser is a martingale of the reverse SDE, E[D(x_t) | x_s] = D(x_s), so that its mean may be held."""
    exact = exact_moments(EDM(), 10, 0.1, 0.5, 0.2)
    for form, errs in ((DataPrediction(EDM()), False), (NoisePrediction(EDM()), True)):
        found = solver_moments(solve_by(seeds_2(form, uniform_log_snr(form, 8, 10, 0.1))), 0.5, 0.2)
        assert (abs(found.factor / exact.factor - 1) > 1e-3) == errs
