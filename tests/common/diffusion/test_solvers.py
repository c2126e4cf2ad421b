"""Euler and Heun: orders of convergence, independent implementations, evaluations counted, and the grid they refuse."""

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, HeunDiscreteScheduler
from torchdiffeq import odeint

from common.diffusion.oracle import EmpiricalDenoiser, GaussianMixture, gaussian_flow
from common.diffusion.solvers import CountedDenoiser, euler, heun, validate_sigmas

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
MEAN = torch.tensor([0.4, -0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.30, 0.12], [0.12, 0.15]], dtype=torch.float64)
GAUSSIAN = GaussianMixture(MEAN[None], COVARIANCE[None])
MIXTURE = GaussianMixture(
    torch.tensor([[-1.0, 0.5], [0.8, 0.2], [0.1, -0.9]]), torch.tensor([0.3, 0.5, 0.4]), torch.tensor([1.0, 2.0, 5.0])
)

both_solvers = pytest.mark.parametrize("solver", [euler, heun])


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rho_grid(n: int) -> torch.Tensor:
    """n levels from 80 to 0.002, even in sigma^(1/7), then 0."""
    return torch.cat(
        [torch.linspace(SIGMA_MAX ** (1 / 7), SIGMA_MIN ** (1 / 7), n, dtype=torch.float64) ** 7, MEAN[:1] * 0]
    )


def last_before_zero(solver, denoiser, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """The state at the smallest positive level: the last step, to 0, is Euler's in both and has its own small error."""
    states: list[torch.Tensor] = []
    solver(denoiser, x, sigmas, callback=states.append)
    return states[-2]


def order(solver, denoiser, x: torch.Tensor, exact: torch.Tensor, steps: tuple[int, ...]) -> float:
    """Slope of the log error against the log of the step, by least squares."""
    errors = [(last_before_zero(solver, denoiser, x, rho_grid(n)) - exact).square().mean().sqrt().item() for n in steps]
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def dopri5(denoiser, x: torch.Tensor) -> torch.Tensor:
    """The same flow from 80 to 0.002 by torchdiffeq, in log sigma: dx/dlog sigma = x - D(x; sigma)."""
    ends = torch.tensor([SIGMA_MAX, SIGMA_MIN], dtype=torch.float64).log()
    return odeint(lambda u, x_u: x_u - denoiser(x_u, u.exp()), x, ends, rtol=1e-10, atol=1e-10, method="dopri5")[-1]


@pytest.mark.parametrize(("solver", "expected", "margin"), [(euler, 1.0, 0.1), (heun, 2.0, 0.15)])
def test_order_on_a_gaussian_with_known_flow(solver, expected, margin):
    x = SIGMA_MAX * randn(64, 2)
    exact = gaussian_flow(x, SIGMA_MAX, SIGMA_MIN, MEAN, COVARIANCE)
    assert order(solver, GAUSSIAN, x, exact, (64, 128, 256, 512)) == pytest.approx(expected, abs=margin)


@pytest.mark.parametrize(("solver", "expected", "margin"), [(euler, 1.0, 0.1), (heun, 2.0, 0.15)])
def test_order_on_a_mixture_against_dopri5(solver, expected, margin):
    x = SIGMA_MAX * randn(64, 2)
    assert order(solver, MIXTURE, x, dopri5(MIXTURE, x), (128, 256, 512)) == pytest.approx(expected, abs=margin)


def test_fine_solution_reaches_data():
    """The whole way, last step included: the error of that step is of the order of sigma_min² over the data's scale."""
    x = SIGMA_MAX * randn(64, 2)
    exact = gaussian_flow(x, SIGMA_MAX, 0.0, MEAN, COVARIANCE)
    torch.testing.assert_close(heun(GAUSSIAN, x, rho_grid(512)), exact, rtol=0, atol=2e-4)


@both_solvers
def test_the_last_step_is_the_denoiser(solver):
    x = randn(5, 2)
    torch.testing.assert_close(solver(MIXTURE, x, [0.7, 0.0]), MIXTURE(x, 0.7))


def test_one_step_of_each_by_hand():
    """D(x; sigma) = sigma² x: the slope is x (1 - sigma²) / sigma, at x = 1 from sigma = 2 to 1: -3/2, then 0."""

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return sigma**2 * x

    one = torch.ones(1, 1, dtype=torch.float64)
    # Euler: 1 + (1 - 2)(-3/2) = 5/2. Heun: 1 + (1 - 2)(-3/2 + 0)/2 = 7/4. The last step returns D(x; 1) = x.
    assert euler(denoiser, one, [2.0, 1.0, 0.0]).item() == 2.5
    assert heun(denoiser, one, [2.0, 1.0, 0.0]).item() == 1.75


@pytest.mark.parametrize(
    ("solver", "scheduler_class"),
    [(euler, EulerDiscreteScheduler), (heun, HeunDiscreteScheduler)],
    ids=["euler", "heun"],
)
def test_agrees_with_diffusers(solver, scheduler_class):
    """The same field through diffusers' schedulers, which ask for the noise (x - D) / sigma."""
    scheduler = scheduler_class(use_karras_sigmas=True)
    scheduler.set_timesteps(12)
    sigmas = scheduler.sigmas.double().unique().flip(0)
    x = start = randn(8, 2) * sigmas[0]
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)  # finds the step index; these coordinates need no scaling
        sigma = scheduler.sigmas[scheduler.step_index].double()
        x = scheduler.step((x - MIXTURE(x, sigma)) / sigma, t, x).prev_sample
    # diffusers keeps its sigmas in float32: 1e-7 relative, on states as large as 3 sigma_max ~ 50, 12 to 23 times.
    torch.testing.assert_close(solver(MIXTURE, start, sigmas), x.double(), rtol=0, atol=2e-4)


