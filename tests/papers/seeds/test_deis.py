"""DEIS: its integrals, its orders on an exact denoiser, and the methods that it contains."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from common.diffusion import solvers as common_solvers
from common.diffusion.oracle import gaussian_flow
from common.diffusion.path import EDM, VP, Cosine, RectifiedFlow
from common.diffusion.solvers import CountedDenoiser
from papers.seeds.brownian import no_noise
from papers.seeds.deis import (
    HEUN,
    KUTTA,
    Coordinate,
    adams_bashforth,
    ddim,
    euler,
    frozen_score,
    gauss_legendre,
    in_lambda,
    in_rho,
    in_t,
    left_riemann,
    rho_runge_kutta,
)
from papers.seeds.exponential import NoisePredictionODE
from papers.seeds.grids import power_time, uniform_log_snr
from papers.seeds.multistep import Multistep
from papers.seeds.runge_kutta import Tableau
from papers.seeds.seeds import seeds_1, seeds_2
from tests.papers.seeds.cases import MIXTURE, at, randn, solve_by

GRID = power_time(10, 1.0, 1e-3)
COORDINATES: dict[str, Coordinate] = {"t": in_t, "rho": in_rho, "lambda": in_lambda}


def follow(table, x, denoiser=MIXTURE):
    return solve_by(table)(denoiser, x, no_noise)


@pytest.mark.parametrize("r", [0, 1, 2, 3])
@pytest.mark.parametrize("name", COORDINATES)
def test_coefficients_are_the_integrals_of_lagrange_polynomials(r, name):
    """By scipy in log ρ, of numpy's fits through unit values: neither quadrature nor basis is ours."""
    path, coordinate = VP(), COORDINATES[name]
    table = adams_bashforth(path, GRID, r, coordinate)
    places = coordinate(path, GRID).numpy()
    rho = (path.sigma(GRID) / path.alpha(GRID)).tolist()
    for i in (r, 7):
        used = places[i - r : i + 1][::-1]
        for j in range(r + 1):
            fit = np.polynomial.Polynomial.fit(used, np.eye(r + 1)[j], r)

            def integrand(u: float, fit=fit) -> float:
                t = path.t_from_log_snr(at(-2 * u))
                return float(fit(float(coordinate(path, t)))) * math.exp(u)

            exact, _ = quad(integrand, math.log(rho[i]), math.log(rho[i + 1]), epsabs=0, epsrel=1e-10)
            assert float(table.weights[i, j]) == pytest.approx(float(path.alpha(GRID[i + 1])) * exact, rel=1e-8)


def test_uniform_rho_has_the_classical_coefficients():
    """55, −59, 37, −9 over 24, and fewer at the start: 3, −1 over 2 and 23, −16, 5 over 12."""
    table = adams_bashforth(EDM(), torch.linspace(6, 1, 6, dtype=torch.float64), 3, in_rho)
    classical: list[list[float]] = [
        [1],
        [3 / 2, -1 / 2],
        [23 / 12, -16 / 12, 5 / 12],
        [55 / 24, -59 / 24, 37 / 24, -9 / 24],
    ]
    for i, row in enumerate(classical):
        assert table.weights[i].tolist() == pytest.approx([-v for v in row] + [0] * (4 - len(row)), abs=1e-12)


