"""The 2-D toys against what their docstrings promise: supports, occupations, laws of radii and angles, moments.

Statistical tests run at fixed seeds and fail below p = 1e-4, so that a correct sampler passes at nearly every seed and
a wrong one at n = 20000 at none.
"""

from collections.abc import Callable
from itertools import pairwise
from math import pi, sqrt

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn import datasets

from common.data import toy

N = 20_000
P = 1e-4

# The noiseless curves y(t), and their parameter's range, for quadrature; rings and moons are mixtures of circles.
CURVES = {
    "swiss_roll": ((lambda t: t * np.cos(t), lambda t: t * np.sin(t)), (1.5 * pi, 4.5 * pi)),
    "s_curve": ((np.sin, lambda t: np.sign(t) * (np.cos(t) - 1)), (-1.5 * pi, 1.5 * pi)),
    "moons": (
        (
            lambda t: np.cos(t) if t < pi else 1 - np.cos(t - pi),
            lambda t: np.sin(t) if t < pi else 0.5 - np.sin(t - pi),
        ),
        (0.0, 2 * pi),
    ),
    "rings": (
        (lambda t: (t // 1 + 1) * np.cos(2 * pi * t), lambda t: (t // 1 + 1) * np.sin(2 * pi * t)),
        (0.0, 4.0),
    ),
}
NOISE = {"swiss_roll": 0.3, "s_curve": 0.05, "moons": 0.05, "rings": 0.05}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadrature_moments(name: str) -> tuple[np.ndarray, float]:
    """Mean (2,) and the scale² (mean of both variances) of the noiseless curve, by numerical integration."""
    coordinates, (low, high) = CURVES[name]
    breaks = np.linspace(low, high, 13)

    def mean_of(f):
        return sum(integrate.quad(f, a, b)[0] for a, b in pairwise(breaks)) / (high - low)

    mean = np.array([mean_of(f) for f in coordinates])
    second = [mean_of(lambda t, f=f: f(t) ** 2) for f in coordinates]
    return mean, float(np.mean(np.array(second) - mean**2))


def noiseless(name: str) -> np.ndarray:
    """Points y of the curve itself: noise 0, standardisation undone."""
    mean, variance = quadrature_moments(name)
    draw: Callable[..., torch.Tensor] = toy.TOYS[name]
    z = draw(N, generator(), noise=0.0, dtype=torch.float64)
    return z.numpy() * sqrt(variance) + mean


def assert_uniform_counts(counts: np.ndarray) -> None:
    assert stats.chisquare(counts).pvalue > P, counts


@pytest.mark.parametrize("name", toy.TOYS)
def test_toys_are_standardised(name):
    z = toy.TOYS[name](100_000, generator(1)).double()
    standard_error = z.std(0) / sqrt(len(z))
    assert (z.mean(0).abs() < 4.5 * standard_error).all()
    mean_square = z.square().mean(1)  # its expectation is the mean of both variances
    assert abs(mean_square.mean() - 1) < 4.5 * mean_square.std() / sqrt(len(z))


@pytest.mark.parametrize("noise", [0.0, 0.7])
@pytest.mark.parametrize("name", CURVES)
def test_standardisation_counts_the_noise(name, noise):
    draw: Callable[..., torch.Tensor] = toy.TOYS[name]
    z = draw(100_000, generator(2), noise=noise).double()
    mean_square = z.square().mean(1)
    assert abs(mean_square.mean() - 1) < 4.5 * mean_square.std() / sqrt(len(z))


@pytest.mark.parametrize("name", CURVES)
def test_noise_is_gaussian_of_the_stated_size(name):
    """With one seed the latent variables are the same, so the difference of a noisy and a clean draw is the noise."""
    _, variance = quadrature_moments(name)
    draw: Callable[..., torch.Tensor] = toy.TOYS[name]
    noisy = draw(N, generator(3), dtype=torch.float64)
    clean = draw(N, generator(3), noise=0.0, dtype=torch.float64)
    noise = noisy * sqrt(variance + NOISE[name] ** 2) - clean * sqrt(variance)
    for coordinate in noise.numpy().T:
        assert stats.kstest(coordinate, "norm", args=(0, NOISE[name])).pvalue > P
    assert abs(np.corrcoef(noise.numpy().T)[0, 1]) < 4.5 / sqrt(N)


def test_swiss_roll_lies_on_the_spiral_with_uniform_radius():
    y = noiseless("swiss_roll")
    radius = np.hypot(*y.T)
    assert stats.kstest(radius, "uniform", args=(1.5 * pi, 3 * pi)).pvalue > P
    np.testing.assert_allclose(y, radius[:, None] * np.stack([np.cos(radius), np.sin(radius)], 1), atol=1e-6)


def test_moons_are_two_half_circles_equally_likely():
    x, y = noiseless("moons").T
    upper = np.abs(np.hypot(x, y) - 1) < 1e-6
    upper &= y >= -1e-6
    lower = (np.abs(np.hypot(x - 1, y - 0.5) - 1) < 1e-6) & (y <= 0.5 + 1e-6)
    assert (upper ^ lower).all()
    assert_uniform_counts(np.array([upper.sum(), lower.sum()]))
    assert stats.kstest(np.arccos(x[upper].clip(-1, 1)), "uniform", args=(0, pi)).pvalue > P
    assert stats.kstest(np.arccos((1 - x[lower]).clip(-1, 1)), "uniform", args=(0, pi)).pvalue > P


def test_checkerboard_is_uniform_on_its_eight_squares():
    y = toy.checkerboard(N, generator(), dtype=torch.float64).numpy() * sqrt(4 / 3)
    assert np.abs(y).max() <= 2
    cell = np.floor(y).astype(int)
    assert (cell.sum(1) % 2 == 0).all()
    quarter = (np.floor(2 * y).astype(int) + 4) @ [8, 1]
    _, counts = np.unique(quarter, return_counts=True)
    assert len(counts) == 32
    assert_uniform_counts(counts)


def test_rings_have_equal_shares_and_uniform_angles():
    y = noiseless("rings")
    radius = np.hypot(*y.T)
    np.testing.assert_allclose(radius, radius.round(), atol=1e-6)
    rings, counts = np.unique(radius.round(), return_counts=True)
    assert rings.tolist() == [1, 2, 3, 4]
    assert_uniform_counts(counts)
    for ring in rings:
        on_ring = y[radius.round() == ring]
        assert stats.kstest(np.arctan2(*on_ring.T), "uniform", args=(-pi, 2 * pi)).pvalue > P


def test_eight_gaussians_are_the_mixture_that_they_publish():
    means, std = toy.eight_gaussians_mixture()
    angles = torch.atan2(means[:, 1], means[:, 0]) % (2 * pi)
    torch.testing.assert_close(angles, torch.arange(8, dtype=torch.float64) * pi / 4, atol=1e-12, rtol=0)
    radius = means.norm(dim=1)
    torch.testing.assert_close(radius, radius[0].expand(8), atol=1e-12, rtol=0)
    assert std / float(radius[0]) == pytest.approx(0.1)

    z = toy.eight_gaussians(N, generator(), dtype=torch.float64)
    mode = torch.cdist(z, means).argmin(1)
    assert_uniform_counts(torch.bincount(mode, minlength=8).numpy())
    residual = (z - means[mode]) / std
    # Modes are 7.6 std apart: the nearest is the wrong one for 2 points in 10000, far below KS's reach.
    assert stats.kstest(residual.flatten().numpy(), "norm").pvalue > P


def test_s_curve_is_two_arcs_of_unit_circles():
    x, y = noiseless("s_curve").T
    np.testing.assert_allclose(np.hypot(x, np.abs(y) - 1), 1, atol=1e-6)
    # The two arcs hang at the origin: the upper one (t < 0) leaves it to the left, the lower one to the right.
    near = np.abs(y) < 0.5
    assert (np.sign(x[near]) == -np.sign(y[near])).mean() > 0.999
    assert_uniform_counts(np.array([(y > 0).sum(), (y < 0).sum()]))


@pytest.mark.parametrize("name", ["swiss_roll", "s_curve", "moons"])
def test_scikit_learn_draws_the_same_distribution(name):
    """An independent implementation, standardised by its own moments: every projection agrees (two-sample KS)."""
    noise = NOISE[name]
    if name == "moons":
        y = datasets.make_moons(N, noise=noise, random_state=1)[0]
    else:
        make = datasets.make_swiss_roll if name == "swiss_roll" else datasets.make_s_curve
        y = make(N, noise=noise, random_state=1)[0][:, [0, 2]]
    y = (y - y.mean(0)) / sqrt(y.var(0).mean())
    z = toy.TOYS[name](N, generator(5)).numpy()
    for angle in np.arange(6) * pi / 6:
        direction = [np.cos(angle), np.sin(angle)]
        assert stats.ks_2samp(z @ direction, y @ direction).pvalue > P


@pytest.mark.parametrize("name", toy.TOYS)
def test_randomness_comes_from_the_generator_alone(name):
    state = torch.get_rng_state()
    first, again, other = (toy.TOYS[name](50, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.dtype == torch.float32


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="n is 0"):
        toy.moons(0, generator())
    with pytest.raises(ValueError, match="n is -1"):
        toy.eight_gaussians(-1, generator())
    with pytest.raises(ValueError, match=r"noise is -0\.1"):
        toy.rings(10, generator(), noise=-0.1)
