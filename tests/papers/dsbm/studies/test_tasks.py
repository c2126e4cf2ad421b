"""The 2-D data against scikit-learn's and against the moments that their definition gives."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons, make_s_curve

from papers.dsbm.studies.tasks import TASKS, eight_gaussians, large_moons, moons, s_curve

N = 20_000


def draw(sample: object, seed: int = 0) -> np.ndarray:
    return sample(N, torch.Generator().manual_seed(seed)).double().numpy()  # type: ignore[operator]


def same_moments(x: np.ndarray, y: np.ndarray) -> None:
    """Means and second moments agree within five standard errors of the two samples."""
    for left, right in ((x, y), (x**2, y**2), (x[:, :1] * x[:, 1:], y[:, :1] * y[:, 1:])):
        error = np.sqrt((left.var(0) + right.var(0)) / N)
        assert (np.abs(left.mean(0) - right.mean(0)) < 5 * error).all()


def test_moons_are_those_of_scikit_learn() -> None:
    same_moments(draw(moons), 2 * make_moons(N, noise=0.05, random_state=0)[0] - [1, 0])
    y = make_moons(N, noise=0.1, random_state=0)[0]
    same_moments(draw(large_moons), 7 * (y - y.mean()) / y.std())


def test_the_s_curve_is_that_of_scikit_learn() -> None:
    same_moments(draw(s_curve), 1.5 * make_s_curve(N, noise=0.05, random_state=0)[0][:, [0, 2]])


@pytest.mark.parametrize(("radius", "std"), [(5.0, 1.0), (12.0, 1.5)])
def test_eight_gaussians_have_their_radius_and_spread(radius: float, std: float) -> None:
    x = draw(eight_gaussians(radius, std))
    # E‖x‖² = R² + 2 s². Eight modes by the eighth angular moment: E r⁸ cos 8θ is R⁸ and noise adds nothing to it.
    second = (x**2).sum(1)
    assert second.mean() == pytest.approx(radius**2 + 2 * std**2, abs=5 * second.std() / sqrt(N))
    powers = (x[:, 0] + 1j * x[:, 1]) ** 8
    assert powers.real.mean() == pytest.approx(radius**8, abs=5 * powers.real.std() / sqrt(N))
    assert abs((x[:, 0] + 1j * x[:, 1]).mean()) < 5 * radius / sqrt(N)


def test_noise_is_of_the_size_of_the_start() -> None:
    for task in TASKS.values():
        assert draw(task.pi_1).std() == pytest.approx(task.sigma, rel=0.02)
