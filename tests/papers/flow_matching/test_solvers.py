"""Solvers: orders of convergence on exact fields, scipy and torchdiffeq beside, and evaluations as they were made."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from papers.flow_matching.marginal import MixtureField
from papers.flow_matching.path import OT, VP
from papers.flow_matching.solvers import (
    CountedVelocity,
    dopri5,
    euler,
    euler_step,
    grid,
    midpoint,
    midpoint_step,
    rk4,
    rk4_step,
)
from tests.papers.flow_matching.cases import LINE, MIXTURE, at, line_cdf, randn

PATH = OT(sigma_min=0.1)
FIELD = MixtureField(PATH, MIXTURE)
X = randn(6, 2, seed=11)
FIXED = {"euler": (euler, 1), "midpoint": (midpoint, 2), "rk4": (rk4, 4)}
fixed = pytest.mark.parametrize("name", FIXED)


def by_scipy(velocity, x: Tensor, t_0: float, t_1: float, method: str, tolerance: float):
    """The end of the trajectory, and the solution object, by scipy."""

    def right_hand_side(t: float, state: np.ndarray) -> np.ndarray:
        return velocity(torch.from_numpy(state).reshape(x.shape), at(t)).flatten().numpy()

    start = x.flatten().numpy()
    solution = solve_ivp(right_hand_side, (t_0, t_1), start, method=method, rtol=tolerance, atol=tolerance)
    return torch.from_numpy(solution.y[:, -1].copy()).reshape(x.shape), solution


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return by_scipy(FIELD.velocity, X, 0.0, 1.0, "DOP853", 1e-12)[0]


@fixed
def test_order_of_convergence_on_an_exact_field(name, reference):
    solver, order = FIXED[name]
    steps = torch.tensor([40, 80, 160])
    errors = [float((solver(FIELD.velocity, X, grid(PATH, int(n))) - reference).square().mean().sqrt()) for n in steps]
    slopes = np.diff(np.log(errors)) / math.log(2)
    # The next term of the expansion changes a slope by O(1/steps).
    assert slopes == pytest.approx([-order] * 2, abs=0.25)


@fixed
def test_order_on_vp_stopped_before_its_singular_end(name):
    """On a line the answer is known from the distribution functions, so the error needs no other solver."""
    solver, order = FIXED[name]
    path = VP(end=0.99)
    velocity = MixtureField(path, LINE).velocity
    x = torch.linspace(-1.5, 1.5, 5, dtype=torch.float64)[:, None]
    level = line_cdf(x, path, 0.0)
    ends = [solver(velocity, x, grid(path, n)) for n in (100, 200)]
    errors = [float((line_cdf(end, path, 0.99) - level).abs().mean()) for end in ends]
    assert np.diff(np.log(errors))[0] / math.log(2) == pytest.approx(-order, abs=0.3)


@fixed
def test_exact_where_the_solution_is_a_polynomial_of_its_order(name):
    """dx/dt = k t^{k−1}: a method of order k gets x(1) = x(0) + 1 in one step without error."""
    solver, order = FIXED[name]
    x = randn(3, 2)
    torch.testing.assert_close(solver(lambda x, t: 0 * x + order * t ** (order - 1), x, [0.0, 1.0]), x + 1)
    too_high = solver(lambda x, t: 0 * x + (order + 1) * t**order, x, [0.0, 1.0])
    assert (too_high - x - 1).abs().min() > 1e-3


@fixed
def test_evaluations_are_those_that_were_made(name):
    solver, per_step = FIXED[name]
    made = 0

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        nonlocal made
        made += 1
        return -x

    counted = CountedVelocity(velocity)
    solver(counted, X, grid(PATH, 7))
    assert counted.nfe == made == 7 * per_step


def test_dopri5_counts_rejected_steps_and_its_own_tries():
    made: list[float] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        assert x.shape == X.shape  # the whole batch at once, with one time
        assert t.shape == ()
        assert 0 <= t <= 1
        made.append(float(t))
        return FIELD.velocity(x, t)

    counts = []
    for tolerance in (1e-3, 1e-5, 1e-8):
        made.clear()
        counted = CountedVelocity(velocity)
        dopri5(counted, X, 0.0, 1.0, tolerance, tolerance)
        assert counted.nfe == len(made)
        counts.append(counted.nfe)
    assert counts[0] < counts[1] < counts[2]
    # A field that changes at once makes it reject steps: times then go back.
    made.clear()
    counted = CountedVelocity(lambda x, t: velocity(x, t) + 50 * (t > 0.5))
    dopri5(counted, X)
    assert counted.nfe == len(made)
    assert any(later < earlier - 1e-9 for earlier, later in pairwise(made[10:]))


def test_dopri5_is_scipys(reference):
    for tolerance in (1e-6, 1e-9):
        ours = dopri5(FIELD.velocity, X, 0.0, 1.0, tolerance, tolerance)
        scipys, solution = by_scipy(FIELD.velocity, X, 0.0, 1.0, "RK45", tolerance)
        # Both are the same pair of formulas; they differ in how they choose steps, within the error that they allow.
        assert (ours - scipys).abs().max() < 30 * tolerance
        assert (ours - reference).abs().max() < 30 * tolerance
        counted = CountedVelocity(FIELD.velocity)
        dopri5(counted, X, 0.0, 1.0, tolerance, tolerance)
        assert counted.nfe == pytest.approx(solution.nfev, rel=0.3)


@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
def test_back_to_the_noise(solver):
    if solver == "rk4":
        end = rk4(FIELD.velocity, X, grid(PATH, 200))
        back = rk4(FIELD.velocity, end, grid(PATH, 200).flip(0))
    else:
        end = dopri5(FIELD.velocity, X, 0.0, 1.0, 1e-9, 1e-9)
        back = dopri5(FIELD.velocity, end, 1.0, 0.0, 1e-9, 1e-9)
    assert (end - X).abs().max() > 0.5
    torch.testing.assert_close(back, X, rtol=0, atol=1e-5)


def test_time_runs_from_noise_to_data():
    """dx/dt = t from x = 0: at t = 1 it is ½, whichever way the steps are taken; from 1 down to 0, −½."""
    for solver in (midpoint, rk4):
        up = solver(lambda x, t: t.expand_as(x), torch.zeros(1, 1), torch.linspace(0, 1, 4))
        down = solver(lambda x, t: t.expand_as(x), torch.zeros(1, 1), torch.linspace(1, 0, 4))
        assert (float(up), float(down)) == pytest.approx((0.5, -0.5))


def test_state_is_float64_and_every_state_is_shown():
    seen: list[Tensor] = []
    dtypes = []

    def single(x: Tensor, t: Tensor) -> Tensor:
        dtypes.append((x.dtype, t.dtype))
        return -x.float()

    end = euler(single, X.float(), torch.linspace(0, 1, 4), seen.append)
    assert set(dtypes) == {(torch.float64, torch.float64)}
    assert end.dtype == torch.float64
    assert len(seen) == 4
    assert torch.equal(seen[-1], end)
    assert dopri5(single, X.float()).dtype == torch.float64


def test_steps_are_differentiable_and_solvers_keep_no_graph():
    """d/da of x(1) = x(0) e^a: a flow can be trained through the steps."""

    def grow(a: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return a * x

    for step, error in ((euler_step, 0.1), (midpoint_step, 2e-3), (rk4_step, 1e-7)):
        a = at(0.7).requires_grad_()
        x = torch.ones(1, 1, dtype=torch.float64)
        for t in torch.linspace(0, 1, 41, dtype=torch.float64)[:-1]:
            x = step(partial(grow, a), x, t, at(1 / 40))
        (slope,) = torch.autograd.grad(x.sum(), a)
        assert float(slope) == pytest.approx(math.exp(0.7), abs=error)
    assert not rk4(partial(grow, a), X, [0.0, 1.0]).requires_grad
    assert not dopri5(partial(grow, a), X).requires_grad


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="steps is 0"):
        grid(PATH, 0)
    with pytest.raises(ValueError, match="times must increase, or decrease"):
        euler(FIELD.velocity, X, [0.0, 0.5, 0.5])
    with pytest.raises(ValueError, match="at least two times"):
        midpoint(FIELD.velocity, X, [0.0])
    with pytest.raises(ValueError, match="times must be finite"):
        rk4(FIELD.velocity, X, [0.0, math.inf])
    with pytest.raises(ValueError, match="two finite times"):
        dopri5(FIELD.velocity, X, 0.5, 0.5)
    with pytest.raises(ValueError, match="must be positive"):
        dopri5(FIELD.velocity, X, atol=0)
    with pytest.raises(RuntimeError, match="not finite at t = 0"):
        dopri5(lambda x, t: x / 0, X)
