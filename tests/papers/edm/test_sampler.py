"""Samplers: identities with the shared solvers, orders of convergence, and what churn does to levels and marginals."""

from itertools import pairwise
from math import log, sqrt
from typing import Any

import diffusers
import pytest
import torch
from torchdiffeq import odeint

from common.diffusion import path
from common.diffusion.churn import Churn, edm_sampler
from common.diffusion.oracle import GaussianMixture
from common.diffusion.precond import IDDPMPrecond
from common.diffusion.schedule import (
    EDM,
    VE,
    VP,
    LinearBeta,
    VariancePreserving,
    edm_sigmas,
    iddpm_sigmas,
    iddpm_u,
    nearest,
    ve_sigmas,
    vp_sigmas,
)
from common.diffusion.solvers import CountedDenoiser, euler, heun
from papers.edm.sampler import (
    ablation_sampler,
    euler_step,
    heun_step,
    ode_field,
    second_order_step,
)

SCHEDULES = {"EDM": EDM, "VP": VP, "VE": VE, "scaled VE": VariancePreserving(VE)}
MIXTURE = GaussianMixture(torch.tensor([[-1.0, 0.5], [0.5, -0.5], [1.0, 1.0]]), torch.tensor([0.1, 0.3, 0.2]))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Recorder:
    """A denoiser that keeps the inputs of its calls."""

    def __init__(self, denoiser):
        self.denoiser = denoiser
        self.x: list[torch.Tensor] = []
        self.sigma: list[float] = []

    def __call__(self, x, sigma):
        self.x.append(x)
        self.sigma.append(sigma.item())
        return self.denoiser(x, sigma)


def test_without_churn_it_is_heun_bit_for_bit():
    x, sigmas = 80 * normal(32, 2), edm_sigmas(18)
    expected = heun(MIXTURE, x, sigmas)
    assert torch.equal(edm_sampler(MIXTURE, x, sigmas), expected)
    assert torch.equal(edm_sampler(MIXTURE, x, sigmas, Churn(40, S_tmin=100, S_tmax=200), generator()), expected)
    assert torch.equal(edm_sampler(MIXTURE, x, sigmas, Churn(0, S_noise=3.0), generator()), expected)


@pytest.mark.parametrize("churn", [Churn(), Churn(30, 0.05, 10.0, 1.007)], ids=["deterministic", "churn"])
def test_the_ablation_sampler_in_edm_coordinates_is_the_edm_sampler(churn):
    x, sigmas = 80 * normal(32, 2), edm_sigmas(18)
    a = ablation_sampler(MIXTURE, x, sigmas, EDM, heun_step, churn, generator(1))
    b = edm_sampler(MIXTURE, x, sigmas, churn, generator(1))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    if churn == Churn():
        torch.testing.assert_close(
            ablation_sampler(MIXTURE, x, sigmas, step=euler_step), euler(MIXTURE, x, sigmas), rtol=0, atol=1e-9
        )


def test_the_field_is_the_probability_flow_of_the_vp_path():
    """f x − ½ g² ∇ log p_t, with the path's own drift and diffusion and the score of its marginal."""
    vp, field = path.VP(), ode_field(MIXTURE, VP)
    for t in torch.tensor([0.01, 0.2, 0.6, 1.0], dtype=torch.float64):
        x_t = normal(16, 2, seed=3)
        x, sigma = vp.to_sigma_coordinates(x_t, t)
        score = MIXTURE.score(x, sigma) / vp.alpha(t)
        expected = vp.drift(t) * x_t - 0.5 * vp.squared_diffusion(t) * score
        torch.testing.assert_close(field(x_t, t), expected, rtol=1e-9, atol=1e-9)


def test_the_field_of_ve_is_half_the_score():
    """σ² = t, so dx = dw and the flow is −½ ∇ log p."""
    for t in torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64):
        x = 2 * normal(16, 2, seed=3)
        torch.testing.assert_close(ode_field(MIXTURE, VE)(x, t), -0.5 * MIXTURE.score(x, t.sqrt()))


