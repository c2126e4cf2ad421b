"""The networks: what is made of a prediction of v, and the loss at adaptive levels, by closed forms of a Gaussian."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor, nn

from common.diffusion.objective import UniformLogSnr
from common.diffusion.solvers import validate_sigmas
from common.training.members import Members
from common.training.stream import stream
from papers.weighted_elbo.adaptive import AdaptiveLevels
from papers.weighted_elbo.studies.images import DATASETS, LOG_SNR_MIN
from papers.weighted_elbo.studies.networks import (
    NetworkConfig,
    WithLevels,
    adaptive_loss,
    at_levels,
    denoiser,
    eps_net,
    generate,
    sigmas,
    untrained,
)
from papers.weighted_elbo.vdm import alpha_sigma
from papers.weighted_elbo.weighting import WEIGHTINGS

TINY = NetworkConfig("sigmoid", "digits", 8, images=4 * 16, batch=16, width=8, n_samples=6, n_images=20)
S = 0.6
"""Standard deviation of a Gaussian law of the data."""


class GaussianNet(nn.Module):
    """v of the exact denoiser of N(0, S²), told of λ; `off` adds to it."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.off = nn.Parameter(torch.tensor(off))

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = (value.reshape(-1, 1, 1, 1).to(x_t) for value in alpha_sigma(log_snr.double()))
        x0 = alpha * S**2 / (alpha**2 * S**2 + sigma**2) * x_t
        return alpha * (x_t - alpha * x0) / sigma - sigma * x0 + self.off


def gaussian(off: float = 0.0) -> WithLevels:
    return WithLevels(GaussianNet(off), AdaptiveLevels(LOG_SNR_MIN, 9.0, bins=50))


def images(n: int, seed: int = 0) -> Tensor:
    return S * torch.randn(n, 1, 2, 2, generator=stream(seed, 9))


def test_a_prediction_of_v_is_a_denoiser_and_a_prediction_of_the_noise() -> None:
    x, sigma = images(5).double(), torch.tensor([0.02, 0.3, 1.0, 4.0, 30.0], dtype=torch.float64)
    expected = S**2 / (S**2 + sigma**2).reshape(-1, 1, 1, 1) * x
    torch.testing.assert_close(denoiser(gaussian())(x, sigma), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(denoiser(gaussian())(x, sigma[2]), expected[2] / x[2] * x, rtol=1e-4, atol=1e-5)
    log_snr = -2 * sigma.log()
    alpha, noise = (value.reshape(-1, 1, 1, 1) for value in alpha_sigma(log_snr))
    eps = noise / (alpha**2 * S**2 + noise**2) * x
    torch.testing.assert_close(eps_net(gaussian())(x, log_snr), eps, rtol=1e-4, atol=1e-4)


def expected_loss(weighting: str, off: float) -> float:
    """∫ w E(ε̂ − ε)² dλ: the exact denoiser's error is e^λ S²/(1 + e^λ S²), an offset of v adds α² off²."""

    def integrand(log_snr: float) -> float:
        snr = np.exp(log_snr)
        error = snr * S**2 / (1 + snr * S**2) + snr / (1 + snr) * off**2
        return float(WEIGHTINGS[weighting](torch.tensor(log_snr, dtype=torch.float64))) * error

    return integrate.quad(integrand, LOG_SNR_MIN, 9.0)[0]


@pytest.mark.parametrize("weighting", ["elbo", "sigmoid", "edm", "eps-cosine", "v-cosine", "edm-monotonic"])
def test_the_loss_in_the_mean_is_that_of_the_weighting_wherever_levels_are_drawn(weighting: str) -> None:
    net, expected = gaussian(0.5), expected_loss(weighting, 0.5)
    fixed = at_levels(weighting, UniformLogSnr(LOG_SNR_MIN, 9.0), net, images(20_000), stream(1, 0))[0].detach()
    loss = adaptive_loss(weighting)
    for step in range(40):
        loss(net, images(500, step), stream(step, 1))
    adapted = loss(net, images(20_000), stream(2, 0)).detach()
    for values in (fixed, adapted):
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / 20_000**0.5)
    if weighting != "elbo":  # whose loss is level from where the data are seen
        assert adapted.std() < 0.8 * fixed.std()


