"""Distances against closed forms, other libraries and hand-counted sets, and floors against known expectations."""

from functools import partial
from itertools import permutations
from math import exp, sqrt

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from scipy.spatial.distance import cdist, pdist

from common.metrics import distances
from common.metrics.distances import energy_distance, median_distance, mmd, sliced_w2, w2
from common.metrics.floor import floor, resampled
from common.metrics.frechet import frechet_distance, moments
from common.metrics.manifold import expected_coverage, manifold


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def covariance(d: int, seed: int) -> torch.Tensor:
    root = normal(d, d, seed=seed)
    return root @ root.T


# Frechet distance


def test_frechet_distance_of_commuting_covariances():
    """Diagonal in one basis: FD = |mu1 - mu2|² + sum (sqrt a - sqrt b)², and a rotation of both changes nothing."""
    a, b = torch.tensor([4.0, 1.0, 0.25]).double(), torch.tensor([1.0, 9.0, 0.0]).double()
    mu = torch.tensor([1.0, -2.0, 0.5]).double()
    expected = (1 + 4 + 0.25) + (1 + 4 + 0.25)
    rotation = torch.linalg.qr(normal(3, 3)).Q
    for q in (torch.eye(3, dtype=torch.float64), rotation):
        found = frechet_distance(q @ mu, q @ a.diag() @ q.T, torch.zeros(3), q @ b.diag() @ q.T)
        # A zero eigenvalue comes out of a rotation as 1e-16, and its root as 1e-8.
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("d", [1, 5, 64])
def test_frechet_distance_is_that_of_scipys_matrix_root(d):
    c1, c2, mu1, mu2 = covariance(d, 1), covariance(d, 2), normal(d, seed=3), normal(d, seed=4)
    root = scipy.linalg.sqrtm((c1 @ c2).numpy())
    expected = float((mu1 - mu2).square().sum() + c1.trace() + c2.trace()) - 2 * float(np.trace(root).real)
    assert frechet_distance(mu1, c1, mu2, c2) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(mu2, c2, mu1, c1) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_is_that_of_torch_fidelity():
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    key = metric_fid.KEY_METRIC_FID
    c1, c2, mu1, mu2 = covariance(8, 1), covariance(8, 2), normal(8, seed=3), normal(8, seed=4)
    first, second = ({"mu": mu.numpy(), "sigma": c.numpy()} for mu, c in ((mu1, c1), (mu2, c2)))
    expected = metric_fid.fid_statistics_to_metric(first, second, verbose=False)[key]
    assert frechet_distance(mu1, c1, mu2, c2) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_singular_covariances():
    """Rank one each: the root's trace of u uᵀ and v vᵀ is |<u, v>|."""
    u, v, zero = normal(6, seed=1), normal(6, seed=2), torch.zeros(6)
    expected = float(u @ u + v @ v - 2 * (u @ v).abs())
    assert frechet_distance(zero, u.outer(u), zero, v.outer(v)) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(zero, u.outer(u), zero, u.outer(u)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(zero, torch.zeros(6, 6), zero, torch.eye(6)) == pytest.approx(6)


def test_moments_are_numpys():
    features = normal(50, 4)
    found = moments(features)
    np.testing.assert_allclose(found.mean, features.numpy().mean(0))
    np.testing.assert_allclose(found.cov, np.cov(features.numpy(), rowvar=False))
    assert found.n == 50


# Optimal transport


@pytest.mark.parametrize("shape", [(40, 2), (40, 1, 3, 3)])
def test_w2_of_a_shift_is_its_length(shape):
    x = normal(*shape)
    v = normal(*shape[1:], seed=1)
    assert w2(x, x + v) == pytest.approx(float(v.norm()), rel=1e-9)
    assert w2(x, x[torch.randperm(len(x), generator=generator())]) == pytest.approx(0, abs=1e-6)


def test_w2_of_a_monotone_map_is_what_the_map_moves():
    """Brenier: the gradient A x of a convex quadratic is optimal, also between samples."""
    x, a = normal(60, 3), covariance(3, 5) + 0.1 * torch.eye(3)
    expected = sqrt(float((x @ a.T - x).square().sum(1).mean()))
    assert w2(x, x @ a.T) == pytest.approx(expected, rel=1e-9)


def test_w2_is_the_best_of_all_assignments():
    x, y = normal(6, 2), normal(6, 2, seed=1)
    best = min(float((x - y[list(order)]).square().sum(1).mean()) for order in permutations(range(6)))
    assert w2(x, y) == pytest.approx(sqrt(best), rel=1e-9)


def test_w2_and_sliced_w2_weigh_points_not_counts():
    """Samples of different size: repeating points of either side is the same empirical distribution."""
    x, y = normal(10, 2), normal(15, 2, seed=1)
    assert w2(x.repeat(3, 1), y.repeat(2, 1)) == pytest.approx(w2(x, y), rel=1e-7)
    assert sliced_w2(x.repeat(3, 1), y.repeat(2, 1), generator()) == pytest.approx(
        sliced_w2(x, y, generator()), rel=1e-7
    )


def test_sliced_w2_in_one_dimension_is_w2_of_two_gaussians():
    """W2² = (m1 - m2)² + (s1 - s2)²; in 1-D every slice is the line itself. Sampling error at 2·10^5 points: < 0.01."""
    x, y = 1.0 + 2.0 * normal(200_000, 1), -0.5 + 0.5 * normal(200_000, 1, seed=1)
    assert sliced_w2(x, y, generator(), projections=2) == pytest.approx(sqrt(1.5**2 + 1.5**2), abs=0.02)
    short_x, short_y = x[:300], y[:300]
    assert sliced_w2(short_x, short_y, generator(), 1) == pytest.approx(w2(short_x, short_y), rel=1e-9)


@pytest.mark.parametrize("d", [2, 5])
def test_sliced_w2_of_a_shift(d):
    """SW2² = mean of <theta, v>², whose expectation is |v|²/d and variance 2 (d-1) / (d² (d+2)) |v|⁴ per direction."""
    x, v, directions = normal(30, d), normal(d, seed=1), 20_000
    standard_error = sqrt(2 * (d - 1) / (d**2 * (d + 2)) / directions)
    found = sliced_w2(x, x + v, generator(), directions) ** 2 / float(v @ v)
    assert found == pytest.approx(1 / d, abs=4 * standard_error)


def test_sliced_w2_draws_its_directions_from_the_generator():
    x, y = normal(20, 3), normal(20, 3, seed=1)
    assert sliced_w2(x, y, generator(2), 3) == sliced_w2(x, y, generator(2), 3)
    assert sliced_w2(x, y, generator(2), 3) != sliced_w2(x, y, generator(3), 3)


# Energy distance and MMD


def test_energy_distance_is_scipys_on_the_line():
    x, y = normal(200, 1), 0.5 + 2 * normal(150, 1, seed=1)
    expected = scipy.stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_energy_distance_from_all_pairs_of_images():
    x, y = normal(40, 1, 2, 3), 0.3 + normal(30, 1, 2, 3, seed=1)
    a, b = x.flatten(1).numpy(), y.flatten(1).numpy()
    squared = 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()
    assert energy_distance(x, y) == pytest.approx(sqrt(squared), rel=1e-10)


def test_energy_distance_of_two_pairs_of_points_by_hand():
    """x = {0, 4}, y = {1, 1} on a line: D² = 2 (1 + 3) / 2 - 4 / 2 - 0 = 2; equal points count 0."""
    x, y = torch.tensor([[0.0], [4.0]]), torch.ones(2, 1)
    assert energy_distance(x, y) == pytest.approx(sqrt(2), rel=1e-15)


@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-6, 1e6])
def test_energy_distance_squared_scales_as_the_data(scale):
    """E(cX, cY) = c E(X, Y), for near laws too: their E is 4e-3 of the distances that it is the difference of."""
    for y in (0.5 + 2 * normal(150, 3, seed=1), normal(150, 3, seed=1)):
        x = normal(200, 3)
        expected = scale * energy_distance(x, y) ** 2
        assert energy_distance(scale * x, scale * y) ** 2 == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_same_points_in_another_order_are_0_apart(scale):
    x = scale * normal(1500, 2)
    shuffled = x[torch.randperm(len(x), generator=generator())]
    assert energy_distance(x, x) == 0
    assert energy_distance(x, shuffled) == 0


