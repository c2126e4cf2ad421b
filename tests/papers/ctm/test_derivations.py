"""What the page of week 8 derives, in numbers: its formulas, and the numbers that its prose states."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch

from papers.ctm.exact import GaussianTrajectory, exact_jump
from papers.ctm.likelihood import official_root, official_sigma, residual
from papers.ctm.losses import DSM_CLIP, GAN_CLIP, SMALLEST_NORM
from papers.ctm.paper import PAPER
from papers.ctm.published import NFE_TEACHER
from papers.ctm.sampling import gamma_sampling, sampling_times
from papers.ctm.times import CIFAR10_GRID, TimeGrid
from papers.ctm.training import CTMTraining
from tests.papers.ctm.cases import SKEW, randn, seeded

PAGE = (Path(__file__).parents[3] / "docs" / "weeks" / "08-ctm.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("t", "s"), [(5.0, 0.1), (2.0, 1.5)])
def test_g_is_the_mean_of_the_denoiser_along_the_way(t, s):
    """Equation 4 of the page: weights τ⁻² on [s, t], so equal weights in 1/τ; by the midpoint rule."""
    n, x = 400, 2 * randn(4, 2)
    inverse = 1 / t + (torch.arange(n, dtype=torch.float64) + 0.5) / n * (1 / s - 1 / t)
    mean, here, at = torch.zeros_like(x), t, x
    for tau in (1 / inverse).tolist():
        here, at = tau, exact_jump(SKEW, at, here, tau, steps=4 if here > 1.02 * tau else 1)
        mean += SKEW(at, torch.tensor(tau, dtype=torch.float64)) / n
    end = exact_jump(SKEW, x, t, s, steps=500)
    assert torch.allclose(s / t * x + (1 - s / t) * mean, end, atol=2e-4)
    # Held at its first value it is a step of Euler, which is elsewhere.
    held = s / t * x + (1 - s / t) * SKEW(x, torch.tensor(t, dtype=torch.float64))
    assert not torch.allclose(held, end, atol=2e-2)


@pytest.mark.parametrize("eta", [0.03, -0.02])
def test_errors_of_jumps_to_the_end_pile_up_where_noise_is_weak(eta):
    """Equation 14 of the page against γ = 1 sampling; with γ = 0 the same error comes in once."""
    std, n = 1.0, 200_000
    exact = GaussianTrajectory(std)
    grid = TimeGrid(sigma_min=1e-4, sigma_max=10.0)
    times = sampling_times(12, grid)

    def stretched(x, t, s):
        """The flow of an error that is spread evenly over log-levels, all of it on a jump to the end from above."""
        share = torch.log(t / s) / torch.log(torch.tensor(10.0 / 1e-4))
        return exact(x, t, s) * (1 + eta) ** float(share)

    x = (std**2 + times[0] ** 2).sqrt() * randn(n, 1)
    once = gamma_sampling(stretched, x, times, 0.0, seeded(1))
    assert float(once.var()) == pytest.approx((1 + eta) ** 2, rel=0.015)

    def to_the_end(x, t, s):
        return exact(x, t, s) * (1 + eta)

    e = (1 + eta) ** 2 - 1
    for t in times[1:-1].tolist():
        e = (1 + eta) ** 2 * (1 + std**2 / (std**2 + t**2) * e) - 1
    again = gamma_sampling(to_the_end, x, times, 1.0, seeded(2))
    assert float(again.var()) == pytest.approx(1 + e, rel=0.015)
    assert abs(e) > 5 * abs(2 * eta)


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0])
def test_how_many_jumps_pass_a_level(gamma):
    """Equation 13 of the page: a map that multiplies by e at a level counts the jumps that pass it."""
    times = sampling_times(6, TimeGrid(sigma_min=1e-4, sigma_max=10.0))
    starts, ends = times[:-1], (1 - gamma**2) ** 0.5 * times[1:]
    ends[-1] = times[-1]  # the last jump ends the sampling, and has no noise
    for level in (8.0, 1.3, 0.02):

        def passing(x, t, s, level=level):
            return x + 1.0 * bool(s < level <= t)

        counted = gamma_sampling(passing, torch.zeros(1, 1), times, gamma, seeded())
        quiet = gamma_sampling(lambda x, t, s: x, torch.zeros(1, 1), times, gamma, seeded())
        expected = {0.0: 1, 1.0: int((starts >= level).sum())}.get(
            gamma, int(((ends < level) & (level <= starts)).sum())
        )
        assert float(counted - quiet) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("gamma", [0.02, 0.04])
def test_the_covariance_of_samples_from_one_state(gamma):
    """Equation 15 of the page, where G is not linear: γ² u² J Jᵀ, and the Jacobian by differences."""
    x, t, u, s, n, h = torch.tensor([[2.0, -1.0]], dtype=torch.float64), 4.0, 0.8, 0.002, 8000, 1e-4
    jump = partial(exact_jump, SKEW, steps=40)
    at = jump(x, t, u)
    J = torch.stack([(jump(at + h * e, u, s) - jump(at - h * e, u, s))[0] / (2 * h) for e in torch.eye(2).double()], 1)
    assert float((J - J[0, 0] * torch.eye(2)).norm()) > 0.1
    levels = torch.tensor([t, u, s], dtype=torch.float64)
    samples = gamma_sampling(lambda y, a, b: jump(y, float(a), float(b)), x.expand(n, 2), levels, gamma, seeded(4))
    expected = gamma**2 * u**2 * J @ J.T
    assert float((samples.T.cov() - expected).norm() / expected.norm()) < 0.05


@pytest.mark.parametrize(("std", "stated"), [(0.5, 0.29), (0.25, 0.53)])
def test_the_bits_that_the_official_residual_loses(std, stated):
    """Equation 17 of the page, and the two numbers of its prose: bits a dimension between R at both levels."""
    data, exact, r = std * randn(100_000, 2), GaussianTrajectory(std), official_root()

    def denoiser(x, sigma):
        return exact.denoised(x, sigma[:, None])

    right, wrong = (float(residual(denoiser, data, level, seeded(3)).mean()) for level in (official_sigma(), r))
    assert wrong == pytest.approx(-(r**2) / (std**2 + r**2), abs=0.02)
    lost = (right - wrong) / (2 * torch.log(torch.tensor(2.0)).item())
    assert lost == pytest.approx(stated, abs=0.015)
    assert f"{stated} a dimension for data of standard deviation {std}" in PAGE or f"{stated} for {std}" in PAGE


def test_the_settings_that_the_prose_states():
    grid, training = CIFAR10_GRID, CTMTraining(1, 1)
    assert f"$N={grid.N}$ times from {grid.sigma_max:g} to {grid.sigma_min:g} with $\\rho={grid.rho:g}$" in PAGE
    assert f"(EMA, decay {training.ema:g})" in PAGE
    assert f"takes {NFE_TEACHER} such slopes" in PAGE
    assert f"$\\sigma={official_sigma():.5f}$ and evaluates the residual $R$ at ${official_root():.3f}$" in PAGE
    assert DSM_CLIP == (0, 1e4)
    assert "clipped to $[0,10^4]$" in PAGE
    assert GAN_CLIP == (0.01, 10)
    assert "clipped to $[0.01,10]$" in PAGE
    assert SMALLEST_NORM == 1e-4
    assert r"\nabla_W\,\mathcal L_{\text{DSM}}\rVert+10^{-4}" in PAGE


def test_the_page_includes_every_study_of_the_card_and_links_to_it():
    assert re.findall(r'^--8<-- "reports/ctm/studies/(\w+)\.md"$', PAGE, re.MULTILINE) == list(PAPER.studies)
    derived = PAGE[: PAGE.index("## Reproduction")]
    assert set(re.findall(r"\]\(#study-(\w+)\)", derived)) == set(PAPER.studies)
