"""Images: the data sets, and the Frechet distance to them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from common.data.images import digits, mnist
from common.data.sets import DataSet, check_resolution
from common.metrics.frechet import fd_digits, fd_mnist

INITIAL, TRAINING, SAMPLING, FLOOR, LAW = range(5)
"""What the independent random streams of a run are for."""

DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(lambda resolution: digits(), "fd_digits", fd_digits, side=8),
    "mnist": DataSet(lambda resolution: mnist("train", resolution), "fd_mnist", fd_mnist),
}


@cache
def look_at(dataset: str, resolution: int) -> None:
    """Download or check what a data set takes, once, before anything runs. Raises ValueError for a resolution that it
    has not."""
    check_resolution(dataset, DATASETS[dataset].side, resolution)
    DATASETS[dataset].load(resolution)
