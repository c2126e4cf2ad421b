"""Images: the data sets, their scale, sampling them with a denoiser, and the Frechet distance to them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from common.data.images import Images, cifar10, digits, mnist
from common.data.sets import SIGMA_DATA, DataSet, Standard, check_resolution
from common.diffusion.churn import NO_CHURN, Churn, edm_sampler
from common.diffusion.solvers import CountedDenoiser, Denoiser
from common.metrics.floor import floor, resampled
from common.metrics.frechet import digits_reference, fd_digits, fd_mnist, mnist_reference
from papers.edm.studies.fid import fid_cifar10
from papers.edm.studies.laws import noise_at

INITIAL, TRAINING, SAMPLING, FLOOR = range(4)
"""What the independent random streams of a run are for."""


DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(lambda resolution: digits(), "fd_digits", fd_digits, side=8),
    "mnist": DataSet(lambda resolution: mnist("train", resolution), "fd_mnist", fd_mnist),
    "cifar10": DataSet(lambda resolution: cifar10("train"), "FID", fid_cifar10, side=32),
}


@cache
def look_at(dataset: str, resolution: int) -> None:
    """Download or check what a data set takes, once, before anything runs. Raises ValueError for a resolution that it
    has not."""
    check_resolution(dataset, DATASETS[dataset].side, resolution)
    DATASETS[dataset].load(resolution)
    if dataset == "cifar10" and find_spec("torch_fidelity") is None:
        raise FileNotFoundError("torch-fidelity is not installed, which has the FID; `pip install -e .[gpu]`")


def scaling_of(images: Images, dataset: str) -> Standard:
    """CIFAR-10 stays in [-1, 1], where its standard deviation is about 0.5; the others are standardised to it."""
    return Standard(0.0, SIGMA_DATA) if dataset == "cifar10" else Standard.of(images.x0)


def distance_floor(dataset: str, resolution: int, images: Images, n: int, generator: torch.Generator) -> float:
    """What the metric says of n training images, drawn with replacement."""
    distance = DATASETS[dataset].distance
    if dataset == "cifar10":
        return distance(resampled(images.x0)(n, generator))
    reference = digits_reference() if dataset == "digits" else mnist_reference(resolution)
    return floor(distance, resampled(images.x0), n, generator, repeats=4, reference=reference).mean


def generate(
    denoiser: Denoiser,
    n: int,
    shape: tuple[int, ...],
    sigmas: Tensor,
    generator: torch.Generator,
    churn: Churn = NO_CHURN,
    chunk: int = 512,
) -> tuple[Tensor, int]:
    """n samples (n, *shape) by Algorithm 2 on the time steps `sigmas`, on the generator's device, and their NFE.

    The generator gives the noise that sampling starts from before any other: equal seeds start alike, however churned.
    """
    counted = CountedDenoiser(denoiser)
    parts = noise_at(sigmas[0], n, shape, generator).split(chunk)
    samples = torch.cat([edm_sampler(counted, x, sigmas, churn, generator) for x in parts])
    return samples, counted.nfe // len(parts)
