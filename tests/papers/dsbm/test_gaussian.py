"""The Gaussian bridge, IMF and IPF against computations that share nothing with them: Sinkhorn on a grid, Gaussian
chains conditioned by linear algebra, published iterates, and simulation."""

from __future__ import annotations

from itertools import islice
from math import atan2, exp, sqrt

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from papers.dsbm.gaussian import (
    GaussianBridge,
    half_bridge,
    imf,
    independent_bridge,
    ipf,
    markovian_projection,
    reference_bridge,
    schrodinger_bridge,
    unit_correlation,
    unit_gaussians,
)

Ends = tuple[Tensor, Tensor, Tensor, Tensor]


def general_ends(dim: int = 3, seed: int = 0) -> Ends:
    """Means and covariances with nothing in common: they do not commute, and no variance is one."""
    generator = torch.Generator().manual_seed(seed)

    def covariance() -> Tensor:
        root = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
        return root @ root.T + 0.3 * torch.eye(dim, dtype=torch.float64)

    means = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    return means[0], means[1], covariance(), covariance()


def chain(bridge: GaussianBridge, times: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (x_s for s in times) from the definition: ends, and independent bridges between."""
    dim = len(bridge.mean_0)
    weights = np.array([[1 - s, s] for s in times])
    _, ends = bridge.joint()
    mean = np.kron(weights, np.eye(dim)) @ bridge.joint()[0].numpy()
    pinned = np.array([[min(s, u) - s * u for u in times] for s in times])
    spread = np.kron(weights, np.eye(dim)) @ ends.numpy() @ np.kron(weights, np.eye(dim)).T
    return mean, spread + bridge.sigma**2 * np.kron(pinned, np.eye(dim))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_the_closed_form_is_what_sinkhorn_finds_on_a_grid(sigma: float) -> None:
    # Standard deviations of 0.5 and 0.8 about ±0.3: the trapezoid rule on a grid of spacing 0.08 is exact to rounding
    # for Gaussians this wide, and ±5 leaves out less than 1e-9 of them.
    x = torch.linspace(-5, 5, 126, dtype=torch.float64)
    weights = [torch.exp(-((x - mean) ** 2) / (2 * var)) for mean, var in ((-0.3, 0.25), (0.3, 0.64))]
    a, b = (weight / weight.sum() for weight in weights)
    cost = (x[:, None] - x) ** 2
    plan = ot.sinkhorn(a, b, cost, 2 * sigma**2, method="sinkhorn_log", numItermax=20_000, stopThr=1e-13)
    means = (a @ x, b @ x)
    found = ((x - means[0])[:, None] * (x - means[1]) * plan).sum()

    ends = [torch.tensor(value, dtype=torch.float64) for value in ([-0.3], [0.3], [[0.25]], [[0.64]])]
    bridge = schrodinger_bridge(ends[0], ends[1], ends[2], ends[3], sigma)
    assert bridge.cross.item() == pytest.approx(found.item(), abs=1e-7)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_the_coupling_has_the_density_that_makes_it_a_schrodinger_bridge(sigma: float) -> None:
    # Its density is f(x_0) g(x_1) exp(-|x_0 - x_1|²/2σ²) and no other with these ends is: the off-diagonal block of the
    # precision must be that of the Gaussian kernel, -I/σ².
    bridge = schrodinger_bridge(*general_ends(), sigma)
    precision = torch.linalg.inv(bridge.joint()[1])
    torch.testing.assert_close(precision[:3, 3:], -torch.eye(3, dtype=torch.float64) / sigma**2, rtol=1e-8, atol=1e-8)


def test_unit_variances_have_the_correlation_of_the_paper() -> None:
    assert unit_correlation(1.0) == pytest.approx((sqrt(5) - 1) / 2, abs=1e-15)
    for sigma in (0.2, 1.0, 4.0):
        bridge = schrodinger_bridge(*unit_gaussians(2, 0.1), sigma)
        expected = unit_correlation(sigma) * torch.eye(2, dtype=torch.float64)
        torch.testing.assert_close(bridge.cross, expected, rtol=0, atol=1e-12)


def test_without_noise_the_bridge_is_optimal_transport() -> None:
    # By POT, which has the Bures map: T(x) = m_1 + A (x - m_0), so Cov(x_0, x_1) = S_0 Aᵀ.
    mean_0, mean_1, cov_0, cov_1 = general_ends()
    bridge = schrodinger_bridge(mean_0, mean_1, cov_0, cov_1, 0.0)
    a, _ = ot.gaussian.bures_wasserstein_mapping(mean_0, mean_1, cov_0, cov_1)
    torch.testing.assert_close(bridge.cross, cov_0 @ a, rtol=1e-9, atol=1e-9)


def test_mean_and_covariance_at_every_t_are_those_of_the_chain() -> None:
    bridge = schrodinger_bridge(*general_ends(), 0.8)
    for t in (0.0, 0.2, 0.7, 1.0):
        mean, cov = chain(bridge, [t])
        np.testing.assert_allclose(bridge.mean(t), mean, atol=1e-13)
        np.testing.assert_allclose(bridge.cov(t), cov, atol=1e-13)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 2.0])
def test_drifts_are_the_conditional_means_of_the_chain(sigma: float) -> None:
    # Conditioned by linear algebra on (x_0, x_t, x_1): (E[x_1 | x_t] - x_t)/(1 - t) and (E[x_0 | x_t] - x_t)/t.
    ends = general_ends()
    bridge = GaussianBridge(*ends, 0.2 * torch.linalg.inv(ends[2]), sigma)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for t in (0.15, 0.6):
        mean, cov = chain(bridge, [0.0, t, 1.0])
        gain = np.linalg.solve(cov[3:6, 3:6], cov[3:6])
        given = mean + (x.numpy() - mean[3:6]) @ gain
        np.testing.assert_allclose(bridge.forward_drift(x, t), (given[:, 6:] - x.numpy()) / (1 - t), atol=1e-11)
        np.testing.assert_allclose(bridge.backward_drift(x, t), (given[:, :3] - x.numpy()) / t, atol=1e-11)


def test_the_schrodinger_bridge_and_the_reference_are_markov() -> None:
    # Past and future are independent given the present: block (x_0, x_1) of the precision of (x_0, x_½, x_1) is 0.
    ends = general_ends()
    for bridge in (schrodinger_bridge(*ends, 0.8), reference_bridge(ends[0], ends[2], 0.8)):
        precision = np.linalg.inv(chain(bridge, [0.0, 0.5, 1.0])[1])
        np.testing.assert_allclose(precision[:3, 6:], 0, atol=1e-9)
    precision = np.linalg.inv(chain(independent_bridge(*ends, 0.8), [0.0, 0.5, 1.0])[1])
    assert np.abs(precision[:3, 6:]).max() > 0.1


def test_imf_has_the_published_iterates() -> None:
    iterates = islice(imf(independent_bridge(*unit_gaussians(1, 0.1), 1.0)), 5)
    assert [bridge.cross.item() for bridge in iterates] == pytest.approx([0, 0.5463, 0.6111, 0.6174, 0.6180], abs=5e-5)


@pytest.mark.parametrize(("sigma", "c"), [(0.5, 0.3), (1.0, 0.0), (2.0, 0.5)])
def test_the_projection_of_unit_gaussians_has_the_elementary_integral(sigma: float, c: float) -> None:
    # In one dimension A_t = ½ S'/S - σ²/(2 S), so Φ = exp(-σ²/2 ∫ dt/S_t), and S_t = 1 - k t (1 - t) with
    # k = 2 - 2c - σ² integrates to an arctangent (k > 0) or a logarithm (k < 0).
    ends = unit_gaussians(1, 0.1)
    bridge = GaussianBridge(*ends, torch.tensor([[c]], dtype=torch.float64), sigma)
    k = 2 - 2 * c - sigma**2
    if k > 0:
        root = sqrt(k * (4 - k))
        integral = 4 / root * atan2(k, root)
    else:
        k = -k
        root = sqrt(k * (4 + k))
        integral = 2 / root * np.log((root + k) / (root - k))
    assert markovian_projection(bridge).cross.item() == pytest.approx(exp(-(sigma**2) / 2 * integral), abs=1e-10)


def test_the_projection_is_the_coupling_that_its_sde_makes() -> None:
    # x -> x + v Δ + σ√Δ ε is a linear chain, whose covariance with x_0 is a product of matrices: its error is of first
    # order in Δ, so that Richardson's extrapolation from N and 2N steps leaves one of second order.
    ends = general_ends()
    bridge = GaussianBridge(*ends, 0.1 * ends[2] @ ends[3], 0.9)

    def made_by_euler(steps: int) -> Tensor:
        cross = bridge.cov_0
        for k in range(steps):
            cross = cross + cross @ bridge.forward_rate(k / steps).T / steps
        return cross

    extrapolated = 2 * made_by_euler(800) - made_by_euler(400)
    projected = markovian_projection(bridge)
    torch.testing.assert_close(projected.cross, extrapolated, rtol=0, atol=2e-4)
    assert (projected.cross - made_by_euler(400)).abs().max() > 1e-3  # so that the comparison can tell
    # The reversal of the projection is the projection backwards: either direction gives one coupling.
    backwards = markovian_projection(bridge.reverse()).reverse()
    torch.testing.assert_close(projected.cross, backwards.cross, rtol=0, atol=1e-9)


def test_imf_stays_at_the_schrodinger_bridge_and_comes_to_it() -> None:
    ends = general_ends()
    bridge = schrodinger_bridge(*ends, 1.5)
    torch.testing.assert_close(markovian_projection(bridge).cross, bridge.cross, rtol=0, atol=1e-10)
    *_, last = islice(imf(independent_bridge(*ends, 1.5)), 25)
    torch.testing.assert_close(last.cross, bridge.cross, rtol=0, atol=1e-3)


def test_ipf_has_the_published_iterates() -> None:
    first = list(islice(ipf(*unit_gaussians(1, 0.1), 1.0), 6))[1:]
    assert [bridge.cross.item() for bridge in first] == pytest.approx([1 / 2, 2 / 3, 3 / 5, 5 / 8, 8 / 13], abs=1e-12)
    backward = first[::2]
    assert [bridge.cov_0.item() for bridge in backward] == pytest.approx([0.75, 0.96, 0.9941], abs=5e-5)
    assert backward[0].mean_0.item() == pytest.approx(0, abs=1e-12)
    assert all(bridge.cov_1.item() == pytest.approx(1, abs=1e-12) for bridge in backward)


def test_ipf_is_sinkhorn_iteration_by_iteration() -> None:
    # Scaling a kernel on a grid, with the reference p_0(x) N(y; x, σ²): rows and columns in turn are IPF's half steps.
    x = np.linspace(-6, 6, 161)
    p_0, p_1 = (np.exp(-((x - mean) ** 2) / (2 * var)) for mean, var in ((-0.4, 0.5), (0.6, 0.9)))
    p_0, p_1 = p_0 / p_0.sum(), p_1 / p_1.sum()
    sigma = 0.8
    plan = np.exp(-((x[:, None] - x) ** 2) / (2 * sigma**2))
    plan = plan / plan.sum(1, keepdims=True) * p_0[:, None]
    ends = [torch.tensor(value, dtype=torch.float64) for value in ([-0.4], [0.6], [[0.5]], [[0.9]])]
    for number, bridge in enumerate(islice(ipf(ends[0], ends[1], ends[2], ends[3], sigma), 1, 6), 1):
        plan = plan * p_1 / plan.sum(0) if number % 2 else plan * (p_0 / plan.sum(1))[:, None]
        mean_0, mean_1 = plan.sum(1) @ x, plan.sum(0) @ x
        var_0 = plan.sum(1) @ (x - mean_0) ** 2
        cross = (x - mean_0) @ plan @ (x - mean_1)
        found = (bridge.mean_0, bridge.mean_1, bridge.cov_0, bridge.cross)
        # ±6 leaves 1e-8 of the widest law outside (where the rows of the kernel are cut).
        assert [value.item() for value in found] == pytest.approx([mean_0, mean_1, var_0, cross], abs=1e-6)


def test_ipf_comes_to_the_schrodinger_bridge_in_general() -> None:
    ends = general_ends()
    bridge = schrodinger_bridge(*ends, 1.5)
    *_, last = islice(ipf(*ends, 1.5), 80)
    torch.testing.assert_close(last.joint()[1], bridge.joint()[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(last.joint()[0], bridge.joint()[0], rtol=0, atol=1e-6)


def test_half_a_step_of_ipf_keeps_the_conditional_law() -> None:
    ends = general_ends()
    bridge = reference_bridge(ends[0], ends[2], 0.7)
    stepped = half_bridge(bridge, ends[1], ends[3])
    for left, right in ((bridge, stepped),):
        # Regression of x_0 on x_1: slope, intercept and what is left over.
        slopes = [torch.linalg.solve(b.cov_1, b.cross.T).T for b in (left, right)]
        torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=1e-10)
        rest = [b.cov_0 - slope @ b.cross.T for b, slope in zip((left, right), slopes, strict=True)]
        torch.testing.assert_close(rest[0], rest[1], rtol=0, atol=1e-10)
        intercepts = [b.mean_0 - slope @ b.mean_1 for b, slope in zip((left, right), slopes, strict=True)]
        torch.testing.assert_close(intercepts[0], intercepts[1], rtol=0, atol=1e-10)


def test_samples_have_the_moments_of_the_coupling() -> None:
    bridge = schrodinger_bridge(*general_ends(), 1.0)
    n = 40_000
    x = torch.cat(bridge.sample(n, torch.Generator().manual_seed(2)), 1)
    mean, cov = bridge.joint()
    # Five standard errors: of a mean √(S_ii/n), of a covariance √((S_ii S_jj + S_ij²)/n) for Gaussians.
    scale = cov.diagonal()
    assert ((x.mean(0) - mean).abs() < 5 * (scale / n).sqrt()).all()
    assert ((x.T.cov() - cov).abs() < 5 * ((scale[:, None] * scale + cov**2) / n).sqrt()).all()
    shift = x[:, :3] - x[:, 3:]
    assert bridge.transport_cost() == pytest.approx(float(shift.square().sum(1).mean()), rel=5 * sqrt(2 / n))


def test_bad_input_is_named() -> None:
    mean, eye = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="cov_1 has the eigenvalue"):
        independent_bridge(mean, mean, eye, -eye, 1.0)
    with pytest.raises(ValueError, match="cov_0 is not symmetric"):
        independent_bridge(mean, mean, torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=torch.float64), eye, 1.0)
    with pytest.raises(ValueError, match="mean_1 is"):
        independent_bridge(mean, mean[:1], eye, eye, 1.0)
    with pytest.raises(ValueError, match="sigma is -1"):
        independent_bridge(mean, mean, eye, eye, -1.0)
    with pytest.raises(ValueError, match="cov_0 has the eigenvalue 0"):
        schrodinger_bridge(mean, mean, 0 * eye, eye, 1.0)
