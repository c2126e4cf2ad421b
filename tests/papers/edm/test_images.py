"""Images: samples have the law of their denoiser, and the floor is that of the data."""

from dataclasses import replace
from math import sqrt

import pytest
import torch

from common.data.images import Images, digits
from common.diffusion.churn import Churn
from common.diffusion.oracle import GaussianMixture, gaussian_flow
from common.diffusion.schedule import edm_sigmas
from common.diffusion.solvers import heun
from common.metrics.frechet import digits_reference, mnist_reference
from papers.edm.studies import images
from papers.edm.studies.images import DATASETS, distance_floor, generate, scaling_of
from papers.edm.studies.laws import median_error


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_generate_samples_the_law_of_its_denoiser_and_starts_alike_however_churned() -> None:
    mean, std = torch.full((2,), 0.3, dtype=torch.float64), 0.5
    denoiser = GaussianMixture(mean[None], torch.tensor([std]))
    samples, nfe = generate(denoiser, 4000, (2,), edm_sigmas(80), generator(), chunk=1500)
    assert nfe == 159
    assert samples.shape == (4000, 2)
    # Four standard errors of 8000 values; what 80 steps change is far below.
    assert float(samples.mean()) == pytest.approx(0.3, abs=4 * std / sqrt(8000))
    assert float(samples.std()) == pytest.approx(std, abs=4 * std / sqrt(16000))
    noise = edm_sigmas(1)[0] * torch.randn(4000, 2, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(samples, heun(denoiser, noise, edm_sigmas(80)))
    exact = gaussian_flow(noise, 80.0, 0.0, mean, std**2 * torch.eye(2))
    assert median_error(samples, exact) < 0.01
    churned, _ = generate(denoiser, 4000, (2,), edm_sigmas(80), generator(), Churn(1e-9), chunk=1500)
    torch.testing.assert_close(churned, samples, rtol=0, atol=1e-2)


class Split:
    """A loader of images that has the training images only, and says what it was asked for."""

    def __init__(self, side: int) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.images = Images(torch.rand(9, 1, side, side) * 2 - 1, torch.zeros(9, dtype=torch.long))

    def __call__(self, split: str, *others: object) -> Images:
        if split != "train":
            raise AssertionError(f"the {split} images are not for training, nor what samples are judged by")
        self.asked.append((split, *others))
        return self.images


def test_data_are_the_training_images_and_metrics_compare_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the paper, whose FID is to the training set: there is no other split in a run."""
    monkeypatch.setattr(images, "mnist", split := Split(16))
    assert DATASETS["mnist"].load(16) is split.images
    assert split.asked == [("train", 16)]
    monkeypatch.setattr(images, "cifar10", split := Split(32))
    assert DATASETS["cifar10"].load(32) is split.images
    assert DATASETS["digits"].load(8).x0.shape == (1797, 1, 8, 8)
    seen: list[tuple[int, object]] = []

    def distance(x0: torch.Tensor, reference: object) -> float:
        seen.append((len(x0), reference))
        return 1.0

    for dataset, reference in (("digits", digits_reference()), ("mnist", mnist_reference(16))):
        monkeypatch.setattr(images, "DATASETS", {dataset: replace(DATASETS[dataset], distance=distance)})
        seen.clear()
        distance_floor(dataset, 16, split.images, 5, generator())
        assert seen == [(5, reference)] * 4
    assert mnist_reference(16).n == 60_000, "moments of MNIST's training images"
    assert digits_reference().n == 1797


def test_the_scale_is_that_of_the_data_but_for_cifar10() -> None:
    some = Images(torch.rand(50, 1, 4, 4, generator=generator()), torch.zeros(50, dtype=torch.long))
    assert float(scaling_of(some, "mnist").encode(some.x0).std(correction=0)) == pytest.approx(0.5, abs=1e-4)
    assert torch.equal(scaling_of(some, "cifar10").encode(some.x0), some.x0)


def test_floor_is_the_distance_of_the_data_to_itself() -> None:
    few, many = (distance_floor("digits", 8, digits(), n, generator()) for n in (100, 1797))
    # The bias of a Frechet distance falls as 1/n.
    assert 8 < few / many < 40
    assert many < 0.5
