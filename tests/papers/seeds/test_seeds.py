"""SEEDS-1, 2, 3: exact where they should be, of their weak orders, and equal to what they are said to equal."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from common.diffusion.path import EDM, VP, Cosine
from common.diffusion.solvers import CountedDenoiser
from papers.seeds.brownian import fresh, no_noise
from papers.seeds.exponential import DataPrediction, EDMPrediction, NoisePrediction, NoisePredictionODE
from papers.seeds.grids import power_noise, uniform_log_snr, with_zero
from papers.seeds.moments import exact_moments, solver_moments
from papers.seeds.multistep import ddpm, euler_maruyama_sigma, run_multistep
from papers.seeds.runge_kutta import run, stages
from papers.seeds.seeds import seeds_1, seeds_2, seeds_3, type_2a, type_2b
from tests.papers.seeds.cases import FORMS, MIXTURE, PATHS, STOCHASTIC, Given, at, randn, seeded, solve_by

forms = pytest.mark.parametrize("name", FORMS)
SEEDS = {
    "1": seeds_1,
    "2a": seeds_2,
    "2b": lambda form, times: seeds_2(form, times, 0.5, type_2b),
    "2a, r = 0.3": lambda form, times: seeds_2(form, times, 0.3, type_2a),
    "2b, r = 0.8": lambda form, times: seeds_2(form, times, 0.8, type_2b),
    "3": seeds_3,
    "3, c = 0.25, 0.8": lambda form, times: seeds_3(form, times, 0.25, 0.8),
}
methods = pytest.mark.parametrize("method", SEEDS)
ORDERS = {method: 1.0 if method == "1" else 2.0 for method in SEEDS}


@forms
@methods
def test_the_noise_of_every_stage_has_the_variance_of_the_exact_integral(name, method):
    form, _, t_max, t_min = FORMS[name]
    tableau = SEEDS[method](form, uniform_log_snr(form, 3, t_max, t_min))
    S = tableau.read_at.shape[1]
    for n in range(3):
        s = tableau.read_at[n, 0]
        ends = [*tableau.read_at[n, 1:], tableau.read_at[n + 1, 0] if n < 2 else tableau.last]
        for i in range(S):
            h = form.half_log_snr(ends[i]) - form.half_log_snr(s)
            variance = (form.scale(ends[i]) * form.deviation(h)) ** 2
            assert float(tableau.noises[n, i].square().sum()) == pytest.approx(float(variance), rel=1e-12)


def test_squares_of_the_noise_coefficients_as_the_paper_has_them():
    """1 − e^{−2h} over σ_t² in data prediction, and e^{2h} − 1 in noise prediction, for any r."""
    for r in (0.2, 0.5, 0.9):
        for kind, expected in (("data", lambda h: -math.expm1(-2 * h)), ("noise", lambda h: math.expm1(2 * h))):
            form = STOCHASTIC[kind](VP())
            times = uniform_log_snr(form, 4, 1.0, 1e-3)
            h = float(form.half_log_snr(times).diff()[0])
            last = seeds_2(form, times, r).noises[:, -1] / VP().sigma(times[1:])[:, None]
            assert last.square().sum(1).tolist() == pytest.approx([expected(h)] * 4, rel=1e-11)


def test_stages_and_end_are_three_times_of_one_brownian_path():
    """Cov(noise of u, noise of x_t) = propagator from u to t × Var(noise of u)."""
    for name, (form, _, t_max, t_min) in FORMS.items():
        for tableau in (seeds_2(form, [t_max, t_min], 0.3), seeds_3(form, [t_max, t_min])):
            places = [*tableau.read_at[0, 1:], tableau.last]
            rows = tableau.noises[0]
            for i, early in enumerate(places):
                for k in range(i, len(places)):
                    expected = form.propagator(early, places[k]) * rows[i].square().sum()
                    assert float(rows[i] @ rows[k]) == pytest.approx(float(expected), rel=1e-9), name


@pytest.mark.parametrize("name", ["data, EDM", "noise, EDM", "EDM's F"])
@methods
def test_weak_order_on_gaussian_data(name, method):
    """Slopes of the exact errors of variance and mean, between 100 and 200 steps; other paths are this one (below)."""
    form, path, t_max, t_min = FORMS[name]
    std, mean = 0.9, 0.4
    exact = exact_moments(path, t_max, t_min, std, mean)
    errors, of_mean = [], []
    for steps in (100, 200):
        found = solver_moments(solve_by(SEEDS[method](form, power_noise(path, steps, t_max, t_min))), std, mean)
        errors.append(abs(found.variance - exact.variance) / exact.variance)
        of_mean.append(abs(found.factor - exact.factor) / exact.factor)
        assert found.offset == pytest.approx(exact.offset, abs=0.05)
    tiny = 1e-4 if method != "1" else 0.0  # where terms cancel the slope is no order, and the error says enough
    assert errors[1] < tiny or math.log2(errors[0] / errors[1]) > ORDERS[method] - 0.2
    assert of_mean[1] < 1e-9 or math.log2(of_mean[0] / of_mean[1]) > ORDERS[method] - 0.2
    if method == "1":
        assert errors[1] > 1e-4
        assert math.log2(errors[0] / errors[1]) < 1.2


@pytest.mark.parametrize(
    ("method", "kind", "small", "large"),
    [("1", "data", 0.150, 0.041), ("2a", "data", 0.0134, 8.9e-4), ("2b", "data", 0.0048, 3.0e-4),
     ("2a", "noise", 0.0013, 5.9e-5), ("3", "data", 0.0010, 9.4e-5), ("3", "noise", 0.0017, 7.8e-5)],
)  # fmt: skip
def test_errors_are_those_of_an_independent_implementation(method, kind, small, large):
    """Relative errors of the variance at 64 and 256 steps, for std 0.5 from σ = 80 to 0.02: other code found these."""
    form = STOCHASTIC[kind](EDM())
    exact = exact_moments(EDM(), 80, 0.02, 0.5)
    for steps, expected in ((64, small), (256, large)):
        found = solver_moments(solve_by(SEEDS[method](form, power_noise(EDM(), steps, 80, 0.02))), 0.5)
        assert abs(found.variance / exact.variance - 1) == pytest.approx(expected, rel=0.06)


def test_stage_noise_drawn_afresh_falls_to_first_order():
    form = DataPrediction(EDM())
    errors = []
    for steps in (256, 512):
        tableau = seeds_2(form, power_noise(EDM(), steps, 80, 0.02))
        alone = torch.zeros(steps, 2, 2, dtype=torch.float64)
        alone[:, 0, 0], alone[:, 1, 1] = (tableau.noises.square().sum(2).sqrt()).T
        found = solver_moments(solve_by(replace(tableau, noises=alone)), 0.5)
        errors.append(found.variance / exact_moments(EDM(), 80, 0.02, 0.5).variance - 1)
    assert math.log2(abs(errors[0] / errors[1])) == pytest.approx(0.96, abs=0.05)
    assert abs(errors[0]) == pytest.approx(0.040, rel=0.06)


@methods
def test_exact_in_one_step_where_the_prediction_is_constant(method):
    """One data point in data prediction; EDM's F on N(0, σ_d²)."""
    for form, path, std, mean in (
        (DataPrediction(VP()), VP(), 0.0, 0.7),
        (EDMPrediction(0.6), EDM(), 0.6, 0.0),
    ):
        found = solver_moments(solve_by(SEEDS[method](form, [0.9, 0.05])), std, mean)
        exact = exact_moments(path, 0.9, 0.05, std, mean)
        assert (found.factor, found.offset, found.variance) == pytest.approx(
            (exact.factor, exact.offset, exact.variance), rel=1e-10
        )


