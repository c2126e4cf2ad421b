"""Images as whole numbers, what the diffusion sees of them, and the Frechet distance of samples.

Grey levels are whole numbers. The diffusion sees them with mean 0 and a standard deviation of 0.5 over all pixels of
the training set, which is what EDM's weighting is made for. λ runs from -8, where 0.01 % of the variance is signal, to
where the noise is a fifth of the distance of two grey levels or less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from common.data.images import digits, mnist
from common.data.sets import check_resolution
from common.metrics.floor import floor, resampled
from common.metrics.frechet import Moments, digits_reference, fd_digits, fd_mnist, mnist_reference
from papers.weighted_elbo.vdm import Numbers

INITIAL, TRAINING, SAMPLING, FLOOR, LIKELIHOOD = range(5)
"""What the independent random streams of a run are for."""

SIGMA_DATA = 0.5
LOG_SNR_MIN = -8.0

Split = Literal["train", "test"]


@dataclass(frozen=True)
class DataSet:
    read: Callable[[Split, int], Tensor]
    """The images of a split at a resolution, (N, C, H, W) in [-1, 1]."""
    levels: int
    """Grey levels."""
    log_snr_max: float
    metric: str
    distance: Callable[..., float]
    """The Frechet distance of images (n, C, H, W) in [-1, 1]."""
    reference: Callable[[int], Moments]
    """What it is taken to, by resolution."""
    side: int | None = None
    """Its resolution, where it has one only."""

    def load(self, split: Split, resolution: int) -> Tensor:
        """The images of a split as whole numbers 0 … levels − 1, int64 (N, C, H, W)."""
        return ((self.read(split, resolution).double() + 1) / 2 * (self.levels - 1)).round().long()

    def numbers(self, resolution: int) -> Numbers:
        """The scale on which the diffusion sees them, by the training set."""
        whole = self.load("train", resolution).double()
        return Numbers(self.levels, float(whole.mean()), float(whole.std(correction=0)) / SIGMA_DATA)

    def as_images(self, whole: Tensor) -> Tensor:
        """Whole numbers as images in [-1, 1], float32."""
        return (2 * whole.double() / (self.levels - 1) - 1).float().cpu()

    def fd(self, whole: Tensor) -> float:
        """The Frechet distance of samples (n, C, H, W), given as whole numbers."""
        return self.distance(self.as_images(whole))

    def floor(self, resolution: int, n: int, generator: torch.Generator) -> float:
        """What the metric says of n training images, drawn with replacement."""
        draw = resampled(self.as_images(self.load("train", resolution)))
        return floor(self.distance, draw, n, generator, repeats=4, reference=self.reference(resolution)).mean


DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(
        lambda split, resolution: digits(split).x0,
        17,
        9.0,
        "fd_digits",
        fd_digits,
        lambda side: digits_reference(),
        side=8,
    ),
    "mnist": DataSet(
        lambda split, resolution: mnist(split, resolution).x0, 256, 13.3, "fd_mnist", fd_mnist, mnist_reference
    ),
}


@cache
def look_at(dataset: str, resolution: int) -> None:
    """Download or check what a data set takes, once, before anything runs. Raises ValueError for a resolution that it
    has not."""
    check_resolution(dataset, DATASETS[dataset].side, resolution)
    DATASETS[dataset].read("test", resolution)
