"""Simulation against exact discrete moments, Euler's convergence order, and the flow against optimal transport maps."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Generator, Tensor

from papers.dsbm.bridge import Direction
from papers.dsbm.gaussian import GaussianBridge, schrodinger_bridge, unit_gaussians
from papers.dsbm.process import path_energy, probability_flow, reversed_flow, simulate, time_grid

torch.set_num_threads(1)


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def lopsided(sigma: float = 1.0) -> GaussianBridge:
    """A bridge in one dimension whose two ends cannot be mistaken for each other."""
    mean_0, mean_1 = (torch.tensor([m], dtype=torch.float64) for m in (-0.5, 1.0))
    cov_0, cov_1 = (torch.tensor([[c]], dtype=torch.float64) for c in (1.0, 0.25))
    return schrodinger_bridge(mean_0, mean_1, cov_0, cov_1, sigma)


def discrete_moments(bridge: GaussianBridge, steps: int, direction: Direction) -> tuple[float, float, float]:
    """Mean and variance at the end and covariance with the start of N Euler-Maruyama steps, by exact recursion in 1-D.

    For an affine drift a step is x <- x + Δ (b + A (x − m)) + σ √Δ ε.
    """
    run = bridge if direction == "f" else bridge.reverse()
    mean, variance = float(run.mean_0), float(run.cov_0)
    covariance, delta = variance, 1 / steps
    for k in range(steps):
        rate = float(run.forward_rate(k * delta))
        mean += delta * (float(run.mean_1 - run.mean_0) + rate * (mean - float(run.mean(k * delta))))
        variance = (1 + delta * rate) ** 2 * variance + run.sigma**2 * delta
        covariance *= 1 + delta * rate
    return mean, variance, covariance


def start(bridge: GaussianBridge, n: int, direction: Direction) -> Tensor:
    return bridge.sample(n, seeded(0))[0 if direction == "f" else 1]


@pytest.mark.parametrize("direction", ["f", "b"])
def test_moments_after_20_steps_are_those_of_the_recursion(direction: Direction) -> None:
    """Noise left out of one step is 1/20 of σ² missing; time run the wrong way leads to the other variance."""
    bridge = lopsided()
    n, x = 100_000, start(lopsided(), 100_000, direction)
    drift = bridge.forward_drift if direction == "f" else bridge.backward_drift
    end = simulate(drift, x, bridge.sigma, 20, seeded(1), direction, rows=n)
    mean, variance, covariance = discrete_moments(bridge, 20, direction)
    # Five standard errors, √(2/n) for a variance; the covariance is taken relative to the sample's own variance.
    assert float(end.mean() - x.mean()) == pytest.approx(
        mean - float((bridge.mean_0, bridge.mean_1)[direction == "b"]), abs=5 * math.sqrt(variance + 1) / n**0.5
    )
    assert float(end.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / n))
    sample = float(((end - end.mean()) * (x - x.mean())).mean() / x.var())
    expected = covariance / float((bridge.cov_0, bridge.cov_1)[direction == "b"])
    assert sample == pytest.approx(expected, abs=5 * math.sqrt(variance / float(x.var()) / n))


def test_the_papers_gaussian_pair_ends_with_variance_1_0156() -> None:
    """What 20 exact steps leave at σ = 1, for any implementation: the reproduction's floor."""
    bridge = schrodinger_bridge(*unit_gaussians(1, 0.1), sigma=1.0)
    x = start(bridge, 200_000, "b")
    end = simulate(bridge.backward_drift, x, 1.0, 20, seeded(2), "b", rows=200_000)
    assert float(end.var()) == pytest.approx(1.0156, rel=5 * math.sqrt(2 / 200_000))
    covariance = float(((end - end.mean()) * (x - x.mean())).mean())
    assert covariance == pytest.approx(0.6180, abs=5 * math.sqrt(1.4 / 200_000))