@forms
@methods
def test_a_line_in_the_log_snr_is_integrated_exactly_but_by_type_2a(name, method):
    """F = λ, whatever x is: a step against ∫ 2 e^{a(λ_t − λ)} λ dλ by Gauss–Legendre."""
    form, _, t_max, t_min = FORMS[name]
    s, t = (math.exp(c * math.log(t_max) + (1 - c) * math.log(t_min)) for c in (0.6, 0.5))
    l_s, l_t = float(form.half_log_snr(at(s))), float(form.half_log_snr(at(t)))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    lam = (l_s + l_t) / 2 + (l_t - l_s) / 2 * nodes
    integral = float((weights * (l_t - l_s) * np.exp(form.kernel * (l_t - lam)) * lam).sum())
    exact = float(form.propagator(at(s), at(t))) * 0.8 + float(form.gain(at(t))) * integral

    table, asked = SEEDS[method](form, [s, t]), iter(range(3))

    def denoiser(y: Tensor, sigma: Tensor) -> Tensor:
        time = table.read_at[0, next(asked)]
        p, q = form.from_denoised(time)
        return (form.half_log_snr(time) - p * form.alpha(time) * y) / q

    end = float(run(table, denoiser, at(0.8).reshape(1, 1), lambda x, *_: torch.zeros_like(x)))
    assert (end == pytest.approx(exact, rel=1e-8)) == (method not in ("1", "2a", "2a, r = 0.3"))