@pytest.mark.parametrize("path", [VP(), Cosine()])
def test_the_score_held_constant_has_a_closed_form_where_the_variance_is_kept(path):
    """There g² = −2 f, so that with Ψ = α_t/α_s the score's weight −½ ∫ Ψ g² dt is Ψ − 1."""
    s, t, x = at(0.8), at(0.5), randn(6, 2)
    alpha, psi = path.alpha(s), path.alpha(t) / path.alpha(s)
    score = MIXTURE.score(x / alpha, path.sigma(s) / alpha) / alpha
    expected = psi * x + (psi - 1) * score
    torch.testing.assert_close(follow(frozen_score(path, [0.8, 0.5]), x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", [VP(), Cosine(), RectifiedFlow(), EDM()])
def test_without_earlier_readings_it_is_ddim_and_dpm_solver_1(path):
    times, x = power_time(10, 0.97, 1e-3), randn(6, 2)
    tables = (adams_bashforth(path, times, 0), ddim(path, times), seeds_1(NoisePredictionODE(path), times))
    ends = [follow(table, x) for table in tables]
    for end in ends[1:]:
        torch.testing.assert_close(ends[0], end, rtol=0, atol=1e-12)
    # And whatever r: the coefficients of a step sum to DDIM's.
    deeper = adams_bashforth(path, times, 3)
    torch.testing.assert_close(deeper.weights.sum(1), tables[0].weights[:, 0], rtol=1e-11, atol=1e-13)


def test_dpm_solver_2_is_the_rho_midpoint_rule_with_its_node_at_the_geometric_mean():
    """x_t = (α_t/α_s) x_s + α_t (ρ_t − ρ_s) ε(u), u a DDIM step to √(ρ_s ρ_t)."""
    path, s, t, x = VP(), at(0.8), at(0.5), randn(6, 2)
    rho_s, rho_t = (path.sigma(v) / path.alpha(v) for v in (s, t))
    middle = path.t_from_log_snr(-(rho_s * rho_t).log())
    u = follow(ddim(path, torch.stack([s, middle])), x)
    y, rho_u = u / path.alpha(middle), (rho_s * rho_t).sqrt()
    eps = (y - MIXTURE(y, rho_u)) / rho_u
    expected = path.alpha(t) * (x / path.alpha(s) + (rho_t - rho_s) * eps)
    torch.testing.assert_close(
        follow(seeds_2(NoisePredictionODE(path), [0.8, 0.5]), x), expected, rtol=1e-10, atol=1e-10
    )


def test_on_the_edm_path_they_are_euler_and_heun_of_karras_and_others():
    sigmas, x = [20.0, 8.0, 3.0, 1.0, 0.3, 0.0], 20 * randn(6, 2)
    for ours, theirs in (
        (ddim(EDM(), sigmas), common_solvers.euler),
        (euler(EDM(), sigmas), common_solvers.euler),
        (rho_runge_kutta(EDM(), sigmas, HEUN), common_solvers.heun),
    ):
        torch.testing.assert_close(follow(ours, x), theirs(MIXTURE, x, sigmas), rtol=1e-10, atol=1e-10)


GAUSSIAN = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
MEAN = torch.tensor([0.4, -0.2], dtype=torch.float64)


def gaussian_denoiser(y, sigma):
    shrink = GAUSSIAN @ torch.linalg.inv(GAUSSIAN + sigma**2 * torch.eye(2, dtype=torch.float64))
    return MEAN + (y - MEAN) @ shrink.T


def error(table, path, t_max, t_min):
    """Of the end, to the closed form of the flow of Gaussian data."""
    x = randn(8, 2)
    ends = [(path.alpha(at(t)), path.sigma(at(t)) / path.alpha(at(t))) for t in (t_max, t_min)]
    exact = ends[1][0] * gaussian_flow(x / ends[0][0], ends[0][1], ends[1][1], MEAN, GAUSSIAN)
    return float((follow(table, x, gaussian_denoiser) - exact).square().mean().sqrt())


METHODS: dict[str, tuple[Callable[..., Tableau | Multistep], int]] = {
    **{f"tAB{r}": (partial(adams_bashforth, r=r), r + 1) for r in range(4)},
    **{f"rhoAB{r}": (partial(adams_bashforth, r=r, coordinate=in_rho), r + 1) for r in (1, 3)},
    "log-rhoAB2": (partial(adams_bashforth, r=2, coordinate=in_lambda), 3),
    "rhoHeun": (partial(rho_runge_kutta, method=HEUN), 2),
    "rhoKutta": (partial(rho_runge_kutta, method=KUTTA), 3),
    "Euler": (euler, 1),
    "frozen score": (frozen_score, 1),
}


@pytest.mark.parametrize("name", METHODS)
def test_order_of_convergence_on_gaussian_data(name):
    method, order = METHODS[name]
    for path, t_max, t_min in ((EDM(), 80.0, 0.3), (VP(), 1.0, 0.05)):
        if order < 4 or isinstance(path, EDM):
            errors = [error(method(path, power_time(steps, t_max, t_min)), path, t_max, t_min) for steps in (160, 320)]
            assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("name", ["tAB2", "tAB3"])
def test_the_first_steps_leave_an_error_of_second_order(name):
    """They have fewer readings. It shows where the prediction changes from the start on, as on the straight path."""
    path, t_max, t_min = RectifiedFlow(), 0.99, 0.1
    errors = [error(METHODS[name][0](path, power_time(n, t_max, t_min)), path, t_max, t_min) for n in (320, 640)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.25)


def test_a_polynomial_in_its_own_coordinate_is_integrated_without_error():
    """ε = c(t)³, whatever x: r = 3 is exact from the fourth step on, r = 2 is not."""
    path, times = VP(), power_time(8, 0.9, 0.1)
    for name, coordinate in COORDINATES.items():
        known = coordinate(path, times) ** 3
        start, weights = times[3:-1], gauss_legendre(path, times[3:-1], times[4:])
        exact = (weights[1] * coordinate(path, weights[0]) ** 3).sum(1)
        for r, right in ((3, True), (2, False)):
            C = adams_bashforth(path, times, r, coordinate).weights[3:]
            ours = torch.stack([C[:, j] * known[3 - j : len(times) - 1 - j] for j in range(r + 1)]).sum(0)
            assert torch.allclose(ours, exact, rtol=1e-9, atol=0) == right, (name, r, len(start))


def test_the_official_integrals_err_by_one_in_ten_thousand():
    exact, rough = (adams_bashforth(VP(), GRID, 3, quadrature=q).weights for q in (gauss_legendre, left_riemann))
    error = ((rough - exact).abs() / exact.abs().clamp(min=1e-12))[3:].max()
    assert 2e-5 < float(error) < 1e-3


def test_evaluations():
    for table, per_step in ((adams_bashforth(VP(), GRID, 3), 1), (rho_runge_kutta(VP(), GRID, HEUN), 2),
                            (rho_runge_kutta(VP(), GRID, KUTTA), 3)):  # fmt: skip
        counted = CountedDenoiser(MIXTURE)
        follow(table, randn(3, 2), counted)
        assert counted.nfe == 10 * per_step


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="r is -1"):
        adams_bashforth(VP(), GRID, -1)
    with pytest.raises(ValueError, match="must decrease"):
        rho_runge_kutta(VP(), [0.1, 0.9], HEUN)
    with pytest.raises(ValueError, match="0 < t_min"):
        uniform_log_snr(NoisePredictionODE(VP()), 3, 1.0, 0.0)
