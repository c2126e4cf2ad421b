"""Divergences against torch's own, against path laws on a fine grid, and the Pythagorean identity of the paper."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from papers.dsbm.divergence import (
    entropic_cost,
    kl_couplings,
    kl_gaussians,
    kl_markov,
    kl_of_samples,
    kl_projection,
)
from papers.dsbm.gaussian import (
    GaussianBridge,
    imf,
    independent_bridge,
    markovian_projection,
    reference_bridge,
    schrodinger_bridge,
)
from tests.papers.dsbm.test_gaussian import chain, general_ends


def kl(mean: np.ndarray, cov: np.ndarray, other_mean: np.ndarray, other_cov: np.ndarray) -> float:
    laws = [MultivariateNormal(torch.tensor(m), torch.tensor(c)) for m, c in ((mean, cov), (other_mean, other_cov))]
    return float(kl_divergence(*laws))


def markov_chain(bridge: GaussianBridge, times: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """The law of the Markovian projection at `times`, from the bridge's transitions between neighbouring times.

    A Markov process with these two-time marginals at neighbouring times; as the grid is refined it comes to be the
    projection, since both have the same drift there.
    """
    mean, _ = chain(bridge, times)
    dim, n = len(bridge.mean_0), len(times)
    cov = np.zeros((n * dim, n * dim))
    block = [slice(k * dim, (k + 1) * dim) for k in range(n)]
    cov[block[0], block[0]] = chain(bridge, times[:1])[1]
    for k, (s, u) in enumerate(pairwise(times)):
        pair = chain(bridge, [s, u])[1]
        step = np.linalg.solve(pair[:dim, :dim], pair[:dim, dim:])
        so_far, new = slice(0, (k + 1) * dim), block[k + 1]
        cov[so_far, new] = cov[so_far, block[k]] @ step
        cov[new, so_far] = cov[so_far, new].T
        cov[new, new] = pair[dim:, dim:]
    return mean, cov


def grid(n: int) -> list[float]:
    return [k / n for k in range(n + 1)]


@pytest.fixture
def bridges() -> tuple[GaussianBridge, GaussianBridge]:
    """A bridge that is not Markov, and the Schrödinger bridge of the same ends."""
    ends = general_ends(dim=2)
    return independent_bridge(*ends, 1.2), schrodinger_bridge(*ends, 1.2)


def test_kl_of_gaussians_is_that_of_torch() -> None:
    mean_0, mean_1, cov_0, cov_1 = general_ends()
    expected = kl(mean_0.numpy(), cov_0.numpy(), mean_1.numpy(), cov_1.numpy())
    assert kl_gaussians(mean_0, cov_0, mean_1, cov_1) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="other_cov has the eigenvalue"):
        kl_gaussians(mean_0, cov_0, mean_1, -cov_1)


@pytest.mark.parametrize(("diagonal", "parameters"), [(True, 2 * 20), (False, 20 * 21 / 2 + 20)])
def test_the_fit_has_the_bias_that_it_says(diagonal: bool, parameters: float) -> None:
    # Twice n times the KL of a fit is asymptotically chi-square with as many degrees of freedom as parameters (Wilks):
    # mean p, variance 2p. Over 40 repeats the mean's standard error is √(2p/40); five of them.
    n, dim, repeats = 2000, 20, 40
    x = torch.randn(repeats, n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, eye = torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
    scaled = [2 * n * kl_of_samples(each, mean, eye, diagonal) for each in x]
    # The next order of the bias is p times a few D/n.
    margin = 5 * (2 * parameters / repeats) ** 0.5 + 2 * parameters * dim / n
    assert np.mean(scaled) == pytest.approx(parameters, abs=margin)


def test_a_diagonal_fit_does_not_see_a_correlation_and_a_full_one_does() -> None:
    cov = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    x = (
        torch.randn(50_000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        @ torch.linalg.cholesky(cov).T
    )
    mean, eye = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    assert kl_of_samples(x, mean, eye, diagonal=True) < 1e-3
    # -½ ln(1 - 0.36) = 0.2231, with a standard error of about ρ/√n.
    assert kl_of_samples(x, mean, eye, diagonal=False) == pytest.approx(0.2231, abs=5 * 0.6 / 50_000**0.5)


def test_bridges_between_equal_ends_add_nothing(bridges: tuple[GaussianBridge, GaussianBridge]) -> None:
    # KL of the laws at nine times equals that of the ends, as both have the same Brownian bridges between.
    independent, schrodinger = bridges
    expected = kl(*chain(independent, grid(8)), *chain(schrodinger, grid(8)))
    assert kl_couplings(independent, schrodinger) == pytest.approx(expected, rel=1e-7)


def richardson(values: list[float]) -> float:
    """From a first-order error at n and 2n times."""
    return 2 * values[1] - values[0]


def test_girsanov_gives_the_kl_of_two_markov_chains(bridges: tuple[GaussianBridge, GaussianBridge]) -> None:
    independent, schrodinger = bridges
    other = GaussianBridge(
        schrodinger.mean_0 + 0.3, schrodinger.mean_1, 1.2 * schrodinger.cov_0, schrodinger.cov_1,
        0.5 * schrodinger.cross, schrodinger.sigma,
    )  # fmt: skip
    for left, right in ((independent, schrodinger), (independent, other), (other, schrodinger)):
        coarse = [kl(*markov_chain(left, grid(n)), *markov_chain(right, grid(n))) for n in (40, 80)]
        assert kl_markov(left, right) == pytest.approx(richardson(coarse), rel=5e-3)


def test_the_loss_of_markov_projection_is_a_path_divergence(bridges: tuple[GaussianBridge, GaussianBridge]) -> None:
    independent, _ = bridges
    coarse = [kl(*chain(independent, grid(n)), *markov_chain(independent, grid(n))) for n in (40, 80)]
    assert kl_projection(independent) == pytest.approx(richardson(coarse), rel=5e-3)


def test_a_markov_process_loses_nothing(bridges: tuple[GaussianBridge, GaussianBridge]) -> None:
    _, schrodinger = bridges
    assert kl_projection(schrodinger) == pytest.approx(0, abs=1e-10)
    assert kl_projection(reference_bridge(schrodinger.mean_0, schrodinger.cov_0, 1.2)) == pytest.approx(0, abs=1e-10)
    assert kl_markov(schrodinger, schrodinger) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_pythagoras(sigma: float) -> None:
    # Lemma 6: KL(Π | P) = KL(Π | proj Π) + KL(proj Π | P). The left side is algebra on the ends, the two on the right
    # are integrals over time of unrelated integrands.
    ends = general_ends()
    target = schrodinger_bridge(*ends, sigma)
    for bridge in islice(imf(independent_bridge(*ends, sigma)), 3):
        parts = kl_projection(bridge) + kl_markov(bridge, target)
        assert kl_couplings(bridge, target) == pytest.approx(parts, rel=1e-8)


def test_the_regularised_cost_is_the_divergence_and_falls() -> None:
    ends, sigma = general_ends(), 0.8
    target = schrodinger_bridge(*ends, sigma)
    iterates = list(islice(imf(independent_bridge(*ends, sigma)), 6))
    excess = [entropic_cost(bridge) - entropic_cost(target) for bridge in iterates]
    for bridge, above in zip(iterates, excess, strict=True):
        assert above == pytest.approx(2 * sigma**2 * kl_couplings(bridge, target), rel=1e-8)
    assert all(later < earlier for earlier, later in pairwise(excess))


def test_the_entropic_cost_is_that_of_pot() -> None:
    # On a grid: Σ P C + 2σ² KL(P | a b) of a plan between two discretised Gaussians.
    import ot

    x = torch.linspace(-5, 5, 126, dtype=torch.float64)
    a, b = (torch.softmax(-((x - mean) ** 2) / (2 * var), 0) for mean, var in ((-0.3, 0.25), (0.3, 0.64)))
    sigma = 0.9
    cost = (x[:, None] - x) ** 2
    plan: Tensor = ot.sinkhorn(a, b, cost, 2 * sigma**2, method="sinkhorn_log", numItermax=20_000, stopThr=1e-13)
    independent = a[:, None] * b
    expected = (plan * cost).sum() + 2 * sigma**2 * (plan * (plan / independent).clamp(min=1e-300).log()).sum()
    ends = [torch.tensor(value, dtype=torch.float64) for value in ([-0.3], [0.3], [[0.25]], [[0.64]])]
    bridge = schrodinger_bridge(ends[0], ends[1], ends[2], ends[3], sigma)
    assert entropic_cost(bridge) == pytest.approx(float(expected), rel=1e-6)


def test_projecting_forgets_and_does_not_change_the_marginals() -> None:
    bridge = independent_bridge(*general_ends(), 0.9)
    projected = markovian_projection(bridge)
    for t in (0.0, 1.0):
        torch.testing.assert_close(projected.cov(t), bridge.cov(t))
        torch.testing.assert_close(projected.mean(t), bridge.mean(t))
