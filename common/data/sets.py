"""What papers say of a data set of images: how it is read, its Frechet distance, and the scale that EDM gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from common.data.images import Images

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


def check_resolution(dataset: str, side: int | None, resolution: int) -> None:
    """Raises ValueError for a resolution that a data set has not; `side` is its only one, or None for any."""
    if side is not None and resolution != side:
        raise ValueError(f"{dataset} has the resolution {side}, not {resolution}")


@dataclass(frozen=True)
class Standard:
    """The map from images in [-1, 1] to mean 0 and standard deviation `SIGMA_DATA`, and back."""

    mean: float
    std: float

    @staticmethod
    def of(images: Tensor) -> Standard:
        return Standard(float(images.mean()), float(images.std(correction=0)))

    def encode(self, images: Tensor) -> Tensor:
        return (images - self.mean) * (SIGMA_DATA / self.std)

    def decode(self, x0: Tensor) -> Tensor:
        return x0 * (self.std / SIGMA_DATA) + self.mean
