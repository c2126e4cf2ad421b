"""Objectives against quadrature of their own loss, draws of their own levels, and the losses of EDM.

The weighting is checked by what it is for: a network that is wrong by a known error of the noise has the loss
∫ w(λ) (error)² dλ, whatever it predicts. No formula of a weighting is typed here again.
"""

from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest

from common.diffusion.objective import (
    NoiseLevels,
    NormalLogSnr,
    Objective,
    UniformLogSnr,
    UniformTime,
    between,
    one,
    weighted,
)
from common.diffusion.path import EDM, VE, VP, Cosine, GaussianPath, Prediction, RectifiedFlow
from common.nets.mlp import MLP
from common.training.members import Members

LEVELS: list[NoiseLevels] = [
    UniformTime(VP(), 1e-5, 1.0),
    UniformTime(VE(), 0.01, 50.0),
    UniformTime(RectifiedFlow(0.01), 0.0, 0.99),
    between(Cosine(), -8, 9),
    UniformLogSnr(-3, 5),
    NormalLogSnr(),
]
PATHS = [VP(), VE(), EDM(), Cosine(), RectifiedFlow(), RectifiedFlow(0.01)]
every_level = pytest.mark.parametrize("levels", LEVELS, ids=str)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Noise levels.


@every_level
def test_levels_are_drawn_from_their_density(levels):
    """Kolmogorov-Smirnov against the density, integrated; at a level of 1e-3."""
    draws = levels.sample((4000,), seeded(), "cpu")
    assert draws.dtype == torch.float64
    assert levels.log_snr_min <= draws.min()
    assert draws.max() <= levels.log_snr_max
    grid = torch.linspace(levels.log_snr_min, levels.log_snr_max, 20001, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(levels.density(grid), grid).numpy()
    assert mass[-1] == pytest.approx(1, abs=2e-4)
    assert kstest(draws.numpy(), lambda x: np.interp(x, grid[1:], mass)).pvalue > 1e-3


@every_level
def test_there_is_no_density_outside_the_range(levels):
    outside = f64(levels.log_snr_min - 0.01, levels.log_snr_max + 0.01)
    assert levels.density(outside).tolist() == [0, 0]
    assert (levels.density(f64(levels.log_snr_min, levels.log_snr_max)) > 0).all()


@every_level
def test_a_generator_for_each_member(levels):
    both = levels.sample((2, 5), (seeded(1), seeded(2)), "cpu")
    assert torch.equal(both[1], levels.sample((5,), seeded(2), "cpu"))


def test_between_has_the_ends_asked_for():
    levels = between(RectifiedFlow(), -4, 6)
    assert (levels.log_snr_min, levels.log_snr_max) == pytest.approx((-4, 6))


def test_edm_draws_the_noise_of_edm():
    from papers.edm.loss import LogNormalNoise

    sigma = LogNormalNoise().sample(100, seeded(3))
    torch.testing.assert_close(torch.exp(-NormalLogSnr().sample((100,), seeded(3), "cpu") / 2), sigma)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: UniformTime(VP(), 0.5, 0.5), "first and last are 0.5 and 0.5"),
        (lambda: UniformTime(Cosine(), 0.0, 0.5), "of log-SNR inf and 0"),
        (lambda: UniformLogSnr(2, 1), "log_snr_min and log_snr_max are 2 and 1"),
        (lambda: UniformLogSnr(0, float("inf")), "must be finite"),
        (lambda: NormalLogSnr(0, 0), "std is 0; it must be positive"),
    ],
)
def test_bad_levels_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# Objectives.


def wrong_by(path: GaussianPath, prediction: Prediction, x0: torch.Tensor, eps: torch.Tensor, error):
    """The network that takes the noise for eps + error(λ), and returns its prediction of that."""

    def net(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        noise = eps + error(path.log_snr(t))[:, None]
        return path.convert(noise, x_t, t, "eps", prediction)

    return net


@pytest.mark.parametrize(("path", "prediction"), list(product(PATHS, get_args(Prediction))), ids=str)
def test_the_loss_is_the_weighted_integral_of_the_error_of_the_noise(path, prediction):
    levels = UniformLogSnr(-3, 4)
    objective = Objective("any", path, prediction, levels, weight=lambda log_snr: 1 / (2 + log_snr.sin()))

    def error(log_snr: torch.Tensor) -> torch.Tensor:
        return 1 + log_snr.cos() / 2

    def loss(log_snr: float) -> float:
        t = path.t_from_log_snr(f64(log_snr))
        x0, eps = randn(1, 3), randn(1, 3, seed=1)
        return float(objective.loss_at(wrong_by(path, prediction, x0, eps, error), x0, eps, t))

    expected, _ = quad(lambda x: float(levels.density(f64(x))) * loss(x), -3, 4)
    integral, _ = quad(lambda x: float(objective.weighting(f64(x)) * error(f64(x)) ** 2), -3, 4)
    assert integral == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("path", "prediction"), list(product(PATHS, get_args(Prediction))), ids=str)