def test_energy_distance_is_the_same_in_blocks(monkeypatch):
    x, y = normal(40, 2), 0.3 + normal(30, 2, seed=1)
    whole = energy_distance(x, y)
    monkeypatch.setattr(distances, "_distances", partial(distances._distances, block=7 * 30))
    assert energy_distance(x, y) == whole


def test_mmd_of_two_points_is_the_kernels():
    x, y, h = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), 4.0
    assert mmd(x, y, h) == pytest.approx(sqrt(2 - 2 * exp(-25 / (2 * h**2))), rel=1e-6)


def test_mmd_of_two_gaussians():
    """k(a, b) = exp(-|a-b|²/2h²) is a Gaussian density up to a constant, so its mean over N(m, s²I) is one too:

    E k(X, Y) = (h² / (h² + 2s²))^{D/2} exp(-|m|² / (2 (h² + 2s²))) for X, Y of the same s and means m apart.
    The biased estimate adds about (1 - E k) (1/N + 1/M) to MMD², taken off here; what is left is its spread.
    """
    n, s, h, d = 3000, 0.7, 1.1, 2
    m = torch.tensor([0.9, -0.4], dtype=torch.float64)
    x, y = s * normal(n, d), m + s * normal(n, d, seed=1)
    within = (h**2 / (h**2 + 2 * s**2)) ** (d / 2)
    expected = 2 * within - 2 * within * exp(-float(m @ m) / (2 * (h**2 + 2 * s**2)))
    bias = 2 * (1 - within) / n
    # The standard deviation of MMD² is at most 2 sqrt(var E_y k / n) x 2 with var ≤ 1/4 x within: 0.03 x 0.4.
    assert mmd(x, y, h) ** 2 - bias == pytest.approx(expected, abs=0.012)