def test_training_looks_where_the_weighted_error_is() -> None:
    net, loss = gaussian(0.5), adaptive_loss("sigmoid")
    log_snr = torch.tensor([-6.0, -2.0, 1.0, 4.0], dtype=torch.float64)
    density = torch.zeros_like(log_snr)
    for step in range(120):
        loss(net, images(500, step), stream(step, 1))
        density += net.levels.density(log_snr) / 100 if step >= 20 else 0
    snr = log_snr.exp()
    error = snr * S**2 / (1 + snr * S**2) + snr / (1 + snr) * 0.25
    ratio = (density - 0.05 / (9 - LOG_SNR_MIN)) / (  # less what is drawn uniformly
        WEIGHTINGS["sigmoid"](log_snr) * error
    )
    torch.testing.assert_close(ratio[1:] / ratio[1], torch.ones(3).double(), rtol=0.25, atol=0)
    assert density[0] < 0.3 * density[1]


def test_the_weight_is_no_part_of_the_gradient() -> None:
    net = gaussian(0.5)
    adaptive_loss("edm")(net, images(200), stream(0, 0)).mean().backward()
    assert net.net.off.grad is not None
    assert not net.levels.expected.requires_grad
    assert list(net.levels.parameters()) == []


def test_members_have_levels_of_their_own() -> None:
    nets = [untrained(TINY, seed) for seed in (1, 2)]
    together, loss = Members(nets), adaptive_loss("edm")
    x0 = torch.randn(2, 400, 1, 8, 8, generator=stream(0, 0))
    for step in range(5):
        found = loss(together, x0, (stream(5, step), stream(6, step)))
    for s in range(2):
        for step in range(5):
            alone = loss(nets[s], x0[s], stream(5 + s, step))
        torch.testing.assert_close(found[s], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.member(s).levels.levels.mass, nets[s].levels.levels.mass, rtol=1e-5, atol=0)
    assert not torch.equal(nets[0].levels.levels.mass, nets[1].levels.levels.mass)


def test_first_weights_are_the_seed_s_and_the_same_for_all_weightings() -> None:
    def weights(config: NetworkConfig, seed: int) -> Tensor:
        return torch.cat([p.flatten() for p in untrained(config, seed).net.parameters()])

    assert torch.equal(weights(TINY, 3), weights(replace(TINY, weighting="edm"), 3))
    assert not torch.equal(weights(TINY, 3), weights(TINY, 4))
    levels = untrained(replace(TINY, dataset="mnist", resolution=16, levels=2), 0).levels
    assert (levels.log_snr_min, levels.log_snr_max) == (LOG_SNR_MIN, DATASETS["mnist"].log_snr_max)


def test_samples_of_an_exact_network_have_the_law_of_the_data() -> None:
    """N(0, S²) in units of the diffusion, on the grey levels of the digits."""
    config = replace(TINY, n_samples=600)
    found = generate(config, gaussian(), stream(0, 0))
    numbers = DATASETS["digits"].numbers(8)
    assert found.shape == (600, 1, 8, 8)
    assert found.dtype == torch.int64
    clipped = S * torch.randn(100_000, generator=stream(1, 0), dtype=torch.float64)
    expected = (clipped * numbers.scale + numbers.offset).round().clamp(0, 16)
    assert float(found.double().mean()) == pytest.approx(float(expected.mean()), abs=0.1)
    assert float(found.double().std()) == pytest.approx(float(expected.std()), rel=0.02)
    assert torch.equal(generate(config, gaussian(), stream(0, 0)), found)


def test_sampling_goes_through_the_trained_levels_to_zero() -> None:
    grid = validate_sigmas(sigmas(TINY, 18))
    assert len(grid) == 19
    assert float(-2 * grid[0].log()) == pytest.approx(LOG_SNR_MIN)
    assert float(-2 * grid[-2].log()) == pytest.approx(9.0)
    torch.testing.assert_close((grid[:-1] ** (1 / 7)).diff().diff(), torch.zeros(16).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weighting": "edm2"}, "weighting is one of"),
        ({"dataset": "cifar"}, "dataset is one of digits, mnist, not 'cifar'"),
        ({"images": 8}, "images is at least 16, not 8"),
        ({"lr": 0.0}, r"lr is 0\.0; it must be positive"),
        ({"n_samples": 1}, "n_samples is at least 2"),
    ],
)
def test_a_bad_config_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **fields)
