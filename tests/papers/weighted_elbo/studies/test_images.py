"""Images as whole numbers, and the scale on which the diffusion sees them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits

from common.data.images import digits
from common.training.stream import stream
from papers.weighted_elbo.studies.images import DATASETS, SIGMA_DATA, look_at

DIGITS = DATASETS["digits"]


def test_digits_are_scikit_learn_s_whole_numbers() -> None:
    whole = torch.cat([DIGITS.load("train", 8), DIGITS.load("test", 8)])
    raw = torch.from_numpy(load_digits().images).long()
    assert torch.equal(whole.flatten(1).sum(1).sort().values, raw.flatten(1).sum(1).sort().values)
    assert torch.equal(torch.bincount(whole.flatten()), torch.bincount(raw.flatten()))
    assert len(DIGITS.load("test", 8)) == 355


def test_the_diffusion_sees_mean_zero_and_edm_s_standard_deviation() -> None:
    f = DIGITS.numbers(8).encode(DIGITS.load("train", 8))
    assert float(f.mean()) == pytest.approx(0, abs=1e-9)
    assert float(f.std(correction=0)) == pytest.approx(SIGMA_DATA)


def test_whole_numbers_and_images_are_each_other_s_inverse() -> None:
    whole = DIGITS.load("test", 8)
    torch.testing.assert_close(DIGITS.as_images(whole), digits("test").x0)


def test_resized_images_go_to_the_nearest_of_256_levels() -> None:
    pixels = torch.tensor([-1.0, -0.9961, 0.0, 0.5, 1.0]).reshape(1, 1, 1, 5)
    data = replace(DATASETS["mnist"], read=lambda split, resolution: pixels)
    assert data.load("train", 16).flatten().tolist() == [0, 0, 128, 191, 255]


def test_noise_at_the_data_is_below_a_sixth_of_a_grey_level() -> None:
    """Of MNIST at 16×16 the spread of pixels is 0.503, in the units of [-1, 1]."""
    spacing = {"digits": 1 / DIGITS.numbers(8).scale, "mnist": 2 / 255 / 0.503 * SIGMA_DATA}
    for name, data in DATASETS.items():
        assert 2.718281828 ** (-data.log_snr_max / 2) < spacing[name] / 6


def test_the_distance_is_taken_of_images_and_training_images_are_at_the_floor() -> None:
    floor = DIGITS.floor(8, 300, stream(0, 0))
    assert DIGITS.fd(DIGITS.load("train", 8)[:300]) < 2 * floor
    assert DIGITS.fd(torch.zeros(300, 1, 8, 8).long()) > 50 * floor


def test_a_resolution_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="digits has the resolution 8, not 16"):
        look_at("digits", 16)
