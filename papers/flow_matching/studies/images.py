"""Images: the data sets on their grey levels, the way from grey levels to a density, and the Frechet distance.

Grey levels are equal steps from -1 to 1. Resized images are rounded to them first. A network is trained, and its
likelihood taken, on images whose values lie at random places in their bins; a sample goes to the nearest level, as in
an image file.
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
from common.training.loop import Batch, Sampler
from papers.flow_matching.likelihood import dequantise, to_levels

INITIAL, TRAINING, SAMPLING, FLOOR, LIKELIHOOD = range(5)
"""What the independent random streams of a run are for."""

Split = Literal["train", "test"]


@dataclass(frozen=True)
class DataSet:
    read: Callable[[Split, int], Tensor]
    """The images of a split at a resolution, (N, C, H, W) in [-1, 1]."""
    levels: int
    """Grey levels."""
    metric: str
    distance: Callable[..., float]
    """The Frechet distance of images (n, C, H, W) in [-1, 1]."""
    reference: Callable[[int], Moments]
    """What it is taken to, by resolution."""
    side: int | None = None
    """Its resolution, where it has one only."""

    def load(self, split: Split, resolution: int) -> Tensor:
        """The images of a split on their grey levels, float32 (N, C, H, W)."""
        return to_levels(self.read(split, resolution), self.levels)

    def fd(self, samples: Tensor) -> float:
        """The Frechet distance of samples (n, C, H, W), each value taken to its grey level."""
        return self.distance(to_levels(samples, self.levels).float().cpu())

    def floor(self, resolution: int, n: int, generator: torch.Generator) -> float:
        """What the metric says of n training images, drawn with replacement."""
        draw = resampled(self.load("train", resolution))
        return floor(self.distance, draw, n, generator, repeats=4, reference=self.reference(resolution)).mean


DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(
        lambda split, resolution: digits(split).x0, 17, "fd_digits", fd_digits, lambda side: digits_reference(), side=8
    ),
    "mnist": DataSet(lambda split, resolution: mnist(split, resolution).x0, 256, "fd_mnist", fd_mnist, mnist_reference),
}


@cache
def look_at(dataset: str, resolution: int) -> None:
    """Download or check what a data set takes, once, before anything runs. Raises ValueError for a resolution that it
    has not."""
    check_resolution(dataset, DATASETS[dataset].side, resolution)
    DATASETS[dataset].load("test", resolution)


def batches(images: Tensor, levels: int) -> Sampler:
    """Batches of images (N, C, H, W) drawn with replacement, each dequantised anew: what a density is trained on."""

    def sample(n: int, generator: torch.Generator) -> Batch:
        index = torch.randint(len(images), (n,), generator=generator, device=generator.device)
        return dequantise(images[index.to(images.device)], generator, levels), {}

    return sample
