"""Brownian paths: the joint law of their integrals by simulation and by quadrature, sums, refinement, and coupling."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad

from common.diffusion.path import EDM
from papers.seeds.brownian import BrownianPath
from papers.seeds.exponential import DataPrediction, NoisePrediction
from papers.seeds.grids import uniform_log_snr
from papers.seeds.runge_kutta import run
from papers.seeds.seeds import seeds_1, seeds_3
from tests.papers.seeds.cases import MIXTURE, randn, seeded

N = 40_000


def integral(rate: float, other: float, start: float, end: float, reach: float) -> float:
    """Cov(√2 ∫_start^end e^{rate (end − λ)} dW, √2 ∫_start^reach e^{other (reach − λ)} dW), reach ≥ end."""
    return quad(lambda s: 2 * math.exp(rate * (end - s) + other * (reach - s)), start, end)[0]


def unscaled(path: BrownianPath, rate: float, start: float, end: float) -> torch.Tensor:
    z = path.noise()(path.integrals[0, 0], start, end, rate)
    return z * math.sqrt(integral(rate, rate, start, end, end))


@pytest.mark.parametrize("refine", [False, True])
def test_integrals_of_all_rates_and_lengths_have_the_covariances_of_one_path(refine):
    generator = seeded(3)
    path = BrownianPath.draw([0.0, 0.4, 1.0], (N,), generator)
    if refine:
        path = path.refined(generator)
    nodes = path.grid.tolist()
    for rate in (-1.0, 1.0):
        for other in (-1.0, 1.0):
            for end, reach in ((nodes[1], nodes[1]), (nodes[1], nodes[-1]), (nodes[-1], nodes[-1])):
                a, b = unscaled(path, rate, 0.0, end), unscaled(path, other, 0.0, reach)
                exact = integral(rate, other, 0.0, end, reach)
                spread = math.sqrt(integral(rate, rate, 0.0, end, end) * integral(other, other, 0.0, reach, reach))
                assert float((a * b).mean()) == pytest.approx(exact, abs=5 * 1.5 * spread / math.sqrt(N))
    # Integrals over parts that do not meet are independent.
    a, b = unscaled(path, 1.0, 0.0, nodes[1]), unscaled(path, -1.0, nodes[1], nodes[-1])
    assert abs(float((a * b).mean() / (a.std() * b.std()))) < 5 / math.sqrt(N)


def test_a_refined_path_is_the_same_path():
    path = BrownianPath.draw(torch.linspace(-2, 3, 7, dtype=torch.float64), (5, 2), seeded())
    finer = path.refined(seeded(1)).refined(seeded(2))
    assert len(finer.grid) == 25
    x = randn(5, 2)
    for rate in (-1.0, 1.0):
        for i in range(6):
            ends = (float(path.grid[i]), float(path.grid[min(i + 2, 6)]))
            torch.testing.assert_close(finer.noise()(x, *ends, rate), path.noise()(x, *ends, rate), rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", [DataPrediction(EDM()), NoisePrediction(EDM())])
def test_coupled_solvers_meet_and_uncoupled_ones_do_not(form):
    times = uniform_log_snr(form, 96, 20.0, 0.1)
    path = BrownianPath.draw(form.half_log_snr(times), (400, 2), seeded(1))
    other = BrownianPath.draw(form.half_log_snr(times), (400, 2), seeded(2))
    x = 20 * randn(400, 2)
    reference = run(seeds_1(form, times), MIXTURE, x, path.noise())
    distances = {}
    for name, noise in (("coupled", path.noise()), ("other", other.noise())):
        ends = [run(seeds_1(form, times[::step]), MIXTURE, x, noise) for step in (8, 4)]
        distances[name] = [float((end - reference).square().mean().sqrt()) for end in ends]
    assert distances["coupled"][0] / distances["coupled"][1] > 1.6
    assert distances["coupled"][1] < 0.2 < distances["other"][1]


def test_data_and_noise_prediction_on_one_path_meet():
    """Their integrals have other kernels: only a path that has both can couple them."""
    forms = (DataPrediction(EDM()), NoisePrediction(EDM()))
    times = uniform_log_snr(forms[0], 240, 20.0, 0.1)
    path = BrownianPath.draw(forms[0].half_log_snr(times), (200, 2), seeded(1))
    x = 20 * randn(200, 2)
    gaps = []
    for step in (12, 3):
        a, b = (run(seeds_3(form, times[::step]), MIXTURE, x, path.noise()) for form in forms) if step % 3 else (
            run(seeds_1(form, times[::step]), MIXTURE, x, path.noise()) for form in forms)  # fmt: skip
        gaps.append(float((a - b).square().mean().sqrt()))
    assert gaps[0] / gaps[1] > 2.5
    assert gaps[1] < 0.1


def test_bad_input_is_named():
    path = BrownianPath.draw([0.0, 0.5, 1.0], (2,), seeded())
    with pytest.raises(ValueError, match=r"λ = 0\.3 is not on the grid"):
        path.noise()(randn(2), 0.0, 0.3, 1.0)
    with pytest.raises(ValueError, match="λ = 2 is not on the grid"):
        path.noise()(randn(2), 0.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="rate is 0"):
        path.noise()(randn(2), 0.0, 0.5, 0.0)
    with pytest.raises(ValueError, match="increase"):
        BrownianPath.draw([0.0, 0.0], (2,), seeded())
