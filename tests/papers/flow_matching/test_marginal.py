"""Exact marginal fields: densities against torch's, the continuity equation by automatic differentiation (Theorem 1),
the denoisers of `common/diffusion` through time and scale, and the flow against distribution functions."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor, distributions
from torch.autograd.functional import jvp

from common.diffusion.oracle import EmpiricalDenoiser
from common.metrics.distances import energy_distance
from papers.flow_matching.marginal import EmpiricalField, MarginalField, MixtureField, Oracle
from papers.flow_matching.path import VP, ConditionalPath
from papers.flow_matching.solvers import dopri5, grid, rk4
from tests.papers.flow_matching.cases import LINE, MIXTURE, PATHS, at, line_cdf, randn, seeded, times_of

DATA = randn(7, 2, seed=9)
POINTS = randn(5, 2, seed=3)
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
laws = pytest.mark.parametrize("law", ["mixture", "points"])


def field_of(path: ConditionalPath, law: str) -> MarginalField:
    return MixtureField(path, MIXTURE) if law == "mixture" else EmpiricalField(path, DATA, chunk=3)


def density(path: ConditionalPath, law: str, time: float) -> distributions.Distribution:
    """p_t as torch has it, from the moments of a component: m μ_k, and m² C_k + σ² I."""
    m, sigma = path.mean_scale(at(time)), path.sigma(at(time))
    if law == "mixture":
        axes = MIXTURE.axes
        assert axes is not None
        covariance = axes @ MIXTURE.variances.diag_embed() @ axes.mT
        means, weights = MIXTURE.means, MIXTURE.weights
    else:
        covariance, means, weights = torch.zeros(7, 2, 2).double(), DATA, torch.ones(7).double() / 7
    component = distributions.MultivariateNormal(m * means, m**2 * covariance + sigma**2 * torch.eye(2).double())
    return distributions.MixtureSameFamily(distributions.Categorical(weights), component)


def gradient(of: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(of.sum(), x, create_graph=True)[0]


@laws
@paths
def test_log_density_and_score_are_those_of_the_mixture_at_every_time(path, law):
    field = field_of(path, law)
    for time in times_of(path):
        x = density(path, law, time).sample((4,)) if time == path.last else POINTS.clone()
        x.requires_grad_()
        expected = density(path, law, time).log_prob(x)
        torch.testing.assert_close(field.log_prob(x, at(time)), expected, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(field.score(x, at(time)), gradient(expected, x), rtol=1e-7, atol=1e-7)


@laws
@paths
def test_continuity_equation(path, law):
    """∂ log p/∂t + u·∇ log p + div u = 0, with p from torch's density, and never from the field."""
    field = field_of(path, law)
    for time in (0.02, 0.3, 0.6, 0.9):
        x = POINTS.clone().requires_grad_()
        h = 1e-5
        # A central difference of the reference in time: error h² times a third derivative.
        dt = (density(path, law, time + h).log_prob(x) - density(path, law, time - h).log_prob(x)) / (2 * h)
        u = field.velocity(x, at(time))
        divergence = gradient(u[:, 0], x)[:, 0] + gradient(u[:, 1], x)[:, 1]
        transport = (u * gradient(density(path, law, time).log_prob(x), x)).sum(1)
        terms = torch.stack([dt, transport, divergence]).detach()
        assert terms.sum(0).abs().max() < 1e-6 * terms.abs().max().clamp(min=1), time


@laws
@paths
def test_velocity_is_the_posterior_mean_of_the_conditional_velocities(path, law):
    """Equation 8 as it stands, by brute force over the data; for the mixture over many draws of it."""
    data = MIXTURE.sample(100_000, seeded(4)) if law == "mixture" else DATA
    for time in (0.0, 0.4, 0.7):
        for x in POINTS[:2]:
            m, sigma = path.mean_scale(at(time)), path.sigma(at(time))
            log_weights = distributions.Normal(m * data, sigma).log_prob(x).sum(1)
            weights = log_weights.softmax(0)
            each = path.conditional_velocity(x.expand_as(data), data, at(time))
            expected = weights @ each
            # Self-normalised importance sampling: six standard errors; over a finite data set it is a plain sum.
            error = 6 * (weights.square() @ (each - expected).square()).sqrt() if law == "mixture" else 1e-9
            got = field_of(path, law).velocity(x[None], at(time))[0]
            assert ((got - expected).abs() <= error).all(), (time, got, expected)


def oracle(law: str) -> Oracle:
    return MIXTURE if law == "mixture" else EmpiricalDenoiser(DATA)