@pytest.mark.parametrize("path", [VP(), Cosine()])
def test_seeds_1_in_data_prediction_is_the_ancestral_step_of_ddpm(path):
    times, x, normals = [0.9, 0.7, 0.4, 0.2, 0.0], randn(5, 2), randn(3, 5, 2, seed=1)
    ours = run(seeds_1(DataPrediction(path), times), MIXTURE, x, Given(normals))
    ancestral = run_multistep(ddpm(path, times), MIXTURE, x, Given(normals))
    torch.testing.assert_close(ours, ancestral, rtol=1e-10, atol=1e-10)


def test_seeds_1_in_noise_prediction_on_ve_is_euler_maruyama_in_sigma():
    times, x, normals = [20.0, 7.0, 2.0, 0.5, 0.1], 20 * randn(5, 2), randn(4, 5, 2, seed=1)
    ours = run(seeds_1(NoisePrediction(EDM()), times), MIXTURE, x, Given(normals))
    maruyama = run_multistep(euler_maruyama_sigma(times), MIXTURE, x, Given(normals))
    torch.testing.assert_close(ours, maruyama, rtol=1e-10, atol=1e-10)


@methods
def test_without_noise_and_factor_two_noise_prediction_is_dpm_solver(method):
    """The weights of SEEDS are twice those of the form of the ODE, which test_dpm_solver compares with diffusers."""
    times = power_noise(VP(), 5, 0.9, 0.01)
    sde, ode = SEEDS[method](NoisePrediction(VP()), times), SEEDS[method](NoisePredictionODE(VP()), times)
    torch.testing.assert_close(sde.weights, 2 * ode.weights)
    torch.testing.assert_close(sde.propagators, ode.propagators)
    assert torch.equal(ode.noises, torch.zeros_like(ode.noises))
    assert bool((sde.noises.diagonal(dim1=1, dim2=2) > 0).all())


@methods
@pytest.mark.parametrize("kind", STOCHASTIC)
@pytest.mark.parametrize("name", PATHS)
def test_any_path_is_the_edm_path_in_its_own_coordinates(kind, name, method):
    path, t_max, t_min = PATHS[name]
    times = uniform_log_snr(DataPrediction(path), 4, t_max, t_min)
    x, normals = randn(5, 2), randn(12, 5, 2, seed=1)
    end = run(SEEDS[method](STOCHASTIC[kind](path), times), MIXTURE, x, Given(normals))
    sigmas = path.sigma(times) / path.alpha(times)
    edm = run(SEEDS[method](STOCHASTIC[kind](EDM()), sigmas), MIXTURE, x / path.alpha(times[0]), Given(normals))
    torch.testing.assert_close(end, path.alpha(times[-1]) * edm, rtol=1e-7, atol=1e-7)