@pytest.fixture(scope="module")
def end_at_0_02():
    """Points at σ = 20 and where dopri5 on dx/dσ = (x − D)/σ takes them at σ = 0.02."""
    x, ends = 20 * normal(32, 2), torch.tensor([20.0, 0.02], dtype=torch.float64)
    return x, odeint(lambda s, x: (x - MIXTURE(x, s)) / s, x, ends, rtol=1e-9, atol=1e-10, method="dopri5")[-1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_leads_to_the_end_that_dopri5_finds(name, end_at_0_02):
    """The unscaled state before the sampler's last step.

    From 100 steps to 200 Heun's error falls fourfold, to 1.1e-3 at worst, while Euler's stays above 2e-2; a wrong term
    in the field moves the end by O(1).
    """
    schedule, sigmas = SCHEDULES[name], edm_sigmas(200, 0.02, 20.0, rho=5)
    x, reference = end_at_0_02
    states: list[torch.Tensor] = []
    ablation_sampler(MIXTURE, x, sigmas, schedule, callback=states.append)
    assert len(states) == 201
    s = schedule.s(schedule.sigma_inv(sigmas[-2]))
    torch.testing.assert_close(states[-2] / s, reference, rtol=0, atol=2e-3)


# Far enough from 0 that 32 equal steps of t = σ² are short beside t, as orders of convergence suppose.
ENDS = torch.tensor([3.0, 2.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def flow():
    """Points at σ = 3 and where the flow of the mixture takes them at σ = 2, by dopri5 in σ coordinates."""
    x = 3 * normal(64, 2)
    end = odeint(lambda s, x: (x - MIXTURE(x, s)) / s, x, ENDS, rtol=1e-11, atol=1e-12, method="dopri5")[-1]
    return x, end


def slope(step, schedule, flow):
    """The slope of ln error against ln N between 32 and 128 equal steps of t."""
    x, end = flow
    steps, errors = (32, 128), []
    for N in steps:
        t_first, t_last = schedule.sigma_inv(ENDS).tolist()
        t = torch.linspace(t_first, t_last, N + 1, dtype=torch.float64)
        states: list[torch.Tensor] = []
        sigmas = torch.cat([schedule.sigma(t), torch.zeros(1)])
        ablation_sampler(MIXTURE, x, sigmas, schedule, step, callback=states.append)
        # The last state but one: the step to 0 is Euler's.
        errors.append((states[-2] / schedule.s(t[-1]) - end).square().mean().sqrt().item())
    return log(errors[1] / errors[0]) / log(steps[1] / steps[0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_orders_of_convergence(name, flow):
    schedule = SCHEDULES[name]
    assert slope(euler_step, schedule, flow) == pytest.approx(-1, abs=0.1)
    for alpha in (0.5, 2 / 3, 1.0):
        assert slope(second_order_step(alpha), schedule, flow) == pytest.approx(-2, abs=0.15)


@pytest.mark.parametrize(("solver", "step", "churn"), [("euler", euler_step, 0.0), ("heun", heun_step, 4.0)])
def test_edm_steps_through_the_vp_schedule_are_those_of_the_official_ablation(solver, step, churn):
    """As `ablation_sampler(discretization="edm", schedule="vp", scaling="vp")` of generate.py writes it down."""
    N, low, high, eps = 12, 0.002, 80.0, 1e-3
    beta_d = 2 * (log(low**2 + 1) / eps - log(high**2 + 1)) / (eps - 1)
    beta_min = log(high**2 + 1) - 0.5 * beta_d
    assert beta_min < 0

    def sigma(t):
        return ((0.5 * beta_d * t**2 + beta_min * t).exp() - 1).sqrt()

    def sigma_deriv(t):
        return 0.5 * (beta_min + beta_d * t) * (sigma(t) + 1 / sigma(t))

    def sigma_inv(s):
        return ((beta_min**2 + 2 * beta_d * (s**2 + 1).log()).sqrt() - beta_min) / beta_d

    def s(t):
        return 1 / (1 + sigma(t) ** 2).sqrt()

    def d(x, t):
        s_deriv = -sigma(t) * sigma_deriv(t) * s(t) ** 3
        denoised = MIXTURE(x / s(t), sigma(t))
        return (sigma_deriv(t) / sigma(t) + s_deriv / s(t)) * x - sigma_deriv(t) * s(t) / sigma(t) * denoised

    grid, noise = edm_sigmas(N, low, high), generator(1)
    x0 = high * normal(16, 2)
    t_steps = torch.cat([sigma_inv(grid[:-1]), torch.zeros(1, dtype=torch.float64)])
    x = x0 * s(t_steps[0])
    for i, (t, t_next) in enumerate(pairwise(t_steps)):
        gamma = min(churn / N, sqrt(2) - 1)
        t_hat = sigma_inv(sigma(t) + gamma * sigma(t))
        if gamma:
            fresh = torch.randn(x.shape, generator=noise, dtype=x.dtype)
            x = s(t_hat) / s(t) * x + (sigma(t_hat) ** 2 - sigma(t) ** 2).sqrt() * s(t_hat) * fresh
        h, slope = t_next - t_hat, d(x, t_hat)
        last = solver == "euler" or i == N - 1
        x = x + h * (slope if last else (slope + d(x + h * slope, t_next)) / 2)
    schedule = VariancePreserving(LinearBeta.from_range(low, high, eps))
    ours = ablation_sampler(MIXTURE, x0, grid, schedule, step, Churn(churn), generator(1))
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-7)


def test_steps_on_fields_with_known_integrals():
    """Euler integrates 1 exactly, second order also t, and only Ralston's α = 2/3 also t²; on x' = x each gives the
    Taylor polynomial of its order."""
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert euler_step(lambda x, t: torch.ones_like(x), one, one, zero) == 0
    assert euler_step(lambda x, t: x, one, zero, 0.5 * one) == 1.5
    for alpha in (0.5, 2 / 3, 1.0):
        step = second_order_step(alpha)
        assert step(lambda x, t: t * one, zero, one, zero).item() == pytest.approx(-1 / 2)
        assert step(lambda x, t: x, one, zero, 0.5 * one).item() == pytest.approx(1 + 0.5 + 0.125)
    third = [second_order_step(alpha)(lambda x, t: t**2 * one, zero, zero, one).item() for alpha in (0.5, 2 / 3, 1.0)]
    assert third == pytest.approx([1 / 4, 1 / 3, 1 / 2])
    for alpha in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match="alpha must lie in"):
            second_order_step(alpha)


def test_evaluations():
    x = normal(4, 2)
    for N in (1, 2, 18):
        sigmas = edm_sigmas(N)
        for sample, nfe in (
            (lambda d, s: edm_sampler(d, x, s), 2 * N - 1),
            (lambda d, s: edm_sampler(d, x, s, Churn(40), generator()), 2 * N - 1),
            (lambda d, s: ablation_sampler(d, x, s, VP), 2 * N - 1),
            (lambda d, s: ablation_sampler(d, x, s, VE, second_order_step(0.5)), 2 * N - 1),
            (lambda d, s: ablation_sampler(d, x, s, VP, euler_step), N),
        ):
            counted = CountedDenoiser(MIXTURE)
            sample(counted, sigmas)
            assert counted.nfe == nfe


@pytest.mark.parametrize("steps", [10, 50])
def test_euler_at_iddpm_steps_is_the_ddim_of_diffusers(steps):
    """On the same α̅, and with ε read off the exact denoiser. Their scheduler runs in x_t, ours in x_t / √α̅_t."""
    scheduler: Any = diffusers.DDIMScheduler(num_train_timesteps=1000, clip_sample=False, set_alpha_to_one=True)
    scheduler.alphas_cumprod = 1 / (1 + iddpm_u()[:1000].flip(0) ** 2)
    scheduler.set_timesteps(steps)
    sigmas = torch.cat([iddpm_u()[999 - scheduler.timesteps], torch.zeros(1)])
    x = sigmas[0] * normal(16, 2)
    x_t = x / (1 + sigmas[0] ** 2).sqrt()
    for t, sigma in zip(scheduler.timesteps, sigmas[:-1], strict=True):
        unscaled = x_t * (1 + sigma**2).sqrt()
        x_t = scheduler.step((unscaled - MIXTURE(unscaled, sigma)) / sigma, t, x_t).prev_sample
    torch.testing.assert_close(ablation_sampler(MIXTURE, x, sigmas, EDM, euler_step), x_t, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sampler", [edm_sampler, ablation_sampler])
def test_churn_adds_the_noise_that_lifts_the_level(sampler):
    """One step: the denoiser sees x + √(t̂² − t²) S_noise n at t̂ = (1 + γ) t, with γ at most √2 − 1: noise doubled."""
    n, t, S_noise = 200_000, 3.0, 1.5
    x = normal(n, 1)
    for S_churn, t_hat in ((0.25, 3.75), (50.0, 3 * sqrt(2))):
        denoiser = Recorder(lambda x, s: x)
        sampler(denoiser, x, [t, 0.0], churn=Churn(S_churn, S_noise=S_noise), generator=generator(1))
        assert denoiser.sigma[0] == pytest.approx(t_hat)
        added = denoiser.x[0] - x
        expected = S_noise**2 * (t_hat**2 - t**2)
        assert added.var().item() == pytest.approx(expected, rel=5 * sqrt(2 / n))
        assert abs(added.mean().item()) < 5 * sqrt(expected / n)
        assert abs((added * x).mean().item()) < 5 * sqrt(expected / n)


@pytest.mark.parametrize("sampler", [edm_sampler, ablation_sampler])
def test_churn_is_spread_over_the_steps_and_kept_to_its_window(sampler):
    sigmas = edm_sigmas(20)
    denoiser = Recorder(MIXTURE)
    churn = Churn(4.0, sigmas[11].item(), sigmas[3].item())
    sampler(denoiser, 80 * normal(4, 2), sigmas, churn=churn, generator=generator())
    ratio = torch.tensor(denoiser.sigma[::2], dtype=torch.float64) / sigmas[:-1]
    inside = (torch.arange(20) >= 3) & (torch.arange(20) <= 11)
    torch.testing.assert_close(ratio, torch.where(inside, 1.2, 1.0).double())
    # Heun's second evaluation is at the next level of the grid, churn or not.
    torch.testing.assert_close(torch.tensor(denoiser.sigma[1::2], dtype=torch.float64), sigmas[1:-1])


@pytest.mark.parametrize("sampler", [edm_sampler, ablation_sampler])
def test_lifted_levels_are_rounded_to_those_of_a_discrete_network(sampler):
    denoiser, u = Recorder(MIXTURE), iddpm_u()
    sigmas = iddpm_sigmas(50)
    round_sigma = IDDPMPrecond().round_sigma
    sampler(denoiser, 80 * normal(4, 2), sigmas, churn=Churn(10), generator=generator(), round_sigma=round_sigma)
    t_hat = torch.tensor(denoiser.sigma[::2], dtype=torch.float64)
    torch.testing.assert_close(t_hat, u[nearest(1.2 * sigmas[:-1], u)])


def states_of(name, denoiser, x, sigmas, churn, noise):
    """The states of a sampler in unscaled coordinates, that at σ = 0 left out."""
    states: list[torch.Tensor] = []
    if name == "edm_sampler":
        edm_sampler(denoiser, x, sigmas, churn, noise, callback=states.append)
        return states[:-1]
    schedule = SCHEDULES[name]
    ablation_sampler(denoiser, x, sigmas, schedule, heun_step, churn, noise, callback=states.append)
    scales = schedule.s(schedule.sigma_inv(sigmas[:-1]))
    return [state / s for state, s in zip(states[:-1], scales, strict=True)]


@pytest.mark.parametrize("name", ["edm_sampler", "VP", "VE"])
def test_churn_preserves_every_marginal_of_gaussian_data(name):
    """N(0, c² + σ_i²) at each of 128 levels, without sampling error.

    The exact denoiser of N(0, c²) is linear, so a state is a x + Σ_i b_i n_i with the draws n_i of the churn. More
    points than numbers make that a linear system, and its solution gives the variance a² (c² + σ_0²) + Σ_i b_i². What
    is left is Heun's error, of order 2: 3.7e-3 at most. Noise that is 2 % too strong is 3.9e-2 off at the end.
    """
    c, N = 0.5, 128
    sigmas, denoiser = edm_sigmas(N, 0.3, 3.0), GaussianMixture(torch.zeros(1, 1), torch.tensor([c]))

    def error(S_noise):
        x, drawn = normal(N + 10, 1), generator(3)
        states = torch.cat(states_of(name, denoiser, x, sigmas, Churn(8, S_noise=S_noise), generator(3)), 1)
        noise = [torch.randn(N + 10, 1, generator=drawn, dtype=torch.float64) for _ in range(N)]
        given = torch.cat([x, *noise], 1)
        a, b = torch.linalg.lstsq(given, states).solution.split([1, N])
        # Each step has a draw of its own, and nothing else enters.
        torch.testing.assert_close(given @ torch.cat([a, b]), states, rtol=0, atol=1e-10)
        variance = a[0] ** 2 * (c**2 + sigmas[0] ** 2) + b.square().sum(0)
        return variance / (c**2 + sigmas[:-1] ** 2) - 1

    assert error(1.0).abs().max() < 5e-3
    assert error(1.02)[-1] > 0.03
    assert error(0.98)[-1] < -0.03


MOMENTS = (lambda x: x, lambda x: x**2, lambda x: x.prod(1, keepdim=True), lambda x: x**3)


def moments_agree(x, y):
    """Means of x, x², x₁x₂ and x³ of two samples (n, 2): within 5 standard errors of their difference."""
    for moment in MOMENTS:
        a, b = moment(x), moment(y)
        error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
        if ((a.mean(0) - b.mean(0)).abs() > 5 * error).any():
            return False
    return True


def test_churn_preserves_the_marginals_of_an_exact_mixture():
    """From the exact marginal at σ = 10 to the data: the solver's bias hides in sampling error (1.1 of 5 allowed)."""
    n = 4000
    x0 = MIXTURE.sample(n, generator(0))
    x, truth = x0 + 10 * normal(n, 2, seed=1), MIXTURE.sample(n, generator(2))

    def sample(S_noise):
        return edm_sampler(MIXTURE, x, edm_sigmas(64, 0.02, 10.0), Churn(20, S_noise=S_noise), generator(3))

    assert moments_agree(sample(1.0), truth)
    assert not moments_agree(sample(1.6), truth)


def test_s_noise_makes_up_for_a_denoiser_that_removes_too_much():
    """Section 4: on Gaussian data more noise means a larger variance at the end, and none of the mean."""
    gaussian = GaussianMixture(torch.zeros(1, 1), torch.tensor([0.5]))
    x = 10 * normal(20_000, 1)
    variance = [
        edm_sampler(gaussian, x, edm_sigmas(64, 0.002, 10.0), Churn(20, S_noise=s), generator(1)).var().item()
        for s in (0.9, 1.0, 1.1)
    ]
    assert variance[0] < variance[1] < variance[2]
    assert variance[1] == pytest.approx(0.25 * 100 / 100.25, rel=0.05)


def test_baselines_run_on_their_own_steps():
    """The three baseline samplers of Figure 2 approach the same end as Heun, Euler's way."""
    for schedule, grid in ((VP, vp_sigmas), (VE, ve_sigmas), (EDM, iddpm_sigmas)):
        errors = []
        for N in (30, 60):
            sigmas = grid(N)
            x = sigmas[0] * normal(64, 2)
            end = heun(MIXTURE, x, edm_sigmas(60, 0.002, sigmas[0].item()))
            errors.append((ablation_sampler(MIXTURE, x, sigmas, schedule, euler_step) - end).square().mean().item())
        assert errors[1] < errors[0]


def test_a_callback_sees_every_state():
    x, sigmas = 80 * normal(4, 2), edm_sigmas(6)
    for sample in (edm_sampler, ablation_sampler):
        states: list[torch.Tensor] = []
        end = sample(MIXTURE, x, sigmas, callback=states.append)
        assert len(states) == 7
        assert torch.equal(states[0], x)
        assert torch.equal(states[-1], end)
        # Each state is where a sampler that stops there would be.
        levels = list(pairwise(sigmas))[:-1]
        for (sigma, sigma_next), (state, state_next) in zip(levels, pairwise(states[:-1]), strict=True):
            seen: list[torch.Tensor] = []
            heun(MIXTURE, state, torch.stack([sigma, sigma_next, torch.zeros_like(sigma)]), callback=seen.append)
            torch.testing.assert_close(seen[1], state_next)


def test_state_is_float64_whatever_the_network_returns():
    x, sigmas = 80 * normal(8, 2), edm_sigmas(18)

    def rounded(x, sigma):
        return MIXTURE(x, sigma).float()

    for sample in (edm_sampler, ablation_sampler):
        out = sample(rounded, x.float(), sigmas)
        assert out.dtype == torch.float64
        torch.testing.assert_close(out, sample(MIXTURE, x.float(), sigmas), rtol=0, atol=1e-4)


def test_bad_input_is_named():
    for bad, message in (
        ({"S_churn": -1.0}, "S_churn must not be negative"),
        ({"S_tmin": -1.0}, "S_tmin must not be negative"),
        ({"S_noise": float("nan")}, "S_noise must not be negative"),
        ({"S_tmin": 2.0, "S_tmax": 1.0}, "S_tmax must not be below"),
    ):
        with pytest.raises(ValueError, match=message):
            Churn(**bad)
    for sample in (edm_sampler, ablation_sampler):
        with pytest.raises(ValueError, match="sigmas must decrease"):
            sample(MIXTURE, normal(4, 2), [1.0, 2.0, 0.0])


@pytest.mark.parametrize("sampler", [edm_sampler, ablation_sampler])
def test_a_network_is_run_without_a_graph(sampler):
    """Else every evaluation is kept in memory until sampling ends."""
    net = torch.nn.Linear(2, 2, dtype=torch.float64)
    assert not sampler(lambda x, sigma: net(x), normal(4, 2), [3.0, 1.0, 0.0]).requires_grad
