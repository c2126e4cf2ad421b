"""The bridge against Gaussian conditioning, its targets against their definitions, and what least squares finds."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from papers.dsbm.bridge import (
    T_EPS,
    TARGETS,
    Direction,
    backward_target,
    bridge_regression,
    brownian_bridge,
    flow_target,
    forward_target,
)
from papers.dsbm.gaussian import GaussianBridge

torch.set_num_threads(1)
SIGMA = 0.7
ONE, ZERO = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def ends(n: int = 6, dim: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_0, x_1, t, eps, all different."""
    x_0, x_1, eps = torch.randn(3, n, dim, generator=seeded(0), dtype=torch.float64)
    return x_0, x_1, torch.linspace(0.05, 0.9, n, dtype=torch.float64), eps


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_bridge_is_brownian_motion_given_both_ends(t: float) -> None:
    """The law of (B_t, B_1) is N(0, σ² min(s, t)); conditioning on B_1 by the Schur complement gives the bridge."""
    cov = SIGMA**2 * torch.tensor([[t, t], [t, 1.0]], dtype=torch.float64)
    gain = cov[0, 1] / cov[1, 1]
    variance = cov[0, 0] - gain * cov[1, 0]
    x_0, x_1, time = 2 * ONE, -3 * ONE, torch.tensor(t, dtype=torch.float64)
    mean = brownian_bridge(x_0, x_1, time, SIGMA, ZERO)
    torch.testing.assert_close(mean, x_0 + gain * (x_1 - x_0))
    torch.testing.assert_close((brownian_bridge(x_0, x_1, time, SIGMA, ONE) - mean) ** 2, variance.reshape(1, 1))


def test_targets_point_from_the_bridge_to_its_ends() -> None:
    """They are the drifts (x_1 − x_t)/(1 − t) and (x_0 − x_t)/t of the bridge's own x_t, noise and all."""
    x_0, x_1, t, eps = ends()
    x_t, column = brownian_bridge(x_0, x_1, t, SIGMA, eps), t[:, None]
    torch.testing.assert_close(forward_target(x_0, x_1, t, SIGMA, eps), (x_1 - x_t) / (1 - column))
    torch.testing.assert_close(backward_target(x_0, x_1, t, SIGMA, eps), (x_0 - x_t) / column)


def test_flow_target_is_half_the_difference_of_the_two_drifts() -> None:
    both = forward_target(*ends()[:3], SIGMA, ends()[3]) - backward_target(*ends()[:3], SIGMA, ends()[3])
    torch.testing.assert_close(flow_target(*ends()[:3], SIGMA, ends()[3]), both / 2)


def test_without_noise_all_targets_are_the_straight_line() -> None:
    x_0, x_1, t, eps = ends()
    for target, sign in ((forward_target, 1), (backward_target, -1), (flow_target, 1)):
        torch.testing.assert_close(target(x_0, x_1, t, 0.0, eps), sign * (x_1 - x_0))


@pytest.mark.parametrize("direction", ["f", "b"])
def test_least_squares_on_the_regression_finds_the_exact_markovian_drift(direction: Direction) -> None:
    """E[(target − v(x_t, t)) φ] = 0 for every φ(x_t, t): here 1, x_t, t, t x_t, with v of `gaussian.py`'s closed form.

    The ends differ in mean and variance and are correlated, so that exchanging them, or time, shows.
    """
    mean_0, mean_1 = (torch.tensor([m], dtype=torch.float64) for m in (-0.5, 1.0))
    cov_0, cov_1, cross = (torch.tensor([[c]], dtype=torch.float64) for c in (1.0, 3.0, 0.6))
    bridge = GaussianBridge(mean_0, mean_1, cov_0, cov_1, cross, SIGMA)
    x_0, x_1 = bridge.sample(200_000, seeded(1))
    x_t, t, target = bridge_regression(x_0, x_1, SIGMA, TARGETS[direction], seeded(2))
    rate = bridge.forward_rate if direction == "f" else bridge.backward_rate
    grid = torch.linspace(0, 1, 201, dtype=torch.float64)
    slope = torch.stack([rate(float(s))[0, 0] for s in grid])
    # A_t between the 201 points: linear interpolation, off by 1e-5 at most, where residuals' means are 1e-3.
    left = (t * 200).long().clamp(max=199)
    slope_t = torch.lerp(slope[left], slope[left + 1], t * 200 - left)
    shift = (bridge.mean_1 - bridge.mean_0) * (1 if direction == "f" else -1)
    mean_t = (1 - t) * bridge.mean_0 + t * bridge.mean_1
    residual = target[:, 0] - shift - slope_t * (x_t[:, 0] - mean_t)
    for phi in (torch.ones_like(t), x_t[:, 0], t, t * x_t[:, 0]):
        product = residual * phi
        # Five standard errors: eight such tests go wrong once in 200 000 seeds.
        assert abs(float(product.mean())) < 5 * float(product.std()) / len(t) ** 0.5


def test_times_are_uniform_between_the_cut_offs() -> None:
    x = torch.zeros(20_000, 1, dtype=torch.float64)
    t = bridge_regression(x, x, 1.0, forward_target, seeded(3), t_eps=0.1)[1]
    assert 0.1 <= float(t.min()) < 0.101
    assert 0.899 < float(t.max()) <= 0.9
    assert stats.kstest(t.numpy(), stats.uniform(0.1, 0.8).cdf).pvalue > 1e-3
    assert pytest.approx(1e-3) == T_EPS


def test_images_are_points_of_another_shape() -> None:
    x_0, x_1, t, eps = ends(n=6, dim=4)
    flat = brownian_bridge(x_0, x_1, t, SIGMA, eps)
    image_0, image_1, noise = (x.reshape(6, 1, 2, 2) for x in (x_0, x_1, eps))
    images = brownian_bridge(image_0, image_1, t, SIGMA, noise)
    assert torch.equal(images.flatten(1), flat)


def test_bad_input_is_named() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"shapes \(4, 2\) and \(3, 2\); both must be the same"):
        bridge_regression(x, x[:3], 1.0, forward_target, seeded(0))
    with pytest.raises(ValueError, match=r"sigma is -1.0; it must be 0 or more"):
        bridge_regression(x, x, -1.0, forward_target, seeded(0))
    with pytest.raises(ValueError, match=r"t_eps is 0.5; it must be in \[0, 1/2\)"):
        bridge_regression(x, x, 1.0, forward_target, seeded(0), t_eps=0.5)