@laws
@paths
def test_velocity_is_the_flow_of_the_denoiser_after_change_of_time_and_scale(path, law):
    """With z = x/m and s = σ/m it is dz/ds = (z − D(z; s))/s: u = m' z + m (ds/dt) (z − D(z; s))/s."""
    for time in (0.1, 0.5, 0.8):
        (m, s), (m_dot, s_dot) = jvp(
            lambda t: (path.mean_scale(t), path.sigma(t) / path.mean_scale(t)), at(time), at(1.0)
        )
        z = POINTS / m
        expected = m_dot * z + m * s_dot * (z - oracle(law)(z, s)) / s
        torch.testing.assert_close(field_of(path, law).velocity(POINTS, at(time)), expected, rtol=1e-7, atol=1e-7)


@laws
def test_on_vp_it_is_minus_the_probability_flow_of_the_diffusion(law):
    from common.diffusion.path import VP as Diffusion

    diffusion, s = Diffusion(), at(0.35)
    z, sigma = diffusion.to_sigma_coordinates(POINTS, s)
    expected = -diffusion.convert(oracle(law)(z, sigma), POINTS, s, "x0", "velocity")
    torch.testing.assert_close(field_of(VP(), law).velocity(POINTS, 1 - s), expected)


def test_at_the_start_of_ot_noise_moves_towards_the_mean():
    """At t = 0 x says nothing of x_1: u_0(x) = E[x_1] − (1 − σ_min) x, and p_0 is N(0, I)."""
    for law, mean in (("mixture", MIXTURE.weights @ MIXTURE.means), ("points", DATA.mean(0))):
        field = field_of(PATHS["OT"], law)
        torch.testing.assert_close(field.velocity(POINTS, at(0.0)), mean - 0.9 * POINTS)
        torch.testing.assert_close(field.velocity(POINTS, at(1e-9)), mean - 0.9 * POINTS, rtol=0, atol=1e-7)
        normal = distributions.Normal(at(0.0), at(1.0)).log_prob(POINTS).sum(1)
        torch.testing.assert_close(field.log_prob(POINTS, at(0.0)), normal)


@paths
def test_in_one_dimension_the_flow_keeps_the_distribution_function(path):
    """A flow on a line keeps order, so F_t(x(t)) = F_0(x(0)): exact, at every time, for every starting point."""
    field = MixtureField(path, LINE)
    x = path.prior_scale * torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)[:, None]
    level = line_cdf(x, path, 0.0)
    now = 0.0
    for time in times_of(path)[1:]:
        x, now = dopri5(field.velocity, x, now, time, atol=1e-9, rtol=1e-9), time
        torch.testing.assert_close(line_cdf(x, path, time), level, rtol=0, atol=1e-6)


@paths
def test_it_carries_noise_to_the_law_of_the_data(path):
    field, n, times = MixtureField(path, MIXTURE), 1000, grid(path, 40)
    times = times[times < 0.999]  # 40 steps do not resolve the singular end of VP
    noise = field.sample(n, at(0.0), seeded(21))
    end = rk4(field.velocity, noise, times)
    data, more = (field.sample(n, times[-1], seeded(seed)) for seed in (22, 23))
    floor = energy_distance(data, more)
    assert energy_distance(end, data) < 2 * floor  # between samples of one law it is within a factor of about 1.5
    # One point's conditional field carries all to that point.
    single = rk4(lambda x, t: path.conditional_velocity(x, data[:1].expand_as(x), t), noise, times)
    assert energy_distance(single, data) > 5 * floor


@paths
def test_samples_at_a_time_have_its_distribution_function(path):
    field = MixtureField(path, LINE)
    for time in times_of(path, 3):
        level = line_cdf(field.sample(2000, at(time), seeded(5)), path, time)
        assert stats.kstest(level.numpy(), "uniform").pvalue > 1e-3


@laws
def test_chunks_dtype_and_times_of_each_sample(law):
    path, t = PATHS["OT"], torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0])
    field = field_of(path, law)
    together = field.velocity(POINTS, t)
    torch.testing.assert_close(
        together, torch.cat([field.velocity(x[None], s) for x, s in zip(POINTS, t, strict=True)])
    )
    single = field.velocity(POINTS.float(), t)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), together, rtol=1e-4, atol=1e-4)
    whole = EmpiricalField(path, DATA).velocity(POINTS, t)
    torch.testing.assert_close(EmpiricalField(path, DATA, chunk=2).velocity(POINTS, t), whole)


def test_bad_input_is_named():
    field = field_of(VP(), "mixture")
    for call in (field.velocity, field.score, field.log_prob):
        with pytest.raises(ValueError, match=r"must lie in \[0, 0.99999\]"):
            call(POINTS, at(1.0))
    with pytest.raises(ValueError, match=r"must have shape \(B, 2\)"):
        field.velocity(randn(4, 3), at(0.5))
    with pytest.raises(ValueError, match=r"t has shape \(3,\)"):
        field.velocity(POINTS, torch.rand(3))
