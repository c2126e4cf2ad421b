"""Images: the data sets, their scale, and the Frechet distance to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from common.data.images import Images, digits, mnist
from common.metrics.frechet import fd_digits, fd_mnist

INITIAL, TRAINING, SAMPLING, FLOOR, LAW = range(5)
"""What the independent random streams of a run are for."""

SIGMA_DATA = 0.5


@dataclass(frozen=True)
class DataSet:
    load: Callable[[int], Images]
    """The training images at a resolution, in [-1, 1]."""
    metric: str
    distance: Callable[..., float]
    """The Frechet distance to it, of images (n, C, H, W) in [-1, 1]."""
    side: int | None = None
    """Its resolution, where it has one only."""


DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(lambda resolution: digits(), "fd_digits", fd_digits, side=8),
    "mnist": DataSet(lambda resolution: mnist("train", resolution), "fd_mnist", fd_mnist),
}


@cache
def look_at(dataset: str, resolution: int) -> None:
    """Download or check what a data set takes, once, before anything runs. Raises ValueError for a resolution that it
    has not."""
    side = DATASETS[dataset].side
    if side is not None and resolution != side:
        raise ValueError(f"{dataset} has the resolution {side}, not {resolution}")
    DATASETS[dataset].load(resolution)


@dataclass(frozen=True)
class Scale:
    """The map from images in [-1, 1] to mean 0 and standard deviation `SIGMA_DATA`, and back."""

    mean: float
    std: float

    @staticmethod
    def of(images: Tensor) -> Scale:
        return Scale(float(images.mean()), float(images.std(correction=0)))

    def encode(self, images: Tensor) -> Tensor:
        return (images - self.mean) * (SIGMA_DATA / self.std)

    def decode(self, x0: Tensor) -> Tensor:
        return x0 * (self.std / SIGMA_DATA) + self.mean


AS_IT_IS = Scale(0.0, SIGMA_DATA)
"""Networks are given images in [-1, 1], as EDM's are: their mean, which is to be learned at high noise, is not 0."""
