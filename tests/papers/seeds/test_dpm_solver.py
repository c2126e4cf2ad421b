"""Beside diffusers, whose schedulers know nothing of this package: the ODE's steps, and SDE-DPM-Solver++."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler
from torch import Tensor

from common.diffusion.path import EDM, VP
from papers.seeds.brownian import fresh, no_noise
from papers.seeds.exponential import DataPrediction, DataPredictionODE, NoisePrediction, NoisePredictionODE
from papers.seeds.grids import power_noise
from papers.seeds.moments import exact_moments, solver_moments
from papers.seeds.multistep import dpm_solver_2m, run_multistep
from papers.seeds.runge_kutta import run
from papers.seeds.seeds import seeds_1, seeds_2, seeds_3, type_2b
from tests.papers.seeds.cases import MIXTURE, Given, randn, seeded, solve_by

PATH = VP()
# Noise prediction is said to be left out of a later version.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")


def scheduler(kind: Any, levels: Tensor, **config: Any) -> Any:
    """A scheduler that stands at the first of given levels σ/α, in float64."""
    made = kind(final_sigmas_type="sigma_min", **config)
    made.sigmas = levels
    return made


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("algorithm", "form"), [("dpmsolver", NoisePredictionODE(PATH)), ("dpmsolver++", DataPredictionODE(PATH))]
)
def test_forms_of_the_ode_take_the_singlestep_steps(order, algorithm, form):
    """Order 2 at r = ½. Their order 3 in data prediction reads as ours does."""
    s, t = 0.8, 0.55
    tableau = {1: seeds_1, 2: seeds_2, 3: seeds_3}[order](form, [s, t])
    levels = torch.cat([tableau.read_at[0], tableau.last[None]])
    levels = PATH.sigma(levels) / PATH.alpha(levels)
    x = randn(4, 2)
    read: list[Tensor] = []

    def denoiser(y: Tensor, level: Tensor) -> Tensor:
        k = len(read)
        D = MIXTURE(y, level)
        read.append(D if algorithm == "dpmsolver++" else (y - D) / levels[k])
        return D

    end = run(tableau, denoiser, x, no_noise)
    theirs = scheduler(DPMSolverSinglestepScheduler, levels, algorithm_type=algorithm, solver_order=order)
    theirs._step_index = order - 1
    if order == 1:
        expected = theirs.dpm_solver_first_order_update(read[0], sample=x)
    else:
        update = {
            2: theirs.singlestep_dpm_solver_second_order_update,
            3: theirs.singlestep_dpm_solver_third_order_update,
        }
        expected = update[order](read, sample=x)
    torch.testing.assert_close(end, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("algorithm", "form"), [("sde-dpmsolver++", DataPrediction(PATH)), ("dpmsolver++", DataPredictionODE(PATH))]
)
def test_two_steps_of_2m_are_those_of_diffusers(algorithm, form):
    times = torch.tensor([0.9, 0.6, 0.45, 0.2], dtype=torch.float64)
    levels = PATH.sigma(times) / PATH.alpha(times)
    x, normals = randn(4, 2), randn(3, 4, 2, seed=1)
    noise = Given(normals) if form.stochastic else no_noise
    ours = run_multistep(dpm_solver_2m(form, times), MIXTURE, x, noise)
    theirs = scheduler(DPMSolverMultistepScheduler, levels, algorithm_type=algorithm, solver_order=2)
    read: list[Tensor] = []
    for n in range(3):
        theirs._step_index = n
        read.append(MIXTURE(x / PATH.alpha(times[n]), levels[n]))
        if n == 0:
            x = theirs.dpm_solver_first_order_update(read[-1], sample=x, noise=normals[n])
        else:
            x = theirs.multistep_dpm_solver_second_order_update(read[-2:], sample=x, noise=normals[n])
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("algorithm", "form"), [("sde-dpmsolver++", DataPrediction(PATH)), ("sde-dpmsolver", NoisePrediction(PATH))]
)
def test_seeds_1_is_the_first_order_of_diffusers_sde(algorithm, form):
    times = torch.tensor([0.9, 0.6], dtype=torch.float64)
    levels = PATH.sigma(times) / PATH.alpha(times)
    x, normals = randn(4, 2), randn(1, 4, 2, seed=1)
    D = MIXTURE(x / PATH.alpha(times[0]), levels[0])
    read = D if algorithm.endswith("++") else (x / PATH.alpha(times[0]) - D) / levels[0]
    theirs = scheduler(DPMSolverMultistepScheduler, levels, algorithm_type=algorithm, solver_order=1)
    theirs._step_index = 0
    expected = theirs.dpm_solver_first_order_update(read, sample=x, noise=normals[0])
    torch.testing.assert_close(run(seeds_1(form, times), MIXTURE, x, Given(normals)), expected, rtol=1e-9, atol=1e-9)


def test_weak_order_of_the_multistep_method():
    form, exact = DataPrediction(EDM()), exact_moments(EDM(), 20, 0.05, 0.5)
    errors = []
    for steps in (100, 200):
        table = dpm_solver_2m(form, power_noise(EDM(), steps, 20, 0.05))
        errors.append(abs(solver_moments(solve_by(table), 0.5).variance / exact.variance - 1))
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.3)


def test_2m_wants_the_data_predicted():
    with pytest.raises(ValueError, match="not NoisePrediction"):
        dpm_solver_2m(NoisePrediction(PATH), [0.9, 0.5])  # type: ignore[arg-type]


def test_type_2b_weighs_the_slope_as_diffusers_heun_does():
    """Their solver_type="heun" has the integral of a line in the place of a half."""
    form, times = DataPrediction(PATH), torch.tensor([0.8, 0.5], dtype=torch.float64)
    h = form.half_log_snr(times).diff()
    theirs = ((1.0 - torch.exp(-2.0 * h)) / (-2.0 * h) + 1.0) * PATH.alpha(times[1])
    torch.testing.assert_close(form.gain(times[1]) * type_2b(form, h), theirs)


def test_fresh_noise_is_the_generator_s():
    x = randn(3, 2)
    a, b = fresh(seeded(5)), fresh(seeded(5))
    assert torch.equal(a(x, 0, 1, -1), b(x, 2, 3, 1))
    assert not torch.equal(a(x, 0, 1, -1), fresh(seeded(5))(x, 0, 1, -1))