def test_the_default_bandwidth_is_the_median_distance_within_the_reference():
    x, y = 5 * normal(30, 3), normal(41, 3, seed=1)
    assert median_distance(y) == pytest.approx(float(np.median(pdist(y.numpy()))), rel=1e-2)
    assert mmd(x, y) == mmd(x, y, median_distance(y))


# Precision, recall, density, coverage


def test_manifold_by_hand():
    """Radii (k = 1) of y: 1, 1, 1, 8; of x: 2.5, 1, 1, 1, 1. Five (x, y) pairs lie in balls of y."""
    y = torch.tensor([0.0, 1.0, 2.0, 10.0])[:, None]
    x = torch.tensor([0.5, 3.0, -5.0, 4.0, -6.0])[:, None]
    found = manifold(x, y, k=1)
    assert found.precision == pytest.approx(3 / 5)  # 0.5, 3, 4
    assert found.recall == pytest.approx(3 / 4)  # 0, 1, 2
    assert found.density == pytest.approx(5 / 5)
    assert found.coverage == pytest.approx(4 / 4)


def test_manifold_counts_the_kth_neighbour():
    """On the integers 0 .. 9 with k = 2 an inner ball has radius 1, an end ball radius 2."""
    y = torch.arange(10.0)[:, None]
    x = torch.tensor([1.5, 4.5, 5.5, 11.0])[:, None]  # 1.5: balls of 0, 1, 2; 11: the ball of 9
    found = manifold(x, y, k=2)
    assert found.density == pytest.approx((3 + 2 + 2 + 1) / (2 * 4))
    assert found.precision == 1
    assert found.coverage == pytest.approx(7 / 10)  # 0, 1, 2, 4, 5, 6, 9


def test_manifold_of_a_copy_and_of_strangers():
    y, k = normal(50, 3), 4
    copy = manifold(y, y, k)
    # Each ball holds its own centre and k others.
    assert (copy.precision, copy.recall, copy.coverage) == (1, 1, 1)
    assert copy.density == pytest.approx((k + 1) / k)
    far = manifold(y + 100, y, k)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_a_missing_mode_costs_recall_and_an_invented_one_precision():
    here, there = normal(60, 2), normal(60, 2, seed=1) + 50
    dropped = manifold(here, torch.cat([here, there]))
    assert (dropped.precision, dropped.recall, dropped.coverage) == (1, 0.5, 0.5)
    invented = manifold(torch.cat([here, there]), here)
    assert (invented.precision, invented.recall, invented.coverage) == (0.5, 1, 1)