def test_the_noise_of_an_output(path, prediction):
    objective = Objective("any", path, prediction, UniformLogSnr(-3, 4))
    x0, eps, t = randn(2, 3, 1, 2), randn(2, 3, 1, 2, seed=1), f64(0.1, 0.4, 0.7, 0.2, 0.5, 0.9).reshape(2, 3)
    for axes in (2, 1):
        x_t = path.perturb(x0.flatten(0, 1), eps.flatten(0, 1), t.flatten())
        output = path.target(prediction, x0.flatten(0, 1), eps.flatten(0, 1), t.flatten())
        found, noise, times = output, eps.flatten(0, 1), t.flatten()
        if axes == 2:
            found, x_t, noise, times = (each.unflatten(0, (2, 3)) for each in (output, x_t, noise, times))
        torch.testing.assert_close(objective.eps_of(found, x_t, times), noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_a_weighted_objective_has_that_weighting(prediction):
    def wanted(log_snr: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(2 - log_snr)

    levels = between(RectifiedFlow(), -5, 5)
    objective = weighted("sigmoid", Cosine(), prediction, levels, wanted)
    grid = torch.linspace(-4.9, 4.9, 30, dtype=torch.float64)
    torch.testing.assert_close(objective.weighting(grid), wanted(grid))


def test_the_loss_draws_noise_and_levels():
    """Its mean over draws is that over a grid of levels and of noise, for a linear network in one dimension."""
    objective = Objective("v", Cosine(), "v", between(Cosine(), -6, 6), weight=lambda log_snr: torch.sigmoid(log_snr))

    def net(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 0.3 * x_t + 0.2 * t.reshape(-1, 1)

    n = 200_000
    losses = objective.loss(net, torch.full((n, 1), 0.7, dtype=torch.float64), seeded())
    assert losses.shape == (n,)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    log_snr = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    t = Cosine().t_from_log_snr(log_snr)
    at = sum(
        w / np.sqrt(2 * np.pi) * objective.loss_at(net, torch.full((2001, 1), 0.7).double(), eps.expand(2001, 1), t)
        for eps, w in zip(torch.tensor(nodes), weights, strict=True)
    )
    exact = float(torch.trapezoid(objective.levels.density(log_snr) * at, log_snr))
    assert float(losses.mean()) == pytest.approx(exact, abs=4 * float(losses.std()) / n**0.5)


def test_several_networks_have_their_own_losses():
    objective = Objective("v", Cosine(), "v", UniformLogSnr(-5, 5))
    nets = [MLP(2, hidden=8, hidden_layers=1, gain=1.0, generator=seeded(s)) for s in (1, 2)]
    x0 = randn(2, 6, 2).float()
    both = objective.loss(Members(nets), x0, (seeded(3), seeded(4)))
    for s, net in enumerate(nets):
        torch.testing.assert_close(both[s], objective.loss(net, x0[s], seeded(3 + s)))


def test_conditions_reach_the_network():
    objective = Objective("eps", Cosine(), "eps", UniformLogSnr(-5, 5), one)
    seen: dict[str, Any] = {}

    def net(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen["label"], seen["dtype"] = label, t.dtype
        return x_t

    objective.loss(net, randn(3, 2).float(), seeded(), label=f64(1, 2, 3))
    assert seen["label"].tolist() == [1, 2, 3]
    assert seen["dtype"] == torch.float32


def test_it_is_the_loss_of_edm():
    """EDM's denoiser is a prediction of x0 at λ = −2 ln σ, and its λ(σ) a weight on it."""
    from papers.edm.loss import EDMWeight, denoising_loss

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x / (1 + sigma.reshape(-1, 1) ** 2)

    x0, sigma = randn(4, 3), f64(0.01, 0.3, 2, 40)
    objective = Objective("edm", EDM(), "x0", NormalLogSnr(), lambda log_snr: EDMWeight()(torch.exp(-log_snr / 2)))
    expected = denoising_loss(denoiser, x0, sigma, seeded(5))
    torch.testing.assert_close(objective.loss_at(denoiser, x0, randn(4, 3, seed=5), sigma), expected)


@pytest.mark.parametrize("shape", [(), (2,), (3, 4), (3, 1, 1)])
def test_times_of_another_shape_are_named(shape):
    objective = Objective("eps", Cosine(), "eps", UniformLogSnr(-5, 5))
    with pytest.raises(ValueError, match=r"t has shape .* x of shape \(3, 2\) takes its first axis"):
        objective.loss_at(lambda x, t: x, randn(3, 2), randn(3, 2), torch.full(shape, 0.5))