def test_every_step_has_its_noise() -> None:
    path = simulate(lambda x, t: torch.zeros_like(x), torch.zeros(40_000, 1), 1.5, 4, seeded(3), keep_path=True)
    increments = path.diff(dim=0)
    for variance in increments.var(dim=(1, 2)):
        assert float(variance) == pytest.approx(1.5**2 / 4, rel=5 * math.sqrt(2 / 40_000))
    correlations = torch.corrcoef(increments[..., 0]) - torch.eye(4)
    assert float(correlations.abs().max()) < 5 / 200


def test_the_last_step_alone_is_without_noise_where_asked_for() -> None:
    still = lambda x, t: torch.zeros_like(x)  # noqa: E731
    path = simulate(still, torch.zeros(50, 1), 1.5, 4, seeded(3), keep_path=True, noisy_end=False)
    assert (path[:-1].diff(dim=0) != 0).all()
    assert torch.equal(path[-1], path[-2])


def test_chunks_of_rows_do_not_share_noise() -> None:
    x = simulate(lambda x, t: torch.zeros_like(x), torch.zeros(4000, 2), 1.0, 3, seeded(4), rows=1000)
    assert len(x.unique()) == 8000


def test_drifts_are_taken_at_the_beginning_of_each_step() -> None:
    """∫ t dt by the left-hand rule of N steps is (N − 1)/(2N); from t = 1 down it is (N + 1)/(2N)."""
    x = torch.zeros(1, 1, dtype=torch.float64)
    assert simulate(lambda x, t: t.expand_as(x), x, 0.0, 10).item() == pytest.approx(9 / 20)
    assert simulate(lambda x, t: t.expand_as(x), x, 0.0, 10, direction="b").item() == pytest.approx(11 / 20)
    assert time_grid(4, "b").tolist() == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("direction", ["f", "b"])
def test_probability_flow_carries_quantiles_to_quantiles_at_order_one(direction: Direction) -> None:
    """In 1-D the flow is monotone and carries N(m_0, S_0) to N(m_1, S_1): x -> m_1 + √(S_1/S_0) (x − m_0)."""
    bridge = lopsided()
    flow = probability_flow(bridge.forward_drift, bridge.backward_drift)
    if direction == "b":
        flow, bridge = reversed_flow(flow), bridge.reverse()
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    exact = bridge.mean_1 + (bridge.cov_1 / bridge.cov_0).sqrt() * (x - bridge.mean_0)
    errors = [float((simulate(flow, x, 0.0, n, direction=direction) - exact).abs().max()) for n in (100, 200, 400)]
    assert errors[2] < 0.01
    for coarse, fine in pairwise(errors):
        # Euler: halving the step halves the error, but for a term of second order, of relative size 1/N.
        assert coarse / fine == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("direction", ["f", "b"])
def test_path_energy_of_the_optimal_transport_flow_is_w2_squared(direction: Direction) -> None:
    """Without noise the bridge is displacement interpolation: straight lines at constant speed, ‖x_1 − x_0‖² each."""
    bridge = lopsided(sigma=0.0)
    x = start(bridge, 50, direction)
    drift = bridge.forward_drift if direction == "f" else bridge.backward_drift
    path = simulate(drift, x, 0.0, 5, direction=direction, keep_path=True)
    torch.testing.assert_close(path[0], x)
    energy = path_energy(drift, path, direction)
    torch.testing.assert_close(energy, (path[-1] - x).square().sum(1))
    torch.testing.assert_close(simulate(drift, x, 0.0, 5, direction=direction), path[-1])


def test_bad_input_is_named() -> None:
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="steps is 0; it must be at least 1"):
        simulate(lambda x, t: x, x, 0.0, 0)
    with pytest.raises(ValueError, match=r"sigma is -0.1; it must be 0 or more"):
        simulate(lambda x, t: x, x, -0.1, 2)
    with pytest.raises(ValueError, match="needs a generator"):
        simulate(lambda x, t: x, x, 1.0, 2)
    with pytest.raises(ValueError, match="direction is 'up'; allowed are 'f'"):
        simulate(lambda x, t: x, x, 0.0, 2, direction="up")  # type: ignore[arg-type]