@pytest.mark.parametrize(("n", "m", "k"), [(100, 100, 5), (60, 120, 3)])
def test_coverage_and_density_of_equal_distributions(n, m, k):
    """Naeem et al.: E density = 1, and E coverage by the ranks of exchangeable points, in any dimension."""
    repeats = [manifold(normal(n, 2, seed=2 * i), normal(m, 2, seed=2 * i + 1), k) for i in range(300)]
    for values, expected in [
        ([found.coverage for found in repeats], expected_coverage(n, m, k)),
        ([found.density for found in repeats], 1.0),
    ]:
        assert np.mean(values) == pytest.approx(expected, abs=float(4 * np.std(values) / sqrt(len(values))))


def test_expected_coverage_of_the_smallest_sets():
    """n = m = 2, k = 1: of the three other points the nearest is equally likely any; it is real in 1 case of 3."""
    assert expected_coverage(2, 2, 1) == pytest.approx(2 / 3)
    assert expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 0.5**5, abs=1e-4)


# Floors


def squared_mean_gap(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x.mean(0) - y.mean(0)).square().sum())


def draw_normal(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, 1, generator=generator, dtype=torch.float64)


def test_floor_of_the_squared_gap_of_means():
    """|mean x - mean y|² of standard normals is (1/n + 1/n) chi²_1; against the true mean it is (1/n) chi²_1."""
    n, repeats = 20, 4000
    for reference, scale in [(None, 2 / n), (torch.zeros(1, 1), 1 / n)]:
        found = floor(squared_mean_gap, draw_normal, n, generator(), repeats, reference)
        assert found.n == n
        assert len(found.values) == repeats
        # chi²_1 has mean 1, variance 2 and fourth central moment 60.
        assert found.mean / scale == pytest.approx(1, abs=4 * sqrt(2 / repeats))
        assert found.std**2 / scale**2 == pytest.approx(2, abs=4 * sqrt((60 - 4) / repeats))


def test_floor_from_data_takes_disjoint_halves():
    data = torch.arange(10.0)[:, None]

    def shared_and_distinct(x, y):
        chosen = torch.cat([x, y]).flatten().tolist()
        return len(chosen) - len(set(chosen))

    assert set(floor(shared_and_distinct, data, 5, generator()).values) == {0.0}
    means = floor(lambda x, y: float(x.mean()), data, 5, generator()).values
    assert len(set(means)) > 1


def test_resampled_draws_with_replacement_and_evenly():
    drawn = resampled(torch.arange(5.0)[:, None])(10_000, generator())
    values, counts = drawn.unique(return_counts=True)
    assert values.tolist() == [0, 1, 2, 3, 4]
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-4


# Bad input


def test_bad_input_is_named():
    x = normal(10, 2)
    for metric in (w2, energy_distance, mmd, manifold, lambda a, b: sliced_w2(a, b, generator())):
        with pytest.raises(ValueError, match=r"\(10, 2\) and \(10, 3\) do not match"):
            metric(x, normal(10, 3))
        with pytest.raises(ValueError, match="empty"):
            metric(x[:0], x)
        with pytest.raises(ValueError, match="NaN or infinity"):
            metric(x, x / 0)
    with pytest.raises(ValueError, match="k is 10; allowed with 10 and 10 points: 1 to 9"):
        manifold(x, x, k=10)
    with pytest.raises(ValueError, match="bandwidth is 0"):
        mmd(x, x, bandwidth=0)
    with pytest.raises(ValueError, match="projections is 0"):
        sliced_w2(x, x, generator(), projections=0)
    with pytest.raises(ValueError, match=r"n is 6; .* allow 1 to 5"):
        floor(w2, x, 6, generator())
    with pytest.raises(ValueError, match="repeats is 1"):
        floor(w2, x, 5, generator(), repeats=1)
    with pytest.raises(ValueError, match=r"moments have shapes"):
        frechet_distance(torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3))
    with pytest.raises(ValueError, match=r"features have shape \(1, 2\)"):
        moments(x[:1])