@methods
def test_evaluations_and_normals_are_those_that_the_order_says(method):
    S = {"1": 1, "2": 2, "3": 3}[method[0]]
    for times, last in (([1.0, 0.5, 0.1], 0), ([1.0, 0.5, 0.1, 0.0], 1)):
        counted, given = CountedDenoiser(MIXTURE), Given(randn(20, 4, 2))
        seen: list[Tensor] = []
        end = run(SEEDS[method](DataPrediction(VP()), times), counted, randn(4, 2), given, seen.append)
        assert counted.nfe == 2 * S + last
        assert given.asked == 2 * S
        assert len(seen) == len(times)
        assert torch.equal(seen[-1], end)
        # They are asked for in order, end to end, over the whole range.
        bounds = [bound for interval in given.intervals for bound in interval[:2]]
        assert bounds == sorted(bounds)
        assert all(a == b for a, b in zip(bounds[1::2], bounds[2::2], strict=False))
        assert {rate for *_, rate in given.intervals} == {-1.0}


@methods
@pytest.mark.parametrize("kind", [*STOCHASTIC, "EDM's F"])
def test_the_last_step_to_zero_is_the_denoiser_s_answer_without_noise(method, kind):
    path = EDM()
    form = EDMPrediction(0.5) if kind == "EDM's F" else STOCHASTIC[kind](path)
    x, normals = randn(4, 2), randn(3, 4, 2)
    times = at(2.0, 1.0)
    before = run(SEEDS[method](form, times), MIXTURE, x, Given(normals))
    end = run(SEEDS[method](form, with_zero(times)), MIXTURE, x, Given(normals))
    torch.testing.assert_close(end, MIXTURE(before, at(1.0)), rtol=0, atol=1e-12)


def test_state_is_float64_whatever_the_network_s_type():
    seen = []

    def single(x, sigma):
        seen.append((x.dtype, sigma.dtype, sigma.shape))
        return MIXTURE(x, sigma).float()

    end = run(seeds_2(NoisePrediction(VP()), [1.0, 0.1]), single, randn(3, 2).float(), fresh(seeded()))
    assert end.dtype == torch.float64
    assert set(seen) == {(torch.float64, torch.float64, torch.Size([]))}


def test_bad_input_is_named():
    form = DataPrediction(VP())
    with pytest.raises(ValueError, match="rise between 0 and 1"):
        seeds_2(form, [1.0, 0.5], r=1.0)
    with pytest.raises(ValueError, match="rise between 0 and 1"):
        seeds_3(form, [1.0, 0.5], c_2=0.7, c_3=0.4)
    with pytest.raises(ValueError, match="must decrease"):
        seeds_1(form, [0.5, 1.0])
    with pytest.raises(ValueError, match="adds noise"):
        run(seeds_1(form, [1.0, 0.5]), MIXTURE, randn(2, 2), no_noise)


def test_the_times_of_stages_are_equal_parts_of_a_step_in_the_log_snr():
    form = DataPrediction(Cosine())
    read_at, nodes, denoise = stages(form, [0.8, 0.3, 0.0], (0.0, 0.25, 1.0))
    assert denoise
    lam = form.half_log_snr(read_at)
    torch.testing.assert_close(lam, nodes, rtol=1e-12, atol=1e-12)
    assert float((lam[0, 1] - lam[0, 0]) / (lam[0, 2] - lam[0, 0])) == pytest.approx(0.25)
    assert (float(read_at[0, 0]), float(read_at[0, -1])) == (0.8, 0.3)
