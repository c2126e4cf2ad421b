"""Networks: that they are trained and read as EDM's preconditioning has it, on which noise, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.data.images import digits
from common.data.sets import SIGMA_DATA, Standard
from common.diffusion.denoising_loss import EDMWeight
from common.diffusion.precond import EDMPrecond, Preconditioned
from papers.seeds.studies.networks import (
    NOISE,
    NetworkConfig,
    OfNoise,
    denoiser,
    objective,
    training_data,
    untrained,
)
from papers.seeds.studies.training import digit_training, image_training, left, trained_denoiser
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.seeds.cases import randn, seeded

TINY = NetworkConfig("starved", "digits", 8, images=6 * 32, batch=32, width=8)
U_NET = NetworkConfig("usual", "digits", 8, images=3 * 16, batch=16, width=8, levels=2)


class Raw(nn.Module):
    """A network in float64 whose output turns on both of its inputs."""

    sign = 1.0

    def forward(self, z: Tensor, c_noise: Tensor) -> Tensor:
        return self.sign * (z.double() ** 2 - c_noise.double().reshape(-1, *[1] * (z.ndim - 1)) * z.double().sin())


class Negative(Raw):
    sign = -1.0


def test_the_loss_is_edm_s_value_for_value() -> None:
    x0, eps, sigma = 0.5 * randn(40, 3), randn(40, 3, seed=1), randn(40, seed=2).exp()
    of_edm = Preconditioned(Raw(), EDMPrecond(SIGMA_DATA), torch.float64)
    denoised = of_edm(x0 + sigma[:, None] * eps, sigma)
    expected = EDMWeight(SIGMA_DATA)(sigma) * (denoised - x0).square().mean(1)
    wanted = objective("usual")
    t = wanted.path.t_from_log_snr(2 * (log(SIGMA_DATA) - sigma.log()))
    # F is −v.
    torch.testing.assert_close(wanted.loss_at(OfNoise(Negative()), x0 / SIGMA_DATA, eps, t), expected)


def test_the_denoiser_is_edm_s() -> None:
    x, of_edm = 3 * randn(5, 4), Preconditioned(Raw(), EDMPrecond(SIGMA_DATA), torch.float64)
    for sigma in (0.002, 0.3, 80.0):
        ours = denoiser(OfNoise(Negative()))(x, torch.tensor(sigma, dtype=torch.float64))
        assert ours.dtype == torch.float64
        # What the network reads is float32.
        torch.testing.assert_close(ours, of_edm(x, sigma), rtol=2e-5, atol=2e-5 * sigma)


@pytest.mark.parametrize("noise", NOISE)
def test_noise_levels_are_log_normal_with_the_mean_and_deviation_that_are_named(noise: str) -> None:
    log_sigma = log(SIGMA_DATA) - objective(noise).levels.sample((200_000,), seeded()) / 2
    assert (float(log_sigma.mean()), float(log_sigma.std())) == pytest.approx(NOISE[noise], abs=0.01)


def test_starved_networks_see_little_of_high_noise() -> None:
    sigma = (log(SIGMA_DATA) - objective("starved").levels.sample((200_000,), seeded()) / 2).exp()
    assert float((sigma > 0.8).double().mean()) == pytest.approx(0.0009, abs=0.0003)


def test_training_data_are_all_digits_as_they_are() -> None:
    x0 = training_data(TINY, "cpu")
    assert x0.dtype == torch.float32
    torch.testing.assert_close(SIGMA_DATA * x0.reshape(-1, 1, 8, 8), digits().x0)


def test_a_scale_is_that_of_the_images() -> None:
    encoded = Standard.of(images := 3 + 2 * randn(500)).encode(images)
    assert (float(encoded.mean()), float(encoded.std(correction=0))) == pytest.approx((0, SIGMA_DATA), abs=1e-9)


def test_seeds_are_trained_together_as_each_alone_and_their_weights_are_kept(tmp_path: Path) -> None:
    both = [FakeRun(tmp_path / name) for name in "ab"]
    rows = made(digit_training, TINY, (3, 4), both)
    (alone,) = made(digit_training, TINY, (4,), (FakeRun(tmp_path / "c"),))
    assert rows[1][0]["loss"] == pytest.approx(alone[0]["loss"], rel=1e-4)
    assert rows[0][0]["loss"] != rows[1][0]["loss"]
    x, sigma = randn(3, 64), torch.tensor(0.4)
    ends = [trained_denoiser(TINY, tmp_path / name, "cpu")(x, sigma) for name in "abc"]
    torch.testing.assert_close(ends[1], ends[2], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(ends[0], ends[1], atol=1e-4)


def test_training_lowers_the_loss(run: FakeRun) -> None:
    longer = NetworkConfig("usual", "digits", 8, images=300 * 64, batch=64, width=32, lr=5e-3)
    (rows,) = made(digit_training, longer, (1,), (run,))
    first = left(longer, untrained(longer, 1), run)
    assert rows[0]["loss"] < 0.75 * float(first["loss"])


def test_a_u_net_is_trained_alone_and_read_again(run: FakeRun) -> None:
    (rows,) = made(image_training, U_NET, (0,), (run,))
    assert rows[0]["loss"] > 0
    assert trained_denoiser(U_NET, run.folder, "cpu")(randn(2, 1, 8, 8), torch.tensor(1.0)).shape == (2, 1, 8, 8)


def test_first_weights_are_those_of_the_seed() -> None:
    first, again, other = (untrained(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetworkConfig("loud", "digits", 8, 64, 32, 8), "noise is one of"),
        (lambda: NetworkConfig("usual", "faces", 8, 64, 32, 8), "dataset is one of"),
        (lambda: NetworkConfig("usual", "digits", 8, 16, 32, 8), "images is at least 32"),
        (lambda: NetworkConfig("usual", "digits", 8, 64, 32, 8, lr=0.0), "lr is 0.0"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_c_noise_is_a_quarter_of_the_logarithm_of_sigma() -> None:
    heard: list[Tensor] = []

    class Listening(nn.Module):
        def forward(self, z: Tensor, c_noise: Tensor) -> Tensor:
            heard.append(c_noise)
            return z

    for sigma in (0.01, 0.5, 7.0):
        denoiser(OfNoise(Listening()))(randn(2, 2), torch.tensor(sigma))
        assert exp(4 * float(heard[-1].mean())) == pytest.approx(sigma, rel=1e-4)