def test_evaluations_are_counted_and_made_at_the_right_levels():
    seen: list[float] = []

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.append(float(sigma))
        return MIXTURE(x, sigma)

    x = randn(5, 2)
    counted = CountedDenoiser(denoiser)
    euler(counted, x, [4.0, 2.0, 1.0, 0.0])
    assert counted.nfe == 3
    assert seen == [4.0, 2.0, 1.0]
    seen.clear()
    heun(counted, x, [4.0, 2.0, 1.0, 0.0])
    assert counted.nfe == 3 + 5
    assert seen == [4.0, 2.0, 2.0, 1.0, 1.0]


def test_counted_denoiser_passes_conditions_on():
    counted = CountedDenoiser(lambda x, sigma, label: x + sigma + label)
    assert counted(torch.zeros(1), torch.ones(1), label=2.0).item() == 3.0


@both_solvers
def test_callback_sees_every_state(solver):
    states: list[torch.Tensor] = []
    x = randn(5, 2)
    result = solver(MIXTURE, x, rho_grid(6), callback=states.append)
    assert len(states) == 7
    assert torch.equal(states[0], x)
    assert torch.equal(states[-1], result)
    assert torch.equal(solver(MIXTURE, x, rho_grid(6)), result)


@both_solvers
def test_state_is_float64_whatever_the_network(solver):
    """A float32 denoiser costs its own rounding, but the state is not rounded: x here differs from 1 by 1e-12."""
    x = torch.full((1, 1), 1.0 + 1e-12, dtype=torch.float64)
    seen: list[torch.dtype] = []

    def identity(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.extend([x.dtype, sigma.dtype])
        return x.float()

    states: list[torch.Tensor] = []
    solver(identity, x, [2.0, 1.9, 0.0], callback=states.append)
    assert states[1].dtype == torch.float64
    # The slope is 1e-12 / sigma, so a twentieth of 1e-12 goes.
    assert (states[1].item() - 1) == pytest.approx(0.95e-12, rel=1e-3)
    assert solver(identity, x.float(), [2.0, 1.9, 0.0]).dtype == torch.float64
    assert set(seen) == {torch.float64}


@both_solvers
def test_builds_no_graph(solver):
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert not solver(lambda x, sigma: weight * x, randn(2, 2), [1.0, 0.0]).requires_grad


def test_images_end_on_the_data_of_an_empirical_denoiser():
    images = randn(30, 1, 4, 4, seed=5)
    samples = heun(EmpiricalDenoiser(images), SIGMA_MAX * randn(6, 1, 4, 4), rho_grid(40))
    distances = (samples[:, None] - images).flatten(2).norm(dim=2)
    assert distances.min(1).values.max() < 1e-6


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([3.0, 2.0, 2.0, 1.0, 0.0], r"sigmas must decrease: sigmas\[2\] = 2.0 is not below 2.0"),
        ([3.0, 2.0, 1.0, 2.5, 0.0], r"sigmas must decrease: sigmas\[3\] = 2.5 is not below 1.0"),
        ([0.0, 1.0], r"sigmas must decrease: sigmas\[1\]"),
        ([3.0, 2.0, 0.1], r"sigmas must end in 0: sigmas\[2\] = 0.1"),
        ([3.0, 0.0, -1.0], r"sigmas must not be negative: sigmas\[2\] = -1.0"),
        ([3.0, float("nan"), 0.0], r"sigmas must be finite: sigmas\[1\] = nan"),
        ([float("inf"), 1.0, 0.0], r"sigmas must be finite: sigmas\[0\] = inf"),
        ([0.0], r"at least two noise levels, not of shape \(1,\)"),
        ([[1.0, 0.0]], r"at least two noise levels, not of shape \(1, 2\)"),
    ],
)
@both_solvers
def test_a_grid_that_cannot_be_followed_is_refused(solver, sigmas, message):
    counted = CountedDenoiser(MIXTURE)
    with pytest.raises(ValueError, match=message):
        solver(counted, randn(5, 2), sigmas)
    assert counted.nfe == 0


def test_a_good_grid_is_returned_in_float64():
    assert torch.equal(validate_sigmas(torch.tensor([2, 1, 0])), torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64))
